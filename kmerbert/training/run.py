"""How a training run starts and ends: settings, launch and folder checks, resume, metrics files, card, push.

Is handed a Trainer and facts; knows neither data nor models.
"""

import logging
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from transformers import Trainer, set_seed
from transformers.utils import logging as transformers_logging

from kmerbert.models.kernels import fast_training
from kmerbert.training.callbacks import describe_run
from kmerbert.training.flags import KmerTrainingArguments
from kmerbert.training.folder import (
    NOT_PUSHED,
    RUN_FILES,
    check_rows,
    check_settings,
    claim_folder,
    find_checkpoint,
    run_settings,
)

logger = logging.getLogger(__name__)


def start_run(arguments: KmerTrainingArguments, *groups: Any) -> str | None:
    """Sets up logging and the seed, and checks the launch, the output folder and what is resumed.

    Args:
        arguments: the training flags.
        groups: the other dataclasses of flags, which must be those of the run that is resumed.

    Returns:
        The checkpoint to resume from, or None.

    Raises:
        ValueError: for a launch whose processes would each train alone, a folder that holds something, a checkpoint that
            is not there, damaged or of a run with other settings, a folder that cannot be written.
    """
    main = arguments.process_index == 0
    logging.basicConfig(
        format="%(message)s", level=logging.INFO if main else logging.ERROR, stream=sys.stderr, force=True
    )
    for chatty in ("httpx", "fsspec", "urllib3", "filelock", "matplotlib"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # Its warnings here are about weights that are shared or new on purpose; models.load_model says what is new.
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if launched != arguments.world_size:
        raise ValueError(
            f"{launched} processes were launched, but each would train alone on the same folder: add --use_cpu to train "
            "on CPUs, or launch with --num_processes 1"
        )
    with arguments.main_process_first(local=False, desc="output folder"):
        checkpoint = find_checkpoint(arguments.resume_from_checkpoint, Path(arguments.output_dir))
        if checkpoint and not check_settings(Path(checkpoint), run_settings(arguments, *groups)):
            logger.info("%s does not say with which settings it was trained: they are not compared", checkpoint)
        if main:
            claim_folder(Path(arguments.output_dir), arguments.overwrite_output_dir, checkpoint)
    if arguments.n_gpu > 1:
        logger.warning("%d GPUs are there, one is used: `accelerate launch` uses all", arguments.n_gpu)
        arguments._n_gpu = 1  # the Trainer would divide each batch among threads, which is slow
    set_seed(arguments.seed)
    logger.info("%s", describe_run(arguments))
    return checkpoint


def plan_evaluations(arguments: KmerTrainingArguments, rows: Mapping[str, Sized], metrics: Sequence[str]) -> None:
    """Turns `--eval_epochs` into steps, and refuses a run that could not choose its best checkpoint, before it costs time.

    Args:
        arguments: changed in place.
        rows: the splits, `train` and, where there are such rows, `validation`.
        metrics: names of what is measured, besides the loss.

    Raises:
        ValueError: without validation rows to evaluate on, or with a metric that is not measured.
    """
    if arguments.eval_strategy == "no":
        return
    if not rows.get("validation"):
        raise ValueError(
            "no validation rows: give --validation_file, --validation_split_percentage or --validation_rows, or train "
            "without with --eval_strategy no"
        )
    wanted = (arguments.metric_for_best_model or "loss").removeprefix("eval_")
    if wanted not in ("loss", *metrics):
        raise ValueError(f"--metric_for_best_model {wanted!r} is not measured: allowed are loss, {', '.join(metrics)}")
    if arguments.eval_epochs:
        batches = math.ceil(len(rows["train"]) / (arguments.train_batch_size * arguments.world_size))
        steps = math.ceil(batches / arguments.gradient_accumulation_steps)
        arguments.eval_steps = max(1, round(arguments.eval_epochs * steps))
        if arguments.load_best_model_at_end:
            arguments.save_steps = arguments.eval_steps


def train(trainer: Trainer, checkpoint: str | None) -> None:
    """Trains and saves the training metrics and the trainer's state.

    Raises:
        ValueError: for training rows that are not those of the checkpoint.
    """
    if checkpoint:
        check_rows(Path(checkpoint), trainer.model.config)
    with fast_training(trainer.model, trainer.args.device):
        result = trainer.train(resume_from_checkpoint=checkpoint)
    trainer.log_metrics("train", result.metrics)
    trainer.save_metrics("train", result.metrics)
    trainer.save_state()


def report(trainer: Trainer, split: str, metrics: dict[str, float]) -> None:
    """Prints and saves metrics that are already prefixed with the split's name."""
    trainer.log_metrics(split, metrics)
    trainer.save_metrics(split, metrics)


def flat(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The metrics of all splits in one dictionary, with the Trainer's prefixes."""
    return {name: value for values in metrics.values() for name, value in values.items()}


def finish_run(trainer: Trainer, write_card: Callable[[Path, str], None]) -> None:
    """Saves the model with its tokenizer, writes the card, pushes last, when asked to, and parts from other processes.

    Args:
        trainer: with the final weights.
        write_card: writes README.md into a folder, given the name under which the model is loaded.
    """
    arguments, folder = trainer.args, Path(trainer.args.output_dir)
    # A call that is not internal would push at once: without our card, and with the pickled arguments.
    trainer.save_model(_internal_call=True)
    if trainer.is_world_process_zero():
        write_card(folder, trainer.hub_model_id if arguments.push_to_hub else folder.name)
        logger.info("model, metrics and card: %s", folder)
    # Processes on CPUs (gloo) that leave without these two may abort or hang as they exit, because a thread of theirs
    # still holds a tensor; the launcher would then kill the one that saves or pushes (pytorch/pytorch#179291).
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()  # Trainer.end() of newer releases
    if arguments.push_to_hub and trainer.is_world_process_zero():
        # Not Trainer.push_to_hub: it would replace the card, too.
        HfApi().upload_folder(
            repo_id=trainer.hub_model_id,
            folder_path=folder,
            commit_message="End of training",
            revision=arguments.hub_revision,
            allow_patterns=list(RUN_FILES),
            ignore_patterns=list(NOT_PUSHED),
        )
        logger.info("pushed to %s", trainer.hub_model_id)

"""A training run from start to finish: launch and folder checks, resume, training, metrics files, the saved model."""

import logging
import math
from collections.abc import Mapping, Sequence, Sized
from pathlib import Path
from typing import Any

from transformers import Trainer, set_seed

from kmerbert.cli.launch import check_launch, set_up_logging
from kmerbert.models.kernels import fast_kernels
from kmerbert.training.callbacks import describe_run, precision_of
from kmerbert.training.flags import KmerTrainingArguments
from kmerbert.training.folder import check_rows, check_settings, claim_folder, find_checkpoint, run_settings

logger = logging.getLogger(__name__)


def start_run(arguments: KmerTrainingArguments, *groups: Any) -> str | None:
    """Sets up logging and the seed, and checks the launch, the output folder and what is resumed.

    Args:
        arguments: The training flags.
        groups: The other dataclasses of flags, which must be those of the run that is resumed.

    Returns:
        The checkpoint to resume from, or None.

    Raises:
        ValueError: The launched processes would each train alone; the folder contains something or cannot be written to;
            the checkpoint does not exist, is damaged, or is of a run with other settings.
    """
    is_main = arguments.process_index == 0
    set_up_logging(is_main)
    check_launch(arguments.world_size)
    with arguments.main_process_first(local=False, desc="output folder"):
        checkpoint = find_checkpoint(arguments.resume_from_checkpoint, Path(arguments.output_dir))
        if checkpoint and not check_settings(Path(checkpoint), run_settings(arguments, *groups)):
            logger.info("%s does not say with which settings it was trained: they are not compared", checkpoint)
        if is_main:
            claim_folder(Path(arguments.output_dir), arguments.overwrite_output_dir, checkpoint)
    if arguments.n_gpu > 1:
        logger.warning("there are %d GPUs, one is used: start with `accelerate launch` to use all", arguments.n_gpu)
        arguments._n_gpu = 1  # the Trainer would divide each batch among threads, which is slow
    set_seed(arguments.seed)
    logger.info("%s", describe_run(arguments))
    return checkpoint


def plan_evaluations(arguments: KmerTrainingArguments, rows: Mapping[str, Sized], metrics: Sequence[str]) -> None:
    """Turns `--eval_epochs` into steps, and checks before the run costs time that it can choose its best checkpoint.

    Args:
        arguments: Changed in place.
        rows: The splits: `train` and, if there are such rows, `validation`.
        metrics: Names of what is measured, in addition to the loss.

    Raises:
        ValueError: There are no validation rows to evaluate on, or the metric of the best checkpoint is not measured.
    """
    if arguments.eval_strategy == "no":
        return
    if not rows.get("validation"):
        raise ValueError(
            "no validation rows: give `validation_file`, `validation_split_percentage` or `validation_rows`, or train "
            "without them with `eval_strategy` no"
        )
    metric = (arguments.metric_for_best_model or "loss").removeprefix("eval_")
    if metric not in ("loss", *metrics):
        raise ValueError(f"`metric_for_best_model` {metric!r} is not measured: allowed are loss, {', '.join(metrics)}")
    if arguments.eval_epochs:
        batches = math.ceil(len(rows["train"]) / (arguments.train_batch_size * arguments.world_size))
        steps = math.ceil(batches / arguments.gradient_accumulation_steps)
        arguments.eval_steps = max(1, round(arguments.eval_epochs * steps))
        if arguments.load_best_model_at_end:
            arguments.save_steps = arguments.eval_steps


def train(trainer: Trainer, checkpoint: str | None) -> None:
    """Trains, and saves the training metrics and the trainer's state.

    Raises:
        ValueError: The training rows are not those of the checkpoint.
    """
    if checkpoint:
        check_rows(Path(checkpoint), trainer.model.config)
    arguments = trainer.args
    with fast_kernels([trainer.model], precision_of(arguments) == "bf16", arguments.device):
        result = trainer.train(resume_from_checkpoint=checkpoint)
    report(trainer, "train", result.metrics)
    trainer.save_state()


def report(trainer: Trainer, split: str, metrics: dict[str, float]) -> None:
    """Prints and saves metrics that are already prefixed with the split's name."""
    trainer.log_metrics(split, metrics)
    trainer.save_metrics(split, metrics)


def flatten(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Returns the metrics of all splits in one dictionary, with the Trainer's prefixes."""
    return {name: value for values in metrics.values() for name, value in values.items()}


def save_run(trainer: Trainer) -> None:
    """Saves the final model with its tokenizer into the output folder."""
    # A call that is not internal would push at once: without our card, and with the pickled arguments.
    trainer.save_model(_internal_call=True)

"""How a training run starts and ends: settings, launch and folder checks, resume, metrics files, card, push.

Is handed a Trainer and facts; knows neither data nor models.
"""

import logging
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.hf_argparser import HfArg
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import logging as transformers_logging

from .kernels import fast_training
from .progress import TimeToGo, describe_run
from .run_folder import (
    NOT_PUSHED,
    RUN_FILES,
    check_rows,
    check_settings,
    claim_folder,
    find_checkpoint,
    keep_settings,
    run_settings,
)

logger = logging.getLogger(__name__)
PLATEAU = "reduce_lr_on_plateau"
LOWER_IS_BETTER = ("loss", "mse", "rmse", "mae", "perplexity")


@dataclass
class KmerTrainingArguments(TrainingArguments):
    """The Trainer's own flags, with the defaults of this project, and two flags that the Trainer lost or never had."""

    output_dir: str | None = HfArg(default=None, help="Folder for everything that the run writes; new or empty.")
    overwrite_output_dir: bool = HfArg(
        default=False, help="Start anew in a folder that holds a run: its files are deleted, other files stay."
    )
    early_stopping_patience: int | None = HfArg(
        default=None, help="Stop after this many evaluations without a better --metric_for_best_model."
    )
    eval_epochs: float | None = HfArg(
        default=None, help="Evaluate after this many epochs (0.2: five times in each), instead of by --eval_strategy."
    )
    do_train: bool = HfArg(default=True, help="Accepted for habit's sake: the script always trains.")
    eval_strategy: str = HfArg(default="epoch", help="When to evaluate: no, steps (every --eval_steps) or epoch.")
    save_strategy: str = HfArg(
        default="epoch", help="When to save a checkpoint: no, steps, epoch or best. Follows --eval_strategy by itself."
    )
    save_total_limit: int | None = HfArg(default=2, help="Checkpoints to keep, the best one always among them.")
    load_best_model_at_end: bool = HfArg(default=True, help="End with the best checkpoint instead of the last.")
    logging_steps: float = HfArg(default=50, help="Steps between two log lines; below 1, a share of all steps.")
    per_device_train_batch_size: int = HfArg(default=64, help="Sequences in a training batch on each device.")
    per_device_eval_batch_size: int = HfArg(default=64, help="Sequences in an evaluation batch on each device.")
    learning_rate: float = HfArg(default=1e-4, help="Highest learning rate of the optimizer.")
    weight_decay: float = HfArg(default=0.01, help="Weight decay of all weights but biases and LayerNorm.")
    warmup_steps: float = HfArg(default=0.05, help="Steps of linear warm-up; below 1, a share of all steps.")
    ddp_find_unused_parameters: bool | None = HfArg(
        default=False, help="Whether every step searches for parameters without gradient; no model here has any."
    )
    eval_accumulation_steps: int | None = HfArg(
        default=1000, help="Evaluation batches whose outputs are kept on the device before they are moved."
    )
    logging_nan_inf_filter: bool = HfArg(
        default=False, help="Hide losses that are no number; a GPU is then waited for at every step."
    )
    remove_unused_columns: bool | None = HfArg(default=False, help="Must stay false: batches come as whole arrays.")
    hub_strategy: str = HfArg(default="end", help="Must stay end: only the finished model goes to the Hub.")

    def _refusals(self) -> tuple[tuple[bool, str], ...]:
        """What cannot be, and what to say about it."""
        is_blind = self.eval_strategy == "no"
        patience, needs = self.early_stopping_patience, "needs evaluations: --eval_strategy epoch or steps"
        return (
            (not self.output_dir, "--output_dir is missing: name a new folder for the results"),
            (bool(self.hub_token), "--hub_token would be saved and uploaded: set HF_TOKEN, or run `hf auth login`"),
            (self.hub_strategy != "end", f"--hub_strategy {self.hub_strategy}: allowed is end, the finished model"),
            (not self.do_train, "--do_train false: this script trains; leave the flag out"),
            (self.remove_unused_columns, "--remove_unused_columns true: batches here are whole arrays; leave it out"),
            (self.num_train_epochs <= 0 >= self.max_steps, f"--num_train_epochs {self.num_train_epochs}: allowed is above 0"),
            (self.gradient_accumulation_steps < 1, "--gradient_accumulation_steps: allowed is 1 or more"),
            (self.eval_accumulation_steps == 0, "--eval_accumulation_steps 0: allowed is 1 or more"),
            (self.metric_for_best_model == "", "--metric_for_best_model is empty: name a metric or leave the flag out"),
            (self.prediction_loss_only, "--prediction_loss_only true: the metrics need predictions; leave it out"),
            (self.label_names is not None, "--label_names: the labels are those of --label_column; leave it out"),
            (self.dataloader_persistent_workers, "--dataloader_persistent_workers true: masks would never change"),
            (self.dataloader_drop_last, "--dataloader_drop_last true leaves validation and test rows out; leave it out"),
            (patience is not None and patience < 1, f"--early_stopping_patience {patience}: allowed is 1 or more"),
            (
                self.eval_epochs is not None and not self.eval_epochs > 0,
                f"--eval_epochs {self.eval_epochs}: allowed is above 0",
            ),
            (is_blind and bool(patience), f"--early_stopping_patience {needs}"),
            (is_blind and self.lr_scheduler_type == PLATEAU, f"--lr_scheduler_type {PLATEAU} {needs}"),
            (
                not is_blind and self.load_best_model_at_end and self.save_strategy == "no",
                "--save_strategy no keeps no best checkpoint to end with: add --load_best_model_at_end false",
            ),
        )  # fmt: skip

    def __post_init__(self) -> None:
        for is_wrong, message in self._refusals():
            if is_wrong:
                raise ValueError(message)
        if self.eval_epochs:
            self.eval_strategy, self.eval_steps = "steps", 1  # the true number needs the data: plan_evaluations
        if self.eval_strategy == "no":
            self.load_best_model_at_end = False
        elif self.load_best_model_at_end and self.save_strategy in ("epoch", "steps"):
            # The best checkpoint can only be one that was saved when it was evaluated.
            self.save_strategy = self.eval_strategy
            self.save_steps = self.eval_steps or self.logging_steps
        if not torch.accelerator.is_available() and os.environ.get("WORLD_SIZE", "1") == "1":
            self.use_cpu = True  # the Trainer wants this said before it computes in bf16 on a CPU
        self.dataloader_pin_memory = self.dataloader_pin_memory and torch.cuda.is_available()
        metric = (self.metric_for_best_model or "loss").removeprefix("eval_")
        self.greater_is_better = not metric.startswith(LOWER_IS_BETTER)
        super().__post_init__()
        if self.lr_scheduler_type == PLATEAU:
            # The Trainer leaves torch's default, `min`, which would cut the rate whenever a correlation rises.
            self.lr_scheduler_kwargs = {"mode": "max" if self.greater_is_better else "min"} | (
                self.lr_scheduler_kwargs or {}
            )


class EpochClock(TrainerCallback):
    """Tells the training rows which pass over them begins, so that masks are drawn anew, also after a resume."""

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **handed: Any) -> None:
        handed["train_dataloader"].dataset.epoch = int(state.epoch or 0)


class KeepSettings(TrainerCallback):
    """Writes into each checkpoint what decides rows, network and loss, for a run that goes on from it."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = settings

    def on_save(self, args: Any, state: Any, control: Any, **handed: Any) -> None:
        if state.is_world_process_zero:
            keep_settings(Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}", self.settings)


class EarlyStopping(EarlyStoppingCallback):
    """Counts on from where a checkpoint stopped counting, with the patience that is asked for now.

    `--restore_callback_states_from_checkpoint` would bring back the old patience, too.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, **handed: Any) -> None:
        super().on_train_begin(args, state, control, **handed)
        # The Trainer expects an entry, which a checkpoint of a run without early stopping does not have.
        saved = state.stateful_callbacks.setdefault(type(self).__name__, self.state())
        self.early_stopping_patience_counter = saved["attributes"]["early_stopping_patience_counter"]


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


def callbacks(arguments: KmerTrainingArguments, *groups: Any) -> list[TrainerCallback]:
    """The callbacks of every run: epoch clock, time to go, kept settings (of `groups`, too), early stopping if wanted."""
    found = [EpochClock(), TimeToGo(), KeepSettings(run_settings(arguments, *groups))]
    stop = arguments.early_stopping_patience
    return [*found, EarlyStopping(early_stopping_patience=stop)] if stop else found


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

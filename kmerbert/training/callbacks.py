"""What a training run says of its size and speed: device, precision, processes, batch, steps, time to go."""

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import EarlyStoppingCallback, TrainerCallback, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from kmerbert.training.flags import KmerTrainingArguments
from kmerbert.training.folder import (
    keep_settings,
    run_settings,
)

logger = logging.getLogger(__name__)
# The speed is told when this much is behind a run; its first steps are slower than all others.
SKIPPED_STEPS, LEAST_STEPS, LEAST_SECONDS = 3, 10, 10.0


def describe_run(arguments: TrainingArguments) -> str:
    """One line: device, precision, processes and sequences in one step of the optimizer."""
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    precision = "bf16" if arguments.bf16 else "fp16" if arguments.fp16 else precision
    return (
        f"{arguments.world_size} process(es) on {arguments.device}, {'fp32' if precision == 'no' else precision}; "
        f"{sequences_in_step(arguments)} sequences a step ({arguments.train_batch_size} x {arguments.world_size} processes x "
        f"{arguments.gradient_accumulation_steps} accumulated)"
    )


def sequences_in_step(arguments: TrainingArguments) -> int:
    """Sequences of all processes and accumulated batches in one step of the optimizer."""
    return arguments.train_batch_size * arguments.world_size * arguments.gradient_accumulation_steps


def words_for(seconds: float) -> str:
    """A duration as people say it, in two units at most.

    >>> words_for(42.4), words_for(7500), words_for(200000)
    ('42 s', '2 h 5 min', '2 d 8 h')
    """
    seconds = round(seconds)
    for name, length, smaller, unit in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if seconds >= length:
            return f"{seconds // length} {name} {seconds % length // unit} {smaller}"
    return f"{seconds} s"


class TimeToGo(TrainerCallback):
    """Logs the number of steps when training starts and, once its speed is known, the time that it will take."""

    def __init__(self) -> None:
        self.started = 0.0
        self.first_step: int | None = None

    def on_train_begin(self, args: TrainingArguments, state: Any, control: Any, **handed: Any) -> None:
        done = f", {state.global_step} of them done before" if state.global_step else ""
        logger.info("%d steps in %.3g epochs%s", state.max_steps, state.num_train_epochs, done)
        self.first_step = state.global_step + SKIPPED_STEPS

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **handed: Any) -> None:
        if self.first_step is None:
            return
        if state.global_step <= self.first_step:
            self.started = time.monotonic()
            return
        n_steps, seconds = state.global_step - self.first_step, time.monotonic() - self.started
        if n_steps < LEAST_STEPS or seconds < LEAST_SECONDS:
            return
        self.first_step = None  # said once; the progress bar goes on
        speed = seconds / n_steps
        logger.info(
            "%.3g s a step, %.0f sequences/s: about %s to go, evaluations not counted",
            *(speed, sequences_in_step(args) / speed, words_for(speed * (state.max_steps - state.global_step))),
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


def callbacks(arguments: KmerTrainingArguments, *groups: Any) -> list[TrainerCallback]:
    """The callbacks of every run: epoch clock, time to go, kept settings (of `groups`, too), early stopping if wanted."""
    found = [EpochClock(), TimeToGo(), KeepSettings(run_settings(arguments, *groups))]
    stop = arguments.early_stopping_patience
    return [*found, EarlyStopping(early_stopping_patience=stop)] if stop else found

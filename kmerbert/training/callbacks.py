"""What happens during a training run, in addition to the Trainer's own work; and how a run describes its size and speed."""

import logging
import os
import time
from typing import Any

from transformers import EarlyStoppingCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from kmerbert.training.flags import KmerTrainingArguments

logger = logging.getLogger(__name__)
# The speed is reported after this much of a run; its first steps are slower than all others.
SKIPPED_STEPS, LEAST_STEPS, LEAST_SECONDS = 3, 10, 10.0


class EpochClock(TrainerCallback):
    """Tells the training rows which epoch begins, so that each epoch has new masks, also after a resume."""

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        given["train_dataloader"].dataset.epoch = int(state.epoch or 0)


class EarlyStopping(EarlyStoppingCallback):
    """Continues counting where a checkpoint stopped, with the patience that is given now.

    `--restore_callback_states_from_checkpoint` would bring back the old patience, too.
    """

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        super().on_train_begin(args, state, control, **given)
        # The Trainer expects an entry, which a checkpoint of a run without early stopping does not have.
        saved = state.stateful_callbacks.setdefault(type(self).__name__, self.state())
        self.early_stopping_patience_counter = saved["attributes"]["early_stopping_patience_counter"]
        if self.early_stopping_patience_counter >= self.early_stopping_patience:
            logger.info(
                "the last %d evaluations were no better, and `early_stopping_patience` is %d: no more steps",
                *(self.early_stopping_patience_counter, self.early_stopping_patience),
            )
            control.should_training_stop = True


class TimeToGo(TrainerCallback):
    """Logs the number of steps when training starts and, once its speed is known, the time that it will take."""

    def __init__(self) -> None:
        self.started = 0.0
        self.first_step: int | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        done = f", {state.global_step} of them done before" if state.global_step else ""
        logger.info("%d steps in %.3g epochs%s", state.max_steps, state.num_train_epochs, done)
        self.first_step = state.global_step + SKIPPED_STEPS

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        if self.first_step is None:
            return
        if state.global_step <= self.first_step:
            self.started = time.monotonic()
            return
        n_steps, seconds = state.global_step - self.first_step, time.monotonic() - self.started
        if n_steps < LEAST_STEPS or seconds < LEAST_SECONDS:
            return
        self.first_step = None  # reported once; the progress bar goes on
        speed = seconds / n_steps
        logger.info(
            "%.3g s a step, %.0f sequences/s: about %s to go, evaluations not counted",
            *(speed, sequences_in_step(args) / speed, as_duration(speed * (state.max_steps - state.global_step))),
        )


def make_callbacks(arguments: KmerTrainingArguments) -> list[TrainerCallback]:
    """Returns the callbacks of every run."""
    callbacks = [EpochClock(), TimeToGo()]
    if arguments.early_stopping_patience:
        callbacks.append(EarlyStopping(early_stopping_patience=arguments.early_stopping_patience))
    return callbacks


def describe_run(arguments: TrainingArguments) -> str:
    """Returns one line: device, precision, processes, and sequences in one step of the optimizer."""
    return (
        f"{arguments.world_size} process(es) on {arguments.device}, {precision_of(arguments)}; "
        f"{sequences_in_step(arguments)} sequences a step ({arguments.train_batch_size} x {arguments.world_size} processes x "
        f"{arguments.gradient_accumulation_steps} accumulated)"
    )


def precision_of(arguments: TrainingArguments) -> str:
    """Returns `bf16`, `fp16` or `fp32`, as the flags say or otherwise `accelerate launch`."""
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    precision = "bf16" if arguments.bf16 else "fp16" if arguments.fp16 else launched
    return "fp32" if precision == "no" else precision


def sequences_in_step(arguments: TrainingArguments) -> int:
    """Sequences of all processes and accumulated batches in one step of the optimizer."""
    return arguments.train_batch_size * arguments.world_size * arguments.gradient_accumulation_steps


def as_duration(seconds: float) -> str:
    """Returns a duration as people say it, in two units at most.

    >>> as_duration(42.4), as_duration(7500), as_duration(200000)
    ('42 s', '2 h 5 min', '2 d 7 h')
    """
    seconds = round(seconds)
    for name, length, smaller, unit in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if seconds >= length:
            return f"{seconds // length} {name} {seconds % length // unit} {smaller}"
    return f"{seconds} s"

"""What a training run says of its size and speed: device, precision, processes, batch, steps, time to go."""

import logging
import os
import time
from typing import Any

from transformers import TrainerCallback, TrainingArguments

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

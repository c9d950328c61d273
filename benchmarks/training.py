"""What several benchmarks need in order to train: rows as the scripts read them, and the time of every step."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback, trainer

from kmerbert.cli.flags import RegressionDataArguments
from kmerbert.tokens.batches import TokenDataset
from kmerbert.training.flags import RegressionArguments
from kmerbert.training.splits import load_splits
from tokenization_kmer import KmerTokenizer

SKIPPED = 3  # steps that are not counted: memory is allocated, kernels are chosen


def load_rows(folder: Path, tokenizer: KmerTokenizer, **flags: Any) -> dict[str, TokenDataset]:
    """Reads, checks, tokenises and divides rows as run_finetune_regression.py does with these flags.

    Args:
        folder: For the tokens, in `tokens`.
        tokenizer: Gives the token ids.
        flags: Of `RegressionDataArguments`.
    """
    data = RegressionDataArguments(**{"token_cache_dir": str(folder / "tokens")} | flags)
    training = RegressionArguments(output_dir=str(folder / "run"))
    return load_splits(data, training, tokenizer, None, tuple(data.label_columns))


class StepTimer(TrainerCallback):
    """Keeps the time at which each step of a training run ended."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self.ends: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if torch.cuda.is_available() and state.global_step in (SKIPPED, state.max_steps):
            torch.cuda.synchronize()  # in between, the processor runs ahead as it does in training
        self.ends.append(self.clock())

    def seconds(self) -> float:
        """Seconds of a step: the mean on a GPU, which is not waited for at each step, otherwise the median."""
        ends = self.ends[SKIPPED - 1 :]
        steps = np.diff(ends).tolist()
        return (ends[-1] - ends[0]) / len(steps) if torch.cuda.is_available() else statistics.median(steps)


@contextmanager
def timed_steps(clock: Callable[[], float] = time.perf_counter) -> Iterator[StepTimer]:
    """Times the steps of whatever trains by a Trainer in this block."""
    timer = StepTimer(clock)
    trainer.DEFAULT_CALLBACKS.append(timer)
    try:
        yield timer
    finally:
        trainer.DEFAULT_CALLBACKS.remove(timer)

"""Training rows from Parquet shards, read while training goes on: data may be larger than memory and than any cache.

The order of an epoch is a function of seed, epoch and number of processes alone. Row groups are shuffled and laid end to
end; each process gets an equal stretch of these rows, reads it window by window, and shuffles the rows of a window. So a
position in the epoch says which window it is in, and a run that is resumed in the middle of an epoch reads nothing of
the windows before. Rows are checked as they come; sequences found twice, or on two sides, are not looked for.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch

from kmerbert.reading.shards import Shards, Tokens, join
from kmerbert.tokens.batches import TokenDataset
from kmerbert.tokens.targets import TargetScaler

# Rows that are shuffled among each other; of 107 tokens they take 21 MB, and two windows are in memory at a time.
WINDOW_ROWS = 100_000


class Window(NamedTuple):
    """Rows that are in memory: their ids, where each begins and how long it is, and their numbers in the data (int64)."""

    ids: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    numbers: np.ndarray


class StreamedDataset(torch.utils.data.Dataset):
    """Rows of Parquet shards in the order of training; what `Trainer` is given as a dataset, with a sequential sampler.

    Positions 0, 1, ... are laid out as `accelerate` deals batches to processes: one batch to each in turn. Every process
    asks only for its own, and reads only these. Rows that do not fill a batch for every process are left out of an
    epoch, others in each.

    Attributes:
        shards: where the rows are.
        epoch: number of the pass over the data, 0-based; the order differs in each.
        scaler: gives the batches their labels; None for none.

    Args:
        tokenizer: needs `encode_ids`, `n_tokens`, `k`, `stride`, `pad_token_id` and `unk_token_id`.
        batch_size: rows of a batch of one process.
        world_size: number of processes.
        seed: of the order.
        window_rows: rows that are shuffled among each other; whole batches of them are used.

    Raises:
        ValueError: for fewer rows than one batch for every process.
    """

    def __init__(
        self,
        shards: Shards,
        tokenizer: Any,
        batch_size: int,
        world_size: int = 1,
        seed: int = 0,
        window_rows: int = WINDOW_ROWS,
    ) -> None:
        self.shards, self.tokenizer = shards, tokenizer
        self.scaler: TargetScaler | None = None
        self.batch_size, self.world_size, self.seed, self.epoch = batch_size, world_size, seed, 0
        self.window_rows = max(1, window_rows // batch_size) * batch_size
        self.group_rows = np.array([group.n_rows for group in shards.groups])
        if shards.spec.window:  # only the sequences tell how many windows they are cut into
            self.group_rows = np.array([len(shards.tokenise(group, tokenizer).lengths) for group in shards.groups])
        self.group_first = np.cumsum(self.group_rows) - self.group_rows
        self.n_rows = int(self.group_rows.sum())
        self.n_own = self.n_rows // (batch_size * world_size) * batch_size
        if not self.n_own:
            raise ValueError(
                f"{shards.name}: {self.n_rows} rows are fewer than one batch of {batch_size} for each of {world_size} "
                "process(es): lower --per_device_train_batch_size"
            )
        self._pool = ThreadPoolExecutor(1)  # one thread, so that windows are read one after the other
        self._windows: dict[tuple[int, int, int], Future] = {}
        self._kept: tuple[int, Tokens] | None = None  # the group that the next window goes on with

    def __len__(self) -> int:
        return self.n_own * self.world_size

    def __getitem__(self, position: int) -> dict[str, Any]:
        return self.__getitems__([position])

    def __getitems__(self, positions: Sequence[int]) -> dict[str, Any]:
        """Gathers a batch, as `TokenDataset.__getitems__` does; `row` counts through all shards.

        Args:
            positions: in the order of the epoch, all of one batch.
        """
        process, batch = int(positions[0]) // self.batch_size % self.world_size, np.asarray(positions)
        own = batch // (self.batch_size * self.world_size) * self.batch_size + batch % self.batch_size
        number = int(own[0]) // self.window_rows
        rows, numbers = self._window((self.epoch, process, number))
        rows.epoch = self.epoch
        found = rows.__getitems__(own - number * self.window_rows)
        return found | {"row": numbers[found["row"]]}

    def _window(self, key: tuple[int, int, int]) -> tuple[TokenDataset, np.ndarray]:
        """A window; the following one is read in the background."""
        epoch, process, number = key
        following = (epoch, process, number + 1)
        wanted = [key] if (number + 1) * self.window_rows >= self.n_own else [key, following]
        for old in self._windows.keys() - set(wanted):
            del self._windows[old]  # before another is read, so that no more than two are in memory
        for each in wanted:
            if each not in self._windows:
                self._windows[each] = self._pool.submit(self._read, *each)
        return self._windows[key].result()

    def _parts(self, epoch: int, process: int, number: int) -> list[tuple[int, int, int]]:
        """What a window holds: row group, its first row and the row after its last."""
        random = np.random.default_rng([self.seed, epoch])
        order = random.permutation(len(self.group_rows))
        ends = np.cumsum(self.group_rows[order])
        # The rows that are left out stand before and after: others in each epoch, even of a single group.
        skipped = int(random.integers(self.n_rows - len(self) + 1))
        start = skipped + process * self.n_own + number * self.window_rows
        end = min(start + self.window_rows, skipped + (process + 1) * self.n_own)
        parts = []
        for place in range(np.searchsorted(ends, start, "right"), np.searchsorted(ends, end, "left") + 1):
            group = int(order[place])
            before = int(ends[place]) - int(self.group_rows[group])
            parts.append((group, max(start - before, 0), min(end - before, int(self.group_rows[group]))))
        return parts

    def _read(self, epoch: int, process: int, number: int) -> tuple[TokenDataset, np.ndarray]:
        """Reads a window and shuffles it; returns its rows, and the numbers of those that they are known by."""
        parts = self._parts(epoch, process, number)
        tokens = join([self._group(group, end).part(start, end) for group, start, end in parts])
        numbers = np.concatenate([self.group_first[group] + np.arange(start, end) for group, start, end in parts])
        window = Window(tokens.ids, np.cumsum(tokens.lengths) - tokens.lengths, tokens.lengths, numbers)
        order = np.random.default_rng([self.seed, epoch, process, number]).permutation(len(numbers))
        targets = self.scaler.transform(tokens.labels)[order] if self.scaler else None
        return TokenDataset(window, order, self.tokenizer.pad_token_id, targets), numbers

    def _group(self, number: int, end: int) -> Tokens:
        """The rows of a group, kept for the next window where they are not used up to their end."""
        kept = self._kept
        self._kept = None
        tokens = (
            kept[1] if kept and kept[0] == number else self.shards.tokenise(self.shards.groups[number], self.tokenizer)
        )
        if len(tokens.lengths) != self.group_rows[number]:
            raise ValueError(f"{self.shards.name}: the files changed while they were in use: start anew")
        if end < len(tokens.lengths):
            self._kept = number, tokens
        return tokens

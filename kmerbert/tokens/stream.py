"""Training rows from Parquet shards, read while training goes on: data may be larger than memory and than any cache.

The order of an epoch is a function of seed, epoch, batch size and number of processes alone. Row groups are shuffled and
laid end to end; each process gets an equal stretch of these rows, reads it window by window, and shuffles the rows of a
window. So a position in the epoch says which window it is in, and a run that is resumed in the middle of an epoch reads
nothing of the windows before. Labels are all read before training; sequences are checked as they are read. Nothing looks
for training sequences that occur twice.
"""

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch

from kmerbert.reading.rows import (
    check_reading_frames,
    check_unknown,
    hash_texts,
    read_dna,
    read_labels,
    read_rows,
    without_gaps,
)
from kmerbert.reading.shards import Group, Shards
from kmerbert.reading.sources import FileSource
from kmerbert.reading.training_range import Letters, read_letters
from kmerbert.reading.training_sample import TrainingSample
from kmerbert.tokens.batches import MOST_BASES, MOST_ROWS, Examples, TokenDataset, facts_of_rows
from kmerbert.tokens.cache import without_padding
from kmerbert.tokens.targets import TargetScaler
from tokenization_kmer import N_ADDED, KmerTokenizer

logger = logging.getLogger(__name__)
# Rows that are shuffled among each other; with 107 tokens they take 21 MB, and two windows are in memory at a time.
WINDOW_ROWS = 100_000


class Tokens(NamedTuple):
    """Tokenised rows: all ids end to end (smallest int type), ids of each row (int64), labels float64 (n, outputs)."""

    ids: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray

    def part(self, start: int, end: int) -> "Tokens":
        """Rows from start up to, but not including, end; views, no copies."""
        first = self.lengths[:start].sum()
        ids = self.ids[first : first + self.lengths[start:end].sum()]
        return Tokens(ids, self.lengths[start:end], self.labels[start:end])


def join(parts: Sequence[Tokens]) -> Tokens:
    """Returns the rows of all parts, one after the other."""
    return Tokens(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


class Window(NamedTuple):
    """Rows in memory: their ids, where each begins and how long it is, and their numbers in the data (all int64)."""

    ids: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    numbers: np.ndarray


class StreamedDataset(torch.utils.data.Dataset):
    """Rows of Parquet shards in the order of training; what `Trainer` is given as a dataset, with a sequential sampler.

    Positions 0, 1, ... are laid out as `accelerate` deals batches to processes: one batch to each in turn. Every process
    asks only for its own positions, and reads only those rows. Rows that do not fill a batch for every process are left
    out of an epoch, other rows in each.

    Attributes:
        shards: Where the rows are.
        epoch: Number of the pass over the data, 0-based; the order differs in each.
        scaler: Gives the batches their labels; None for none.
        n_frames: Reading frames for which every row must have a k-mer.

    Args:
        tokenizer: Gives the token ids.
        batch_size: Rows of a batch of one process.
        world_size: Number of processes.
        seed: Of the order.
        window_rows: Rows that are shuffled among each other, rounded down to whole batches.

    Raises:
        ValueError: There are fewer rows than one batch for every process.
    """

    is_dealt_by_batches = True

    def __init__(
        self,
        shards: Shards,
        tokenizer: KmerTokenizer,
        batch_size: int,
        world_size: int = 1,
        seed: int = 0,
        window_rows: int = WINDOW_ROWS,
    ) -> None:
        self.shards, self.tokenizer = shards, tokenizer
        self.scaler: TargetScaler | None = None
        self.n_frames = 1
        self._held_out: tuple[np.ndarray, Callable[[int], str]] | None = None
        self._n_leaks = 0
        self._digests: dict[Group, str] = {}  # of the row groups that were read
        self._sample = TrainingSample.of(np.empty(0, np.uint64))
        self.batch_size, self.world_size, self.seed, self.epoch = batch_size, world_size, seed, 0
        self.window_rows = max(1, window_rows // batch_size) * batch_size
        self._groups = shards.groups
        self.group_rows = np.array([group.n_rows for group in self._groups])
        if shards.spec.window:  # only the sequences tell how many windows they are cut into, and which are gaps
            self._n_gaps = 0
            n_windows = {group: len(self._tokenise(group).lengths) for group in self._groups}
            self._groups = [group for group, n_rows in n_windows.items() if n_rows]
            self.group_rows = np.array([n_windows[group] for group in self._groups], np.int64)
            if self._n_gaps:
                message = "%s: %d windows are gaps, without a k-mer of known bases: left out"
                logger.info(message, shards.name, self._n_gaps)
        self.group_first = np.cumsum(self.group_rows) - self.group_rows
        self.n_rows = int(self.group_rows.sum())
        self.n_own = self.n_rows // (batch_size * world_size) * batch_size
        if not self.n_own:
            raise ValueError(
                f"{shards.name}: {self.n_rows} rows are fewer than one batch of {batch_size} for each of {world_size} "
                "process(es): lower `per_device_train_batch_size`"
            )
        self._pool = ThreadPoolExecutor(1)  # one thread, so that windows are read one after the other
        self._windows: dict[tuple[int, int, int], Future] = {}
        self._kept: tuple[int, Tokens] | None = None  # the group that the next window continues with

    def __len__(self) -> int:
        return self.n_own * self.world_size

    @property
    def name(self) -> str:
        """Name of the shards."""
        return self.shards.name

    def checksum(self) -> str:
        """SHA-256 of the shards' footers."""
        return self.shards.checksum

    def facts(self) -> dict[str, Any]:
        """What a published model should say about these rows; see `facts_of_rows`.

        The lengths are those of the first row group, and the checksum covers the shards' footers and labels.

        Raises:
            ValueError: Most k-mers of the first row group are not DNA of the alphabet.
        """
        tokens = self._tokenise(self._groups[0])
        n_kmers = tokens.lengths - N_ADDED
        n_unknown = np.count_nonzero(tokens.ids == self.tokenizer.unk_token_id)
        check_unknown(n_unknown / n_kmers.sum(), f"{self.shards.name}, first row group")
        k, stride = self.tokenizer.k, self.tokenizer.stride
        return facts_of_rows(self.shards.name, self.shards.checksum, self.n_rows, n_kmers, k, stride)

    def counts(self) -> dict[str, int]:
        """Rows that are left out of an epoch, others in each; nothing looks for repeated sequences."""
        return {"rows left out of each epoch": self.n_rows - len(self)}

    def rejected(self) -> dict[str, int]:
        """Nothing: a row that cannot be used is an error."""
        return {}

    def training_sample(self) -> TrainingSample:
        """A sample of the sequences that this process has read so far; see `TokenDataset.training_sample`."""
        return self._sample

    def letters(self, alphabet: str) -> Letters:
        """Reads some rows as the model reads them, of as many row groups as there are; the letters are the tokenizer's."""
        groups = np.random.default_rng(0).permutation(len(self._groups))[:MOST_ROWS]
        spec, sequences = replace(self.shards.spec, labels=(), id=None), []
        for group in groups:
            for batch, source in self.shards.read(self._groups[group], spec.columns):
                some = read_rows(batch, source, spec, self.tokenizer)[0]
                sequences += some[: -(-MOST_ROWS // len(groups))]
                break
            if len(sequences) >= MOST_ROWS or sum(map(len, sequences)) >= MOST_BASES:
                break
        return read_letters(sequences)

    def label_blocks(self) -> Iterator[np.ndarray]:
        """Yields all measured values, in one pass over the label columns alone."""
        return self.shards.labels()

    def examples(self, n: int, seed: int, sequence_column: str) -> Examples:
        """Reads the first n rows of row groups in random order, as the source has them."""
        names, sequences, labels = self.shards.spec.labels, [], []
        for number in np.random.default_rng(seed).permutation(len(self._groups)):
            for batch, source in self.shards.read(self._groups[number], [sequence_column, *names]):
                sequences += read_dna(batch, source, sequence_column)
                labels.append(read_labels(batch, source, names, self.shards.spec.transform))
                if len(sequences) >= n:
                    return Examples(sequences[:n], np.concatenate(labels)[:n])
        return Examples(sequences, np.concatenate(labels))

    def look_for(self, keys: np.ndarray, location: Callable[[int], str]) -> None:
        """Warns, once they are read, of rows whose sequence a held-out row has, too.

        Args:
            keys: uint64 array (n,) of the held-out rows: `hash_texts` of their sequences as a model reads them or, if the
                rows are read with `both_strands`, their `strand_keys`.
            location: Where a held-out row (0-based) is, for messages.
        """
        self._held_out = keys, location

    def with_targets(self, scaler: TargetScaler) -> "StreamedDataset":
        """Returns this dataset, whose batches have standardised labels as targets from now on."""
        self.scaler = scaler
        self._windows.clear()  # they were read without these targets
        return self

    def check_reading_frames(self, n_frames: int) -> None:
        """Makes every row that is read from now on have a k-mer for each reading frame, or be an error."""
        self.n_frames = n_frames

    def __getitem__(self, position: int) -> dict[str, Any]:
        return self.__getitems__([position])

    def __getitems__(self, positions: Sequence[int]) -> dict[str, Any]:
        """Gathers a batch, as `TokenDataset.__getitems__` does; `row` counts through all shards.

        Args:
            positions: In the order of the epoch, all of one batch.
        """
        process, batch = int(positions[0]) // self.batch_size % self.world_size, np.asarray(positions)
        rows = batch // (self.batch_size * self.world_size) * self.batch_size + batch % self.batch_size
        number = int(rows[0]) // self.window_rows
        window, numbers = self._window((self.epoch, process, number))
        window.epoch = self.epoch
        gathered = window.__getitems__(rows - number * self.window_rows)
        return gathered | {"row": numbers[gathered["row"]]}

    def _window(self, key: tuple[int, int, int]) -> tuple[TokenDataset, np.ndarray]:
        """A window; the following one is read in the background."""
        epoch, process, number = key
        following = (epoch, process, number + 1)
        needed = [key] if (number + 1) * self.window_rows >= self.n_own else [key, following]
        for old in self._windows.keys() - set(needed):
            del self._windows[old]  # before another is read, so that no more than two are in memory
        for each in needed:
            if each not in self._windows:
                self._windows[each] = self._pool.submit(self._read, *each)
        return self._windows[key].result()

    def _parts(self, epoch: int, process: int, number: int) -> list[tuple[int, int, int]]:
        """What a window contains: row group, its first row and the row after its last."""
        random = np.random.default_rng([self.seed, epoch])
        order = random.permutation(len(self.group_rows))
        ends = np.cumsum(self.group_rows[order])
        # The rows that are left out are before and after: others in each epoch, even of a single group.
        skipped = int(random.integers(self.n_rows - len(self) + 1))
        start = skipped + process * self.n_own + number * self.window_rows
        end = min(start + self.window_rows, skipped + (process + 1) * self.n_own)
        parts = []
        for position in range(np.searchsorted(ends, start, "right"), np.searchsorted(ends, end, "left") + 1):
            group = int(order[position])
            before = int(ends[position]) - int(self.group_rows[group])
            parts.append((group, max(start - before, 0), min(end - before, int(self.group_rows[group]))))
        return parts

    def _read(self, epoch: int, process: int, number: int) -> tuple[TokenDataset, np.ndarray]:
        """Reads a window and shuffles it; returns its rows, and their numbers in the data."""
        parts = self._parts(epoch, process, number)
        tokens = join([self._group(group, end).part(start, end) for group, start, end in parts])
        numbers = np.concatenate([self.group_first[group] + np.arange(start, end) for group, start, end in parts])
        window = Window(tokens.ids, np.cumsum(tokens.lengths) - tokens.lengths, tokens.lengths, numbers)
        order = np.random.default_rng([self.seed, epoch, process, number]).permutation(len(numbers))
        targets = self.scaler.transform(tokens.labels.astype(np.float32))[order] if self.scaler else None
        return TokenDataset(window, order, self.tokenizer.pad_token_id, targets), numbers

    def _group(self, number: int, end: int) -> Tokens:
        """The rows of a group, kept for the next window if they are not used up to their end."""
        kept = self._kept
        self._kept = None
        tokens = kept[1] if kept and kept[0] == number else self._tokenise(self._groups[number])
        if len(tokens.lengths) != self.group_rows[number]:
            raise ValueError(f"{self.shards.name}: the files changed while they were in use: start again")
        if end < len(tokens.lengths):
            self._kept = number, tokens
        return tokens

    def _tokenise(self, group: Group) -> Tokens:
        """Checks, cuts and tokenises a row group; ValueError for a row that cannot be used, with its shard and row."""
        spec, tokenizer, parts = self.shards.spec, self.tokenizer, []
        labels_digest, digest, is_new = hashlib.sha256(), hashlib.sha256(), group not in self._digests
        for batch, source in self.shards.read(group, spec.columns):
            sequences, columns = read_rows(batch, source, spec, tokenizer)
            if spec.window:
                sequences, columns, n_left_out = without_gaps(sequences, columns, tokenizer.k)
                self._n_gaps += n_left_out
                if not sequences:
                    continue
            n_kmers = tokenizer.n_tokens(np.fromiter(map(len, sequences), np.int64, len(sequences)))
            check_reading_frames(n_kmers, columns["numbers"], source, self.n_frames)
            ids, lengths = without_padding(tokenizer.encode_ids(sequences), n_kmers + N_ADDED)
            parts.append(Tokens(ids, lengths, columns.get("labels", np.empty((len(sequences), 0)))))
            keys = hash_texts(sequences)
            labels_digest.update(parts[-1].labels.tobytes())
            digest.update(keys.tobytes())
            if is_new:
                self._sample = TrainingSample.of(np.concatenate([self._sample.hashes, keys]))
            if is_new and self._held_out:
                self._warn_of_leaks(columns.get("strand_keys", keys), columns["numbers"], source)
        digest.update(labels_digest.digest())
        # The file's size, which is compared at each reading, may be the same.
        is_same = self.shards.label_digests.get(group, labels_digest.hexdigest()) == labels_digest.hexdigest()
        if not is_same or self._digests.setdefault(group, digest.hexdigest()) != digest.hexdigest():
            raise ValueError(
                f"{self.shards.shards[group.shard].name}: the file changed while it was in use: start again"
            )
        nothing = Tokens(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, len(spec.labels))))
        return join(parts) if parts else nothing

    def _warn_of_leaks(self, keys: np.ndarray, numbers: np.ndarray, source: FileSource) -> None:
        """Warns of the first row that is held out, too, and again whenever there are ten times as many."""
        held_out, location = self._held_out
        leaks = np.flatnonzero(np.isin(keys, held_out))
        before, self._n_leaks = self._n_leaks, self._n_leaks + len(leaks)
        if len(str(self._n_leaks)) > len(str(before)) or (len(leaks) and not before):
            other = location(int(np.flatnonzero(held_out == keys[leaks[0]])[0]))
            logger.warning(
                "%s (train) and %s have the same sequence: %d such rows so far; scores of held-out rows that are trained on "
                "say nothing: remove them from the shards",
                *(source.location(int(numbers[leaks[0]])), other, self._n_leaks),
            )

"""Rows of a token table as batches: what `Trainer` is given as a dataset and as a collator.

`TokenDataset.__getitems__` gathers a batch in one indexing of the memory-mapped Arrow file, so no row ever becomes a
Python object. `StreamedDataset` in `stream.py` answers the same questions about rows that are read while training.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from kmerbert.reading.rows import check_reading_frames, n_distinct, read_dna
from kmerbert.reading.sources import as_text, find_id_column
from kmerbert.reading.training_sample import TrainingSample
from kmerbert.tokens.cache import TokenTable
from kmerbert.tokens.targets import TargetScaler
from tokenization_kmer import N_ADDED


class Examples(NamedTuple):
    """Some rows as the source has them: n sequences in the letters ACGTN, uncut; measured values, float64 (n, outputs)."""

    sequences: list[str]
    labels: np.ndarray


class TrainingRows(Protocol):
    """What a training script asks of its rows, wherever they are."""

    name: str  # of their source, for messages
    is_dealt_by_batches: bool  # whether their order depends on the batch size and the number of processes

    def __len__(self) -> int: ...

    def checksum(self) -> str:
        """SHA-256 of the rows in their order, with their labels."""

    def facts(self) -> dict[str, Any]:
        """What a published model should say about its training rows."""

    def counts(self) -> dict[str, int]:
        """What else there is to count in these rows: texts and numbers."""

    def rejected(self) -> dict[str, int]:
        """How many rows of the file, by its name, could not be used and were left out; empty if none were."""

    def training_sample(self) -> TrainingSample:
        """What a published model keeps of its training sequences; of a stream, of those that were read."""

    def label_blocks(self) -> Iterator[np.ndarray]:
        """Measured values in their own unit, float arrays (n, outputs), NaN where missing."""

    def examples(self, n: int, seed: int, sequence_column: str) -> Examples:
        """Some n rows with labels, or all if they are fewer, read again; none of windows. Of a stream, some row groups."""

    def with_targets(self, scaler: TargetScaler) -> "TrainingRows":
        """The same rows with standardised labels as targets of the model."""

    def check_reading_frames(self, n_frames: int) -> None:
        """Checks, now or when they are read, that every row has a k-mer for each reading frame."""


def facts_of_rows(
    name: str, checksum: str, n_rows: int, n_kmers: np.ndarray, k: int, stride: int, n_rejected: int = 0
) -> dict[str, Any]:
    """What a published model should say about its training rows: name, checksum, numbers, range of lengths in bases.

    Args:
        name, checksum, n_rows: Of the rows.
        n_kmers: int array (n,), k-mers of the rows, or of some of them.
        k, stride: Bases of a k-mer, and between the starts of two.
        n_rejected: Rows of the whole table that could not be used and were left out.
    """
    bases = (n_kmers - 1) * stride + k
    lengths = [int(bases.min()), int(bases.max())]
    facts = {"data_name": name, "data_checksum": checksum, "n_training_rows": n_rows, "sequence_length": lengths}
    return facts | {"n_rejected_rows": n_rejected}


class TokenDataset(torch.utils.data.Dataset):
    """Rows of one split, as batches of arrays.

    Attributes:
        table: The tokenised rows that these are some of; anything with `ids`, `starts` and `lengths` of rows.
        rows: int64 array (n,), row numbers in `table`, 0-based.
        targets: float32 array (n, outputs) for the model, or None; set by `with_targets`.
        epoch: Number of the pass over the data, 0-based; each has new masks.
    """

    is_dealt_by_batches = False

    def __init__(self, table: TokenTable, rows: np.ndarray, pad_id: int, targets: np.ndarray | None = None) -> None:
        self.table, self.rows, self.pad_id, self.targets = table, rows, pad_id, targets
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def name(self) -> str:
        """Name of the source."""
        return self.table.source.name

    def checksum(self) -> str:
        """SHA-256 of the sequences' hashes and the labels, both in the order of the rows."""
        digest = hashlib.sha256(self.table.keys[self.rows])
        digest.update(np.ascontiguousarray(self.labels))
        return digest.hexdigest()

    @property
    def labels(self) -> np.ndarray:
        """float64 array (n, outputs) of measured values in their own unit, NaN where missing."""
        return self.table.labels[self.rows]

    def label_blocks(self) -> Iterator[np.ndarray]:
        """Yields all labels as one block, float32 as models compute; `check_precision` says when that is too coarse."""
        yield self.labels.astype(np.float32)

    def examples(self, n: int, seed: int, sequence_column: str) -> Examples:
        """Reads n rows drawn at random, or all, from the source again.

        Raises:
            ValueError: The source has changed since its rows were tokenised.
        """
        some = self.sample(n, seed)
        batches = self.table.read_again([sequence_column], some.rows)
        sequences = [sequence for batch in batches for sequence in read_dna(batch, self.table.source, sequence_column)]
        return Examples(sequences, some.labels)

    def with_targets(self, scaler: TargetScaler) -> "TokenDataset":
        """Returns the same rows with standardised labels as targets."""
        return TokenDataset(self.table, self.rows, self.pad_id, scaler.transform(self.labels.astype(np.float32)))

    def sample(self, n: int | None, seed: int) -> "TokenDataset":
        """Returns n rows drawn at random, in their order, or all for None; more rows of one seed include the fewer."""
        if n is None or n >= len(self):
            return self
        drawn = np.sort(np.random.default_rng(seed).permutation(len(self))[:n])
        targets = None if self.targets is None else self.targets[drawn]
        return TokenDataset(self.table, self.rows[drawn], self.pad_id, targets)

    def facts(self) -> dict[str, Any]:
        """What a published model should say about these rows; see `facts_of_rows`."""
        table = self.table
        n_kmers = table.lengths[self.rows] - N_ADDED
        names = table.source.short_name, table.source.checksum
        return facts_of_rows(*names, len(self), n_kmers, table.k, table.stride, len(table.rejected))

    def counts(self) -> dict[str, int]:
        """Rows whose sequence, on either strand where the table counts both as one, an earlier row has; groups."""
        table = self.table
        keys = table.keys if table.strand_keys is None else table.strand_keys
        counts = {"rows that repeat a sequence": len(self) - n_distinct(keys[self.rows])}
        return counts if table.groups is None else counts | {"groups": n_distinct(table.groups[self.rows])}

    def rejected(self) -> dict[str, int]:
        """Rows of the whole file that could not be used and were left out, by its name."""
        return {self.table.source.short_name: len(self.table.rejected)} if self.table.rejected else {}

    def training_sample(self) -> TrainingSample:
        """A sample of the sequences by which one can tell later whether others are among them."""
        return TrainingSample.of(self.table.keys[self.rows])

    def check_reading_frames(self, n_frames: int) -> None:
        """Raises ValueError for a row with fewer k-mers than reading frames."""
        table = self.table
        n_kmers = table.lengths[self.rows] - N_ADDED
        check_reading_frames(n_kmers, table.numbers[self.rows], table.source, n_frames)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        """Yields single rows, `input_ids` (tokens,) of each, from which Trainer's `group_by_length` takes lengths."""
        ids = self.table.ids
        for start, length in zip(self.table.starts[self.rows], self.table.lengths[self.rows], strict=True):
            yield {"input_ids": ids[start : start + length]}

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        """Gathers a batch.

        Returns:
            `input_ids` (n, longest) in the stored integer type; `attention_mask` int8 (n, longest) only if rows differ
            in length; `labels` float32 (n, outputs) if there are targets; `row` int64 (n,) and `epoch`, which give
            masking its random numbers.
        """
        indices = np.asarray(indices)
        rows = self.rows[indices]
        lengths = self.table.lengths[rows]
        longest = int(lengths.max())
        columns = np.arange(longest)
        batch: dict[str, Any] = {"row": rows, "epoch": self.epoch}
        if (lengths == longest).all():
            batch["input_ids"] = self.table.ids[self.table.starts[rows][:, None] + columns]
        else:
            is_token = columns < lengths[:, None]
            positions = self.table.starts[rows][:, None] + np.minimum(columns, lengths[:, None] - 1)
            batch["input_ids"] = np.where(is_token, self.table.ids[positions], self.table.ids.dtype.type(self.pad_id))
            batch["attention_mask"] = is_token.astype(np.int8)
        if self.targets is not None:
            batch["labels"] = self.targets[indices]
        return batch


def collate(batch: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Turns a gathered batch into the model's tensors: ids and mask int64, labels float32; the rest is dropped."""
    names = [name for name in ("input_ids", "attention_mask") if name in batch]
    tensors = {name: torch.from_numpy(batch[name].astype(np.int64)) for name in names}
    if "labels" in batch:
        tensors["labels"] = torch.from_numpy(batch["labels"])
    return tensors


def read_names(
    dataset: TokenDataset, id_column: str | None, sequence_column: str
) -> Iterator[tuple[list[str], list[str]]]:
    """Re-reads ids and sequences from the source, piece by piece, to write next to predictions.

    Args:
        dataset: Its rows, in rising order.
        id_column: Column of the ids; None for `id` if the source has it, otherwise the row's number in its file.
        sequence_column: Column of the DNA.

    Yields:
        Some ids, and as many sequences as written in the source; together those of all rows.

    Raises:
        ValueError: The source has changed since its rows were tokenised; the names that were yielded are then wrong.
    """
    column = find_id_column(dataset.table.source, id_column)
    columns = list(dict.fromkeys([sequence_column] + ([column] if column else [])))
    for batch in dataset.table.read_again(columns, dataset.rows):
        names = as_text(batch.columns[column]) if column else batch.numbers
        yield list(map(str, names.tolist())), as_text(batch.columns[sequence_column]).to_pylist()

"""Rows of a token table as batches: what `Trainer` is given as a dataset and as a collator.

`TokenDataset.__getitems__` gathers a batch in one indexing of the memory-mapped Arrow file, so no row ever becomes a
Python object. `StreamedDataset` in `stream.py` answers the same questions about rows that are read while training.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from kmerbert.reading.rows import Named, check_reading_frames, n_distinct, read_dna
from kmerbert.reading.sources import as_text, find_id_column
from kmerbert.reading.training_range import Letters, read_letters
from kmerbert.reading.training_sample import TrainingSample
from kmerbert.tokens.cache import TokenTable
from kmerbert.tokens.targets import TargetScaler
from tokenization_kmer import N_ADDED, N_SPECIAL

# As many training rows and bases as say what sequences are like, within a second.
MOST_ROWS, MOST_BASES = 20_000, 5_000_000


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

    def letters(self, alphabet: str) -> Letters:
        """Some `MOST_ROWS` rows as the model reads them, whose k-mers are over these letters in the order of their ids."""

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
        left_out: What was left out of these rows -> number of rows, for people.
        epoch: Number of the pass over the data, 0-based; each has new masks.
    """

    is_dealt_by_batches = False

    def __init__(
        self,
        table: TokenTable,
        rows: np.ndarray,
        pad_id: int,
        targets: np.ndarray | None = None,
        left_out: Mapping[str, int] | None = None,
    ) -> None:
        self.table, self.rows, self.pad_id, self.targets = table, rows, pad_id, targets
        self.left_out = dict(left_out or {})
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
        targets = scaler.transform(self.labels.astype(np.float32))
        return TokenDataset(self.table, self.rows, self.pad_id, targets, self.left_out)

    def sample(self, n: int | None, seed: int) -> "TokenDataset":
        """Returns n rows drawn at random, in their order, or all for None; more rows of one seed include the fewer."""
        if n is None or n >= len(self):
            return self
        drawn = np.sort(np.random.default_rng(seed).permutation(len(self))[:n])
        targets = None if self.targets is None else self.targets[drawn]
        return TokenDataset(self.table, self.rows[drawn], self.pad_id, targets, self.left_out)

    def facts(self) -> dict[str, Any]:
        """What a published model should say about these rows; see `facts_of_rows`."""
        table = self.table
        n_kmers = table.lengths[self.rows] - N_ADDED
        names = table.source.short_name, table.source.checksum
        return facts_of_rows(*names, len(self), n_kmers, table.k, table.stride, len(table.rejected))

    def counts(self) -> dict[str, int]:
        """Rows whose sequence, on either strand where the table counts both as one, an earlier row has; groups; left out."""
        table = self.table
        keys = table.keys if table.strand_keys is None else table.strand_keys
        counts = {"rows that repeat a sequence": len(self) - n_distinct(keys[self.rows])}
        counts |= {} if table.groups is None else {"groups": n_distinct(table.groups[self.rows])}
        return counts | self.left_out

    def rejected(self) -> dict[str, int]:
        """Rows of the whole file that could not be used and were left out, by its name."""
        return {self.table.source.short_name: len(self.table.rejected)} if self.table.rejected else {}

    def training_sample(self) -> TrainingSample:
        """A sample of the sequences by which one can tell later whether others are among them."""
        return TrainingSample.of(self.table.keys[self.rows])

    def letters(self, alphabet: str) -> Letters:
        """Returns some rows, drawn at random, as letters that are read off their token ids.

        Args:
            alphabet: Letters of the k-mers, in the order of their ids.
        """
        table = self.table
        mean_length = max(1, int(table.lengths[self.rows].mean()) * table.stride)
        rows = self.sample(min(MOST_ROWS, max(1, MOST_BASES // mean_length)), seed=0).rows
        n_kmers = table.lengths[rows] - N_ADDED
        lengths = (n_kmers - 1) * table.stride + table.k
        tokens = np.arange(n_kmers.sum())
        within = tokens - np.repeat(np.cumsum(n_kmers) - n_kmers, n_kmers)  # number of each k-mer in its row
        ids = table.ids[np.repeat(table.starts[rows] + 1, n_kmers) + within]
        places = np.repeat(np.cumsum(lengths + 1) - lengths - 1, n_kmers) + within * table.stride
        codes = np.full(lengths.sum() + len(rows), 4, np.uint8)
        for base, of_kmers in enumerate(_codes_of_kmers(alphabet, table.k).T):
            codes[places + base] = np.minimum(
                codes[places + base], of_kmers[ids]
            )  # a base may be unknown in one k-mer only
        return Letters(codes, lengths)

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


def _codes_of_kmers(alphabet: str, k: int) -> np.ndarray:
    """uint8 array (ids, k): codes of the bases of each k-mer as in `Letters`; of special tokens, unknown ones."""
    letters = read_letters([alphabet]).codes[: len(alphabet)]
    kmers = letters[np.indices((len(alphabet),) * k).reshape(k, -1).T]
    return np.concatenate([np.full((N_SPECIAL, k), 4, np.uint8), kmers])


def collate(batch: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Turns a gathered batch into the model's tensors: ids and mask int64, labels float32; the rest is dropped."""
    names = [name for name in ("input_ids", "attention_mask") if name in batch]
    tensors = {name: torch.from_numpy(batch[name].astype(np.int64)) for name in names}
    if "labels" in batch:
        tensors["labels"] = torch.from_numpy(batch["labels"])
    return tensors


def read_names(
    dataset: TokenDataset, id_column: str | None, sequence_column: str, kept: Sequence[str] = ()
) -> Iterator[Named]:
    """Re-reads ids, sequences and other columns from the source, piece by piece, to write next to predictions.

    Args:
        dataset: Its rows, in rising order.
        id_column: Column of the ids; None for `id` if the source has it, otherwise the row's number in its file.
        sequence_column: Column of the DNA.
        kept: Other columns.

    Yields:
        Some rows as they are written in the source; together all rows.

    Raises:
        ValueError: The source has changed since its rows were tokenised; the names that were yielded are then wrong.
    """
    column = find_id_column(dataset.table.source, id_column)
    columns = list(dict.fromkeys([sequence_column, *([column] if column else []), *kept]))
    for batch in dataset.table.read_again(columns, dataset.rows):
        names = as_text(batch.columns[column]) if column else batch.numbers
        texts = {name: as_text(batch.columns[name]).to_pylist() for name in (sequence_column, *kept)}
        yield Named(list(map(str, names.tolist())), texts[sequence_column], {name: texts[name] for name in kept})

"""Rows of tokens as batches: what `Trainer` is given as a dataset and as a collator, and what is known of the rows.

`TokenDataset.__getitems__` gathers a batch in one indexing of the memory-mapped Arrow file, so no row ever becomes a
Python object.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from kmerbert.reading.rows import SPECIAL_TOKENS
from kmerbert.reading.sources import own_id
from kmerbert.tokens.cache import TokenTable


class TokenDataset(torch.utils.data.Dataset):
    """Rows of one split, as batches of arrays; what `Trainer` is given as a dataset.

    Attributes:
        table: the tokenised file that the rows are in.
        rows: int64 array (n,), row numbers in `table`, 0-based.
        targets: float32 array (n, outputs) for the model, or None; set by `with_targets`.
        epoch: number of the pass over the data, 0-based; masking draws anew in each.
    """

    def __init__(self, table: TokenTable, rows: np.ndarray, pad_id: int, targets: np.ndarray | None = None) -> None:
        self.table, self.rows, self.pad_id, self.targets = table, rows, pad_id, targets
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> np.ndarray:
        """float32 array (n, outputs) of measured values in their own unit, NaN where missing."""
        return self.table.labels[self.rows]

    def with_targets(self, targets: np.ndarray) -> "TokenDataset":
        """Returns the same rows with these targets, float32 (n, outputs)."""
        return TokenDataset(self.table, self.rows, self.pad_id, targets)

    def first(self, n: int | None) -> "TokenDataset":
        """Returns the first n rows, or all for None."""
        return TokenDataset(self.table, self.rows[:n], self.pad_id, None if self.targets is None else self.targets[:n])

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        """Goes through single rows, `input_ids` (tokens,) of each, from which Trainer's `group_by_length` knows lengths."""
        ids = self.table.ids
        for start, length in zip(self.table.starts[self.rows], self.table.lengths[self.rows], strict=True):
            yield {"input_ids": ids[start : start + length]}

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        """Gathers a batch.

        Returns:
            `input_ids` (n, longest) in the stored integer type; `attention_mask` int8 (n, longest) only where rows
            differ in length; `labels` float32 (n, outputs) where there are targets; `row` int64 (n,) and `epoch`, which
            give masking its random numbers.
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
            inside = columns < lengths[:, None]
            positions = self.table.starts[rows][:, None] + np.minimum(columns, lengths[:, None] - 1)
            batch["input_ids"] = np.where(inside, self.table.ids[positions], self.table.ids.dtype.type(self.pad_id))
            batch["attention_mask"] = inside.astype(np.int8)
        if self.targets is not None:
            batch["labels"] = self.targets[indices]
        return batch


def collate(batch: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Turns a gathered batch into the model's tensors: ids and mask int64, labels float32; the rest is dropped."""
    whole = [name for name in ("input_ids", "attention_mask") if name in batch]
    tensors = {name: torch.from_numpy(batch[name].astype(np.int64)) for name in whole}
    if "labels" in batch:
        tensors["labels"] = torch.from_numpy(batch["labels"])
    return tensors


def describe(dataset: TokenDataset) -> dict[str, Any]:
    """What a published model should say about its training rows: name, checksum, number, range of lengths in bases."""
    table = dataset.table
    n_kmers = table.lengths[dataset.rows] - SPECIAL_TOKENS
    bases = (n_kmers - 1) * table.stride + table.k
    return {
        "data_name": table.source.name if table.source.format == "hub" else table.source.path.name,
        "data_checksum": table.source.checksum,
        "n_training_rows": len(dataset),
        "sequence_length": [int(bases.min()), int(bases.max())],
    }


def read_names(
    dataset: TokenDataset, id_column: str | None, sequence_column: str
) -> Iterator[tuple[list[str], list[str]]]:
    """Reads again, from the source and piece by piece, what predictions are written beside.

    Args:
        dataset: whose rows, in rising order, are named.
        id_column: of the names; None for `id` where the source has it, else the row's number in its file.
        sequence_column: of the DNA.

    Yields:
        Some ids, and as many sequences as they stand; together those of all rows.
    """
    source, rows = dataset.table.source, dataset.rows
    column = id_column or own_id(source)
    seen = 0
    for batch in source.batches(list(dict.fromkeys([sequence_column] + ([column] if column else [])))):
        n_rows = len(batch.numbers)
        first, last = np.searchsorted(rows, (seen, seen + n_rows))
        own = rows[first:last] - seen
        names = batch.columns[column].take(own).to_pylist() if column else batch.numbers[own]
        yield list(map(str, names)), batch.columns[sequence_column].take(own).to_pylist()
        seen += n_rows

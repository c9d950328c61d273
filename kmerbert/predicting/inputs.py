"""Rows to predict: from a file or the Hub, with the names of the rows and measured values to put beside predictions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from kmerbert.errors import reading
from kmerbert.predicting.table import read_row_values
from kmerbert.reading.sources import Batch, Source, own_id, to_numbers


def read_keys(path: str) -> list[int]:
    """Reads the 0-based rows that a JSON object names, in its order.

    Raises:
        ValueError: for a file that cannot be read or is no such object.
    """
    with reading("--keys_file", Path(path)):
        return read_row_values(Path(path))[0].tolist()


@dataclass(frozen=True)
class Inputs:
    """Rows to predict.

    Attributes:
        source: of the rows.
        sequence: column of the DNA.
        id: column of the rows' names; None for their line or row numbers.
        labels: columns of measured values, in the order of the model's outputs; none where nothing was measured.
    """

    source: Source
    sequence: str
    id: str | None
    labels: tuple[str, ...]

    @classmethod
    def find(
        cls, source: Source, sequence: str, asked_id: str | None, labels: Sequence[str], outputs: Sequence[str]
    ) -> "Inputs":
        """Settles which columns are read: of names, the one asked for, else `id` where there is one.

        Raises:
            ValueError: when it is not clear which column of measured values belongs to which output.
        """
        if len(labels) > 1 or len(outputs) > 1:
            if labels and sorted(labels) != sorted(outputs):
                raise ValueError(
                    f"--label_column {','.join(labels)}: needed is one column for each output, by the model's names: "
                    f"{','.join(outputs)}"
                )
            labels = outputs if labels else ()
        return cls(source, sequence, asked_id or own_id(source), tuple(labels))

    @property
    def columns(self) -> list[str]:
        """Columns to read besides the sequences."""
        return [*self.labels, *([self.id] if self.id else [])]

    def read(self, batch: Batch) -> tuple[pa.Array, pa.Array, np.ndarray | None]:
        """Takes names and sequences, as they stand, and float64 (n, outputs) measured values, NaN where missing.

        Raises:
            ValueError: for a measured value that is no number.
        """
        first = int(batch.numbers[0])
        observed = [to_numbers(batch.columns[name], self.source, first, name) for name in self.labels]
        ids = batch.columns[self.id] if self.id else pa.array(batch.numbers)
        return ids, batch.columns[self.sequence], np.column_stack(observed) if observed else None

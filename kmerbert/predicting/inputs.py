"""Rows to predict: where they are, which columns name them, and measured values to put next to predictions."""

import logging
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from kmerbert.dna.sequences import is_dna
from kmerbert.predicting.table import check_kept, read_row_values
from kmerbert.reading.guess import find_names, guess_columns
from kmerbert.reading.rows import names_in
from kmerbert.reading.sources import (
    Batch,
    FileSource,
    HubSource,
    MemorySource,
    Source,
    check_named,
    find_id_column,
    load_hub_dataset,
    readable_file,
    to_numbers,
)

logger = logging.getLogger(__name__)
SEQUENCE = "sequence"  # what the column of the DNA is called, unless another name is given


def open_file(
    path: str | Path, sequence_column: str = SEQUENCE, labels: Sequence[str] = (), sheet: str | None = None
) -> FileSource:
    """Opens a file; one without a header has at most one column of measured values, which gets the first label.

    Args:
        path: The file.
        sequence_column: Column of the DNA.
        labels: Columns of measured values.
        sheet: Name of the sheet of an Excel file; None for the only one that has rows or, of several, DNA.

    Raises:
        ValueError: The file does not exist or is empty, or is stdin.
    """
    source = FileSource(Path(path), sequence_column, labels[0] if labels else None, sheet=sheet)
    with readable_file("input_file", source.path):
        source.check()
    return source


def open_dataset(name: str, config_name: str | None, split: str) -> HubSource:
    """Opens a split of a dataset on the Hub or in a local folder; ValueError if it cannot be loaded."""
    return HubSource(f"{name}, {split}", load_hub_dataset(name, config_name, split))


def open_inputs(
    inputs: Sequence[str] | str | Path | pd.DataFrame, sequence_column: str = SEQUENCE, sheet: str | None = None
) -> Source:
    """Opens what a notebook has: a list of sequences, a table, or the path of a file.

    Other arguments are those of `open_file`.

    Raises:
        ValueError: It is none of these, or the file cannot be read.
    """
    if isinstance(inputs, str) and is_dna(inputs) and not Path(inputs).exists():
        raise ValueError(f"inputs are the text {inputs[:30]!r}, which is no file: give a list of sequences")
    if isinstance(inputs, str | Path):
        return open_file(inputs, sequence_column, sheet=sheet)
    if isinstance(inputs, pd.DataFrame):
        return MemorySource(pa.Table.from_pandas(inputs, preserve_index=False))
    if isinstance(
        inputs, Mapping | set | frozenset
    ):  # predictions come in the order of the sequences, and a set has none
        raise ValueError(
            f"inputs are {type(inputs).__name__}: allowed are a list of sequences, a pandas table or a path"
        )
    try:
        sequences = pa.array(inputs, pa.string())
    except (pa.ArrowException, TypeError) as error:
        raise ValueError(
            f"inputs are {type(inputs).__name__}: allowed are a list of sequences, a pandas table or the path of a file "
            f"({error})"
        ) from None
    return MemorySource(pa.table({sequence_column: sequences}), "the list", "sequence")


def read_keys(path: str) -> list[int]:
    """Reads the 0-based rows that a JSON object names, in its order.

    Raises:
        ValueError: The file cannot be read or is not such an object.
    """
    with readable_file("keys_file", Path(path)):
        return read_row_values(Path(path))[0].tolist()


@dataclass(frozen=True)
class Inputs:
    """Rows to predict.

    Attributes:
        source: Where they are.
        sequence: Column of the DNA.
        id: Column of the rows' ids; None for their line or row numbers.
        labels: Columns of measured values, in the order of the model's outputs; empty if nothing was measured.
        kept: Columns to carry to the predictions.
    """

    source: Source
    sequence: str
    id: str | None
    labels: tuple[str, ...]
    kept: tuple[str, ...] = ()

    @classmethod
    def choose(
        cls,
        source: Source,
        sequence: str,
        id_column: str | None,
        labels: Sequence[str],
        outputs: Sequence[str],
        kept: Sequence[str] = (),
    ) -> "Inputs":
        """Settles which columns are read: as ids, the given column, otherwise `id` if there is one.

        If there is no column with the usual name of the DNA, it is found by what is in it.

        Raises:
            ValueError: A column that is named is not there, it is unclear which column of measured values belongs to which output,
                or which has the DNA, or a column to keep has a name that predictions have.
        """
        check_kept(kept, outputs)
        if len(labels) > 1 or len(outputs) > 1:
            if labels and sorted(labels) != sorted(outputs):
                raise ValueError(
                    f"`label_column` {','.join(labels)}: each output needs one column, with the model's names: "
                    f"{','.join(outputs)}"
                )
            labels = outputs if labels else ()
        named = {"id_column": [id_column], "label_column": labels, "keep_columns": kept}
        check_named(source, [(argument, name) for argument, names in named.items() for name in names])
        if sequence == SEQUENCE:
            guess = guess_columns(source, sequence, None, [*labels, *kept, *([id_column] if id_column else [])])
            sequence = guess.sequence or sequence
            if guess.remark:
                logger.info("%s", guess.remark)
        ids = find_id_column(source, id_column)
        if not ids and (name := find_names(source, [sequence, *labels, *kept])):
            message = "%s: ids are the rows' numbers; `id_column` %s writes those of the table"
            logger.info(message, source.name, shlex.quote(name))
        return cls(source, sequence, ids, tuple(labels), tuple(kept))

    @property
    def columns(self) -> list[str]:
        """Columns to read in addition to the sequences."""
        return [*self.labels, *([self.id] if self.id else []), *self.kept]

    def read(self, batch: Batch) -> tuple[pa.Array, pa.Array, np.ndarray | None]:
        """Returns ids, sequences as written, and float64 (n, outputs) measured values, NaN where missing, or None.

        Raises:
            ValueError: A measured value is not a number, or a row has no id.
        """
        observed = [to_numbers(batch.columns[name], self.source, batch.numbers, name) for name in self.labels]
        ids = pa.array(names_in(batch, self.source, self.id) if self.id else batch.numbers)
        return ids, batch.columns[self.sequence], np.column_stack(observed) if observed else None

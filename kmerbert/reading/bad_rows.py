"""Rows that cannot be used: how they are told from faults of a whole file, found among others, and listed."""

import json
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import pandas as pd

from kmerbert.reading.delimited import Batch

Result = TypeVar("Result")
CORRECT_IT = "correct or delete the row"  # of a message about one row
# Where most rows are bad, as when a wrong column is named, more of them tell nothing new.
MOST_LISTED = 10_000
PART_ROWS = 64  # that are read at once where some rows of a batch are bad
LONGEST_VALUE = 1000  # letters of a cell that are listed


class _Located(Protocol):
    def location(self, number: int) -> str: ...


class RejectedRow(NamedTuple):
    """A row that cannot be used.

    Attributes:
        line: 1-based number of its line or row in its source.
        column: Where the fault is.
        value: What is there, as it is written.
        reason: What is wrong with it.
    """

    line: int
    column: str
    value: str
    reason: str


class RowError(ValueError):
    """One row of a table cannot be used; `row` says which and why."""

    def __init__(self, source: _Located, number: int, column: str, value: object, reason: str) -> None:
        super().__init__(f"{source.location(int(number))}: {reason}")
        text = "" if value is None else str(value)
        self.row = RejectedRow(int(number), column, text[:LONGEST_VALUE], reason)


class BadRowsError(ValueError):
    """A table has rows that cannot be used; `rows` are these, among `n_rows` that were looked at."""

    def __init__(self, message: str, rows: Sequence[RejectedRow], n_rows: int) -> None:
        super().__init__(message)
        self.rows, self.n_rows = tuple(rows), n_rows

    @property
    def are_most(self) -> bool:
        """Whether more than half of the rows cannot be used, which is a fault of the table."""
        return len(self.rows) > self.n_rows / 2


def read_usable(batch: Batch, read: Callable[[Batch], Result]) -> tuple[Result | None, list[RowError]]:
    """Reads the rows of a batch that can be read.

    Args:
        batch: Some rows.
        read: Reads rows, or raises `RowError` for one of those that cannot be.

    Returns:
        What it returns for all rows that can be read, None if there are none; and an error for each other row.
    """
    try:
        return read(batch), []
    except RowError:
        errors = _find_bad(batch, read)
    good = _take(batch, ~np.isin(batch.numbers, [error.row.line for error in errors]))
    return (read(good) if len(good.numbers) else None), errors


def _find_bad(batch: Batch, read: Callable[[Batch], object]) -> list[RowError]:
    """An error for each row that cannot be read, in their order.

    Of a part with such rows, one after the other is left out; the parts are small, so that this reads few rows again.
    """
    errors = []
    for start in range(0, len(batch.numbers), PART_ROWS):
        part = _take(batch, np.arange(start, min(start + PART_ROWS, len(batch.numbers))))
        while len(part.numbers):
            try:
                read(part)
                break
            except RowError as error:
                errors.append(error)
                part = _take(part, part.numbers != error.row.line)
    return sorted(errors, key=lambda error: error.row.line)


def _take(batch: Batch, chosen: np.ndarray) -> Batch:
    """Some rows of a batch, by their positions or by whether they are chosen."""
    positions = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
    return Batch({name: column.take(positions) for name, column in batch.columns.items()}, batch.numbers[positions])


def to_text(rows: Sequence[RejectedRow]) -> str:
    """Returns rows as one text, from which `from_text` makes them again."""
    return json.dumps(rows)


def from_text(text: str) -> tuple[RejectedRow, ...]:
    """Returns the rows of a result of `to_text`."""
    return tuple(RejectedRow(*row) for row in json.loads(text))


def as_tsv(rows: Sequence[tuple[str, RejectedRow]]) -> str:
    """Returns a table of rows, each with the name of its file: columns `file line column value reason`.

    >>> as_tsv([("a.tsv", RejectedRow(3, "expression", "high", "allowed are numbers"))])
    'file\\tline\\tcolumn\\tvalue\\treason\\na.tsv\\t3\\texpression\\thigh\\tallowed are numbers\\n'
    """
    table = pd.DataFrame([(file, *row) for file, row in rows], columns=["file", *RejectedRow._fields])
    return table.to_csv(sep="\t", index=False, lineterminator="\n")

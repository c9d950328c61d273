"""Rows that cannot be used: all are found, others are read as if they were not there."""

import doctest
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from kmerbert.reading import bad_rows
from kmerbert.reading.bad_rows import RejectedRow, RowError, as_tsv, from_text, read_usable, to_text
from kmerbert.reading.delimited import Batch
from kmerbert.reading.sources import FileSource

SOURCE = FileSource(Path("a.tsv"))


def batch(values: list[int]) -> Batch:
    return Batch({"x": pa.array(values)}, np.arange(2, 2 + len(values)))


def read(rows: Batch) -> list[int]:
    """Fails for the first negative number, and as a whole for a zero."""
    values = rows.columns["x"].to_pylist()
    if 0 in values:
        raise ValueError("the file cannot be used")
    for number, value in zip(rows.numbers, values, strict=True):
        if value < 0:
            raise RowError(SOURCE, number, "x", value, "it is negative")
    return values


def test_examples() -> None:
    assert doctest.testmod(bad_rows).failed == 0


@pytest.mark.parametrize("bad", [[], [0], [6], [3], [2, 3], [0, 2, 4, 6], list(range(7))])
def test_every_bad_row_is_found(bad: list[int]) -> None:
    values = [-row - 1 if row in bad else row + 1 for row in range(7)]
    result, errors = read_usable(batch(values), read)
    assert result == ([value for value in values if value > 0] or None)
    assert [error.row for error in errors] == [
        RejectedRow(row + 2, "x", str(-row - 1), "it is negative") for row in bad
    ]
    assert all(str(error) == f"a.tsv, line {error.row.line}: it is negative" for error in errors)


def test_few_bad_rows_among_many_cost_little() -> None:
    values = [1] * 10_000
    values[1234] = values[9_999] = -1
    n_calls = 0

    def counted(rows: Batch) -> list[int]:
        nonlocal n_calls
        n_calls += 1
        return read(rows)

    _, errors = read_usable(batch(values), counted)
    assert [error.row.line for error in errors] == [1236, 10_001]
    assert n_calls == 1 + 157 + 2 + 1  # all rows, all parts, two of them without a row, all good rows


def test_what_is_wrong_with_a_whole_file_is_no_bad_row() -> None:
    with pytest.raises(ValueError, match="the file cannot be used"):
        read_usable(batch([1, -2, 0]), read)


def test_lists_of_rows() -> None:
    rows = (RejectedRow(3, "x, y", 'a "b"\tc', "no\nnumber"), RejectedRow(5, "sequence", "", "empty"))
    assert from_text(to_text(rows)) == rows
    lines = as_tsv([("a.tsv", row) for row in rows]).splitlines()
    assert lines[0] == "file\tline\tcolumn\tvalue\treason"
    assert lines[-1] == "a.tsv\t5\tsequence\t\tempty"
    assert lines[1].startswith('a.tsv\t3\tx, y\t"a ""b""\tc"\t')
    assert len(RowError(SOURCE, 3, "x", "A" * 5000, "too long").row.value) == bad_rows.LONGEST_VALUE

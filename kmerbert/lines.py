"""Rows of text files as blocks with their line numbers, without the empty lines that editors leave at a file's end.

An empty line between rows is a row without values, for the reader of the rows to refuse; it is kept. Opens no files.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa


class Batch(NamedTuple):
    """Some rows: their columns, and their places in the file: int64 array, 1-based numbers of lines or rows."""

    columns: dict[str, pa.Array]
    numbers: np.ndarray


def numbered_lines(text: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Numbers lines from 1 and leaves out the empty ones after the last that is not.

    >>> list(numbered_lines(["a", "", "b", "\\n", ""]))
    [(1, 'a'), (2, ''), (3, 'b')]
    """
    held: list[tuple[int, str]] = []
    for number, line in enumerate(text, 1):
        held.append((number, line))
        if line.strip("\r\n"):
            yield from held
            held.clear()


def without_empty_end(batches: Iterable[Batch], lines: Callable[[], Iterable[str]], delimiter: str) -> Iterator[Batch]:
    """Leaves out the last rows of a table where their lines hold nothing, or nothing but delimiters.

    Args:
        batches: of text columns, maybe not all columns of the table.
        lines: opens the table's text again; called only where the last rows have no value in the columns that were read.
        delimiter: between the fields of a line.

    Yields:
        The batches, divided where a later one decides whether rows are the last.
    """
    held: list[Batch] = []
    for columns, numbers in batches:
        n_full = len(numbers)
        while n_full and not any(values[n_full - 1].as_py() for values in columns.values()):
            n_full -= 1
        if n_full:
            yield from held
            yield Batch({name: values[:n_full] for name, values in columns.items()}, numbers[:n_full])
            held = []
        if n_full < len(numbers):
            held.append(Batch({name: values[n_full:] for name, values in columns.items()}, numbers[n_full:]))
    # Columns that were not read may hold something: a row without a sequence is a mistake, and not the end of the file.
    last = deque(lines(), sum(len(batch.numbers) for batch in held)) if held else ()
    if any(line.replace(delimiter, "").strip("\r\n") for line in last):
        yield from held

"""Delimited text: one reader for every table of cells between tabs, commas, semicolons or blanks.

Rows in equal rows out, or an error that names the line. A cell in double quotes may contain delimiters, line ends and,
written twice, quotes (RFC 4180, https://www.rfc-editor.org/rfc/rfc4180); elsewhere in a cell a quote is a letter. The
number of a row is that of the line of the file that it begins in. Lines at the end of a file that hold nothing but
delimiters and blanks are no rows; other such lines are rows without values.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, NamedTuple, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.csv

from kmerbert.dna.sequences import is_dna
from kmerbert.errors import counted, one_line
from kmerbert.reading.text import Block, n_lines, read_blocks

LONGEST_ROW = 1 << 22  # bytes
SURELY_DNA = 15  # a cell with this many letters that are all DNA is a sequence, and neither a name nor a word
SHORT_DNA = 6  # and one with this many letters A, C, G, T, U and N, next to other cells
# Before Python 3.11.5, `*+` behind a group matches too little (python/cpython#106052).
_QUOTED = re.compile(rb'"[^"]*+(?:""[^"]*+)*"(?!")')
NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
N_SHOWN = 20  # first lines that are searched for what explains a wrong header


class Batch(NamedTuple):
    """Some rows: their columns, and int64 array (n,), their 1-based numbers (lines or rows) in the source."""

    columns: dict[str, pa.Array]
    numbers: np.ndarray


class Head(NamedTuple):
    """How a file begins.

    Attributes:
        text: The first row as it is written.
        cells: Its cells, without their quotes and the blanks around them.
        second: The cells of the second row in the same way; empty if there is none.
        is_quoted: Whether both rows begin with a quote.
        lines: The first lines of the file.
    """

    text: str
    cells: list[str]
    second: list[str]
    is_quoted: bool
    lines: list[str]


class _Records(NamedTuple):
    """Whole rows, each with a line feed at its end.

    Attributes:
        text: The rows in UTF-8.
        first: 1-based number of the line that the first begins in.
        cells: Where cells of several lines begin and end in the text, quotes included.
    """

    text: bytes
    first: int
    cells: list[tuple[int, int]]

    def starts(self) -> tuple[np.ndarray, np.ndarray]:
        """Where each row begins in the text, and the number of its line in the file; int64 (n,) each."""
        feeds = np.flatnonzero(np.frombuffer(self.text, np.uint8) == ord("\n"))
        is_end = np.ones(len(feeds), bool)
        for first, last in np.searchsorted(feeds, np.array(self.cells, np.int64).reshape(-1, 2)):
            is_end[first:last] = False
        ends = np.flatnonzero(is_end)[:-1]
        return np.append(0, feeds[ends] + 1), self.first + np.append(0, ends + 1)

    def without_first(self) -> "_Records":
        """The rows but for the first."""
        starts, numbers = self.starts()
        if len(starts) == 1:
            return _Records(b"", self.first, [])
        cut = int(starts[1])
        cells = [(start - cut, end - cut) for start, end in self.cells if start >= cut]
        return _Records(self.text[cut:], int(numbers[1]), cells)


@dataclass(frozen=True)
class DelimitedFile:
    """A table of delimited text; the name of the file says whether it is packed.

    Attributes:
        path: The file.
        delimiter: One character between cells.
    """

    path: Path
    delimiter: str
    noun: ClassVar[str] = "line"

    @cached_property
    def _plain(self) -> re.Pattern[bytes]:
        """As much text as possible without a cell of several lines or a fault in its quotes.

        That is: text without quotes, quoted cells that end in their line, and quotes within a cell that begins without one.
        """
        sign = re.escape(self.delimiter.encode())
        quoted = rb'(?<![^%b\n])"[^"\n]*+(?:""[^"\n]*+)*"(?=[%b\n])' % (sign, sign)
        return re.compile(rb'(?:[^"]++|%b|(?<=[^%b\n])")*' % (quoted, sign))

    @cached_property
    def head(self) -> Head:
        """The first rows.

        Raises:
            ValueError: The file has none, or cannot be read.
        """
        rows: list[str] = []
        lines: list[str] = []
        for records in self._records():
            bounds = [*records.starts()[0][:3].tolist(), len(records.text)][:3]
            rows += [records.text[start:end].decode().rstrip("\n") for start, end in pairwise(bounds)]
            lines += records.text[: 1 << 16].decode(errors="replace").split("\n")[:N_SHOWN]
            if len(rows) > 1:
                break
        if not rows:
            raise ValueError(f"{self.path} is empty: it has no rows")
        first, second = (self._cells(row) if row else [] for row in [*rows, ""][:2])
        is_quoted = len(rows) > 1 and all(row.startswith('"') for row in rows[:2])
        return Head(rows[0], first or [""], second, is_quoted, lines[:N_SHOWN])

    def batches(self, columns: Sequence[str], names: Sequence[str], has_header: bool) -> Iterator[Batch]:
        """Reads columns as text.

        Args:
            columns: Which ones.
            names: All columns of the file; those that are read must be there once.
            has_header: Whether the first row has the names, and is no row of the table.

        Raises:
            ValueError: The file is not text, a row has more or fewer cells than there are names, or quotes do not match;
                the message has the line.
        """
        for records in self._records():
            rows = records.without_first() if has_header else records
            if rows.text:
                yield self._parse(rows, columns, names)
            has_header = False

    def _cells(self, row: str) -> list[str]:
        try:
            cells = next(csv.reader([row], delimiter=self.delimiter)) if '"' in row else row.split(self.delimiter)
        except csv.Error as error:
            raise ValueError(f"{self.path}, line 1: {one_line(error)}: {row[:60]!r}") from None
        cells = [cell.strip() for cell in cells]
        return [cell[1:-1] if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell for cell in cells]

    def _parse(self, records: _Records, columns: Sequence[str], names: Sequence[str]) -> Batch:
        rejected: list[pyarrow.csv.InvalidRow] = []

        def reject(row: pyarrow.csv.InvalidRow) -> str:
            rejected.append(row)
            return "error"

        columns = list(dict.fromkeys(columns))
        numbers = records.starts()[1] if records.cells else records.first + np.arange(n_lines(records.text))
        try:
            table = pyarrow.csv.read_csv(
                pa.BufferReader(records.text),
                pyarrow.csv.ReadOptions(column_names=list(names), use_threads=False, block_size=len(records.text) + 1),
                pyarrow.csv.ParseOptions(
                    delimiter=self.delimiter,
                    quote_char='"' if b'"' in records.text else False,
                    newlines_in_values=bool(records.cells),
                    ignore_empty_lines=False,
                    invalid_row_handler=reject,
                ),
                pyarrow.csv.ConvertOptions(
                    include_columns=columns,
                    column_types=dict.fromkeys(columns, pa.string()),
                    strings_can_be_null=False,
                    check_utf8=False,  # `read_blocks` has done it
                ),
            )
        except pa.ArrowInvalid as error:
            if not rejected:
                raise ValueError(f"{self.path}: cannot be read ({one_line(error)})") from None
            self._fail_ragged(rejected[0], int(numbers[rejected[0].number - 1]))
        if len(numbers) != table.num_rows:
            raise ValueError(
                f"{self.path}, lines {records.first} to {numbers[-1]}: rows cannot be told apart: check quotes"
            )
        return Batch({name: table.column(name).combine_chunks() for name in columns}, numbers)

    def _fail_ragged(self, row: pyarrow.csv.InvalidRow, line: int) -> NoReturn:
        if "\n" in row.text:
            raise ValueError(
                f"{self.path}, line {line}: a quote in this row encloses a cell of several lines, and with it the row has "
                f"{counted(row.actual_columns, 'column')}, but the first line {row.expected_columns}: close the quote in its own "
                f"line, or delete it: {row.text[:60]!r}"
            )
        hint, is_header = "", {*map(_kind, row.text.split(self.delimiter))} <= {"text", "nothing"}
        if row.text.rstrip(self.delimiter).count(self.delimiter) < row.expected_columns < row.actual_columns:
            hint = f"; more lines may end with {self.delimiter!r}: delete it"
        elif line == 2 and row.actual_columns > row.expected_columns and is_header:
            hint = "; if the first line is a title, and not the columns' names, delete it"
        elif line == 2 and row.actual_columns == row.expected_columns + 1:
            hint = "; R writes row names without a name for them: use write.table(..., row.names = FALSE)"
        raise ValueError(
            f"{self.path}, line {line}: {counted(row.actual_columns, 'column')}, but {row.expected_columns} in the first "
            f"line: {row.text[:60]!r}{hint}"
        )

    def _records(self) -> Iterator[_Records]:
        """The rows of the file, in pieces."""
        held, block = b"", Block(b"", 1)
        for block in read_blocks(self.path):
            text = held + block.text
            records = self._whole_rows(text, block.first - n_lines(held), is_end=False)
            held = text[len(records.text) :]
            if records.text:
                yield records
        records = self._whole_rows(held, block.first + n_lines(block.text) - n_lines(held), is_end=True)
        if records.text:
            yield records

    def _whole_rows(self, text: bytes, first: int, is_end: bool) -> _Records:
        """The rows at the beginning of a text up to the last that has a value, without one that may go on after it.

        Args:
            text: Whole lines.
            first: Number of the first.
            is_end: Whether the file ends with the text.
        """
        used, cells = self._find_cells(text, first, is_end) if b'"' in text else (len(text), [])
        filled = len(text[:used].rstrip(b" \n" + self.delimiter.encode()))
        used = text.find(b"\n", filled) + 1 if filled else 0
        if (line := _long_line(text)) is not None:
            raise ValueError(
                f"{self.path}, line {first + line}: longer than {LONGEST_ROW >> 20} million letters; write long sequences as "
                "FASTA"
            )
        return _Records(text[:used], first, [cell for cell in cells if cell[1] < used])

    def _find_cells(self, text: bytes, first: int, is_end: bool) -> tuple[int, list[tuple[int, int]]]:
        """Finds cells of several lines.

        Returns:
            Where the last row that is whole ends, and where the cells begin and end.
        """
        cells: list[tuple[int, int]] = []
        row, done, line = 0, 0, first  # where the last row begins; how far lines are counted; the line there
        while (start := self._plain.match(text, done).end()) < len(text):
            line += text.count(b"\n", done, start)
            row = max(row, text.rfind(b"\n", done, start) + 1)
            cell = _QUOTED.match(text, start)
            end = cell.end() if cell else len(text)
            if end - start > LONGEST_ROW or (is_end and not cell):
                raise ValueError(
                    f"{self.path}, line {line}: a quote opens a cell here and is not closed by the end of the "
                    f"{'file' if is_end else f'next {LONGEST_ROW >> 20} million letters'}: close it, or delete it: "
                    f"{text[start : start + 40].decode(errors='replace')!r}"
                )
            if not cell:
                return row, cells
            n_feeds = text.count(b"\n", start, end)
            self._check_cell(text, row, start, end, line, n_feeds)
            cells.append((start, end))
            done, line = end, line + n_feeds
        return len(text), cells

    def _check_cell(self, text: bytes, row: int, start: int, end: int, line: int, n_feeds: int) -> None:
        """Raises ValueError for a quoted cell that another quote than its own seems to close."""
        following = text[end : text.find(b"\n", end)]
        sign = self.delimiter.encode()
        if following and not following.startswith(sign):
            raise ValueError(
                f"{self.path}, line {line}: a quote opens a cell here, and behind the quote that closes it in line "
                f"{line + n_feeds} there is {following[:20].decode(errors='replace')!r}: a quote within a quoted cell is "
                'written twice (""); close the first, or delete it'
            )
        inside = text[start + 1 : end - 1].decode().split("\n")
        before = self._split(text[row:start])[:-1]
        after = self._split(following)[1:]
        if self.delimiter in inside[0] + inside[-1] and _looks_like_rows(
            before, inside[0].split(self.delimiter), inside[-1].split(self.delimiter), after
        ):
            raise ValueError(
                f"{self.path}, line {line}: a quote opens a cell here that ends in line {line + n_feeds}, and what it contains "
                "looks like rows: close the quote in its own line, or delete it"
            )

    def _split(self, part: bytes) -> list[str]:
        """The cells of a part of a row that begins or ends with a delimiter, roughly."""
        return part.decode().split(self.delimiter)


def _long_line(text: bytes) -> int | None:
    """The number, from 0, of a line that is longer than a row may be, and so goes across a multiple of that length."""
    for position in range(LONGEST_ROW, len(text), LONGEST_ROW):
        start = text.rfind(b"\n", 0, position) + 1
        if text.find(b"\n", position) - start > LONGEST_ROW:
            return n_lines(text[:start])
    return None


def _looks_like_rows(before: list[str], opening: list[str], closing: list[str], after: list[str]) -> bool:
    """Tells whether a cell of several lines has swallowed rows: its first and its last line would complete one each.

    Args:
        before, after: The cells on both sides of it in its row.
        opening, closing: The first and the last line within it, divided at delimiters.
    """
    if after and before:
        pairs = [(opening[1:], after), (closing[:-1], before)]
    elif after:
        pairs = [(opening[1:], after)]
    else:
        pairs = [(closing[:-1], before)]
    kinds = [_kind(cell) for side, _ in pairs for cell in side]
    is_alike = all(list(map(_kind, side)) == list(map(_kind, known)) for side, known in pairs)
    return is_alike and ("DNA" in kinds or kinds.count("number") > 1)


def _kind(cell: str) -> str:
    """What a cell holds: DNA, number, nothing or text."""
    cell = cell.strip().strip('"')
    if is_dna(cell) and (len(cell) >= SURELY_DNA or (len(cell) >= SHORT_DNA and not set(cell.upper()) - set("ACGTUN"))):
        return "DNA"
    if NUMBER.fullmatch(cell):
        return "number"
    return "text" if cell else "nothing"

"""Excel workbooks: the cells of one sheet as text, in the form in which `delimited.py` gives those of text files.

So a sheet goes through the same checks as any other table. Numbers are written with all their digits, dates as 2024-03-01,
an error of a formula as Excel shows it (#N/A). The number of a row is the one that Excel shows. Empty rows above the first
row that has a value are not looked at, and neither are those below the last; other empty rows are rows without values.
A sheet is read into memory as a whole.
"""

import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import lru_cache
from io import BytesIO
from itertools import islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from zipfile import ZipFile

import numpy as np
import pyarrow as pa

from kmerbert.dna.sequences import is_dna
from kmerbert.errors import one_line
from kmerbert.reading.delimited import N_SHOWN, SHORT_DNA, Batch, Head
from kmerbert.reading.text import open_bytes

if TYPE_CHECKING:
    from openpyxl import Workbook
    from openpyxl.worksheet._read_only import ReadOnlyWorksheet

logger = logging.getLogger(__name__)
BATCH_ROWS = 10_000
N_LOOKED_AT = 100  # first rows that tell whether a sheet has DNA
OLD_OR_ENCRYPTED = b"\xd0\xcf\x11\xe0"  # how such a file begins
# Elements of a sheet's XML (ECMA-376-1, 18.3.1): a formula, a range of merged cells, a row that is not shown.
_FORMULA = re.compile(rb"<(?:\w+:)?f[\s>/]")
_MERGED = re.compile(rb'<(?:\w+:)?mergeCell\s[^>]*?\bref="([A-Z]+[0-9]+:[A-Z]+[0-9]+)"')
_HIDDEN = re.compile(rb'<(?:\w+:)?row\s(?=[^>]*\bhidden="(?:1|true)")[^>]*?\br="([0-9]+)"')


class _Fault(NamedTuple):
    """Cells whose values are not known: first and last row and column, all 1-based, and why."""

    first_row: int
    last_row: int
    first_column: int
    last_column: int
    reason: str


class _Cells(NamedTuple):
    """What a sheet contains.

    Attributes:
        rows: Texts of all rows from the first that has a value to the last, each as long as the longest.
        first: Number of the first of them.
        faults: Cells that cannot be used, from the top.
    """

    rows: list[list[str]]
    first: int
    faults: list[_Fault]


@dataclass(frozen=True)
class ExcelSheet:
    """One sheet of a workbook, as a table of text cells.

    Attributes:
        path: The workbook.
        name: Name of the sheet; None for the only one that has rows or, of several, the only one that has DNA.
    """

    path: Path
    name: str | None = None
    delimiter: ClassVar[str] = "\t"  # between the cells of `Head.lines`
    noun: ClassVar[str] = "row"

    @property
    def head(self) -> Head:
        """The first rows.

        Raises:
            ValueError: The sheet has none, it is unclear which sheet is meant, or the workbook cannot be read.
        """
        cells = self._cells()
        if not cells.rows:
            raise ValueError(f"{self.path} is empty: it has no rows")
        first, second = ([cell.strip() for cell in row] for row in [*cells.rows, []][:2])
        lines = [""] * (cells.first - 1) + ["\t".join(row) for row in cells.rows[:N_SHOWN]]
        return Head("\t".join(cells.rows[0]), first, second, False, lines[:N_SHOWN])

    def batches(self, columns: Sequence[str], names: Sequence[str], has_header: bool) -> Iterator[Batch]:
        """Reads columns as text; arguments as for `DelimitedFile.batches`.

        Raises:
            ValueError: A cell in one of the columns has a formula without its value, or is merged with others.
        """
        cells, start = self._cells(), int(has_header)
        positions = {name: list(names).index(name) for name in columns}
        for fault in cells.faults:
            for name, at in positions.items():
                if fault.first_column <= at + 1 <= fault.last_column and fault.last_row >= cells.first + start:
                    raise ValueError(f"{self.path}, row {fault.first_row}: {name} {fault.reason}")
        for begin in range(start, len(cells.rows), BATCH_ROWS):
            rows = cells.rows[begin : begin + BATCH_ROWS]
            values = {name: pa.array([row[at] for row in rows], pa.string()) for name, at in positions.items()}
            yield Batch(values, cells.first + begin + np.arange(len(rows)))

    def _cells(self) -> _Cells:
        status = self.path.stat()
        return _read(self.path, self.name, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))


@lru_cache(maxsize=4)  # a run reads each of its tables several times
def _read(path: Path, name: str | None, content: tuple[int, ...]) -> _Cells:
    """Reads a sheet; `content` tells the contents apart that a file has had."""
    data = open_bytes(path).read()
    with _opened(path, data) as workbook:
        sheet = _choose(workbook, path, name)
        rows, empty = [], set()
        for number, cells in enumerate(sheet.iter_rows(), 1):
            rows.append([_as_text(cell.value) for cell in cells])
            # A formula whose value is an empty text.
            empty |= {(number, cell.column) for cell in cells if cell.value is None and cell.data_type == "str"}
        title = sheet.title
        # The library tells what is merged or hidden only if it holds all cells in memory, at 50 times the file's size.
        xml = ZipFile(BytesIO(data)).read(sheet._worksheet_path)
    filled = [number for number, row in enumerate(rows, 1) if any(cell.strip() for cell in row)]
    if not filled:
        return _Cells([], 1, [])
    first, last = filled[0], filled[-1]
    width = max(position for number in filled for position, cell in enumerate(rows[number - 1], 1) if cell.strip())
    faults = _find_merged(xml, last)
    if _FORMULA.search(xml):
        with _opened(path, data, data_only=False) as workbook:
            faults += _find_unknown(_choose(workbook, path, title), rows, empty)
    hidden = [number for number in map(int, _HIDDEN.findall(xml)) if first < number <= last]
    if hidden:
        logger.warning(
            "%s: %s hidden, such as row %d: hidden rows are read like all others; delete those that are not to be used",
            *(path, "1 row is" if len(hidden) == 1 else f"{len(hidden)} rows are", hidden[0]),
        )
    return _Cells([(row + [""] * width)[:width] for row in rows[first - 1 : last]], first, sorted(faults))


@contextmanager
def _opened(path: Path, data: bytes, data_only: bool = True) -> Iterator["Workbook"]:
    """Opens a workbook, for its values or for its formulas; ValueError for whatever goes wrong while it is read."""
    from openpyxl import load_workbook  # takes a quarter of a second

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a workbook has besides its cells
            workbook = load_workbook(BytesIO(data), read_only=True, data_only=data_only, keep_links=False)
            yield workbook
            workbook.close()
    except Exception as error:  # a damaged workbook can fail in any way; the user needs one line
        if str(error).startswith(str(path)):
            raise
        reason = "it has a password, or is of the old kind" if data.startswith(OLD_OR_ENCRYPTED) else one_line(error)
        raise ValueError(
            f"{path}: cannot be read as an Excel workbook ({reason}): open it in Excel and save it as .xlsx"
        ) from None


def _choose(workbook: "Workbook", path: Path, name: str | None) -> "ReadOnlyWorksheet":
    """The sheet of that name, or the only one that is shown and has rows or, of several such, has DNA."""
    sheets = workbook.worksheets
    for sheet in sheets:
        sheet.reset_dimensions()  # what a file says of its size may be wrong
    if name is not None:
        chosen = [sheet for sheet in sheets if sheet.title == name]
        if not chosen:
            raise ValueError(f"{path}: no sheet {name!r}; it has the sheets {_list(sheets)}: name one with `sheet`")
        return chosen[0]
    filled = [sheet for sheet in sheets if sheet.sheet_state == "visible" and _has_values(sheet)]
    if len(filled) > 1:
        with_dna = [sheet for sheet in filled if _has_dna(sheet)]
        if len(with_dna) == 1:
            logger.info("%s: sheet %r: the only one with DNA (`sheet` names another)", path, with_dna[0].title)
            return with_dna[0]
        raise ValueError(f"{path}: several sheets have rows, {_list(filled)}: name one with `sheet`")
    if not filled:
        raise ValueError(f"{path} is empty: no sheet has rows")
    return filled[0]


def _has_values(sheet: "ReadOnlyWorksheet") -> bool:
    return any(value is not None for row in sheet.iter_rows(values_only=True) for value in row)


def _has_dna(sheet: "ReadOnlyWorksheet") -> bool:
    """Tells whether half or more of the first cells of some column are DNA; of a single row, the name above it is the other."""
    for column in zip_longest(*islice(sheet.iter_rows(values_only=True), N_LOOKED_AT)):
        texts = [text for text in (_as_text(value).strip() for value in column) if text]
        if texts and sum(len(text) >= SHORT_DNA and is_dna(text) for text in texts) >= len(texts) / 2:
            return True
    return False


def _find_merged(xml: bytes, last: int) -> list[_Fault]:
    """Merged cells down to the last row of a sheet."""
    from openpyxl.utils import range_boundaries

    faults = []
    for cells in _MERGED.findall(xml):
        left, top, right, bottom = range_boundaries(cells.decode())
        reason = f"is part of the merged cells {cells.decode()}: unmerge them, and fill in every cell"
        faults.append(_Fault(top, bottom, left, right, reason))
    return [fault for fault in faults if fault.first_row <= last]


def _find_unknown(sheet: "ReadOnlyWorksheet", rows: list[list[str]], empty: set[tuple[int, int]]) -> list[_Fault]:
    """Formulas whose values no program has saved.

    Args:
        sheet: Opened for its formulas.
        rows: Values of all rows.
        empty: Rows and columns, 1-based, of formulas whose value is known to be empty.
    """
    faults = []
    for number, (cells, values) in enumerate(zip(sheet.iter_rows(), rows, strict=True), 1):
        for column, (cell, value) in enumerate(zip(cells, values, strict=True), 1):
            if cell.data_type == "f" and not value and (number, column) not in empty:
                formula = str(getattr(cell.value, "text", cell.value))[:40]
                reason = f"has the formula {formula!r} without its value: open the file in Excel and save it"
                faults.append(_Fault(number, number, column, column, reason))
    return faults


def _list(sheets: Sequence["ReadOnlyWorksheet"]) -> str:
    return ", ".join(repr(sheet.title) for sheet in sheets)


def _as_text(value: Any) -> str:
    """What a cell contains, as text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, datetime) and value.time() == time():
        value = value.date()
    if isinstance(value, date | time):
        return value.isoformat()
    return repr(value) if isinstance(value, float) else str(value)

"""Tables of sequences from files, from the Hub and from memory, as Arrow batches that know the line of every row.

A source reads what is there and says where it is; it judges neither sequences nor splits. Memory does not grow with the
file. A new file format is one more ending in `FORMATS` and one more `_read_...` method of `FileSource`. How text is
decoded is in `text.py`, how it is divided into cells in `delimited.py`, how sheets of Excel are read in `excel.py`.
"""

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from kmerbert.dna.sequences import describe_bad_letter, is_dna
from kmerbert.errors import one_line
from kmerbert.files import COMPRESSIONS, file_checksum, split_endings
from kmerbert.reading.bad_rows import CORRECT_IT, RowError
from kmerbert.reading.delimited import NUMBER, SHORT_DNA, SURELY_DNA, Batch, DelimitedFile, Head
from kmerbert.reading.excel import ExcelSheet
from kmerbert.reading.text import open_bytes, read_blocks, read_lines
from tokenization_kmer import is_kmers

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

logger = logging.getLogger(__name__)
FORMATS = {
    ".tsv": "\t", ".tab": "\t", ".txt": "\t", ".csv": ",", ".jsonl": "json", ".ndjson": "json", ".json": "json",
    ".parquet": "parquet", ".xlsx": "excel", ".xlsm": "excel", ".fa": "fasta", ".fasta": "fasta", ".fna": "fasta",
}  # fmt: skip
TABLES = ("\t", ",", "excel")  # formats whose cells are text, and whose header is told from a row by what it says
# Between the cells of a file of text: first what its ending says, then what may be there instead.
DELIMITERS = {".csv": ",;", ".txt": "\t,; "}
# How numbers with commas are written: surely or perhaps a decimal comma; one of both; and what rules decimal commas out.
DECIMAL_COMMA = r"^[-+]?[0-9]*,[0-9]+([eE][-+]?[0-9]+)?$"
THOUSAND_OR_DECIMAL = r"^[-+]?[1-9][0-9]{0,2},[0-9]{3}$"
NO_DECIMAL_COMMA = (
    r"^[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]{1,3}(,[0-9]{3}){2,}|[0-9]{1,3}([,.][0-9]{3})+[,.][0-9]+)([eE][-+]?[0-9]+)?$"
)
MISSING = ("", "NA", "N/A", "na", "nan", "NaN", "NAN", "null", "None")
NAME_THEM = "name the columns with `sequence_column`, `label_column`, ..."
BATCH_ROWS, BATCH_LETTERS = 10_000, 1 << 24  # of FASTA and JSON lines, where one text may be a chromosome


class RepeatedColumnError(ValueError):
    """A table has two columns of one name."""


class MissingColumnError(ValueError):
    """A table does not have a column."""


class Source(Protocol):
    """Where rows come from."""

    @property
    def name(self) -> str:
        """What messages call the source."""

    @property
    def short_name(self) -> str:
        """What a model card calls the source: without the folder it is in."""

    @property
    def checksum(self) -> str:
        """Digest of the content: another one for other rows."""

    @property
    def format(self) -> str:
        """How the rows are stored."""

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in their order."""

    @property
    def remarks(self) -> list[str]:
        """How numbers were read that may mean something else, so far."""

    def commas(self, column: str) -> "Commas":
        """What commas mean in a column of text that has numbers."""

    def location(self, number: int) -> str:
        """Where the row of that 1-based number is, for messages."""

    def batches(self, columns: Sequence[str]) -> Iterator[Batch]:
        """Reads the named columns; ValueError for a missing column or content that cannot be read."""

    def check_unchanged(self) -> None:
        """Raises ValueError if the content is no longer that of `checksum`."""


def read_again(source: Source, columns: Sequence[str]) -> Iterator[Batch]:
    """Reads a source whose rows are known from an earlier reading, and makes sure that they are still the same.

    Raises:
        ValueError: The content has changed since `source.checksum` was computed, or changes during the reading. What
            was yielded until then must not be used.
    """
    source.check_unchanged()
    try:
        yield from source.batches(columns)
    except ValueError:
        source.check_unchanged()  # the true reason
        raise
    source.check_unchanged()


def has_column(source: Source, name: str) -> bool:
    """Tells whether a source has a column, or two of the name; false, too, where a fault stops the reading itself."""
    try:
        next(source.batches([name]), None)
    except RepeatedColumnError:  # whoever reads the column says so
        return True
    except ValueError:
        return False
    return True


def check_named(source: Source, named: Iterable[tuple[str, str | None]]) -> None:
    """Checks that a source has the columns that a user has named, as far as no fault stops the reading itself.

    Args:
        source: The table.
        named: Arguments, and the column that each names; None for none.

    Raises:
        ValueError: A column is missing; the message has the argument, and a similar name if there is one.
    """
    for argument, name in named:
        try:
            if name:
                next(source.batches([name]), None)
        except MissingColumnError as error:
            what = f"no column {name!r}"
            message = str(error).replace(what, f"{what} (`{argument}`)", 1)
            raise ValueError(message.replace(NAME_THEM, f"name one with `{argument}`")) from None
        except ValueError:  # whoever reads the column says so
            pass


def _hint_at(missing: str, names: Sequence[str]) -> str:
    """What a user may have meant by a column that a table does not have."""
    in_lower_case = {name.lower(): name for name in names}
    similar = get_close_matches(missing.lower(), in_lower_case, n=1)
    return f"did you mean {in_lower_case[similar[0]]!r}?" if similar else NAME_THEM


def find_id_column(source: Source, asked: str | None) -> str | None:
    """Returns the column of a source's ids: the one asked for, otherwise `id`, None if there is no such column."""
    return asked or ("id" if has_column(source, "id") else None)


class Commas(NamedTuple):
    """What commas mean in the numbers of a column.

    Attributes:
        are_decimal: Whether they are decimal commas: some can be nothing else, and no number has a point or says otherwise.
        contrary: A number that says otherwise, and where it is; empty if there is none.
        example: A number with a decimal comma; empty if there is none.
    """

    are_decimal: bool = False
    contrary: str = ""
    example: str = ""


class FastaRecord(NamedTuple):
    """One sequence of a FASTA file: its name, its letters as written, the 1-based line of its header."""

    id: str
    sequence: str
    line: int


def read_fasta(lines: Iterable[str], whole_headers: bool = False) -> Iterator[FastaRecord]:
    """Reads FASTA lines into records; line breaks inside a sequence are joined.

    Args:
        lines: The text.
        whole_headers: Whether a name is all of its header, and not only the first word.

    Raises:
        ValueError: The text does not begin with a header, or a header has no name.

    >>> list(read_fasta([">a first", "ACG", "T", ">b", "GG"]))
    [FastaRecord(id='a', sequence='ACGT', line=1), FastaRecord(id='b', sequence='GG', line=4)]
    """
    name, parts, start = None, [], 0
    for number, line in enumerate(lines, 1):
        line = line.strip()
        if line.startswith(">"):
            if name is not None:
                yield FastaRecord(name, "".join(parts), start)
            words = line[1:].split()
            if not words:
                raise ValueError(f"line {number}: a FASTA header without a name: write >name")
            name, parts, start = line[1:].strip() if whole_headers else words[0], [], number
        elif line and name is None:
            raise ValueError(f"line {number}: {line[:30]!r} before the first header: a FASTA file begins with >name")
        elif line:
            parts.append(line)
    if name is not None:
        yield FastaRecord(name, "".join(parts), start)


class _Text(NamedTuple):
    """How delimited text or a sheet of Excel is laid out: cells, names of columns, and whether the first row has them."""

    table: DelimitedFile | ExcelSheet
    names: list[str]
    has_header: bool

    def reason(self, needed: Sequence[str]) -> str | None:
        """Why columns may be missing, as far as the first lines tell."""
        head, delimiter = self.table.head, self.table.delimiter
        if not self.has_header and is_kmers(head.cells[0]):
            return describe_bad_letter(head.cells[0], 0)
        if not self.has_header:
            return f"it has no header: its first {self.table.noun} is {head.text[:60]!r}"
        for number, line in enumerate(head.lines[1:], 2):
            if set(needed) <= {cell.strip().strip('"') for cell in line.split(delimiter)}:
                return f"{self.table.noun} {number} has the names: delete what is above it"
        n_filled = [sum(cell.strip() != "" for cell in line.split(delimiter)) for line in head.lines]
        if len(self.names) > 1 and sum(map(bool, self.names)) == 1 and max(n_filled) > 1:
            header = f"{self.table.noun} {1 + n_filled.index(max(n_filled))}"
            return (
                f"the first {self.table.noun} seems to be a title: if {header} has the names, delete what is above it"
            )
        if len(self.names) == 1 and self.table.noun == "line":
            for other in "\t,; ".replace(delimiter, ""):
                if other in head.text.strip():
                    return _separated_by(other)
        if any(len(cell) >= SURELY_DNA and is_dna(cell) for cell in head.cells):
            return f"the first {self.table.noun} is a row: write a {self.table.noun} with the columns' names above it"
        if len(head.cells) < 3 and is_dna(head.cells[0]) and _could_be_a_name(head.cells[0]):
            return (
                "the first line is taken for names: name them with `sequence_column`, `label_column`; if it is a row, write a "
                "line with the columns' names above it"
            )
        return None


def _separated_by(delimiter: str) -> str:
    endings = {"\t": "should end in .tsv", ",": "should end in .csv", ";": "should end in .csv"}
    remedy = endings.get(delimiter, "should end in .tsv, with tabs")
    return f"the columns are separated by {delimiter!r}: the file's name {remedy}"


@dataclass(frozen=True)
class FileSource:
    """Rows of one file.

    A table has a header line that names its columns. A text file whose first line is DNA has none: its columns are the
    sequence and, after a delimiter, one number (the format of the DREAM Challenge). Empty lines at the end of a file are
    no rows; other empty lines are rows without values. Text that begins with `>` is FASTA, whatever the file is called.

    Attributes:
        path: The file; its ending says the format.
        sequence_column: Name of the column with the DNA, also where the file itself has no names.
        headerless_label: Name of the number's column in a file without a header.
        checksum_dir: As for `file_checksum`.
        has_header: Whether the first row of delimited text names the columns; None to tell by the row.
        sheet: Name of the sheet of an Excel file; None for the only one that has rows or, of several, DNA.
    """

    path: Path
    sequence_column: str = "sequence"
    headerless_label: str | None = None
    checksum_dir: Path | None = None
    has_header: bool | None = None
    sheet: str | None = None

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def short_name(self) -> str:
        return self.path.name

    @cached_property
    def format(self) -> str:
        ending, _ = split_endings(self.path)
        if ending == ".xls":
            raise ValueError(f"{self.path}: old Excel files are not read: open it in Excel and save it as .xlsx")
        if ending not in FORMATS:
            raise ValueError(
                f"{self.path}: the name does not say the format: allowed endings are {' '.join(FORMATS)}, "
                f"each also with {' '.join(COMPRESSIONS)}"
            )
        return FORMATS[ending]

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of the file's bytes and, if one is named, of the name of the sheet."""
        return self._checksum()

    def _checksum(self) -> str:
        checksum = file_checksum(self.path, self.checksum_dir)
        if self.format != "excel" or self.sheet is None:
            return checksum
        return hashlib.sha256(f"{checksum} {self.sheet}".encode()).hexdigest()

    def location(self, number: int) -> str:
        """Where a row is, for messages.

        >>> FileSource(Path("a.tsv")).location(3)
        'a.tsv, line 3'
        """
        return f"{self.path}, {'row' if self.format in ('parquet', 'excel') else 'line'} {number}"

    def check_unchanged(self) -> None:
        """Raises ValueError if the file's bytes are no longer those of `checksum`."""
        try:
            is_same = self._checksum() == self.checksum
        except OSError as error:
            raise ValueError(
                f"{self.path}: the file was read before, but no longer can be: {one_line(error)}"
            ) from None
        if not is_same:
            raise ValueError(
                f"{self.path}: the file was changed after it was first read: its rows are no longer those in use; put the old "
                "file back, or start again with the new one"
            )

    def check(self) -> None:
        """Raises ValueError for a file that does not exist, is a folder, is empty, or has an unknown ending."""
        if self.path.is_dir():
            raise ValueError(f"{self.path} is a folder: name a file in it, or give it as `dataset_name`")
        if not self.path.is_file():
            raise ValueError(f"{self.path}: no such file")
        if self.format and self.path.stat().st_size == 0:
            raise ValueError(f"{self.path} is empty")

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in their order; of JSON lines, those that the first line has.

        Raises:
            ValueError: As for `batches`.
        """
        self.check()
        with self._readable():
            if self.format == "json":
                return list(next((self._record(number, line) for number, line in self._json_lines()), {}))
            if self.format == "parquet":
                return pyarrow.parquet.ParquetFile(self._parquet()).schema_arrow.names
            text = None if self.format == "fasta" else self._open_text()
            return text.names if text else [self.sequence_column, "id"]

    def batches(self, columns: Sequence[str]) -> Iterator[Batch]:
        """Reads the named columns; those of delimited text are text.

        Raises:
            ValueError: The file is missing, empty, not text, cut off, not of its format, lacks a column, or is written to
                while it is read.
        """
        self.check()
        before = self.path.stat()
        readers = {"json": self._read_json, "parquet": self._read_parquet, "fasta": self._read_fasta}
        try:
            with self._readable():
                for number, batch in enumerate(readers.get(self.format, self._read_text)(list(columns))):
                    if number == 0:  # what was learnt of the layout is of the file that is read
                        self._check_untouched(before, may_be_replaced=False)
                    yield batch
        except ValueError:
            self._check_untouched(before)  # the true reason
            raise
        self._check_untouched(before)

    def _check_untouched(self, before: os.stat_result, may_be_replaced: bool = True) -> None:
        """Raises ValueError if the file is not as it was; one that is removed or replaced is read to its end all the same."""
        with suppress(OSError):
            after = self.path.stat()
            is_replaced = (before.st_dev, before.st_ino) != (after.st_dev, after.st_ino)
            is_written = (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)
            if (is_replaced and not may_be_replaced) or (is_written and not is_replaced):
                raise ValueError(f"{self.path}: the file was changed while it was read: start again")

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            raise ValueError(
                f"{self.path}: cannot be read ({one_line(error)}): is it whole, and of the format that its name says?"
            ) from None

    def _open_text(self) -> "_Text | None":
        """Finds out how delimited text or a sheet of Excel is laid out; None if it is FASTA."""
        if self.format == "excel":
            table = ExcelSheet(self.path, self.sheet)
        else:
            table = DelimitedFile(self.path, self._find_delimiter())
        head = table.head
        if self.format != "excel" and self.sequence_column not in head.cells and head.text.startswith(">"):
            return None
        is_row = self.sequence_column not in head.cells and _looks_like_a_row(head.cells)
        if self.has_header or (self.has_header is None and not is_row):
            return _Text(table, ["", *head.cells] if self._has_row_names(head) else head.cells, has_header=True)
        if len(head.cells) > 2:
            raise ValueError(
                f"{self.path}: {len(head.cells)} columns, but without a header there must be two, sequence and value"
            )
        names = [self.sequence_column, self.headerless_label or "value"]
        return _Text(table, names[: len(head.cells)], has_header=False)

    def _find_delimiter(self) -> str:
        """What is between the cells of a text file: what its ending says, unless the first lines say otherwise."""
        lines = list(islice(read_lines(self.path), 2)) or [""]

        def cells(delimiter: str) -> list[str]:
            return [cell.strip().strip('"') for line in lines for cell in line.split(delimiter) if delimiter in line]

        allowed = DELIMITERS.get(split_endings(self.path)[0], self.format)
        for delimiter in allowed:
            if self.sequence_column in cells(delimiter):
                return delimiter
        for other in "\t,; " if not any(delimiter in lines[0] for delimiter in allowed) else "":
            if other not in allowed and self.sequence_column in cells(other):
                self._fail_columns(self.sequence_column, lines[:1], _separated_by(other))
        # A sequence between the wrong delimiters has a part of its neighbours in it, and is no DNA.
        found = (d for d in allowed.strip(" ") if any(len(cell) >= SHORT_DNA and is_dna(cell) for cell in cells(d)))
        return next(found, self.format)

    def _has_row_names(self, head: Head) -> bool:
        """Tells whether R has written the rows' names, and no name for their column."""
        if len(head.second) != len(head.cells) + 1:
            return False
        if self.sequence_column not in head.cells:
            return head.is_quoted
        column = head.cells.index(self.sequence_column)
        return is_dna(head.second[column + 1]) and not is_dna(head.second[column])

    def _read_text(self, columns: list[str]) -> Iterator[Batch]:
        text = self._open_text()
        if text is None:
            yield from self._read_fasta(columns)
            return
        self._check_columns(columns, text.names, text)
        yield from text.table.batches(columns, text.names, text.has_header)

    def _check_columns(self, needed: list[str], names: list[str], text: "_Text | None" = None) -> None:
        if repeated := [name for name in needed if names.count(name) > 1]:
            raise RepeatedColumnError(f"{self.path}: the header has the column {repeated[0]!r} twice")
        if not (missing := [name for name in needed if name not in names]):
            return
        hint = text.reason(needed) if text else None
        if divided := [name for name in names if "," in name and missing[0] in map(str.strip, name.split(","))]:
            hint = f"a name that contains a comma is written in quotes, as in `label_column` '\"{divided[0]}\"'"
        self._fail_columns(missing[0], names, hint or _hint_at(missing[0], names))

    def reason(self, needed: Sequence[str]) -> str | None:
        """Why columns of a table of text may be missing, as far as its first lines tell; None if they do not."""
        if self.format not in TABLES:
            return None
        text = self._open_text()
        return text.reason(needed) if text else None

    def _fail_columns(self, missing: str, names: list[str], hint: str) -> NoReturn:
        shown = ", ".join(repr(name[:30]) for name in names[:12])
        raise MissingColumnError(f"{self.path}: no column {missing!r}; it has the columns {shown}; {hint}")

    @cached_property
    def _known_commas(self) -> dict[str, Commas]:
        return {}

    @property
    def remarks(self) -> list[str]:
        """Columns whose numbers were read with decimal commas."""
        return [
            f"{column} is read with decimal commas: {commas.example} is {commas.example.replace(',', '.')}"
            for column, commas in self._known_commas.items()
            if commas.are_decimal
        ]

    def commas(self, column: str) -> Commas:
        """What commas mean in a column, by all of its numbers; none are decimal where commas separate the cells."""
        if column not in self._known_commas:
            text = self._open_text() if self.format in TABLES else None
            has_commas_between = text is None or text.table.delimiter == ","
            self._known_commas[column] = Commas() if has_commas_between else self._look_at_commas(column)
            if self._known_commas[column].are_decimal:
                logger.info("%s: %s", self.path, self.remarks[-1])
        return self._known_commas[column]

    def _look_at_commas(self, column: str) -> Commas:
        example = ""
        for batch in self.batches([column]):
            values = pc.ascii_trim_whitespace(batch.columns[column])
            contrary = pc.match_substring_regex(values, NO_DECIMAL_COMMA)
            if pc.any(contrary).as_py():
                row = pc.index(contrary, True).as_py()
                return Commas(contrary=f"{self.location(int(batch.numbers[row]))} has {values[row].as_py()[:40]!r}")
            surely = pc.and_not(
                pc.match_substring_regex(values, DECIMAL_COMMA), pc.match_substring_regex(values, THOUSAND_OR_DECIMAL)
            )
            if not example and pc.any(surely).as_py():
                example = values[pc.index(surely, True).as_py()].as_py()
        return Commas(bool(example), example=example)

    def _json_lines(self) -> Iterator[tuple[int, str]]:
        return numbered_lines(read_lines(self.path))

    def _read_json(self, columns: list[str]) -> Iterator[Batch]:
        for lines in _in_blocks(self._json_lines()):
            records = [self._record(number, line) for number, line in lines]
            if lines[0][0] == 1:
                # A column may begin later; if no line has it, it is missing.
                later = [name for name in columns if name not in records[0] and self._has_key(name)]
                self._check_columns(columns, [*records[0], *later])
            values = {name: _column([record.get(name) for record in records]) for name in columns}
            yield Batch(values, np.array([number for number, _ in lines]))

    def _has_key(self, name: str) -> bool:
        """Tells whether any line of JSON has a key."""
        written = json.dumps(name, ensure_ascii=False)
        lines = ((number, line) for number, line in self._json_lines() if written in line or "\\u" in line)
        return any(name in self._record(number, line) for number, line in lines)

    def _record(self, number: int, line: str) -> dict[str, Any]:
        try:
            with suppress(ValueError, RecursionError):
                if isinstance(record := json.loads(line, object_pairs_hook=_object), dict):
                    if "\\ud" in line.lower() and not _is_text(record):
                        raise LookupError("a text contains half of a character, such as \\ud800 alone")
                    return record
        except LookupError as error:
            raise ValueError(f"{self.location(number)}: {error.args[0]}") from None
        raise ValueError(
            f'{self.location(number)}: {line.strip()[:40]!r}: each line must be one object, {{"column": value, ...}}'
        )

    def _parquet(self) -> pa.BufferReader | Path:
        return pa.BufferReader(open_bytes(self.path).read()) if split_endings(self.path)[1] else self.path

    def _read_parquet(self, columns: list[str]) -> Iterator[Batch]:
        file = pyarrow.parquet.ParquetFile(self._parquet(), pre_buffer=False)  # a buffer would keep all that was read
        self._check_columns(columns, file.schema_arrow.names)
        first = 1
        for batch in file.iter_batches(BATCH_ROWS, columns=columns):
            values = {name: batch.column(name) for name in columns}
            yield Batch(values, np.arange(first, first := first + batch.num_rows))

    def _has_repeated_words(self) -> bool:
        """Tells whether headers of FASTA have the same first word, which then is no id."""
        hashes = [
            np.fromiter(map(hash, re.findall(rb"^>[ \t]*+([^ \t\n]++)", block.text, re.MULTILINE)), np.int64)
            for block in read_blocks(self.path)
        ]
        words = np.concatenate([np.empty(0, np.int64), *hashes])
        return len(np.unique(words)) < len(words)

    def _read_fasta(self, columns: list[str]) -> Iterator[Batch]:
        if extra := [name for name in columns if name not in (self.sequence_column, "id")]:
            raise ValueError(f"{self.path}: a FASTA file has no column {extra[0]!r}: use a table (.tsv, .csv, ...)")
        whole_headers = "id" in columns and self._has_repeated_words()
        blocks = _in_blocks(read_fasta(read_lines(self.path), whole_headers))
        while True:
            try:
                records = next(blocks, None)
            except ValueError as error:
                is_located = str(error).startswith(str(self.path))
                raise ValueError(str(error) if is_located else f"{self.path}, {error}") from None
            if records is None:
                return
            ids, sequences, lines = zip(*records, strict=True)
            values = {self.sequence_column: pa.array(sequences), "id": pa.array(ids)}
            yield Batch({name: values[name] for name in columns}, np.array(lines))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; LookupError for a key that occurs twice."""
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        raise LookupError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} is there twice")
    return record


def _is_text(record: dict[str, Any]) -> bool:
    """Tells whether what was read from JSON can be written in UTF-8."""
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _could_be_a_name(text: str) -> bool:
    """Tells whether DNA is as short as a name, and has other letters than most DNA."""
    return len(text) < SURELY_DNA and not is_kmers(text) and bool(set(text.upper()) - set("ACGTUN"))


def _looks_like_a_row(cells: list[str]) -> bool:
    """Tells whether the cells of a first line are a sequence, or a sequence and a number; "dna" and "strand" are names."""
    sequence, *values = cells
    if len(values) > 1 or not (is_dna(sequence) or is_kmers(sequence)):
        return False
    if _could_be_a_name(sequence):
        return False
    return not values or is_number(values[0]) or len(sequence) >= SURELY_DNA


def numbered_lines(text: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Numbers lines from 1 and drops trailing empty lines.

    >>> list(numbered_lines(["a", "", "b", "\\n", ""]))
    [(1, 'a'), (2, ''), (3, 'b')]
    """
    held: list[tuple[int, str]] = []
    for number, line in enumerate(text, 1):
        held.append((number, line))
        if line.strip("\r\n"):
            yield from held
            held.clear()


def _in_blocks(items: Iterable[Any]) -> Iterator[list[Any]]:
    """Lists of items, few enough to be handled at once; every item is a tuple whose second element is its text."""
    block, letters = [], 0
    for item in items:
        block.append(item)
        letters += len(item[1])
        if len(block) == BATCH_ROWS or letters > BATCH_LETTERS:
            yield block
            block, letters = [], 0
    if block:
        yield block


def _column(values: list[Any]) -> pa.Array:
    """An Arrow column of values from JSON; text if they are of several kinds."""
    kinds = {*map(type, values)} - {type(None)}
    if len(kinds) < 2 or kinds == {int, float}:  # Arrow would take a truth value among numbers for 1
        with suppress(pa.ArrowException, OverflowError):
            return pa.array(values)
    return pa.array([None if value is None else str(value) for value in values])


@dataclass(frozen=True)
class HubSource:
    """Rows of one split of a Hub dataset (any `datasets.Dataset`)."""

    name: str
    dataset: "Dataset" = field(repr=False)
    format: str = "hub"

    @property
    def short_name(self) -> str:
        return self.name

    @property
    def checksum(self) -> str:
        """Fingerprint that `datasets` gives to this data."""
        return self.dataset._fingerprint

    @property
    def columns(self) -> list[str]:
        return self.dataset.column_names

    @property
    def remarks(self) -> list[str]:
        return []

    def commas(self, column: str) -> Commas:
        """Nothing: a dataset has numbers."""
        return Commas()

    def location(self, number: int) -> str:
        """Where a row is, for messages."""
        return f"{self.name}, row {number}"

    def check_unchanged(self) -> None:
        """Does nothing: a dataset is fixed once it is loaded."""

    def batches(self, columns: Sequence[str]) -> Iterator[Batch]:
        """Reads the named columns; ValueError for a missing one."""
        if missing := [name for name in columns if name not in self.dataset.column_names]:
            names = self.dataset.column_names
            hint = _hint_at(missing[0], names)
            raise MissingColumnError(f"{self.name}: no column {missing[0]!r}; it has the columns {names}; {hint}")
        for batch, table in enumerate(self.dataset.with_format("arrow").iter(BATCH_ROWS)):
            values = {name: table.column(name).combine_chunks() for name in columns}
            yield Batch(values, 1 + batch * BATCH_ROWS + np.arange(table.num_rows))


@dataclass(frozen=True)
class MemorySource:
    """Rows of a table in memory, such as the sequences of a notebook."""

    table: pa.Table = field(repr=False)
    name: str = "the table"
    noun: str = "row"
    format: str = "memory"

    @property
    def short_name(self) -> str:
        return self.name

    @property
    def checksum(self) -> str:
        raise NotImplementedError("rows in memory are not cached")

    @property
    def columns(self) -> list[str]:
        return self.table.column_names

    @property
    def remarks(self) -> list[str]:
        return []

    def commas(self, column: str) -> Commas:
        """Nothing: a table in memory has numbers."""
        return Commas()

    def location(self, number: int) -> str:
        """Where a row is, for messages."""
        return f"{self.noun} {number} of {self.name}, counted from 1"

    def check_unchanged(self) -> None:
        """Does nothing: rows in memory are those of this program."""

    def batches(self, columns: Sequence[str]) -> Iterator[Batch]:
        """Reads the named columns; ValueError for a missing one."""
        if missing := [name for name in columns if name not in self.table.column_names]:
            names = self.table.column_names
            hint = _hint_at(missing[0], names)
            raise MissingColumnError(f"{self.name}: no column {missing[0]!r}; it has the columns {names}; {hint}")
        first = 1
        for batch in self.table.select(list(dict.fromkeys(columns))).to_batches(BATCH_ROWS):
            values = {name: batch.column(name) for name in columns}
            yield Batch(values, np.arange(first, first := first + batch.num_rows))


def load_hub_dataset(name: str, config_name: str | None = None, split: str | None = None) -> "Dataset | DatasetDict":
    """Loads a dataset from the Hub or a local folder: one split, or all of them.

    Raises:
        ValueError: It cannot be loaded, for whatever reason.
    """
    from datasets import load_dataset  # takes seconds to import

    if Path(name).is_file():
        raise ValueError(f"`dataset_name` {name!r} is a file: give it as `train_file` or `input_file`")
    if Path(name).suffix in FORMATS and not Path(name).exists():
        raise ValueError(f"`dataset_name` {name!r}: no such dataset; a file is given as `train_file` or `input_file`")
    try:
        return load_dataset(name, config_name, split=split)
    except Exception as error:  # the Hub, the network or a data file can fail in any way; the user needs one line
        chosen = f", `dataset_split` {split}" if split else ""
        raise ValueError(f"`dataset_name` {name!r}{chosen}: cannot be loaded: {one_line(error)}") from None


@contextmanager
def readable_file(argument: str, path: Path) -> Iterator[None]:
    """Surrounds the reading of a file that an argument names; ValueError if it cannot be read, or is stdin or a pipe."""
    try:
        if str(path) in ("-", "/dev/stdin") or (path.exists() and not (path.is_file() or path.is_dir())):
            raise ValueError(f"`{argument}` {path}: stdin and pipes cannot be read: write a file and give that")
        yield
    except OSError as error:
        raise ValueError(
            f"`{argument}` {path} cannot be read ({error.strerror or error}): give an existing file that you may read"
        ) from None


def is_number(text: str) -> bool:
    """Tells whether a cell is a number as programs write it, or a missing value."""
    text = text.strip()
    return text in MISSING or NUMBER.fullmatch(text) is not None


def as_text(values: pa.Array) -> pa.Array:
    """Returns a column as text (`pa.string()`), whatever type it has; null stays null."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    try:
        return values.cast(pa.string())
    except pa.ArrowNotImplementedError:  # lists and the like
        return pa.array([None if value is None else str(value) for value in values.to_pylist()], pa.string())


def to_numbers(values: pa.Array, source: Source, rows: np.ndarray, column: str) -> np.ndarray:
    """Reads measured values.

    Args:
        values: One column of a batch, text or numbers (n,).
        source, rows: Source of the batch and its `numbers`, int array (n,), for messages.
        column: Name of the column, for messages.

    Returns:
        float64 array (n,); NaN where the value is missing (empty, NA, NaN, null).

    Raises:
        RowError: A value is text, or a number that float32 cannot hold.
    """
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_string_view(values.type):
        values = values.cast(pa.string())
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        values = pc.ascii_trim_whitespace(values)
        values = pc.if_else(pc.is_in(values, pa.array(MISSING, values.type)), None, values)
    try:
        numbers = pc.cast(values, pa.float64()).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        texts = ["" if value is None else str(value).strip() for value in values.to_pylist()]
        has_commas = [re.fullmatch(DECIMAL_COMMA, text) is not None for text in texts]
        commas = source.commas(column) if any(has_commas) else Commas()
        if commas.are_decimal:
            texts = [
                text.replace(",", ".") if is_decimal else text
                for text, is_decimal in zip(texts, has_commas, strict=True)
            ]
        for number, text in zip(rows, texts, strict=True):
            if not is_number(text):
                hint = _number_hint(text, commas)
                reason = f"{column} is {text[:40]!r}: allowed are numbers{hint}; {CORRECT_IT}"
                raise RowError(source, number, column, text, reason) from None
        numbers = np.array([np.nan if text in MISSING else float(text) for text in texts])
    if (is_infinite := np.abs(numbers) > np.finfo(np.float32).max).any():
        row = int(is_infinite.argmax())
        value = values[row].as_py()
        reason = f"{column} is {str(value)[:40]}: allowed are finite numbers (float32); {CORRECT_IT}"
        raise RowError(source, rows[row], column, value, reason)
    return numbers


def _number_hint(text: str, commas: Commas = Commas()) -> str:  # noqa: B008 (it cannot change)
    """What a text that is no number may mean, and how that is written.

    Args:
        text: What is in a cell, without blanks around it.
        commas: What commas mean in its column.

    >>> _number_hint("1,100")
    ' (write 1100 if the comma separates thousands, 1.100 if it is a decimal comma)'
    >>> _number_hint("1,5"), _number_hint("1,100,000"), _number_hint("high")
    (' (write decimals with a point: 1.5)', ' (write thousands without separators, decimals with a point)', '')
    >>> _number_hint("12.3 nM")
    " (it has the unit 'nM': write 12.3 alone, with all rows in one unit, which `label_unit` may name)"
    """
    if re.fullmatch(THOUSAND_OR_DECIMAL, text):
        whole, decimal = text.replace(",", ""), text.replace(",", ".")
        hint = f"write {whole} if the comma separates thousands, {decimal} if it is a decimal comma"
        return f" ({hint}{_why_not(commas)})"
    if re.fullmatch(DECIMAL_COMMA, text):
        return f" (write decimals with a point: {text.replace(',', '.')}{_why_not(commas)})"
    if re.fullmatch(r"[-+]?\d{1,3}([,._'\u2019\s]\d{3})+([.,]\d+)?", text):
        return " (write thousands without separators, decimals with a point)"
    if len(text) > 1 and text[0] == text[-1] == "'":
        return " (only double quotes enclose a cell)"
    if text.startswith('"'):
        return " (a quote that encloses a cell follows its delimiter, without a blank)"
    if text.startswith("\u2212"):
        return " (its first letter only looks like a minus sign: write -)"
    if text.lower() in ("true", "false"):
        return " (write 1 for true and 0 for false)"
    if re.fullmatch(r"\d{4}-\d\d-\d\d(T.*)?|\d\d:\d\d:\d\d.*", text):
        return (
            " (a date or time: Excel makes dates of numbers such as 1.5; type the number again in a column of numbers)"
        )
    if re.fullmatch(r"#[A-Z0-9/!?_]+", text):
        return " (a formula of Excel has failed here)"
    if unit := re.fullmatch(
        rf"({NUMBER.pattern}|[-+]?\d+,\d+)\s*([^\W\d_]\S{{0,19}}|[%\u2030\u00b0\u00b5]\S{{0,19}})", text
    ):
        number, name = unit[1], unit.groups()[-1]
        return (
            f" (it has the unit {name!r}: write {number} alone, with all rows in one unit, which `label_unit` may name)"
        )
    return ""


def _why_not(commas: Commas) -> str:
    """Why commas of a column are not read as decimal commas, as far as another number says so."""
    return (
        f"; decimal commas are read if all numbers of the column have them, but {commas.contrary}"
        if commas.contrary
        else ""
    )

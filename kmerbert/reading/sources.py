"""Tables of sequences from files, from the Hub and from memory, as Arrow batches that know the line of every row.

A source reads what is there and says where it is; it judges neither sequences nor splits. Memory does not grow with the
file. A new file format is one more ending in `FORMATS` and one more `_read_...` method of `FileSource`.
"""

import csv
import io
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from kmerbert.dna.sequences import is_dna
from kmerbert.errors import counted, one_line
from kmerbert.files import COMPRESSIONS, file_checksum, split_endings

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

FORMATS = {
    ".tsv": "\t", ".tab": "\t", ".txt": "\t", ".csv": ",", ".jsonl": "json", ".ndjson": "json", ".json": "json",
    ".parquet": "parquet", ".fa": "fasta", ".fasta": "fasta", ".fna": "fasta",
}  # fmt: skip
MISSING = ("", "NA", "N/A", "na", "nan", "NaN", "NAN", "null", "None")
BATCH_ROWS = 10_000
BLOCK_BYTES = 1 << 22  # text tables are read in blocks of this size; a line cannot be longer


class Batch(NamedTuple):
    """Some rows: their columns, and int64 array (n,), their 1-based numbers (lines or rows) in the source."""

    columns: dict[str, pa.Array]
    numbers: np.ndarray


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

    def location(self, number: int) -> str:
        """Where the row of that 1-based number is, for messages."""

    def batches(self, columns: Sequence[str]) -> Iterator[Batch]:
        """Reads the named columns; ValueError for a missing column or content that cannot be read."""


def has_column(source: Source, name: str) -> bool:
    """Tells whether a source has a column; false, too, where a fault stops the reading itself."""
    try:
        next(source.batches([name]), None)
    except ValueError:
        return False
    return True


def find_id_column(source: Source, asked: str | None) -> str | None:
    """Returns the column of a source's ids: the one asked for, otherwise `id`, None if there is no such column."""
    return asked or ("id" if has_column(source, "id") else None)


class FastaRecord(NamedTuple):
    """One sequence of a FASTA file: its name, its letters as written, the 1-based line of its header."""

    id: str
    sequence: str
    line: int


def read_fasta(lines: Iterable[str]) -> Iterator[FastaRecord]:
    """Reads FASTA lines into records; the id is the first word of the header, line breaks inside a sequence are joined.

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
            name, parts, start = words[0], [], number
        elif line and name is None:
            raise ValueError(f"line {number}: {line[:30]!r} before the first header: a FASTA file begins with >name")
        elif line:
            parts.append(line)
    if name is not None:
        yield FastaRecord(name, "".join(parts), start)


@dataclass(frozen=True)
class FileSource:
    """Rows of one file.

    A table has a header line that names its columns. A text file whose first line is DNA has none: its columns are the
    sequence and, after a tab, one number (the format of the DREAM Challenge). Empty lines at the end of a file are no
    rows; other empty lines are rows without values.

    Attributes:
        path: The file; its ending says the format.
        sequence_column: Name of the column with the DNA, also where the file itself has no names.
        headerless_label: Name of the number's column in a file without a header.
        checksum_dir: As for `file_checksum`.
    """

    path: Path
    sequence_column: str = "sequence"
    headerless_label: str | None = None
    checksum_dir: Path | None = None

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def short_name(self) -> str:
        return self.path.name

    @cached_property
    def format(self) -> str:
        ending, _ = split_endings(self.path)
        if ending not in FORMATS:
            raise ValueError(
                f"{self.path}: the name does not say the format: allowed endings are {' '.join(FORMATS)}, "
                f"each also with {' '.join(COMPRESSIONS)}"
            )
        return FORMATS[ending]

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of the file's bytes."""
        return file_checksum(self.path, self.checksum_dir)

    def location(self, number: int) -> str:
        """Where a row is, for messages.

        >>> FileSource(Path("a.tsv")).location(3)
        'a.tsv, line 3'
        """
        return f"{self.path}, {'row' if self.format == 'parquet' else 'line'} {number}"

    def check(self) -> None:
        """Raises ValueError for a file that does not exist, is a folder, is empty, or has an unknown ending."""
        if self.path.is_dir():
            raise ValueError(f"{self.path} is a folder: name a file in it, or give it as `dataset_name`")
        if not self.path.is_file():
            raise ValueError(f"{self.path}: no such file")
        if self.format and self.path.stat().st_size == 0:
            raise ValueError(f"{self.path}: the file is empty")

    def batches(self, columns: Sequence[str]) -> Iterator[Batch]:
        """Reads the named columns.

        Raises:
            ValueError: The file is missing, empty, not text, cut off, not of its format, or lacks a column.
        """
        self.check()
        readers = {"json": self._read_json, "parquet": self._read_parquet, "fasta": self._read_fasta}
        try:
            yield from readers.get(self.format, self._read_text)(list(columns))
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.path}: not a text file ({error.reason} at byte {error.start})") from None
        except (pa.ArrowException, OSError) as error:
            hint = ": is it whole, and of the format that its name says?"
            if "block size" in str(error):
                hint = f": a line is longer than {BLOCK_BYTES >> 20} million letters; write long sequences as FASTA"
            raise ValueError(f"{self.path}: cannot be read ({one_line(error)}){hint}") from None

    def _open(self) -> pa.NativeFile:
        return pa.input_stream(str(self.path), compression=split_endings(self.path)[1])

    def _open_text(self) -> io.TextIOWrapper:
        return io.TextIOWrapper(self._open(), encoding="utf-8-sig")

    def _read_text(self, columns: list[str]) -> Iterator[Batch]:
        with self._open_text() as text:
            first_line = text.readline(BLOCK_BYTES).rstrip("\r\n")
        if "\0" in first_line:
            raise ValueError(f"{self.path}: not a text file (it contains zero bytes)")
        is_quoted = self.format == "," and '"' in first_line
        names = next(csv.reader([first_line])) if is_quoted else first_line.split(self.format)
        is_headerless = self.sequence_column not in names and _looks_like_a_row(names)
        if is_headerless:
            names = [self.sequence_column, self.headerless_label or "value"][: len(names)]
        self._check_columns(columns, names, first_line)
        batches = self._parse_text(columns, names, first_number=1 if is_headerless else 2)
        yield from without_empty_end(batches, self._open_text, self.format)

    def _parse_text(self, columns: list[str], names: list[str], first_number: int) -> Iterator[Batch]:
        """The named columns of all rows, from the line of that number on."""
        rejected: list[pyarrow.csv.InvalidRow] = []

        def reject(row: pyarrow.csv.InvalidRow) -> str:
            rejected.append(row)
            return "error"

        try:
            for batch in pyarrow.csv.open_csv(
                self._open(),
                pyarrow.csv.ReadOptions(
                    column_names=names, skip_rows=first_number - 1, use_threads=False, block_size=BLOCK_BYTES
                ),
                pyarrow.csv.ParseOptions(
                    delimiter=self.format,
                    quote_char='"' if self.format == "," else False,
                    ignore_empty_lines=False,
                    invalid_row_handler=reject,
                ),
                pyarrow.csv.ConvertOptions(
                    include_columns=columns, column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=False
                ),
            ):
                values = dict(zip(columns, batch.columns, strict=True))
                yield Batch(values, np.arange(first_number, first_number := first_number + batch.num_rows))
        except pa.ArrowInvalid:
            if not rejected:
                raise
            row = rejected[0]
            raise ValueError(
                f"{self.location(row.number)}: {counted(row.actual_columns, 'column')}, but {row.expected_columns} in the first "
                f"line: {row.text[:60]!r}"
            ) from None

    def _check_columns(self, needed: list[str], names: list[str], first_line: str = "") -> None:
        if repeated := [name for name in needed if names.count(name) > 1]:
            raise ValueError(f"{self.path}: the header has the column {repeated[0]!r} twice")
        if not (missing := [name for name in needed if name not in names]):
            return
        hint = "name the columns with `sequence_column`, `label_column`, ..."
        for delimiter, ending in (("\t", ".tsv"), (",", ".csv"), (";", ".csv, with commas")):
            if len(names) == 1 and delimiter in first_line and delimiter != self.format:
                hint = f"the columns are separated by {delimiter!r}: the file's name should end in {ending}"
        shown = ", ".join(repr(name[:30]) for name in names[:12])
        raise ValueError(f"{self.path}: no column {missing[0]!r}; it has the columns {shown}; {hint}")

    def _read_json(self, columns: list[str]) -> Iterator[Batch]:
        with self._open_text() as text:
            for lines in _in_blocks(numbered_lines(text)):
                records = [self._record(number, line) for number, line in lines]
                if lines[0][0] == 1:
                    self._check_columns(columns, list(records[0]))
                values = {name: _column([record.get(name) for record in records]) for name in columns}
                yield Batch(values, np.array([number for number, _ in lines]))

    def _record(self, number: int, line: str) -> dict[str, Any]:
        with suppress(ValueError, RecursionError):
            if isinstance(record := json.loads(line), dict):
                return record
        raise ValueError(
            f'{self.location(number)}: {line.strip()[:40]!r}: each line must be one object, {{"column": value, ...}}'
        )

    def _read_parquet(self, columns: list[str]) -> Iterator[Batch]:
        is_compressed = split_endings(self.path)[1] is not None
        content = pa.BufferReader(self._open().read()) if is_compressed else self.path
        file = pyarrow.parquet.ParquetFile(content, pre_buffer=False)  # a buffer would keep all that was read
        self._check_columns(columns, file.schema_arrow.names)
        first = 1
        for batch in file.iter_batches(BATCH_ROWS, columns=columns):
            values = {name: batch.column(name) for name in columns}
            yield Batch(values, np.arange(first, first := first + batch.num_rows))

    def _read_fasta(self, columns: list[str]) -> Iterator[Batch]:
        if extra := [name for name in columns if name not in (self.sequence_column, "id")]:
            raise ValueError(f"{self.path}: a FASTA file has no column {extra[0]!r}: use a table (.tsv, .csv, ...)")
        with self._open_text() as text:
            try:
                for records in _in_blocks(read_fasta(text)):
                    ids, sequences, lines = zip(*records, strict=True)
                    yield Batch({self.sequence_column: pa.array(sequences), "id": pa.array(ids)}, np.array(lines))
            except UnicodeDecodeError:
                raise
            except ValueError as error:
                raise ValueError(f"{self.path}, {error}") from None


def _looks_like_a_row(fields: list[str]) -> bool:
    return is_dna(fields[0].strip()) and (len(fields) == 1 or (len(fields) == 2 and _is_number(fields[1])))


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


def without_empty_end(batches: Iterable[Batch], lines: Callable[[], Iterable[str]], delimiter: str) -> Iterator[Batch]:
    """Drops the last rows of a table if their lines hold nothing, or nothing but delimiters.

    Args:
        batches: Text columns, perhaps not all columns of the table.
        lines: Opens the table's text again; called only if the last rows have no value in the columns that were read.
        delimiter: Between the fields of a line.

    Yields:
        The batches, divided where only a later one shows whether rows are the last.
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


def _in_blocks(items: Iterable[Any]) -> Iterator[list[Any]]:
    """Lists of items, few enough to be handled at once; every item is a tuple whose second element is its text."""
    block, letters = [], 0
    for item in items:
        block.append(item)
        letters += len(item[1])
        if len(block) == BATCH_ROWS or letters > 4 * BLOCK_BYTES:
            yield block
            block, letters = [], 0
    if block:
        yield block


def _column(values: list[Any]) -> pa.Array:
    """An Arrow column of values from JSON; text if they are of several kinds."""
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
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

    def location(self, number: int) -> str:
        """Where a row is, for messages."""
        return f"{self.name}, row {number}"

    def batches(self, columns: Sequence[str]) -> Iterator[Batch]:
        """Reads the named columns; ValueError for a missing one."""
        if missing := [name for name in columns if name not in self.dataset.column_names]:
            raise ValueError(f"{self.name}: no column {missing[0]!r}; it has the columns {self.dataset.column_names}")
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

    def location(self, number: int) -> str:
        """Where a row is, for messages."""
        return f"{self.noun} {number} of {self.name}, counted from 1"

    def batches(self, columns: Sequence[str]) -> Iterator[Batch]:
        """Reads the named columns; ValueError for a missing one."""
        if missing := [name for name in columns if name not in self.table.column_names]:
            raise ValueError(f"{self.name}: no column {missing[0]!r}; it has the columns {self.table.column_names}")
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


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text.strip() in MISSING
    return True


def to_numbers(values: pa.Array, source: Source, first: int, column: str) -> np.ndarray:
    """Reads measured values.

    Args:
        values: One column of a batch, text or numbers.
        source, first: Source of the batch and number of its first row, for messages.
        column: Name of the column, for messages.

    Returns:
        float64 array (n,); NaN where the value is missing (empty, NA, NaN, null).

    Raises:
        ValueError: A value is text, or a number that float32 cannot hold; the message has its row.
    """
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        values = pc.ascii_trim_whitespace(values)
        values = pc.if_else(pc.is_in(values, pa.array(MISSING, values.type)), None, values)
    try:
        numbers = pc.cast(values, pa.float64()).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        for row, value in enumerate(values.to_pylist()):
            if value is not None and not _is_number(str(value)):
                hint = " (write decimals with a point)" if "," in str(value) else ""
                raise ValueError(
                    f"{source.location(first + row)}: {column} is {str(value)[:40]!r}: allowed are numbers{hint}"
                ) from None
        numbers = np.array([np.nan if value is None else float(value) for value in values.to_pylist()])
    if (is_infinite := np.abs(numbers) > np.finfo(np.float32).max).any():
        row = int(is_infinite.argmax())
        raise ValueError(
            f"{source.location(first + row)}: {column} is {numbers[row]}: allowed are finite numbers (float32)"
        )
    return numbers

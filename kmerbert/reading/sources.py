"""Tables of sequences from files and from the Hub, in Arrow batches, with the line of every row.

Reads what is there and says where it is; judges neither sequences nor splits. Memory does not grow with the file.
"""

import csv
import io
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from kmerbert.dna.sequences import BAD, CANONICAL
from kmerbert.errors import REFUSALS, reading
from kmerbert.files import file_checksum

FORMATS = {
    ".tsv": "\t", ".tab": "\t", ".txt": "\t", ".csv": ",", ".jsonl": "json", ".ndjson": "json", ".json": "json",
    ".parquet": "parquet", ".fa": "fasta", ".fasta": "fasta", ".fna": "fasta",
}  # fmt: skip
COMPRESSIONS = (".gz", ".zst", ".bz2")
MISSING = ("", "NA", "N/A", "na", "nan", "NaN", "NAN", "null", "None")
BATCH_ROWS = 10_000
BLOCK_BYTES = 1 << 22  # text tables are read in such pieces; a line can't be longer


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


class FastaRecord(NamedTuple):
    """One sequence of a FASTA file: its name, its letters as they stand, the 1-based line of its header."""

    id: str
    sequence: str
    line: int


def read_fasta(lines: Iterable[str]) -> Iterator[FastaRecord]:
    """Reads FASTA lines into records; the id is the first word of the header, line breaks inside a sequence are joined.

    Raises:
        ValueError: when the text does not begin with a header, or a header has no name.

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

    A table has a header line that names its columns; a text file whose first line is DNA has none, and its columns are
    the sequence and, after a tab, one number (the format of the DREAM Challenge). Empty lines at the end are no rows, others
    are rows without values. `checksum_dir`: as for `file_checksum`.
    """

    path: Path
    sequence_column: str = "sequence"
    headerless_label: str | None = None
    checksum_dir: Path | None = None

    @property
    def name(self) -> str:
        return str(self.path)

    @cached_property
    def format(self) -> str:
        suffixes = [suffix.lower() for suffix in self.path.suffixes]
        if suffixes and suffixes[-1] in COMPRESSIONS:
            suffixes.pop()
        if not suffixes or suffixes[-1] not in FORMATS:
            raise ValueError(
                f"{self.path}: the name does not say the format: allowed endings are {' '.join(FORMATS)}, "
                f"each also with {' '.join(COMPRESSIONS)}"
            )
        return FORMATS[suffixes[-1]]

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of the file's bytes."""
        return file_checksum(self.path, self.checksum_dir)

    def place(self, number: int) -> str:
        """Words for where a row is.

        >>> FileSource(Path("a.tsv")).place(3)
        'a.tsv, line 3'
        """
        return f"{self.path}, {'row' if self.format == 'parquet' else 'line'} {number}"

    def check(self) -> None:
        """Raises ValueError for a file that is not there, is a folder, holds nothing, or has an unknown ending."""
        if self.path.is_dir():
            raise ValueError(f"{self.path} is a folder: name a file in it, or give it as --dataset_name")
        if not self.path.is_file():
            raise ValueError(f"{self.path}: no such file")
        if self.format and self.path.stat().st_size == 0:
            raise ValueError(f"{self.path}: the file is empty")

    def batches(self, columns: Sequence[str]) -> Iterator[Batch]:
        """Reads the named columns.

        Raises:
            ValueError: for a file that is missing, empty, no text, cut off, not of its format, or lacks a column.
        """
        self.check()
        reader = {"json": self._read_json, "parquet": self._read_parquet, "fasta": self._read_fasta}
        try:
            yield from reader.get(self.format, self._read_text)(list(columns))
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.path}: not a text file ({error.reason} at byte {error.start})") from None
        except (pa.ArrowException, OSError) as error:
            hint = ": is it whole, and what its name says?"
            if "block size" in str(error):
                hint = f": a line is longer than {BLOCK_BYTES >> 20} million letters; write long sequences as FASTA"
            raise ValueError(f"{self.path}: cannot be read ({' '.join(str(error).split())}){hint}") from None

    def _open(self) -> pa.NativeFile:
        compression = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}.get(self.path.suffix.lower())
        return pa.input_stream(str(self.path), compression=compression)

    def _read_text(self, columns: list[str]) -> Iterator[Batch]:
        with io.TextIOWrapper(self._open(), encoding="utf-8-sig") as text:
            first_line = text.readline(BLOCK_BYTES).rstrip("\r\n")
        if "\0" in first_line:
            raise ValueError(f"{self.path}: not a text file (it holds zero bytes)")
        is_quoted = self.format == "," and '"' in first_line
        names = next(csv.reader([first_line])) if is_quoted else first_line.split(self.format)
        headerless = self.sequence_column not in names and self._looks_like_a_row(names)
        if headerless:
            names = [self.sequence_column, self.headerless_label or "value"][: len(names)]
        self._check_columns(columns, names, first_line)
        rows = self._parse_text(columns, names, 1 if headerless else 2)
        yield from without_empty_end(rows, lambda: io.TextIOWrapper(self._open(), encoding="utf-8-sig"), self.format)

    def _parse_text(self, columns: list[str], names: list[str], first: int) -> Iterator[Batch]:
        """The named columns of all rows from the `first` line on."""
        rejected: list[pyarrow.csv.InvalidRow] = []
        try:
            for batch in pyarrow.csv.open_csv(
                self._open(),
                pyarrow.csv.ReadOptions(
                    column_names=names, skip_rows=first - 1, use_threads=False, block_size=BLOCK_BYTES
                ),
                pyarrow.csv.ParseOptions(
                    delimiter=self.format,
                    quote_char='"' if self.format == "," else False,
                    ignore_empty_lines=False,
                    invalid_row_handler=lambda row: (rejected.append(row), "error")[1],
                ),
                pyarrow.csv.ConvertOptions(
                    include_columns=columns, column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=False
                ),
            ):
                found = dict(zip(columns, batch.columns, strict=True))
                yield Batch(found, np.arange(first, first := first + batch.num_rows))
        except pa.ArrowInvalid:
            if not rejected:
                raise
            row = rejected[0]
            found = f"{row.actual_columns} columns, but {row.expected_columns} in the first line: {row.text[:60]!r}"
            raise ValueError(f"{self.place(row.number)}: {found}") from None

    @staticmethod
    def _looks_like_a_row(fields: list[str]) -> bool:
        letters = fields[0].strip().encode("utf-8", "replace").translate(CANONICAL)
        is_dna = len(letters) > 0 and BAD.encode() not in letters
        return is_dna and (len(fields) == 1 or (len(fields) == 2 and _is_number(fields[1])))

    def _check_columns(self, needed: list[str], found: list[str], first_line: str = "") -> None:
        if repeated := [name for name in needed if found.count(name) > 1]:
            raise ValueError(f"{self.path}: the column {repeated[0]!r} stands twice in the header")
        if not (missing := [name for name in needed if name not in found]):
            return
        hint = "name them by --sequence_column, --label_column, ..."
        for delimiter, ending in (("\t", ".tsv"), (",", ".csv"), (";", ".csv, with commas")):
            if len(found) == 1 and delimiter in first_line and delimiter != self.format:
                hint = f"the columns are divided by {delimiter!r}: the file's name should end in {ending}"
        shown = ", ".join(repr(name[:30]) for name in found[:12])
        raise ValueError(f"{self.path}: no column {missing[0]!r}; columns found: {shown}; {hint}")

    def _read_json(self, columns: list[str]) -> Iterator[Batch]:
        with io.TextIOWrapper(self._open(), encoding="utf-8-sig") as text:
            for lines in _batched(numbered_lines(text)):
                records = [self._record(number, line) for number, line in lines]
                if lines[0][0] == 1:
                    self._check_columns(columns, list(records[0]))
                found = {name: _column([record.get(name) for record in records]) for name in columns}
                yield Batch(found, np.array([number for number, _ in lines]))

    def _record(self, number: int, line: str) -> dict[str, Any]:
        with suppress(ValueError, RecursionError):
            if isinstance(record := json.loads(line), dict):
                return record
        raise ValueError(f'{self.place(number)}: {line.strip()[:40]!r}: needed is one {{"column": value, ...}} a line')

    def _read_parquet(self, columns: list[str]) -> Iterator[Batch]:
        packed = self.path.suffix.lower() in COMPRESSIONS
        content = pa.BufferReader(self._open().read()) if packed else self.path
        file = pyarrow.parquet.ParquetFile(content, pre_buffer=False)  # a buffer would keep all that was read
        self._check_columns(columns, file.schema_arrow.names)
        first = 1
        for batch in file.iter_batches(BATCH_ROWS, columns=columns):
            found = {name: batch.column(name) for name in columns}
            yield Batch(found, np.arange(first, first := first + batch.num_rows))

    def _read_fasta(self, columns: list[str]) -> Iterator[Batch]:
        if extra := [name for name in columns if name not in (self.sequence_column, "id")]:
            raise ValueError(f"{self.path}: a FASTA file has no column {extra[0]!r}: use a table (.tsv, .csv, ...)")
        with io.TextIOWrapper(self._open(), encoding="utf-8-sig") as text:
            try:
                for records in _batched(read_fasta(text)):
                    ids, sequences, lines = zip(*records, strict=True)
                    yield Batch({self.sequence_column: pa.array(sequences), "id": pa.array(ids)}, np.array(lines))
            except UnicodeDecodeError:
                raise
            except ValueError as error:
                raise ValueError(f"{self.path}, {error}") from None


@dataclass(frozen=True)
class HubSource:
    """Rows of one split of a Hub dataset (any `datasets.Dataset`)."""

    name: str
    dataset: Any = field(repr=False)
    format: str = "hub"

    @property
    def checksum(self) -> str:
        """Fingerprint that `datasets` gives to this data."""
        return self.dataset._fingerprint

    def place(self, number: int) -> str:
        """Words for where a row is."""
        return f"{self.name}, row {number}"

    def batches(self, columns: Sequence[str]) -> Iterator[Batch]:
        """Reads the named columns; ValueError for one that is missing."""
        if missing := [name for name in columns if name not in self.dataset.column_names]:
            raise ValueError(f"{self.name}: no column {missing[0]!r}; columns found: {self.dataset.column_names}")
        for batch, table in enumerate(self.dataset.with_format("arrow").iter(BATCH_ROWS)):
            found = {name: table.column(name).combine_chunks() for name in columns}
            yield Batch(found, 1 + batch * BATCH_ROWS + np.arange(table.num_rows))


Source = FileSource | HubSource


def _batched(items: Iterable[Any]) -> Iterator[list[Any]]:
    """Lists of items, few enough to be handled at once; every item is a tuple with its text in the second place."""
    taken, letters = [], 0
    for item in items:
        taken.append(item)
        letters += len(item[1])
        if len(taken) == BATCH_ROWS or letters > 4 * BLOCK_BYTES:
            yield taken
            taken, letters = [], 0
    if taken:
        yield taken


def _column(values: list[Any]) -> pa.Array:
    """An Arrow column of values from JSON; text where they are of several kinds."""
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        return pa.array([None if value is None else str(value) for value in values])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text.strip() in MISSING
    return True


def to_numbers(values: pa.Array, source: Source, first: int, column: str) -> np.ndarray:
    """Reads measured values.

    Args:
        values: one column of a batch, text or numbers.
        source, first: where the batch is from, for messages.
        column: the column's name, for messages.

    Returns:
        float64 array (n,); NaN where the value is missing (empty, NA, NaN, null).

    Raises:
        ValueError: for text, or a number that float32 cannot hold, with its row.
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
                    f"{source.place(first + row)}: {column} is {str(value)[:40]!r}: allowed are numbers{hint}"
                ) from None
        numbers = np.array([np.nan if value is None else float(value) for value in values.to_pylist()])
    if (infinite := np.abs(numbers) > np.finfo(np.float32).max).any():
        row = int(infinite.argmax())
        raise ValueError(
            f"{source.place(first + row)}: {column} is {numbers[row]}: allowed are finite numbers (float32)"
        )
    return numbers


def open_dataset(name: str, config_name: str | None, split: str) -> HubSource:
    """Opens a split of a dataset on the Hub or in a local folder.

    Raises:
        ValueError: when it cannot be loaded, for whatever reason.
    """
    from datasets import load_dataset  # takes seconds to import
    from datasets.exceptions import DatasetsError

    try:
        dataset = load_dataset(name, config_name, split=split)
    except (DatasetsError, pa.ArrowException, *REFUSALS) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"--dataset_name {name}, --dataset_split {split}: cannot be loaded: {reason}") from None
    return HubSource(f"{name}, {split}", dataset)


def open_file(path: str, sequence_column: str, labels: Sequence[str]) -> FileSource:
    """Opens a file; a headerless one has at most one column of measured values, which gets the first of the names.

    Raises:
        ValueError: for a file that is not there or holds nothing, and for stdin.
    """
    source = FileSource(Path(path), sequence_column, labels[0] if labels else None)
    with reading("--input_file", source.path):
        source.check()
    return source


def own_id(source: Source) -> str | None:
    """Returns the column that holds the rows' own names unless another is asked for: `id`, or None without one."""
    try:
        next(source.batches(["id"]), None)
    except ValueError:  # no such column, or a fault that stops the reading itself as well
        return None
    return "id"


@dataclass(frozen=True)
class _Strings:
    """A list of sequences, as a source."""

    sequences: Sequence[str]
    name: str = "sequences"

    def place(self, number: int) -> str:
        return f"sequence {number}, counted from 1"

    def batches(self, columns: Sequence[str]) -> Iterator[Batch]:
        for start in range(0, len(self.sequences), BATCH_ROWS):
            own = pa.array(self.sequences[start : start + BATCH_ROWS], pa.string())
            yield Batch({columns[0]: own}, np.arange(start + 1, start + 1 + len(own)))

"""Tables of sequences from files and from the Hub, in Arrow batches, with the line of every row.

Reads what is there and says where it is; judges neither sequences nor splits. Memory does not grow with the file.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from .sequences import BAD, CANONICAL, FastaRecord, read_fasta

FORMATS = {
    ".tsv": "\t", ".tab": "\t", ".txt": "\t", ".csv": ",", ".jsonl": "json", ".ndjson": "json", ".json": "json",
    ".parquet": "parquet", ".fa": "fasta", ".fasta": "fasta", ".fna": "fasta",
}  # fmt: skip
COMPRESSIONS = (".gz", ".zst", ".bz2")
MISSING = ("", "NA", "N/A", "na", "nan", "NaN", "NAN", "null", "None")
BATCH_ROWS = 10_000


class Batch(NamedTuple):
    """Some rows: their columns, and the number of the first one in its file (1-based line, record or row)."""

    columns: dict[str, pa.Array]
    first: int


@dataclass(frozen=True)
class FileSource:
    """Rows of one file.

    A table has a header line that names its columns; a text file whose first line is DNA has none, and its columns are
    the sequence and, after a tab, one number (the format of the DREAM Challenge).
    """

    path: Path
    sequence_column: str = "sequence"
    headerless_label: str | None = None

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
        with open(self.path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def place(self, number: int) -> str:
        """Words for where a row is.

        >>> FileSource(Path("a.tsv")).place(3)
        'a.tsv, line 3'
        """
        noun = {"parquet": "row", "json": "record"}.get(self.format, "line")
        return f"{self.path}, {noun} {number}"

    def batches(self, columns: Sequence[str]) -> Iterator[Batch]:
        """Reads the named columns.

        Raises:
            ValueError: for a file that is missing, empty, no text, cut off, not of its format, or lacks a column.
        """
        if not self.path.is_file():
            raise ValueError(f"{self.path}: no such file")
        if self.path.stat().st_size == 0:
            raise ValueError(f"{self.path}: the file is empty")
        reader = {"json": self._read_json, "parquet": self._read_parquet, "fasta": self._read_fasta}
        try:
            yield from reader.get(self.format, self._read_text)(list(columns))
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.path}: not a text file ({error.reason} at byte {error.start})") from None
        except (pa.ArrowInvalid, OSError) as error:
            raise ValueError(f"{self.path}: cannot be read: {error}") from None

    def _open(self) -> pa.NativeFile:
        return pa.input_stream(str(self.path), compression="detect")

    def _read_text(self, columns: list[str]) -> Iterator[Batch]:
        with io.TextIOWrapper(self._open(), encoding="utf-8-sig") as text:
            first_line = text.readline(1 << 20).rstrip("\r\n")
        if "\0" in first_line:
            raise ValueError(f"{self.path}: not a text file (it holds zero bytes)")
        names = first_line.split(self.format)
        if headerless := self.sequence_column not in names and self._looks_like_a_row(names):
            names = [self.sequence_column, self.headerless_label or "value"][: len(names)]
        if not headerless and self.format == ",":
            names = [name.strip('"') for name in names]
        self._check_columns(columns, names, first_line)
        rejected: list[Any] = []
        batches = pyarrow.csv.open_csv(
            self._open(),
            pyarrow.csv.ReadOptions(column_names=names, skip_rows=0 if headerless else 1, use_threads=False),
            pyarrow.csv.ParseOptions(
                delimiter=self.format,
                quote_char='"' if self.format == "," else False,
                ignore_empty_lines=False,
                invalid_row_handler=lambda row: (rejected.append(row), "error")[1],
            ),
            pyarrow.csv.ConvertOptions(
                include_columns=columns, column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=False
            ),
        )
        first = 1 if headerless else 2
        try:
            for batch in batches:
                yield Batch(dict(zip(columns, batch.columns, strict=True)), first)
                first += batch.num_rows
        except pa.ArrowInvalid:
            if not rejected:
                raise
            row = rejected[0]
            where = f"line {row.number}" if row.number else f"after line {first}"
            raise ValueError(
                f"{self.path}, {where}: {row.actual_columns} columns, but {row.expected_columns} in the first line: "
                f"{row.text[:60]!r}"
            ) from None

    @staticmethod
    def _looks_like_a_row(fields: list[str]) -> bool:
        letters = fields[0].strip().encode("utf-8", "replace").translate(CANONICAL)
        is_dna = len(letters) > 0 and BAD.encode() not in letters
        return is_dna and (len(fields) == 1 or (len(fields) == 2 and _is_number(fields[1])))

    def _check_columns(self, needed: list[str], found: list[str], first_line: str = "") -> None:
        missing = [name for name in needed if name not in found]
        repeated = [name for name in needed if found.count(name) > 1]
        if repeated:
            raise ValueError(f"{self.path}: the column {repeated[0]!r} stands twice in the header")
        if not missing:
            return
        hint = "name them by --sequence_column, --label_column, ..."
        for delimiter, ending in (("\t", ".tsv"), (",", ".csv"), (";", ".csv, with commas")):
            if len(found) == 1 and delimiter in first_line and delimiter != self.format:
                hint = f"the columns are divided by {delimiter!r}: the file's name should end in {ending}"
        shown = ", ".join(repr(name[:30]) for name in found[:12])
        raise ValueError(f"{self.path}: no column {missing[0]!r}; columns found: {shown}; {hint}")

    def _read_json(self, columns: list[str]) -> Iterator[Batch]:
        first = 1
        for batch in pyarrow.json.open_json(self._open()):
            self._check_columns(columns, batch.schema.names)
            yield Batch({name: batch.column(name) for name in columns}, first)
            first += batch.num_rows

    def _read_parquet(self, columns: list[str]) -> Iterator[Batch]:
        file = pyarrow.parquet.ParquetFile(self.path, memory_map=True)
        self._check_columns(columns, file.schema_arrow.names)
        first = 1
        for batch in file.iter_batches(BATCH_ROWS, columns=columns):
            yield Batch({name: batch.column(name) for name in columns}, first)
            first += batch.num_rows

    def _read_fasta(self, columns: list[str]) -> Iterator[Batch]:
        extra = [name for name in columns if name not in (self.sequence_column, "id", "line")]
        if extra:
            raise ValueError(f"{self.path}: a FASTA file has no column {extra[0]!r}: use a table (.tsv, .csv, ...)")
        records, bases = [], 0
        with io.TextIOWrapper(self._open(), encoding="utf-8") as text:
            for record in read_fasta(text):
                records.append(record)
                bases += len(record.sequence)
                if len(records) == BATCH_ROWS or bases > 1 << 24:
                    yield self._fasta_batch(records)
                    records, bases = [], 0
        if records:
            yield self._fasta_batch(records)

    def _fasta_batch(self, records: list[FastaRecord]) -> Batch:
        ids, sequences, lines = (pa.array(values) for values in zip(*records, strict=True))
        found = {self.sequence_column: sequences, "id": ids, "line": lines}
        return Batch(found, records[0].line)


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
        missing = [name for name in columns if name not in self.dataset.column_names]
        if missing:
            raise ValueError(f"{self.name}: no column {missing[0]!r}; columns found: {self.dataset.column_names}")
        first = 1
        for table in self.dataset.with_format("arrow").iter(BATCH_ROWS):
            yield Batch({name: table.column(name).combine_chunks() for name in columns}, first)
            first += table.num_rows


Source = FileSource | HubSource


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
        ValueError: for text or an infinite number, with its row.
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
    infinite = np.flatnonzero(np.isinf(numbers))
    if len(infinite):
        row = int(infinite[0])
        raise ValueError(f"{source.place(first + row)}: {column} is {numbers[row]}: allowed are finite numbers")
    return numbers

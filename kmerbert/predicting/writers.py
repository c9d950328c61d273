"""Writes files of predictions of any length, piece by piece: tables, and the two formats of the DREAM Challenge.

The ending of the name chooses: `.tsv` `.csv` (also compressed) and `.parquet` are tables with a header; `.json` is
`{"0": prediction, ...}` by 0-based row, the challenge's leaderboard format; `.txt` is `sequence<TAB>prediction` without a
header, its final format. Text holds numbers to float32, but measured values as they are. Which columns a table has is decided in `table.py`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from kmerbert.files import COMPRESSIONS, check_folder, split_endings, whole_file
from kmerbert.predicting.table import prediction_table
from kmerbert.reading.rows import Named

DELIMITERS = {".tsv": "\t", ".csv": ",", ".txt": "\t"}
FORMATS = (*DELIMITERS, ".json", ".parquet")
Writer = Callable[[Iterator[pa.Table], pa.NativeFile], int]


def output_format(path: Path) -> tuple[str, str | None]:
    """Returns the format (one of `FORMATS`) and the compression that a file's name asks for.

    Raises:
        ValueError: The name has another ending.

    >>> output_format(Path("a.tsv.gz"))
    ('.tsv', 'gzip')
    """
    ending, compression = split_endings(path)
    if ending in (".xlsx", ".xlsm", ".xls"):
        raise ValueError(f"`output_file` {path}: Excel files are not written: name it .csv or .tsv, which Excel opens")
    if ending not in FORMATS or (compression and ending == ".parquet"):
        raise ValueError(
            f"`output_file` {path}: the name does not say the format: allowed endings are {' '.join(FORMATS)}, all but the "
            f"last also with {' '.join(COMPRESSIONS)}"
        )
    return ending, compression


def check_output(
    path: Path,
    outputs: Sequence[str],
    overwrite: bool,
    keys: Sequence[int] | None = None,
    inputs: Mapping[str, str | None] | None = None,
    argument: str = "output_file",
    kept: Sequence[str] = (),
) -> None:
    """Checks that an output file can be written, before any work is done for it.

    Args:
        path: The file.
        outputs: Names of what is predicted.
        overwrite: Whether an existing file may be replaced.
        keys: 0-based rows to write; None for all.
        inputs: Files that are read, by the names of their arguments.
        argument: What named the file, for the messages.
        kept: Columns that are carried to the predictions.

    Raises:
        ValueError: The file exists, is a folder or one of the inputs; the folder cannot be written to; the ending is
            unknown; or the format cannot hold what is to be written.
    """
    ending, _ = output_format(path)
    target = path.resolve()  # the file that is written, also if a folder before `..` does not exist
    check_folder(target.parent, f"`{argument}` {path}")
    if target.is_dir():
        raise ValueError(f"`{argument}` {path} is a folder: name a file in it")
    for source, name in (inputs or {}).items():
        if name and target.exists() and target.samefile(name):
            raise ValueError(f"`{argument}` {path} is the `{source}` itself, which is never replaced: name another")
    if target.exists() and not overwrite:
        raise ValueError(f"`{argument}` {path} exists already: name another or add `overwrite`")
    if keys is not None and ending != ".json":
        raise ValueError(f"`keys_file`: only a .json output has keys, {path} has none: leave it out")
    if ending in (".json", ".txt") and (inputs or {}).get("calibration_file"):
        raise ValueError(f"`calibration_file`: {path} cannot hold intervals: write .tsv, .csv or .parquet")
    if ending in (".json", ".txt") and kept:
        raise ValueError(f"`keep_columns`: {path} cannot hold more columns: write .tsv, .csv or .parquet")
    if ending in (".json", ".txt") and len(outputs) > 1:
        raise ValueError(f"`output_file` {path} can hold one output, but there are {', '.join(outputs)}: write .tsv")


def write_predictions(
    path: Path,
    names: Iterable[Named | tuple[Sequence[str], Sequence[str]]],
    predictions: np.ndarray,
    observed: np.ndarray | None,
    outputs: Sequence[str],
) -> None:
    """Writes a predictions file for values that are all in memory.

    Args:
        path: The file.
        names: Pieces of it, each what some rows are called; n in all.
        predictions, observed: Float arrays (n, outputs) in the labels' unit; NaN where nothing was measured.
        outputs: Names of the outputs.

    Raises:
        ValueError: There are more or fewer names than predictions, as when the source was changed meanwhile.
    """

    def tables() -> Iterator[pa.Table]:
        end = 0
        for part in names:
            ids, sequences, kept = Named(*part)
            start, end = end, end + len(ids)
            if start < end <= len(predictions):
                rows = slice(start, end)
                values = None if observed is None else observed[rows]
                yield prediction_table(
                    pa.array(ids, pa.string()),
                    pa.array(sequences, pa.string()),
                    predictions[rows, None],
                    outputs,
                    values,
                    kept={name: pa.array(column, pa.string()) for name, column in kept.items()},
                )
        if end != len(predictions):
            raise ValueError(
                f"{path}: {len(predictions)} predictions, but {end} rows: was the table changed meanwhile?"
            )

    write_tables(path, tables())


def write_tables(
    path: Path, tables: Iterator[pa.Table], keys: Sequence[int] | None = None, source: str = "the input"
) -> int:
    """Writes tables, one after the other, into a file that appears under its name only when it is whole.

    Args:
        path: The file; its folder is created if necessary. An existing file is replaced; a symbolic link stays, and its
            target is replaced.
        tables: Results of `prediction_table`; taken one at a time, so that memory does not grow with the file.
        keys: For `.json`, the 0-based rows to write, in this order; None for all rows.
        source: Of the rows, for a message.

    Returns:
        The number of rows in `tables`.

    Raises:
        ValueError: There are no rows, a key has no row, or a `.tsv` or `.txt` file cannot hold a text.
    """
    ending, compression = output_format(path)
    if (first := next(tables, None)) is None:
        raise ValueError(f"{source}: there are no rows to predict: name an input that has sequences")
    write = {".parquet": _write_parquet, ".json": _write_json(keys)}.get(ending, _write_text(ending))
    path.resolve().parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial, pa.output_stream(str(partial), compression=compression) as sink:
        return write(chain([first], tables), sink)


def _write_parquet(tables: Iterator[pa.Table], sink: pa.NativeFile) -> int:
    first, n_rows = next(tables), 0
    with pyarrow.parquet.ParquetWriter(sink, first.schema) as writer:
        for table in chain([first], tables):
            writer.write_table(table)
            n_rows += len(table)
    return n_rows


def _write_text(ending: str) -> Writer:
    def write(tables: Iterator[pa.Table], sink: pa.NativeFile) -> int:
        first, n_rows, delimiter = next(tables), 0, DELIMITERS[ending]
        columns = ["sequence", "prediction"] if ending == ".txt" else first.column_names
        if ending != ".txt":
            sink.write((delimiter.join(columns) + "\n").encode())  # the library would put the names in quotes
        style = pyarrow.csv.WriteOptions(
            include_header=False, delimiter=delimiter, quoting_style="needed" if ending == ".csv" else "none"
        )
        schema = _shortest(first.select(columns)).schema
        with pyarrow.csv.CSVWriter(sink, schema, write_options=style) as writer:
            for table in chain([first], tables):
                try:
                    writer.write(_shortest(table.select(columns)))
                except pa.ArrowInvalid as error:
                    value = str(error).rpartition("Invalid value: ")[2]
                    raise ValueError(f"{value!r} cannot be in a {ending} file: write .csv or .parquet") from None
                n_rows += len(table)
        return n_rows

    return write


def _shortest(table: pa.Table) -> pa.Table:
    """The table as it becomes text: what a model computed as float32, whose shortest text says no more than it knows."""
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_floating(column.type):
            in_float32 = column.cast(pa.float32(), safe=False)
            columns[name] = _as_measured(column, in_float32) if name.startswith("observed") else in_float32
        else:
            columns[name] = column
    return pa.table(columns)


def _as_measured(column: pa.ChunkedArray, in_float32: pa.ChunkedArray) -> pa.ChunkedArray:
    """Measured values with all of their digits; float32 values with those of float32, 11.2 and not 11.199999809265137."""
    came_as_float32 = pc.equal(in_float32.cast(pa.float64()), column)
    return pc.if_else(came_as_float32, in_float32.cast(pa.string()).cast(pa.float64()), column)


def _write_json(keys: Sequence[int] | None) -> Writer:
    def write(tables: Iterator[pa.Table], sink: pa.NativeFile) -> int:
        n_rows, kept = 0, dict.fromkeys(keys or ())
        sink.write(b"{")
        for table in tables:
            texts = _shortest(table.select(["prediction"]))["prediction"].cast(pa.string()).to_pylist()
            entries = dict(enumerate(texts, n_rows))
            if keys is None:
                sink.write(((", " if n_rows else "") + _json_entries(entries)).encode())
            kept |= {row: entries[row] for row in kept.keys() & entries.keys()}
            n_rows += len(table)
        if missing := [row for row, text in kept.items() if text is None]:
            raise ValueError(f"`keys_file` names row {missing[0]}, but the rows to predict end with {n_rows - 1}")
        sink.write((_json_entries(kept) + "}\n").encode())
        return n_rows

    return write


def _json_entries(texts: dict[int, str]) -> str:
    return ", ".join(f'"{row}": {text}' for row, text in texts.items())

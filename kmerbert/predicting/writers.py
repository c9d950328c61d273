"""Files of predictions of any length, written piece by piece: tables, and the two formats of the DREAM Challenge.

The name's ending chooses: `.tsv` `.csv` (each also `.gz` `.zst` `.bz2`) and `.parquet` are tables with a header;
`.json` is `{"0": prediction, ...}` by 0-based row, the challenge's leaderboard format; `.txt` is `sequence<TAB>prediction`
without a header, its final format. Text holds numbers to float32. Knows no model and reads no sequences.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from kmerbert.files import check_folder

DELIMITERS = {".tsv": "\t", ".csv": ",", ".txt": "\t"}
FORMATS = (*DELIMITERS, ".json", ".parquet")
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
SPREAD = "checkpoint_sd"  # not "prediction_...", which would be the prediction of an output


Interval = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def output_format(path: Path) -> tuple[str, str | None]:
    """Returns the format (one of `FORMATS`) and the compression that a file's name asks for.

    Raises:
        ValueError: for another ending.

    >>> output_format(Path("a.tsv.gz"))
    ('.tsv', 'gzip')
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = COMPRESSIONS.get(suffixes.pop()) if suffixes and suffixes[-1] in COMPRESSIONS else None
    suffix = suffixes[-1] if suffixes else ""
    if suffix not in FORMATS or (compression and suffix == ".parquet"):
        raise ValueError(
            f"--output_file {path}: the name does not say the format: allowed endings are {' '.join(FORMATS)}, each but the "
            f"last also with {' '.join(COMPRESSIONS)}"
        )
    return suffix, compression


def check_output(
    path: Path,
    outputs: Sequence[str],
    overwrite: bool,
    keys: Sequence[int] | None = None,
    inputs: Mapping[str, str | None] | None = None,
) -> None:
    """Refuses an output file before any work is done for it.

    Args:
        path: of the file.
        outputs: names of what is predicted.
        overwrite: whether a file that is there may be replaced.
        keys: 0-based rows that are wanted; None for all.
        inputs: files that are read, by their flags.

    Raises:
        ValueError: for a file or folder that is there, one of the inputs, a place that cannot be written, an unknown
            ending, and what the format has no place for.
    """
    suffix, _ = output_format(path)
    check_folder(_target(path).parent, f"--output_file {path}")
    if path.is_dir():
        raise ValueError(f"--output_file {path} is a folder: name a file in it")
    for flag, name in (inputs or {}).items():
        if name and path.exists() and path.samefile(name):
            raise ValueError(f"--output_file {path} is the {flag} itself, which is never replaced: name another file")
    if path.exists() and not overwrite:
        raise ValueError(f"--output_file {path} is there already: name another or add --overwrite")
    if keys is not None and suffix != ".json":
        raise ValueError(f"--keys_file: only a .json output has keys, not {path}: leave it out")
    if suffix in (".json", ".txt") and (inputs or {}).get("--calibration_file"):
        raise ValueError(f"--calibration_file: {path} has no place for intervals: write .tsv, .csv or .parquet")
    if suffix in (".json", ".txt") and len(outputs) > 1:
        raise ValueError(f"--output_file {path} has place for one output, not for {', '.join(outputs)}: write .tsv")


def _target(path: Path) -> Path:
    """The file that a name stands for, where it is a symbolic link."""
    return Path(os.path.realpath(path))


def prediction_table(
    ids: pa.Array,
    sequences: pa.Array,
    observed: np.ndarray | None,
    values: np.ndarray,
    names: Sequence[str],
    interval: Interval | None = None,
) -> pa.Table:
    """Makes the table that is exchanged: `id sequence prediction`, then what there is of
    `lower upper checkpoint_sd observed`.

    With several outputs all but the first two have `_<name>` at their ends. `checkpoint_sd` is the standard deviation
    between the checkpoints of an ensemble, with their number less one as the divisor (an estimate from a sample of
    trainings).

    Args:
        ids, sequences: n of each, of any type that can be text; whitespace around sequences is taken away.
        observed: float array (n, outputs), NaN where nothing was measured; or None.
        values: float array (n, checkpoints, outputs).
        names: of the outputs.
        interval: makes the columns `lower` and `upper` of the predictions, float arrays (n, outputs) all three.
    """
    columns = {"id": _text(ids), "sequence": pc.ascii_trim_whitespace(_text(sequences))}
    mean, spread = values.mean(axis=1), values.std(axis=1, ddof=1) if values.shape[1] > 1 else None
    lower, upper = interval(mean) if interval else (None, None)
    found = {"prediction": mean, "lower": lower, "upper": upper, SPREAD: spread, "observed": observed}
    for column, numbers in found.items():
        for output, name in enumerate(names if numbers is not None else ()):
            own = column if len(names) == 1 else f"{column}_{name}"
            columns[own] = pa.array(numbers[:, output].astype(np.float64), from_pandas=True)  # NaN becomes null
    return pa.table(columns)


def _text(column: pa.Array) -> pa.Array:
    return (column.dictionary_decode() if pa.types.is_dictionary(column.type) else column).cast(pa.string())


def write_tables(
    path: Path, tables: Iterator[pa.Table], keys: Sequence[int] | None = None, source: str = "the input"
) -> int:
    """Writes tables, one after the other, into a file that appears under its name only when it is whole.

    Args:
        path: of the file; its folder is made where it is missing. What stands there is replaced, and a symbolic link
            stays, whose file is replaced.
        tables: of `prediction_table`; drawn one at a time, so that memory does not grow with the file.
        keys: for `.json`, the 0-based rows to write, in this order; None for all rows.
        source: of the rows, for a message.

    Returns:
        The number of rows in `tables`.

    Raises:
        ValueError: without rows, for a key whose row is not there, for text that a `.tsv` or `.txt` file cannot hold.
    """
    suffix, compression = output_format(path)
    if (first := next(tables, None)) is None:
        raise ValueError(f"{source}: there are no rows to predict: name one with sequences")
    write = {".parquet": _write_parquet, ".json": _write_json(keys)}.get(suffix, _write_text(suffix))
    path = _target(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with pa.output_stream(str(partial), compression=compression) as sink:
            n_rows = write(chain([first], tables), sink)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return n_rows


Writer = Callable[[Iterator[pa.Table], pa.NativeFile], int]


def _write_parquet(tables: Iterator[pa.Table], sink: pa.NativeFile) -> int:
    first, n_rows = next(tables), 0
    with pyarrow.parquet.ParquetWriter(sink, first.schema) as writer:
        for table in chain([first], tables):
            writer.write_table(table)
            n_rows += len(table)
    return n_rows


def _write_text(suffix: str) -> Writer:
    def write(tables: Iterator[pa.Table], sink: pa.NativeFile) -> int:
        first, n_rows, delimiter = next(tables), 0, DELIMITERS[suffix]
        names = ["sequence", "prediction"] if suffix == ".txt" else first.column_names
        if suffix != ".txt":
            sink.write((delimiter.join(names) + "\n").encode())  # the library would put the names in quotes
        style = pyarrow.csv.WriteOptions(
            include_header=False, delimiter=delimiter, quoting_style="needed" if suffix == ".csv" else "none"
        )
        schema = _shortest(first.select(names)).schema
        with pyarrow.csv.CSVWriter(sink, schema, write_options=style) as writer:
            for table in chain([first], tables):
                try:
                    writer.write(_shortest(table.select(names)))
                except pa.ArrowInvalid as error:
                    value = str(error).rpartition("Invalid value: ")[2]
                    raise ValueError(f"{value!r} cannot stand in a {suffix} file: write .csv or .parquet") from None
                n_rows += len(table)
        return n_rows

    return write


def _shortest(table: pa.Table) -> pa.Table:
    """The table with float32 numbers, whose text is no longer than what a model knows."""
    types = [pa.float32() if pa.types.is_floating(kind) else kind for kind in table.schema.types]
    return table.cast(pa.schema(zip(table.column_names, types, strict=True)))


def _write_json(keys: Sequence[int] | None) -> Writer:
    def write(tables: Iterator[pa.Table], sink: pa.NativeFile) -> int:
        n_rows, kept = 0, dict.fromkeys(keys or ())
        sink.write(b"{")
        for table in tables:
            texts = _shortest(table.select(["prediction"]))["prediction"].cast(pa.string()).to_pylist()
            entries = dict(enumerate(texts, n_rows))
            if keys is None:
                sink.write(((", " if n_rows else "") + _entries(entries)).encode())
            kept |= {row: entries[row] for row in kept.keys() & entries.keys()}
            n_rows += len(table)
        if missing := [row for row, text in kept.items() if text is None]:
            raise ValueError(f"--keys_file asks for row {missing[0]}, but the rows to predict end with {n_rows - 1}")
        sink.write((_entries(kept) + "}\n").encode())
        return n_rows

    return write


def _entries(texts: dict[int, str]) -> str:
    return ", ".join(f'"{row}": {text}' for row, text in texts.items())

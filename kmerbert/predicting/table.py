"""Reads predictions back: tables with measured values and intervals, and submissions to the DREAM Challenge 2022."""

import gzip
import json
import re
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import ArrayLike

from kmerbert.errors import reading
from kmerbert.files import _whole
from kmerbert.reading.sources import FileSource, to_numbers

MAX_VALUE = float(np.finfo(np.float32).max)


def read_predictions(path: str, flag: str = "--predictions_file") -> pd.DataFrame:
    """Reads the table that a flag names; numbers become float64, NaN where nothing was measured.

    Numbers are predictions, measured values, and `lower` and `upper` where an interval was predicted.

    Raises:
        ValueError: for a file that cannot be read or is no table with a header, one without rows, text in place of a
            number, a missing prediction or end of an interval, or a lower end above the upper one.
    """
    source, table = read_headed(path, flag)
    pairs = [("lower" + end, "upper" + end) for end in endings(table)]
    bounds = {name for pair in pairs for name in pair}
    for column in table:
        if column in bounds or re.fullmatch("(prediction|observed)(_.+)?", column):
            table[column] = numbers_of(table, column, source, is_needed=not column.startswith("observed"))
    for lower, upper in pairs:
        if lower in table and upper in table:
            for row in np.flatnonzero(table[lower] > table[upper])[:1]:
                found = f"{lower} {table[lower].iloc[row]:g} is above {upper} {table[upper].iloc[row]:g}"
                place, mend = source.place(_first_line(source) + row), "run_predict.py --calibration_file"
                raise ValueError(f"{place}: {found}: write intervals by {mend}")
    return table


def endings(table: pd.DataFrame) -> list[str]:
    """What follows `prediction` in the names of columns, for each output: nothing, or `_<name>`."""
    found = [column.removeprefix("prediction") for column in table if re.fullmatch("prediction(_.+)?", column)]
    return found or [""]


def take_measured(table: pd.DataFrame, columns: list[str], path: str, hint: str) -> np.ndarray:
    """Takes columns of measured values as `take` does; ValueError for one that has none."""
    measured = take(table, columns, path, hint)
    if not len(measured):
        raise ValueError(f"{path}: there are no rows to compare")
    for output in np.flatnonzero(np.isnan(measured).all(axis=0))[:1]:
        found = f"{columns[output]} has no measured value in {len(measured)} rows"
        raise ValueError(f"{path}: {found}: predict again with the --label_column that has them")
    return measured


def take(table: pd.DataFrame, columns: list[str], path: str, hint: str) -> np.ndarray:
    """Takes columns of numbers out of a table, float64 (n, columns); ValueError, with the hint, for one not there."""
    check_columns(table, columns, path, hint)
    return table[columns].to_numpy(np.float64)


def take_bounds(table: pd.DataFrame, ends: list[str], path: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Takes the lower and upper ends of intervals, float64 (n, outputs) each; None where the table has no such column.

    Raises:
        ValueError: for a table that has some of the columns only.
    """
    bounds = [[bound + end for end in ends] for bound in ("lower", "upper")]
    if not any(column in table for columns in bounds for column in columns):
        return None
    hint = "run_predict.py --calibration_file writes both ends for every output"
    lower, upper = (take(table, columns, path, hint) for columns in bounds)
    return lower, upper


def align(baseline: pd.DataFrame, table: pd.DataFrame, path: str) -> pd.DataFrame:
    """Puts a baseline's rows in the order of the predictions; rows are the same if their `id` and `sequence` are.

    Raises:
        ValueError: for rows that are not the same or cannot be told apart, and for measured values that contradict those
            of the predictions.
    """
    keys = [column for column in ("id", "sequence") if column in table and column in baseline]
    if not keys:
        raise ValueError(f"--baseline_file {path}: needs a column 'id' or 'sequence' that --predictions_file has too")
    names = [rows[keys].astype(str).agg(" ".join, axis=1) for rows in (table, baseline)]
    try:
        ordered = baseline.iloc[match_rows(*names)]
    except ValueError as error:
        raise ValueError(f"--baseline_file {path}, by {' and '.join(keys)}: {error}: predict the same rows") from None
    for column in filter(re.compile("observed(_.+)?").fullmatch, ordered.columns.intersection(table.columns)):
        known, found = (rows[column].to_numpy(np.float64) for rows in (table, ordered))
        # Nearer than that is one number, written by two programs.
        differs = ~np.isnan(known) & ~np.isnan(found) & ~np.isclose(found, known, rtol=1e-5, atol=1e-6)
        for row in np.flatnonzero(differs)[:1]:
            value = f"{column} of {names[0].iloc[row]!r} is {found[row]:g}, but {known[row]:g} in --predictions_file"
            raise ValueError(f"--baseline_file {path}: {value}: predict with the same --label_column")
    return ordered


def read_headed(path: str, flag: str) -> tuple[FileSource, pd.DataFrame]:
    """Reads the table with a header that a flag names, text as it stands."""
    source = FileSource(Path(path))
    table = read_table(source, flag, header=0)
    if source.format != "parquet" and not isinstance(table.index, pd.RangeIndex):
        raise ValueError(f"{path}: its rows have more columns than its header, which names {', '.join(table)}")
    return source, table


def read_table(source: FileSource, flag: str, header: int | None) -> pd.DataFrame:
    """Reads the file that a flag names as text, Parquet as it is."""
    text = {"dtype": str, "keep_default_na": False, "skip_blank_lines": False, "header": header}
    with reading(flag, source.path):
        if source.format not in ("\t", ",", "parquet"):
            formats = ".tsv, .csv (each also .gz) or .parquet, for a challenge also .json"
            what = "replicates" if flag == "--replicate_file" else "predictions"
            raise ValueError(f"{flag} {source.path}: {what} are read from {formats}")
        try:
            if source.format == "parquet":
                with open(source.path, "rb") as file:  # the library's own error says no reason
                    return pd.read_parquet(file)
            table = pd.read_csv(source.path, sep=source.format, **text)
        except (ValueError, EOFError, ImportError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{source.path} is empty or not a table with a header: {error}") from None
    end = len(table)
    while end and not "".join(table.iloc[end - 1].fillna("")).strip():
        end -= 1  # empty lines that editors leave at the end
    return table[:end]


def _first_line(source: FileSource) -> int:
    """The line below the header."""
    return 1 if source.format == "parquet" else 2


def numbers_of(
    table: pd.DataFrame, column: str, source: FileSource, first: int | None = None, is_needed: bool = True
) -> np.ndarray:
    """Reads a column of numbers, float64 (n,); `first` is the line of the first row, by default that below a header."""
    first = first or _first_line(source)
    numbers = to_numbers(pa.array(table[column], from_pandas=True), source, first, column)
    if is_needed and np.isnan(numbers).any():
        raise ValueError(f"{source.place(first + int(np.isnan(numbers).argmax()))}: {column} is missing")
    return numbers


def check_columns(table: pd.DataFrame, columns: list[str], path: str, hint: str) -> None:
    """Refuses a table that lacks a column, or has one twice."""
    if missing := [column for column in columns if column not in table]:
        names = [str(name) for name in table]
        if len(names) == 2 and re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", names[1], re.IGNORECASE):
            hint = "it has no header: add --challenge_dir to score a submission, or write .tsv with run_predict.py"
        raise ValueError(f"{path}: no column {missing[0]!r}; columns found: {', '.join(map(str, table))}; {hint}")
    for repeated in table.columns[table.columns.duplicated()]:
        raise ValueError(f"{path}: the column {repeated!r} stands twice in the header")


def match_rows(wanted: ArrayLike, found: ArrayLike) -> np.ndarray:
    """Finds the rows of one table in another, so that two models are compared on the same rows.

    Args:
        wanted: Keys (ids or sequences) of the rows, in the order that is wanted, (n,).
        found: Keys of the same rows as another table has them. Keys may repeat only where both have the same order.

    Returns:
        int64 (n,): `found[result]` is `wanted`.

    Raises:
        ValueError: The keys are not the same, or repeat in rows of another order.
    """
    wanted, found = np.asarray(wanted, dtype=str), np.asarray(found, dtype=str)
    if np.array_equal(wanted, found):
        return np.arange(len(found))
    single = np.setxor1d(wanted, found)
    if len(single):
        raise ValueError(f"{len(wanted)} rows against {len(found)}; {str(single[0])!r} is in one of the two only")
    for keys in (wanted, found):
        values, counts = np.unique(keys, return_counts=True)
        if counts.max() > 1:
            raise ValueError(f"rows stand in another order, and {str(values[counts.argmax()])!r} is not unique")
    order = np.argsort(found)
    return order[np.searchsorted(found, wanted, sorter=order)]


def write_predictions(
    path: Path,
    rows: Iterable[tuple[Sequence[str], Sequence[str]]],
    predictions: np.ndarray,
    observed: np.ndarray | None,
    names: Sequence[str],
) -> None:
    """Writes a TSV table with the columns `id sequence prediction`, and `observed` where values were measured.

    With several outputs the columns are `prediction_<name>` and `observed_<name>`. The table appears under its name only
    when it is whole, and is written piece by piece.

    Args:
        path: of the table.
        rows: pieces of it, each some ids and as many sequences; n in all.
        predictions, observed: float arrays (n, outputs) in the labels' unit; NaN where nothing was measured.
        names: of the outputs.

    Raises:
        ValueError: for another number of rows than n, as when the source was changed meanwhile.
    """
    with _whole(path) as file:
        end = 0
        for ids, sequences in rows:
            if not len(ids):
                continue
            start, end = end, end + len(ids)
            table = {"id": ids, "sequence": sequences}
            for column, values in (("prediction", predictions), ("observed", observed)):
                for output, name in enumerate(names if values is not None else ()):
                    table[column if len(names) == 1 else f"{column}_{name}"] = values[start:end, output]
            frame = pd.DataFrame(table)
            frame.to_csv(file, sep="\t", index=False, float_format="%.7g", header=start == 0, lineterminator="\n")
        if end != len(predictions):
            raise ValueError(
                f"{path}: {len(predictions)} predictions, but {end} rows: was the table changed meanwhile?"
            )


def read_row_values(path: Path, rows_per_key: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Reads a JSON file of values by row number, the form in which the DREAM Challenge 2022 exchanges them.

    Args:
        path: of `{"12": 1.5, ...}` or, with two rows per key, `{"12,7": [1.5, 0.5], ...}`.
        rows_per_key: 1 or 2.

    Returns:
        Row numbers from 0, int64, and their values, float64, in the order of the file; both (n,), or (n, 2).

    Raises:
        ValueError: for a file that is not of this form, a key that stands twice, or a value that is no finite number.
    """
    form = '{"row": value, ...}' if rows_per_key == 1 else '{"row,row": [value, value], ...}'
    try:  # an object becomes a tuple, in which a key can stand twice, and a list stays a list
        entries = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=tuple)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON ({error}): needed is {form}") from None
    if not isinstance(entries, tuple) or not entries:
        raise ValueError(f"{path} is empty or no JSON object: needed is {form}")
    is_key = re.compile(r"[0-9]{1,7}" + r",[0-9]{1,7}" * (rows_per_key - 1)).fullmatch
    values = []
    for key, value in entries:
        numbers = value if rows_per_key > 1 and isinstance(value, list) else [value]
        # A comparison that NaN fails too; numbers only: JSON's true is no 1, and its "1" no number.
        if len(numbers) != rows_per_key or any(
            type(number) not in (int, float) or not abs(number) <= MAX_VALUE for number in numbers
        ):
            raise ValueError(f"{path}: the value of {key!r} is {str(value)[:40]!r}: allowed are finite numbers, {form}")
        if not is_key(key):
            raise ValueError(f"{path}: the key {key[:40]!r} is no row number from 0: needed is {form}")
        values.append(numbers)
    rows = np.array(",".join(key for key, _ in entries).split(",")).astype(np.int64).reshape(-1, rows_per_key)
    order = np.lexsort(rows.T)
    for repeated in order[1:][(rows[order][1:] == rows[order][:-1]).all(axis=1)][:1]:
        raise ValueError(f"{path}: the key {entries[repeated][0]!r} stands twice")
    shape = (-1,) if rows_per_key == 1 else (-1, rows_per_key)
    return rows.reshape(shape), np.array(values, dtype=np.float64).reshape(shape)

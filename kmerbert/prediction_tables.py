"""Reads predictions back: tables with measured values and intervals, and submissions to the DREAM Challenge 2022."""

import gzip
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from .challenge import Challenge
from .intervals import Intervals
from .metrics import match_rows
from .predictions import read_row_values, reading
from .tables import FileSource, to_numbers


def read_predictions(path: str, flag: str = "--predictions_file") -> pd.DataFrame:
    """Reads the table that a flag names; numbers become float64, NaN where nothing was measured.

    Numbers are predictions, measured values, and `lower` and `upper` where an interval was predicted.

    Raises:
        ValueError: for a file that cannot be read or is no table with a header, one without rows, text in place of a
            number, a missing prediction or end of an interval, or a lower end above the upper one.
    """
    source, table = _read_headed(path, flag)
    pairs = [("lower" + end, "upper" + end) for end in endings(table)]
    bounds = {name for pair in pairs for name in pair}
    for column in table:
        if column in bounds or re.fullmatch("(prediction|observed)(_.+)?", column):
            table[column] = _numbers(table, column, source, is_needed=not column.startswith("observed"))
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


def read_replicates(path: str, columns: list[str]) -> np.ndarray:
    """Reads the columns of single measurements out of any table, float64 (n, columns), NaN where there is none.

    Raises:
        ValueError: for a file that is no table with a header, a column that is not there, or text in place of a number.
    """
    source, table = _read_headed(path, "--replicate_file")
    _check_columns(table, columns, path, "name them by --replicate_columns, the file by --replicate_file")
    return np.column_stack([_numbers(table, column, source, is_needed=False) for column in columns])


def read_intervals(path: str, coverage: float | None, outputs: Sequence[str]) -> Intervals:
    """Reads predictions with measured values, and learns intervals of a model from them.

    Args:
        path: of a table `prediction observed`, with `_<name>` at their ends for several outputs.
        coverage: share of measured values that are to lie inside; None for 0.9.
        outputs: names of what the model predicts.

    Raises:
        ValueError: for a table that cannot be read or lacks a column, too few measured values, and a coverage out of range.
    """
    table = read_predictions(path, "--calibration_file")
    ends = [f"_{name}" for name in outputs] if len(outputs) > 1 else [""]
    hint = "write it by run_predict.py with the same model and --label_column"
    predicted, measured = (take(table, [kind + end for end in ends], path, hint) for kind in ("prediction", "observed"))
    return Intervals.calibrate(predicted, measured, 0.9 if coverage is None else coverage, outputs)


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
    _check_columns(table, columns, path, hint)
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


def read_submission(path: str, challenge: Challenge) -> np.ndarray:
    """Reads predictions for the challenge, and makes sure that they are those of its rows.

    Args:
        path: `.json`, `{"row": prediction}`: the public rows, or every row; or a table with one row per row of the test
            file, in its order: `sequence<TAB>prediction` without header, or with a header that has these columns.
        challenge: Whose rows are predicted.

    Returns:
        float64 (n_rows,), in the order of the test file; NaN for rows that a `.json` file does not have.

    Raises:
        ValueError: for rows or sequences that are not those of the test file, or a prediction that is no finite number.
    """
    if Path(path).suffix.lower() == ".json":
        with reading("--predictions_file", Path(path)):
            rows, values = read_row_values(Path(path))
        return _place_rows(rows, values, challenge, path)
    source = FileSource(Path(path))
    table, first = _read_table(source, "--predictions_file", header=None), 1
    if source.format != "parquet":
        if len(table) and {"sequence", "prediction"} & set(table.iloc[0]):
            table, first = table[1:].set_axis(table.iloc[0], axis=1), 2
        elif table.shape[1] == 2:
            table.columns = ["sequence", "prediction"]
        else:
            table.columns = table.iloc[0] if len(table) else table.columns
    _check_columns(table, ["sequence", "prediction"], path, "or, without header, sequence<TAB>prediction")
    predicted, n_rows = _numbers(table, "prediction", source, first=first), len(challenge.measured)
    if challenge.sequences is None:
        if len(predicted) < n_rows:
            raise ValueError(f"{path} has {len(predicted)} rows, but row {n_rows - 1} (from 0) is public: {_FORM}")
        return predicted[:n_rows]
    if len(predicted) != n_rows:
        raise ValueError(f"{path} has {len(predicted)} rows, the test file {n_rows}: {_FORM}")
    sequences = table["sequence"].astype(str).str.upper().to_numpy(dtype=object)
    for row in np.flatnonzero(sequences != challenge.sequences)[:1]:
        found = f"the sequence is {sequences[row]!r}, in the test file {challenge.sequences[row]!r}"
        raise ValueError(f"{source.place(first + row)}: {found}: {_FORM}")
    return predicted


_FORM = "needed is one prediction per row of the test file, in its order"


def _place_rows(rows: np.ndarray, values: np.ndarray, challenge: Challenge, path: str) -> np.ndarray:
    """Puts values into their places, float64 (n_rows,), if they are of all public rows, or of all rows there are."""
    n_rows, found = len(challenge.measured), np.sort(rows)
    every = np.arange(n_rows if challenge.sequences is not None else max(n_rows, len(rows)))
    wanted = challenge.rows["all"] if challenge.leaderboard == "public" else every
    if not (np.array_equal(found, wanted) or np.array_equal(found, every)):
        missing, unknown = np.setdiff1d(wanted, found), np.setdiff1d(found, wanted)
        what = f"{missing[0]} is missing" if len(missing) else f"{unknown[0]} is none of them"
        hint = "" if challenge.leaderboard == "public" else "; the public rows alone are scored by --leaderboard public"
        needed = f"the {challenge.leaderboard} leaderboard needs {len(wanted)}, each row of it once"
        raise ValueError(f"{path} has {len(rows)} keys; {needed}: {what}{hint}")
    predicted = np.full(len(every), np.nan)
    predicted[rows] = values
    return predicted[:n_rows]


def _read_headed(path: str, flag: str) -> tuple[FileSource, pd.DataFrame]:
    """Reads the table with a header that a flag names, text as it stands."""
    source = FileSource(Path(path))
    table = _read_table(source, flag, header=0)
    if source.format != "parquet" and not isinstance(table.index, pd.RangeIndex):
        raise ValueError(f"{path}: its rows have more columns than its header, which names {', '.join(table)}")
    return source, table


def _read_table(source: FileSource, flag: str, header: int | None) -> pd.DataFrame:
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


def _numbers(
    table: pd.DataFrame, column: str, source: FileSource, first: int | None = None, is_needed: bool = True
) -> np.ndarray:
    """Reads a column of numbers, float64 (n,); `first` is the line of the first row, by default that below a header."""
    first = first or _first_line(source)
    numbers = to_numbers(pa.array(table[column], from_pandas=True), source, first, column)
    if is_needed and np.isnan(numbers).any():
        raise ValueError(f"{source.place(first + int(np.isnan(numbers).argmax()))}: {column} is missing")
    return numbers


def _check_columns(table: pd.DataFrame, columns: list[str], path: str, hint: str) -> None:
    """Refuses a table that lacks a column, or has one twice."""
    if missing := [column for column in columns if column not in table]:
        names = [str(name) for name in table]
        if len(names) == 2 and re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", names[1], re.IGNORECASE):
            hint = "it has no header: add --challenge_dir to score a submission, or write .tsv with run_predict.py"
        raise ValueError(f"{path}: no column {missing[0]!r}; columns found: {', '.join(map(str, table))}; {hint}")
    for repeated in table.columns[table.columns.duplicated()]:
        raise ValueError(f"{path}: the column {repeated!r} stands twice in the header")

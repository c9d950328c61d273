"""Reads predictions back: tables with their measured values, and submissions to the DREAM Challenge 2022."""

import gzip
import re
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from .challenge import Challenge
from .metrics import match_rows
from .predictions import read_row_values, reading
from .tables import FileSource, to_numbers


def read_predictions(path: str, flag: str = "--predictions_file") -> pd.DataFrame:
    """Reads the table that a flag names; predictions and measured values become float64, NaN where nothing was measured.

    Raises:
        ValueError: for a file that cannot be read or is no table with a header, one without rows, text in place of a
            number, or a missing prediction.
    """
    source = FileSource(Path(path))
    table = _read_table(source, flag, header=0)
    if source.format != "parquet" and not isinstance(table.index, pd.RangeIndex):
        raise ValueError(f"{path}: its rows have more columns than its header, which names {', '.join(table)}")
    for column in filter(re.compile("(prediction|observed)(_.+)?").fullmatch, table):
        table[column] = _numbers(table, column, source, first=1 if source.format == "parquet" else 2)
    return table


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
    predicted, n_rows = _numbers(table, "prediction", source, first), len(challenge.measured)
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


def _read_table(source: FileSource, flag: str, header: int | None) -> pd.DataFrame:
    """Reads the file that a flag names as text, Parquet as it is."""
    text = {"dtype": str, "keep_default_na": False, "skip_blank_lines": False, "header": header}
    with reading(flag, source.path):
        if source.format not in ("\t", ",", "parquet"):
            formats = ".tsv, .csv (each also .gz) or .parquet, for a challenge also .json"
            raise ValueError(f"{flag} {source.path}: predictions are read from {formats}")
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


def _numbers(table: pd.DataFrame, column: str, source: FileSource, first: int) -> np.ndarray:
    """Reads a column of numbers, float64 (n,); `first` is the line of the first row."""
    numbers = to_numbers(pa.array(table[column], from_pandas=True), source, first, column)
    if column.startswith("prediction") and np.isnan(numbers).any():
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

"""The predictions file: which columns it has, how they are made, and how they are read back.

The columns are `id sequence prediction`, then what there is of `lower upper checkpoint_sd observed outside_training`, then
columns of the input that were asked for, as text. With several outputs, those of numbers end in `_<name of the output>`. To add a column, add it in `prediction_table`; a column that scripts
read back as a number goes into `NUMBER_COLUMNS`, too. `writers.py` puts tables into files of any length.
"""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike

from kmerbert.errors import counted
from kmerbert.files import read_json, split_endings
from kmerbert.reading.sources import FORMATS, TABLES, FileSource, as_text, readable_file, to_numbers

logger = logging.getLogger(__name__)
# Kinds of columns that hold a number for each output, and whether every row must have one.
NUMBER_COLUMNS = {"prediction": True, "lower": True, "upper": True, "observed": False}
FOLD = "fold"  # in the predictions of a cross-validation, the number of the member that was not trained on the row
OUTSIDE = "outside_training"  # in what a row is outside the training data, if in anything
SPREAD = "checkpoint_sd"  # not "prediction_...", which would be the prediction of an output
MAX_VALUE = float(np.finfo(np.float32).max)

# Gives lower and upper ends, float64 arrays (n, outputs), of the intervals around predictions of the same shape.
IntervalsAround = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def output_suffixes(outputs: Sequence[str]) -> list[str]:
    """Returns the ends of the column names of each output: nothing for a single output, `_<name>` for several.

    >>> output_suffixes(["expression"]), output_suffixes(["a", "b"])
    ([''], ['_a', '_b'])
    """
    return [f"_{name}" for name in outputs] if len(outputs) > 1 else [""]


def own_columns(outputs: Sequence[str]) -> set[str]:
    """Returns the names of all columns that predictions for these outputs may have of their own."""
    numbers = {kind + suffix for kind in (*NUMBER_COLUMNS, SPREAD) for suffix in output_suffixes(outputs)}
    return numbers | {"id", "sequence", OUTSIDE, FOLD}


def check_kept(columns: Sequence[str], outputs: Sequence[str]) -> None:
    """Checks the names of columns that are carried from the input to the predictions.

    Raises:
        ValueError: A name is that of a column of the predictions, or of an output's, or is there twice.
    """
    own = own_columns(outputs)
    for number, name in enumerate(columns):
        if name in own or name.startswith("prediction"):
            raise ValueError(
                f"`keep_columns` {name}: the predictions have a column of that name, or take it for one: rename it in the table"
            )
        if name in columns[:number]:
            raise ValueError(f"`keep_columns` {','.join(columns)}: give {name} once")


def prediction_table(
    ids: pa.Array,
    sequences: pa.Array,
    values: np.ndarray,
    outputs: Sequence[str],
    observed: np.ndarray | None = None,
    intervals: IntervalsAround | None = None,
    outside: pa.Array | None = None,
    kept: Mapping[str, pa.Array] | None = None,
) -> pa.Table:
    """Makes the table that is exchanged.

    `checkpoint_sd` is the standard deviation between the checkpoints of an ensemble, with their number less one as the
    divisor (an estimate from a sample of trainings).

    Args:
        ids, sequences: n of each, of any type that can be text; whitespace around sequences is removed.
        values: Float array (n, checkpoints, outputs), in the unit of the labels.
        outputs: Names of the outputs.
        observed: Float array (n, outputs) of measured values, NaN where nothing was measured; None for no such column.
        intervals: Gives the columns `lower` and `upper`; None for no such columns.
        outside: Texts (n,) of the column `outside_training`; None for no such column.
        kept: Columns of the input (n,) by their names, which `check_kept` allows.
    """
    mean, spread = values.mean(axis=1), values.std(axis=1, ddof=1) if values.shape[1] > 1 else None
    lower, upper = intervals(mean) if intervals else (None, None)
    columns = {"id": as_text(ids), "sequence": pc.ascii_trim_whitespace(as_text(sequences))}
    numbers = {"prediction": mean, "lower": lower, "upper": upper, SPREAD: spread, "observed": observed}
    for kind, array in numbers.items():
        for output, suffix in enumerate(output_suffixes(outputs) if array is not None else ()):
            # NaN becomes null
            columns[kind + suffix] = pa.array(array[:, output].astype(np.float64), from_pandas=True)
    if outside is not None:
        columns[OUTSIDE] = outside
    return pa.table(columns | {name: as_text(column) for name, column in (kept or {}).items()})


def read_predictions(path: str, argument: str = "predictions_file") -> pd.DataFrame:
    """Reads a predictions file; its numbers become float64, NaN where nothing was measured.

    An id that stands for several sequences is told: rows that are compared by their ids alone could be taken for another.

    Args:
        path: The file: .tsv, .csv (text also compressed) or .parquet, with a header.
        argument: Name of the argument that names it, for messages.

    Raises:
        ValueError: The file cannot be read, is not a table with a header or has no rows; a cell that should be a number is text; a
            prediction or an end of an interval is missing; or a lower end is above the upper one.
    """
    source, table = read_headed(path, argument)
    _warn_of_ids(table, source)
    suffixes = suffixes_in(table)
    for kind, suffix in product(NUMBER_COLUMNS, suffixes):
        if (column := kind + suffix) in table:
            table[column] = read_numbers(table, column, source, is_needed=NUMBER_COLUMNS[kind])
    for lower, upper in [("lower" + suffix, "upper" + suffix) for suffix in suffixes]:
        if lower in table and upper in table:
            for row in np.flatnonzero(table[lower] > table[upper])[:1]:
                location = source.location(int(table.index[row]))
                problem = f"{lower} {table[lower].iloc[row]:g} is above {upper} {table[upper].iloc[row]:g}"
                raise ValueError(f"{location}: {problem}: write intervals with run_predict.py `calibration_file`")
    return table


def suffixes_in(table: pd.DataFrame) -> list[str]:
    """Returns what follows `prediction` in the names of a table's columns, for each output: nothing, or `_<name>`."""
    suffixes = [column.removeprefix("prediction") for column in table if re.fullmatch("prediction(_.+)?", column)]
    return suffixes or [""]


def number_columns(table: pd.DataFrame, columns: list[str], path: str, hint: str) -> np.ndarray:
    """Returns columns of numbers, float64 (n, columns); ValueError, with the hint, for a missing column."""
    check_columns(table, columns, path, hint)
    return table[columns].to_numpy(np.float64)


def measured_columns(table: pd.DataFrame, columns: list[str], path: str, hint: str) -> np.ndarray:
    """Returns columns of measured values, float64 (n, columns); ValueError for a missing or an empty one."""
    measured = number_columns(table, columns, path, hint)
    if not len(measured):
        raise ValueError(f"{path}: there are no rows to compare")
    for output in np.flatnonzero(np.isnan(measured).all(axis=0))[:1]:
        problem = f"{columns[output]} has no measured value in {len(measured)} rows"
        raise ValueError(f"{path}: {problem}: predict again with the `label_column` that has them")
    return measured


def interval_columns(table: pd.DataFrame, suffixes: list[str], path: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns lower and upper ends of intervals, float64 (n, outputs) each; None if the table has no such column.

    Raises:
        ValueError: The table has some of the columns only.
    """
    names = [[bound + suffix for suffix in suffixes] for bound in ("lower", "upper")]
    if not any(column in table for columns in names for column in columns):
        return None
    hint = "run_predict.py `calibration_file` writes both ends for every output"
    lower, upper = (number_columns(table, columns, path, hint) for columns in names)
    return lower, upper


def align_rows(baseline: pd.DataFrame, table: pd.DataFrame, path: str) -> pd.DataFrame:
    """Puts a baseline's rows in the order of the predictions; rows are the same if their `id` and `sequence` are.

    Raises:
        ValueError: The rows are not the same or cannot be told apart, or the baseline's measured values contradict those
            of the predictions.
    """
    keys = [column for column in ("id", "sequence") if column in table and column in baseline]
    if not keys:
        raise ValueError(f"`baseline_file` {path}: needs a column 'id' or 'sequence' that `predictions_file` has, too")
    names = [_named(rows, keys).agg(" ".join, axis=1) for rows in (table, baseline)]
    try:
        ordered = baseline.iloc[match_rows(*names)]
    except ValueError as error:
        if len(keys) > 1 and set(table["id"].astype(str)) == set(baseline["id"].astype(str)):
            error = f"{error}; the ids are the same, but stand for other sequences"
        raise ValueError(f"`baseline_file` {path}, by {' and '.join(keys)}: {error}: predict the same rows") from None
    measured = [f"observed{suffix}" for suffix in suffixes_in(table) if suffix in suffixes_in(ordered)]
    for column in ordered.columns.intersection(table.columns).intersection(measured):
        known, other = (rows[column].to_numpy(np.float64) for rows in (table, ordered))
        # Values closer than that are one number, written by two programs.
        differs = ~np.isnan(known) & ~np.isnan(other) & ~np.isclose(other, known, rtol=1e-5, atol=1e-6)
        for row in np.flatnonzero(differs)[:1]:
            values = f"{column} of {names[0].iloc[row]!r} is {other[row]:g}, but {known[row]:g} in `predictions_file`"
            raise ValueError(f"`baseline_file` {path}: {values}: predict with the same `label_column`")
    return ordered


def check_sequences(table: pd.DataFrame, other: pd.DataFrame, argument: str, path: str) -> None:
    """Checks that the ids of two tables name the same sequences, where both have ids and sequences.

    Args:
        table: The predictions.
        other, argument, path: The other table, the argument that names it, and its file.

    Raises:
        ValueError: An id has another sequence in each.
    """
    if not {"id", "sequence"} <= set(table) & set(other):
        return
    sequences = []
    for rows in (table, other):
        single = _named(rows, ["id", "sequence"]).drop_duplicates("id", keep=False)  # repeated ids name nothing
        sequences.append(single.set_index("id")["sequence"])
    both = pd.concat(sequences, axis=1, join="inner", keys=["here", "there"])
    if set(table["id"].astype(str)).isdisjoint(other["id"].astype(str)):
        logger.warning(
            "`%s` %s has none of the ids in `predictions_file`, such as %s: its values are those of other rows",
            *(argument, path, repr(str(table["id"].iloc[0]))),
        )
    differing = both[both["here"] != both["there"]]
    for name, row in differing[:1].iterrows():
        raise ValueError(
            f"`{argument}` {path}: id {name!r} has the sequence {row['there'][:40]!r}, but {row['here'][:40]!r} in "
            f"`predictions_file` ({len(differing)} of {len(both)} ids differ): these are other rows; give a table of the same"
        )


def _named(rows: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Columns that name rows, as text; sequences in one spelling, whatever a table has."""
    names = rows[columns].astype(str)
    if "sequence" in columns:
        names["sequence"] = names["sequence"].str.strip().str.upper().str.replace("U", "T")
    return names


def match_rows(keys: ArrayLike, other_keys: ArrayLike) -> np.ndarray:
    """Finds the rows of one table in another, so that two models are compared on the same rows.

    Args:
        keys: Ids or sequences of the rows (n,), in the order to return.
        other_keys: Those of the same rows as another table has them. They may repeat only if both have the same order.

    Returns:
        int64 (n,): `other_keys[result]` is `keys`.

    Raises:
        ValueError: The keys are not the same, or repeat in rows of another order.
    """
    keys, other_keys = np.asarray(keys, dtype=str), np.asarray(other_keys, dtype=str)
    if np.array_equal(keys, other_keys):
        return np.arange(len(other_keys))
    single = np.setxor1d(keys, other_keys)
    if len(single):
        raise ValueError(f"{len(keys)} rows against {len(other_keys)}; {str(single[0])!r} is in only one of the two")
    for side in (keys, other_keys):
        values, counts = np.unique(side, return_counts=True)
        if counts.max() > 1:
            raise ValueError(f"the rows are in another order, and {str(values[counts.argmax()])!r} is not unique")
    order = np.argsort(other_keys)
    return order[np.searchsorted(other_keys, keys, sorter=order)]


def read_headed(path: str, argument: str, sheet: str | None = None) -> tuple[FileSource, pd.DataFrame]:
    """Reads the table with a header that an argument names, of an Excel file perhaps a named sheet; see `read_table`."""
    source = FileSource(Path(path), has_header=True, sheet=sheet)
    return source, read_table(source, argument)


def read_table(source: FileSource, argument: str) -> pd.DataFrame:
    """Reads a table into memory: text unchanged, Parquet as it is.

    Args:
        source: The file.
        argument: Name of the argument that names it, for messages.

    Returns:
        All columns that have a name; the index has the numbers of the rows in the file: lines or, of Parquet, rows.

    Raises:
        ValueError: The file cannot be read, or is no table.
    """
    with readable_file(argument, source.path):
        if source.path.is_dir():
            raise ValueError(f"`{argument}` {source.path} is a folder: name a file in it")
        if FORMATS.get(split_endings(source.path)[0]) not in (*TABLES, "parquet"):
            endings = ".tsv, .csv (also compressed), .xlsx or .parquet, for a challenge also .json"
            raise ValueError(f"`{argument}` {source.path}: allowed endings are {endings}")
        source.path.open("rb").close()  # the system's own reason, if it cannot be opened
        names = list(filter(None, source.columns))
        batches = list(source.batches(names))
    kind = None if batches else pa.string()
    arrays = {name: pa.chunked_array([batch.columns[name] for batch in batches], kind) for name in names}
    table = pa.table(arrays).to_pandas(integer_object_nulls=True)  # as float64, long ids would lose digits
    table.index = pd.Index(np.concatenate([np.empty(0, np.int64), *(batch.numbers for batch in batches)]))
    return table


def read_numbers(table: pd.DataFrame, column: str, source: FileSource, is_needed: bool = True) -> np.ndarray:
    """Reads a column of numbers of a result of `read_table`, float64 (n,)."""
    rows = table.index.to_numpy()
    numbers = to_numbers(pa.array(table[column], from_pandas=True), source, rows, column)
    if is_needed and np.isnan(numbers).any():
        location = source.location(int(rows[np.isnan(numbers).argmax()]))
        raise ValueError(f"{location}: {column} is missing: fill it in, or delete the row")
    return numbers


def _warn_of_ids(table: pd.DataFrame, source: FileSource) -> None:
    """Warns of an id that has more than one sequence, and of rows that are there twice."""
    if not {"id", "sequence"} <= set(table):
        return
    repeated = table.duplicated()
    for row in np.flatnonzero(repeated)[:1]:
        first = np.flatnonzero((table.astype(str) == table.iloc[row].astype(str)).all(axis=1))[0]
        logger.warning(
            "%s and %s are the same row, with the id %r (repeated rows: %d): such rows count more than once",
            *(source.location(int(table.index[first])), source.location(int(table.index[row]))),
            *(str(table["id"].iloc[row]), repeated.sum()),
        )
    pairs = _named(table, ["id", "sequence"]).drop_duplicates()
    for position in np.flatnonzero(pairs["id"].duplicated())[:1]:
        first = np.flatnonzero(pairs["id"] == pairs["id"].iloc[position])[0]
        logger.warning(
            "%s and %s have the id %r and other sequences (as for %s): such rows are told apart by both",
            *(source.location(int(pairs.index[first])), source.location(int(pairs.index[position]))),
            *(str(pairs["id"].iloc[position]), counted(int(pairs["id"].duplicated().sum()), "row")),
        )


def check_columns(table: pd.DataFrame, columns: list[str], path: str, hint: str) -> None:
    """Checks that a table has all columns, each once; ValueError, with the hint, if not."""
    if missing := [column for column in columns if column not in table]:
        names = [str(name) for name in table]
        if len(names) == 2 and re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", names[1], re.IGNORECASE):
            hint = "it has no header: add `challenge_dir` to score a submission, or write .tsv with run_predict.py"
        else:
            hint = FileSource(Path(path), has_header=True).reason(missing) or hint
        raise ValueError(f"{path}: no column {missing[0]!r}; it has the columns {', '.join(names)}; {hint}")
    for repeated in table.columns[table.columns.duplicated()]:
        raise ValueError(f"{path}: the header has the column {repeated!r} twice")


def read_row_values(path: Path, rows_per_key: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Reads a JSON file of values by row number, the form in which the DREAM Challenge 2022 exchanges them.

    Args:
        path: File with `{"12": 1.5, ...}` or, with two rows per key, `{"12,7": [1.5, 0.5], ...}`.
        rows_per_key: 1 or 2.

    Returns:
        Row numbers from 0, int64, and their values, float64, in the order of the file; both (n,), or (n, 2).

    Raises:
        ValueError: The file is not of this form, a key occurs twice, or a value is not a finite number.
    """
    form = '{"row": value, ...}' if rows_per_key == 1 else '{"row,row": [value, value], ...}'
    try:  # an object becomes a tuple, in which a key can occur twice, and a list stays a list
        entries = read_json(path, object_pairs_hook=tuple)
    except ValueError as error:
        raise ValueError(f"{error}: it must be {form}") from None
    if not isinstance(entries, tuple) or not entries:
        raise ValueError(f"{path} is empty or not a JSON object: it must be {form}")
    is_key = re.compile(r"[0-9]{1,7}" + r",[0-9]{1,7}" * (rows_per_key - 1)).fullmatch
    values = []
    for key, value in entries:
        numbers = value if rows_per_key > 1 and isinstance(value, list) else [value]
        # A comparison that NaN fails, too; numbers only: JSON's true is not 1, and its "1" is not a number.
        if len(numbers) != rows_per_key or any(
            type(number) not in (int, float) or not abs(number) <= MAX_VALUE for number in numbers
        ):
            raise ValueError(f"{path}: the value of {key!r} is {str(value)[:40]!r}: allowed are finite numbers, {form}")
        if not is_key(key):
            raise ValueError(f"{path}: the key {key[:40]!r} is not a row number from 0: it must be {form}")
        values.append(numbers)
    rows = np.array(",".join(key for key, _ in entries).split(",")).astype(np.int64).reshape(-1, rows_per_key)
    order = np.lexsort(rows.T)
    for repeated in order[1:][(rows[order][1:] == rows[order][:-1]).all(axis=1)][:1]:
        raise ValueError(f"{path}: the key {entries[repeated][0]!r} occurs twice")
    shape = (-1,) if rows_per_key == 1 else (-1, rows_per_key)
    return rows.reshape(shape), np.array(values, dtype=np.float64).reshape(shape)

"""The files of predictions that scripts and other people's programs exchange. Knows no model."""

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import numpy as np
import pandas as pd

MAX_VALUE = float(np.finfo(np.float32).max)


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


@contextmanager
def reading(flag: str, path: Path) -> Iterator[None]:
    """Surrounds the reading of a file that a flag names; ValueError where it cannot be read, or is no file but stdin."""
    try:
        if str(path) in ("-", "/dev/stdin") or (path.exists() and not (path.is_file() or path.is_dir())):
            raise ValueError(f"{flag} {path}: stdin is not read, nor a pipe: write a file and name that")
        yield
    except OSError as error:
        raise ValueError(
            f"{flag} {path} cannot be read ({error.strerror or error}): name a file that is there and may be read"
        ) from None


def write_text(path: Path, text: str) -> None:
    """Writes a text file that is never seen half-written."""
    with _whole(path) as file:
        file.write(text)


@contextmanager
def _whole(path: Path) -> Iterator[TextIO]:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "w", encoding="utf-8") as file:
            yield file
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


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

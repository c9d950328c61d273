"""Finds what is in more than one split: the same sequence, or the same group; and labels that contradict each other.

Where a network reads both strands, a sequence and its reverse complement are one. Tables say so by their `strand_keys`.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from kmerbert.reading.rows import Duplicate, find_duplicate, n_distinct
from kmerbert.splitting.hold_out import SPLITS
from kmerbert.tokens.cache import TokenTable

logger = logging.getLogger(__name__)


class SplitRows(NamedTuple):
    """The rows of one split: their table, and int64 array (n,), their 0-based numbers in it."""

    table: TokenTable
    rows: np.ndarray


class Conflict(NamedTuple):
    """Rows of one sequence with different labels: how many sequences there are, and of one, two rows (0-based) and output."""

    n_sequences: int
    first_row: int
    second_row: int
    output: int


def find_leak(values: np.ndarray, split: np.ndarray) -> Duplicate | None:
    """Looks for a value (sequence key or group) that occurs in more than one split, or fold.

    Args:
        values: Array (n,).
        split: int array (n,): 0 train, 1 validation, 2 test; or the numbers of folds.

    Returns:
        The first such pair of rows, or None.

    >>> find_leak(np.array([5, 6, 5]), np.array([0, 0, 1]))
    Duplicate(first_row=0, second_row=2)
    """
    if sum(n_distinct(values[split == code]) for code in np.unique(split)) == n_distinct(values):
        return None
    order = np.argsort(values, kind="stable")
    is_same = values[order][1:] == values[order][:-1]
    crossing = np.flatnonzero(is_same & (split[order][1:] != split[order][:-1]))
    first, second = np.sort(order[crossing[0] : crossing[0] + 2])
    return Duplicate(int(first), int(second))


def find_conflict(values: np.ndarray, labels: np.ndarray) -> Conflict | None:
    """Looks for rows of one sequence whose labels differ.

    Args:
        values: Array (n,), equal for rows of one sequence.
        labels: Float array (n, outputs), NaN where missing.

    Returns:
        The number of sequences with different labels, and the two rows of one sequence that are furthest apart, as a share
        of the output's range; None if there are none.

    >>> find_conflict(np.array([5, 6, 5, 6]), np.array([[1.0], [3.0], [1.5], [3.0]]))
    Conflict(n_sequences=1, first_row=0, second_row=2, output=0)
    """
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.diff(values[order], prepend=~values[order[:1]]))
    differs, furthest, conflict = np.zeros(len(starts), bool), 0.0, None
    for output, column in enumerate(labels.T):
        column = column[order]
        if np.isnan(column).all():
            continue
        spread = np.fmax.reduceat(column, starts) - np.fmin.reduceat(column, starts)
        differs |= spread > 0
        share = np.nanmax(spread, initial=0.0) / (np.nanmax(column) - np.nanmin(column) or 1.0)
        if share > furthest:
            group = int(np.nanargmax(spread))
            rows = order[starts[group] : (*starts[1:], len(order))[group]]
            pair = sorted(
                (int(rows[np.nanargmin(labels[rows, output])]), int(rows[np.nanargmax(labels[rows, output])]))
            )
            furthest, conflict = share, (*pair, output)
    return Conflict(int(differs.sum()), *conflict) if conflict else None


def check_leaks(
    splits: Mapping[str, SplitRows],
    group_column: str | None,
    keep_duplicates: bool,
    label_columns: Sequence[str] = (),
) -> None:
    """Checks that no sequence and no group is in two splits, and that no sequence repeats within one unless it may.

    What may be, but makes a result look better or worse than it is, is logged: how many rows repeat a sequence, or have
    their reverse complement among the others, and whether the rows of one sequence have different labels.

    Args:
        splits: The rows by the names of their splits; files of validation and test rows may have no groups.
        group_column: Name of the groups' column, for messages.
        keep_duplicates: Whether a sequence may occur more than once within a split.
        label_columns: Names of the labels, for messages.

    Raises:
        ValueError: There is such a pair of rows; the message has both locations.
    """
    for what, attribute, remedy in (
        ("sequence", "keys", "remove it from one of them"),
        (
            "sequence, each on another strand",
            "strand_keys",
            "remove it from one of them, or set `strands` one if the measured values depend on the strand",
        ),
        (f"{group_column}", "groups", "a group must be in one split: divide by `group_column` alone"),
    ):
        parts = {split: part for split, part in splits.items() if getattr(part.table, attribute) is not None}
        if not parts:
            continue
        values = _joined(parts, attribute)
        if n_distinct(values) == len(values):
            continue
        codes = np.concatenate([np.full(len(part.rows), SPLITS.index(split), np.int8) for split, part in parts.items()])
        if pair := find_leak(values, codes):
            first, second = (f"{locate(parts.values(), row)} ({SPLITS[codes[row]]})" for row in pair)
            split = max(codes[list(pair)])
            is_split = codes == split
            n_shared = np.count_nonzero(np.isin(values[is_split], values[~is_split]))
            raise ValueError(
                f"{first} and {second} have the same {what}, as {n_shared} of {np.count_nonzero(is_split)} "
                f"{SPLITS[split]} rows have with rows of other splits: {remedy}"
            )
        if attribute == "keys":
            _check_repeats(parts, values, keep_duplicates, label_columns)
        elif attribute == "strand_keys":
            _report_strands(parts, values, label_columns)


def locate(parts: Iterable[SplitRows], position: int) -> str:
    """Where the row at a position in the joined rows of several splits is, for messages."""
    table, row = _row(parts, position)
    return table.location(row)


def _check_repeats(
    parts: Mapping[str, SplitRows], keys: np.ndarray, keep_duplicates: bool, label_columns: Sequence[str]
) -> None:
    """Rows that repeat a sequence of the same split: ValueError unless they may; otherwise what they are."""
    repeats, pair = find_duplicate(keys)
    if not keep_duplicates:
        first, second = (locate(parts.values(), row) for row in pair)
        raise ValueError(
            f"{first} and {second} have the same sequence{_values(parts, pair, label_columns)} (repeated rows: {repeats}): "
            "remove or average them, or keep replicates with `duplicates` keep"
        )
    logger.info("rows that repeat a sequence of the same split: %d; they are kept", repeats)
    if all(part.table.strand_keys is None for part in parts.values()):
        _warn_of_conflicts(parts, keys, label_columns)


def _report_strands(parts: Mapping[str, SplitRows], strand_keys: np.ndarray, label_columns: Sequence[str]) -> None:
    """Logs how many rows are the reverse complements of others, and whether labels contradict each other."""
    order = np.argsort(strand_keys, kind="stable")
    keys = _joined(parts, "keys")[order]
    starts = np.flatnonzero(np.diff(strand_keys[order], prepend=~strand_keys[order[:1]]))
    sizes = np.diff(starts, append=len(order))
    is_on_both = np.maximum.reduceat(keys, starts) != np.minimum.reduceat(keys, starts)
    if is_on_both.any():
        logger.info(
            "rows whose reverse complement is another row of the same split: %d of %d; the network reads both strands, so "
            "that they count as one sequence",
            *(sizes[is_on_both].sum(), len(order)),
        )
    _warn_of_conflicts(parts, strand_keys, label_columns)


def _warn_of_conflicts(parts: Mapping[str, SplitRows], values: np.ndarray, label_columns: Sequence[str]) -> None:
    """Warns of rows of one sequence whose labels differ."""
    if not label_columns:
        return
    labels = np.concatenate([part.table.labels[part.rows] for part in parts.values()])
    if conflict := find_conflict(values, labels):
        pair = (conflict.first_row, conflict.second_row)
        first, second = (locate(parts.values(), row) for row in pair)
        keys = _joined(parts, "keys")
        what = "one sequence" if keys[pair[0]] == keys[pair[1]] else "one sequence on two strands"
        logger.warning(
            "%s and %s have %s%s: %d of the sequences that occur more than once have different values, of which the model "
            "can learn the mean only; average or remove rows that are not replicates",
            *(first, second, what, _values(parts, pair, label_columns, conflict.output), conflict.n_sequences),
        )


def _values(
    parts: Mapping[str, SplitRows], pair: Sequence[int], label_columns: Sequence[str], output: int | None = None
) -> str:
    """What two rows (positions in the joined rows) have as label, for messages: of the first output that differs."""
    if not label_columns:
        return ""
    first, second = (table.labels[row] for table, row in (_row(parts.values(), position) for position in pair))
    differing = np.flatnonzero(first != second) if output is None else [output]
    for number in differing:
        return f", but {label_columns[number]} is {first[number]:.8g} and {second[number]:.8g}"
    return ""


def _joined(parts: Mapping[str, SplitRows], attribute: str) -> np.ndarray:
    """An attribute of the tables, of the rows of all splits, one split after the other."""
    return np.concatenate([getattr(part.table, attribute)[part.rows] for part in parts.values()])


def _row(parts: Iterable[SplitRows], position: int) -> tuple[TokenTable, int]:
    """The table and the row in it of a position in the joined rows of several splits."""
    for table, rows in parts:
        if position < len(rows):
            return table, int(rows[position])
        position -= len(rows)
    raise IndexError(position)

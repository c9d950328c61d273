"""Finds what is in more than one split: the same sequence, or the same group."""

import logging
from collections.abc import Mapping
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


def find_leak(values: np.ndarray, split: np.ndarray) -> Duplicate | None:
    """Looks for a value (sequence key or group) that occurs in more than one split.

    Args:
        values: Array (n,).
        split: int array (n,): 0 train, 1 validation, 2 test.

    Returns:
        The first such pair of rows, or None.

    >>> find_leak(np.array([5, 6, 5]), np.array([0, 0, 1]))
    Duplicate(first_row=0, second_row=2)
    """
    if sum(n_distinct(values[split == code]) for code in range(len(SPLITS))) == n_distinct(values):
        return None
    order = np.argsort(values, kind="stable")
    is_same = values[order][1:] == values[order][:-1]
    crossing = np.flatnonzero(is_same & (split[order][1:] != split[order][:-1]))
    first, second = np.sort(order[crossing[0] : crossing[0] + 2])
    return Duplicate(int(first), int(second))


def check_leaks(splits: Mapping[str, SplitRows], group_column: str | None, keep_duplicates: bool) -> None:
    """Checks that no sequence and no group is in two splits, and that no sequence repeats within one unless it may.

    Args:
        splits: The rows by the names of their splits; files of validation and test rows may have no groups.
        group_column: Name of the groups' column, for messages.
        keep_duplicates: Whether a sequence may occur more than once within a split.

    Raises:
        ValueError: There is such a pair of rows; the message has both locations.
    """
    for what, attribute, remedy in (
        ("sequence", "keys", "remove it from one of them"),
        (f"{group_column}", "groups", "a group must be in one split: divide by `group_column` alone"),
    ):
        parts = {split: part for split, part in splits.items() if getattr(part.table, attribute) is not None}
        if not parts:
            continue
        values = np.concatenate([getattr(part.table, attribute)[part.rows] for part in parts.values()])
        codes = np.concatenate([np.full(len(part.rows), SPLITS.index(split), np.int8) for split, part in parts.items()])
        if n_distinct(values) == len(values):
            continue
        if pair := find_leak(values, codes):
            first, second = (f"{_location(parts, row)} ({SPLITS[codes[row]]})" for row in pair)
            raise ValueError(f"{first} and {second} have the same {what}: {remedy}")
        repeats, pair = find_duplicate(values) if attribute == "keys" else (0, None)
        if repeats and not keep_duplicates:
            first, second = (_location(parts, row) for row in pair)
            raise ValueError(
                f"{first} and {second} have the same sequence (repeated rows: {repeats}): remove or average "
                "them, or keep replicates with `duplicates` keep"
            )
        if repeats:
            logger.info("rows that repeat a sequence of the same split: %d; they are kept", repeats)


def _location(parts: Mapping[str, SplitRows], position: int) -> str:
    """Where the row at a position in the joined rows of several splits is, for messages."""
    for table, rows in parts.values():
        if position < len(rows):
            return table.location(int(rows[position]))
        position -= len(rows)
    raise IndexError(position)

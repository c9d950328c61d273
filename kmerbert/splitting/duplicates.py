"""Rows of one table that have the same sequence, as one row: the first, or one with the mean of their measured values."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np

from kmerbert.reading.rows import n_distinct
from kmerbert.splitting.components import join_groups
from kmerbert.splitting.hold_out import SPLITS
from kmerbert.tokens.cache import TokenTable


class Merged(NamedTuple):
    """A table without repeated sequences.

    Attributes:
        table: The table, with the measured values that its rows have now.
        rows: int64 array (m,), the rows that are left, 0-based, rising.
        n_copies: int64 array (n,), of how many rows of its sequence each row is the one that is left; 0 where it is not.
    """

    table: TokenTable
    rows: np.ndarray
    n_copies: np.ndarray


def merge_copies(
    table: TokenTable, how: Literal["drop", "average"], must_agree: Mapping[str, np.ndarray | None] | None = None
) -> Merged:
    """Leaves one row of each sequence, the first.

    If the table has `strand_keys`, a sequence and its reverse complement are one. Rows that a column of the table puts into
    different splits stay apart: they are leaks, not copies.

    Args:
        table: The rows.
        how: `drop` leaves the first row as it is. With `average` it has the mean of the measured values of all copies, of
            each output those that are not missing.
        must_agree: Arrays (n,) by the names of their columns (groups, folds), in which copies must not differ; None for a
            column that the table does not have.

    Raises:
        ValueError: Copies differ in such a column; the message has two rows.
    """
    copies = table.sequence_numbers.astype(np.int64)
    if table.strand_keys is not None:
        copies = join_groups(copies, table.strand_keys)
    if table.splits is not None:
        copies = copies * len(SPLITS) + table.splits
    if n_distinct(copies) == len(copies):
        return Merged(table, np.arange(len(copies)), np.ones(len(copies), np.int64))
    order = np.argsort(copies, kind="stable")
    starts = np.flatnonzero(np.diff(copies[order], prepend=copies[order[0]] - 1))
    sizes = np.diff(starts, append=len(order))
    first = order[starts]
    first_of_row = np.repeat(first, sizes)
    for column, values in (must_agree or {}).items():
        differs = np.flatnonzero(values[order] != values[first_of_row]) if values is not None else np.empty(0, np.int64)
        if len(differs):
            position = differs[order[differs].argmin()]
            one, other = (table.location(int(rows[position])) for rows in (first_of_row, order))
            raise ValueError(
                f"{one} and {other} have the same sequence, but differ in {column} (as {len(differs)} rows do): `duplicates` "
                f"{how} makes one row of them: give them one {column}, or remove rows"
            )
    n_copies = np.zeros(len(copies), np.int64)
    n_copies[first] = sizes
    if how == "average":
        values = table.labels[order]
        known = np.add.reduceat(~np.isnan(values), starts, dtype=np.int64)
        sums = np.add.reduceat(np.nan_to_num(values), starts)
        labels = table.labels.copy()
        labels[first] = np.divide(sums, known, out=np.full(sums.shape, np.nan), where=known > 0)
        table = replace(table, other_labels=labels)
    return Merged(table, np.sort(first), n_copies)

"""Finds what is in more than one split: the same sequence, or the same group; and labels that contradict each other.

Where a network reads both strands, a sequence and its reverse complement are one. Tables say so by their `strand_keys`.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd

from kmerbert.reading.rows import Duplicate, find_duplicate, n_distinct
from kmerbert.reading.sources import as_text, find_id_column
from kmerbert.splitting.hold_out import SPLITS
from kmerbert.tokens.cache import TokenTable

logger = logging.getLogger(__name__)


class SplitRows(NamedTuple):
    """The rows of one split: their table, and int64 array (n,), their 0-based numbers in it."""

    table: TokenTable
    rows: np.ndarray


class Leak(NamedTuple):
    """Rows of two splits that share something, by which held-out rows say little about new ones.

    Attributes:
        shared: What they share: `sequence`, `near duplicate`, or the name of the groups' column.
        strand: Of equal sequences, whether they are on the `same` or the `other` strand; otherwise empty.
        what, remedy: What they have and what to do, for messages.
        split, rows: Name of the earlier split, and int64 array (n,), rows of its table, 0-based.
        other, other_rows: The same of the later split; one of its rows for each of the others.
    """

    shared: str
    strand: str
    what: str
    remedy: str
    split: str
    rows: np.ndarray
    other: str
    other_rows: np.ndarray


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


def find_leaks(splits: Mapping[str, SplitRows], group_column: str | None) -> list[Leak]:
    """Finds the rows whose sequence, on either strand where strands are one, or group is in another split, too.

    Args:
        splits: The rows by the names of their splits; files of validation and test rows may have no groups.
        group_column: Name of the groups' column, for messages.

    Returns:
        What is shared by two splits, equal sequences first; of each pair of splits every row that leaks, and for each of
        these one row of the other split.
    """
    by_letters = "remove it from one of them, or from the training rows with `leaks` drop"
    by_strand = (
        "remove it from one of them (from the training rows: `leaks` drop), or set `strands` one if the measured values depend "
        "on the strand"
    )
    by_group = (
        "a group must be in one split: divide by `group_column` alone, or leave out training rows with `leaks` drop"
    )
    leaks = []
    for attribute, shared, strand, remedy in (
        ("keys", "sequence", "same", by_letters),
        ("strand_keys", "sequence", "other", by_strand),
        ("groups", group_column or "", "", by_group),
    ):
        values = {
            split: getattr(part.table, attribute)[part.rows]
            for split, part in splits.items()
            if getattr(part.table, attribute) is not None
        }
        what = f"the same {shared}{', each on another strand' if strand == 'other' else ''}"
        leaks += find_shared(splits, values, shared, what, remedy, strand)
    return leaks


def find_shared(
    splits: Mapping[str, SplitRows],
    values: Mapping[str, np.ndarray],
    shared: str,
    what: str,
    remedy: str,
    strand: str = "",
) -> list[Leak]:
    """Finds the rows of every two splits that have equal values.

    Args:
        splits: The rows by the names of their splits.
        values: Split -> array (n,) with a value of each of its rows; without the splits that have none.
        shared, what, remedy, strand: As in `Leak`. Where `strand` is `other`, equal sequences on the same strand are left out.
    """
    joined = np.concatenate([np.empty(0, np.uint64), *values.values()])
    if n_distinct(joined) == len(joined):
        return []
    leaks = []
    for split, other in combinations([split for split in SPLITS if split in values], 2):
        first, second = _pairs(values[split], values[other])
        (table, rows), (other_table, other_rows) = splits[split], splits[other]
        if strand == "other":
            is_turned = table.keys[rows[first]] != other_table.keys[other_rows[second]]
            first, second = first[is_turned], second[is_turned]
        if len(first):
            leaks.append(Leak(shared, strand, what, remedy, split, rows[first], other, other_rows[second]))
    return leaks


def _pairs(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of equal values in two arrays: of every such value in either, with its first place in the other one."""
    pairs = []
    for one, other in ((first, second), (second, first)):
        known, places = np.unique(other, return_index=True)
        found = np.flatnonzero(np.isin(one, known))
        pairs.append((found, places[np.searchsorted(known, one[found])]))
    (rows, others), (other_rows, first_rows) = pairs
    both = np.column_stack([np.concatenate([rows, first_rows]), np.concatenate([others, other_rows])])
    both = np.unique(both, axis=0)
    return both[:, 0], both[:, 1]


def without_leaks(train: SplitRows, leaks: Sequence[Leak]) -> SplitRows:
    """The training rows without those that share something with held-out rows."""
    leaking = [leak.rows for leak in leaks if leak.split == SPLITS[0]]
    return train._replace(rows=np.setdiff1d(train.rows, np.concatenate(leaking))) if leaking else train


def leaks_as_tsv(
    splits: Mapping[str, SplitRows], leaks: Sequence[Leak], sequence_column: str, id_column: str | None
) -> str:
    """Returns a line for every pair of rows, as tab-separated text with a header.

    The columns are `split line id`, the same of the other row (`other_split` ...), `shared`, `strand` (same, other, or
    nothing if no equal sequences are shared) and `sequence`, that of the first row. What a table does not have is empty.

    Args:
        splits: The rows.
        leaks: Result of `find_leaks`.
        sequence_column: Column of the DNA.
        id_column: Column of the ids; None for `id` if there is one.
    """
    parts = []
    for leak in leaks:
        table, other = splits[leak.split].table, splits[leak.other].table
        first = _read_rows(
            table, leak.rows, {"id": find_id_column(table.source, id_column), "sequence": sequence_column}
        )
        second = _read_rows(other, leak.other_rows, {"id": find_id_column(other.source, id_column)})
        columns = {"split": leak.split, "line": table.numbers[leak.rows], "id": first["id"]}
        columns |= {"other_split": leak.other, "other_line": other.numbers[leak.other_rows], "other_id": second["id"]}
        columns |= {"shared": leak.shared, "strand": leak.strand, "sequence": first["sequence"]}
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts).to_csv(sep="\t", index=False, lineterminator="\n")


def _read_rows(table: TokenTable, rows: np.ndarray, columns: Mapping[str, str | None]) -> dict[str, list[str]]:
    """Columns of rows as the source has them; empty texts where it has none, and for windows, which are parts of its rows.

    Args:
        table, rows: The rows, in any order.
        columns: Names of the columns, or None, by what they are called in the result.
    """
    chosen, places = np.unique(rows, return_inverse=True)
    known = {name: column for name, column in columns.items() if column and table.overlaps is None}
    batches = list(table.read_again(list(dict.fromkeys(known.values())), chosen)) if known else []
    texts = dict.fromkeys(columns, [""] * len(rows))
    for name, column in known.items():
        values = [value for batch in batches for value in as_text(batch.columns[column]).to_pylist()]
        texts[name] = [values[place] or "" for place in places]
    return texts


def check_leaks(splits: Mapping[str, SplitRows], leaks: Sequence[Leak]) -> None:
    """Raises ValueError if there are rows that two splits share.

    Args:
        splits: The rows by the names of their splits.
        leaks: Result of `find_leaks` and its kind; the message has the first pair and the number of held-out rows.
    """
    for leak in leaks[:1]:
        first, second = (
            f"{splits[split].table.location(int(rows[0]))} ({split})"
            for split, rows in ((leak.split, leak.rows), (leak.other, leak.other_rows))
        )
        alike = [other for other in leaks if other.what == leak.what]
        shared = [other.rows for other in alike if other.split == leak.other]
        shared += [other.other_rows for other in alike if other.other == leak.other]
        raise ValueError(
            f"{first} and {second} have {leak.what}, as {len(np.unique(np.concatenate(shared)))} of "
            f"{len(splits[leak.other].rows)} {leak.other} rows have with rows of other splits: {leak.remedy}"
        )


def check_repeats(splits: Mapping[str, SplitRows], keep_duplicates: bool, label_columns: Sequence[str] = ()) -> None:
    """Checks that no sequence repeats within a split unless it may.

    What may be, but makes a result look better or worse than it is, is logged: how many rows repeat a sequence, or have
    their reverse complement among the others, and whether the rows of one sequence have different labels.

    Args:
        splits: The rows by the names of their splits, which share none.
        keep_duplicates: Whether a sequence may occur more than once within a split.
        label_columns: Names of the labels, for messages.

    Raises:
        ValueError: There is such a pair of rows; the message has both locations.
    """
    for attribute in ("keys", "strand_keys"):
        parts = {split: part for split, part in splits.items() if getattr(part.table, attribute) is not None}
        values = _joined(parts, attribute) if parts else np.empty(0)
        if n_distinct(values) == len(values):
            continue
        if attribute == "keys":
            _check_repeats(parts, values, keep_duplicates, label_columns)
        else:
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
            "remove them, make one row of them with `duplicates` drop or average, or keep replicates with `duplicates` keep"
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

"""Held-out sequences that nearly are training sequences: a base changed, an N, or a part of one; found in one pass.

Two sequences are neighbours if the shorter one, or at least `identity` of it, lies within the other, with an edit distance of
at most `1 - identity` of that part. Bases at either end that nearly all sequences share are ignored, as by `near_duplicates`,
which groups all rows of a table and misses less, but takes many times as long and does not look for parts.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from kmerbert.dna.sequences import reverse_complements
from kmerbert.splitting.groups import read_sequences
from kmerbert.splitting.hold_out import SPLITS
from kmerbert.splitting.leaks import Leak, SplitRows, find_shared, locate
from kmerbert.splitting.near_duplicates import Pool, are_near, constant_ends, mixed_codes, near_duplicates, read_letters

logger = logging.getLogger(__name__)
# A stretch of every held-out sequence is looked for at this many places; of the training rows of a batch that have one, as
# many are compared.
N_ANCHORS, N_COMPARED = 5, 2
SHORTEST, LONGEST = 9, 15  # bases of a stretch
IDENTITY = 0.9  # unless one is asked for
# Tokens beyond which neighbours are not looked for: this many take a second.
MOST_TOKENS = 25_000_000


class _Anchors(NamedTuple):
    """Stretches of held-out sequences.

    How many bases they have; their codes, uint32; the rows they are of, and where in these they begin (0-based), int64.
    """

    n_bases: int
    codes: np.ndarray
    rows: np.ndarray
    positions: np.ndarray

    def of(self, chosen: np.ndarray) -> "_Anchors":
        return self._replace(codes=self.codes[chosen], rows=self.rows[chosen], positions=self.positions[chosen])


def find_neighbours(
    training: Iterable[Sequence[str]],
    held_out: Sequence[str],
    identity: float = IDENTITY,
    both_strands: bool = False,
) -> np.ndarray:
    """Finds a training sequence that is nearly a held-out one, as the module defines it.

    Most are found: a pair is compared if it shares one of five stretches of 9 to 15 bases, which are spread over the held-out
    sequence, and of several training sequences that share one, at least some.

    Args:
        training: The training sequences in the letters ACGTN, in batches.
        held_out: The held-out sequences.
        identity: Share of the shorter sequence, and of equal bases in it, above 0.5, up to 1.
        both_strands: Whether the reverse complements of the held-out sequences count, too.

    Returns:
        int64 array (n,): for each held-out sequence the number of such a training sequence, 0-based, or -1.

    >>> find_neighbours([["ACGTTGCAAGGCTTACATTC", "TTTTGGGGCCCCAAAACCGT"]], ["CCCCAAAACCGT", "TGTGTGTGTGTG"]).tolist()
    [1, -1]
    """
    batches = (list(batch) for batch in training)
    first = next(batches, [])
    left, right = constant_ends(_pool([held_out, first]))
    pool = _pool([held_out, reverse_complements(held_out) if both_strands else []])
    n_searched = len(pool.begins)
    is_reverse = np.arange(n_searched) >= len(held_out)
    pool = _without_ends(pool, np.where(is_reverse, right, left), left + right)
    anchors = _anchors(pool)
    found, n_rows = np.full(n_searched, -1), 0
    for batch in chain([first], batches):
        held, row = _neighbours(pool, anchors, _without_ends(_pool([batch]), left, left + right), identity)
        found[held] = n_rows + row
        anchors = anchors.of(found[anchors.rows] < 0)
        n_rows += len(batch)
        if not len(anchors.codes):
            break
    return found.reshape(2 if both_strands else 1, -1).max(axis=0)


def check_neighbours(splits: Mapping[str, SplitRows], sequence_column: str, identity: float | None) -> None:
    """Warns of validation and test rows that are nearly training rows, unless there are more than some hundred thousand rows.

    Args:
        splits: The rows by the names of their splits; whole sequences, not windows.
        sequence_column: Column of the DNA.
        identity: Of sequences that are neighbours; None for the usual one.
    """
    splits = {split: part for split, part in splits.items() if len(part.rows)}
    if "train" not in splits or len(splits) == 1:
        return
    train = splits["train"]
    if sum(int(table.lengths[rows].sum()) for table, rows in splits.values()) > MOST_TOKENS:
        message = "%s: too many rows to look for held-out rows that nearly are training rows; `similar_sequences` does"
        logger.info(message, train.table.source.name)
        return
    both_strands = train.table.strand_keys is not None
    for split in SPLITS[1:]:
        if split not in splits:
            continue
        held_out = list(chain.from_iterable(read_sequences(splits[split].table, sequence_column, splits[split].rows)))
        training = read_sequences(train.table, sequence_column, train.rows)
        found = find_neighbours(training, held_out, identity or IDENTITY, both_strands)
        if n_found := np.count_nonzero(found >= 0):
            row = int(np.argmax(found >= 0))
            logger.warning(
                "%d of %d %s rows are nearly a training row or a part of one, such as %s of %s: their scores say little about "
                "new sequences; keep such rows in one split with `similar_sequences` or `group_column`, or remove them",
                *(n_found, len(held_out), split, locate([splits[split]], row), locate([train], int(found[row]))),
            )


def find_near_duplicates(splits: Mapping[str, SplitRows], sequence_column: str, identity: float) -> list[Leak]:
    """Finds near duplicates in the rows of two splits of different tables; arguments as for `check_neighbours`."""
    splits = {split: part for split, part in splits.items() if len(part.rows)}
    if "train" not in splits or all(part.table is splits["train"].table for part in splits.values()):
        return []
    batches = chain.from_iterable(read_sequences(part.table, sequence_column, part.rows) for part in splits.values())
    groups = near_duplicates(batches, identity, splits["train"].table.strand_keys is not None)
    ends = np.cumsum([len(part.rows) for part in splits.values()])[:-1]
    values = dict(zip(splits, np.split(groups, ends), strict=True))
    remedy = (
        "remove these rows (from the training rows: `leaks` drop), or use another `similar_sequences` than "
        f"{identity:g}, or none"
    )
    return find_shared(splits, values, "near duplicate", "near duplicates of one sequence", remedy)


def _pool(batches: Iterable[Sequence[str]]) -> Pool:
    letters, lengths, _ = read_letters(batches)
    return Pool(letters, np.cumsum(lengths) - lengths, lengths)


def _without_ends(pool: Pool, left: int | np.ndarray, both: int) -> Pool:
    """The rows without so many bases on the left, and on both sides together."""
    return Pool(pool.letters, pool.begins + left, np.maximum(pool.lengths - both, 0))


def _anchors(pool: Pool) -> _Anchors:
    """Stretches at places that are spread over each row, those without N; of as many bases as make chance pairs rare."""
    n_bases = int(np.ceil(np.log2(100 * N_ANCHORS * max(len(pool.begins), 1)) / 2))
    # Of two halves of a row with one changed base, one has no change.
    n_bases = int(np.clip(min(n_bases, np.median(pool.lengths) // 2 if len(pool.lengths) else 0), SHORTEST, LONGEST))
    rows = np.flatnonzero(pool.lengths >= n_bases)
    positions = ((pool.lengths[rows] - n_bases)[:, None] * np.linspace(0, 1, N_ANCHORS)).astype(np.int64).ravel()
    rows = np.repeat(rows, N_ANCHORS)
    codes, is_known = mixed_codes(pool.letters, n_bases)
    starts = pool.begins[rows] + positions
    return _Anchors(n_bases, codes[starts], rows, positions).of(is_known[starts])


def _neighbours(pool: Pool, anchors: _Anchors, batch: Pool, identity: float) -> tuple[np.ndarray, np.ndarray]:
    """Held-out rows that have a neighbour in a batch of training rows, and one such row of each."""
    starts, codes = _found(anchors, batch)
    row = np.searchsorted(batch.begins, starts, side="right") - 1
    is_within = (row >= 0) & (starts + anchors.n_bases <= (batch.begins + batch.lengths)[row])
    order = np.argsort(codes[is_within], kind="stable")
    starts, codes, row = (array[is_within][order] for array in (starts, codes, row))
    first = np.searchsorted(codes, anchors.codes)
    counts = np.searchsorted(codes, anchors.codes, side="right") - first
    pairs = []
    for number in range(N_COMPARED):
        some = np.flatnonzero(counts > number)
        # With many that share a stretch, those of another part of the batch at each number.
        chosen = first[some] + number * counts[some] // N_COMPARED
        pairs.append(
            (anchors.rows[some], row[chosen], starts[chosen] - batch.begins[row[chosen]] - anchors.positions[some])
        )
    held, other, shift = np.unique(np.concatenate(pairs, axis=1), axis=1)
    start, other_start = np.maximum(-shift, 0), np.maximum(shift, 0)
    overlap = np.minimum(pool.lengths[held] - start, batch.lengths[other] - other_start)
    is_long = overlap >= identity * np.minimum(pool.lengths[held], batch.lengths[other])
    held, other, start, other_start, overlap = (array[is_long] for array in (held, other, start, other_start, overlap))
    begins = (pool.begins[held] + start, len(pool.letters) + batch.begins[other] + other_start)
    parts = Pool(
        np.concatenate([pool.letters, batch.letters]), np.concatenate(begins), np.concatenate([overlap, overlap])
    )
    number = np.arange(len(held))
    near = are_near(parts, number, len(held) + number, identity)
    return held[near], other[near]


def _found(anchors: _Anchors, batch: Pool) -> tuple[np.ndarray, np.ndarray]:
    """Where in the letters of a batch stretches with the code of an anchor begin, and their codes."""
    codes, is_known = mixed_codes(batch.letters, anchors.n_bases)
    is_wanted = np.zeros(1 << 22, bool)
    is_wanted[anchors.codes >> np.uint32(10)] = True
    starts = np.flatnonzero(is_wanted[codes >> np.uint32(10)] & is_known)
    return starts, codes[starts]

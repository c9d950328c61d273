"""Groups of near-duplicate sequences, found without another program, so that no split divides them.

Two sequences are near duplicates if the edit distance between them (substitutions, inserted and deleted bases) is at
most `1 - identity` of the longer one, and they share a 15-base stretch at positions that are no further apart than that
many bases. Groups are transitive (single linkage). Bases at either end that 90 % of 100 or more sequences have in common,
such as the constant flanks of a library, are ignored.

The shared stretch misses few pairs: d differences leave at least (L - d) / (d + 1) of L bases in a row untouched, so all
pairs with up to 4 substitutions in 80 bases are found (`benchmarks/speed/near_duplicates.py` measures more). Sequences that
merely overlap, such as the tiles of a genome, are no near duplicates unless twice their shift is within the limit: use a
column that names the locus to keep tiles together.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view

from kmerbert.reading.rows import hash_texts
from kmerbert.splitting.components import label_components

STRETCH = 15  # bases; chance pairs of 7 million random inserts are few enough to be compared, and 32 bits hold the code
REACH = 4  # sequences that each one is compared with, of those that follow it in the list of a shared stretch
_CODES = bytes(b"ACGTN".find(letter) if letter in b"ACGTN" else 5 for letter in range(256))
_COMPLEMENT = np.array([3, 2, 1, 0, 4], np.uint8)
_PAST_END, _BEFORE_START = 5, 6  # no bases
_MIXER = np.uint32(0x9E3779B1)  # odd, so that no two products are equal; repetitive codes are spread over the passes
_CONSTANT_SHARE, _CONSTANT_MIN_ROWS, _CONSTANT_SAMPLE = 0.9, 100, 100_000
_PASS_WINDOWS = 1 << 26  # windows sorted at a time, 8 bytes each
_LIST_WINDOWS = 1 << 22  # of these, listed at a time
_CACHED = 1 << 17  # letters cut into windows, and letters of texts compared, at a time: what a processor's cache holds


class Pool(NamedTuple):
    """Sequences to compare.

    Letters of all rows, uint8, with enough after the last row to read any row at the length of the longest; where each
    row begins in them and how many bases it has, int64, without the constant ends.
    """

    letters: np.ndarray
    begins: np.ndarray
    lengths: np.ndarray


def near_duplicates(batches: Iterable[Sequence[str]], identity: float = 0.9, both_strands: bool = False) -> np.ndarray:
    """Numbers the groups of near-duplicate sequences, as the module defines them.

    Equal sequences are always in one group; sequences shorter than 15 bases only if they are equal. A stretch that many
    sequences share does not cost the square of their number: each is then compared with the 4 that follow it at the
    nearest positions, and with the first at its own position. Two near duplicates stay apart only if every stretch that
    they share is that common, and no chain of others joins them.

    Args:
        batches: The sequences in the letters ACGTN; how they are divided into batches changes nothing. N counts as a
            letter in the distance, but no shared stretch contains it.
        identity: Least 1 - edit distance / bases of the longer one; above 0.5, up to 1.
        both_strands: Whether sequences are also compared with the reverse complements of the others.

    Returns:
        int64 array (n,), equal for the rows of a group, numbered from 0 by first appearance.

    Raises:
        ValueError: A sequence has another letter, or the identity is not allowed.

    >>> near_duplicates([["ACGTTGCAAGGCTTACATTC", "TTTTGGGGCCCCAAAACCGT"], ["ACGTTGCAAGGCTTACATTG"]]).tolist()
    [0, 1, 0]
    """
    if not 0.5 < identity <= 1:
        raise ValueError(f"identity {identity}: allowed is a share above 0.5, up to 1")
    letters, lengths, hashes = read_letters(batches)
    same = pd.factorize(hashes)[0]
    unique = np.flatnonzero(np.diff(np.maximum.accumulate(same), prepend=-1))
    pool = _trim(Pool(letters, (np.cumsum(lengths) - lengths)[unique], lengths[unique]))
    if both_strands:
        labels = _link(_with_other_strand(pool), identity).astype(np.int64)
        strands = np.split(labels, 2)
        labels = label_components(len(labels), *strands)[strands[0]]
    else:
        labels = _link(pool, identity)
    return pd.factorize(labels[same])[0].astype(np.int64)


def read_letters(batches: Iterable[Sequence[str]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Letters of all rows, uint8 (0 to 3, 4 for N, then room behind the last row); lengths, int64; hashes, uint64."""
    letters, lengths, hashes, n_rows = bytearray(), [np.empty(0, np.int64)], [np.empty(0, np.uint64)], 0
    for batch in batches:
        sequences = list(batch)
        codes = "".join(sequences).encode("utf-8", "replace").translate(_CODES)
        if b"\5" in codes:
            row = next(row for row, sequence in enumerate(sequences) if set(sequence) - set("ACGTN"))
            raise ValueError(f"sequence {n_rows + row + 1}: {sequences[row][:40]!r}: allowed are the letters ACGTN")
        letters += codes
        lengths.append(np.fromiter(map(len, sequences), np.int64, len(sequences)))
        hashes.append(hash_texts(sequences))
        n_rows += len(sequences)
    lengths = np.concatenate(lengths)
    letters += bytes([_PAST_END]) * int(lengths.max(initial=0))
    return np.frombuffer(letters, np.uint8), lengths, np.concatenate(hashes)


def _trim(pool: Pool) -> Pool:
    """Leaves out the bases at both ends that nearly all rows share."""
    left, right = constant_ends(pool)
    return Pool(pool.letters, pool.begins + left, np.maximum(pool.lengths - left - right, 0))


def constant_ends(pool: Pool) -> tuple[int, int]:
    """Numbers of bases at both ends that nearly all rows share; 0 if there are few rows, or if that is most of a row."""
    letters, begins, lengths = pool
    if len(begins) < _CONSTANT_MIN_ROWS:
        return 0, 0
    some = slice(None, None, -(-len(begins) // _CONSTANT_SAMPLE))
    left = _n_constant(letters, begins[some], 1, lengths[some])
    right = _n_constant(letters, (begins + lengths - 1)[some], -1, lengths[some])
    return (left, right) if np.median(lengths[some]) - left - right >= STRETCH else (0, 0)


def _n_constant(letters: np.ndarray, first: np.ndarray, step: int, lengths: np.ndarray) -> int:
    """Number of bases, counted from the first or the last one, that nearly all rows have in common."""
    rows, longest = np.arange(len(first)), int(lengths.max())
    for n_bases in range(longest):
        rows = rows[lengths[rows] > n_bases]
        bases = letters[first[rows] + step * n_bases]
        counts = np.bincount(bases, minlength=1)
        if counts.max() < _CONSTANT_SHARE * len(first):
            return n_bases
        rows = rows[bases == counts.argmax()]
    return longest


def _with_other_strand(pool: Pool) -> Pool:
    """The same sequences, and after them their reverse complements."""
    letters, begins, lengths = pool
    size = int((begins + lengths).max(initial=0))
    both = np.concatenate([_COMPLEMENT[letters[:size][::-1]], letters])
    return Pool(both, np.concatenate([size + begins, size - begins - lengths]), np.concatenate([lengths, lengths]))


def _link(pool: Pool, identity: float) -> np.ndarray:
    """Number of the group of every row of the pool, int32."""
    n_rows, longest = len(pool.lengths), int(pool.lengths.max(initial=0))
    row_bits, position_bits = n_rows.bit_length(), longest.bit_length()
    n_windows = int(np.maximum(pool.lengths - STRETCH + 1, 0).sum())
    # Within a pass all codes begin with the same bits; leaving these out makes room for the row and the position.
    pass_bits = max((n_windows // _PASS_WINDOWS).bit_length(), row_bits + position_bits - 32)
    limit = int(_limits(np.array(longest), identity))
    tried = np.full((REACH + 1, n_rows), -1, np.int32)  # the row that each was last compared with
    edges = [(np.empty(0, np.int64),) * 2]
    labels = np.arange(n_rows, dtype=np.int32)
    for number in range(1 << pass_bits):
        windows = np.concatenate([np.empty(0, np.uint64), *_windows(pool, row_bits, position_bits, pass_bits, number)])
        windows.sort()
        for start in range(0, len(windows), _LIST_WINDOWS):
            pairs = [np.empty(0, np.int64)]
            listed = windows[start : start + _LIST_WINDOWS + REACH]
            for way, a, b, apart in _neighbours(listed, row_bits, position_bits, limit):
                new = (labels[a] != labels[b]) & (tried[way, a] != b)
                a, b, apart = a[new], b[new], apart[new]
                tried[way, a] = b
                near = apart <= _limits(np.maximum(pool.lengths[a], pool.lengths[b]), identity)
                pairs.append(a[near] * n_rows + b[near])
            pairs = np.sort(np.concatenate(pairs))  # np.unique hashes, which takes far longer here
            a, b = np.divmod(pairs[np.diff(pairs, prepend=-1) > 0], n_rows)
            joined = are_near(pool, a, b, identity)
            edges.append((a[joined], b[joined]))
        labels = label_components(n_rows, *(np.concatenate(ends) for ends in zip(*edges, strict=True)))
    return labels


def _windows(pool: Pool, row_bits: int, position_bits: int, pass_bits: int, number: int) -> Iterator[np.ndarray]:
    """All windows of `STRETCH` bases without N whose codes begin with the bits of this pass.

    One uint64 each, from the highest bit: the rest of the code, the window's position in its row (0-based), the row.
    """
    ends = np.cumsum(pool.lengths)
    borders = np.searchsorted(ends, np.arange(_CACHED, int(ends[-1:].sum()), _CACHED))
    for rows in np.split(np.arange(len(ends)), borders):
        rows = rows[pool.lengths[rows] >= STRETCH]
        if not len(rows):
            continue
        begins, counts = pool.begins[rows], pool.lengths[rows] - STRETCH + 1
        codes, is_known = mixed_codes(pool.letters[begins.min() : (begins + pool.lengths[rows]).max()])
        before = np.cumsum(counts) - counts
        order = np.arange(counts.sum())
        index = order + np.repeat(begins - begins.min() - before, counts)
        codes, chosen = codes[index], is_known[index]
        if pass_bits:
            chosen &= codes >> np.uint32(32 - pass_bits) == number
        positions_and_rows = (order << row_bits) + np.repeat(rows - (before << row_bits), counts)
        rest = codes[chosen].astype(np.uint64) << np.uint64(row_bits + position_bits)
        yield rest | positions_and_rows[chosen].astype(np.uint64)


def mixed_codes(letters: np.ndarray, n_bases: int = STRETCH) -> tuple[np.ndarray, np.ndarray]:
    """Codes of all windows of 8 to 16 letters, uint32, different for different ones; whether each is without N."""
    codes, has_n = (letters & 3).astype(np.uint32), letters > 3
    for span in (1, 2, 4, n_bases - 8):  # from 8 bases on, two windows that overlap
        codes = codes[:-span] << np.uint32(2 * span) | codes[span:]
        has_n = has_n[:-span] | has_n[span:]
    return codes * _MIXER, ~has_n


def _neighbours(
    windows: np.ndarray, row_bits: int, position_bits: int, limit: int
) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    """Pairs of rows that share a window: how they were found, 0 to `REACH`; both rows; the difference of its positions.

    Sorted windows list the rows that share one by its position. Each row is paired with those that follow within
    `limit` bases and, if more are at the same position, with the first of these. All arrays are int64.
    """
    positions = windows >> np.uint64(row_bits)  # the codes still before them
    codes = positions >> np.uint64(position_bits)

    def pairs(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        a, b = ((windows[side] & np.uint64((1 << row_bits) - 1)).astype(np.int64) for side in (first, second))
        return a, b, (positions[second] - positions[first]).astype(np.int64)

    index = np.flatnonzero(codes[1:] == codes[:-1])
    for lag in range(1, REACH + 1):
        index = index[index + lag < len(windows)]
        is_listed = codes[index + lag] == codes[index]
        index = index[is_listed & (positions[index + lag] - positions[index] <= np.uint64(limit))]
        yield lag, *pairs(index, index + lag)
    crowded = index[positions[index] == positions[index + REACH]] + REACH
    yield 0, *pairs(np.searchsorted(positions, positions[crowded]), crowded)


def _limits(lengths: np.ndarray, identity: float) -> np.ndarray:
    """Differences allowed between sequences of which the longer one has these bases, int64."""
    return np.floor((1 - identity) * lengths + 1e-6).astype(np.int64)  # 0.1 of 80 is 8, despite binary rounding


def are_near(pool: Pool, a: np.ndarray, b: np.ndarray, identity: float) -> np.ndarray:
    """Whether the edit distance between rows a and b is within the limit, bool (n,)."""
    longer = np.maximum(pool.lengths[a], pool.lengths[b])
    limits = _limits(longer, identity)
    is_near = np.zeros(len(a), bool)
    todo = np.flatnonzero(np.abs(pool.lengths[a] - pool.lengths[b]) <= limits)
    todo = todo[np.argsort(longer[todo], kind="stable")]
    while len(todo):
        shortest = int(longer[todo[0]])
        some = todo[: max(1, 8 * _CACHED // shortest)]
        some = some[longer[some] <= 1.2 * shortest]  # so that there is little padding
        distances = _edit_distances(_texts(pool, a[some]), _texts(pool, b[some]), int(limits[some].max()))
        is_near[some] = distances <= limits[some]
        todo = todo[len(some) :]
    return is_near


def _texts(pool: Pool, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Letters of rows, uint8 (longest, n), padded with `_PAST_END`, and their lengths, int64 (n,)."""
    lengths = pool.lengths[rows]
    longest = int(lengths.max())
    letters = sliding_window_view(pool.letters, longest)[pool.begins[rows]].T
    return np.where(np.arange(longest)[:, None] < lengths, letters, np.uint8(_PAST_END)), lengths


def _edit_distances(
    first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray], limit: int
) -> np.ndarray:
    """Edit distances of pairs of texts, int64 (n,), where they are within the limit; some number above it elsewhere.

    The table of doi:10.1145/321796.321811, a row at a time for all pairs, and of it the cells within `limit` of the
    diagonal (doi:10.1016/S0019-9958(85)80046-2). The lengths of a pair may differ by at most the limit. The
    padding equals itself, and so adds nothing.
    """
    (a, n_a), (b, n_b) = first, second
    n_lanes, n_pairs = 2 * limit + 1, a.shape[1]
    dtype = np.uint8 if len(a) + limit + 2 < 256 else np.int32
    fills = ((limit, _BEFORE_START), (max(0, len(a) + limit - len(b)), _PAST_END))
    before, behind = (np.full((n_letters, n_pairs), fill, np.uint8) for n_letters, fill in fills)
    b = np.concatenate([before, b, behind])
    cells = np.full((n_lanes + 1, n_pairs), limit + 1, dtype)  # the last lane is beyond the limit and stays so
    cells[limit:n_lanes] = np.arange(limit + 1)[:, None]
    step = np.empty(n_pairs, dtype)
    for position, letters in enumerate(a):
        kept_or_changed = cells[:-1] + (b[position : position + n_lanes] != letters)
        np.minimum(kept_or_changed, cells[1:] + dtype(1), out=cells[:-1])
        for lane in range(1, n_lanes):
            np.add(cells[lane - 1], dtype(1), out=step)
            np.minimum(cells[lane], step, out=cells[lane])
    return cells[n_b - n_a + limit, np.arange(n_pairs)].astype(np.int64)

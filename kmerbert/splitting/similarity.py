"""How similar held-out sequences are to the nearest training sequence, by the k-mers that they share.

The similarity of a sequence is the largest share of its distinct 10-mers that one training sequence has, too. Of 80 random
bases, about 6 % of the 10-mers are by chance in the nearest of 50,000 others. Each changed base takes away ten of the 71
10-mers, so that 95 % of equal bases leave about 70 %. Unlike an alignment it finds parts and tiles, whatever the lengths.
Bases at either end that nearly all sequences share are ignored, as by `near_duplicates`.
"""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix

from kmerbert.dna.sequences import reverse_complements
from kmerbert.splitting.near_duplicates import Pool, constant_ends, mixed_codes, read_letters

K = 10
# Of the training sequences that have a k-mer, at most so many are looked at: the first. It bounds the time where all
# sequences are variants of one.
MOST_WITH_KMER = 1000
_ROWS_AT_A_TIME = 100


def share_in_nearest(sequences: Sequence[str], training: Sequence[str], both_strands: bool = False) -> np.ndarray:
    """Measures how similar sequences are to the nearest training sequence, as the module defines it.

    Args:
        sequences: n held-out sequences in the letters ACGTN.
        training: The training sequences. 2,000 sequences against 50,000 of 100 bases take about two seconds.
        both_strands: Whether the reverse complements of the training sequences count, too.

    Returns:
        float64 array (n,), 0 to 1; NaN for a sequence without a 10-mer of known bases.

    Raises:
        ValueError: A sequence has another letter.

    >>> share_in_nearest(["ACGTTGCAAGGC", "TTTTTTTTTTTT"], ["AACGTTGCAAGG", "GGGGGGGGGGGG"]).round(2).tolist()
    [0.67, 0.0]
    """
    sequences, training = _without_constant_ends(sequences, training)
    shares = _shares(sequences, training)
    return np.fmax(shares, _shares(reverse_complements(sequences), training)) if both_strands else shares


def _without_constant_ends(*groups: Sequence[str]) -> list[list[str]]:
    """The same sequences without the bases at both ends that nearly all of them have."""
    letters, lengths, _ = read_letters(groups)
    left, right = constant_ends(Pool(letters, np.cumsum(lengths) - lengths, lengths))
    return [[sequence[left : max(len(sequence) - right, left)] for sequence in group] for group in groups]


def _shares(sequences: Sequence[str], training: Sequence[str]) -> np.ndarray:
    """Share of each sequence's k-mers in the training sequence that has most of them, float64 (n,)."""
    codes, rows = _kmers(sequences)
    columns, numbers = np.unique(codes, return_inverse=True)
    own = _incidence(rows, numbers, (len(sequences), len(columns)))
    shares = np.full(len(sequences), np.nan)
    n_kmers = own.getnnz(axis=1)
    if not len(columns):
        return shares
    codes, rows = _kmers(training)
    numbers = np.searchsorted(columns, codes).clip(max=len(columns) - 1)
    is_found = columns[numbers] == codes
    # A row for each k-mer, with the training sequences that have it.
    having = _incidence(numbers[is_found], rows[is_found], (len(columns), len(training)))
    rank = np.arange(having.nnz) - np.repeat(having.indptr[:-1], np.diff(having.indptr))
    having.data[rank >= MOST_WITH_KMER] = 0
    having.eliminate_zeros()
    for start in range(0, len(sequences), _ROWS_AT_A_TIME):
        some = slice(start, start + _ROWS_AT_A_TIME)
        best = (own[some] @ having).max(axis=1).toarray().ravel() if len(training) else 0
        np.divide(best, n_kmers[some], out=shares[some], where=n_kmers[some] > 0)
    return shares


def _kmers(sequences: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Codes of all k-mers of known bases, uint32, and the sequences that they are of, int64; both (k-mers,)."""
    letters, lengths, _ = read_letters([sequences])
    counts = np.maximum(lengths - K + 1, 0)
    if not counts.any():
        return np.empty(0, np.uint32), np.empty(0, np.int64)
    codes, is_known = mixed_codes(letters, K)
    rows = np.repeat(np.arange(len(lengths)), counts)
    positions = np.arange(len(rows)) + np.repeat((np.cumsum(lengths) - lengths) - (np.cumsum(counts) - counts), counts)
    is_known = is_known[positions]
    return codes[positions][is_known], rows[is_known]


def _incidence(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> csr_matrix:
    """A matrix with 1 at these places, each of which may be named several times."""
    matrix = csr_matrix((np.ones(len(rows), np.int32), (rows, columns)), shape)
    matrix.data[:] = 1  # scipy has added up what was named several times
    return matrix

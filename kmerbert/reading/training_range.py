"""What the training data of a model were like, and which other sequences and predictions are outside of that.

Small facts in the model's configuration (`training_range`) say: the GC content of nearly all training sequences, how usual
their 6-mers are among each other, and the lowest and highest measured value of each output. The 6-mers of a sequence are as
usual as the mean of log2 of their frequency in the training sequences, on both strands, in units of the frequency that every
6-mer would have if all were equally frequent. A sequence whose 6-mers are rare there has a low mean, one that repeats a few
frequent ones, such as a run of A, a high one; a k-mer with an unknown base counts as one more kind, seldom or often seen. In
thousands of sequences no 6-mer is unseen, so that counting unseen ones would find nothing.
"""

import base64
import binascii
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple, Self

import numpy as np
from transformers import PretrainedConfig

K = 6
N_KMERS = 4**K
UNKNOWN = N_KMERS  # number of a k-mer with an unknown base, after all others
# Shares of the training sequences that are below and above the ranges; a range is this much wider on each side.
TAILS, MARGIN = (0.001, 0.999), 0.05
# Lengths may differ from those of training by this share.
LENGTH_TOLERANCE = 0.1
PART_BASES = 1 << 17
STEPS = 16  # in which log2 of a frequency is kept, per unit: one byte each
# What is outside, by the bit that says so.
CODES = ("length", "gc", "kmers", "value")
SEPARATOR = ";"


class Letters(NamedTuple):
    """Sequences as numbers.

    Attributes:
        codes: uint8 array (bases + n,): 0 to 3 for A, C, G and T, 4 for an unknown base and for one place after each sequence.
        lengths: int64 array (n,), bases of each.
    """

    codes: np.ndarray
    lengths: np.ndarray

    @property
    def starts(self) -> np.ndarray:
        """int64 array (n,), where each sequence begins."""
        return np.cumsum(self.lengths + 1) - self.lengths - 1

    def parts(self) -> Iterator["Letters"]:
        """Yields the sequences in parts that are small enough for a processor's cache, unless one is longer."""
        ends = np.cumsum(self.lengths + 1)
        first = 0
        while first < len(ends):
            begin = ends[first] - self.lengths[first] - 1
            last = max(first + 1, int(np.searchsorted(ends, begin + PART_BASES, side="right")))
            yield Letters(self.codes[begin : ends[last - 1]], self.lengths[first:last])
            first = last


_LETTER_CODES = bytes("ACGT".find(chr(byte)) % 5 for byte in range(256))  # -1, of any other letter, becomes 4


def read_letters(sequences: Sequence[str]) -> Letters:
    """Reads sequences in the letters ACGTN."""
    text = "N".join([*sequences, ""]).encode("ascii")
    lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
    return Letters(np.frombuffer(text.translate(_LETTER_CODES), np.uint8), lengths)


@cache
def _kmer_numbers() -> np.ndarray:
    """uint16 array (8**6,): the number of the k-mer, or `UNKNOWN`, by the codes of its bases, three bits each."""
    codes = np.indices((8,) * K, np.uint16).reshape(K, -1)
    numbers = (codes * 4 ** np.arange(K - 1, -1, -1, dtype=np.uint16)[:, None]).sum(axis=0, dtype=np.uint16)
    return np.where((codes > 3).any(axis=0), np.uint16(UNKNOWN), numbers)


@cache
def _other_strands() -> np.ndarray:
    """int64 array (4**6 + 1,): the number of each k-mer's reverse complement; of `UNKNOWN` itself."""
    digits = np.arange(N_KMERS)[:, None] // 4 ** np.arange(K) % 4  # last base first
    return np.append(((3 - digits) * 4 ** np.arange(K - 1, -1, -1)).sum(axis=1), UNKNOWN)


def _joint_codes(codes: np.ndarray) -> np.ndarray:
    """uint32 array (bases + n - 5,): the codes of the six bases from each on, three bits each."""
    two = (codes[:-1].astype(np.uint32) << 3) | codes[1:]
    four = (two[:-2] << 6) | two[2:]
    return (four[:-2] << 6) | two[4:]


def _means(values: np.ndarray, letters: Letters, n_less: int) -> np.ndarray:
    """The mean of whole numbers (places,) over the first `length - n_less` places of each sequence; NaN for none."""
    counts = np.maximum(letters.lengths - n_less, 0)
    bounds = np.column_stack([letters.starts, letters.starts + counts]).ravel()
    padded = np.append(values, values.dtype.type(0))
    sums = np.add.reduceat(padded, np.minimum(bounds, len(values)), dtype=np.int64)[::2]
    return np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)


def _gc_content(letters: Letters) -> np.ndarray:
    """The share of G and C among the known bases, float64 (n,); NaN without one."""
    is_gc, is_known = (letters.codes - np.uint8(1)) < 2, letters.codes < 4
    shares = [_means(is_one.view(np.int8), letters, 0) for is_one in (is_gc, is_known)]
    return np.divide(*shares, out=np.full(len(letters.lengths), np.nan), where=shares[1] > 0)


def _usualness(by_codes: np.ndarray, letters: Letters) -> np.ndarray:
    """The mean of log2 of the 6-mers' frequencies, float64 (n,), from those in sixteenths by the codes of six bases."""
    return _means(by_codes.take(_joint_codes(letters.codes)), letters, K - 1) / STEPS


@dataclass(frozen=True)
class TrainingRange:
    """What is known of the training data of a model.

    Attributes:
        lengths: Bases of the shortest and the longest sequence; None if that is not known.
        gc, kmers: Ends of the ranges, ends included; None if they are not known.
        frequencies: int8 array (4**6 + 1,), log2 of the 6-mers' frequencies, in sixteenths; None with `kmers`.
        values: float64 array (outputs, 2), the lowest and highest measured value; None with `kmers`.
    """

    lengths: tuple[int, int] | None = None
    gc: tuple[float, float] | None = None
    kmers: tuple[float, float] | None = None
    frequencies: np.ndarray | None = None
    values: np.ndarray | None = None

    @classmethod
    def of(cls, letters: Letters, values: Sequence[tuple[float, float]]) -> Self:
        """Measures training sequences, as the model reads them, or some that are drawn from them.

        For the range of the training sequences themselves each k-mer counts once less, as it is not among the others for being
        in a new sequence.

        Args:
            letters: The sequences.
            values: Lowest and highest measured value of each output, of all training rows.
        """
        counts = np.zeros(N_KMERS + 1, np.int64)
        for part in letters.parts():
            counts += np.bincount(_kmer_numbers()[_joint_codes(part.codes)], minlength=N_KMERS + 1)
            # Six places that reach beyond the end of a sequence are no k-mer.
            counts[UNKNOWN] -= max(len(part.codes) - K + 1, 0) - np.maximum(part.lengths - K + 1, 0).sum()
        counts = counts + counts[_other_strands()]
        frequencies, without_own = (_logarithms(counts - own, counts.sum()) for own in (0, 1))
        by_codes = without_own[_kmer_numbers()]
        return cls(
            (int(letters.lengths.min()), int(letters.lengths.max())),
            _range_of(np.concatenate([_gc_content(part) for part in letters.parts()])),
            _range_of(np.concatenate([_usualness(by_codes, part) for part in letters.parts()])),
            frequencies,
            np.array(values, np.float64),
        )

    @classmethod
    def from_config(cls, config: PretrainedConfig) -> Self:
        """Reads what a model's configuration says; models of earlier versions say their lengths only."""
        lengths, facts = getattr(config, "sequence_length", None), getattr(config, "training_range", None)
        known = cls(tuple(lengths) if lengths else None)
        if not facts:
            return known
        try:
            codes = base64.b64decode(facts["kmer_frequencies"], validate=True)
            frequencies = _expanded(np.frombuffer(codes, np.int8))
            values = np.array(facts["values"], np.float64).reshape(config.num_labels, 2)
            return cls(known.lengths, tuple(facts["gc"]), tuple(facts["kmers"]), frequencies, values)
        except (TypeError, LookupError, ValueError, binascii.Error):
            return known

    @property
    def setting(self) -> dict[str, Any]:
        """What a model's configuration says, next to its `sequence_length`."""
        kept = self.frequencies[_canonical()]
        return {
            "gc": [round(end, 4) for end in self.gc],
            "kmers": [round(end, 4) for end in self.kmers],
            "kmer_frequencies": base64.b64encode(kept.tobytes()).decode("ascii"),
            "values": self.values.tolist(),
        }

    @property
    def is_whole(self) -> bool:
        """Whether all is known that a prediction can be outside of."""
        return self.kmers is not None

    def outside(self, letters: Letters, values: np.ndarray) -> np.ndarray:
        """Tells in what sequences and their predictions are outside the training data.

        Args:
            letters: n sequences, as the model reads them.
            values: Float array (n, outputs), predictions in the unit of the labels.

        Returns:
            uint8 array (n,): the sum of 1 for the length, 2 for the GC content, 4 for the 6-mers and 8 for a prediction below
            or above all measured values, of any output.
        """
        bits = np.zeros(len(letters.lengths), np.uint8)
        if self.lengths:
            shortest, longest = self.lengths[0] * (1 - LENGTH_TOLERANCE), self.lengths[1] * (1 + LENGTH_TOLERANCE)
            bits |= _is_outside(letters.lengths, (shortest, longest))
        if self.is_whole:
            parts = list(letters.parts())
            gc = np.concatenate([np.empty(0), *map(_gc_content, parts)])
            usual = np.concatenate([np.empty(0), *(_usualness(self._by_codes, part) for part in parts)])
            bits |= _is_outside(gc, self.gc) << 1
            bits |= _is_outside(usual, self.kmers) << 2
            low, high = self.values.T
            bits |= ((values < low) | (values > high)).any(axis=1).astype(np.uint8) << 3
        return bits

    @cached_property
    def _by_codes(self) -> np.ndarray:
        """int8 array (8**6,): the frequencies by the codes of six bases."""
        return self.frequencies[_kmer_numbers()]


def _canonical() -> np.ndarray:
    """Numbers of the 6-mers that are not after their reverse complement, and `UNKNOWN`."""
    return np.flatnonzero(np.arange(N_KMERS + 1) <= _other_strands())


def _expanded(kept: np.ndarray) -> np.ndarray:
    """The values of all 6-mers from those of `_canonical`."""
    values = np.empty(N_KMERS + 1, kept.dtype)
    values[_canonical()] = kept
    return values[np.minimum(np.arange(N_KMERS + 1), _other_strands())]


def _logarithms(counts: np.ndarray, total: int) -> np.ndarray:
    """int8 log2 of frequencies, in sixteenths, relative to equal ones; each k-mer is counted once more (Laplace)."""
    ratios = (np.maximum(counts, 0) + 1) * (N_KMERS / (total + N_KMERS))
    return np.clip(np.round(STEPS * np.log2(ratios)), -128, 127).astype(np.int8)


def _range_of(values: np.ndarray) -> tuple[float, float]:
    """The range of nearly all values (n,), somewhat wider; NaN is left out, and nothing but NaN counts as 0."""
    known = values[~np.isnan(values)]
    low, high = np.quantile(known, TAILS) if len(known) else (0.0, 0.0)
    margin = MARGIN * (high - low)
    return float(low - margin), float(high + margin)


def _is_outside(values: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    """uint8 array (n,), 1 for values that are not between the ends; NaN is."""
    return ((values < ends[0]) | (values > ends[1])).astype(np.uint8)


def describe_codes() -> list[str]:
    """The texts of the column, by the numbers that `TrainingRange.outside` returns.

    >>> describe_codes()[:4]
    ['', 'length', 'gc', 'length;gc']
    """
    n = len(CODES)
    return [SEPARATOR.join(CODES[bit] for bit in range(n) if number >> bit & 1) for number in range(2**n)]

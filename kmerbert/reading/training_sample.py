"""Which sequences a model was trained on, as far as its configuration can tell: a sample of their hashes.

The sample has the smallest hashes of the training sequences (a bottom-k sketch, Broder 1997,
doi:10.1109/SEQUEN.1997.666900). So for a known share of any other sequences, those with hashes as small, one can say surely
whether the model was trained on them; with few training sequences, for all. Sequences are hashed as the model reads them:
with its flanks, cut, without windows. Near duplicates have other hashes.
"""

import base64
import binascii
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from kmerbert.dna.sequences import canonical, reverse_complements
from kmerbert.reading.rows import hash_texts
from tokenization_kmer import Flanks

SIZE = 512  # hashes; 5,500 letters in config.json


class Trained(NamedTuple):
    """What a sample says of some sequences: bool (n,), surely trained on; and the estimated share of such sequences."""

    rows: np.ndarray
    share: float


class TrainingSample(NamedTuple):
    """The smallest hashes of training sequences, uint64, rising; all of them if they are fewer than `SIZE`."""

    hashes: np.ndarray

    @classmethod
    def of(cls, hashes: np.ndarray) -> "TrainingSample":
        """Takes the sample of hashes, uint64 array (n,), which may repeat."""
        n_smallest = 4 * SIZE
        some = hashes if len(hashes) <= n_smallest else np.partition(hashes, n_smallest)[:n_smallest]
        smallest = np.unique(some)
        return cls((smallest if len(smallest) >= SIZE or len(some) == len(hashes) else np.unique(hashes))[:SIZE])

    @classmethod
    def from_text(cls, text: str | None) -> "TrainingSample | None":
        """Reads what `text` wrote; None if there is nothing, or something else."""
        try:
            content = base64.b64decode(text or "", validate=True)
        except (TypeError, ValueError, binascii.Error):
            return None
        return cls(np.frombuffer(content, ">u8").astype(np.uint64)) if content and len(content) % 8 == 0 else None

    @property
    def text(self) -> str:
        """The sample as it is kept in a model's configuration."""
        return base64.b64encode(self.hashes.astype(">u8").tobytes()).decode("ascii")

    def joined(self, other: "TrainingSample | None") -> "TrainingSample":
        """Returns the sample of both sets of sequences, for a model that was trained on one after the other."""
        if other is None:
            return self
        # Beyond the end of a sample that is not of all sequences, the hashes of its set are not known.
        ends = [sample.hashes[-1] for sample in (self, other) if len(sample.hashes) >= SIZE]
        hashes = np.union1d(self.hashes, other.hashes)
        return TrainingSample(hashes[hashes <= min(ends)] if ends else hashes[:SIZE])

    def find(self, sequences: list[str], both_strands: bool = False, longest: int | None = None) -> Trained:
        """Looks for sequences that were trained on.

        Args:
            sequences: As the model reads them, in the letters ACGTN.
            both_strands: Whether their reverse complements count, too.
            longest: Bases of the longest training sequence, to which longer ones may have been cut; None if unknown.
        """
        rows = np.zeros(len(sequences), bool)
        for strands in (sequences, reverse_complements(sequences)) if both_strands else (sequences,):
            rows |= np.isin(hash_texts(strands), self.hashes)
            if longest and any(len(strand) > longest for strand in strands):
                rows |= np.isin(hash_texts([strand[:longest] for strand in strands]), self.hashes)
        return self._trained(rows)

    def find_written(
        self, texts: Sequence[str], flanks: Flanks | None, both_strands: bool = False, longest: int | None = None
    ) -> Trained:
        """Looks for sequences as a table has them: of any spelling, without flanks; what is no DNA was not trained on.

        Args:
            texts: The sequences.
            flanks: That the model reads around them, or None.
            both_strands, longest: As for `find`.
        """
        known, sequences = [], []
        for row, text in enumerate(texts):
            with suppress(ValueError):
                sequences.append(canonical(text.strip()))
                known.append(row)
        if flanks:
            sequences = _between(sequences, flanks)
        rows = np.zeros(len(texts), bool)
        rows[known] = self.find(sequences, both_strands, longest).rows
        return self._trained(rows)

    def find_hashes(self, hashes: np.ndarray, others: np.ndarray | None = None) -> Trained:
        """Looks for hashes of sequences, uint64 (n,), or of their reverse complements."""
        rows = np.isin(hashes, self.hashes)
        return self._trained(rows if others is None else rows | np.isin(others, self.hashes))

    def _trained(self, rows: np.ndarray) -> Trained:
        known = 1.0 if len(self.hashes) < SIZE else float(self.hashes[-1]) / 2.0**64
        return Trained(rows, min(1.0, np.count_nonzero(rows) / max(known * len(rows), 1.0)))


def _between(sequences: list[str], flanks: Flanks) -> list[str]:
    """The sequences between flanks; each by itself if they are not of one kind."""
    try:
        return flanks.extend(sequences)
    except LookupError:
        return [flanks.extend([sequence])[0] for sequence in sequences]

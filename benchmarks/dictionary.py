"""The tokenizer that other programs have: k-mer after k-mer is looked up in a dictionary, as DNABERT's own does it."""

from collections.abc import Sequence
from itertools import product

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


class DictionaryTokenizer:
    """Overlapping k-mers of ATCG in plain Python, with the ids of DNABERT's vocabulary.

    Args:
        k: Bases of a k-mer.

    Attributes:
        vocabulary: Ids of the special tokens and of all k-mers.
    """

    def __init__(self, k: int) -> None:
        self.k = k
        tokens = [*SPECIAL_TOKENS, *map("".join, product("ATCG", repeat=k))]
        self.vocabulary = {token: number for number, token in enumerate(tokens)}

    def __call__(self, sequences: Sequence[str]) -> list[list[int]]:
        """Returns the ids of each sequence between `[CLS]` (2) and `[SEP]` (3)."""
        ids = []
        for sequence in sequences:
            kmers = (sequence[start : start + self.k] for start in range(len(sequence) - self.k + 1))
            ids.append([2, *(self.vocabulary.get(kmer, 1) for kmer in kmers), 3])
        return ids

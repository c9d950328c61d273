"""DNA as plain strings: the other strand, windows, and letters as the tokenizer reads them."""

from collections.abc import Sequence
from random import Random

from tokenization_kmer import BAD, CANONICAL, describe_bad_letter

_COMPLEMENT = str.maketrans("ACGTURYSWKMBDHVNacgturyswkmbdhvn", "TGCAAYRSWMKVHDBNtgcaayrswmkvhdbn")


def is_dna(text: str) -> bool:
    """Tells whether a text has letters, and all of them are DNA or IUPAC codes in either case.

    >>> is_dna("acgtN"), is_dna("gene_1"), is_dna("")
    (True, False, False)
    """
    return len(text) > 0 and BAD.encode() not in text.encode("utf-8", "replace").translate(CANONICAL)


def reverse_complement(sequence: str) -> str:
    """Returns the other strand, read 5' to 3'; case is kept, IUPAC codes are complemented, U counts as T.

    >>> reverse_complement("TGCATTNr")
    'yNAATGCA'
    """
    return sequence.translate(_COMPLEMENT)[::-1]


def reverse_complements(sequences: Sequence[str]) -> list[str]:
    """Returns the other strands of sequences without line breaks, all at once: a quarter of the time that one by one takes.

    >>> reverse_complements(["TGCATTN", "", "AC"])
    ['NAATGCA', '', 'GT']
    """
    return "\n".join(reversed(sequences)).translate(_COMPLEMENT)[::-1].split("\n") if sequences else []


def canonical(sequence: str) -> str:
    """Returns the sequence in the letters ACGTN: upper case, U as T, ambiguous IUPAC codes as N.

    Raises:
        ValueError: The sequence has another letter; the message has its 1-based position.

    >>> canonical("acguRn")
    'ACGTNN'
    """
    cleaned = sequence.encode("utf-8", "replace").translate(CANONICAL).decode("ascii")
    if BAD in cleaned:
        raise ValueError(describe_bad_letter(sequence, cleaned.index(BAD)))
    return cleaned


def windows(n_bases: int, length: int, step: int) -> list[tuple[int, int]]:
    """Returns windows (start, end), 0-based, half-open, that cover a sequence.

    A sequence no longer than `length` is one window. Otherwise all windows have `length` bases, and the last one ends
    with the sequence, so that no base is left out.

    >>> windows(10, 4, 4)
    [(0, 4), (4, 8), (6, 10)]
    >>> windows(3, 4, 4)
    [(0, 3)]
    """
    if n_bases <= length:
        return [(0, n_bases)]
    starts = list(range(0, n_bases - length + 1, step))
    if starts[-1] + length < n_bases:
        starts.append(n_bases - length)
    return [(start, start + length) for start in starts]


def random_windows(n_bases: int, longest: int, shortest: int, share: float, random: Random) -> list[tuple[int, int]]:
    """Returns consecutive windows (start, end), 0-based, half-open, of random lengths, as DNABERT cut genomes.

    A window has `longest` bases or, with the probability `share`, a length that is uniform below that, raised to `shortest`
    where it would be less. What is left at the end is a window too, unless it is shorter than `shortest`. Reference:
    doi:10.1093/bioinformatics/btab083, with share 0.5.

    >>> random_windows(25, 10, 3, 0.0, Random(0))
    [(0, 10), (10, 20), (20, 25)]
    >>> random_windows(22, 10, 3, 0.0, Random(0))
    [(0, 10), (10, 20)]
    """
    cuts, start = [], 0
    while n_bases - start > longest:
        is_short = random.random() < share
        length = max(shortest, int(random.random() * longest)) if is_short else longest
        cuts.append((start, start + length))
        start += length
    if n_bases - start >= shortest:
        cuts.append((start, n_bases))
    return cuts

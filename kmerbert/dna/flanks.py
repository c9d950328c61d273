"""The bases around a promoter in its plasmid, added to both of its sides without repeating any.

Coordinates are 0-based and half-open. The insert is the part of the plasmid that a promoter replaces.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

# Ends of sequences and of the plasmid that share fewer bases may do so by chance (8 bases: one sequence in 65,000).
LEAST_SHARED = 8
# Sharing this many is hardly chance: 12 bases, one sequence in 12 million; 16 bases, one in 3 billion. Only the second
# makes a file an error.
NOT_BY_CHANCE, SURELY_MIXED = 12, 16
# Bases of the plasmid on each side of the insert that are searched for at the ends of sequences.
SEARCHED = 200
# An end that should repeat the plasmid but differs in more than this share of its bases is another sequence.
MOST_MISMATCHES = 0.3
# The same where bare inserts occur as well: of random inserts, 1 in 900,000 begins with 14 of 17 given bases, and 1 in
# 90,000 ends with 11 of 13.
MOST_CHANGED = 0.2


@dataclass(frozen=True)
class Flanks:
    """Plasmid DNA on both sides of an insert.

    Attributes:
        left, right: Bases before and after the insert, in the letters ACGTN; at least `length` of each.
        length: Bases to have on each side of the insert.
        carried: How many bases before and after their inserts the training sequences already include; None if unknown.
            With it, a single sequence can be told to be a bare insert or a promoter with mutations in these bases.
    """

    left: str
    right: str
    length: int
    carried: Sequence[int] | None = None

    def learn(self, sequences: Sequence[str]) -> "Flanks":
        """Returns these flanks with `carried` as it is in most of the sequences, which are in the letters ACGTN."""
        usual = [
            Counter(_shared(end, part) for end in ends).most_common(1)[0][0] for ends, part in self._sides(sequences)
        ]
        return replace(self, carried=usual)

    def extend(self, sequences: Sequence[str]) -> list[str]:
        """Gives every sequence exactly `length` bases of the plasmid on each side of its insert.

        Sequences may be bare inserts, or include some of these bases already, such as the 17 before and the 13 after the
        insert in promoters of the DREAM Challenge: bases that are there are kept and not repeated, bases beyond `length`
        are cut off. The shared bases may have mutations. If `carried` is unknown, all sequences of one call must be of
        one kind, and what most of them include counts.

        Args:
            sequences: In the letters ACGTN.

        Raises:
            LookupError: A sequence is not like most of the others; the error's arguments are its number (0-based) and
                what is wrong.

        >>> flanks = Flanks("TGCATTTTTTTCACATC", "GGTTACGGCTGTT", 10)
        >>> flanks.extend(["ACGTA", "CCCCC"])
        ['TTTTCACATCACGTAGGTTACGGCT', 'TTTTCACATCCCCCCGGTTACGGCT']
        >>> flanks.extend(["TTCACATCACGTAGGTTACGG"])
        ['TTTTCACATCACGTAGGTTACGGCT']
        """
        counts = []
        for side, ((ends, part), verb) in enumerate(zip(self._sides(sequences), ("begins", "ends"), strict=True)):
            if self.carried is None:
                counts.append(_count_in_all(ends, part, verb))
            else:
                counts.append([_count_in_one(end, part, self.carried[side]) for end in ends])
        return [self._extend(*row) for row in zip(sequences, *counts, strict=True)]

    def _sides(self, sequences: Sequence[str]) -> tuple[tuple[list[str], str], tuple[list[str], str]]:
        """Beginnings of the sequences and the plasmid before the insert; ends and the plasmid after it, both reversed."""
        begins = [sequence[:SEARCHED] for sequence in sequences]
        ends = [sequence[: -SEARCHED - 1 : -1] for sequence in sequences]
        return (begins, self.left), (ends, self.right[::-1])

    def _extend(self, sequence: str, n_left: int, n_right: int) -> str:
        before = self.left[len(self.left) - self.length : len(self.left) - n_left] if self.length > n_left else ""
        start, cut = max(0, n_left - self.length), max(0, n_right - self.length)
        return before + sequence[start : len(sequence) - cut] + self.right[n_right : self.length]


def _count_in_all(ends: list[str], plasmid: str, verb: str) -> list[int]:
    """For each of several sequences of one kind, with how many of the plasmid's last bases it begins."""
    counts = [_shared(end, plasmid) for end in ends]
    usual = Counter(counts).most_common(1)[0][0]
    for row, (count, end) in enumerate(zip(counts, ends, strict=True)):
        if count == usual:
            continue
        if not usual and count >= SURELY_MIXED:
            raise LookupError(row, f"the sequence {verb} with {count} bases of the plasmid, but most are bare inserts")
        if _mismatches(end, plasmid, usual) > MOST_MISMATCHES * usual:
            raise LookupError(row, f"most sequences {verb[:-1]} with {usual} bases of the plasmid, but not this one")
    return [usual] * len(ends)


def _count_in_one(end: str, plasmid: str, carried: int) -> int:
    """The same for one sequence: the `carried` bases, perhaps mutated, or another number of intact bases, or none."""
    if carried and _mismatches(end, plasmid, carried) <= MOST_CHANGED * carried:
        return carried
    intact = _shared(end, plasmid)
    return intact if intact >= NOT_BY_CHANCE else 0


def _mismatches(end: str, plasmid: str, n: int) -> int:
    """Number of bases in which the first n differ from the plasmid's last n."""
    return sum(a != b for a, b in zip(end, plasmid[len(plasmid) - n :], strict=False)) + max(0, n - len(end))


def _shared(end: str, plasmid: str) -> int:
    """The largest n >= LEAST_SHARED for which the first n bases are the plasmid's last n; 0 if there is none."""
    anchor, longest = plasmid[-LEAST_SHARED:], 0
    at = end.find(anchor)
    while at >= 0:
        n = at + LEAST_SHARED
        longest = n if end[:n] == plasmid[-n:] else longest
        at = end.find(anchor, at + 1)
    return longest

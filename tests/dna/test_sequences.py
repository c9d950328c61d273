"""DNA as plain strings: letters, the other strand, FASTA, windows."""

import doctest
import itertools
import random

import pytest

from kmerbert.dna import sequences
from kmerbert.dna.sequences import (
    BAD,
    CANONICAL,
    canonical,
    describe_bad_letter,
    is_dna,
    random_windows,
    reverse_complement,
    reverse_complements,
    windows,
)
from kmerbert.reading.sources import FastaRecord, read_fasta
from tests.support.messages import check_message, fails
from tokenization_kmer import is_kmers

# Every IUPAC code (doi:10.1093/nar/13.9.3021) and the bases that it stands for.
IUPAC = {
    "A": "A", "C": "C", "G": "G", "T": "T", "U": "T", "R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC",
    "B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT",
}  # fmt: skip
PAIR = {"A": "T", "C": "G", "G": "C", "T": "A"}


@pytest.mark.parametrize("letter", [chr(code) for code in range(256)])
def test_every_byte(letter: str) -> None:
    bases = IUPAC.get(letter.upper()) if letter.isascii() else None
    expected = BAD if bases is None else bases if len(bases) == 1 else "N"
    assert letter.encode("latin-1").translate(CANONICAL).decode() == expected


def test_canonical_of_clean_dna_is_itself() -> None:
    assert canonical("ACGTN") == "ACGTN"
    assert canonical("") == ""


@pytest.mark.parametrize(
    ("sequence", "letter", "position"),
    [
        ("ACGX", "X", 4),
        ("-ACG", "-", 1),
        ("AC GT", " ", 3),
        ("ACG*", "*", 4),
        ("AC\u00e9", "\u00e9", 3),
        ("A!", "!", 2),
    ],
)
def test_canonical_says_which_letter(sequence: str, letter: str, position: int) -> None:
    with fails(f"{letter!r}", f"base {position}:"):
        canonical(sequence)
    check_message(describe_bad_letter(sequence, position - 1), f"{letter!r}", f"base {position}:")
    assert not is_dna(sequence)


@pytest.mark.parametrize("letter", IUPAC)
def test_every_code_is_dna_in_either_case(letter: str) -> None:
    assert is_dna(letter)
    assert is_dna(letter.lower())
    assert is_dna(f"AC{letter}gt")


@pytest.mark.parametrize(
    "text", ["", " ", "ACGT ", "AC\nGT", "1.5", "gene_1", "sequence", "ACGT\t1", "\u00c4CGT", "AC\udcffG", "-"]
)
def test_text_that_is_not_dna(text: str) -> None:
    assert not is_dna(text)


@pytest.mark.parametrize("letter", IUPAC)
def test_complement_pairs_every_code(letter: str) -> None:
    other = reverse_complement(letter)
    assert {PAIR[base] for base in IUPAC[letter]} == set(IUPAC[other])
    assert reverse_complement(letter.lower()) == other.lower()


def test_reverse_complement_twice_is_the_sequence() -> None:
    letters = [letter for letter in IUPAC if letter != "U"]
    sequence = "".join(random.Random(0).choices(letters + [letter.lower() for letter in letters], k=300))
    assert reverse_complement(reverse_complement(sequence)) == sequence
    assert reverse_complement("AACg") == "cGTT"


@pytest.mark.parametrize("n_bases", range(1, 40))
@pytest.mark.parametrize(("length", "step"), [(1, 1), (5, 5), (7, 3), (7, 1), (10, 9), (50, 20)])
def test_windows_cover_every_base(n_bases: int, length: int, step: int) -> None:
    cuts = windows(n_bases, length, step)
    assert {base for start, end in cuts for base in range(start, end)} == set(range(n_bases))
    assert {end - start for start, end in cuts} == {min(length, n_bases)}
    assert cuts == sorted(set(cuts))
    assert cuts[-1][1] == n_bases
    distances = [following[0] - previous[0] for previous, following in itertools.pairwise(cuts)]
    assert all(distance == step for distance in distances[:-1])
    assert all(0 < distance <= step for distance in distances)


@pytest.mark.parametrize("seed", range(4))
def test_random_windows_follow_one_another(seed: int) -> None:
    """Half of them are full, the others uniform below; only an end too short for a k-mer is left out."""
    cuts = random_windows(200_003, 515, 6, 0.5, random.Random(seed))
    assert cuts[0][0] == 0
    assert all(left[1] == right[0] for left, right in itertools.pairwise(cuts))
    assert 200_003 - 6 < cuts[-1][1] <= 200_003
    lengths = [end - start for start, end in cuts[:-1]]
    assert min(lengths) >= 6
    assert max(lengths) == 515
    assert sum(length == 515 for length in lengths) / len(lengths) == pytest.approx(0.5, abs=0.1)
    short = [length for length in lengths if length < 515]
    assert sum(short) / len(short) == pytest.approx(515 / 2, rel=0.15)
    assert random_windows(5, 515, 6, 0.5, random.Random(seed)) == []
    assert random_windows(515, 515, 6, 1.0, random.Random(seed)) == [(0, 515)]


def test_fasta_as_people_write_it() -> None:
    lines = ["\n", ">one  described here\r\n", "ACG\r\n", "\r\n", "tt\r\n", ">two\n", ">three\tx\n", "GG"]
    assert list(read_fasta(lines)) == [
        FastaRecord("one", "ACGtt", 2),
        FastaRecord("two", "", 6),
        FastaRecord("three", "GG", 7),
    ]
    assert list(read_fasta([])) == []


@pytest.mark.parametrize(
    ("lines", "parts"),
    [
        (["", "ACGT"], ("line 2:", "'ACGT'", ">name")),
        ([">a", "ACG", "> ", "ACG"], ("line 3:", ">name")),
    ],
)
def test_text_that_is_not_fasta(lines: list[str], parts: tuple[str, ...]) -> None:
    with fails(*parts):
        list(read_fasta(lines))


@pytest.mark.parametrize("text", ["ACGTAC CGTACC GTACCT", "acg cgu gut", "AC CG"])
def test_kmers_between_blanks_are_told(text: str) -> None:
    kmers = text.split()
    with fails("k-mers", repr(text), kmers[0] + "".join(kmer[-1] for kmer in kmers[1:])):
        canonical(text)


@pytest.mark.parametrize("text", ["ACGT ACGT", "ACGT", "A C G T", "ACGT CGTAA", "", "axc xcd"])
def test_other_texts_are_no_kmers(text: str) -> None:
    assert not is_kmers(text)


def test_many_other_strands_at_once() -> None:
    rows = ["acgu", "", "RYSWKMBDHVN", "T"]
    assert reverse_complements(rows) == [reverse_complement(row) for row in rows]
    assert reverse_complements([]) == []


def test_examples_in_docstrings() -> None:
    result = doctest.testmod(sequences)
    assert result.attempted
    assert not result.failed

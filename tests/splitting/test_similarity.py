"""Similarity to the nearest training sequence, against sets of k-mers in plain Python."""

import doctest
from collections.abc import Callable

import numpy as np
import pytest

from kmerbert.dna.sequences import reverse_complement
from kmerbert.splitting import similarity
from kmerbert.splitting.similarity import K, share_in_nearest
from tests.support.messages import fails

DNA = Callable[..., list[str]]


def plain(sequence: str, training: list[str]) -> float:
    """The same in plain Python."""
    own, *others = (
        {text[start : start + K] for start in range(len(text) - K + 1) if "N" not in text[start : start + K]}
        for text in (sequence, *training)
    )
    return max((len(own & other) for other in others), default=0) / len(own) if own else np.nan


@pytest.fixture
def mixed(dna: DNA) -> tuple[list[str], list[str]]:
    """Held-out and training sequences of several lengths that share parts; some have N, repeats, or are short."""
    random = np.random.default_rng(0)
    training = [row[: random.integers(5, 61)] for row in dna(70, 60)]
    held_out = [
        training[random.integers(70)][:30] + row + training[random.integers(70)][-25:] for row in dna(40, 12, seed=1)
    ]
    held_out += [
        training[0],
        training[1][:15] + "N" + training[1][16:],
        "A" * 40,
        "ACGT",
        "N" * 30,
        "AC" * 20 + "T" * 15,
    ]
    return held_out, [*training, "A" * 12, "N" * 20, "CA" * 30]


def test_equals_plain_python(mixed: tuple[list[str], list[str]]) -> None:
    held_out, training = mixed
    expected = [plain(sequence, training) for sequence in held_out]
    np.testing.assert_allclose(share_in_nearest(held_out, training), expected)
    assert np.isnan(expected).sum() == 2
    both = [
        np.fmax(share, plain(reverse_complement(sequence), training))
        for share, sequence in zip(expected, held_out, strict=True)
    ]
    np.testing.assert_allclose(share_in_nearest(held_out, training, both_strands=True), both)


def test_the_other_strand_counts_if_asked_for(dna: DNA) -> None:
    training = dna(5, 40)
    held_out = [reverse_complement(training[2])]
    assert share_in_nearest(held_out, training).tolist() == [0]
    assert share_in_nearest(held_out, training, both_strands=True).tolist() == [1]


@pytest.mark.parametrize("both_strands", [False, True])
def test_constant_ends_are_left_out(both_strands: bool, dna: DNA) -> None:
    rows = dna(130, 40)
    flanked = [f"GATTACATTTCACGCAT{row}CCGTTAGGCTGAA" for row in rows]
    shares = share_in_nearest(flanked[:10], flanked[10:], both_strands)
    np.testing.assert_allclose(shares, share_in_nearest(rows[:10], rows[10:], both_strands), atol=0.05)
    assert shares.max() < 0.1


def test_a_kmer_of_very_many_rows_is_compared_with_some(dna: DNA, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "MOST_WITH_KMER", 3)
    (row,) = dna(1, 30)  # 21 10-mers, of which the first three training rows have 6, and so does the last
    assert share_in_nearest([row], [row[:15]] * 4 + [row]).tolist() == pytest.approx([15 / 21])


def test_nothing_to_compare() -> None:
    assert share_in_nearest([], ["ACGTACGTACGT"]).tolist() == []
    assert share_in_nearest(["ACGTACGTACGT"], []).tolist() == [0]
    assert share_in_nearest(["ACGTACGTACGT"], ["ACG"]).tolist() == [0]
    with fails("sequence 2", "'ACGX'", "ACGTN"):
        share_in_nearest(["ACG", "ACGX"], ["ACG"])


def test_examples() -> None:
    assert doctest.testmod(similarity).failed == 0

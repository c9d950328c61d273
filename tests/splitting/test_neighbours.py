"""Held-out sequences that nearly are training sequences: what counts, on both strands, and what is told of splits."""

import doctest
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kmerbert.dna.sequences import reverse_complement
from kmerbert.reading.rows import RowSpec
from kmerbert.reading.sources import FileSource
from kmerbert.splitting import neighbours
from kmerbert.splitting.leaks import SplitRows, check_leaks
from kmerbert.splitting.neighbours import check_neighbours, find_near_duplicates, find_neighbours
from kmerbert.tokens.cache import tokenise
from tests.support.messages import check_message, fails
from tokenization_kmer import KmerTokenizer

DNA = Callable[..., list[str]]
TABLE = Callable[..., Path]
LEFT, RIGHT = "GATTACATTTCACGCAT", "CCGTTAGGCTGAA"


def other(letter: str) -> str:
    return "C" if letter == "A" else "A"


# What may have happened to a sequence at a position.
CHANGES: dict[str, Callable[[str, int], str]] = {
    "another base": lambda s, p: s[:p] + other(s[p]) + s[p + 1 :],
    "an N": lambda s, p: s[:p] + "N" + s[p + 1 :],
    "a base less": lambda s, p: s[:p] + s[p + 1 :],
    "a base more": lambda s, p: s[:p] + other(s[p]) + s[p:],
    "without its ends": lambda s, p: s[p % 5 : len(s) - p % 4],
    "one half": lambda s, p: s[p % (len(s) // 2) :][: len(s) // 2],
}


@pytest.mark.parametrize("n_bases", [24, 80])
@pytest.mark.parametrize("change", CHANGES)
def test_what_is_nearly_a_training_sequence(change: str, n_bases: int, dna: DNA) -> None:
    training, unrelated = dna(300, n_bases), dna(50, n_bases, seed=1)
    # Everywhere but at the very ends, where a change is a shorter or longer sequence.
    changed = [CHANGES[change](training[5 * number], 1 + number % (n_bases - 2)) for number in range(60)]
    for ends in (("", ""), (LEFT, RIGHT)):
        batches = [[ends[0] + s + ends[1] for s in training[first : first + 100]] for first in (0, 100, 200)]
        held_out = [ends[0] + s + ends[1] for s in [*unrelated, *changed]]
        found = find_neighbours(batches, held_out)
        assert found.tolist() == [-1] * 50 + [5 * number for number in range(60)]


def test_the_shorter_one_may_be_the_training_sequence(dna: DNA) -> None:
    long = dna(9, 60)
    assert find_neighbours([[s[20:55] for s in long[:5]]], long).tolist() == [0, 1, 2, 3, 4, -1, -1, -1, -1]


def test_sequences_that_overlap_are_none(dna: DNA) -> None:
    (genome,) = dna(1, 400)
    tiles = [genome[start : start + 80] for start in range(0, 320, 40)]
    assert find_neighbours([tiles[::2]], tiles[1::2]).tolist() == [-1] * 4


def test_the_other_strand_counts_if_asked(dna: DNA) -> None:
    training = dna(200, 50)
    held_out = [reverse_complement(CHANGES["another base"](s, 20)) for s in training[:9]]
    framed = [[LEFT + s + RIGHT for s in rows] for rows in (training, held_out)]
    for rows, turned in ((training, held_out), framed):
        assert find_neighbours([rows], turned).tolist() == [-1] * 9
        assert find_neighbours([rows], turned, both_strands=True).tolist() == list(range(9))


def test_the_identity_decides(dna: DNA) -> None:
    (training,) = dna(1, 100)
    five = training
    for position in (3, 20, 47, 70, 96):
        five = CHANGES["another base"](five, position)
    assert find_neighbours([[training]], [five], 0.95).tolist() == [0]
    assert find_neighbours([[training]], [five], 0.97).tolist() == [-1]


def test_nothing_to_compare() -> None:
    assert find_neighbours([], ["ACGTACGTACGT"]).tolist() == [-1]
    assert find_neighbours([["ACGTACGTACGT"]], []).tolist() == []
    assert find_neighbours([["ACGT"]], ["ACGT"], both_strands=True).tolist() == [-1]  # too short for a stretch


@pytest.fixture
def splits(table: TABLE, dna: DNA) -> Callable[..., dict[str, SplitRows]]:
    """Forty training rows in one file, and five validation rows of which two are nearly training rows in another."""

    def make(both_strands: bool = False, turned: bool = False) -> dict[str, SplitRows]:
        training, new = dna(40, 50), dna(3, 50, seed=1)
        near = [CHANGES["an N"](training[7], 30), training[9][10:]]
        near = [reverse_complement(s) for s in near] if turned else near
        rows = {"train": training, "validation": [new[0], near[0], *new[1:], near[1]]}
        spec, parts = RowSpec("sequence", both_strands=both_strands), {}
        for split, sequences in rows.items():
            source = FileSource(table(f"{split}.tsv", sequence=sequences))
            tokens = tokenise(source, spec, KmerTokenizer(3), None)
            parts[split] = SplitRows(tokens, np.arange(len(tokens)))
        return parts

    return make


@pytest.mark.parametrize(("both_strands", "turned", "n_found"), [(False, False, 2), (True, True, 2), (False, True, 0)])
def test_a_warning_has_the_number_and_a_pair(
    both_strands: bool, turned: bool, n_found: int, splits: Callable[..., dict], caplog: pytest.LogCaptureFixture
) -> None:
    check_neighbours(splits(both_strands, turned), "sequence", None)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == (n_found > 0)
    for warning in warnings:
        check_message(warning, "2 of 5", "validation.tsv, line 3", "train.tsv, line 9", "`similar_sequences`")


def test_near_duplicates_in_two_files_are_an_error_if_asked(splits: Callable[..., dict]) -> None:
    near = ("train.tsv, line 9 (train)", "validation.tsv, line 3 (validation)", "1 of 5 validation rows")
    for turned in (False, True):
        parts = splits(both_strands=turned, turned=turned)
        with fails(*near, "`similar_sequences`", "0.9", "`leaks`"):
            check_leaks(parts, find_near_duplicates(parts, "sequence", 0.9))
    # The part of a sequence is no near duplicate, nor is one on the other strand where that is another sequence.
    assert find_near_duplicates(splits(turned=True), "sequence", 0.9) == []
    assert find_near_duplicates({"train": splits()["train"]}, "sequence", 0.9) == []


def test_many_rows_are_left_alone(
    splits: Callable[..., dict], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(neighbours, "MOST_TOKENS", 1000)
    check_neighbours(splits(), "sequence", None)
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    check_message(record.getMessage(), "train.tsv", "`similar_sequences`")


def test_examples_in_docstrings() -> None:
    result = doctest.testmod(neighbours)
    assert result.attempted
    assert not result.failed

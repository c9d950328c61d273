"""Rows of one sequence that become one row: which is left, with which values, and what copies must agree in."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kmerbert.dna.sequences import reverse_complement
from kmerbert.reading.rows import RowSpec
from kmerbert.reading.sources import FileSource
from kmerbert.splitting.duplicates import merge_copies
from kmerbert.tokens.cache import TokenTable, tokenise
from tests.support.messages import fails
from tokenization_kmer import KmerTokenizer

Table = Callable[..., Path]
DNA = Callable[..., list[str]]


def tokens(path: Path, both_strands: bool = False, **columns: str) -> TokenTable:
    """Tokenises a file with the values x and y."""
    return tokenise(
        FileSource(path), RowSpec("sequence", ("x", "y"), both_strands=both_strands, **columns), KmerTokenizer(3), None
    )


@pytest.fixture
def repeated(table: Table, dna: DNA) -> Path:
    """Rows a b a B a c, where B is the reverse complement of b."""
    a, b, c = dna(3)
    sequences = [a, b, a.lower(), reverse_complement(b), a, c]
    return table("a.tsv", sequence=sequences, x=[1, 2, 4, 6, 1, 5], y=["", 3, 8, "", "NA", 0.1])


def test_the_first_row_is_left(repeated: Path) -> None:
    merged = merge_copies(tokens(repeated), "drop")
    assert merged.rows.tolist() == [0, 1, 3, 5]
    assert merged.n_copies.tolist() == [3, 1, 0, 1, 0, 1]
    assert merged.table.labels[merged.rows, 0].tolist() == [1, 2, 6, 5]


def test_the_mean_of_what_was_measured(repeated: Path) -> None:
    merged = merge_copies(tokens(repeated), "average")
    # x of a is (1 + 4 + 1) / 3, y the only value; a row without copies keeps its digits.
    assert merged.table.labels[merged.rows].tolist() == [
        [2, 8],
        [2, 3],
        [6, pytest.approx(np.nan, nan_ok=True)],
        [5, 0.1],
    ]


def test_strands_that_count_as_one(repeated: Path) -> None:
    merged = merge_copies(tokens(repeated, both_strands=True), "average")
    assert merged.rows.tolist() == [0, 1, 5]
    assert merged.n_copies.tolist() == [3, 2, 0, 0, 0, 1]
    assert merged.table.labels[merged.rows].tolist() == [[2, 8], [4, 3], [5, 0.1]]


def test_a_table_without_copies_stays_as_it_is(table: Table, dna: DNA) -> None:
    same = tokens(table("a.tsv", sequence=dna(4), x=range(4), y=range(4)))
    merged = merge_copies(same, "average")
    assert merged.table is same
    assert merged.rows.tolist() == [0, 1, 2, 3]
    assert merged.n_copies.tolist() == [1, 1, 1, 1]


def test_copies_in_two_splits_are_left_to_the_check_of_leaks(table: Table, dna: DNA) -> None:
    a, b = dna(2)
    path = table(
        "a.tsv", sequence=[a, b, a, a, a], x=range(5), y=range(5), split=["train", "test", "test", "train", "test"]
    )
    assert merge_copies(tokens(path, split="split"), "drop").rows.tolist() == [0, 1, 2]


def test_copies_of_different_groups(table: Table, dna: DNA) -> None:
    a, b, c = dna(3)
    path = table("a.tsv", sequence=[c, a, b, a, b, b], x=range(6), y=range(6), locus=["p", "q", "r", "q", "s", "t"])
    grouped = tokens(path, group="locus")
    with fails("a.tsv, line 4", "line 6", "locus", "2 rows", "`duplicates` average"):
        merge_copies(grouped, "average", {"locus": grouped.groups})
    assert merge_copies(grouped, "drop", {"fold": np.zeros(6), "none": None}).rows.tolist() == [0, 1, 2]

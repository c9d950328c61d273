"""Rows that no division may split: equal sequences, overlapping windows, groups, clusters of a file, near duplicates."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kmerbert.dna.sequences import reverse_complement
from kmerbert.reading.rows import RowSpec
from kmerbert.reading.sources import FileSource
from kmerbert.splitting import groups
from kmerbert.splitting.groups import rows_together
from kmerbert.tokens.cache import TokenTable, tokenise
from tests.support.messages import check_message, fails
from tokenization_kmer import Flanks, KmerTokenizer

TABLE = Callable[..., Path]
DNA = Callable[..., list[str]]
LEFT, RIGHT = "CCGGATTACATGCATTTTTTTCACATC", "GGTTACGGCTGTTAAGGCCTTA"
TOKENIZER = KmerTokenizer(3)
# Forty rows in ten clusters, in no order.
CLUSTERS = np.random.default_rng(1).permutation(40) % 10


def read(path: Path, **spec: Any) -> TokenTable:
    """Tokenises a file."""
    return tokenise(FileSource(path), RowSpec("sequence", **spec), TOKENIZER, None)


def parts(labels: np.ndarray | list) -> set[frozenset[int]]:
    """The rows of every label."""
    values = list(labels)
    return {frozenset(row for row, other in enumerate(values) if other == value) for value in values}


def test_rows_alone_and_equal_sequences(table: TABLE, dna: DNA) -> None:
    a, b, c = dna(3)
    together = rows_together(read(table("a.tsv", sequence=[a, b, a.lower(), c])))
    assert together.min() >= 0
    assert parts(together) == {frozenset({0, 2}), frozenset({1}), frozenset({3})}


def test_windows_that_share_bases(table: TABLE, dna: DNA) -> None:
    path = table("a.tsv", sequence=dna(2, 50))
    overlapping = read(path, window=20, step=10)  # 0 to 20, 10 to 30, 20 to 40, 30 to 50 of each sequence
    assert parts(rows_together(overlapping)) == {frozenset(range(4)), frozenset(range(4, 8))}
    # 0 to 20, 20 to 40, and 30 to 50, which shares bases with the one before it only.
    assert parts(rows_together(read(path, window=20))) == {
        frozenset({0}), frozenset({1, 2}), frozenset({3}), frozenset({4, 5}),
    }  # fmt: skip


@pytest.mark.parametrize("known_by", ["id", "sequence", "number"])
def test_clusters_of_a_file(known_by: str, table: TABLE, dna: DNA) -> None:
    sequences = dna(40, 30)
    names = {"id": [f"p{row}" for row in range(40)], "sequence": sequences, "number": range(2, 42)}[known_by]
    path = table("a.tsv", **({"id": names} if known_by == "id" else {}), sequence=sequences)
    column = "sequence" if known_by == "sequence" else "id"
    file = table("c.tsv", **{column: names}, cluster=[f"c{cluster}" for cluster in CLUSTERS])
    id_column = "id" if known_by == "id" else None
    # What the model reads may have flanks or be cut; the file has the sequences as they are.
    for spec in ({"flanks": Flanks(LEFT, RIGHT, 20)}, {"cut_at": 20}):
        together = rows_together(read(path, id=id_column, **spec), cluster_file=str(file))
        assert parts(together) == parts(CLUSTERS)


def test_everything_that_joins_rows_joins_them_in_a_chain(table: TABLE, dna: DNA) -> None:
    a, c, d, f = dna(4, 40)
    near = d[:-1] + ("A" if d[-1] != "A" else "C")
    # Rows 0 and 1 have one sequence, 1 and 2 one locus, 2 and 3 one cluster, 3 and 4 are near duplicates; 5 is alone.
    sequences, loci = [a, a, c, d, near, f], ["u", "v", "v", "w", "x", "y"]
    path = table("a.tsv", sequence=sequences, locus=loci)
    file = table("c.tsv", sequence=[a, c, d, near, f], cluster=[1, 2, 2, 3, 4])
    tokens = read(path, group="locus")
    for settings, joined in (
        ({}, {frozenset({0, 1, 2}), frozenset({3}), frozenset({4}), frozenset({5})}),
        ({"cluster_file": str(file)}, {frozenset({0, 1, 2, 3}), frozenset({4}), frozenset({5})}),
        ({"similar_sequences": 0.95}, {frozenset({0, 1, 2}), frozenset({3, 4}), frozenset({5})}),
        ({"cluster_file": str(file), "similar_sequences": 0.95}, {frozenset(range(5)), frozenset({5})}),
    ):
        assert parts(rows_together(tokens, **settings)) == joined


def test_the_column_of_the_dna_may_have_any_name(table: TABLE, dna: DNA) -> None:
    sequences = dna(40, 30)
    path = table("a.tsv", dna=sequences)
    tokens = tokenise(FileSource(path, "dna"), RowSpec("dna"), TOKENIZER, None)
    file = table("c.tsv", sequence=sequences, cluster=CLUSTERS)
    together = rows_together(tokens, "dna", cluster_file=str(file), similar_sequences=0.9)
    assert parts(together) == parts(CLUSTERS)


def test_rows_without_a_cluster(table: TABLE, dna: DNA) -> None:
    sequences = dna(10, 30)
    tokens = read(table("a.tsv", sequence=sequences))
    file = table("c.tsv", sequence=sequences[:7] + sequences[8:], cluster=[0] * 9)
    with fails("a.tsv, line 9", " sequence ", file):
        rows_together(tokens, cluster_file=str(file))


def test_the_column_id_is_known_without_being_named(table: TABLE, dna: DNA) -> None:
    names = [f"p{row}" for row in range(40)]
    path = table("a.tsv", id=names, sequence=dna(40, 30))
    file = table("c.tsv", id=names, cluster=CLUSTERS)
    assert parts(rows_together(read(path), cluster_file=str(file))) == parts(CLUSTERS)


def test_ids_in_another_column_must_be_named(table: TABLE, dna: DNA) -> None:
    names = [f"p{row}" for row in range(10)]
    path = table("a.tsv", name=names, sequence=dna(10, 30))
    file = table("c.tsv", id=names, cluster=[0, 1] * 5)
    with fails("a.tsv, line 2", " id ", file, "line numbers", "`id_column`"):
        rows_together(read(path), cluster_file=str(file))
    assert parts(rows_together(read(path, id="name"), cluster_file=str(file))) == parts([0, 1] * 5)


def test_near_duplicates_are_found_once(
    table: TABLE, dna: DNA, token_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten copies of each of eight promoters, each with another base changed, between the constant ends."""
    rows, families = [], []
    for family, insert in enumerate(dna(8, 60)):
        for copy in range(10):
            changed = "A" if insert[5 * copy] != "A" else "C"
            rows.append(LEFT[-17:] + insert[: 5 * copy] + changed + insert[5 * copy + 1 :] + RIGHT[:13])
            families.append(family)
    order = np.random.default_rng(0).permutation(80)
    tokens = read(table("a.tsv", sequence=[rows[row] for row in order]))
    together = rows_together(tokens, similar_sequences=0.9)
    assert parts(together) == parts([families[row] for row in order])
    assert len(parts(rows_together(tokens))) == 80
    assert len(list(token_cache.glob("*-similar-0.9.npy"))) == 1
    monkeypatch.delattr(groups, "near_duplicates")  # the second time from the cache, or this fails
    assert (rows_together(tokens, similar_sequences=0.9) == together).all()


def test_ids_that_have_other_sequences_in_the_file_of_clusters_are_told(
    table: TABLE, dna: DNA, caplog: pytest.LogCaptureFixture
) -> None:
    sequences, names = dna(4, 30), list("abcd")
    path = table("a.tsv", id=names, sequence=sequences)
    tokens = read(path, id="id")
    same = table(
        "same.tsv", id=names[::-1], sequence=[sequence.lower() for sequence in sequences[::-1]], cluster=range(4)
    )
    rows_together(tokens, cluster_file=str(same))
    assert caplog.messages == []
    other = table("other.tsv", id=names, sequence=[*sequences[:2], *sequences[:1], ""], cluster=[0, 0, 1, 1])
    assert parts(rows_together(tokens, cluster_file=str(other))) == {frozenset({0, 1}), frozenset({2, 3})}
    (message,) = caplog.messages
    check_message(message, "a.tsv, line 4", other, "1 more of 4 rows")


# --- both strands, and a table that changes


def test_a_sequence_stays_with_its_reverse_complement(table: TABLE, dna: DNA) -> None:
    a, b, c = dna(3)
    path = table("a.tsv", sequence=[a, b, reverse_complement(a), a, c], locus=list("uvwxv"))
    assert parts(rows_together(read(path, both_strands=True))) == {frozenset({0, 2, 3}), frozenset({1}), frozenset({4})}
    assert parts(rows_together(read(path))) == {frozenset({0, 3}), frozenset({1}), frozenset({2}), frozenset({4})}
    grouped = read(path, group="locus", both_strands=True)
    assert parts(rows_together(grouped)) == {frozenset({0, 2, 3}), frozenset({1, 4})}
    flanked = read(path, flanks=Flanks(LEFT, RIGHT, 20), both_strands=True)
    assert parts(rows_together(flanked)) == {frozenset({0, 2, 3}), frozenset({1}), frozenset({4})}


def test_near_duplicates_on_the_other_strand(
    table: TABLE, dna: DNA, token_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    a, b, c = dna(3, 60)
    near = reverse_complement(a[:30] + ("A" if a[30] != "A" else "C") + a[31:])
    path = table("a.tsv", sequence=[a, b, near, c])
    one = rows_together(read(path), similar_sequences=0.9)
    both = rows_together(read(path, both_strands=True), similar_sequences=0.9)
    assert len(parts(one)) == 4
    assert parts(both) == {frozenset({0, 2}), frozenset({1}), frozenset({3})}
    assert len(list(token_cache.glob("*-similar-*.npy"))) == 2  # not the same file for both
    check_message(caplog.messages[-1], "a.tsv", "3 groups", "4 rows", "2 rows have")


@pytest.mark.parametrize("known_by", ["id", "sequence", "similar"])
def test_a_table_that_changes_after_it_was_tokenised(known_by: str, table: TABLE, dna: DNA, token_cache: Path) -> None:
    sequences = dna(9, 30)
    path = table("a.tsv", id=range(9), sequence=sequences)
    tokens = read(path)
    file = table("c.tsv", **{known_by: range(9) if known_by == "id" else sequences}, cluster=range(9))
    table("a.tsv", id=range(9), sequence=sequences[::-1])
    settings = {"similar_sequences": 0.9} if known_by == "similar" else {"cluster_file": str(file)}
    tokens = replace(tokens, names=None)  # ids are read for the clusters alone
    with fails(path, "changed"):
        rows_together(tokens, **settings)
    assert not list(token_cache.glob("*-similar-*"))

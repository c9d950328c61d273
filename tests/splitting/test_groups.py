"""Near duplicates and clusters of a file, whatever they are known by, are never on two sides."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kmerbert.cli.flags import RegressionDataArguments
from kmerbert.dna.flanks import Flanks
from kmerbert.training.splits import load_splits
from tokenization_kmer import KmerTokenizer

TABLE = Callable[..., Path]
DNA = Callable[..., list[str]]
LEFT, RIGHT = "CCGGATTACATGCATTTTTTTCACATC", "GGTTACGGCTGTTAAGGCCTTA"


def divide(path: Path, clusters: Path, flanks: Flanks | None = None, **settings: object) -> dict[str, set[float]]:
    """The measured values of every split."""
    arguments = RegressionDataArguments(
        train_file=str(path), cluster_file=str(clusters), validation_split_percentage=30, **settings
    )
    splits = load_splits(arguments, KmerTokenizer(3), None, ["expression"], flanks)
    return {split: set(rows.labels[:, 0]) for split, rows in splits.items()}


@pytest.mark.parametrize("known_by", ["id", "sequence", "number"])
def test_clusters_of_a_file_stay_on_one_side(known_by: str, table: TABLE, dna: DNA) -> None:
    """Forty rows in ten clusters, in no order; the value of a row is its cluster."""
    rows, clusters = dna(40, 30), np.random.default_rng(1).permutation(40) % 10
    names = {"id": [f"p{row}" for row in range(40)], "sequence": rows, "number": range(2, 42)}[known_by]
    path = table("a.tsv", **({"id": names} if known_by == "id" else {}), sequence=rows, expression=clusters)
    file = table(
        "c.tsv", **{"sequence" if known_by == "sequence" else "id": names}, cluster=[f"c{c}" for c in clusters]
    )
    for flanks in (None, Flanks(LEFT, RIGHT, 20)):
        settings = {"id_column": "id"} if known_by == "id" else {}
        found = divide(path, file, flanks, **settings, max_seq_length=None if flanks else 20)
        assert not found["train"] & found["validation"]
        assert (len(found["train"]), len(found["validation"])) == (7, 3)


def test_rows_without_a_cluster_are_refused(table: TABLE, dna: DNA) -> None:
    rows = dna(10, 30)
    path = table("a.tsv", sequence=rows, expression=range(10))
    file = table("c.tsv", sequence=rows[:7] + rows[8:], cluster=[0] * 9)
    with pytest.raises(ValueError, match=r"a.tsv, line 9: its sequence is in no cluster of .*c.tsv"):
        divide(path, file)


def test_the_column_id_is_known_without_being_named(table: TABLE, dna: DNA) -> None:
    rows, clusters = dna(40, 30), np.random.default_rng(1).permutation(40) % 10
    path = table("a.tsv", id=[f"p{row}" for row in range(40)], sequence=rows, expression=clusters)
    file = table("c.tsv", id=[f"p{row}" for row in range(40)], cluster=[f"c{c}" for c in clusters])
    found = divide(path, file)
    assert not found["train"] & found["validation"]
    assert found == divide(path, file, id_column="id")


def test_ids_in_another_column_must_be_named(table: TABLE, dna: DNA) -> None:
    names = [f"p{row}" for row in range(10)]
    path = table("a.tsv", name=names, sequence=dna(10, 30), expression=range(10))
    file = table("c.tsv", id=names, cluster=names)
    words = (
        "a.tsv, line 2: its id is in no cluster of .*c.tsv .*; rows are known by their line numbers: .* --id_column$"
    )
    with pytest.raises(ValueError, match=words):
        divide(path, file)
    assert divide(path, file, id_column="name")["validation"]


@pytest.mark.parametrize("flag", ["cluster_file", "similar_sequences"])
def test_a_dataset_with_its_own_splits_is_not_searched(flag: str, table: TABLE, dna: DNA, tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    for split, rows in (("train", dna(9)), ("test", dna(3, seed=1))):
        table(f"hub/{split}.csv", sequence=rows, expression=range(len(rows)))
    arguments = RegressionDataArguments(dataset_name=str(tmp_path / "hub"))
    setattr(arguments, flag, value := {"cluster_file": "c.tsv", "similar_sequences": 0.9}[flag])
    words = f"^--{flag} {value} divides the rows of one table and does not look into .*hub, test: give all rows in one"
    with pytest.raises(ValueError, match=words):
        load_splits(arguments, KmerTokenizer(3), None, ["expression"])


def test_near_duplicates_stay_on_one_side(table: TABLE, dna: DNA, token_cache: Path) -> None:
    """Ten copies of each of eight promoters, each with another base changed, between the constant ends."""
    rows, values = [], []
    for family, insert in enumerate(dna(8, 60)):
        for copy in range(10):
            changed = "A" if insert[5 * copy] != "A" else "C"
            rows.append(LEFT[-17:] + insert[: 5 * copy] + changed + insert[5 * copy + 1 :] + RIGHT[:13])
            values.append(family)
    order = np.random.default_rng(0).permutation(80)
    path = table("a.tsv", sequence=[rows[row] for row in order], expression=[values[row] for row in order])
    arguments = RegressionDataArguments(train_file=str(path), validation_split_percentage=25, similar_sequences=0.9)
    for _ in range(2):  # the second time from the cache
        splits = load_splits(arguments, KmerTokenizer(3), None, ["expression"])
        families = {split: set(rows.labels[:, 0]) for split, rows in splits.items()}
        assert {split: len(rows) for split, rows in splits.items()} == {"train": 60, "validation": 20}
        assert not families["train"] & families["validation"]
    assert len(list(token_cache.glob("*-similar-0.9.npy"))) == 1
    arguments.similar_sequences = None
    splits = load_splits(arguments, KmerTokenizer(3), None, ["expression"])
    assert set(splits["train"].labels[:, 0]) & set(splits["validation"].labels[:, 0])

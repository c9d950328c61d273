"""From flags to splits: which rows train, validate and test, of files, folders of `datasets` and Parquet shards."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
from transformers import PretrainedConfig

from kmerbert import files
from kmerbert.cli.flags import PretrainingDataArguments, RegressionDataArguments, SequenceDataArguments
from kmerbert.dna.sequences import reverse_complement
from kmerbert.tokens.batches import TokenDataset, read_names
from kmerbert.tokens.stream import StreamedDataset
from kmerbert.tokens.targets import TargetScaler
from kmerbert.training import splits as module
from kmerbert.training.flags import KmerTrainingArguments
from kmerbert.training.folder import FolderLock, RunFolder, claim_folder
from kmerbert.training.splits import check_checkpoint, load_splits, read_fold_names, settle_columns
from tests.support.messages import check_message, fails
from tokenization_kmer import KmerTokenizer

TABLE = Callable[..., Path]
DNA = Callable[..., list[str]]
KMERS = KmerTokenizer(k=6)


def load(
    arguments: SequenceDataArguments, labels: Sequence[str] = ("expression",), **training: Any
) -> dict[str, TokenDataset]:
    """The splits, for a training run with these flags."""
    return load_splits(arguments, KmerTrainingArguments(output_dir="unused", **training), KMERS, None, tuple(labels))


def regression(path: Path, **settings: Any) -> RegressionDataArguments:
    """Arguments for a table with the column `expression`, of which no test rows are held out."""
    return RegressionDataArguments(train_file=str(path), **{"test_split_percentage": 0} | settings)


def values_of(splits: dict[str, TokenDataset]) -> dict[str, list[int]]:
    """The measured values of every split."""
    return {split: dataset.labels[:, 0].astype(int).tolist() for split, dataset in splits.items()}


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The warnings that were logged."""
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def sizes(splits: dict[str, TokenDataset]) -> dict[str, int]:
    """The number of rows of every split."""
    return {split: len(rows) for split, rows in splits.items()}


# --- divisions


def test_percentages(promoters: Path) -> None:
    splits = load(regression(promoters, test_split_percentage=20))
    assert sizes(splits) == {"train": 21, "validation": 3, "test": 6}
    assert sorted(chain(*values_of(splits).values())) == list(range(30))
    again = load(regression(promoters, test_split_percentage=20))
    assert values_of(again) == values_of(splits)
    other = load(regression(promoters, test_split_percentage=20, split_seed=1))
    assert values_of(other) != values_of(splits)
    assert values_of(load(regression(promoters, test_split_percentage=20), seed=1)) == values_of(splits)


def test_exact_numbers(promoters: Path) -> None:
    splits = load(regression(promoters, validation_rows=7, test_rows=11))
    assert sizes(splits) == {"train": 12, "validation": 7, "test": 11}


def test_no_validation_rows(promoters: Path) -> None:
    assert list(load(regression(promoters, validation_split_percentage=0))) == ["train"]


def test_files(table: TABLE, dna: DNA) -> None:
    sequences = dna(12)
    paths = [
        table(f"{i}.{ending}", sequence=sequences[4 * i : 4 * i + 4], expression=range(10 * i, 10 * i + 4))
        for i, ending in enumerate(("tsv", "csv", "txt"))
    ]
    splits = load(regression(paths[0], validation_file=str(paths[1]), test_file=str(paths[2])))
    assert values_of(splits) == {"train": [0, 1, 2, 3], "validation": [10, 11, 12, 13], "test": [20, 21, 22, 23]}


def test_split_column(table: TABLE, dna: DNA) -> None:
    names = ["train", "TEST", "val", "dev", " Training ", "valid", "testing", "validation"]
    path = table("a.tsv", sequence=dna(8), expression=range(8), fold=names)
    splits = load(regression(path, split_column="fold"))
    assert values_of(splits) == {"train": [0, 4], "validation": [2, 3, 5, 7], "test": [1, 6]}


def test_split_column_with_a_test_file(table: TABLE, dna: DNA) -> None:
    test = table("test.tsv", sequence=dna(3, seed=1), expression=range(3))
    path = table("a.tsv", sequence=dna(4), expression=range(4), fold=["train", "train", "val", "val"])
    arguments = regression(path, split_column="fold", test_file=str(test))
    assert values_of(load(arguments))["test"] == [0, 1, 2]
    path = table("a.tsv", sequence=dna(4), expression=range(4), fold=["train", "train", "val", "test"])
    with fails("a.tsv, line 5", "test", "`split_column` fold", "`test_file`"):
        load(arguments)


def test_a_table_without_training_rows(table: TABLE, dna: DNA) -> None:
    path = table("a.tsv", sequence=dna(2), expression=range(2), fold=["val", "test"])
    with fails("a.tsv", "no training rows"):
        load(regression(path, split_column="fold"))


# --- repeated rows, and training rows that are held out, too


def test_one_row_of_each_sequence(table: TABLE, dna: DNA, caplog: pytest.LogCaptureFixture) -> None:
    sequences = dna(12)
    path = table("a.tsv", sequence=[*sequences, *sequences[:3]], expression=[*range(12), 10, 20, 30])
    caplog.set_level(logging.INFO)
    arguments = regression(path, duplicates="average", validation_rows=5)
    splits = load(arguments)
    assert sizes(splits) == {"train": 7, "validation": 5}  # exact, of the rows that are left
    assert sorted(chain(*values_of(splits).values())) == [3, 4, 5, 5, 6, 7, 8, 9, 10, 10, 11, 16]
    assert sum(part.counts().get("rows merged with others of the same sequence", 0) for part in splits.values()) == 3
    assert any("a.tsv: 3 of 15 rows repeat a sequence" in message for message in caplog.messages)
    dropped = load(regression(path, duplicates="drop", validation_rows=5))
    assert sorted(chain(*values_of(dropped).values())) == list(range(12))
    assert sum(part.counts().get("rows left out because they repeat a sequence", 0) for part in dropped.values()) == 3
    assert len(splits["train"].with_targets(TargetScaler((0.0,), (1.0,))).counts()) == len(splits["train"].counts())


def test_copies_of_different_folds(table: TABLE, dna: DNA) -> None:
    a, *others = dna(8)
    path = table("a.tsv", sequence=[a, *others, a], expression=range(9), fold=[0, 1, 0, 1, 0, 1, 0, 1, 1])
    arguments = regression(path, fold_column="fold", duplicates="drop", similar_sequences=1)
    with fails("a.tsv, line 2", "line 10", "`fold_column` fold"):
        load_splits(arguments, KmerTrainingArguments(output_dir="unused"), KMERS, None, ("expression",), fold=0)


@pytest.fixture
def published(table: TABLE, dna: DNA) -> dict[str, Any]:
    """Flags for published files: the training rows 1 and 3 are in the test file, 3 as a reverse complement."""
    sequences, new = dna(6, 30), dna(4, 30, seed=1)
    files = {
        "train": table("a.tsv", sequence=sequences, expression=range(6)),
        "validation": table("b.tsv", sequence=new[:2], expression=[6, 7]),
        "test": table(
            "c.tsv", sequence=[sequences[1], new[2], reverse_complement(sequences[3])], expression=[8, 9, 10]
        ),
    }
    return {f"{split}_file": str(path) for split, path in files.items()}


@pytest.mark.parametrize(("strands", "left"), [("both", [0, 2, 4, 5]), ("one", [0, 2, 3, 4, 5])])
def test_training_rows_that_leak_are_left_out(
    strands: str, left: list[int], published: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    arguments = RegressionDataArguments(**published, leaks="drop", strands=strands)
    training = KmerTrainingArguments(output_dir="unused")
    with RunFolder(tmp_path, lock=FolderLock(tmp_path)) as folder:
        splits = load_splits(arguments, training, KMERS, None, ("expression",), folder=folder)
    assert values_of(splits) == {"train": left, "validation": [6, 7], "test": [8, 9, 10]}
    n_dropped = 6 - len(left)
    assert splits["train"].counts()["rows left out because they leak into held-out rows"] == n_dropped
    assert any(f"{n_dropped} of 6 training rows" in message for message in caplog.messages)
    assert len((tmp_path / "leaking_rows.tsv").read_text().splitlines()) == 1 + n_dropped
    assert "leaking_rows.tsv" in json.loads((tmp_path / "run_files.json").read_text())["files"]


def test_leaks_that_are_an_error_are_listed(published: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    arguments = RegressionDataArguments(**published)
    own = tmp_path / "run"
    with (
        fails("a.tsv, line 3 (train)", "c.tsv, line 2 (test)", "1 of 3 test rows", "`leaks` drop"),
        RunFolder(own, lock=FolderLock(own)) as folder,
    ):
        load_splits(
            *(arguments, KmerTrainingArguments(output_dir="unused"), KMERS, None, ("expression",)), folder=folder
        )
    assert (tmp_path / "run" / "leaking_rows.tsv").is_file()
    assert claim_folder(tmp_path / "run", overwrite=False, checkpoint=None) == ("leaking_rows.tsv",)


def test_leaks_between_held_out_rows_stay_an_error(published: dict[str, Any], tmp_path: Path) -> None:
    arguments = RegressionDataArguments(**published | {"validation_file": published["test_file"]}, leaks="drop")
    with fails("c.tsv, line 2 (validation)", "c.tsv, line 2 (test)", "3 of 3 test rows"):
        load(arguments)


def test_near_duplicates_that_leak(table: TABLE, dna: DNA) -> None:
    sequences = dna(6, 40)
    near = sequences[2][:20] + ("A" if sequences[2][20] != "A" else "C") + sequences[2][21:]
    train = table("a.tsv", sequence=sequences, expression=range(6))
    validation = table("b.tsv", sequence=[*dna(2, 40, seed=1), near], expression=[7, 8, 9])
    arguments = regression(train, validation_file=str(validation), similar_sequences=0.9, leaks="drop")
    assert values_of(load(arguments))["train"] == [0, 1, 3, 4, 5]
    with fails("a.tsv, line 4 (train)", "b.tsv, line 4 (validation)"):
        load(replace(arguments, leaks="error"))


def test_no_training_row_is_left(table: TABLE, dna: DNA) -> None:
    train = table("a.tsv", sequence=dna(3), expression=range(3))
    test = table("b.tsv", sequence=dna(3), expression=range(3))
    with fails("a.tsv", "all 3 training rows", "`leaks` drop"):
        load(regression(train, test_file=str(test), validation_split_percentage=0, leaks="drop"))


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"streaming": True, "duplicates": "average"}, ["--duplicates average", "--streaming"]),
        ({"streaming": True, "leaks": "drop"}, ["--leaks drop", "--streaming"]),
        ({"duplicates": "average", "replicate_columns": "a,b"}, ["--duplicates average", "--replicate_columns a,b"]),
    ],
)
def test_flags_about_copies_that_cannot_be(settings: dict[str, Any], parts: list[str]) -> None:
    with fails(*parts):
        RegressionDataArguments(train_file="a.tsv", **settings)


@pytest.mark.parametrize("seed", range(10))
def test_groups_and_equal_sequences_stay_in_one_split(seed: int, table: TABLE, dna: DNA) -> None:
    random = np.random.default_rng(seed)
    sequences = [dna(60)[row] for row in random.integers(0, 60, 100)]
    groups = [f"locus {group}" for group in random.integers(0, 40, 100)]
    path = table("a.tsv", sequence=sequences, expression=range(100), locus=groups)
    for group_column in ("locus", None):
        arguments = regression(
            path, group_column=group_column, duplicates="keep", validation_split_percentage=20, test_split_percentage=20,
            split_seed=seed,
        )  # fmt: skip
        rows_of_splits = values_of(load(arguments))
        assert sorted(chain(*rows_of_splits.values())) == list(range(100))
        split_of_row = {row: split for split, rows in rows_of_splits.items() for row in rows}
        for names in [sequences, groups] if group_column else [sequences]:
            for name in set(names):
                assert len({split_of_row[row] for row in range(100) if names[row] == name}) == 1
        assert set(split_of_row.values()) == {"train", "validation", "test"} or group_column


def test_windows_that_share_bases_stay_in_one_split(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    path = tmp_path / "a.fa"
    path.write_text("".join(f">{i}\n{''.join(random.choice(list('ACGT'), 95))}\n" for i in range(40)))
    for step, n_windows in (
        (10, 40 * 9),
        (20, 40 * 5),
    ):  # 9 in a chain; 4 of 20 bases, and a last one that shares 5 bases
        arguments = PretrainingDataArguments(train_file=str(path), window_length=20, window_step=step)
        splits = load(arguments, ())
        assert sum(map(len, splits.values())) == n_windows
        overlaps = {split: set(rows.table.overlaps[rows.rows].tolist()) for split, rows in splits.items()}
        assert not overlaps["train"] & overlaps["validation"]
    # Without a chain, windows of one sequence may be in two splits.
    records = {split: set(rows.table.numbers[rows.rows].tolist()) for split, rows in splits.items()}
    assert records["train"] & records["validation"]


def test_clusters_of_a_file_stay_in_one_split(table: TABLE, dna: DNA) -> None:
    """Forty rows in ten clusters, in no order; the value of a row is its cluster."""
    clusters = np.random.default_rng(1).permutation(40) % 10
    names = [f"p{row}" for row in range(40)]
    path = table("a.tsv", name=names, dna=dna(40), expression=clusters)
    file = table("c.tsv", id=names, cluster=clusters)
    settings = {"cluster_file": str(file), "id_column": "name", "sequence_column": "dna"}
    splits = load(regression(path, **settings, validation_split_percentage=30))
    assert sizes(splits) == {"train": 28, "validation": 12}
    clusters_of = {split: set(values) for split, values in values_of(splits).items()}
    assert (len(clusters_of["train"]), len(clusters_of["validation"])) == (7, 3)
    assert not clusters_of["train"] & clusters_of["validation"]


def test_near_duplicates_stay_in_one_split(table: TABLE, dna: DNA) -> None:
    """Five copies of each of eight promoters, each with another base changed; the value of a row is its promoter."""
    rows, families = [], np.repeat(np.arange(8), 5)
    for insert in dna(8, 60):
        for copy in range(5):
            changed = "A" if insert[10 * copy] != "A" else "C"
            rows.append(insert[: 10 * copy] + changed + insert[10 * copy + 1 :])
    order = np.random.default_rng(0).permutation(40)
    path = table("a.tsv", sequence=[rows[row] for row in order], expression=families[order])
    for settings, is_apart in (({"similar_sequences": 0.9}, True), ({"similar_sequences": 1}, False), ({}, True)):
        splits = load(regression(path, **settings, validation_split_percentage=25))
        assert sizes(splits) == {"train": 30, "validation": 10}
        families_of = {split: set(values) for split, values in values_of(splits).items()}
        assert families_of["train"].isdisjoint(families_of["validation"]) == is_apart


def test_clusters_of_several_tables_are_not_known(table: TABLE, dna: DNA, tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    for split, rows in (("train", dna(9)), ("test", dna(3, seed=1))):
        table(f"hub/{split}.csv", sequence=rows, expression=range(len(rows)))
    with fails("`cluster_file` c.tsv", "hub, test", "`train_file`"):
        load(RegressionDataArguments(dataset_name=str(tmp_path / "hub"), cluster_file="c.tsv"))
    files = {"train": tmp_path / "hub" / "train.csv", "test_file": str(tmp_path / "hub" / "test.csv")}
    with fails("`cluster_file` c.tsv", "test.csv", "`train_file`"):
        load(regression(files.pop("train"), **files, cluster_file="c.tsv"))


@pytest.mark.parametrize("is_hub", [False, True])
def test_near_duplicates_in_several_tables(
    is_hub: bool, table: TABLE, dna: DNA, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "hub").mkdir()
    training, new = dna(9, 40), dna(3, 40, seed=1)
    near = training[4][:20] + "N" + training[4][21:]
    paths = {
        split: str(table(f"hub/{split}.csv", sequence=rows, expression=range(len(rows))))
        for split, rows in (("train", training), ("test", [*new, near]))
    }
    rows = (
        {"dataset_name": str(tmp_path / "hub")} if is_hub else {f"{split}_file": path for split, path in paths.items()}
    )
    rows |= {"validation_split_percentage": 0}
    assert sizes(load(RegressionDataArguments(**rows))) == {"train": 9, "test": 4}
    (warning,) = warnings_in(caplog)
    test, train = ("hub, test, row 4", "hub, train, row 5") if is_hub else ("test.csv, line 5", "train.csv, line 6")
    check_message(warning, "1 of 4 test rows", test, train)
    with fails(f"{train} (train)", f"{test} (test)", "1 of 4", "`similar_sequences`"):
        load(RegressionDataArguments(**rows, similar_sequences=0.9))


# --- strands


@pytest.mark.parametrize(
    ("strands", "both", "is_together"),
    [("auto", True, True), ("auto", False, False), ("one", True, False), ("both", False, True)],
)
def test_reverse_complements_stay_in_one_split(
    strands: str, both: bool, is_together: bool, table: TABLE, dna: DNA
) -> None:
    """Twenty sequences and their reverse complements; the value of a row is its sequence."""
    sequences = dna(20)
    rows = [*sequences, *map(reverse_complement, sequences)]
    path = table("a.tsv", sequence=rows, expression=[*range(20), *range(20)])
    arguments = regression(path, strands=strands, validation_split_percentage=50)
    training = KmerTrainingArguments(output_dir="unused")
    splits = load_splits(arguments, training, KMERS, None, ("expression",), both_strands=both)
    values = {split: set(values) for split, values in values_of(splits).items()}
    assert sizes(splits) == {"train": 20, "validation": 20}
    assert values["train"].isdisjoint(values["validation"]) == is_together


def test_samples_of_a_sorted_table_are_drawn(table: TABLE, dna: DNA) -> None:
    path = table("a.tsv", sequence=dna(300), expression=range(300))
    settings = {"validation_split_percentage": 0, "max_train_samples": 60}
    first, again, other = (
        values_of(load(regression(path, **settings, split_seed=seed)))["train"] for seed in (1, 1, 2)
    )
    assert first == again == sorted(first) != other
    assert max(first) > 250
    assert 110 < np.mean(first) < 190


def test_samples_are_limited(promoters: Path) -> None:
    limits = {"max_train_samples": 4, "max_eval_samples": 2, "max_predict_samples": 1}
    assert sizes(load(regression(promoters, test_rows=5, **limits))) == {"train": 4, "validation": 2, "test": 1}


# --- rows that are in two splits, or say nothing


def test_repeated_sequences(table: TABLE, dna: DNA) -> None:
    sequences = dna(3)
    train = table("train.tsv", sequence=[*sequences, sequences[1].lower()], expression=range(4))
    with fails("train.tsv, line 3 ", "train.tsv, line 5 ", "sequence", "rows: 1", "`duplicates`"):
        load(regression(train, validation_split_percentage=0))
    assert len(load(regression(train, validation_split_percentage=0, duplicates="keep"))["train"]) == 4


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_sequence_in_two_files(split: str, table: TABLE, dna: DNA) -> None:
    sequences = dna(5)
    train = table("train.tsv", sequence=sequences[:3], expression=range(3))
    other = table("other.tsv", sequence=[sequences[4], sequences[2]], expression=range(2))
    arguments = regression(train, **{f"{split}_file": str(other)}, duplicates="keep", validation_split_percentage=0)
    with fails("train.tsv, line 4 (train)", f"other.tsv, line 3 ({split})", "sequence"):
        load(arguments)
    table("other.tsv", sequence=sequences[3:], expression=range(2))
    assert sizes(load(arguments)) == {"train": 3, split: 2}


def test_a_sequence_in_two_splits_of_a_column(table: TABLE, dna: DNA) -> None:
    sequences = dna(3)
    folds = table(
        "folds.tsv", sequence=[*sequences, sequences[0]], expression=range(4), s=["train", "val", "val", "test"]
    )
    with fails("folds.tsv, line 2 (train)", "folds.tsv, line 5 (test)", "sequence"):
        load(regression(folds, split_column="s"))


def test_a_group_in_two_splits(table: TABLE, dna: DNA) -> None:
    path = table("a.tsv", sequence=dna(4), expression=range(4), s=["train", "train", "val", "val"], locus=list("abcb"))
    with fails("a.tsv, line 3 (train)", "a.tsv, line 5 (validation)", "locus", "`group_column`"):
        load(regression(path, split_column="s", group_column="locus"))


def test_the_largest_group_is_told(table: TABLE, dna: DNA, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    genes = [0] * 8 + list(range(1, 33))
    train = table("a.tsv", sequence=dna(40), expression=range(40), Gene=genes)
    load(regression(train, group_column="Gene"))
    (told,) = [message for message in caplog.messages if "stay together" in message]
    check_message(
        told, "a.tsv: rows of one Gene stay together: 33 groups, the largest, '0', of 8 rows (20 %): if that means none"
    )
    caplog.clear()
    train = table("b.tsv", sequence=dna(40), expression=range(40), Gene=np.arange(40) // 4)
    in_folds(regression(train, group_column="Gene", folds=3))
    told = [message for message in caplog.messages if "stay together" in message]
    assert len(told) == 1
    assert told[0].endswith(", of 4 rows (10 %)")


def test_files_of_test_rows_need_no_groups(table: TABLE, dna: DNA) -> None:
    sequences = dna(9)
    train = table("a.tsv", sequence=sequences[:4], expression=range(4), locus=list("aabb"))
    test = table("test.tsv", sequence=sequences[4:6], expression=range(2))
    settings = {"group_column": "locus", "validation_split_percentage": 50}
    splits = load(regression(train, test_file=str(test), **settings))
    assert sizes(splits) == {"train": 2, "validation": 2, "test": 2}
    grouped = table("grouped.tsv", sequence=sequences[6:8], expression=range(2), locus=list("cb"))
    with fails("a.tsv, line ", "grouped.tsv, line 3 (test)", "locus"):
        load(regression(train, test_file=str(grouped), **settings))


def test_a_split_without_a_value_of_an_output(table: TABLE, dna: DNA) -> None:
    path = table("a.tsv", sequence=dna(3), a=range(3), b=[1, 2, ""], s=["train", "train", "val"])
    with fails("a.tsv", "validation", " b"):
        load(regression(path, split_column="s", label_column="a,b"), ("a", "b"))


def test_unknown_letters(table: TABLE, dna: DNA, caplog: pytest.LogCaptureFixture) -> None:
    # Of 9 x 15 + 15 k-mers, 15 are unknown: 10 %.
    settings = {"validation_split_percentage": 0}
    load(regression(table("a.tsv", sequence=[*dna(9), "N" * 20], expression=range(10)), **settings))
    (warning,) = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    check_message(warning, "a.tsv", "10.0%", "[UNK]")
    # Of 4 x 15 + 15 + 16 + ... + 19 k-mers, 85 are unknown: 85 / 145.
    path = table("a.tsv", sequence=[*dna(4), *("N" * n for n in range(20, 25))], expression=range(9))
    with fails("a.tsv", "58.6%", "[UNK]", "`alphabet`"):
        load(regression(path))


# --- held-out values that say nothing, values too close, and checkpoints that know held-out rows


@pytest.mark.parametrize("values", [[5.5, 5.5, 5.5], [7]])
@pytest.mark.parametrize("split", ["validation", "test"])
def test_held_out_values_that_cannot_be_correlated(
    split: str, values: list[float], table: TABLE, dna: DNA, caplog: pytest.LogCaptureFixture
) -> None:
    sequences = dna(12)
    train = table("a.tsv", sequence=sequences[:9], expression=range(9))
    other = table("other.tsv", sequence=sequences[9 : 9 + len(values)], expression=values)
    arguments = regression(train, **{f"{split}_file": str(other)}, validation_split_percentage=0)
    for metric in ("loss", "pearsonr", "eval_r2", "spearmanr_expression"):
        if split == "validation" and metric != "loss":
            with fails(
                "other.tsv", "expression", f"{values[0]:g}", "`metric_for_best_model`", metric.removeprefix("eval_")
            ):
                load(arguments, metric_for_best_model=metric)
        caplog.clear()
        load(arguments, metric_for_best_model=metric, load_best_model_at_end=metric == "loss" or split == "test")
        (warning,) = warnings_in(caplog)
        check_message(warning, "other.tsv", split, f"expression {values[0]:g}")


def test_one_constant_output_of_two_is_a_warning(table: TABLE, dna: DNA, caplog: pytest.LogCaptureFixture) -> None:
    path = table("a.tsv", sequence=dna(6), a=range(6), b=[1, 2, 3, 4, 5, 5], s=["train"] * 4 + ["val"] * 2)
    arguments = regression(path, split_column="s", label_column="a,b")
    load(arguments, ("a", "b"), metric_for_best_model="pearsonr")
    check_message(warnings_in(caplog)[-1], "all 2 validation rows", "b 5")
    with fails("b 5", "pearsonr_b"):
        load(arguments, ("a", "b"), metric_for_best_model="pearsonr_b")


def test_labels_that_differ_in_the_eighth_digit(table: TABLE, dna: DNA) -> None:
    path = table("a.tsv", sequence=dna(20), expression=[f"{1e7 + row / 10:.1f}" for row in range(20)])
    with fails("a.tsv", "expression", "10000001.9", "float32"):
        load(regression(path, validation_split_percentage=0))


def test_held_out_labels_that_float32_cannot_tell_apart(table: TABLE, dna: DNA) -> None:
    """The training rows of another range may be fine; correlations of these rows would be those of rounded values."""
    sequences = dna(16)
    train = table("a.tsv", sequence=sequences[:8], expression=[-2e8, 2e8] * 4)
    other = table("other.tsv", sequence=sequences[8:], expression=[f"{1e8 + row / 4:.2f}" for row in range(8)])
    with fails("other.tsv", "expression", "test rows", "100000001.8", "float32"):
        load(regression(train, test_file=str(other), validation_split_percentage=0))


@pytest.mark.parametrize("factor", [1e-36, 1e35])
def test_labels_beyond_the_range_of_float32(factor: float, table: TABLE, dna: DNA) -> None:
    path = table("a.tsv", sequence=dna(8), expression=[row * factor for row in range(8)])
    with fails("a.tsv", "expression", f"{2.29129 * factor:.3g}", "float32"):
        load(regression(path, validation_split_percentage=0))


@pytest.mark.parametrize(("values", "n_warnings"), [([4000.0, 9000.0], 1), ([203.0, 204.0], 1), ([2.0, 25.0], 0)])
def test_held_out_labels_of_another_unit(
    values: list[float], n_warnings: int, table: TABLE, dna: DNA, caplog: pytest.LogCaptureFixture
) -> None:
    sequences = dna(12)
    train = table("a.tsv", sequence=sequences[:10], expression=range(10))
    other = table("other.tsv", sequence=sequences[10:], expression=values)
    load(regression(train, validation_file=str(other)))
    assert len(warnings_in(caplog)) == n_warnings
    for warning in warnings_in(caplog):
        check_message(warning, "other.tsv", "expression", f"{np.mean(values):.3g}", "4.5", "validation")


def test_groups_too_large_to_hold_any_out(table: TABLE, dna: DNA, caplog: pytest.LogCaptureFixture) -> None:
    path = table("a.tsv", sequence=dna(20), expression=range(20), locus=["a"] * 11 + ["b"] * 9)
    splits = load(regression(path, group_column="locus", validation_split_percentage=30))
    assert sizes(splits) == {"train": 20}
    check_message(warnings_in(caplog)[0], "a.tsv", "0 validation rows", "6", "11 of 20")
    caplog.clear()
    load(regression(path, group_column="locus", validation_split_percentage=50))
    assert not warnings_in(caplog)


def test_variants_of_one_sequence_are_divided_all_the_same(
    table: TABLE, dna: DNA, caplog: pytest.LogCaptureFixture
) -> None:
    """Twelve variants of one promoter and eight others: together, the variants would leave too little to train on."""
    (parent, *others), rows = dna(9, 60), []
    for place in range(0, 60, 5):
        rows.append(parent[:place] + ("A" if parent[place] != "A" else "C") + parent[place + 1 :])
    path = table("a.tsv", sequence=[*rows, *others], expression=range(20))
    splits = load(regression(path, validation_split_percentage=50))
    assert sizes(splits) == {"train": 10, "validation": 10}
    check_message(warnings_in(caplog)[0], "a.tsv", "12 of 20", "0.9", "`group_column`")
    splits = load(regression(path, validation_split_percentage=50, similar_sequences=0.9))
    assert sizes(splits)["validation"] == 8  # asked for, the variants stay together


def test_ids_in_two_columns(table: TABLE, dna: DNA) -> None:
    """Which are the rows' is not known, and line numbers would be neither."""
    path = table("a.tsv", sequence=dna(4), expression=range(4), id=list("abcd"), other=list("efgh"))
    path.write_text(path.read_text().replace("other", "id"))
    with fails("a.tsv", "'id' twice"):
        load(regression(path, validation_split_percentage=0))


def test_a_checkpoint_that_was_trained_on_held_out_rows(promoters: Path, caplog: pytest.LogCaptureFixture) -> None:
    def splits(seed: int) -> dict[str, TokenDataset]:
        return load(regression(promoters, validation_split_percentage=20, split_seed=seed))

    earlier = splits(1)
    config = PretrainedConfig(training_sample=earlier["train"].training_sample().text)
    check_checkpoint(config, splits(1))  # the same rows are held out
    check_checkpoint(PretrainedConfig(), splits(2))  # a new model, or one that was pretrained only
    assert not warnings_in(caplog)
    later = splits(2)
    check_checkpoint(config, later)
    known = sorted(set(later["validation"].rows) & set(earlier["train"].rows))
    (warning,) = warnings_in(caplog)
    check_message(
        warning, f"promoters.tsv, line {known[0] + 2}", f"{100 * len(known) / 6:.0f} %", "6 rows", "`split_seed`"
    )


def test_an_older_checkpoint_of_the_same_file(promoters: Path, caplog: pytest.LogCaptureFixture) -> None:
    splits = load(regression(promoters))
    facts = splits["train"].facts()
    check_checkpoint(PretrainedConfig(**facts), splits)  # pretrained on the same sequences, without their values
    check_checkpoint(PretrainedConfig(**facts | {"data_checksum": "0", "label_mean": [1.0]}), splits)
    assert not warnings_in(caplog)
    check_checkpoint(PretrainedConfig(**facts, label_mean=[1.0]), splits)
    check_message(warnings_in(caplog)[0], "promoters.tsv")


# --- token files


def test_a_second_start_reads_the_file_only_when_it_has_changed(
    promoters: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SETTLED_SECONDS", -60.0)  # files count as settled at once
    first = load(regression(promoters))
    load(regression(promoters))  # which checks the new token file, once
    real = hashlib.file_digest

    def digest(*_: object) -> None:
        raise RuntimeError("read again")

    monkeypatch.setattr(hashlib, "file_digest", digest)
    again = load(regression(promoters))
    assert values_of(again) == values_of(first)
    assert again["train"].facts()["data_checksum"] == hashlib.sha256(promoters.read_bytes()).hexdigest()
    promoters.write_text(promoters.read_text().replace("\t7\n", "\t8\n"))
    with fails("read again", error=RuntimeError):
        load(regression(promoters))
    monkeypatch.setattr(hashlib, "file_digest", real)
    changed = load(regression(promoters))
    assert sorted(chain(*values_of(changed).values()))[7:10] == [8, 8, 9]


def test_cache_folder_of_the_command_line(promoters: Path, tmp_path: Path) -> None:
    load(regression(promoters, token_cache_dir=str(tmp_path / "mine")))
    assert len(list((tmp_path / "mine" / "kmer_tokens").glob("*.arrow"))) == 1


def test_no_file_is_written_outside_the_cache(promoters: Path, token_cache: Path) -> None:
    before = set(os.listdir(promoters.parent))
    load(regression(promoters))
    assert set(os.listdir(promoters.parent)) - before == {token_cache.parent.name}


# --- datasets of `datasets`


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_local_dataset_folder(ending: str, tmp_path: Path, dna: DNA) -> None:
    folder, sequences = tmp_path / "mine", dna(12)
    folder.mkdir()
    for i, split in enumerate(("train", "validation", "test")):
        rows = datasets.Dataset.from_dict(
            {
                "sequence": sequences[4 * i : 4 * i + 4],
                "expression": [10.0 * i + j for j in range(4)],
                "name": list("abcd"),
            }
        )
        getattr(rows, f"to_{ending}")(str(folder / f"{split}.{ending}"))
    arguments = RegressionDataArguments(dataset_name=str(folder), id_column="name")
    splits = load(arguments)
    assert values_of(splits) == {"train": [0, 1, 2, 3], "validation": [10, 11, 12, 13], "test": [20, 21, 22, 23]}
    assert splits["test"].table.location(1) == f"{folder}, test, row 2"
    assert splits["train"].facts()["data_name"] == f"{folder}, train"
    assert list(read_names(splits["test"], "name", "sequence")) == [(list("abcd"), sequences[8:], {})]
    with fails(folder, "'big'", "'test', 'train', 'validation'", "`train_split_name`"):
        load(replace(arguments, train_split_name="big"))


def test_dataset_that_is_not_there(promoters: Path, tmp_path: Path) -> None:
    for name, parts in {
        str(promoters): ("file", "`train_file`"),
        str(tmp_path / "absent.tsv"): ("no such dataset", "`train_file`"),
        str(tmp_path / "absent"): ("loaded",),
        "somebody/something": ("loaded",),
    }.items():
        with fails(f"`dataset_name` '{name}'", *parts):
            load(RegressionDataArguments(dataset_name=name))


# --- training rows that are streamed


@pytest.fixture
def shards(tmp_path: Path, dna: DNA) -> Path:
    """A folder of one Parquet file with 60 rows in 12 row groups."""
    (tmp_path / "shards").mkdir()
    frame = pd.DataFrame({"sequence": dna(60), "expression": np.arange(60.0)})
    frame.to_parquet(tmp_path / "shards" / "part.parquet", row_group_size=5)
    return tmp_path / "shards"


def order_of(stream: StreamedDataset) -> list[int]:
    """The rows of an epoch of one process, in the order of training."""
    batches = range(0, len(stream), stream.batch_size)
    return [
        row for first in batches for row in stream.__getitems__(range(first, first + stream.batch_size))["row"].tolist()
    ]


def test_streamed_rows_to_train_and_tables_to_evaluate_on(shards: Path, table: TABLE, dna: DNA) -> None:
    held_out = {
        f"{split}_file": str(table(f"{split}.tsv", sequence=dna(5, seed=seed), expression=range(5)))
        for seed, split in enumerate(("validation", "test"), 1)
    }
    arguments = regression(shards, streaming=True, **held_out, max_predict_samples=3)
    splits = load(arguments, per_device_train_batch_size=10)
    assert sizes(splits) == {"train": 60, "validation": 5, "test": 3}
    assert isinstance(splits["train"], StreamedDataset)
    assert values_of({split: splits[split] for split in ("validation", "test")}) == {
        "validation": [0, 1, 2, 3, 4], "test": [2, 3, 4],
    }  # fmt: skip
    assert sorted(order_of(splits["train"])) == list(range(60))
    labels = np.concatenate(list(splits["train"].label_blocks()))[:, 0]
    assert labels.tolist() == list(range(60))


def test_held_out_sequences_in_a_stream(shards: Path, table: TABLE, dna: DNA, caplog: pytest.LogCaptureFixture) -> None:
    held_out = {"validation_file": str(table("v.tsv", sequence=dna(3, seed=1), expression=range(3)))}
    held_out |= {"test_file": str(table("t.tsv", sequence=[dna(1, seed=2)[0], dna(60)[7]], expression=range(2)))}
    splits = load(regression(shards, streaming=True, **held_out), per_device_train_batch_size=10)
    order_of(splits["train"])
    (warning,) = warnings_in(caplog)
    check_message(warning, "part.parquet, row 8", "t.tsv, line 3")


def test_the_order_of_a_stream_has_the_seed_of_the_data(shards: Path) -> None:
    arguments, settings = regression(shards, streaming=True), {"per_device_train_batch_size": 10}
    orders = [
        order_of(load(arguments, **settings, **seeds)["train"])
        for seeds in ({"seed": 1}, {"seed": 2, "data_seed": 1}, {"seed": 2})
    ]
    assert orders[0] == orders[1] != orders[2]


def test_the_sampler_leaves_the_shuffling_to_the_stream(shards: Path) -> None:
    training = KmerTrainingArguments(output_dir="unused", per_device_train_batch_size=10)
    load_splits(regression(shards, streaming=True), training, KMERS, None, ("expression",))
    assert training.train_sampling_strategy == "sequential"


@pytest.mark.parametrize("split", ["validation", "test"])
def test_unknown_letters_in_rows_to_evaluate_a_stream_on(
    split: str, shards: Path, table: TABLE, dna: DNA, caplog: pytest.LogCaptureFixture
) -> None:
    path = table("other.tsv", sequence=[*dna(9, seed=1), "N" * 20], expression=range(10))
    arguments = regression(shards, streaming=True, **{f"{split}_file": str(path)})
    load(arguments, per_device_train_batch_size=10)
    (warning,) = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    check_message(warning, "other.tsv", "10.0%", "[UNK]")
    table("other.tsv", sequence=["N" * n for n in range(20, 25)], expression=range(5))
    with fails("other.tsv", "100.0%", "[UNK]", "`alphabet`"):
        load(arguments, per_device_train_batch_size=10)


def test_what_is_logged_of_a_stream(
    shards: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    load(regression(shards, streaming=True), per_device_train_batch_size=7)
    (message,) = caplog.messages
    # 8 batches of 7 are 56 of the 60 rows.
    check_message(message, "train", "60 rows", "12 row groups", "1 shard,", "4 rows", "not looked for")
    caplog.clear()
    monkeypatch.setattr(module, "StreamedDataset", partial(StreamedDataset, window_rows=4))
    load(regression(shards, streaming=True), per_device_train_batch_size=4)
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
    check_message(caplog.messages[1], "shards", "5 rows", "4 neighbours")  # a row group, and a window


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"dataloader_num_workers": 2}, ("`dataloader_num_workers` 2", "0")),
        ({"auto_find_batch_size": True}, ("`auto_find_batch_size` true", "false")),
        ({"accelerator_config": {"split_batches": True}}, ("`accelerator_config`", "split_batches")),
        ({"accelerator_config": {"dispatch_batches": True}}, ("`accelerator_config`", "dispatch_batches")),
        ({"train_sampling_strategy": "group_by_length"}, ("`train_sampling_strategy` group_by_length", "random")),
    ],
)
def test_training_flags_that_a_stream_cannot_have(
    settings: dict[str, Any], parts: tuple[str, ...], shards: Path
) -> None:
    with fails(*parts, "`streaming`"):
        load(regression(shards, streaming=True), **settings)


def test_rows_without_an_id_are_told_before_training(tmp_path: Path, dna: DNA) -> None:
    """If others have one, because their predictions would get none."""
    lines = [
        {"sequence": sequence, "expression": row} | ({"id": "x"} if row else {}) for row, sequence in enumerate(dna(20))
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with fails("a.jsonl, line 1: ", "id is empty"):
        load(regression(tmp_path / "a.jsonl"))
    assert load(PretrainingDataArguments(train_file=str(tmp_path / "a.jsonl")), labels=())


def test_pretraining_needs_no_ids(tmp_path: Path, dna: DNA, table: TABLE) -> None:
    (tmp_path / "a.fa").write_text("".join(f">promoter\n{sequence}\n" for sequence in dna(20)))
    assert sizes(load(PretrainingDataArguments(train_file=str(tmp_path / "a.fa")), ())) == {
        "train": 18,
        "validation": 2,
    }


def test_gaps_on_two_chromosomes_are_no_leak(tmp_path: Path, dna: DNA) -> None:
    left, right = dna(2, 60)
    for name, sequence in (("chr1", left), ("chr2", right)):
        (tmp_path / f"{name}.fa").write_text(f">{name}\n{'N' * 100}{sequence}\n")
    files = {"train_file": str(tmp_path / "chr1.fa"), "validation_file": str(tmp_path / "chr2.fa")}
    assert sizes(load(PretrainingDataArguments(**files, window_length=20), ())) == {"train": 3, "validation": 3}


# --- folds


def in_folds(arguments: RegressionDataArguments) -> list[dict[str, list[int]]]:
    """The measured values of every split, for each fold."""
    names = read_fold_names(arguments)
    training = KmerTrainingArguments(output_dir="unused")
    return [
        values_of(load_splits(arguments, training, KMERS, None, ("expression",), fold=fold))
        for fold in range(len(names))
    ]


def test_each_row_that_is_no_test_row_validates_once(promoters: Path) -> None:
    arguments = regression(promoters, folds=4, test_split_percentage=20)
    folds = in_folds(arguments)
    test = folds[0]["test"]
    assert test == values_of(load(regression(promoters, test_split_percentage=20)))["test"]
    assert [len(fold["validation"]) for fold in folds] == [6, 6, 6, 6]
    assert sorted(chain(test, *(fold["validation"] for fold in folds))) == list(range(30))
    for fold in folds:
        assert fold["test"] == test
        assert sorted(chain(*fold.values())) == list(range(30))


def test_folds_of_a_table_that_says_which_rows_test(table: TABLE, dna: DNA) -> None:
    splits = ["train"] * 12 + ["validation"] * 4 + ["test"] * 4
    path = table("a.tsv", sequence=dna(20), expression=range(20), split=splits)
    folds = in_folds(regression(path, split_column="split", folds=2))
    assert all(fold["test"] == [16, 17, 18, 19] for fold in folds)
    assert sorted(folds[0]["validation"] + folds[1]["validation"]) == list(range(16))


def test_groups_and_strands_stay_in_one_fold(table: TABLE, dna: DNA) -> None:
    sequences = dna(20)
    sequences[10:] = map(reverse_complement, sequences[:10])
    loci = [f"locus{row // 2}" for row in range(20)]  # 0 1, 2 3, ..., and by strand each row with the tenth after it
    path = table("a.tsv", sequence=sequences, expression=range(20), locus=loci)
    folds = in_folds(regression(path, folds=5, group_column="locus", strands="both", test_split_percentage=0))
    for fold in folds:
        values = set(fold["validation"])
        assert len(values) == 4
        assert {(value + 10) % 20 for value in values} == values == {value ^ 1 for value in values}


def test_a_column_of_folds(table: TABLE, dna: DNA) -> None:
    names = [("10", "9", "2")[row % 3] for row in range(12)]
    path = table("a.tsv", sequence=dna(12), expression=range(12), fold=names)
    arguments = regression(path, fold_column="fold", test_split_percentage=0)
    assert read_fold_names(arguments) == ["2", "9", "10"]
    assert [fold["validation"] for fold in in_folds(arguments)] == [[2, 5, 8, 11], [1, 4, 7, 10], [0, 3, 6, 9]]
    chromosomes = table("b.tsv", sequence=dna(4), expression=range(4), chromosome=["chrX", "chr1", "chrX", "chr1"])
    assert read_fold_names(regression(chromosomes, fold_column="chromosome")) == ["chr1", "chrX"]


def test_folds_that_cannot_be(table: TABLE, dna: DNA, promoters: Path) -> None:
    sequences = dna(12)
    sequences[7] = sequences[0]
    names = [row % 3 for row in range(12)]
    path = table("a.tsv", sequence=sequences, expression=range(12), fold=names)
    with fails("a.tsv, line 2 (0)", "line 9 (1)", "`fold_column` fold", "`folds`"):
        in_folds(regression(path, fold_column="fold", duplicates="keep", test_split_percentage=0))
    constant = table("b.tsv", sequence=dna(4), expression=[1, 2, 3, 3], fold=[0, 0, 1, 1])
    with fails("b.tsv", "2 rows of fold 1", "1 different", "expression"):
        in_folds(regression(constant, fold_column="fold", test_split_percentage=0, validation_split_percentage=0))
    with fails("promoters.tsv", "fold_of_row"):
        read_fold_names(regression(promoters, fold_column="fold_of_row"))
    with fails("b.tsv", "expression", "two folds"):
        read_fold_names(regression(table("b.tsv", sequence=dna(2), expression=[1, 1]), fold_column="expression"))
    for settings, parts in (
        ({"folds": 1}, ["--folds 1", "2 or more"]),
        ({"folds": 2, "fold_column": "fold"}, ["--folds 2", "--fold_column fold"]),
        ({"folds": 2, "validation_file": "v.tsv"}, ["--validation_file v.tsv", "--test_file"]),
        ({"folds": 2, "streaming": True}, ["--folds 2", "--streaming"]),
    ):
        with fails(*parts):
            regression(path, **settings)


def test_a_share_of_the_training_rows(table: TABLE, dna: DNA) -> None:
    path = table("a.tsv", sequence=dna(40), expression=range(40), locus=[row // 2 for row in range(40)])
    settings = {"group_column": "locus", "validation_rows": 6, "test_rows": 6}
    whole = values_of(load(regression(path, **settings)))
    share = values_of(load(regression(path, **settings, train_fraction=0.5)))
    assert (share["validation"], share["test"]) == (whole["validation"], whole["test"])
    assert len(share["train"]) == 14
    assert set(share["train"]) < set(whole["train"])
    assert {value // 2 for value in share["train"]} == {value // 2 for value in share["train"][::2]}
    other = values_of(load(regression(path, **settings, train_fraction=0.5, sample_seed=7)))
    assert other["test"] == whole["test"]
    assert other["train"] != share["train"]
    for given, parts in (
        ({"train_fraction": 1.5}, ["--train_fraction 1.5", "up to 1"]),
        ({"sample_seed": 1}, ["--sample_seed 1", "--train_fraction"]),
    ):
        with fails(*parts):
            regression(path, **given)


# --- columns that are found, rows that are left out


def test_columns_are_found_once_for_all_splits(table: TABLE, dna: DNA) -> None:
    sequences = dna(40)
    train = table("a.tsv", Oligo=sequences[:30], locus=np.arange(30) // 3, log2FC=range(30))
    test = table("b.tsv", log2FC=range(10), Oligo=sequences[30:], other=range(10))
    arguments = regression(train, test_file=str(test), group_column="locus")
    check_message(settle_columns(arguments), "a.tsv", "'Oligo'", "'log2FC'")
    assert (arguments.sequence_column, arguments.label_columns) == ("Oligo", ["log2FC"])
    splits = load(arguments, arguments.label_columns)
    assert values_of(splits)["test"] == list(range(10))
    assert settle_columns(arguments) == ""


def test_a_named_column_that_is_missing_is_told_before_any_is_guessed(table: TABLE, dna: DNA) -> None:
    train = table("a.tsv", Oligo=dna(4), Gene=[0, 0, 1, 1])  # which has no measured values either
    with fails("a.tsv: no column 'gene' (`group_column`)", "'Oligo', 'Gene'", "did you mean 'Gene'?"):
        settle_columns(regression(train, group_column="gene"))
    with fails("no column 'batch' (`id_column`)", "name one with `id_column`"):
        settle_columns(regression(train, group_column="Gene", id_column="batch"))


def test_columns_that_are_named_are_not_looked_for(table: TABLE, dna: DNA) -> None:
    train = table("a.tsv", Oligo=dna(4), **{"x, y": range(4)}, z=range(4))
    with fails("'x, y', 'z'", "`label_column`"):
        settle_columns(regression(train))
    named = regression(train, label_column="z,other", sequence_column="DNA")
    assert settle_columns(named) == ""
    assert (named.label_column, named.sequence_column) == ("z,other", "DNA")
    quoted = regression(table("b.tsv", Oligo=dna(4), **{"x, y": range(4)}))
    assert settle_columns(quoted)
    assert quoted.label_columns == ["x, y"]
    language = PretrainingDataArguments(train_file=str(train))
    settle_columns(language)
    assert (language.sequence_column, language.label_column) == ("Oligo", "expression")


def test_bad_rows_of_all_files_are_listed(table: TABLE, dna: DNA) -> None:
    sequences = dna(40)
    train = table(
        "a.tsv",
        id=[f"p{i}" if i != 4 else "" for i in range(30)],
        sequence=["ACGX", *sequences[1:30]],
        expression=range(30),
        fold=["a", "b", ""] + ["a", "b", "c"] * 9,
    )
    test = table("b.tsv", sequence=sequences[30:], expression=[*range(9), "x"])
    listed: list[Any] = []

    def list_rejected(rows: Sequence[tuple[str, Any]]) -> str:
        listed.extend(rows)
        return "out/rejected_rows.tsv"

    def read(**settings: Any) -> dict[str, TokenDataset]:
        listed.clear()
        arguments = regression(train, test_file=str(test), fold_column="fold", **settings)
        assert read_fold_names(arguments) == ["a", "b", "c"]
        trainer = KmerTrainingArguments(output_dir="unused")
        folder = RunFolder(Path("out"))
        folder.list_rejected = list_rejected
        return load_splits(arguments, trainer, KMERS, None, ("expression",), fold=0, folder=folder)

    with fails("a.tsv, line 2", "'X'", "3 of 30 rows", "out/rejected_rows.tsv", "`on_bad_rows` drop"):
        read()
    assert [(file, row.line, row.column) for file, row in listed] == [
        ("a.tsv", 2, "sequence"), ("a.tsv", 4, "fold"), ("a.tsv", 6, "id"),
    ]  # fmt: skip
    splits = read(on_bad_rows="drop")
    assert [(file, row.line) for file, row in listed] == [("a.tsv", 2), ("a.tsv", 4), ("a.tsv", 6), ("b.tsv", 10 + 1)]
    assert sizes(splits) == {"train": 18, "validation": 9, "test": 9}
    assert splits["test"].rejected() == {"b.tsv": 1}


def test_values_without_a_logarithm_are_bad_rows(table: TABLE, dna: DNA) -> None:
    path = table("a.tsv", sequence=dna(20), expression=[8, 0, *range(1, 19)])
    settings = {"label_transform": "log2", "validation_rows": 4}
    with fails("a.tsv, line 3", "expression is 0", "`label_pseudocount`"):
        load(regression(path, **settings))
    splits = load(regression(path, on_bad_rows="drop", **settings))
    assert splits["train"].rejected() == {"a.tsv": 1}
    values = np.sort(np.concatenate([part.labels[:, 0] for part in splits.values()]))
    np.testing.assert_allclose(values, np.sort(np.log2([8, *range(1, 19)])))

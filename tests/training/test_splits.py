"""From sequences to batches: token files, windows, divisions and batches against plain Python."""

import hashlib
import json
import os
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from transformers.trainer_pt_utils import LengthGroupedSampler

from kmerbert import files as checksums
from kmerbert.cli.flags import PretrainingDataArguments, RegressionDataArguments
from kmerbert.reading import sources as tables
from kmerbert.reading.rows import RowSpec
from kmerbert.reading.sources import FileSource
from kmerbert.tokens import cache as tokens
from kmerbert.tokens.batches import TokenDataset, collate, describe, read_names
from kmerbert.tokens.cache import TokenTable, tokenise
from kmerbert.training import splits as data
from kmerbert.training.splits import load_splits
from tokenization_kmer import KmerTokenizer

TABLE = Callable[..., Path]
DNA = Callable[..., list[str]]


@pytest.fixture(scope="module")
def kmers() -> KmerTokenizer:
    """The tokenizer of most tests."""
    return KmerTokenizer(k=6)


def read(path: Path, tokenizer: KmerTokenizer, *labels: str, **spec: Any) -> TokenTable:
    """Tokenises a file."""
    source = FileSource(path, headerless_label=labels[0] if labels else None)
    return tokenise(source, RowSpec("sequence", labels, **spec), tokenizer, None)


def ids_of(table: TokenTable) -> list[list[int]]:
    """The ids of every row, by the table's own positions."""
    return [table.ids[a : a + n].tolist() for a, n in zip(table.starts, table.lengths, strict=True)]


def expected_ids(tokenizer: KmerTokenizer, sequences: list[str]) -> list[list[int]]:
    """The same, one sequence after the other."""
    return [tokenizer.encode_ids([sequence])[0].tolist() for sequence in sequences]


def ragged(n: int, seed: int = 0, shortest: int = 6, longest: int = 40) -> list[str]:
    """Distinct random sequences of many lengths."""
    random = np.random.default_rng(seed)
    rows = ("".join(random.choice(list("ACGT" * 12 + "N"), random.integers(shortest, longest))) for _ in range(3 * n))
    return list(dict.fromkeys(rows))[:n]


# --- the token file


def test_file_holds_ids_and_labels_and_nothing_else(table: TABLE, dna: DNA, kmers: KmerTokenizer) -> None:
    sequences = dna(50)
    path = table("a.tsv", name=range(50), sequence=sequences, expression=np.arange(50) / 4)
    found = read(path, kmers, "expression")
    schema = found.dataset.data.schema
    assert schema.names == ["input_ids", "labels"]
    assert schema.field("input_ids").type == pa.list_(pa.int16())
    assert schema.field("labels").type == pa.list_(pa.float32(), 1)
    assert found.dataset["input_ids"][:] == expected_ids(kmers, sequences)
    assert ids_of(found) == expected_ids(kmers, sequences)
    assert found.labels.tolist() == [[value] for value in np.arange(50) / 4]
    assert found.numbers.tolist() == list(range(2, 52))
    assert len(found) == 50


@pytest.mark.parametrize(("k", "dtype"), [(3, np.int8), (4, np.int16), (7, np.int16), (8, np.int32)])
def test_smallest_integer_type(k: int, dtype: type, table: TABLE, dna: DNA) -> None:
    tokenizer, sequences = KmerTokenizer(k=k, stride=2), [*dna(20), *dna(3, 9)]
    found = read(table("a.tsv", sequence=sequences), tokenizer)
    assert found.ids.dtype == dtype
    assert ids_of(found) == expected_ids(tokenizer, sequences)
    assert found.dataset.data.schema.names == ["input_ids"]
    assert found.labels.shape == (23, 0)


def test_letters_are_read_as_dna(table: TABLE, kmers: KmerTokenizer) -> None:
    found = read(table("a.tsv", sequence=[" acguACGT ", "ACGTRYKMAC", "ACGTACGTTT"]), kmers)
    assert ids_of(found) == expected_ids(kmers, ["ACGTACGT", "ACGTNNNNAC", "ACGTACGTTT"])
    # Of the 3 + 5 + 5 k-mers, 5 hold one of the four ambiguous letters.
    assert found.unknown_share == pytest.approx(5 / 13)


def test_several_labels_some_missing(table: TABLE, dna: DNA, kmers: KmerTokenizer) -> None:
    path = table("a.csv", sequence=dna(3), a=[1, "NA", 3], b=["", 5, 6])
    np.testing.assert_array_equal(read(path, kmers, "b", "a").labels, [[np.nan, 1], [5, np.nan], [6, 3]])


@pytest.mark.parametrize("ending", ["fa", "parquet", "jsonl", "tsv"])
def test_many_record_batches_read_back_exactly(
    ending: str, tmp_path: Path, kmers: KmerTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "BLOCK_BYTES", 1 << 18)
    sequences = ragged(23_000)
    values = np.random.default_rng(0).normal(size=len(sequences)).astype(np.float32)
    path, labels = tmp_path / f"a.{ending}", () if ending == "fa" else ("expression",)
    frame = pd.DataFrame({"sequence": sequences, "expression": values.astype(float)})
    if ending == "fa":
        path.write_text("".join(f">{i}\n{sequence}\n" for i, sequence in enumerate(sequences)))
    elif ending == "parquet":
        frame.to_parquet(path)
    elif ending == "jsonl":
        frame.to_json(path, orient="records", lines=True, double_precision=15)
    else:
        frame.to_csv(path, sep="\t", index=False)
    found = read(path, kmers, *labels)
    assert len(found.dataset.data.column("input_ids").chunks) >= 3
    padded, n_kmers = kmers.encode_ids(sequences), [len(sequence) - 5 for sequence in sequences]
    assert ids_of(found) == [row[: n + 2] for row, n in zip(padded.tolist(), n_kmers, strict=True)]
    if labels:
        np.testing.assert_array_equal(found.labels[:, 0], values)
    random = np.random.default_rng(1).integers(0, len(sequences), 64)
    batch = TokenDataset(found, np.arange(len(sequences)), 0).__getitems__(random)
    np.testing.assert_array_equal(batch["input_ids"], kmers.encode_ids([sequences[row] for row in random]))


# --- the cache


def test_cache_is_used_again(promoters: Path, kmers: KmerTokenizer, token_cache: Path) -> None:
    first = read(promoters, kmers, "expression")
    files = {path: path.stat().st_mtime_ns for path in token_cache.iterdir()}
    assert sorted(path.suffix for path in files) == [".arrow", ".npz"]
    again = read(promoters, kmers, "expression")
    assert {path: path.stat().st_mtime_ns for path in token_cache.iterdir()} == files
    assert ids_of(again) == ids_of(first)
    np.testing.assert_array_equal(again.keys, first.keys)
    # The same bytes under another name are the same rows, but are named as they are now.
    copy = promoters.with_name("copy.tsv")
    copy.write_bytes(promoters.read_bytes())
    assert read(copy, kmers, "expression").location(0) == f"{copy}, line 2"
    assert {path: path.stat().st_mtime_ns for path in token_cache.iterdir()} == files


@pytest.mark.parametrize(
    "change",
    [
        "content",
        "k",
        "stride",
        "alphabet",
        "labels",
        "split",
        "group",
        "id",
        "window",
        "step",
        "cut",
        "limit",
        "name",
    ],
)
def test_cache_is_not_used_for_anything_else(change: str, table: TABLE, dna: DNA, token_cache: Path) -> None:
    columns = {"sequence": dna(4), "expression": range(4), "s": ["train"] * 4, "g": "abcd", "i": "wxyz"}
    path = table("a.tsv", **columns)
    settings: dict[str, Any] = {"window": 12} if change == "step" else {}
    read(path, KmerTokenizer(k=6), "expression", **settings)
    tokenizer, labels = KmerTokenizer(k=6), ["expression"]
    if change == "content":
        path = table("a.tsv", **columns | {"expression": [0, 1, 2, 4]})
    elif change == "name":
        path = path.rename(path.with_suffix(".txt"))
    elif change in ("k", "stride", "alphabet"):
        tokenizer = KmerTokenizer(**{"k": 6} | {change: {"k": 5, "stride": 2, "alphabet": "ACGT"}[change]})
    elif change == "labels":
        labels = []
    else:
        name = {"cut": "cut_at", "limit": "max_tokens"}.get(change, change)
        settings[name] = {"split": "s", "group": "g", "id": "i", "window": 12, "step": 7}.get(change, 17)
    found = read(path, tokenizer, *labels, **settings)
    # A file of another name but of the same bytes and format is the same file.
    assert len(list(token_cache.glob("*.arrow"))) == (1 if change == "name" else 2)
    if change == "content":
        assert found.labels[3] == 4


@pytest.mark.parametrize("bad", ["ACGTXCGT", "ACG", ""])
def test_nothing_half_written_remains(
    bad: str, table: TABLE, dna: DNA, kmers: KmerTokenizer, token_cache: Path
) -> None:
    path = table("a.tsv", sequence=[*dna(5), bad], expression=range(6))
    with pytest.raises(ValueError, match=r"a.tsv, line 7: "):
        read(path, kmers, "expression")
    assert list(token_cache.iterdir()) == []


def test_an_interrupted_pair_of_files_is_written_again(
    promoters: Path, kmers: KmerTokenizer, token_cache: Path
) -> None:
    expected = ids_of(read(promoters, kmers, "expression"))
    (token_cache / next(token_cache.glob("*.npz")).name).unlink()
    assert ids_of(read(promoters, kmers, "expression")) == expected
    assert len(list(token_cache.iterdir())) == 2


def test_equal_sequences_have_one_number(table: TABLE, kmers: KmerTokenizer) -> None:
    found = read(table("a.tsv", sequence=["ACGTACGT", "CCCCCC", "acgtacgt", "ACGTACGA"]), kmers)
    for table_ in (found, read(found.source.path, kmers)):  # the second from the cache
        numbers = table_.sequence_numbers
        assert numbers[0] == numbers[2]
        assert sorted(set(numbers.tolist())) == [0, 1, 2]
        assert np.argsort(table_.keys).tolist() == np.argsort(numbers).tolist()


def test_a_second_start_reads_the_file_only_when_it_has_changed(
    promoters: Path, kmers: KmerTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checksums, "SETTLED_SECONDS", -60.0)  # files count as settled at once
    first = load_splits(regression(promoters), kmers, None, ["expression"])
    real = hashlib.file_digest

    def digest(*_: object) -> None:
        raise RuntimeError("read again")

    monkeypatch.setattr(hashlib, "file_digest", digest)
    again = load_splits(regression(promoters), kmers, None, ["expression"])
    assert numbers(again) == numbers(first)
    assert describe(again["train"])["data_checksum"] == hashlib.sha256(promoters.read_bytes()).hexdigest()
    promoters.write_text(promoters.read_text().replace("\t7\n", "\t8\n"))
    with pytest.raises(RuntimeError, match="read again"):
        load_splits(regression(promoters), kmers, None, ["expression"])
    monkeypatch.setattr(hashlib, "file_digest", real)
    changed = load_splits(regression(promoters), kmers, None, ["expression"])
    assert sorted(chain(*numbers(changed).values()))[7:10] == [8, 8, 9]


def test_cache_folder_of_the_command_line(promoters: Path, kmers: KmerTokenizer, tmp_path: Path) -> None:
    arguments = RegressionDataArguments(train_file=str(promoters), token_cache_dir=str(tmp_path / "mine"))
    load_splits(arguments, kmers, None, ["expression"])
    assert len(list((tmp_path / "mine" / "kmer_tokens").iterdir())) == 2


def test_cache_that_cannot_be_written(promoters: Path, kmers: KmerTokenizer) -> None:
    arguments = RegressionDataArguments(train_file=str(promoters), token_cache_dir=str(promoters / "below"))
    with pytest.raises(
        ValueError, match=r"kmer_tokens: token files cannot be written there .*: name another --token_cache_dir$"
    ):
        load_splits(arguments, kmers, None, ["expression"])


# --- cutting


@pytest.mark.parametrize(("length", "step"), [(10, None), (10, 10), (10, 3), (7, 1), (100, None)])
def test_windows_cover_every_base_and_know_their_overlaps(
    length: int, step: int | None, table: TABLE, kmers: KmerTokenizer
) -> None:
    sequences = ragged(20, longest=60)
    found = read(table("a.tsv", sequence=sequences), kmers, window=length, step=step)
    row = 0
    for number, sequence in enumerate(sequences, 2):
        ends = []
        position = 0
        while position < len(sequence):
            assert found.numbers[row] == number
            start = max(0, len(sequence) - length) if position + length > len(sequence) else position
            assert ids_of(found)[row] == kmers.encode_ids([sequence[start : start + length]])[0].tolist()
            if ends:
                same = found.overlaps[row] == found.overlaps[row - 1]
                assert same == (start < ends[-1])
            elif row:
                assert found.overlaps[row] != found.overlaps[row - 1]
            ends.append(start + min(length, len(sequence)))
            position = len(sequence) if ends[-1] == len(sequence) else position + (step or length)
            row += 1
    assert row == len(found)


def test_window_shorter_than_a_kmer(promoters: Path, kmers: KmerTokenizer) -> None:
    with pytest.raises(ValueError, match="^--window_length 5: allowed is one k-mer, 6 bases, or more$"):
        read(promoters, kmers, window=5)


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("most", [3, 4, 10, 17])
def test_max_seq_length_cuts(most: int, stride: int, table: TABLE) -> None:
    tokenizer, sequences = KmerTokenizer(k=6, stride=stride), ragged(30, longest=80)
    found = read(table("a.tsv", sequence=sequences), tokenizer, cut_at=most)
    assert found.lengths.max() == most
    for row, ids in zip(ids_of(found), expected_ids(tokenizer, sequences), strict=True):
        assert row == (ids if len(ids) <= most else [*ids[: most - 1], tokenizer.sep_token_id])


def test_lengths_that_are_refused(table: TABLE, dna: DNA, kmers: KmerTokenizer) -> None:
    path = table("a.tsv", sequence=[*dna(3, 20), *dna(1, 30)])
    with pytest.raises(
        ValueError,
        match=r"a.tsv, line 5: 30 bases give 27 tokens, but the model reads 20: cut with --max_seq_length 20",
    ):
        read(path, kmers, max_tokens=20)
    assert read(path, kmers, max_tokens=27).lengths.tolist() == [17, 17, 17, 27]
    assert read(path, kmers, max_tokens=20, cut_at=20).lengths.max() == 20
    with pytest.raises(ValueError, match="^--max_seq_length 2: allowed is 3 tokens or more$"):
        read(path, kmers, cut_at=2)
    with pytest.raises(
        ValueError,
        match=r"b.tsv, line 3: 5 bases are shorter than one k-mer of 6: remove the row or take a smaller --k$",
    ):
        read(table("b.tsv", sequence=["ACGTAC", "ACGTA"]), kmers)


# --- rows that are refused


@pytest.mark.parametrize(
    ("columns", "spec", "message"),
    [
        ({"sequence": ["ACGTACGT", "ACGT-CGT"]}, {}, r"a.tsv, line 3: letter '-' at base 5: allowed are ACGTN, U"),
        ({"sequence": ["MKVLAAGE"]}, {}, r"a.tsv, line 2: letter 'L' at base 4"),
        ({"sequence": ["ACGTACG\u00e9"]}, {}, r"a.tsv, line 2: letter '\u00e9' at base 8"),
        ({"sequence": ["ACGTACGT", "  "]}, {}, r"a.tsv, line 3: the sequence is empty: remove the row$"),
        ({"sequence": ["ACGTACGT"] * 2, "y": ["1", ""]}, {}, r"a.tsv, line 3: no value in y: every row needs one"),
        ({"sequence": ["ACGTACGT"] * 2, "y": ["1", "nan"]}, {}, r"a.tsv, line 3: no value in y"),
        ({"sequence": ["ACGTACGT"] * 2, "y": ["1", "x"]}, {}, r"a.tsv, line 3: y is 'x': allowed are numbers$"),
        ({"sequence": ["ACGTACGT"], "s": ["holdout"]}, {"split": "s"}, r"line 2: s is 'holdout': allowed are train, validation and test$"),
        ({"sequence": ["ACGTACGT"], "s": [""]}, {"split": "s"}, r"line 2: s is empty: every row needs one$"),
        ({"sequence": ["ACGTACGT"], "g": [" "]}, {"group": "g"}, r"line 2: g is empty: every row needs one$"),
        ({"sequence": ["ACGTACGT"], "i": [""]}, {"id": "i"}, r"line 2: i is empty: every row needs one$"),
        ({"sequence": ["ACGTACGT", "ACGTACGA", "ACGTACGC"], "i": ["a", "b", "a"]}, {"id": "i"},
         r"a.tsv, line 2 and .*a.tsv, line 4 have the same id: ids may not repeat$"),
        ({"sequence": []}, {}, r"a.tsv: no rows$"),
    ],
)  # fmt: skip
def test_refused_rows(
    columns: dict[str, list[str]], spec: dict[str, str], message: str, table: TABLE, kmers: KmerTokenizer
) -> None:
    with pytest.raises(ValueError, match=message):
        read(table("a.tsv", **columns), kmers, *(["y"] if "y" in columns else []), **spec)


def test_fasta_names_may_not_repeat(tmp_path: Path, kmers: KmerTokenizer) -> None:
    (tmp_path / "a.fa").write_text(">x\nACGTACGT\n\n>x\nACGTACGA\n")
    with pytest.raises(ValueError, match=r"a.fa, line 1 and .*a.fa, line 4 have the same id"):
        read(tmp_path / "a.fa", kmers)


def test_a_column_called_line_is_a_column(table: TABLE, dna: DNA, kmers: KmerTokenizer) -> None:
    found = read(table("a.tsv", sequence=dna(3), line=["x", "y", "x"]), kmers, group="line")
    assert found.numbers.tolist() == [2, 3, 4]
    assert found.groups[0] == found.groups[2] != found.groups[1]


def test_sequences_that_are_no_text(tmp_path: Path, kmers: KmerTokenizer) -> None:
    pd.DataFrame({"sequence": [1, 2]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"a.parquet: the column 'sequence' holds int64, not text$"):
        read(tmp_path / "a.parquet", kmers)
    (tmp_path / "a.jsonl").write_text('{"sequence": null}\n')
    with pytest.raises(ValueError, match=r"a.jsonl, line 1: the sequence is empty"):
        read(tmp_path / "a.jsonl", kmers)


# --- batches


@pytest.mark.parametrize("seed", range(5))
def test_batches_equal_plain_python(seed: int, table: TABLE, kmers: KmerTokenizer) -> None:
    random = np.random.default_rng(seed)
    sequences = ragged(200, seed)
    table_ = read(table("a.tsv", sequence=sequences, y=range(200)), kmers, "y")
    rows = random.permutation(200)[:120]
    dataset = TokenDataset(table_, rows, pad_id=0).with_targets(random.normal(size=(120, 1)).astype(np.float32))
    dataset.epoch = seed
    picked = random.integers(0, 120, 16).tolist()
    batch = dataset.__getitems__(picked)
    expected = expected_ids(kmers, [sequences[rows[index]] for index in picked])
    longest = max(map(len, expected))
    assert batch["input_ids"].tolist() == [ids + [0] * (longest - len(ids)) for ids in expected]
    assert batch["attention_mask"].tolist() == [[1] * len(ids) + [0] * (longest - len(ids)) for ids in expected]
    assert batch["row"].tolist() == rows[picked].tolist()
    assert batch["epoch"] == seed
    assert batch["labels"].tolist() == dataset.targets[picked].tolist()
    assert dataset.labels[:, 0].tolist() == rows.tolist()
    tensors = collate(batch)
    assert {name: tensor.dtype for name, tensor in tensors.items()} == {
        "input_ids": torch.int64,
        "attention_mask": torch.int64,
        "labels": torch.float32,
    }
    assert tensors["input_ids"].tolist() == batch["input_ids"].tolist()


def test_equal_lengths_need_no_mask(promoters: Path, kmers: KmerTokenizer) -> None:
    dataset = TokenDataset(read(promoters, kmers), np.arange(30), pad_id=0)
    assert set(dataset.__getitems__([3, 1])) == {"row", "epoch", "input_ids"}
    assert set(collate(dataset[3])) == {"input_ids"}
    np.testing.assert_array_equal(dataset[3]["input_ids"], dataset.__getitems__([3])["input_ids"])


def test_padding_is_the_tokenizers(table: TABLE, kmers: KmerTokenizer) -> None:
    dataset = TokenDataset(read(table("a.tsv", sequence=["ACGTACGT", "ACGTAC"]), kmers), np.arange(2), pad_id=9)
    assert dataset.__getitems__([0, 1])["input_ids"][1].tolist()[-2:] == [9, 9]


def test_first_rows_with_their_targets(promoters: Path, kmers: KmerTokenizer) -> None:
    dataset = TokenDataset(read(promoters, kmers, "expression"), np.arange(5, 25), 0)
    dataset = dataset.with_targets(dataset.labels * 2)
    assert dataset.first(3).rows.tolist() == [5, 6, 7]
    assert dataset.first(3).targets[:, 0].tolist() == [10, 12, 14]
    assert len(dataset.first(None)) == 20
    assert len(dataset.first(99)) == 20


# --- divisions


def regression(path: Path, **settings: Any) -> RegressionDataArguments:
    """Arguments for a table with the column `expression`."""
    return RegressionDataArguments(train_file=str(path), **settings)


def numbers(splits: dict[str, TokenDataset]) -> dict[str, list[int]]:
    """The measured values of every split."""
    return {split: dataset.labels[:, 0].astype(int).tolist() for split, dataset in splits.items()}


def test_percentages(promoters: Path, kmers: KmerTokenizer) -> None:
    splits = load_splits(regression(promoters, test_split_percentage=20), kmers, None, ["expression"])
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 21, "validation": 3, "test": 6}
    assert sorted(chain(*numbers(splits).values())) == list(range(30))
    again = load_splits(regression(promoters, test_split_percentage=20), kmers, None, ["expression"])
    assert numbers(again) == numbers(splits)
    other = load_splits(regression(promoters, test_split_percentage=20, split_seed=1), kmers, None, ["expression"])
    assert numbers(other) != numbers(splits)


def test_exact_numbers(promoters: Path, kmers: KmerTokenizer) -> None:
    splits = load_splits(regression(promoters, validation_rows=7, test_rows=11), kmers, None, ["expression"])
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 12, "validation": 7, "test": 11}


def test_no_validation_rows(promoters: Path, kmers: KmerTokenizer) -> None:
    splits = load_splits(regression(promoters, validation_split_percentage=0), kmers, None, ["expression"])
    assert list(splits) == ["train"]


def test_files(table: TABLE, dna: DNA, kmers: KmerTokenizer) -> None:
    sequences = dna(12)
    paths = [
        table(f"{i}.{ending}", sequence=sequences[4 * i : 4 * i + 4], expression=range(10 * i, 10 * i + 4))
        for i, ending in enumerate(("tsv", "csv", "txt"))
    ]
    arguments = regression(paths[0], validation_file=str(paths[1]), test_file=str(paths[2]))
    splits = load_splits(arguments, kmers, None, ["expression"])
    assert numbers(splits) == {"train": [0, 1, 2, 3], "validation": [10, 11, 12, 13], "test": [20, 21, 22, 23]}


def test_split_column(table: TABLE, dna: DNA, kmers: KmerTokenizer) -> None:
    words = ["train", "TEST", "val", "dev", " Training ", "valid", "testing", "validation"]
    path = table("a.tsv", sequence=dna(8), expression=range(8), fold=words)
    splits = load_splits(regression(path, split_column="fold"), kmers, None, ["expression"])
    assert numbers(splits) == {"train": [0, 4], "validation": [2, 3, 5, 7], "test": [1, 6]}


def test_split_column_with_a_test_file(table: TABLE, dna: DNA, kmers: KmerTokenizer) -> None:
    test = table("test.tsv", sequence=dna(3, seed=1), expression=range(3))
    path = table("a.tsv", sequence=dna(4), expression=range(4), fold=["train", "train", "val", "val"])
    arguments = regression(path, split_column="fold", test_file=str(test))
    assert numbers(load_splits(arguments, kmers, None, ["expression"]))["test"] == [0, 1, 2]
    path = table("a.tsv", sequence=dna(4), expression=range(4), fold=["train", "train", "val", "test"])
    with pytest.raises(
        ValueError, match=r"a.tsv, line 5 is a test row by --split_column fold, but --test_file names others"
    ):
        load_splits(arguments, kmers, None, ["expression"])


def test_a_table_without_training_rows(table: TABLE, dna: DNA, kmers: KmerTokenizer) -> None:
    path = table("a.tsv", sequence=dna(2), expression=range(2), fold=["val", "test"])
    with pytest.raises(ValueError, match=r"a.tsv: no training rows$"):
        load_splits(regression(path, split_column="fold"), kmers, None, ["expression"])


@pytest.mark.parametrize("seed", range(10))
def test_groups_and_equal_sequences_stay_on_one_side(seed: int, table: TABLE, dna: DNA, kmers: KmerTokenizer) -> None:
    random = np.random.default_rng(seed)
    sequences = [dna(60)[row] for row in random.integers(0, 60, 100)]
    groups = [f"locus {group}" for group in random.integers(0, 40, 100)]
    path = table("a.tsv", sequence=sequences, expression=range(100), locus=groups)
    for group_column in ("locus", None):
        arguments = regression(
            path, group_column=group_column, duplicates="keep", validation_split_percentage=20, test_split_percentage=20,
            split_seed=seed,
        )  # fmt: skip
        found = numbers(load_splits(arguments, kmers, None, ["expression"]))
        assert sorted(chain(*found.values())) == list(range(100))
        sides = {row: split for split, rows in found.items() for row in rows}
        for names in [sequences, groups] if group_column else [sequences]:
            for name in set(names):
                assert len({sides[row] for row in range(100) if names[row] == name}) == 1
        assert set(sides.values()) == {"train", "validation", "test"} or group_column


def test_windows_that_share_bases_stay_on_one_side(tmp_path: Path, kmers: KmerTokenizer) -> None:
    random = np.random.default_rng(0)
    path = tmp_path / "a.fa"
    path.write_text("".join(f">{i}\n{''.join(random.choice(list('ACGT'), 95))}\n" for i in range(40)))
    for step, fits in ((10, 40 * 9), (20, 40 * 5)):  # 9 windows in a chain; 4 of 20 bases, the last shares 5 bases
        arguments = PretrainingDataArguments(train_file=str(path), window_length=20, window_step=step)
        splits = load_splits(arguments, kmers, None)
        assert sum(map(len, splits.values())) == fits
        overlaps = {split: set(rows.table.overlaps[rows.rows].tolist()) for split, rows in splits.items()}
        assert not overlaps["train"] & overlaps["validation"]
    # Without a chain, windows of one sequence may be on two sides.
    records = {split: set(rows.table.numbers[rows.rows].tolist()) for split, rows in splits.items()}
    assert records["train"] & records["validation"]


def test_leaks_and_repeats_are_refused(table: TABLE, dna: DNA, kmers: KmerTokenizer) -> None:
    sequences = dna(6)
    train = table("train.tsv", sequence=[*sequences[:3], sequences[1].lower()], expression=range(4))
    with pytest.raises(
        ValueError,
        match=r"train.tsv, line 3 and .*train.tsv, line 5 hold the same sequence \(1 rows repeat .*--duplicates keep$",
    ):
        load_splits(regression(train), kmers, None, ["expression"])
    train = table("train.tsv", sequence=sequences[:3], expression=range(3))
    other = table("other.tsv", sequence=[sequences[4], sequences[2]], expression=range(2))
    for split in ("validation", "test"):
        arguments = regression(train, **{f"{split}_file": str(other)}, duplicates="keep", validation_split_percentage=0)
        with pytest.raises(
            ValueError, match=rf"train.tsv, line 4 \(train\) and .*other.tsv, line 3 \({split}\) hold the same sequence"
        ):
            load_splits(arguments, kmers, None, ["expression"])
    folds = table(
        "folds.tsv", sequence=[*sequences[:3], sequences[0]], expression=range(4), s=["train", "val", "val", "test"]
    )
    with pytest.raises(
        ValueError, match=r"folds.tsv, line 2 \(train\) and .*folds.tsv, line 5 \(test\) hold the same sequence"
    ):
        load_splits(regression(folds, split_column="s"), kmers, None, ["expression"])


def test_group_on_two_sides_is_refused(table: TABLE, dna: DNA, kmers: KmerTokenizer) -> None:
    path = table("a.tsv", sequence=dna(4), expression=range(4), s=["train", "train", "val", "val"], locus=list("abcb"))
    with pytest.raises(
        ValueError, match=r"a.tsv, line 3 \(train\) and .*a.tsv, line 5 \(validation\) hold the same locus: a group"
    ):
        load_splits(regression(path, split_column="s", group_column="locus"), kmers, None, ["expression"])


def test_files_of_test_rows_need_no_groups(table: TABLE, dna: DNA, kmers: KmerTokenizer) -> None:
    sequences = dna(9)
    train = table("a.tsv", sequence=sequences[:4], expression=range(4), locus=list("aabb"))
    test = table("test.tsv", sequence=sequences[4:6], expression=range(2))
    settings = {"group_column": "locus", "validation_split_percentage": 50}
    splits = load_splits(regression(train, test_file=str(test), **settings), kmers, None, ["expression"])
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 2, "validation": 2, "test": 2}
    grouped = table("grouped.tsv", sequence=sequences[6:8], expression=range(2), locus=list("cb"))
    with pytest.raises(ValueError, match=r"a.tsv, line [45] .* and .*grouped.tsv, line 3 \(test\) hold the same locus"):
        load_splits(regression(train, test_file=str(grouped), **settings), kmers, None, ["expression"])


def test_samples_are_limited(promoters: Path, kmers: KmerTokenizer) -> None:
    settings = {"max_train_samples": 4, "max_eval_samples": 2, "max_predict_samples": 1}
    splits = load_splits(regression(promoters, test_rows=5, **settings), kmers, None, ["expression"])
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 4, "validation": 2, "test": 1}


def test_a_split_that_says_nothing_about_an_output(table: TABLE, dna: DNA, kmers: KmerTokenizer) -> None:
    path = table("a.tsv", sequence=dna(3), a=range(3), b=[1, 2, ""], s=["train", "train", "val"])
    with pytest.raises(ValueError, match=r"a.tsv: no validation row has a value in b$"):
        load_splits(regression(path, split_column="s", label_column="a,b"), kmers, None, ["a", "b"])


def test_unknown_letters_raise_an_alarm_or_an_error(
    table: TABLE, kmers: KmerTokenizer, caplog: pytest.LogCaptureFixture, dna: DNA
) -> None:
    # Of 9 x 15 + 15 k-mers, 15 are unknown: 10 %.
    path = table("a.tsv", sequence=[*dna(9), "N" * 20], expression=range(10))
    load_splits(regression(path), kmers, None, ["expression"])
    assert "10.0% of the k-mers are [UNK]" in caplog.text
    path = table("a.tsv", sequence=[*dna(4), *("N" * n for n in range(20, 25))], expression=range(9))
    with pytest.raises(ValueError, match=r"a.tsv: 58.6% of the k-mers are \[UNK\] .*: is this DNA\? Check --alphabet"):
        load_splits(regression(path), kmers, None, ["expression"])


# --- datasets of `datasets`


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_local_dataset_folder(ending: str, tmp_path: Path, dna: DNA, kmers: KmerTokenizer) -> None:
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
    splits = load_splits(arguments, kmers, None, ["expression"])
    assert numbers(splits) == {"train": [0, 1, 2, 3], "validation": [10, 11, 12, 13], "test": [20, 21, 22, 23]}
    assert splits["test"].table.location(1) == f"{folder}, test, row 2"
    assert describe(splits["train"])["data_name"] == f"{folder}, train"
    assert list(read_names(splits["test"], "name", "sequence")) == [(list("abcd"), sequences[8:])]
    with pytest.raises(
        ValueError,
        match=r"mine: no split 'big'; found: \['test', 'train', 'validation'\]; name it by --train_split_name$",
    ):
        load_splits(replace(arguments, train_split_name="big"), kmers, None, ["expression"])


def test_dataset_that_is_not_there(promoters: Path, tmp_path: Path, kmers: KmerTokenizer) -> None:
    for name, message in {
        str(promoters): r"is a file: give it as --train_file$",
        str(tmp_path / "absent.tsv"): r"no such dataset; a file is given as --train_file$",
        str(tmp_path / "absent"): r"cannot be loaded: ",
        "somebody/something": r"^--dataset_name 'somebody/something' cannot be loaded: ",
    }.items():
        with pytest.raises(ValueError, match=message) as found:
            load_splits(RegressionDataArguments(dataset_name=name), kmers, None, ["expression"])
        assert "\n" not in str(found.value)


# --- what is said about the rows


def named(rows: TokenDataset, id_column: str | None) -> tuple[list[str], list[str]]:
    """The pieces of `read_names` joined; the sources of these tests come in more than one."""
    pieces = list(read_names(rows, id_column, "sequence"))
    assert len(pieces) > 1
    ids, sequences = ([value for part in column for value in part] for column in zip(*pieces, strict=True))
    return ids, sequences


def test_read_names(tmp_path: Path, table: TABLE, kmers: KmerTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "BLOCK_BYTES", 200)
    monkeypatch.setattr(tables, "BATCH_ROWS", 5)
    sequences = ragged(40)
    path = table("a.tsv", sequence=sequences, expression=range(40), name=[f"p{i}" for i in range(40)])
    splits = load_splits(regression(path, test_rows=9), kmers, None, ["expression"])
    for rows in splits.values():
        values = rows.labels[:, 0].astype(int)
        expected = [sequences[value] for value in values]
        assert named(rows, "name") == ([f"p{value}" for value in values], expected)
        assert named(rows, None) == ([str(value + 2) for value in values], expected)
        assert named(rows, "sequence") == (expected, expected)
    fasta = tmp_path / "a.fa"
    fasta.write_text("".join(f">s{i} x\n{sequence}\n" for i, sequence in enumerate(sequences)))
    dataset = TokenDataset(read(fasta, kmers), np.array([3, 17, 39]), 0)
    assert named(dataset, None) == (["s3", "s17", "s39"], [sequences[row] for row in (3, 17, 39)])
    path = table("b.tsv", id=[f"own{i}" for i in range(40)], sequence=sequences)
    assert named(TokenDataset(read(path, kmers), np.array([0, 39]), 0), None)[0] == ["own0", "own39"]


@pytest.mark.parametrize("stride", [1, 3])
def test_describe(stride: int, table: TABLE, dna: DNA) -> None:
    path = table("a.tsv", sequence=[*dna(5, 12), *dna(5, 30), *dna(5, 18)])
    rows = TokenDataset(read(path, KmerTokenizer(k=6, stride=stride)), np.arange(3, 12), 0)
    assert describe(rows) == {
        "data_name": "a.tsv",
        "data_checksum": FileSource(path).checksum,
        "n_training_rows": 9,
        "sequence_length": [12, 30],
    }
    assert json.loads(json.dumps(describe(rows))) == describe(rows)


def test_no_file_is_written_outside_the_cache(promoters: Path, kmers: KmerTokenizer, token_cache: Path) -> None:
    before = set(os.listdir(promoters.parent))
    load_splits(regression(promoters), kmers, None, ["expression"])
    assert set(os.listdir(promoters.parent)) - before == {token_cache.parent.name}


def test_layout_is_part_of_the_key(
    promoters: Path, kmers: KmerTokenizer, token_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(promoters, kmers)
    monkeypatch.setattr(tokens, "LAYOUT", tokens.LAYOUT + 1)
    read(promoters, kmers)
    assert len(list(token_cache.glob("*.arrow"))) == 2


def test_leak_check_is_what_stops_a_leak(table: TABLE, dna: DNA, kmers: KmerTokenizer) -> None:
    """With the check left out, the leak of another test goes through: it is not refused for another reason."""
    sequences = dna(4)
    train = table("train.tsv", sequence=sequences[:3], expression=range(3))
    other = table("other.tsv", sequence=[sequences[2]], expression=[1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "_check_leaks", lambda *_: Namespace())
        load_splits(regression(train, validation_file=str(other)), kmers, None, ["expression"])
    with pytest.raises(ValueError, match="hold the same sequence"):
        load_splits(regression(train, validation_file=str(other)), kmers, None, ["expression"])


def test_rows_one_by_one_tell_trainer_their_lengths(table: TABLE, dna: DNA, kmers: KmerTokenizer) -> None:
    rows = [row[: 6 + number % 7] for number, row in enumerate(dna(30))]
    path = table("a.tsv", sequence=rows, expression=range(30))
    arguments = RegressionDataArguments(train_file=str(path), validation_split_percentage=0)
    dataset = load_splits(arguments, kmers, None, ["expression"])["train"]
    single = [row["input_ids"].tolist() for row in dataset]
    assert single == [kmers(rows[row])["input_ids"] for row in dataset.rows]
    sampler = LengthGroupedSampler(4, dataset, model_input_name="input_ids")
    assert sampler.lengths == [len(row) for row in single]
    assert sorted(sampler) == list(range(30))

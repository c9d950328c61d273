"""Batches against plain Python; what datasets of a table and of a stream tell about the same rows; names read again."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from transformers.trainer_pt_utils import LengthGroupedSampler

from kmerbert.dna.sequences import reverse_complement
from kmerbert.reading import sources, text
from kmerbert.reading.rows import RowSpec
from kmerbert.reading.shards import open_shards
from kmerbert.reading.sources import FileSource
from kmerbert.reading.training_range import read_letters
from kmerbert.tokens import batches as batches_module
from kmerbert.tokens.batches import TokenDataset, TrainingRows, collate, read_names
from kmerbert.tokens.cache import tokenise
from kmerbert.tokens.stream import StreamedDataset
from kmerbert.tokens.targets import IGNORED, TargetScaler
from tests.support.messages import fails
from tests.support.tiny_runs import random_dna, write_table
from tests.support.tiny_tokens import expected_ids, ragged, read_tokens
from tokenization_kmer import KmerTokenizer

TABLE = Callable[..., Path]
DNA = Callable[..., list[str]]
KMERS = KmerTokenizer(k=6)


# --- batches


@pytest.mark.parametrize("seed", range(5))
def test_batches_equal_plain_python(seed: int, table: TABLE) -> None:
    random = np.random.default_rng(seed)
    sequences = ragged(200, seed)
    tokens = read_tokens(table("a.tsv", sequence=sequences, y=range(200)), KMERS, "y")
    rows = random.permutation(200)[:120]
    dataset = TokenDataset(tokens, rows, pad_id=0).with_targets(TargetScaler((100.0,), (8.0,)))
    dataset.epoch = seed
    indices = random.integers(0, 120, 16).tolist()
    batch = dataset.__getitems__(indices)
    expected = expected_ids(KMERS, [sequences[rows[index]] for index in indices])
    longest = max(map(len, expected))
    assert batch["input_ids"].tolist() == [ids + [0] * (longest - len(ids)) for ids in expected]
    assert batch["attention_mask"].tolist() == [[1] * len(ids) + [0] * (longest - len(ids)) for ids in expected]
    assert batch["row"].tolist() == rows[indices].tolist()
    assert batch["epoch"] == seed
    assert batch["labels"].tolist() == [[(row - 100) / 8] for row in rows[indices].tolist()]
    assert dataset.labels[:, 0].tolist() == rows.tolist()
    tensors = collate(batch)
    assert {name: tensor.dtype for name, tensor in tensors.items()} == {
        "input_ids": torch.int64,
        "attention_mask": torch.int64,
        "labels": torch.float32,
    }
    assert all(tensor.tolist() == batch[name].tolist() for name, tensor in tensors.items())


def test_equal_lengths_need_no_mask(promoters: Path) -> None:
    dataset = TokenDataset(read_tokens(promoters, KMERS), np.arange(30), pad_id=0)
    assert set(dataset.__getitems__([3, 1])) == {"row", "epoch", "input_ids"}
    assert set(collate(dataset[3])) == {"input_ids"}
    np.testing.assert_array_equal(dataset[3]["input_ids"], dataset.__getitems__([3])["input_ids"])


def test_padding_is_the_tokenizers(table: TABLE) -> None:
    tokens = read_tokens(table("a.tsv", sequence=["ACGTACGT", "ACGTAC"]), KMERS)
    assert TokenDataset(tokens, np.arange(2), pad_id=9).__getitems__([0, 1])["input_ids"][1].tolist()[-2:] == [9, 9]


def test_a_sample_of_rows_with_their_targets(promoters: Path) -> None:
    rows = TokenDataset(read_tokens(promoters, KMERS, "expression"), np.arange(5, 25), 0)
    dataset = rows.with_targets(TargetScaler((0.0,), (0.5,)))
    three, ten, other = dataset.sample(3, seed=1), dataset.sample(10, seed=1), dataset.sample(10, seed=2)
    assert three.targets[:, 0].tolist() == [2 * row for row in three.rows]
    assert set(three.rows) < set(ten.rows) < set(range(5, 25))
    assert ten.rows.tolist() == sorted(ten.rows) != other.rows.tolist()
    assert len(dataset.sample(None, seed=1)) == len(dataset.sample(99, seed=1)) == 20
    assert rows.targets is None  # with_targets gave another dataset


def test_rows_one_by_one_tell_trainer_their_lengths(table: TABLE, dna: DNA) -> None:
    sequences = [row[: 6 + number % 7] for number, row in enumerate(dna(30))]
    rows = np.random.default_rng(0).permutation(30)
    dataset = TokenDataset(read_tokens(table("a.tsv", sequence=sequences), KMERS), rows, 0)
    single = [row["input_ids"].tolist() for row in dataset]
    assert single == [KMERS(sequences[row])["input_ids"] for row in rows]
    sampler = LengthGroupedSampler(4, dataset, model_input_name="input_ids")
    assert sampler.lengths == [len(row) for row in single]
    assert sorted(sampler) == list(range(30))


# --- what a dataset tells about its rows


@pytest.mark.parametrize("stride", [1, 3])
def test_facts(stride: int, table: TABLE, dna: DNA) -> None:
    path = table("a.tsv", sequence=[*dna(5, 12), *dna(5, 30), *dna(5, 18)])
    rows = TokenDataset(read_tokens(path, KmerTokenizer(k=6, stride=stride)), np.arange(3, 12), 0)
    assert rows.facts() == {
        "data_name": "a.tsv",
        "data_checksum": FileSource(path).checksum,
        "n_training_rows": 9,
        "sequence_length": [12, 30],
        "n_rejected_rows": 0,
    }
    assert json.loads(json.dumps(rows.facts())) == rows.facts()


def test_rows_with_fewer_kmers_than_reading_frames(table: TABLE, dna: DNA) -> None:
    sequences = dna(9, 20)
    sequences[4], sequences[7] = sequences[4][:8], sequences[7][:7]  # 3 and 2 k-mers
    tokens = read_tokens(table("a.tsv", sequence=sequences), KMERS)
    dataset = TokenDataset(tokens, np.array([8, 7, 4, 0]), 0)
    dataset.check_reading_frames(2)
    with fails("a.tsv, line 9", "2 k-mers", "3 reading frames", "`reading_frames`"):
        dataset.check_reading_frames(3)
    TokenDataset(tokens, np.array([0, 4]), 0).check_reading_frames(3)
    with fails("a.tsv, line 6", "3 k-mers", "4 reading frames"):
        TokenDataset(tokens, np.array([0, 4]), 0).check_reading_frames(4)


@pytest.fixture
def both(tmp_path: Path) -> dict[str, TrainingRows]:
    """Datasets of the same Parquet file: 24 rows in four row groups, two outputs, some values missing, a short row."""
    random = np.random.default_rng(0)
    sequences = ["".join(random.choice(list("ACGT"), n_bases)) for n_bases in [12, 31, *random.integers(15, 30, 22)]]
    sequences[17] = sequences[17][:8]  # 3 k-mers; the shortest and the longest of the others are in the first row group
    values = random.integers(-40, 40, (24, 2)) / 4  # which float32 holds exactly
    values[random.random((24, 2)) < 0.3] = np.nan
    values[np.isnan(values).all(axis=1)] = 1.0
    frame = pd.DataFrame({"sequence": sequences, "a": values[:, 0], "b": values[:, 1]})
    path = tmp_path / "rows.parquet"
    frame.to_parquet(path, row_group_size=6)
    table = TokenDataset(read_tokens(path, KMERS, "a", "b"), np.arange(24), KMERS.pad_token_id)
    stream = StreamedDataset(open_shards(str(path), RowSpec("sequence", ("a", "b"))), KMERS, batch_size=4)
    return {"table": table, "stream": stream}


def single_rows(dataset: TrainingRows) -> dict[int, tuple[list[int], list[float] | None]]:
    """Ids without padding, and targets, by the number of the row; batches of four, as a Trainer gathers them."""
    rows = {}
    for first in range(0, len(dataset), 4):
        batch = dataset.__getitems__(range(first, first + 4))
        mask = batch.get("attention_mask", np.ones(batch["input_ids"].shape, bool)).astype(bool)
        for position, row in enumerate(batch["row"].tolist()):
            targets = batch["labels"][position].tolist() if "labels" in batch else None
            rows[row] = batch["input_ids"][position][mask[position]].tolist(), targets
    return rows


def test_both_datasets_have_the_same_facts_but_for_the_checksum(both: dict[str, TrainingRows]) -> None:
    table, stream = (both[name].facts() for name in ("table", "stream"))
    assert table.keys() == stream.keys()
    table_checksum, stream_checksum = table.pop("data_checksum"), stream.pop("data_checksum")
    assert table_checksum != stream_checksum
    table["sequence_length"][0] += 4  # row 17 has 8 bases; a stream knows the 12 to 31 of its first row group
    expected = {"data_name": "rows.parquet", "n_training_rows": 24, "sequence_length": [12, 31], "n_rejected_rows": 0}
    assert table == stream == expected


def test_both_datasets_have_the_same_labels(both: dict[str, TrainingRows]) -> None:
    table, stream = (np.concatenate(list(both[name].label_blocks())) for name in ("table", "stream"))
    assert table.shape == (24, 2)
    assert np.isnan(table).any()
    np.testing.assert_array_equal(table, stream)
    scalers = [TargetScaler.fit(rows.label_blocks(), ["a", "b"]) for rows in both.values()]
    assert scalers[0].mean == pytest.approx(scalers[1].mean, rel=1e-12)
    assert scalers[0].scale == pytest.approx(scalers[1].scale, rel=1e-12)


def test_both_datasets_give_the_same_rows_and_targets(both: dict[str, TrainingRows]) -> None:
    table, stream = (single_rows(rows) for rows in both.values())
    assert table == stream
    assert sorted(table) == list(range(24))
    assert all(targets is None for _, targets in table.values())
    scaler = TargetScaler((1.0, -2.0), (2.0, 0.5))
    table, stream = (single_rows(rows.with_targets(scaler)) for rows in both.values())
    assert table == stream
    labels = np.concatenate(list(both["table"].label_blocks()))
    expected = np.where(np.isnan(labels), IGNORED, (labels - [1, -2]) / [2, 0.5])
    assert {row: targets for row, (_, targets) in table.items()} == dict(enumerate(expected.tolist()))


def test_both_datasets_give_examples_of_their_rows(both: dict[str, TrainingRows]) -> None:
    frame = pd.read_parquet(both["table"].table.source.path)
    values = dict(zip(frame["sequence"], frame[["a", "b"]].to_numpy().tolist(), strict=True))
    for rows in both.values():
        for n in (10, 24, 100):
            sequences, labels = rows.examples(n, 0, "sequence")
            assert len(set(sequences)) == len(sequences) == min(n, 24)
            np.testing.assert_array_equal(labels, [values[sequence] for sequence in sequences])
    first, second = (both["table"].examples(10, seed, "sequence").sequences for seed in (0, 1))
    assert first != second
    assert first != frame["sequence"][:10].tolist()


def test_counts_of_rows(table: TABLE, dna: DNA, both: dict[str, TrainingRows]) -> None:
    sequences = dna(4)
    path = table("a.tsv", sequence=[*sequences, sequences[0], sequences[1]], locus=[*"aabb", "a", "a"])
    tokens = read_tokens(path, KMERS, group="locus")
    assert TokenDataset(tokens, np.arange(6), 0).counts() == {"rows that repeat a sequence": 2, "groups": 2}
    assert TokenDataset(tokens, np.array([0, 1, 4]), 0).counts() == {"rows that repeat a sequence": 1, "groups": 1}
    path = table("b.tsv", sequence=[*sequences, reverse_complement(sequences[0])])
    for both_strands, n in ((False, 0), (True, 1)):
        tokens = read_tokens(path, KMERS, both_strands=both_strands)
        assert TokenDataset(tokens, np.arange(5), 0).counts() == {"rows that repeat a sequence": n}
    assert both["stream"].counts() == {"rows left out of each epoch": 0}


def test_both_datasets_check_the_reading_frames(both: dict[str, TrainingRows]) -> None:
    for rows in both.values():
        rows.check_reading_frames(3)
        single_rows(rows)
    with fails("rows.parquet, row 18", "3 k-mers", "4 reading frames", "`reading_frames`"):
        both["table"].check_reading_frames(4)
    both["stream"].epoch = 1
    both["stream"].check_reading_frames(4)  # no row has been looked at yet
    with fails("rows.parquet, row 18", "3 k-mers", "4 reading frames", "`reading_frames`"):
        single_rows(both["stream"])


# --- ids and sequences of the source


def named(rows: TokenDataset, id_column: str | None) -> tuple[list[str], list[str]]:
    """The pieces of `read_names` joined; the sources of these tests come in more than one."""
    pieces = list(read_names(rows, id_column, "sequence"))
    assert len(pieces) > 1
    ids, sequences, _ = ([value for part in column for value in part] for column in zip(*pieces, strict=True))
    return ids, sequences


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes small files come in several pieces."""
    monkeypatch.setattr(text, "BLOCK_BYTES", 200)
    monkeypatch.setattr(sources, "BATCH_ROWS", 5)


@pytest.mark.usefixtures("small_batches")
def test_names_of_a_table(table: TABLE) -> None:
    sequences = ragged(40)
    path = table("a.tsv", sequence=sequences, expression=range(40), name=[f"p{i}" for i in range(40)])
    tokens = read_tokens(path, KMERS, "expression")
    for rows in (np.arange(40), np.arange(1, 40, 3), np.array([0, 39])):
        dataset = TokenDataset(tokens, rows, 0)
        expected = [sequences[row] for row in rows]
        assert named(dataset, "name") == ([f"p{row}" for row in rows], expected)
        assert named(dataset, None) == ([str(row + 2) for row in rows], expected)
        assert named(dataset, "sequence") == (expected, expected)


@pytest.mark.usefixtures("small_batches")
def test_names_of_fasta_records(tmp_path: Path) -> None:
    sequences = ragged(40)
    fasta = tmp_path / "a.fa"
    fasta.write_text("".join(f">s{i} x\n{sequence}\n" for i, sequence in enumerate(sequences)))
    dataset = TokenDataset(read_tokens(fasta, KMERS), np.array([3, 17, 39]), 0)
    assert named(dataset, None) == (["s3", "s17", "s39"], [sequences[row] for row in (3, 17, 39)])


@pytest.mark.usefixtures("small_batches")
def test_a_column_of_ids_needs_no_mention(table: TABLE) -> None:
    path = table("b.tsv", id=[f"mine{i}" for i in range(40)], sequence=ragged(40))
    assert named(TokenDataset(read_tokens(path, KMERS), np.array([0, 39]), 0), None)[0] == ["mine0", "mine39"]


def test_names_of_a_changed_table_are_an_error(table: TABLE) -> None:
    sequences = ragged(40)
    path = table("a.tsv", sequence=sequences)
    rows = TokenDataset(read_tokens(path, KMERS), np.arange(10), 0)
    for changed in (sequences[::-1], sequences[:5], sequences[:10] + sequences[11:]):  # the last is further down
        table("a.tsv", sequence=changed)
        with fails(path, "changed"):
            list(read_names(rows, None, "sequence"))


def test_both_datasets_keep_a_sample_of_their_sequences(both: dict[str, TrainingRows]) -> None:
    assert both["stream"].training_sample().hashes.tolist() == []
    single_rows(both["stream"])
    samples = [rows.training_sample().hashes.tolist() for rows in both.values()]
    assert samples[0] == samples[1] == np.unique(both["table"].table.keys).tolist()


def test_other_columns_are_read_with_the_names(table: TABLE, dna: DNA) -> None:
    path = table("a.csv", name=["a", "b", "c"], sequence=dna(3), gene=["x y", "", "z"], sequence2=[1, 2, 3])
    rows = TokenDataset(read_tokens(path, KMERS), np.array([0, 1]), 0)
    (part,) = read_names(rows, "name", "sequence", ("gene", "sequence2"))
    assert part == (["a", "b"], dna(3)[:2], {"gene": ["x y", ""], "sequence2": ["1", "2"]})


# --- letters that are read off token ids


@pytest.mark.parametrize(
    ("k", "stride", "alphabet"), [(6, 1, "ATCG"), (3, 1, "ACGT"), (4, 3, "ATCG"), (3, 3, "ACGTN"), (2, 1, "ACGTN")]
)
def test_letters_are_those_that_were_tokenised(k: int, stride: int, alphabet: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    sequences = [row[: 12 + 3 * stride * (number % 4)] for number, row in enumerate(random_dna(random, 20, 60))]
    sequences[3] = sequences[3][:6] + "NN" + sequences[3][8:] if stride == 1 else sequences[3]
    usable = [s[: (len(s) - k) // stride * stride + k] for s in sequences]  # the k-mers may leave out the last bases
    table = tokenise(
        FileSource(write_table(tmp_path / "a.tsv", sequence=usable)),
        RowSpec("sequence"),
        KmerTokenizer(k, stride, alphabet),
        None,
    )
    rows = np.array([1, 3, 4, 19])
    letters, expected = TokenDataset(table, rows, 0).letters(alphabet), read_letters([usable[row] for row in rows])
    np.testing.assert_array_equal(letters.lengths, expected.lengths)
    np.testing.assert_array_equal(letters.codes, expected.codes)


def test_letters_of_some_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_table(tmp_path / "a.tsv", sequence=random_dna(np.random.default_rng(0), 30, 20))
    dataset = TokenDataset(tokenise(FileSource(path), RowSpec("sequence"), KmerTokenizer(3), None), np.arange(30), 0)
    monkeypatch.setattr(batches_module, "MOST_ROWS", 7)
    assert dataset.letters("ATCG").lengths.tolist() == [20] * 7
    monkeypatch.setattr(batches_module, "MOST_BASES", 60)
    assert dataset.letters("ATCG").lengths.tolist() == [20] * 3

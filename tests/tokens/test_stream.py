"""Streamed training rows: every row once an epoch, shares of processes, what is read when, and shards that are wrong."""

import dataclasses
import logging
import shutil
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from accelerate.data_loader import BatchSamplerShard

from kmerbert.dna.sequences import reverse_complement
from kmerbert.reading.rows import RowSpec, hash_strands, hash_texts
from kmerbert.reading.shards import open_shards
from kmerbert.tokens import stream as stream_module
from kmerbert.tokens.batches import TokenDataset
from kmerbert.tokens.stream import StreamedDataset
from kmerbert.tokens.targets import TargetScaler
from tests.support.messages import check_message, fails
from tests.support.tiny_runs import random_dna
from tests.support.tiny_shards import memory_hub, write_shards
from tokenization_kmer import KmerTokenizer

DNA = Callable[..., list[str]]
TOKENIZER = KmerTokenizer(3)
SPEC = RowSpec("sequence", ("expression",))


@pytest.fixture
def folder(tmp_path: Path, dna: DNA) -> Path:
    """60 rows in 3 shards and 12 row groups, whose labels are their numbers."""
    return write_shards(tmp_path / "shards", dna(60), np.arange(60.0))


def stream(path: Path, batch_size: int = 4, spec: RowSpec = SPEC, **settings: Any) -> StreamedDataset:
    """Opens shards with a small batch size."""
    return StreamedDataset(open_shards(str(path), spec), TOKENIZER, batch_size, **settings)


def rows_of(dataset: StreamedDataset, process: int = 0, epoch: int = 0, skip: int = 0) -> list[list[int]]:
    """Row numbers of the batches that one process gets, dealt as the Trainer's sequential sampler is."""
    dataset.epoch = epoch
    sampler = torch.utils.data.BatchSampler(range(len(dataset)), dataset.batch_size, drop_last=False)
    batches = list(BatchSamplerShard(sampler, dataset.world_size, process))[skip:]
    return [dataset.__getitems__(batch)["row"].tolist() for batch in batches]


# --- the order of an epoch


@pytest.mark.parametrize("window_rows", [8, 20, 1000])
def test_every_row_once_in_another_order_each_epoch(folder: Path, window_rows: int) -> None:
    dataset = stream(folder, window_rows=window_rows)
    epochs = [np.concatenate(rows_of(dataset, epoch=epoch)).tolist() for epoch in range(3)]
    assert all(sorted(rows) == list(range(60)) for rows in epochs)
    assert len({tuple(rows) for rows in epochs}) == 3
    again = np.concatenate(rows_of(stream(folder, window_rows=window_rows), epoch=1)).tolist()
    other = np.concatenate(rows_of(stream(folder, window_rows=window_rows, seed=1), epoch=1)).tolist()
    assert again == epochs[1] != other


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize("window_rows", [8, 1000])
def test_processes_share_the_rows(folder: Path, world_size: int, window_rows: int) -> None:
    left_out = []
    for epoch in range(4):
        shares = [
            rows_of(stream(folder, 7, world_size=world_size, window_rows=window_rows), process, epoch)
            for process in range(world_size)
        ]
        n_batches = 60 // (7 * world_size)
        assert [len(share) for share in shares] == [n_batches] * world_size
        seen = np.concatenate([np.concatenate(share) for share in shares])
        assert len(set(seen)) == len(seen) == n_batches * world_size * 7
        left_out.append(frozenset(range(60)) - set(seen))
    assert len(set(left_out)) > 1


def test_rows_of_a_single_group_are_shuffled_and_left_out_anew_each_epoch(tmp_path: Path, dna: DNA) -> None:
    path = write_shards(tmp_path / "one", dna(60), np.arange(60.0), n_shards=1, group_rows=60)
    epochs = [np.concatenate(rows_of(stream(path, 20), epoch=epoch)).tolist() for epoch in range(3)]
    assert all(sorted(rows) == list(range(60)) != rows for rows in epochs)
    assert len({tuple(rows) for rows in epochs}) == 3
    # 8 batches of 7 rows are 56 of 60.
    left_out = {frozenset(range(60)) - set(np.concatenate(rows_of(stream(path, 7), epoch=epoch))) for epoch in range(6)}
    assert {len(rows) for rows in left_out} == {4}
    assert len(left_out) > 1


def test_too_few_rows_for_a_batch(folder: Path) -> None:
    assert len(stream(folder, 15, world_size=4)) == 60
    with fails("shards", "60 rows", "16", "4 process", "`per_device_train_batch_size`"):
        stream(folder, 16, world_size=4)


# --- batches


def test_batches_are_those_of_the_tokenizer(tmp_path: Path, folder: Path) -> None:
    ragged = random_dna(np.random.default_rng(0), 9, 30)
    ragged = [sequence[: 20 + row] for row, sequence in enumerate(ragged)]
    path = write_shards(tmp_path / "ragged", ragged, np.arange(9.0), 1)
    dataset = stream(path).with_targets(TargetScaler((2.0,), (4.0,)))
    dataset.epoch = 3
    for first in (0, 4):
        batch = dataset.__getitems__(range(first, first + 4))
        assert set(batch) == {"input_ids", "attention_mask", "labels", "row", "epoch"}
        expected = TOKENIZER([ragged[row] for row in batch["row"]], padding=True, return_tensors="np")
        assert batch["input_ids"].dtype == np.int8
        assert np.array_equal(batch["input_ids"], expected["input_ids"])
        assert np.array_equal(batch["attention_mask"], expected["attention_mask"])
        assert np.array_equal(batch["labels"], (batch["row"][:, None] - 2) / 4)
        assert batch["epoch"] == 3
    equal = stream(folder)[0]
    assert set(equal) == {"input_ids", "row", "epoch"}


def test_targets_may_come_after_the_first_batch(folder: Path) -> None:
    dataset = stream(folder, window_rows=1000)
    before = dataset.__getitems__(range(4))
    assert "labels" not in before
    after = dataset.with_targets(TargetScaler((1.0,), (2.0,))).__getitems__(range(4))
    assert after["row"].tolist() == before["row"].tolist()
    assert after["labels"].tolist() == [[(row - 1) / 2] for row in before["row"].tolist()]


def test_windows_and_cuts_apply(tmp_path: Path) -> None:
    sequences = random_dna(np.random.default_rng(0), 6, 50)
    path = write_shards(tmp_path / "long", sequences, np.zeros(6), 2, 2)
    spec = RowSpec("sequence", window=20, step=15, cut_at=17)  # 0 to 20, 15 to 35, 30 to 50; 15 k-mers are 17 bases
    dataset = stream(path, 3, spec, window_rows=6)
    assert len(dataset) == dataset.n_rows == 18
    texts_by_row = {}
    for first in range(0, 18, 3):
        batch = dataset.__getitems__(range(first, first + 3))
        texts = TOKENIZER.batch_decode(batch["input_ids"], skip_special_tokens=True)
        texts_by_row |= dict(zip(batch["row"].tolist(), texts, strict=True))
    expected = [sequence[start : start + 17] for sequence in sequences for start in (0, 15, 30)]
    assert [texts_by_row[row] for row in range(18)] == expected


# --- what is read, and when


Recorded = Callable[..., tuple[StreamedDataset, list[str]]]
SHARDS = sorted(f"part-{number}.parquet" for number in range(12))


class RecordedFiles:
    """A file system that notes the name of every file that is opened."""

    def __init__(self, filesystem: pyarrow.fs.FileSystem) -> None:
        self.filesystem = filesystem
        self.opened: list[str] = []

    def open_input_file(self, path: str) -> pa.NativeFile:
        self.opened.append(Path(path).name)
        return self.filesystem.open_input_file(path)


@pytest.fixture
def recorded(tmp_path: Path, dna: DNA) -> Recorded:
    """Opens 12 shards of one row group each, 60 rows in all; also gives the list of the files that are opened later."""
    path = write_shards(tmp_path / "recorded", dna(60), np.arange(60.0), n_shards=12)

    def open_recorded(spec: RowSpec = SPEC, **settings: Any) -> tuple[StreamedDataset, list[str]]:
        shards = open_shards(str(path), spec)
        files = RecordedFiles(shards.filesystem)
        dataset = StreamedDataset(dataclasses.replace(shards, filesystem=files), TOKENIZER, 4, **settings)
        return dataset, files.opened

    return open_recorded


def test_nothing_is_read_before_the_first_batch(recorded: Recorded) -> None:
    dataset, opened = recorded(RowSpec("sequence"), window_rows=8)
    dataset.check_reading_frames(2)
    dataset.with_targets(TargetScaler((0.0,), (1.0,)))
    assert len(dataset) == 60
    assert opened == []
    dataset.facts()
    assert opened == ["part-0.parquet"]  # its row group alone


def test_a_group_that_two_windows_share_is_read_once(recorded: Recorded) -> None:
    dataset, opened = recorded(window_rows=8)
    rows_of(dataset, epoch=1)
    assert len(opened) == len(set(opened)) == 12


def test_a_resumed_epoch_reads_only_what_is_left(recorded: Recorded) -> None:
    uninterrupted, _ = recorded(window_rows=8)
    batches = rows_of(uninterrupted, epoch=1)
    resumed, opened = recorded(window_rows=8)
    assert rows_of(resumed, epoch=1, skip=13) == batches[13:]
    # Windows of two batches: batches 12 to 14 are the last 12 of 60 rows, in three groups of 5.
    assert len(opened) == 3
    assert {SHARDS[row // 5] for batch in batches[12:] for row in batch} == set(opened)


def test_the_next_window_is_read_meanwhile(recorded: Recorded) -> None:
    dataset, opened = recorded(window_rows=20)
    dataset.__getitems__(range(4))
    deadline = time.monotonic() + 20
    while len(opened) < 8 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert len(set(opened)) == 8  # two windows of 20 rows, in groups of 5; nobody has asked for the second one


def test_memory_does_not_grow_with_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_shards(tmp_path / "many", random_dna(np.random.default_rng(0), 400), np.zeros(400))
    dataset = stream(path, window_rows=8)
    read, alive, n_alive = dataset._read, weakref.WeakSet(), []

    def count(*key: int) -> tuple[TokenDataset, np.ndarray]:
        rows, numbers = read(*key)
        alive.add(rows)
        n_alive.append(len(alive))
        return rows, numbers

    monkeypatch.setattr(dataset, "_read", count)  # not of the class: streams of other tests may still read ahead
    assert len(rows_of(dataset)) == 100
    assert len(n_alive) == 50
    assert max(n_alive) <= 3  # one in use, one read ahead, and the one before it until the caller has let it go


def test_labels_are_read_without_the_sequences(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    values = random.normal(1e4, 0.5, (60, 2))
    values[random.random(60) < 0.3, 0] = np.nan
    values[random.random(60) < 0.3, 1] = np.nan
    values[np.isnan(values).all(axis=1)] = 10_001.0, np.nan
    path = tmp_path / "two.parquet"
    table = pa.table({"sequence": ["no DNA"] * 60, "a": values[:, 0], "b": values[:, 1]})
    pyarrow.parquet.write_table(table, path, row_group_size=7)
    dataset = stream(path, spec=RowSpec("sequence", ("a", "b")))
    np.testing.assert_array_equal(np.concatenate(list(dataset.label_blocks())), values)
    scaler = TargetScaler.fit(dataset.label_blocks(), ["a", "b"])
    assert scaler.mean == pytest.approx(np.nanmean(values, axis=0), rel=1e-12)
    assert scaler.scale == pytest.approx(np.nanstd(values, axis=0), rel=1e-9)


@pytest.mark.parametrize(
    ("value", "parts"),
    [(float("nan"), ("part-0.parquet, row 1", "no value in expression")), (2.5, ("expression", "all 12 ", "2.5"))],
)
def test_labels_that_teach_nothing(value: float, parts: tuple[str, ...], tmp_path: Path, dna: DNA) -> None:
    path = write_shards(tmp_path / "same", dna(12), np.full(12, value))
    with fails(*parts):
        TargetScaler.fit(stream(path).label_blocks(), ["expression"])


def test_facts(folder: Path, dna: DNA, tmp_path: Path) -> None:
    facts = stream(folder).facts()
    assert facts | {"data_checksum": ""} == {
        "data_name": "shards", "data_checksum": "", "n_training_rows": 60, "sequence_length": [20, 20], "n_rejected_rows": 0,
    }  # fmt: skip
    assert stream(folder, 8).facts()["data_checksum"] == facts["data_checksum"]
    write_shards(folder, dna(60, seed=1), np.arange(60.0))
    assert stream(folder).facts()["data_checksum"] != facts["data_checksum"]
    path = write_shards(tmp_path / "unknown", ["N" * 20] * 9, np.zeros(9))
    with fails("unknown", "100.0%", "[UNK]", "`alphabet`"):
        stream(path).facts()


# --- rows and files that are wrong


def test_a_row_with_fewer_kmers_than_reading_frames(tmp_path: Path, dna: DNA) -> None:
    sequences = dna(60)
    sequences[33] = sequences[33][:5]  # 3 k-mers
    path = write_shards(tmp_path / "short", sequences, np.zeros(60))
    dataset = stream(path)
    dataset.check_reading_frames(3)
    assert len(np.concatenate(rows_of(dataset))) == 60
    dataset = stream(path, window_rows=8)
    dataset.check_reading_frames(4)  # no row has been read
    n_read = 0
    with fails("part-1.parquet, row 14", "3 k-mers", "4 reading frames", "`reading_frames`"):
        for first in range(0, 60, 4):
            n_read += len(dataset.__getitems__(range(first, first + 4))["row"])
    order = np.concatenate(rows_of(stream(path, window_rows=8))).tolist()
    first = min(order.index(row) for row in range(30, 35))  # of the row group
    assert n_read == first // 8 * 8  # all windows before it


@pytest.mark.parametrize(
    ("row", "sequence", "value", "parts"),
    [
        (33, "ACGTXACGT", 1.0, ("part-1.parquet, row 14", "'X'")),
        (59, "ACGTTACGT", float("nan"), ("part-2.parquet, row 20", "no value in expression")),
        (0, "AC", 1.0, ("part-0.parquet, row 1", "2 bases", "k-mer", "3", "`k`")),
    ],
)
def test_rows_that_are_wrong(
    row: int, sequence: str, value: float, parts: tuple[str, ...], tmp_path: Path, dna: DNA
) -> None:
    sequences, values = dna(60), np.zeros(60)
    sequences[row], values[row] = sequence, value
    dataset = stream(write_shards(tmp_path / "wrong", sequences, values))
    with fails(*parts):
        rows_of(dataset)


def test_files_that_are_wrong(folder: Path, tmp_path: Path) -> None:
    with fails(f"`train_file` {tmp_path / 'none'}", ".parquet"):
        stream(tmp_path / "none")
    (tmp_path / "a.tsv").write_text("sequence\nACGT\n")
    with fails("`streaming`", ".parquet", tmp_path / "a.tsv"):
        stream(tmp_path / "a.tsv")
    with fails(folder / "part-0.parquet", "'dna'", "'sequence', 'expression'", "`sequence_column`"):
        stream(folder, spec=RowSpec("dna"))
    with fails(tmp_path / "few", "no rows", "3 Parquet file"):
        stream(write_shards(tmp_path / "few", [], np.zeros(0)))
    (folder / "part-1.parquet").write_bytes(b"PAR1 is not enough")
    with fails(folder / "part-1.parquet", "whole"):
        stream(folder)


def test_a_column_twice_in_one_shard(folder: Path, dna: DNA) -> None:
    names = ["sequence", "expression", "expression"]
    pyarrow.parquet.write_table(pa.table([dna(3), [1, 2, 3], [4, 5, 6]], names=names), folder / "more.parquet")
    with fails("more.parquet", "'expression' twice"):
        open_shards(str(folder), SPEC)


def test_shards_whose_ending_is_in_capitals(folder: Path) -> None:
    n_shards = len(open_shards(str(folder), SPEC).shards)
    shutil.copy(folder / "part-0.parquet", folder / "part-9.PARQUET")
    for path in (folder, folder / "part-*"):
        assert len(open_shards(str(path), SPEC).shards) == n_shards + 1


def test_shards_that_change_are_noticed(folder: Path, dna: DNA) -> None:
    dataset = stream(folder)
    write_shards(folder, dna(90), np.zeros(90))
    with fails(f"{folder / 'part-'}", ".parquet: ", "changed"):
        rows_of(dataset)
    dataset = stream(folder)
    shutil.rmtree(folder)
    with fails(f"{folder / 'part-'}", ".parquet: ", "cannot be read"):
        rows_of(dataset)


# --- which files are shards


def test_shards_of_a_folder_and_of_patterns(folder: Path) -> None:
    for other in (".hidden.parquet", "_temporary/a.parquet", "notes.txt"):
        (folder / other).parent.mkdir(exist_ok=True)
        (folder / other).write_text("no shard")
    (folder / "inner").mkdir()
    shutil.move(folder / "part-2.parquet", folder / "inner" / "part-2.parquet")
    for path, n_rows in (("", 60), ("part-[01].parquet", 40), ("**/part-*.parquet", 60), ("part-1.parquet", 20)):
        assert stream(folder / path).n_rows == n_rows


@pytest.fixture
def put(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts the shards on a Hub in memory, under the names that are given."""
    put_file = memory_hub(monkeypatch)

    def put_shards(*names: str) -> None:
        for name, path in zip(names, sorted(folder.iterdir()), strict=False):
            put_file(name, path)

    return put_shards


@pytest.mark.parametrize(
    ("names", "config", "n_rows"),
    [
        (["lab/dna/data/train-0.parquet", "lab/dna/data/train-1.parquet", "lab/dna/data/test-0.parquet"], None, 40),
        (["lab/dna/a.parquet", "lab/dna/b.parquet", "lab/dna/validation.parquet"], None, 40),
        (["lab/dna@refs/convert/parquet/yeast/train/0.parquet", "lab/dna@refs/convert/parquet/fly/train/0.parquet"], "fly", 20),
    ],
)  # fmt: skip
def test_shards_on_the_hub(names: Sequence[str], config: str | None, n_rows: int, put: Callable[..., None]) -> None:
    put(*names)
    shards = open_shards("lab/dna", SPEC, is_hub=True, config_name=config)
    dataset = StreamedDataset(shards, TOKENIZER, 4)
    assert shards.name == dataset.facts()["data_name"] == "lab/dna, train"
    assert len(np.unique(rows_of(dataset))) == dataset.n_rows == n_rows


def test_shards_that_the_hub_does_not_have(put: Callable[..., None]) -> None:
    with fails("`dataset_name` 'lab/none'", "`streaming`"):
        open_shards("lab/none", SPEC, is_hub=True)
    put("lab/dna@refs/convert/parquet/yeast/train/0.parquet", "lab/dna@refs/convert/parquet/fly/train/0.parquet")
    with fails("lab/dna", "several configurations", "/yeast/", "/fly/", "`dataset_config_name`"):
        open_shards("lab/dna", SPEC, is_hub=True)
    with fails("lab/dna", "'extra'", "`train_split_name`"):
        open_shards("lab/dna", SPEC, is_hub=True, split="extra")


def test_gaps_are_left_out_of_a_stream(tmp_path: Path, dna: DNA, caplog: pytest.LogCaptureFixture) -> None:
    """Row groups that consist of gaps, too."""
    caplog.set_level("INFO")
    sequences = ["N" * 40] * 5 + [f"{sequence}{'N' * 20}" for sequence in dna(10, 20)]
    folder = write_shards(tmp_path / "shards", sequences, np.zeros(15), n_shards=1)
    dataset = stream(folder, spec=RowSpec("sequence", window=20), batch_size=2)
    assert len(dataset) == 10
    check_message(caplog.messages[0], "shards", "20 windows")
    batches = [dataset.__getitems__([2 * number, 2 * number + 1]) for number in range(5)]
    seen = {tuple(row) for batch in batches for row in batch["input_ids"].tolist()}
    assert seen == set(map(tuple, TOKENIZER.encode_ids([sequence[:20] for sequence in sequences[5:]]).tolist()))
    assert dataset.facts()["n_training_rows"] == 10
    with fails("0 rows", "batch"):
        stream(write_shards(tmp_path / "gaps", ["N" * 40] * 5, np.zeros(5), 1), spec=RowSpec("sequence", window=20))


# --- labels and sequences that change, and sequences that are held out


def swapped(folder: Path, column: str) -> None:
    """Exchanges the values of rows 1 and 2, which are neither the least nor the greatest of their row group."""
    path = folder / "part-0.parquet"
    rows = pyarrow.parquet.read_table(path).to_pydict()
    rows[column][1], rows[column][2] = rows[column][2], rows[column][1]
    pyarrow.parquet.write_table(pa.table(rows), path, row_group_size=5)


def test_labels_in_another_order_have_another_checksum(folder: Path) -> None:
    first, size = stream(folder).facts(), (folder / "part-0.parquet").stat().st_size
    swapped(folder, "expression")
    assert (folder / "part-0.parquet").stat().st_size == size
    second = stream(folder)
    assert np.concatenate(list(second.label_blocks()))[:3, 0].tolist() == [0, 2, 1]
    assert second.facts()["data_checksum"] != first["data_checksum"]


@pytest.mark.parametrize("column", ["sequence", "expression"])
def test_rows_in_another_order_are_noticed(column: str, folder: Path) -> None:
    dataset = stream(folder)
    if column == "expression":
        list(dataset.label_blocks())
    else:
        rows_of(dataset)
    swapped(folder, column)
    with fails(folder / "part-0.parquet", "changed"):
        rows_of(dataset, epoch=1)


def test_a_row_without_a_label_is_found_in_the_first_pass(folder: Path, dna: DNA) -> None:
    values = np.arange(60.0)
    values[47] = np.nan
    dataset = stream(write_shards(folder, dna(60), values))
    with fails("part-2.parquet, row 8", "no value in expression"):
        TargetScaler.fit(dataset.label_blocks(), ["expression"])


@pytest.mark.parametrize("both_strands", [False, True])
def test_held_out_sequences_are_told_when_they_are_read(
    both_strands: bool, folder: Path, dna: DNA, caplog: pytest.LogCaptureFixture
) -> None:
    held_out = [dna(1, seed=1)[0], *dna(60)[20:32]]
    held_out = [reverse_complement(s) for s in held_out] if both_strands else held_out
    dataset = stream(folder, spec=dataclasses.replace(SPEC, both_strands=both_strands), window_rows=1000)
    dataset.look_for((hash_strands if both_strands else hash_texts)(held_out), lambda row: f"test, row {row + 1}")
    for epoch in (0, 1):
        rows_of(dataset, epoch=epoch)
    messages = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(messages) == 2  # the first row group with such rows, and the one with the tenth row
    check_message(messages[0], "part-1.parquet, row ", "test, row ")
    check_message(messages[1], "12 " if "12 " in messages[1] else "10 ")


def test_letters_of_all_row_groups(folder: Path, dna: DNA, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve groups of five rows: of each as many as are needed, and flanks as the model reads them."""
    dataset = stream(folder)
    texts = "".join("ACGT."[code] for code in dataset.letters("ATCG").codes).split(".")[:-1]
    assert sorted(texts) == sorted(dna(60))
    monkeypatch.setattr(stream_module, "MOST_ROWS", 24)
    some = "".join("ACGT."[code] for code in dataset.letters("ATCG").codes).split(".")[:-1]
    assert len(some) == 24
    assert [sum(text in dna(60)[5 * group : 5 * group + 5] for text in some) for group in range(12)] == [2] * 12

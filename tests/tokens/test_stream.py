"""Streamed training rows: every row once an epoch, the same order for the same seed, shares of processes, resume, refusals.

The file is also the program that two processes are launched with.
"""

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from safetensors.torch import load_file

import run_finetune_regression
import run_pretrain_mlm
from benchmarks.speed import streaming as benchmark
from kmerbert.cli.flags import PretrainingDataArguments, RegressionDataArguments
from kmerbert.reading import shards
from kmerbert.reading.rows import RowSpec
from kmerbert.tokens import stream as streamed_rows
from kmerbert.tokens.batches import TokenDataset
from kmerbert.tokens.stream import StreamedDataset
from kmerbert.tokens.targets import TargetScaler
from kmerbert.training import streaming
from kmerbert.training.flags import KmerTrainingArguments
from tests.support.tiny_runs import NETWORK, NO_DROPOUT, flags, planted, planted_table, random_dna
from tokenization_kmer import KmerTokenizer

ROOT = Path(__file__).resolve().parents[2]
TOKENIZER = KmerTokenizer(3)
SPEC = RowSpec("sequence", ("expression",))


def write_shards(folder: Path, sequences: list[str], values: Any, n_shards: int = 3, group_rows: int = 5) -> Path:
    """Writes rows as Parquet shards of small row groups."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, own in enumerate(np.array_split(np.arange(len(sequences)), n_shards)):
        columns = {"sequence": [sequences[row] for row in own], "expression": pa.array(np.asarray(values)[own])}
        pyarrow.parquet.write_table(pa.table(columns), folder / f"part-{number}.parquet", row_group_size=group_rows)
    return folder


@pytest.fixture
def folder(tmp_path: Path, dna: Callable[..., list[str]]) -> Path:
    """60 rows in 3 shards and 12 row groups, whose labels are their numbers."""
    return write_shards(tmp_path / "shards", dna(60), np.arange(60.0))


def stream(folder: Path, batch_size: int = 4, spec: RowSpec = SPEC, **settings: Any) -> StreamedDataset:
    return StreamedDataset(shards.open_shards(str(folder), spec), TOKENIZER, batch_size, **settings)


def rows_of(dataset: StreamedDataset, process: int = 0, epoch: int = 0, skip: int = 0) -> list[list[int]]:
    """Row numbers of the batches that one process gets, dealt as the Trainer's sequential sampler is."""
    dataset.epoch = epoch
    sampler = torch.utils.data.BatchSampler(range(len(dataset)), dataset.batch_size, drop_last=False)
    shard = list(BatchSamplerShard(sampler, dataset.world_size, process))[skip:]
    return [dataset.__getitems__(batch)["row"].tolist() for batch in shard]


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


def test_batches_are_those_of_the_token_cache(tmp_path: Path, folder: Path) -> None:
    ragged = random_dna(np.random.default_rng(0), 9, 30)
    ragged = [sequence[: 20 + row] for row, sequence in enumerate(ragged)]
    path = write_shards(tmp_path / "ragged", ragged, np.arange(9.0), 1)
    dataset = stream(path, 4)
    dataset.scaler, dataset.epoch = TargetScaler((2.0,), (4.0,)), 3
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


def test_windows_and_cuts_apply(tmp_path: Path) -> None:
    sequences = random_dna(np.random.default_rng(0), 6, 50)
    path = write_shards(tmp_path / "long", sequences, np.zeros(6), 2, 2)
    spec = RowSpec("sequence", window=20, step=15, cut_at=17)  # 0 to 20, 15 to 35, 30 to 50; 15 k-mers are 17 bases
    dataset = stream(path, 3, spec, window_rows=6)
    assert len(dataset) == dataset.n_rows == 18
    found = {}
    for first in range(0, 18, 3):
        batch = dataset.__getitems__(range(first, first + 3))
        found |= dict(zip(batch["row"].tolist(), TOKENIZER.batch_decode(batch["input_ids"], skip_special_tokens=True)))
    expected = [sequence[start : start + 17] for sequence in sequences for start in (0, 15, 30)]
    assert [found[row] for row in range(18)] == expected


def test_a_resumed_epoch_reads_only_what_is_left(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rows_of(stream(folder, window_rows=8), epoch=1)
    read = []
    tokenise = shards.Shards.tokenise
    monkeypatch.setattr(
        shards.Shards, "tokenise", lambda self, group, *more: read.append(group) or tokenise(self, group, *more)
    )
    assert rows_of(stream(folder, window_rows=8), epoch=1, skip=13) == whole[13:]
    assert len(read) <= 3  # the last 12 of 60 rows, in groups of 5
    read.clear()
    rows_of(stream(folder, window_rows=8), epoch=1)
    assert len(read) == len(set(read)) == 12  # a group that two windows share is read once


def test_memory_does_not_grow_with_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive, most = [], []
    read = StreamedDataset._read

    class Counted(TokenDataset):
        def __del__(self) -> None:
            alive.remove(id(self))

    def counted(self: StreamedDataset, *key: int) -> tuple[TokenDataset, np.ndarray]:
        rows, numbers = read(self, *key)
        rows = Counted(rows.table, rows.rows, rows.pad_id, rows.targets)
        alive.append(id(rows))
        most.append(len(alive))
        return rows, numbers

    monkeypatch.setattr(StreamedDataset, "_read", counted)
    path = write_shards(tmp_path / "many", random_dna(np.random.default_rng(0), 400), np.zeros(400))
    assert len(rows_of(stream(path, window_rows=8))) == 100
    assert len(most) == 50
    assert max(most) <= 3  # one in use, one read ahead, and the one before it until the caller has let it go


def test_units_of_the_labels_take_one_pass(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    values = random.normal(1e4, 0.5, (60, 2))
    values[random.random((60, 2)) < 0.3] = np.nan
    values[0] = np.nan, 10_001.0
    path = tmp_path / "two.parquet"
    table = pa.table({"sequence": ["ACGTACGT"] * 60, "a": values[:, 0], "b": values[:, 1]})
    pyarrow.parquet.write_table(table, path, row_group_size=7)
    found = streaming.fit_targets(stream(path, spec=RowSpec("sequence", ("a", "b"))), ["a", "b"])
    assert found.mean == pytest.approx(np.nanmean(values, axis=0), rel=1e-12)
    assert found.scale == pytest.approx(np.nanstd(values, axis=0), rel=1e-9)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), "expression: no training row has a value"),
        (2.5, r"all 12 training values are 2\.5; there is noth"),
    ],
)
def test_labels_that_teach_nothing(value: float, message: str, tmp_path: Path, dna: Callable[..., list[str]]) -> None:
    path = write_shards(tmp_path / "same", dna(12), np.full(12, value))
    with pytest.raises(ValueError, match=message):
        streaming.fit_targets(stream(path), ["expression"])


def test_what_a_model_says_of_its_rows(folder: Path, dna: Callable[..., list[str]], tmp_path: Path) -> None:
    facts = streaming.describe(stream(folder))
    assert facts | {"data_checksum": ""} == {
        "data_name": "shards", "data_checksum": "", "n_training_rows": 60, "sequence_length": [20, 20],
    }  # fmt: skip
    assert streaming.describe(stream(folder, 8))["data_checksum"] == facts["data_checksum"]
    write_shards(folder, dna(60, seed=1), np.arange(60.0))
    assert streaming.describe(stream(folder))["data_checksum"] != facts["data_checksum"]
    path = write_shards(tmp_path / "unknown", ["N" * 20] * 9, np.zeros(9))
    with pytest.raises(ValueError, match=r"unknown: 100.0% of the first k-mers are \[UNK\].*is this DNA"):
        streaming.describe(stream(path))


EVERY_STEP = {"streaming": True, "num_train_epochs": 3, "logging_steps": 1, "eval_strategy": "no"}
EVERY_STEP |= {"save_strategy": "steps", "save_steps": 10, "save_total_limit": 9}


def history(run: Path, key: str = "loss") -> list[float]:
    entries = json.loads((run / "trainer_state.json").read_text())["log_history"]
    return [entry[key] for entry in entries if key in entry]


@pytest.mark.parametrize("accumulated", [1, 2])
@pytest.mark.parametrize("main", [run_pretrain_mlm.main, run_finetune_regression.main], ids=["mlm", "regression"])
def test_resumed_equals_uninterrupted(
    main: Any, accumulated: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamed_rows.StreamedDataset.__init__, "__defaults__", (1, 0, 32))  # several windows an epoch
    path = write_shards(tmp_path / "shards", *planted(np.random.default_rng(0), 117), group_rows=10)
    settings = {"gradient_accumulation_steps": accumulated, "save_steps": 10 // accumulated}
    argv = flags(path, tmp_path / "out", **(EVERY_STEP | settings))
    main(argv)
    steps = {1: 21, 2: 12}[accumulated]  # 7 batches an epoch; the last of four steps has one
    assert len(history(tmp_path / "out")) == steps
    shutil.copytree(
        tmp_path / "out" / f"checkpoint-{10 // accumulated}", tmp_path / "again" / f"checkpoint-{10 // accumulated}"
    )
    main([*argv, f"--output_dir={tmp_path / 'again'}", "--resume_from_checkpoint=true"])
    assert history(tmp_path / "again") == history(tmp_path / "out")
    first, second = (load_file(tmp_path / run / "model.safetensors") for run in ("out", "again"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not list((tmp_path / "hf_datasets").rglob("*.arrow"))


def test_a_streamed_run_learns_and_evaluates(tmp_path: Path) -> None:
    path = write_shards(tmp_path / "shards", *planted(np.random.default_rng(0), 240), group_rows=20)
    held_out = planted_table(tmp_path / "validation.tsv", 40, seed=1)
    settings = {"streaming": True, "num_train_epochs": 8, "validation_file": held_out, "eval_epochs": 2}
    metrics = run_finetune_regression.main(flags(path, tmp_path / "out", **settings))
    assert metrics["eval_pearsonr"] > 0.5
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["data_name"], config["n_training_rows"], config["sequence_length"]) == ("shards", 240, [24, 24])
    assert len(history(tmp_path / "out", "eval_pearsonr")) == 4


def launched(folder: Path) -> None:
    """What every launched process does."""
    settings = EVERY_STEP | {
        "config_overrides": NETWORK + NO_DROPOUT,
        "per_device_train_batch_size": 8,
        "use_cpu": True,
    }
    run_finetune_regression.main(flags(folder / "shards", folder / "two", **settings))


def test_two_processes_compute_what_one_does_with_their_batches(tmp_path: Path) -> None:
    sequences, values = planted(np.random.default_rng(0), 70)
    write_shards(tmp_path / "shards", sequences, values)
    command = [sys.executable, "-m", "accelerate.commands.launch", f"--config_file={ROOT / 'accelerate_config.yaml'}"]
    command += ["--main_process_port=0", "--mixed_precision=no", "--num_processes=2", __file__, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    assert "70 rows in 15 row groups of 3 shards" in run.stderr
    assert "6 rows are left out of each epoch" in run.stderr
    # One process with the batches of both: every step has the same rows, and so the same loss.
    one = stream(tmp_path / "shards", 8, world_size=2, seed=42)
    shares = [rows_of(one, process, epoch) for epoch in range(3) for process in range(2)]
    steps = [first + second for epoch in range(3) for first, second in zip(*shares[2 * epoch : 2 * epoch + 2])]

    class Recorded(StreamedDataset):
        def __init__(self, *given: Any, **more: Any) -> None:
            super().__init__(*given, **more)
            self.tokens = shards.join([self.shards.tokenise(group, self.tokenizer) for group in self.shards.groups])

        def __getitems__(self, positions: Any) -> dict[str, Any]:
            rows = np.array(steps[self.epoch * 4 + int(positions[0]) // 16])
            ids = self.tokens.ids.reshape(70, -1)[rows]
            labels = self.scaler.transform(self.tokens.labels)[rows]
            return {"input_ids": ids, "labels": labels, "row": rows, "epoch": self.epoch}

    settings = EVERY_STEP | {"config_overrides": NETWORK + NO_DROPOUT, "per_device_train_batch_size": 16}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "StreamedDataset", Recorded)
        run_finetune_regression.main(flags(tmp_path / "shards", tmp_path / "one", **settings))
    assert len(history(tmp_path / "one")) == 12
    assert history(tmp_path / "two") == pytest.approx(history(tmp_path / "one"), rel=1e-4)


@pytest.fixture
def hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts the shards on a Hub in memory, under the names that are given."""
    memory = fsspec.filesystem("memory", skip_instance_cache=True)
    monkeypatch.setattr(type(memory), "store", {})

    class Hub(fsspec.AbstractFileSystem):
        """Paths as on the Hub, which begin without a slash."""

        def find(self, path: str, **_: Any) -> list[str]:
            return [name.lstrip("/") for name in memory.find(f"/{path}")]

        def info(self, path: str, **_: Any) -> dict[str, Any]:
            return memory.info(f"/{path}") | {"name": path}

        def _open(self, path: str, mode: str = "rb", **_: Any) -> Any:
            return memory._open(f"/{path}", mode)

    monkeypatch.setattr(shards, "_hub", Hub)

    def put(*names: str) -> None:
        for name, path in zip(names, sorted(folder.iterdir())):
            memory.pipe(f"/datasets/{name}", path.read_bytes())

    return put


@pytest.mark.parametrize(
    ("names", "config", "n_rows"),
    [
        (["lab/dna/data/train-0.parquet", "lab/dna/data/train-1.parquet", "lab/dna/data/test-0.parquet"], None, 40),
        (["lab/dna/a.parquet", "lab/dna/b.parquet", "lab/dna/validation.parquet"], None, 40),
        (["lab/dna@refs/convert/parquet/yeast/train/0.parquet", "lab/dna@refs/convert/parquet/fly/train/0.parquet"], "fly", 20),
    ],
)  # fmt: skip
def test_shards_on_the_hub(names: list[str], config: str | None, n_rows: int, hub: Callable[..., None]) -> None:
    hub(*names)
    found = shards.open_shards("lab/dna", SPEC, is_hub=True, config=config)
    dataset = StreamedDataset(found, TOKENIZER, 4)
    assert found.name == "lab/dna, train"
    assert len(np.unique(rows_of(dataset))) == dataset.n_rows == n_rows


def test_hub_refusals(hub: Callable[..., None]) -> None:
    with pytest.raises(ValueError, match="--dataset_name 'lab/none': no such dataset, or no Parquet files in it"):
        shards.open_shards("lab/none", SPEC, is_hub=True)
    hub("lab/dna@refs/convert/parquet/yeast/train/0.parquet", "lab/dna@refs/convert/parquet/fly/train/0.parquet")
    with pytest.raises(ValueError, match="lab/dna: several configurations; found: .*--dataset_config_name"):
        shards.open_shards("lab/dna", SPEC, is_hub=True)
    with pytest.raises(ValueError, match="lab/dna: no Parquet files of split 'extra'"):
        shards.open_shards("lab/dna", SPEC, is_hub=True, split="extra")


def test_a_streamed_run_from_the_hub(hub: Callable[..., None], tmp_path: Path) -> None:
    hub("lab/dna/train-0.parquet", "lab/dna/train-1.parquet")
    argv = flags(Path("x"), tmp_path / "out", streaming=True, dataset_name="lab/dna", eval_strategy="no")
    run_pretrain_mlm.main([word for word in argv if not word.startswith("--train_file")])
    assert json.loads((tmp_path / "out" / "config.json").read_text())["data_name"] == "lab/dna, train"


def test_shards_that_are_found(folder: Path) -> None:
    for unwanted in (".hidden.parquet", "_temporary/a.parquet", "notes.txt"):
        (folder / unwanted).parent.mkdir(exist_ok=True)
        (folder / unwanted).write_text("no shard")
    (folder / "inner").mkdir()
    shutil.move(folder / "part-2.parquet", folder / "inner" / "part-2.parquet")
    for place, n_rows in (("", 60), ("part-[01].parquet", 40), ("**/part-*.parquet", 60), ("part-1.parquet", 20)):
        assert stream(folder / place).n_rows == n_rows


def test_refused_shards(folder: Path, tmp_path: Path, dna: Callable[..., list[str]]) -> None:
    def refused(place: Path, message: str, spec: RowSpec = SPEC) -> None:
        with pytest.raises(ValueError, match=message):
            rows_of(stream(place, spec=spec))

    refused(tmp_path / "none", "--train_file .*none: no .parquet file there")
    (tmp_path / "a.tsv").write_text("sequence\nACGT\n")
    refused(tmp_path / "a.tsv", r"--streaming reads .parquet files, not .*a\.tsv: leave it out")
    refused(folder, "part-0.parquet: no column 'dna'; columns found: 'sequence', 'expression'; name", RowSpec("dna"))
    with pytest.raises(ValueError, match="60 rows are fewer than one batch of 16 for each of 4 process"):
        stream(folder, 16, world_size=4)
    refused(write_shards(tmp_path / "few", [], np.zeros(0)), "few: no rows in 3 Parquet file")
    sequences = dna(60)
    sequences[33] = "ACGTXACGT"
    refused(write_shards(tmp_path / "wrong", sequences, np.zeros(60)), "part-1.parquet, row 14: .*'X'")
    values = np.zeros(60)
    values[59] = np.nan
    refused(write_shards(tmp_path / "absent", dna(60), values), "part-2.parquet, row 20: no value in expression")
    (folder / "part-1.parquet").write_bytes(b"PAR1 is not enough")
    refused(folder, r"part-1\.parquet: not a whole Parquet file")


def test_shards_that_change_are_noticed(folder: Path, dna: Callable[..., list[str]]) -> None:
    dataset = stream(folder)
    write_shards(folder, dna(90), np.zeros(90))
    with pytest.raises(ValueError, match=r"part-\d.parquet: the file changed while it was in use: start anew"):
        rows_of(dataset)
    dataset = stream(folder)
    shutil.rmtree(folder)
    with pytest.raises(ValueError, match=r"part-\d.parquet: cannot be read"):
        rows_of(dataset)


@pytest.mark.parametrize(
    "flag",
    [
        {"split_column": "split"}, {"group_column": "locus"}, {"cluster_file": "a.clstr"}, {"similar_sequences": 0.95},
        {"validation_rows": 5}, {"test_rows": 5}, {"test_split_percentage": 5.0}, {"max_train_samples": 5},
        {"top_fraction": 0.5},
    ],
)  # fmt: skip
def test_flags_that_need_all_rows(flag: dict[str, Any]) -> None:
    (name,) = flag
    with pytest.raises(ValueError, match=f"--{name} .* needs all training rows before the first batch"):
        PretrainingDataArguments(train_file="x", streaming=True, **flag)


def test_validation_rows_come_from_a_file() -> None:
    with pytest.raises(ValueError, match=r"--validation_split_percentage 5.0: with --streaming no rows are held out"):
        RegressionDataArguments(train_file="x", streaming=True, validation_split_percentage=5.0)
    for percentage in (0.0, 10.0):  # 10 is the default
        RegressionDataArguments(train_file="x", streaming=True, validation_split_percentage=percentage)
    RegressionDataArguments(dataset_name="x", streaming=True, validation_file="y")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dataloader_num_workers": 2}, "--dataloader_num_workers 2: allowed with --streaming is 0: a thread reads ahead"),
        ({"auto_find_batch_size": True}, "--auto_find_batch_size true: allowed with --streaming is false"),
        ({"accelerator_config": {"split_batches": True}}, "--accelerator_config: .* no split_batches"),
        ({"train_sampling_strategy": "group_by_length"}, "--train_sampling_strategy group_by_length: allowed"),
    ],
)  # fmt: skip
def test_training_flags_that_cannot_be(settings: dict[str, Any], message: str, folder: Path, tmp_path: Path) -> None:
    training = KmerTrainingArguments(output_dir=str(tmp_path / "out"), **settings)
    arguments = PretrainingDataArguments(train_file=str(folder), streaming=True)
    with pytest.raises(ValueError, match=message):
        streaming.load_splits(training, arguments, TOKENIZER, None)


def test_large_row_groups_are_pointed_out(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        streaming._report(stream(folder, 4, window_rows=4))
    assert "sequences found twice, or in validation and test rows too, are not looked for" in caplog.text
    assert "a row group holds 5 rows, but only 4 neighbours are shuffled among each other" in caplog.text


def test_the_benchmark(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    apart = benchmark.run_apart

    def run(argv: list[str]) -> dict[str, float]:  # one process is enough to see that it works; each takes seconds
        return apart(argv) if argv[-1] == "limit" else benchmark.main(argv)[argv[-1]]

    monkeypatch.setattr(benchmark, "run_apart", run)
    sizes = {"rows": 400, "shards": 5, "group_rows": 30, "batch_size": 16, "peer_rows": 64}
    argv = [f"--folder={tmp_path / 'new'}", *(f"--{name}={value}" for name, value in sizes.items())]
    found = benchmark.main(argv)  # checks that ours and the peers give the same rows
    assert {stage: figures["rows"] for stage, figures in found.items()} == {
        "limit": 400, "ours": 400, "first": 80, "peer": 64, "peer_ours": 64,
    }  # fmt: skip
    table = capsys.readouterr().out
    assert all(title in table for title in benchmark.STAGES.values())
    with pytest.raises(SystemExit):
        benchmark.main(argv)
    assert "new is not empty: name a new one" in capsys.readouterr().err


def test_the_benchmark_notices_other_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(benchmark.VOCABULARY, "AAAAAA", 6)
    with pytest.raises(RuntimeError, match="ours and a peer give different rows"):
        benchmark.check_agreement(n_rows=600)


if __name__ == "__main__":
    launched(Path(sys.argv[1]))

"""Runs whose training rows are streamed: resumed, launched on two processes, from the Hub; and flags that they cannot have.

The file is also the program that two processes are launched with.
"""

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import run_finetune_regression
import run_pretrain_mlm
from kmerbert.cli.flags import PretrainingDataArguments, RegressionDataArguments
from kmerbert.reading.shards import Shards
from kmerbert.tokens.stream import StreamedDataset
from kmerbert.training import splits
from tests.support.messages import check_message, fails
from tests.support.tiny_runs import NETWORK, NO_DROPOUT, flags, planted, planted_table, random_dna
from tests.support.tiny_shards import memory_hub, write_shards
from tokenization_kmer import KmerTokenizer

ROOT = Path(__file__).resolve().parents[2]
EVERY_STEP = {"streaming": True, "num_train_epochs": 3, "logging_steps": 1, "eval_strategy": "no"}
EVERY_STEP |= {"save_strategy": "steps", "save_steps": 10, "save_total_limit": 9}


def history(run: Path, key: str = "loss") -> list[float]:
    """What was logged of a run under a key, step by step."""
    entries = json.loads((run / "trainer_state.json").read_text())["log_history"]
    return [entry[key] for entry in entries if key in entry]


@pytest.mark.parametrize("accumulated", [1, 2])
@pytest.mark.parametrize("main", [run_pretrain_mlm.main, run_finetune_regression.main], ids=["mlm", "regression"])
def test_resumed_equals_uninterrupted(
    main: Any, accumulated: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splits, "StreamedDataset", partial(StreamedDataset, window_rows=32))  # several windows an epoch
    path = write_shards(tmp_path / "shards", *planted(np.random.default_rng(0), 117), group_rows=10)
    settings = {"gradient_accumulation_steps": accumulated, "save_steps": 10 // accumulated}
    argv = flags(path, tmp_path / "out", **(EVERY_STEP | settings))
    main(argv)
    steps = {1: 21, 2: 12}[accumulated]  # 7 batches an epoch; the last of four steps has one
    assert len(history(tmp_path / "out")) == steps
    checkpoint = f"checkpoint-{10 // accumulated}"
    shutil.copytree(tmp_path / "out" / checkpoint, tmp_path / "again" / checkpoint)
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


def test_rows_too_short_for_the_reading_frames_stop_a_run(tmp_path: Path) -> None:
    sequences, values = planted(np.random.default_rng(0), 60)
    sequences[50] = sequences[50][:4]  # 2 k-mers
    path = write_shards(tmp_path / "shards", sequences, values)
    with fails("part-2.parquet, row 11", "2 k-mers", "3 reading frames", "`reading_frames`"):
        run_finetune_regression.main(flags(path, tmp_path / "out", **EVERY_STEP, reading_frames=3))


def launched(folder: Path) -> None:
    """What every launched process does."""
    settings = EVERY_STEP | {"config_overrides": NETWORK + NO_DROPOUT, "use_cpu": True}
    run_finetune_regression.main(flags(folder / "shards", folder / "two", **settings, per_device_train_batch_size=8))


class BatchesOfTwoProcesses(StreamedDataset):
    """Gives one process the batches that two processes get, each twice as large as theirs."""

    def __init__(self, shards: Shards, tokenizer: KmerTokenizer, batch_size: int, world_size: int, seed: int) -> None:
        super().__init__(shards, tokenizer, batch_size // 2, 2 * world_size, seed)

    def __getitems__(self, positions: list[int]) -> dict[str, Any]:
        middle = len(positions) // 2
        first, second = super().__getitems__(positions[:middle]), super().__getitems__(positions[middle:])
        joined = {name: np.concatenate([first[name], second[name]]) for name in ("input_ids", "labels", "row")}
        return joined | {"epoch": first["epoch"]}


def test_two_processes_compute_what_one_does_with_their_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shards(tmp_path / "shards", *planted(np.random.default_rng(0), 70))
    command = [sys.executable, "-m", "accelerate.commands.launch", f"--config_file={ROOT / 'accelerate_config.yaml'}"]
    command += ["--main_process_port=0", "--mixed_precision=no", "--num_processes=2", __file__, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    (line,) = (line for line in run.stderr.splitlines() if line.startswith("train: "))  # printed once
    # 4 batches of 8 for each of two processes are 64 of the 70 rows.
    check_message(line, "70 rows", "15 row groups", "3 shards", "6 rows are left out")
    monkeypatch.setattr(splits, "StreamedDataset", BatchesOfTwoProcesses)
    settings = EVERY_STEP | {"config_overrides": NETWORK + NO_DROPOUT, "per_device_train_batch_size": 16}
    run_finetune_regression.main(flags(tmp_path / "shards", tmp_path / "one", **settings))
    assert len(history(tmp_path / "one")) == 12
    assert history(tmp_path / "two") == pytest.approx(history(tmp_path / "one"), rel=1e-4)


def test_a_streamed_run_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_file = memory_hub(monkeypatch)
    shards = write_shards(tmp_path / "shards", random_dna(np.random.default_rng(0), 60), np.zeros(60))
    for number in (0, 1):
        put_file(f"lab/dna/train-{number}.parquet", shards / f"part-{number}.parquet")
    argv = flags(Path("unused"), tmp_path / "out", streaming=True, dataset_name="lab/dna", eval_strategy="no")
    run_pretrain_mlm.main([flag for flag in argv if not flag.startswith("--train_file")])
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["data_name"], config["n_training_rows"]) == ("lab/dna, train", 40)


@pytest.mark.parametrize(
    "flag",
    [
        {"split_column": "split"}, {"group_column": "locus"}, {"cluster_file": "a.clstr"}, {"similar_sequences": 0.95},
        {"validation_rows": 5}, {"test_rows": 5}, {"test_split_percentage": 5.0}, {"max_train_samples": 5},
        {"top_fraction": 0.5},
    ],
)  # fmt: skip
def test_flags_that_need_all_rows(flag: dict[str, Any]) -> None:
    ((name, value),) = flag.items()
    with fails(f"--{name} {value}", "--streaming", "--validation_file", "--test_file"):
        PretrainingDataArguments(train_file="x", streaming=True, **flag)


def test_validation_rows_come_from_a_file() -> None:
    with fails("--validation_split_percentage 5.0", "--streaming", "--validation_file"):
        RegressionDataArguments(train_file="x", streaming=True, validation_split_percentage=5.0)
    for percentage in (0.0, 10.0):  # 10 is the default
        RegressionDataArguments(train_file="x", streaming=True, validation_split_percentage=percentage)
    RegressionDataArguments(dataset_name="x", streaming=True, validation_file="y")


if __name__ == "__main__":
    launched(Path(sys.argv[1]))

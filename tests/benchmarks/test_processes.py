"""The benchmark of several processes: one at toy size, and its arithmetic on paper."""

import subprocess
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from accelerate.commands.launch import launch_command_parser

import run_finetune_regression
from benchmarks.measuring import write_table
from benchmarks.speed import processes
from tests.support.messages import check_message


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The parsed launches; what they launch runs in this process."""
    launches = []

    def run(command: list[str], **settings: Any) -> subprocess.CompletedProcess:
        assert command[1:3] == ["-m", "accelerate.commands.launch"]
        launch = launch_command_parser().parse_args(command[3:])
        assert (settings["cwd"] / launch.training_script).samefile(run_finetune_regression.__file__)
        assert (settings["cwd"] / launch.config_file).is_file()
        run_finetune_regression.main(launch.training_script_args)
        launches.append(launch)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(processes, "subprocess", SimpleNamespace(run=run))
    return launches


def test_one_process_at_toy_size(launches: list[Any], tmp_path: Path) -> None:
    write_table(tmp_path / "rows.tsv", 16, processes.N_BASES)
    args = Namespace(hidden_size=16, layers=1, global_batch=4)
    seconds, losses = processes.train(tmp_path / "rows.tsv", tmp_path, 1, 2, args)
    assert seconds > 0
    assert len(losses) == 2
    _, more_losses = processes.train(tmp_path / "rows.tsv", tmp_path, 1, 3, args)
    assert len(more_losses) == 3
    assert more_losses[0] == losses[0]  # the same rows in the same order
    assert [(launch.num_processes, launch.mixed_precision) for launch in launches] == [(1, "no")] * 2


def test_the_tables(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    seconds = {(1, 5): 3.0, (1, 15): 13.0, (2, 5): 4.0, (2, 15): 9.0}  # 10 steps in 10 and in 5 seconds

    def train(rows: object, folder: object, n_processes: int, steps: int, args: object) -> tuple[float, list[float]]:
        return seconds[n_processes, steps], [1.0, 0.5 + 0.25 * (n_processes - 1)]

    monkeypatch.setattr(processes, "train", train)
    one, two = processes.main(["--processes", "1", "2", "--global_batch", "8", "--steps", "10"])
    assert (one["rate"], two["rate"]) == (8.0, 16.0)
    assert (one["share"], two["share"], two["differs"]) == (1.0, 1.0, 0.25)
    printed = capsys.readouterr().out
    assert "of linear" in printed
    # BERT-base on 4 GPUs: 89.2 million weights of 4 bytes, 6/4 of them sent by each.
    assert "535" in next(line for line in printed.splitlines() if line.startswith("BERT-base"))


def test_bytes_that_are_sent_by_hand() -> None:
    assert (processes.sent_bytes(10, 2), processes.sent_bytes(10, 4)) == (40.0, 60.0)


def test_batches_must_divide(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        processes.main(["--processes", "3", "--global_batch", "64"])
    check_message(capsys.readouterr().err.splitlines()[-1], "--global_batch 64", "--processes")

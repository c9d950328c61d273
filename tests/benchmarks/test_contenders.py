"""The accuracy benchmark: scores by hand, runs that are not repeated, commands, and its messages."""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from torch import nn

from baselines import legnet
from benchmarks.accuracy import contenders as accuracy
from tests.support.messages import check_message
from tests.support.tiny_runs import planted, write_table


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """100 training and 40 validation rows; half of the sequences contain a motif that decides about their values."""
    sequences, values = planted(np.random.default_rng(0), 140, 32)
    splits = ["train"] * 100 + ["validation"] * 40
    return write_table(tmp_path / "table.tsv", sequence=sequences, expression=np.round(values, 4), split=splits)


@pytest.fixture
def replace_call(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., int]], None]:
    """Lets a function run the commands, in place of processes of their own."""
    return lambda call: monkeypatch.setattr(accuracy, "subprocess", SimpleNamespace(call=call))


def test_the_table_by_hand(tmp_path: Path) -> None:
    """Two seeds, of which one is right and the other is right but for its sign in one half of the rows."""
    observed = np.array([1.0, 2.0, 3.0, 4.0])
    for seed, predictions in enumerate((observed, np.array([2.0, 1.0, 4.0, 3.0]))):
        folder = tmp_path / f"best/seed{seed}"
        folder.mkdir(parents=True)
        for name in accuracy.FILES.values():
            write_table(folder / name, sequence=["A"] * 4, prediction=predictions, observed=observed)
        (folder / "seconds.txt").write_text(f"{60 + 60 * seed}\n")
    alone, together = accuracy.describe("best", tmp_path, [0, 1])
    # r of the second seed is 0.6: mean 0.8, standard deviation 0.4 / sqrt(2); their mean 1.5 1.5 3.5 3.5 has r 2 / sqrt(5).
    assert alone.count("0.8000 ± 0.2828") == 4
    assert alone.endswith("| 1.5 |")
    assert together.count("0.8944") == 4


def test_contenders_run_once(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, replace_call: Callable
) -> None:
    def call(command: list[str], **_: object) -> int:
        assert command[:2] == [sys.executable, "-m"]
        import_module(command[2]).main(command[3:])
        return 0

    replace_call(call)
    monkeypatch.setattr(legnet, "build_network", lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(1)))
    flags = f"--train_file {table} --test_file {table} --contenders ridge,legnet --seeds 0,1 --output_dir {tmp_path / 'out'}"
    accuracy.main(flags.split())
    first = capsys.readouterr().out
    assert "| ridge, 1- to 6-mer counts | 1 |" in first
    assert "| LegNet-like, one strand | 2 |" in first
    assert "legnet, seed 1: " in first
    replace_call(lambda *_, **__: pytest.fail("a run was repeated"))
    accuracy.main(flags.split())
    again = capsys.readouterr().out
    assert [line for line in again.splitlines() if "|" in line] == [line for line in first.splitlines() if "|" in line]
    with pytest.raises(SystemExit):
        accuracy.main([*flags.split(), "--split_column", "other"])
    check_message(capsys.readouterr().err.splitlines()[-1], tmp_path / "out", "commands.txt", "--output_dir")


def test_flags_of_the_recipe(tmp_path: Path, replace_call: Callable) -> None:
    calls = []

    def call(command: list[str], **_: object) -> int:
        out = Path(command[command.index("--output_dir") + 1])
        out.mkdir()
        for name in accuracy.FILES.values():
            write_table(out / name, sequence=["A"] * 2, prediction=[0.0, 1.0], observed=[0.0, 1.0])
        calls.append(command)
        return 0

    replace_call(call)
    flags = ["--contenders=legnet,batch64", "--seeds=3", "--best_flags=--num_train_epochs 4 --bf16 False"]
    accuracy.main(["--train_file=a.tsv", "--test_file=b.tsv", *flags, "--output_dir", str(tmp_path / "o")])
    baseline, ours = calls
    assert "--num_train_epochs" not in baseline
    assert ours[-4:] == ["--num_train_epochs", "4", "--bf16", "False"]
    assert ours[ours.index("--seed") + 1] == "3"


def test_a_run_that_fails(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    flags = "--train_file missing.tsv --test_file missing.tsv --contenders ridge --seeds 0"
    with pytest.raises(SystemExit):
        accuracy.main([*flags.split(), "--output_dir", str(tmp_path)])  # in a process of its own
    check_message(capsys.readouterr().err.splitlines()[-1], "ridge, seed 0", tmp_path / "ridge/seed0.log")
    assert "missing.tsv: no such file" in (tmp_path / "ridge/seed0.log").read_text()


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (["--contenders=ridge,bert"], ("--contenders bert", "ridge, legnet, ")),
        (["--contenders=pretrained"], ("--contenders pretrained", "--pretrained_model")),
        (["--seeds=a"], ("--seeds a", "0,1,2")),
        (["--seeds=1,"], ("--seeds 1,", "0,1,2")),
        (["--jobs=0"], ("--jobs 0", "1 or more")),
    ],
)
def test_flags_that_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture, flags: list[str], parts: tuple[str, ...]
) -> None:
    with pytest.raises(SystemExit):
        accuracy.main(["--train_file", "a.tsv", "--test_file", "a.tsv", *flags, "--output_dir", str(tmp_path)])
    check_message(capsys.readouterr().err.splitlines()[-1], *parts)

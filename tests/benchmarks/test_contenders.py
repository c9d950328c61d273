"""The accuracy benchmark and its convolutional baseline: input, size, scores by hand, what is run once, refusals."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from baselines import legnet
from benchmarks.accuracy import contenders as accuracy
from tests.support.tiny_runs import planted, write_table


def write_rows(tmp_path: Path, n_train: int) -> Path:
    """Training and 40 validation rows; half of the sequences hold a motif that decides about their values."""
    sequences, values = planted(np.random.default_rng(0), n_train + 40, 32)
    return write_table(
        tmp_path / "table.tsv",
        sequence=sequences,
        expression=np.round(values, 4),
        split=["train"] * n_train + ["validation"] * 40,
    )


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """100 training rows."""
    return write_rows(tmp_path, 100)


def test_encoding_by_hand() -> None:
    rows = legnet.encode(["ACGT", "CN"], 3)
    assert rows.dtype == torch.int8
    assert rows[0].tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert rows[1].tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_the_network_has_the_published_size() -> None:
    network = legnet.build_network()
    assert 1.25e6 < sum(weight.numel() for weight in network.parameters()) < 1.35e6
    assert network(torch.zeros(2, 4, 110)).shape == (2, 1)


def test_the_baseline_learns_a_planted_motif(tmp_path: Path) -> None:
    table = write_rows(tmp_path, 600)
    flags = f"--train_file {table} --split_column split --epochs 8 --batch_size 50 --output_dir {tmp_path / 'out'}"
    legnet.main(flags.split())
    found = pd.read_csv(tmp_path / "out/validation_predictions.tsv", sep="\t")
    assert list(found) == ["sequence", "prediction", "observed"]
    given = pd.read_csv(table, sep="\t").query("split == 'validation'")
    assert found["sequence"].tolist() == given["sequence"].tolist()
    assert np.corrcoef(found["prediction"], found["observed"])[0, 1] > 0.8


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--split_column locus", "no column 'locus'; columns found: sequence, expression, split"),
        ("--label_column value", "no column 'value'"),
        ("--label_column split --split_column split", "line 2: split is 'train': allowed are numbers"),
        (
            "",
            "140 rows to train on, and 0 to predict: give --split_column with rows `train` and `validation`, or --test_file",
        ),
        ("--test_file missing.tsv", "No such file"),
    ],
)
def test_what_the_baseline_refuses(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture, flags: str, message: str
) -> None:
    with pytest.raises(SystemExit):
        legnet.main(["--train_file", str(table), "--output_dir", str(tmp_path / "out"), *flags.split()])
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_file_without_header(tmp_path: Path) -> None:
    sequences, values = planted(np.random.default_rng(0), 20, 32)
    bare = tmp_path / "bare.tsv"
    bare.write_text(
        "".join(f"{sequence.lower()}\t{value:.3f}\n" for sequence, value in zip(sequences, values, strict=True))
    )
    legnet.main(f"--train_file {bare} --test_file {bare} --epochs 1 --output_dir {tmp_path / 'out'}".split())
    found = pd.read_csv(tmp_path / "out/test_predictions.tsv", sep="\t")
    assert found["sequence"].tolist() == sequences
    assert np.allclose(found["observed"], np.round(values, 3))


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


def test_contenders_run_once(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    flags = f"--train_file {table} --test_file {table} --contenders ridge,legnet --seeds 0,1 --jobs 2"
    accuracy.main([*flags.split(), "--output_dir", str(tmp_path / "out")])
    first = capsys.readouterr().out
    assert "| ridge, 1- to 6-mer counts | 1 |" in first
    assert "| LegNet-like, one strand | 2 |" in first
    assert "legnet, seed 1: " in first
    accuracy.main([*flags.split(), "--output_dir", str(tmp_path / "out")])
    again = capsys.readouterr().out
    assert "legnet, seed 1: " not in again
    assert [line for line in again.splitlines() if "|" in line] == [line for line in first.splitlines() if "|" in line]
    with pytest.raises(SystemExit):
        accuracy.main([*flags.split(), "--split_column", "other", "--output_dir", str(tmp_path / "out")])
    assert "was made by other commands, see commands.txt there: give another --output_dir" in capsys.readouterr().err


def test_flags_of_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def call(command: list[str], **options: object) -> int:
        out = Path(command[command.index("--output_dir") + 1])
        out.mkdir()
        for name in accuracy.FILES.values():
            write_table(out / name, sequence=["A"] * 2, prediction=[0.0, 1.0], observed=[0.0, 1.0])
        calls.append(command)
        return 0

    monkeypatch.setattr(accuracy.subprocess, "call", call)
    flags = ["--contenders=legnet,batch64", "--seeds=3", "--best_flags=--num_train_epochs 4 --bf16 False"]
    accuracy.main(["--train_file=a.tsv", "--test_file=b.tsv", *flags, "--output_dir", str(tmp_path / "o")])
    baseline, ours = calls
    assert "--num_train_epochs" not in baseline
    assert ours[-4:] == ["--num_train_epochs", "4", "--bf16", "False"]
    assert ours[ours.index("--seed") + 1] == "3"


@pytest.mark.parametrize(
    ("contenders", "message"),
    [
        ("ridge,bert", "--contenders bert: allowed are ridge, legnet, "),
        ("pretrained", "--contenders pretrained needs --pretrained_model, what recipes/best/pretrain_mlm.yaml made"),
        ("ridge", "ridge, seed 0 failed: "),
    ],
)
def test_what_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture, contenders: str, message: str) -> None:
    flags = ["--train_file", "missing.tsv", "--test_file", "missing.tsv", "--contenders", contenders, "--seeds", "0"]
    with pytest.raises(SystemExit):
        accuracy.main([*flags, "--output_dir", str(tmp_path)])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--seeds=a", "--seeds=1,", "--jobs=0"])
def test_seeds_and_jobs_are_numbers(tmp_path: Path, capsys: pytest.CaptureFixture, flag: str) -> None:
    with pytest.raises(SystemExit):
        accuracy.main(["--train_file", "a.tsv", "--test_file", "a.tsv", flag, "--output_dir", str(tmp_path)])
    assert "allowed are whole numbers such as 0,1,2, and 1 or more" in capsys.readouterr().err

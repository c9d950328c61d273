"""run_learning_curve.py: whole groups, the same held-out rows, nothing trained twice, and what it says."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import run_finetune_regression
import run_learning_curve
from tests.support.messages import fails
from tests.support.tiny_runs import flags, planted, write_table

SIZES = {"fractions": "0.25,0.5,1", "seeds": "3", "test_rows": 30, "more_rows": "50,100"}


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Trains in this process, instead of in one of its own; the folders that were trained."""
    folders = []

    def train(command: list[str], log: Path) -> int:
        folders.append(log.stem)
        run_finetune_regression.main(command[2:])
        return 0

    monkeypatch.setattr(run_learning_curve, "launch", train)
    return folders


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """150 rows in loci of three."""
    sequences, values = planted(np.random.default_rng(0), 150)
    return write_table(
        tmp_path / "a.tsv", sequence=sequences, expression=np.round(values, 4), locus=[row // 3 for row in range(150)]
    )


def test_a_curve_of_three_sizes(
    table: Path, tmp_path: Path, trained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "curve"
    argv = flags(table, folder, group_column="locus", eval_strategy="no", save_strategy="no", **SIZES)
    result = run_learning_curve.main(argv)
    points = pd.read_csv(folder / "learning_curve.tsv", sep="\t")
    assert points["fraction"].tolist() == [0.25, 0.5, 1]
    assert points["seed"].tolist() == [3] * 3
    n_train = points["rows"].max()  # 150 less 30 and 15, in loci of three
    assert n_train == 105
    assert points["rows"].tolist() == [24, 51, 105]
    assert set(points["held_out"]) == {"test"}
    for point in points.itertuples():
        run = folder / f"fraction_{point.fraction:g}_seed_{point.seed}"
        assert json.loads((run / "all_results.json").read_text())["test_pearsonr"] == pytest.approx(point.r)
        assert json.loads((run / "config.json").read_text())["n_training_rows"] == point.rows
        assert "| groups | locus |" in (run / "README.md").read_text()
    tested = [set(pd.read_csv(path, sep="\t")["sequence"]) for path in folder.glob("*/test_predictions.tsv")]
    assert all(rows == tested[0] for rows in tested)
    captured = capsys.readouterr()
    said = captured.out.splitlines()[-4:]  # after those of the trainings
    assert captured.err.startswith("3 trainings, 0 done\n")
    assert captured.err.count(" minutes left, or less\n") == 2
    assert said[0].startswith("with all 105 training rows: r ")
    assert [line[:28] for line in said[1:3]] == ["with 50 more rows expect r 0"[:28], "with 100 more rows expect r "]
    content = json.loads((folder / "learning_curve.json").read_text())
    assert content["expected"].keys() == {"155", "205"}
    assert content["lines"] == said[:3]
    assert (folder / "learning_curve.png").read_bytes()[1:4] == b"PNG"
    assert result["r"] == pytest.approx(points["r"][2])

    assert len(trained) == 3
    (folder / "learning_curve.tsv").write_text(points[:2].to_csv(sep="\t", index=False))
    assert run_learning_curve.main(argv)["r"] == pytest.approx(result["r"])  # scored again, but not trained
    assert len(trained) == 3
    with fails("`num_train_epochs` 1", "2"):
        run_learning_curve.main([*argv, "--num_train_epochs=2"])
    capsys.readouterr()
    run_learning_curve.main([*argv, "--seeds=3,2"])
    shortest = "--seeds 0 --fractions 0.25,0.5,1 would be the shortest"
    assert capsys.readouterr().err.startswith(f"6 trainings, 3 done; {shortest}\n")
    assert trained[3:] == [f"fraction_{fraction}_seed_2" for fraction in ("0.25", "0.5", "1")]


def test_the_minutes_that_are_left() -> None:
    assert run_learning_curve.minutes_left({0.25: 60.0, 0.5: 90.0}, [0.25, 1.0]) == 4  # 60 s and twice 90 s


def test_flags_that_are_not_for_a_curve(table: Path, tmp_path: Path) -> None:
    argv = flags(table, tmp_path / "curve")
    for given, parts in (
        ("--folds=5", ["--folds"]),
        ("--push_to_hub", ["--push_to_hub"]),
        ("--fractions=0.5,1", ["--fractions 0.5,1", "three"]),
        ("--fractions=0.5,1,2", ["--fractions 0.5,1,2", "up to 1"]),
        ("--seeds=a", ["--seeds a"]),
        ("--more_rows=0", ["--more_rows 0"]),
    ):
        with fails(*parts):
            run_learning_curve.main([*argv, given])
    assert not (tmp_path / "curve").exists()
    (tmp_path / "curve").mkdir()
    (tmp_path / "curve" / "mine.txt").write_text("mine")
    with fails("--output_dir", "curve", "not empty"):
        run_learning_curve.main(argv)


def test_a_training_that_fails(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(command: list[str], log: Path) -> int:
        log.write_text("reading\nerror: a.tsv, line 7: no number\n")
        return 2

    monkeypatch.setattr(run_learning_curve, "launch", fail)
    with fails("a.tsv, line 7: no number", "fraction_0.125_seed_0.log"):
        run_learning_curve.main(flags(table, tmp_path / "curve"))

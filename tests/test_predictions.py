"""The table of predictions: its columns, its numbers, and that it is never half there."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kmerbert.predictions import write_predictions, write_text


def test_one_output(tmp_path: Path) -> None:
    path = tmp_path / "p.tsv"
    write_predictions(
        path, ["a", "b"], ["ACG", "TT"], np.array([[1.5], [2.25]]), np.array([[1.0], [np.nan]]), ["expression"]
    )
    assert path.read_text() == "id\tsequence\tprediction\tobserved\na\tACG\t1.5\t1\nb\tTT\t2.25\t\n"


def test_several_outputs_and_nothing_observed(tmp_path: Path) -> None:
    path = tmp_path / "p.tsv"
    write_predictions(path, ["a"], ["ACG"], np.array([[1.0, 2.0]]), None, ["yeast", "human"])
    assert path.read_text() == "id\tsequence\tprediction_yeast\tprediction_human\na\tACG\t1\t2\n"
    write_predictions(path, ["a"], ["ACG"], np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]]), ["yeast", "human"])
    assert path.read_text().splitlines()[0].split("\t")[2:] == [
        "prediction_yeast",
        "prediction_human",
        "observed_yeast",
        "observed_human",
    ]


def test_numbers_come_back(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(11, 2.5, (100, 1)) * 10.0 ** np.arange(-20, 30, 0.5)[:, None]
    write_predictions(
        tmp_path / "p.tsv", [str(i) for i in range(100)], ["ACGT"] * 100, values, values.astype(np.float32), ["x"]
    )
    found = pd.read_csv(tmp_path / "p.tsv", sep="\t", dtype={"id": str})
    np.testing.assert_allclose(found["prediction"], values[:, 0], rtol=1e-6)
    assert found["id"].tolist() == [str(i) for i in range(100)]


def test_text_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old\n")
    write_text(path, "new \u00e9\n")
    assert path.read_text(encoding="utf-8") == "new \u00e9\n"
    (tmp_path / "other.txt").touch()
    assert path.stat().st_mode == (tmp_path / "other.txt").stat().st_mode
    (tmp_path / "other.txt").unlink()
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "half \ud800")
    assert path.read_text(encoding="utf-8") == "new \u00e9\n"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="absent"):
        write_text(tmp_path / "absent" / "a.txt", "x")

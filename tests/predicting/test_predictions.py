"""Files of predictions: columns and numbers of the table, that it is never half there, and rows with their values."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kmerbert.files import write_text
from kmerbert.predicting.table import read_row_values, write_predictions


def test_one_output(tmp_path: Path) -> None:
    path = tmp_path / "p.tsv"
    write_predictions(
        path,
        [([], []), (["a"], ["ACG"]), ([], []), (["b"], ["TT"])],
        np.array([[1.5], [2.25]]),
        np.array([[1.0], [np.nan]]),
        ["expression"],
    )
    assert path.read_text() == "id\tsequence\tprediction\tobserved\na\tACG\t1.5\t1\nb\tTT\t2.25\t\n"


def test_several_outputs_and_nothing_observed(tmp_path: Path) -> None:
    path = tmp_path / "p.tsv"
    write_predictions(path, [(["a"], ["ACG"])], np.array([[1.0, 2.0]]), None, ["yeast", "human"])
    assert path.read_text() == "id\tsequence\tprediction_yeast\tprediction_human\na\tACG\t1\t2\n"
    write_predictions(path, [(["a"], ["ACG"])], np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]]), ["yeast", "human"])
    assert path.read_text().splitlines()[0].split("\t")[2:] == [
        "prediction_yeast",
        "prediction_human",
        "observed_yeast",
        "observed_human",
    ]


def test_numbers_come_back(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(11, 2.5, (100, 1)) * 10.0 ** np.arange(-20, 30, 0.5)[:, None]
    write_predictions(
        tmp_path / "p.tsv",
        [([str(i) for i in range(start, start + 10)], ["ACGT"] * 10) for start in range(0, 100, 10)],
        values,
        values.astype(np.float32),
        ["x"],
    )
    found = pd.read_csv(tmp_path / "p.tsv", sep="\t", dtype={"id": str})
    np.testing.assert_allclose(found["prediction"], values[:, 0], rtol=1e-6)
    assert found["id"].tolist() == [str(i) for i in range(100)]


def test_rows_that_changed_since_they_were_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"p.tsv: 2 predictions, but 1 rows: was the table changed meanwhile\?$"):
        write_predictions(tmp_path / "p.tsv", [(["a"], ["ACG"])], np.zeros((2, 1)), None, ["x"])
    assert not list(tmp_path.iterdir())


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


def test_rows_and_values_of_the_challenge(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"12": 1.5, "3": -2, "0": 1e-3}')
    rows, values = read_row_values(tmp_path / "a.json")
    assert (rows.tolist(), values.tolist()) == ([12, 3, 0], [1.5, -2, 0.001])
    assert (rows.dtype, values.dtype) == (np.int64, np.float64)
    (tmp_path / "b.json").write_text('{"12,3": [1.5, 2], "3,12": [0, 1], "4,4": [1, 1]}')
    rows, values = read_row_values(tmp_path / "b.json", 2)
    assert rows.tolist() == [[12, 3], [3, 12], [4, 4]]
    assert values.tolist() == [[1.5, 2], [0, 1], [1, 1]]


@pytest.mark.parametrize(
    ("rows_per_key", "text", "message"),
    [
        (1, "", r"a.json is no JSON \(Expecting value.*needed is \{\"row\": value"),
        (1, '{"1": 2', r"a.json is no JSON \("),
        (1, "\xff", r"a.json is no JSON \("),
        (1, "[" * 100_000, r"a.json is no JSON \("),
        (1, "{}", "a.json is empty or no JSON object"),
        (1, "[1.5]", "a.json is empty or no JSON object"),
        (1, "1.5", "a.json is empty or no JSON object"),
        (1, '{"1": 2, "3": NaN}', "the value of '3' is 'nan': allowed are finite numbers"),
        (1, '{"1": -Infinity}', "the value of '1' is '-inf'"),
        (1, '{"1": 1e39}', "the value of '1' is '1e.39'"),
        (1, '{"1": 1' + "0" * 400 + "}", "the value of '1' is '10000"),
        (1, '{"1": "2"}', "the value of '1' is '2': allowed are finite numbers"),
        (1, '{"1": true}', "the value of '1' is 'True'"),
        (1, '{"1": null}', "the value of '1' is 'None'"),
        (1, '{"1": [2]}', r"the value of '1' is '\[2\]'"),
        (1, '{"1": {"2": 3}}', "the value of '1' is"),
        (1, '{"a": 1}', "the key 'a' is no row number from 0"),
        (1, '{"-1": 1}', "the key '-1' is no row number"),
        (1, '{"1.0": 1}', "the key '1.0' is no row number"),
        (1, '{"99999999999999999999": 1}', "the key '9+' is no row number"),
        (1, '{"7": 1, "2": 1, "7": 1}', "the key '7' stands twice"),
        (1, '{"7": 1, "2": 1, "07": 1}', "the key '07' stands twice"),
        (2, '{"1": 1}', r"the value of '1' is '1': .*\"row,row\": \[value, value\]"),
        (2, '{"1,2": [1]}', r"the value of '1,2' is '\[1\]'"),
        (2, '{"1,2": [1, NaN]}', r"the value of '1,2' is '\[1, nan\]'"),
        (2, '{"1": [1, 2]}', "the key '1' is no row number"),
        (2, '{"1,2": [1, 2], "2,1": [2, 1], "1,2": [1, 2]}', "the key '1,2' stands twice"),
        (2, '{"1,2": [1, 2], "1,3": [2, 1], "1,2": [1, 2]}', "the key '1,2' stands twice"),
    ],
)
def test_refused_rows_and_values(rows_per_key: int, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=message):
        read_row_values(tmp_path / "a.json", rows_per_key)

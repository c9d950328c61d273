"""The predictions file: its columns, what is read back of it, whose rows are the same, and values by row number."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from kmerbert.predicting.table import (
    align_rows,
    interval_columns,
    match_rows,
    measured_columns,
    number_columns,
    prediction_table,
    read_predictions,
    read_row_values,
    suffixes_in,
)
from kmerbert.predicting.writers import write_tables
from tests.support.messages import check_message, fails

# Two rows, three checkpoints, one output.
VALUES = np.array([[[1.0], [2.0], [6.0]], [[11.034567832946777], [11.034567832946777], [11.034567832946777]]])

MakeTable = Callable[..., Path]


def around(mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Intervals from one below the prediction to two above."""
    return mean - 1, mean + 2


def test_mean_deviation_and_observed_of_an_ensemble() -> None:
    observed = np.array([[np.nan], [0.1]])
    sequences = pa.array([" AC\n", "G"]).dictionary_encode()
    assert prediction_table(pa.array([7, 8]), sequences, VALUES, ["x"], observed).to_pydict() == {
        "id": ["7", "8"],
        "sequence": ["AC", "G"],
        "prediction": [3.0, pytest.approx(11.034567832946777)],
        "checkpoint_sd": [pytest.approx(7**0.5), pytest.approx(0, abs=1e-12)],  # (4 + 1 + 9) / (3 - 1) = 7
        "observed": [None, 0.1],
    }


def test_a_single_checkpoint_has_no_deviation() -> None:
    ids = sequences = pa.array(["A", "C"])
    table = prediction_table(ids, sequences, VALUES[:, 2:], ["x"])
    assert table.to_pydict() == {
        "id": ["A", "C"],
        "sequence": ["A", "C"],
        "prediction": [6.0, 11.034567832946777],
    }


def test_several_outputs_have_columns_of_their_own() -> None:
    values = np.array([[[1.0, 10.0], [3.0, 10.0]]])
    ids = sequences = pa.array(["A"])
    table = prediction_table(ids, sequences, values, ["x", "y"], np.array([[5.0, 6.0]]))
    expected = {"prediction_x": 2.0, "prediction_y": 10.0, "checkpoint_sd_x": 2**0.5, "checkpoint_sd_y": 0.0}
    (row,) = table.to_pylist()
    assert list(row.items())[2:] == [*expected.items(), ("observed_x", 5.0), ("observed_y", 6.0)]


def test_intervals_are_next_to_the_mean() -> None:
    ids = sequences = pa.array(["A", "C"])
    table = prediction_table(ids, sequences, VALUES, ["x"], np.array([[1.0], [2.0]]), around)
    assert table.column_names == ["id", "sequence", "prediction", "lower", "upper", "checkpoint_sd", "observed"]
    assert table["lower"].to_pylist() == pytest.approx([2.0, 10.034567832946777])
    assert table["upper"].to_pylist() == pytest.approx([5.0, 13.034567832946777])
    two = prediction_table(ids, sequences, np.ones((2, 1, 2)), ["x", "y"], None, lambda mean: (mean - 1, mean + [1, 3]))
    assert {name: two[name][0].as_py() for name in two.column_names[2:]} == {
        "prediction_x": 1, "prediction_y": 1, "lower_x": 0, "lower_y": 0, "upper_x": 2, "upper_y": 4
    }  # fmt: skip


@pytest.mark.parametrize("name", ["p.tsv", "p.csv.gz", "p.parquet"])
@pytest.mark.parametrize("outputs", [["x"], ["x", "y"]])
def test_a_file_is_read_back_as_numbers(name: str, outputs: list[str], tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(11, 2.5, (5, 2, len(outputs)))
    observed = np.where(np.arange(5) == 3, np.nan, 1.0)[:, None].repeat(len(outputs), 1)
    ids, sequences = pa.array([f"007_{row}" for row in range(5)]), pa.array(["ACG"] * 5)
    path = tmp_path / name
    write_tables(path, iter([prediction_table(ids, sequences, values, outputs, observed, around)]))
    table = read_predictions(str(path))
    suffixes = suffixes_in(table)
    assert suffixes == ([""] if outputs == ["x"] else ["_x", "_y"])
    assert table["id"].tolist() == ids.to_pylist()
    predicted = number_columns(table, ["prediction" + suffix for suffix in suffixes], str(path), "")
    np.testing.assert_allclose(predicted, values.mean(axis=1), rtol=1e-7)
    lower, upper = interval_columns(table, suffixes, str(path))
    np.testing.assert_allclose((lower + 1, upper - 2), (predicted, predicted), atol=1e-5)
    known = measured_columns(table, ["observed" + suffix for suffix in suffixes], str(path), "")
    np.testing.assert_array_equal(known, observed)


@pytest.mark.parametrize(
    ("columns", "parts"),
    [
        ({"prediction": ["1", "high"]}, ("p.tsv, line 3", "prediction", "'high'")),
        ({"prediction": ["1", ""]}, ("p.tsv, line 3", "prediction")),
        ({"prediction_a": ["", "1"]}, ("p.tsv, line 2", "prediction_a")),
        ({"prediction": ["1", "1"], "observed": ["NA", "low"]}, ("p.tsv, line 3", "observed", "'low'")),
        ({"prediction": ["1", "1"], "lower": ["0", ""]}, ("p.tsv, line 3", "lower")),
        (
            {"prediction_a": ["1", "1"], "lower_a": ["0", "3"], "upper_a": ["2", "2.5"]},
            ("p.tsv, line 3", "lower_a 3", "upper_a 2.5", "`calibration_file`"),
        ),
    ],
)
def test_rows_that_are_not_predictions(columns: dict[str, list[str]], parts: tuple[str, ...], table: MakeTable) -> None:
    path = table("p.tsv", id=["a", "b"], **columns)
    with fails(*parts):
        read_predictions(str(path))


def test_other_columns_are_text(table: MakeTable) -> None:
    """Only columns of an output that has predictions are numbers, whatever else begins like them."""
    path = table("p.tsv", prediction=["1e1", "2"], observed_at=["noon", ""], lower_case=["007", "x"])
    predictions = read_predictions(str(path))
    assert predictions["prediction"].tolist() == [10.0, 2.0]
    assert predictions[["observed_at", "lower_case"]].to_numpy().tolist() == [["noon", "007"], ["", "x"]]


def test_columns_that_are_missing(table: MakeTable) -> None:
    path = str(
        table("p.tsv", id=["a"], prediction_a=[1], prediction_b=[2], lower_a=[0], upper_a=[3], observed_a=["NA"])
    )
    predictions = read_predictions(path)
    assert suffixes_in(predictions) == ["_a", "_b"]
    with fails(path, "'lower_b'", "`calibration_file`"):
        interval_columns(predictions, ["_a", "_b"], path)
    assert interval_columns(predictions, ["_b"], path) is None
    with fails(path, "'observed_b'", "id, prediction_a", "the hint"):
        measured_columns(predictions, ["observed_b"], path, "the hint")
    with fails(path, "observed_a", "1 row", "`label_column`"):
        measured_columns(predictions, ["observed_a"], path, "")
    with fails("absent.tsv", "`baseline_file`"):
        read_predictions("absent.tsv", "baseline_file")


def test_a_baselines_rows_come_in_the_order_of_the_predictions() -> None:
    table = pd.DataFrame({"id": ["1", "1", "2"], "sequence": ["A", "C", "A"], "observed": [1.0, np.nan, 3.0]})
    baseline = table.assign(prediction=[10.0, 20.0, 30.0], observed=[1.0000001, 7.0, np.nan])[::-1]
    assert align_rows(baseline, table, "b.tsv")["prediction"].tolist() == [10.0, 20.0, 30.0]
    assert align_rows(baseline.drop(columns="id")[:1], table[2:], "b.tsv")["prediction"].tolist() == [30.0]
    with fails("`baseline_file` b.tsv", "observed", "'1 A'", "is 2", "1 in", "`predictions_file`", "`label_column`"):
        align_rows(baseline.assign(observed=2.0), table, "b.tsv")
    with fails("`baseline_file` b.tsv", "id and sequence", "'1 A'"):
        align_rows(baseline[:2], table, "b.tsv")
    with fails("`baseline_file` b.tsv", "'id'", "'sequence'"):
        align_rows(baseline[["prediction"]], table, "b.tsv")


def test_match_rows() -> None:
    np.testing.assert_array_equal(match_rows(["b", "a", "c"], ["a", "b", "c"]), [1, 0, 2])
    np.testing.assert_array_equal(match_rows(["a", "a", "b"], ["a", "a", "b"]), [0, 1, 2])
    with fails("2 rows", "3", "'c'"):
        match_rows(["a", "b"], ["a", "b", "c"])
    with fails("another order", "'a'"):
        match_rows(["a", "a", "b"], ["b", "a", "a"])
    with fails("another order", "'b'"):
        match_rows(["a", "b", "b"], ["a", "b"])


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
    ("rows_per_key", "text", "parts"),
    [
        (1, "", ("not JSON", "Expecting value", '{"row": value, ...}')),
        (1, '{"1": 2', ("not JSON",)),
        (1, "\xff", ("not JSON",)),
        (1, "[" * 100_000, ("not JSON",)),
        (1, "{}", ("empty",)),
        (1, "[1.5]", ("not a JSON object",)),
        (1, "1.5", ("not a JSON object",)),
        (1, '{"1": 2, "3": NaN}', ("'3'", "'nan'", "finite numbers")),
        (1, '{"1": -Infinity}', ("'1'", "'-inf'")),
        (1, '{"1": 1e39}', ("'1'", "'1e+39'")),
        (1, '{"1": 1' + "0" * 400 + "}", ("'1'", "'1" + "0" * 39 + "'")),
        (1, '{"1": "2"}', ("'1'", "'2'", "finite numbers")),
        (1, '{"1": true}', ("'1'", "'True'")),
        (1, '{"1": null}', ("'1'", "'None'")),
        (1, '{"1": [2]}', ("'1'", "'[2]'")),
        (1, '{"1": {"2": 3}}', ("the value of '1'",)),
        (1, '{"a": 1}', ("key 'a'", "row number")),
        (1, '{"-1": 1}', ("key '-1'", "row number")),
        (1, '{"1.0": 1}', ("key '1.0'", "row number")),
        (1, '{"99999999999999999999": 1}', ("key '99999999999999999999'", "row number")),
        (1, '{"7": 1, "2": 1, "7": 1}', ("key '7'", "twice")),
        (1, '{"7": 1, "2": 1, "07": 1}', ("key '07'", "twice")),
        (2, '{"1": 1}', ("'1' is '1'", '{"row,row": [value, value], ...}')),
        (2, '{"1,2": [1]}', ("'1,2'", "'[1]'")),
        (2, '{"1,2": [1, NaN]}', ("'1,2'", "'[1, nan]'")),
        (2, '{"1": [1, 2]}', ("key '1'", "row number")),
        (2, '{"1,2": [1, 2], "2,1": [2, 1], "1,2": [1, 2]}', ("key '1,2'", "twice")),
        (2, '{"1,2": [1, 2], "1,3": [2, 1], "1,2": [1, 2]}', ("key '1,2'", "twice")),
    ],
)
def test_rows_and_values_that_are_not(rows_per_key: int, text: str, parts: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(text.encode("latin-1"))
    with fails("a.json", *parts):
        read_row_values(tmp_path / "a.json", rows_per_key)


@pytest.mark.parametrize("name", ["p.csv", "p.tsv.zst", "p.csv.bz2"])
def test_predictions_are_read_as_every_table_is(name: str, tmp_path: Path) -> None:
    """Quotes, cells of several lines, other encodings, any compression; the index has the lines."""
    sign = "," if ".csv" in name else "\t"
    text = 'id|prediction|note\n"a | 1"|1|"x\ny"\nb|"2"|z\n'.replace("|", sign)
    with pa.output_stream(
        str(tmp_path / name), compression={".zst": "zstd", ".bz2": "bz2"}.get(Path(name).suffix)
    ) as file:
        file.write(text.encode("utf-16"))
    table = read_predictions(str(tmp_path / name))
    assert table["id"].tolist() == [f"a {sign} 1", "b"]
    assert table["prediction"].tolist() == [1.0, 2.0]
    assert table.index.tolist() == [2, 4]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('id,prediction,note\na,1,"x\ny"\nb,bad,z\n', ("p.csv, line 4: ", "'bad'")),
        ('id,prediction,note\na,1,"odd\nb,2,z\n', ("p.csv, line 2: ", "quote")),
        ("id,prediction\na,1\nb,2,3\n", ("p.csv, line 3: 3 columns",)),
        ('id,prediction\na,"1,100"\n', ("p.csv, line 2: ", "1100", "1.100")),
        ("id,prediction,prediction\na,1,2\n", ("'prediction' twice",)),
        ("My predictions,,\nid,prediction,x\na,1,\n", ("'prediction'", "line 2")),
        ("id;prediction\na;1\n", ("'prediction'", "';'")),
        ("id,lower,upper,prediction\na,1,2,1\n\nb,3,2,1\n", ("p.csv, line 3: ", "prediction")),
        ('id,lower,upper,prediction\n"a\nb",1,2,1\nb,3,2,1\n', ("p.csv, line 4: ", "lower 3")),
    ],
)
def test_predictions_that_cannot_be_used(text: str, parts: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(text)
    with fails(*parts):
        number_columns(read_predictions(str(tmp_path / "p.csv")), ["prediction"], str(tmp_path / "p.csv"), "")


def test_ids_of_parquet_are_whole_numbers_if_some_are_missing(tmp_path: Path) -> None:
    pa.parquet.write_table(pa.table({"id": [7, 8], "prediction": ["1", "2"]}), tmp_path / "p.parquet")
    table = read_predictions(str(tmp_path / "p.parquet"))
    assert table["prediction"].tolist() == [1.0, 2.0]
    assert table.index.tolist() == [1, 2]
    baseline = pd.DataFrame({"id": ["8", "7"], "prediction": [20.0, 10.0]})
    assert align_rows(baseline, table, "b.tsv")["prediction"].tolist() == [10.0, 20.0]


def test_rows_that_are_there_twice_are_told(table: MakeTable, caplog: pytest.LogCaptureFixture) -> None:
    columns = {"id": list("abca"), "sequence": ["AC", "GG", "TT", "AC"], "prediction": [1, 2, 3, 1]}
    read_predictions(str(table("p.tsv", **columns, observed=[1, 2, 3, 1])))
    (warning,) = caplog.messages
    check_message(warning, "p.tsv, line 2", "p.tsv, line 5", "'a'", "rows: 1")
    read_predictions(str(table("replicates.tsv", **columns, observed=[1, 2, 3, 5])))
    assert len(caplog.messages) == 1


def test_sequences_of_a_baseline_in_another_spelling() -> None:
    table = pd.DataFrame({"id": ["a", "b"], "sequence": ["ACGT", "TTGC"], "prediction": [1.0, 2.0]})
    baseline = table[::-1].assign(sequence=["uugc", " acgu"])
    assert align_rows(baseline, table, "b.tsv")["prediction"].tolist() == [1.0, 2.0]


def test_long_ids_of_parquet_keep_their_digits(tmp_path: Path) -> None:
    ids = pa.array([2**60 + 1, 2**60 + 2, None])
    pyarrow.parquet.write_table(pa.table({"id": ids, "prediction": [1.0, 2.0, 3.0]}), tmp_path / "p.parquet")
    assert read_predictions(str(tmp_path / "p.parquet"))["id"].tolist() == [2**60 + 1, 2**60 + 2, None]


def test_ids_that_stand_for_other_sequences_are_told(table: MakeTable, caplog: pytest.LogCaptureFixture) -> None:
    read_predictions(str(table("same.tsv", id=["a", "a"], sequence=["AC", "AC"], prediction=[1, 2])))
    assert caplog.messages == []
    path = table("p.tsv", id=["a", "b", "a"], sequence=["AC", "AC", "GG"], prediction=[1, 2, 3])
    predictions = read_predictions(str(path))
    check_message(caplog.messages[0], "p.tsv, line 2", "p.tsv, line 4", "'a'", "1 row")
    baseline = predictions.assign(sequence=["AC", "TT", "GG"])
    with fails("`baseline_file` b.tsv", "'b ", "other sequences"):
        align_rows(baseline, predictions, "b.tsv")

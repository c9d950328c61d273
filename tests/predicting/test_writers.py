"""Files of predictions: what they hold, read back by others' readers; whole or not there; what is refused."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from kmerbert.predicting.writers import check_output, output_format, prediction_table, write_tables

VALUES = np.array([[[1.0], [2.0], [6.0]], [[11.034567832946777], [11.034567832946777], [11.034567832946777]]])


def one(*rows: tuple[str, str, float], **more: object) -> pa.Table:
    ids, sequences, values = zip(*rows, strict=True)
    values = np.array(values)[:, None, None]
    return prediction_table(pa.array(ids), pa.array(sequences), more.get("observed"), values, ["expression"])


PIECES = [one(("a", "ACGT", 11.034567832946777), ("b", "AC", -0.5)), one(("c", "GGG", 3e-7))]


def write(path: Path, keys: list[int] | None = None) -> int:
    return write_tables(path, iter(PIECES), keys)


def test_mean_deviation_and_observed_of_an_ensemble() -> None:
    observed = np.array([[np.nan], [0.1]])
    table = prediction_table(pa.array([7, 8]), pa.array([" AC\n", "G"]).dictionary_encode(), observed, VALUES, ["x"])
    assert table.to_pydict() == {
        "id": ["7", "8"],
        "sequence": ["AC", "G"],
        "prediction": [3.0, pytest.approx(11.034567832946777)],
        "checkpoint_sd": [pytest.approx(7**0.5), pytest.approx(0, abs=1e-12)],  # (4 + 1 + 9) / (3 - 1) = 7
        "observed": [None, 0.1],
    }


def test_several_outputs_have_columns_of_their_own() -> None:
    values = np.array([[[1.0, 10.0], [3.0, 10.0]]])
    ids = sequences = pa.array(["A"])
    table = prediction_table(ids, sequences, np.array([[5.0, 6.0]]), values, ["x", "y"])
    expected = {"prediction_x": 2.0, "prediction_y": 10.0, "checkpoint_sd_x": 2**0.5, "checkpoint_sd_y": 0.0}
    (row,) = table.to_pylist()
    assert list(row.items())[2:] == [*expected.items(), ("observed_x", 5.0), ("observed_y", 6.0)]


def test_intervals_stand_beside_the_mean() -> None:
    ids = sequences = pa.array(["A", "C"])
    table = prediction_table(ids, sequences, np.array([[1.0], [2.0]]), VALUES, ["x"], lambda mean: (mean - 1, mean + 2))
    assert table.column_names == ["id", "sequence", "prediction", "lower", "upper", "checkpoint_sd", "observed"]
    assert table["lower"].to_pylist() == pytest.approx([2.0, 10.034567832946777])
    assert table["upper"].to_pylist() == pytest.approx([5.0, 13.034567832946777])
    two = prediction_table(ids, sequences, None, np.ones((2, 1, 2)), ["x", "y"], lambda mean: (mean - 1, mean + [1, 3]))
    assert {name: two[name][0].as_py() for name in two.column_names[2:]} == {
        "prediction_x": 1, "prediction_y": 1, "lower_x": 0, "lower_y": 0, "upper_x": 2, "upper_y": 4
    }  # fmt: skip


@pytest.mark.parametrize("name", ["p.tsv", "p.tsv.gz", "p.csv", "p.csv.bz2", "p.tsv.zst", "p.parquet"])
def test_tables_are_read_back(name: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / name
    assert write(path) == 3
    if name.endswith(".zst"):
        table = pd.read_csv(pa.input_stream(str(path), compression="zstd"), sep="\t")
    else:
        table = pd.read_parquet(path) if name == "p.parquet" else pd.read_csv(path, sep=None, engine="python")
    assert table[["id", "sequence"]].to_numpy().tolist() == [["a", "ACGT"], ["b", "AC"], ["c", "GGG"]]
    assert table["prediction"].to_numpy() == pytest.approx([11.0345678, -0.5, 3e-7], rel=1e-7)
    assert list(table) == ["id", "sequence", "prediction"]
    assert [file.name for file in path.parent.iterdir()] == [name]


def test_text_is_what_it_should_be_letter_by_letter(tmp_path: Path) -> None:
    write(tmp_path / "p.tsv")
    assert (tmp_path / "p.tsv").read_text() == (
        "id\tsequence\tprediction\na\tACGT\t11.034568\nb\tAC\t-0.5\nc\tGGG\t3e-7\n"
    )
    write(tmp_path / "p.txt")
    assert (tmp_path / "p.txt").read_text() == "ACGT\t11.034568\nAC\t-0.5\nGGG\t3e-7\n"
    write(tmp_path / "p.json.gz")
    assert gzip.decompress((tmp_path / "p.json.gz").read_bytes()) == b'{"0": 11.034568, "1": -0.5, "2": 3e-7}\n'
    table = one(("a,b", "AC", 1.0), ('c"', "AC", 1.0), observed=np.array([[np.nan], [2.5]]))
    write_tables(tmp_path / "p.csv", iter([table]))
    assert (tmp_path / "p.csv").read_text().splitlines()[1:] == ['"a,b","AC",1,', '"c""","AC",1,2.5']
    write_tables(tmp_path / "missing.tsv", iter([one(("a", "AC", 1.0), observed=np.array([[np.nan]]))]))
    assert (tmp_path / "missing.tsv").read_text() == "id\tsequence\tprediction\tobserved\na\tAC\t1\t\n"


def test_keys_choose_rows_and_their_order(tmp_path: Path) -> None:
    assert write(tmp_path / "p.json", [2, 0]) == 3
    text = (tmp_path / "p.json").read_text()
    assert list(json.loads(text).items()) == [("2", pytest.approx(3e-7)), ("0", pytest.approx(11.034568))]
    with pytest.raises(ValueError, match="--keys_file asks for row 3, but the rows to predict end with 2"):
        write(tmp_path / "p.json", [1, 3])
    assert (tmp_path / "p.json").read_text() == text


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    def tables() -> Iterator[pa.Table]:
        yield PIECES[0]
        assert len(list(tmp_path.iterdir())) == 1 + (tmp_path / "old.tsv").exists()
        raise ValueError("row 3 is wrong")

    for name in ("p.tsv.gz", "p.csv", "p.parquet", "p.json", "p.txt", "old.tsv"):
        if name == "old.tsv":
            (tmp_path / name).write_text("before")
        with pytest.raises(ValueError, match="row 3 is wrong"):
            write_tables(tmp_path / name, tables())
    assert [file.name for file in tmp_path.iterdir()] == ["old.tsv"]
    assert (tmp_path / "old.tsv").read_text() == "before"


def test_pieces_are_drawn_as_they_are_written(tmp_path: Path) -> None:
    sizes = []

    def tables() -> Iterator[pa.Table]:
        for _ in range(50):
            yield one(*[("r", 200 * "ACGT", 1.5)] * 100)
            sizes.append(next(tmp_path.glob(".p.tsv.*")).stat().st_size)

    assert write_tables(tmp_path / "p.tsv", tables()) == 5000
    assert sizes[10] > 500_000  # about 80 kB each: what came is on the disk
    assert np.all(np.diff(sizes[::5]) > 0)


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="p.xlsx: the name does not say the format: allowed endings are .tsv .csv .txt"
    ):
        output_format(Path("p.xlsx"))
    with pytest.raises(ValueError, match="does not say the format"):
        output_format(Path("p.parquet.gz"))
    with pytest.raises(ValueError, match="there are no rows to predict"):
        write_tables(tmp_path / "p.tsv", iter([]))
    with pytest.raises(ValueError, match=r"'x\\ty' cannot stand in a .tsv file: write .csv or .parquet"):
        write_tables(tmp_path / "p.tsv", iter([one(("x\ty", "AC", 1.0))]))
    for name in ("p.txt", "p.json"):
        with pytest.raises(ValueError, match=r"has place for one output, not for x, y: write \.tsv"):
            check_output(tmp_path / name, ["x", "y"], False)
        with pytest.raises(
            ValueError, match=rf"^--calibration_file: .*{name} has no place for intervals: write \.tsv, "
        ):
            check_output(tmp_path / name, ["x"], False, inputs={"--calibration_file": "c.tsv"})
    with pytest.raises(ValueError, match="--keys_file: only a .json output has keys"):
        check_output(tmp_path / "p.tsv", ["x"], False, [1])
    with pytest.raises(ValueError, match="is a folder: name a file in it"):
        check_output((tmp_path / "p.tsv").mkdir() or tmp_path / "p.tsv", ["x"], True)
    (tmp_path / "q.tsv").write_text("")
    with pytest.raises(ValueError, match="q.tsv is there already: name another or add --overwrite"):
        check_output(tmp_path / "q.tsv", ["x"], False)
    check_output(tmp_path / "q.tsv", ["x"], True)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["p.tsv", "q.tsv"]

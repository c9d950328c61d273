"""Files of predictions: what they contain, read back by others' readers; whole or not there; errors."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from kmerbert.predicting.table import prediction_table
from kmerbert.predicting.writers import check_output, output_format, write_predictions, write_tables
from tests.support.messages import fails


def one_output(*rows: tuple[str, str, float], observed: np.ndarray | None = None) -> pa.Table:
    """A table of ids, sequences and predictions of one checkpoint."""
    ids, sequences, values = zip(*rows, strict=True)
    return prediction_table(
        pa.array(ids), pa.array(sequences), np.array(values)[:, None, None], ["expression"], observed
    )


PIECES = [one_output(("a", "ACGT", 11.034567832946777), ("b", "AC", -0.5)), one_output(("c", "GGG", 3e-7))]


def write(path: Path, keys: list[int] | None = None) -> int:
    return write_tables(path, iter(PIECES), keys)


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
    table = one_output(("a,b", "AC", 1.0), ('c"', "AC", 1.0), observed=np.array([[np.nan], [2.5]]))
    write_tables(tmp_path / "p.csv", iter([table]))
    assert (tmp_path / "p.csv").read_text().splitlines()[1:] == ['"a,b","AC",1,', '"c""","AC",1,2.5']
    write_tables(tmp_path / "missing.tsv", iter([one_output(("a", "AC", 1.0), observed=np.array([[np.nan]]))]))
    assert (tmp_path / "missing.tsv").read_text() == "id\tsequence\tprediction\tobserved\na\tAC\t1\t\n"


def test_values_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "p.tsv"
    names = [([], []), (["a"], ["ACG"]), ([], []), (["b"], ["TT"])]
    write_predictions(path, names, np.array([[1.5], [2.25]]), np.array([[1.0], [np.nan]]), ["expression"])
    assert path.read_text() == "id\tsequence\tprediction\tobserved\na\tACG\t1.5\t1\nb\tTT\t2.25\t\n"


def test_values_in_memory_of_several_outputs(tmp_path: Path) -> None:
    path, outputs = tmp_path / "p.tsv", ["yeast", "human"]
    write_predictions(path, [(["a"], ["ACG"])], np.array([[1.0, 2.0]]), None, outputs)
    assert path.read_text() == "id\tsequence\tprediction_yeast\tprediction_human\na\tACG\t1\t2\n"
    write_predictions(path, [(["a"], ["ACG"])], np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]]), outputs)
    assert path.read_text().splitlines() == [
        "id\tsequence\tprediction_yeast\tprediction_human\tobserved_yeast\tobserved_human",
        "a\tACG\t1\t2\t3\t4",
    ]


def test_numbers_come_back(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(11, 2.5, (100, 1)) * 10.0 ** np.arange(-20, 30, 0.5)[:, None]
    names = [([str(row) for row in range(start, start + 10)], ["ACGT"] * 10) for start in range(0, 100, 10)]
    write_predictions(tmp_path / "p.tsv", names, values, values.astype(np.float32), ["x"])
    table = pd.read_csv(tmp_path / "p.tsv", sep="\t", dtype={"id": str})
    np.testing.assert_allclose(table["prediction"], values[:, 0], rtol=1e-6)
    np.testing.assert_array_equal(table["observed"].astype(np.float32), values[:, 0].astype(np.float32))
    assert table["id"].tolist() == [str(row) for row in range(100)]


@pytest.mark.parametrize("n_names", [1, 3])
def test_rows_that_changed_since_they_were_read(n_names: int, tmp_path: Path) -> None:
    names = [([str(row)], ["ACG"]) for row in range(n_names)]
    with fails("p.tsv", "2 predictions", f"{n_names} row"):
        write_predictions(tmp_path / "p.tsv", names, np.zeros((2, 1)), None, ["x"])
    assert not list(tmp_path.iterdir())


def test_keys_choose_rows_and_their_order(tmp_path: Path) -> None:
    assert write(tmp_path / "p.json", [2, 0]) == 3
    text = (tmp_path / "p.json").read_text()
    assert list(json.loads(text).items()) == [("2", pytest.approx(3e-7)), ("0", pytest.approx(11.034568))]
    with fails("`keys_file`", "row 3", "2"):
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
        with fails("row 3 is wrong"):
            write_tables(tmp_path / name, tables())
    assert [file.name for file in tmp_path.iterdir()] == ["old.tsv"]
    assert (tmp_path / "old.tsv").read_text() == "before"


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "target.tsv"
    target.write_text("before")
    (tmp_path / "p.tsv").symlink_to(target)
    write(tmp_path / "p.tsv")
    assert (tmp_path / "p.tsv").is_symlink()
    assert target.read_text().startswith("id\tsequence\tprediction\n")


def test_a_file_has_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual.tsv").touch()
    write(tmp_path / "p.tsv")
    assert (tmp_path / "p.tsv").stat().st_mode == (tmp_path / "usual.tsv").stat().st_mode


def test_pieces_are_drawn_as_they_are_written(tmp_path: Path) -> None:
    sizes = []

    def tables() -> Iterator[pa.Table]:
        for _ in range(50):
            yield one_output(*[("r", 200 * "ACGT", 1.5)] * 100)
            sizes.append(next(tmp_path.glob(".p.tsv.*")).stat().st_size)

    assert write_tables(tmp_path / "p.tsv", tables()) == 5000
    assert sizes[10] > 500_000  # about 80 kB each: what came is on the disk
    assert np.all(np.diff(sizes[::5]) > 0)


def test_names_that_do_not_say_the_format() -> None:
    with fails("`output_file` p.ods", ".tsv .csv .txt .json .parquet", ".gz .zst .bz2"):
        output_format(Path("p.ods"))
    with fails("`output_file` p.parquet.gz"):
        output_format(Path("p.parquet.gz"))


def test_tables_that_cannot_be_written(tmp_path: Path) -> None:
    with fails("in.tsv", "no rows"):
        write_tables(tmp_path / "p.tsv", iter([]), source="in.tsv")
    with fails(r"'x\ty'", ".tsv", ".csv", ".parquet"):
        write_tables(tmp_path / "p.tsv", iter([one_output(("x\ty", "AC", 1.0))]))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["p.txt", "p.json"])
def test_formats_of_one_number_a_row(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with fails(f"`output_file` {path}", "x, y", ".tsv"):
        check_output(path, ["x", "y"], False)
    with fails("`calibration_file`", path, ".tsv, .csv or .parquet"):
        check_output(path, ["x"], False, inputs={"calibration_file": "c.tsv"})
    check_output(path, ["x"], False, inputs={"calibration_file": None})


def test_outputs_that_are_in_the_way(tmp_path: Path) -> None:
    folder, existing = tmp_path / "p.tsv", tmp_path / "q.tsv"
    with fails("`keys_file`", folder, ".json"):
        check_output(folder, ["x"], False, keys=[1])
    folder.mkdir()
    existing.write_text("")
    with fails(f"`output_file` {folder}", "folder"):
        check_output(folder, ["x"], True)
    with fails(f"`output_file` {existing}", "`overwrite`"):
        check_output(existing, ["x"], False)
    check_output(existing, ["x"], True)
    with fails(f"`output_file` {existing}", "`input_file`"):
        check_output(existing, ["x"], True, inputs={"input_file": str(existing)})
    with fails(f"`output_file` {existing / 'r.tsv'}"):
        check_output(existing / "r.tsv", ["x"], False)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["p.tsv", "q.tsv"]


@pytest.mark.parametrize("name", ["p.tsv", "p.csv", "p.parquet"])
def test_measured_values_keep_their_digits(name: str, tmp_path: Path) -> None:
    measured = np.array([[12345678.9], [np.float32(11.2)], [np.nan]])
    table = one_output(*[(row, "ACGT", 12345678.9) for row in "abc"], observed=measured)
    write_tables(tmp_path / name, iter([table]))
    if name != "p.parquet":
        table = pd.read_csv(tmp_path / name, sep=None, engine="python", dtype=str, keep_default_na=False)
        assert table["observed"].tolist() == ["12345678.9", "11.2", ""]
        assert table["prediction"].tolist() == ["12345679"] * 3  # what float32 knows
    else:
        assert pd.read_parquet(tmp_path / name)["observed"][0] == 12345678.9

"""The tables of the baselines: what is read from every format, how rows are divided, what is written, what is an error."""

from argparse import Namespace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from baselines.tables import letters, read_splits, read_table, write_rows
from kmerbert.predicting.table import read_predictions
from tests.support.messages import check_message, fails


def write(path: Path, *rows: str) -> str:
    """Writes lines and returns the path as it is typed."""
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return str(path)


def test_a_table_with_a_header(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "id\tdna\tvalue\tsplit", "p\tacGT\t1\ttrain", "q\tACGA\t-2.5e0\ttest")
    table = read_table(path, "dna", "value", "split")
    assert table.to_dict("list") == {
        "id": ["p", "q"], "sequence": ["acGT", "ACGA"], "observed": [1.0, -2.5], "split": ["train", "test"],
    }  # fmt: skip


def test_rows_without_ids_are_called_by_their_lines(tmp_path: Path) -> None:
    assert read_table(write(tmp_path / "a.tsv", "sequence\texpression", "ACGA\t2"))["id"].tolist() == ["2"]
    table = read_table(write(tmp_path / "b.txt", "ACGT\t1", "ACGA\t-2.5e0"), label_column="value")
    assert table.to_dict("list") == {"id": ["1", "2"], "sequence": ["ACGT", "ACGA"], "observed": [1.0, -2.5]}


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.tsv.bz2", "a.parquet", "a.jsonl"])
def test_other_formats(name: str, tmp_path: Path) -> None:
    table = pd.DataFrame({"sequence": ["ACGT", "ACGA"], "expression": [1.5, 2.0]})
    if name.endswith("parquet"):
        table.to_parquet(tmp_path / name)
    elif name.endswith("jsonl"):
        table.to_json(tmp_path / name, orient="records", lines=True)
    else:
        table.to_csv(tmp_path / name, index=False, sep="," if "csv" in name else "\t")
    rows = read_table(str(tmp_path / name))
    assert rows["sequence"].tolist() == ["ACGT", "ACGA"]
    assert rows["observed"].tolist() == [1.5, 2.0]


def test_measured_values_may_be_missing(tmp_path: Path) -> None:
    (tmp_path / "a.fa").write_text(">p\nACGT\nAC\n>q\nACGA\n")
    for path in (write(tmp_path / "a.tsv", "id\tsequence", "p\tACGTAC", "q\tACGA"), str(tmp_path / "a.fa")):
        rows = read_table(path, needs_values=False)
        assert rows.to_dict("list") == {"id": ["p", "q"], "sequence": ["ACGTAC", "ACGA"]}


@pytest.mark.parametrize(
    ("rows", "parts"),
    [
        (["ACGT\t1", "ACGA\tx"], ("a.tsv, line 2", "expression", "'x'")),
        (["sequence\texpression", "ACGA\t1", "ACGA\tinf"], ("a.tsv, line 3", "expression", "inf")),
        (["sequence\texpression", "ACGA\t", "ACGA\t1"], ("a.tsv, line 2", "expression")),
        (["sequence\texpression", "ACGA\t1", "\t1"], ("a.tsv, line 3", "sequence")),
        (["dna\tvalue", "ACGA\t1"], ("a.tsv", "'sequence'", "'dna'", "'value'", "`sequence_column`")),
        (["sequence\tvalue", "ACGA\t1"], ("a.tsv", "'expression'", "'value'", "`label_column`")),
        (["sequence\texpression"], ("a.tsv", "no rows")),
    ],
)
def test_tables_that_cannot_be_used(rows: list[str], parts: tuple[str, ...], tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", *rows)
    with fails(*parts):
        read_table(path)


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").touch()
    with fails("a.tsv", "empty"):
        read_table(str(tmp_path / "a.tsv"))
    with fails("b.tsv", "no such file"):
        read_table(str(tmp_path / "b.tsv"))
    with fails("a.ods", ".tsv"):
        read_table(write(tmp_path / "a.ods", "ACGT\t1"))


def split_flags(train_file: str, test_file: str | None = None, split_column: str | None = None) -> Namespace:
    """The flags of `add_flags`."""
    columns = {"sequence_column": "sequence", "label_column": "expression"}
    return Namespace(train_file=train_file, test_file=test_file, split_column=split_column, **columns)


def test_rows_are_divided_as_the_flags_say(tmp_path: Path) -> None:
    splits = ("train", "validation", "test", "train")
    rows = [f"{base * 4}\t{number}\t{splits[number]}" for number, base in enumerate("ACGT")]
    path = write(tmp_path / "a.tsv", "sequence\texpression\tsplit", *rows)
    test = write(tmp_path / "b.tsv", "sequence", "GATTACA")

    train, predicted = read_splits(split_flags(path, split_column="split"))
    assert train["observed"].tolist() == [0, 3]
    assert {name: rows["id"].tolist() for name, rows in predicted.items()} == {"validation": ["3"]}

    train, predicted = read_splits(split_flags(path, test, "split"))
    assert train["observed"].tolist() == [0, 3]
    assert {name: rows["sequence"].tolist() for name, rows in predicted.items()} == {
        "validation": ["CCCC"],
        "test": ["GATTACA"],
    }

    train, predicted = read_splits(split_flags(path, test))
    assert len(train) == 4
    assert list(predicted) == ["test"]


@pytest.mark.parametrize(
    ("splits", "has_split_column", "parts"),
    [
        (("train", "train"), False, ("2 rows to train", "0 to predict", "`test_file`", "`split_column`")),
        (("train", "test"), True, ("1 rows to train", "0 to predict", "test, train", "`validation`")),
        (("validation", "validation"), True, ("0 rows to train", "2 to predict")),
    ],
)
def test_nothing_to_fit_or_to_predict(
    splits: tuple[str, ...], has_split_column: bool, parts: tuple[str, ...], tmp_path: Path
) -> None:
    path = write(tmp_path / "a.tsv", "sequence\texpression\tsplit", *(f"ACGT\t1\t{split}" for split in splits))
    with fails(path, *parts):
        read_splits(split_flags(path, split_column="split" if has_split_column else None))


def test_splits_of_all_names(tmp_path: Path) -> None:
    """Those that run_finetune_regression.py knows: no row is left out for its spelling."""
    names = ("Train", "training", "val", "DEV", "test")
    rows = (f"ACG{letter}\t1\t{name}" for letter, name in zip("ACGTN", names, strict=True))
    path = write(tmp_path / "a.tsv", "sequence\texpression\tsplit", *rows)
    train, predicted = read_splits(split_flags(path, split_column="split"))
    assert train["sequence"].tolist() == ["ACGA", "ACGC"]
    assert predicted["validation"]["sequence"].tolist() == ["ACGG", "ACGT"]
    path = write(tmp_path / "b.tsv", "sequence\texpression\tsplit", "ACGA\t1\ttrain", "ACGT\t1\tholdout")
    with fails("b.tsv, line 3", "split", "'holdout'"):
        read_splits(split_flags(path, split_column="split"))


def test_dna_in_any_spelling(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """RNA and lower case are what the project's models read, and rows that are fitted and scored are told."""
    path = write(tmp_path / "a.tsv", "sequence\texpression\tsplit", "ACGT\t1\ttrain", "acgu\t1\tval", "GGGR\t1\tval")
    _, predicted = read_splits(split_flags(path, split_column="split"))
    assert letters(predicted["validation"]).tolist() == ["ACGT", "GGGN"]
    assert predicted["validation"]["sequence"].tolist() == ["acgu", "GGGR"]
    check_message(caplog.messages[0], "1 of 2 validation rows")
    with fails("b.tsv, line 2", "'L'", "base 2"):
        read_table(write(tmp_path / "b.tsv", "sequence\texpression", "ALGT\t1"))


def test_what_is_written_is_a_predictions_file(tmp_path: Path) -> None:
    rows = read_table(write(tmp_path / "a.tsv", "sequence\texpression", "acgt\t1.5", "ACGA\t2"))
    write_rows(tmp_path / "new" / "p.tsv", rows, np.array([0.1, 1e-9]))
    text = (tmp_path / "new" / "p.tsv").read_text()
    assert text.splitlines()[0] == "id\tsequence\tprediction\tobserved"
    assert read_predictions(str(tmp_path / "new" / "p.tsv")).to_dict("list") == {
        "id": ["2", "3"], "sequence": ["acgt", "ACGA"], "prediction": [0.1, 1e-9], "observed": [1.5, 2.0],
    }  # fmt: skip
    write_rows(tmp_path / "q.tsv", rows.drop(columns="observed"), np.array([0.1, 1e-9]))
    assert list(read_predictions(str(tmp_path / "q.tsv"))) == ["id", "sequence", "prediction"]


def test_cells_of_several_lines(tmp_path: Path) -> None:
    """Ids are the lines of the file, and messages have them."""
    rows = ["sequence,expression,note", 'ACGT,1,"x', 'y"', "ACGA,2,z"]
    assert read_table(write(tmp_path / "a.csv", *rows))["id"].tolist() == ["2", "4"]
    with fails("a.csv, line 4", "'high'"):
        read_table(write(tmp_path / "a.csv", *rows[:3], "ACGA,high,z"))
    with fails("a.csv, line 2", "quote"):
        read_table(write(tmp_path / "a.csv", *rows[:2], "ACGA,2,z"))

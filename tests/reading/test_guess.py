"""Columns by what is in them: one fits or the user is asked."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from kmerbert.reading.guess import Guess, find_names, guess_columns
from kmerbert.reading.sources import FileSource, MemorySource, Source
from tests.support.messages import check_message, fails
from tests.support.tiny_runs import random_dna

DNA = random_dna(np.random.default_rng(0), 8, 20)
VALUES = [0.5, 1.5, -2.5, 3.0, 4.0, 5.0, 6.0, 7.0]


def table(**columns: list[object]) -> MemorySource:
    return MemorySource(pa.table(columns), "t.tsv")


def guess(source: Source, *taken: str) -> Guess:
    return guess_columns(source, "sequence", "expression", taken)


def test_the_one_column_of_dna_and_the_one_of_numbers(tmp_path: Path) -> None:
    columns = {"gene": list("abcdefgh"), "Oligo": DNA, "log2FC": [1.5, -2, 3, 4, 5, 6, 7, None], "id": list(range(8))}
    found = guess(table(**columns))
    assert found[:2] == ("Oligo", "log2FC")
    check_message(found.remark, "t.tsv", "'Oligo'", "'log2FC'", "`sequence_column`", "`label_column`")
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert guess(FileSource(tmp_path / "a.jsonl"))[:2] == found[:2]
    text = "".join(f"{s.lower()};{i},5\n" for i, s in enumerate(DNA))
    (tmp_path / "a.csv").write_text(f'"Oligo, ordered";log2FC\n{text}')
    assert guess(FileSource(tmp_path / "a.csv"))[:2] == ("Oligo, ordered", "log2FC")
    found = guess_columns(table(**columns), "sequence", None)
    assert found[:2] == ("Oligo", None)
    assert "label" not in found.remark


def test_usual_names_are_not_guessed() -> None:
    both = {"sequence": DNA, "expression": [1.0] * 8, "other": DNA, "x": VALUES, "y": VALUES}
    assert guess(table(**both)) == Guess()
    assert guess(table(sequence=DNA, x=VALUES))[:2] == (None, "x")
    assert guess(table(DNA=DNA, expression=[2.0] * 8, x=VALUES))[:2] == ("DNA", None)
    assert guess_columns(table(DNA=DNA), None, None) == Guess()


def test_two_that_fit_are_an_error() -> None:
    with fails("t.tsv", "'sequence'", "'Oligo', 'barcode'", "`sequence_column`"):
        guess(table(Oligo=DNA, barcode=DNA[::-1], x=VALUES))
    with fails("t.tsv", "'expression'", "'x', 'y'", "`label_column`", "`group_column`"):
        guess(table(Oligo=DNA, x=VALUES, y=["2,5"] * 8))
    assert guess(table(Oligo=DNA, x=VALUES, y=VALUES), "y")[:2] == ("Oligo", "x")


def test_a_few_bad_cells_do_not_change_what_a_column_is() -> None:
    """Otherwise a complete column of something else would be taken for the labels."""
    measured = ["1.5", "n.d.", "NA", "2", "3", "4", "5", "6"]
    assert guess(table(Oligo=["ACGX", *DNA[1:]], log2FC=measured))[:2] == ("Oligo", "log2FC")
    with fails("'log2FC', 'plate'"):
        guess(table(Oligo=DNA, log2FC=measured, plate=list(range(8))))


def test_whole_numbers_that_repeat_are_not_guessed_as_labels() -> None:
    genes = [0, 0, 0, 1, 1, 2, 3, 4]  # 5 different ones of 8
    with fails(
        "t.tsv: no column 'expression'; the only column of numbers, 'Gene'", "a group or an id", "`label_column`"
    ):
        guess(table(Oligo=DNA, Gene=genes, name=list("abcdefgh")))
    with fails("'Gene'"):
        guess(table(Oligo=DNA, Gene=[None, *map(float, genes[1:])]))
    assert guess(table(Oligo=DNA, Gene=genes, log2FC=VALUES))[:2] == ("Oligo", "log2FC")
    with fails("'Gene', 'plate'", "`group_column`"):
        guess(table(Oligo=DNA, Gene=genes, plate=genes))
    assert guess(table(Oligo=DNA, Gene=genes), "Gene")[:2] == ("Oligo", None)
    few_repeats = [1, 1, 2, 3, 4, 5, 6, 7]  # 7 different ones of 8
    assert guess(table(Oligo=DNA, reads=few_repeats))[:2] == ("Oligo", "reads")


@pytest.mark.parametrize(
    "columns",
    [
        {"name": list("abcdefgh"), "x": [1.0] * 8},
        {"allele": list("ACGTACGT"), "x": [1.0] * 8},  # letters of DNA, but no sequences
        {"word": ["CAT", "TAG", "GATA"] + ["AN"] * 5, "x": [1.0] * 8},
        {"empty": [None] * 8, "x": [1.0] * 8},
    ],
)
def test_nothing_fits(columns: dict[str, list[object]]) -> None:
    assert guess(table(**columns)) == Guess()


def test_only_the_first_rows_count() -> None:
    source = table(Oligo=DNA * 200, x=np.arange(1600) / 2, later=["x"] * 1000 + ["1"] * 600)
    assert guess(source)[:2] == ("Oligo", "x")


def test_fasta_headerless_tables_and_titles_are_left_to_the_reader(tmp_path: Path) -> None:
    for name, text in {
        "a.fa": f">a\n{DNA[0]}\n",
        "a.txt": f"{DNA[0]}\t1\n",
        "a.csv": f"My table,,\nOligo,x,y\n{DNA[0]},1,2\n",
    }.items():
        (tmp_path / name).write_text(text)
        source = FileSource(tmp_path / name, headerless_label="expression")
        assert guess(source) == Guess(), name
    assert guess(FileSource(tmp_path / "absent.tsv")) == Guess()


def test_a_column_that_can_name_the_rows() -> None:
    names = [f"oligo {letter}" for letter in "abcdefgh"]
    columns = {"Oligo": DNA, "x": VALUES, "gene": ["lacZ"] * 8, "name": names, "later": names}
    assert find_names(table(**columns)) == "name"
    assert find_names(table(**columns), ["name", "later"]) is None
    assert find_names(table(Oligo=DNA[:1], name=names[:1])) is None  # one row says nothing

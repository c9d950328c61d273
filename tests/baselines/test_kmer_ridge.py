"""The k-mer ridge baseline: counts, the choice of the penalty, its predictions and its messages."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from baselines.kmer_ridge import main
from tests.support.messages import fails

RANDOM = np.random.default_rng(0)
SEQUENCES = ["".join(RANDOM.choice(list("ACGT"), 40)) for _ in range(120)]
VALUES = [sequence.count("GC") - 0.5 * sequence.count("A") for sequence in SEQUENCES]


def write(path: Path, *rows: str) -> str:
    """Writes lines and returns the path as it is typed."""
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture
def headerless(tmp_path: Path) -> tuple[str, str]:
    """A training and a test file without header."""
    rows = [f"{sequence}\t{value}" for sequence, value in zip(SEQUENCES, VALUES, strict=True)]
    return write(tmp_path / "train.tsv", *rows[:100]), write(tmp_path / "test.tsv", *rows[100:])


def test_learns_and_writes_rows_in_their_order(headerless: tuple[str, str], tmp_path: Path) -> None:
    output = tmp_path / "new" / "ridge.tsv"
    result = main(["--train_file", headerless[0], "--test_file", headerless[1], "--output_file", str(output)])
    table = pd.read_csv(output, sep="\t")
    assert list(table) == ["id", "sequence", "prediction", "observed"]
    assert table["id"].tolist() == list(range(1, 21))  # line numbers
    assert table["sequence"].tolist() == SEQUENCES[100:]
    np.testing.assert_allclose(table["observed"], VALUES[100:])
    assert np.corrcoef(table["prediction"], table["observed"])[0, 1] > 0.8
    assert (result["n_train"], result["n_predicted"]) == (100, 20)
    assert [file.name for file in output.parent.iterdir()] == ["ridge.tsv"]


def test_split_column(tmp_path: Path) -> None:
    rows = [f"r{i}\t{SEQUENCES[i]}\t{VALUES[i]}\t{('train', 'validation', 'test')[i % 3]}" for i in range(120)]
    table = write(tmp_path / "all.tsv", "id\tdna\tvalue\tsplit", *rows)
    flags = ["--train_file", table, "--sequence_column", "dna", "--label_column", "value", "--split_column", "split"]
    output = tmp_path / "ridge.tsv"
    assert main([*flags, "--output_file", str(output)])["n_train"] == 40
    written = pd.read_csv(output, sep="\t")
    assert written["id"].tolist() == [f"r{i}" for i in range(1, 120, 3)]
    assert written["sequence"].tolist() == SEQUENCES[1::3]
    # With a test file, its rows are the only ones; they need no measured values.
    unlabelled = write(tmp_path / "test.tsv", "dna", *SEQUENCES[:5])
    assert main([*flags, "--test_file", unlabelled, "--output_file", str(output), "--overwrite"])["n_train"] == 40
    written = pd.read_csv(output, sep="\t")
    assert list(written) == ["id", "sequence", "prediction"]
    assert written["sequence"].tolist() == SEQUENCES[:5]


def test_lower_case_counts_alike(headerless: tuple[str, str], tmp_path: Path) -> None:
    rows = [line.split("\t") for line in Path(headerless[1]).read_text().splitlines()]
    lower = write(tmp_path / "lower.tsv", *(f"{sequence.lower()}\t{value}" for sequence, value in rows))
    tables = []
    for test_file in (headerless[1], lower):
        main(
            [
                "--train_file",
                headerless[0],
                "--test_file",
                test_file,
                "--output_file",
                str(tmp_path / "ridge.tsv"),
                "--overwrite",
            ]
        )
        tables.append(pd.read_csv(tmp_path / "ridge.tsv", sep="\t"))
    assert tables[0]["prediction"].tolist() == tables[1]["prediction"].tolist()
    # As written in the file, as in every predictions file: so run_evaluate.py finds the same rows in both.
    assert tables[1]["sequence"].tolist() == [sequence.lower() for sequence, _ in rows]


def test_the_test_rows_have_no_part_in_the_fit(headerless: tuple[str, str], tmp_path: Path) -> None:
    one = write(tmp_path / "one.tsv", f"{SEQUENCES[100]}\t99")
    flags = ["--train_file", headerless[0], "--output_file", str(tmp_path / "ridge.tsv"), "--overwrite"]
    main([*flags, "--test_file", headerless[1]])
    among_others = pd.read_csv(tmp_path / "ridge.tsv", sep="\t")["prediction"][0]
    main([*flags, "--test_file", one])
    assert pd.read_csv(tmp_path / "ridge.tsv", sep="\t")["prediction"][0] == among_others


@pytest.mark.parametrize(
    ("rows", "flags", "parts"),
    [
        (["ACGT\t1"], [], ("0 to predict", "`test_file`", "`split_column`")),
        (["ACGT\t1"], ["--split_column", "fold"], ("train.tsv", "'fold'")),
        (["ACGT\t1"] * 9, ["--test_file", "{train}"], ("9 training rows", "10")),
        (["sequence\tvalue", "ACGT\t1"], ["--test_file", "{train}"], ("train.tsv", "'expression'", "`label_column`")),
        (["ACGT\t1"] * 10, ["--test_file", "{train}", "--output_file", "{train}"], ("`output_file`", "`train_file`")),
        (["ACGT\t1"] * 10, ["--test_file", "{train}", "--output_file", "o.xls"], ("`output_file` o.xls", ".tsv")),
        (
            ["sequence\texpression\tsplit", "ACGT\t1\ttrain", "ACGT\t1\ttest"],
            ["--split_column", "split"],
            ("1 rows to train", "0 to predict", "test, train"),
        ),
    ],
)
def test_commands_that_cannot_be(rows: list[str], flags: list[str], parts: tuple[str, ...], tmp_path: Path) -> None:
    train, output = write(tmp_path / "train.tsv", *rows), tmp_path / "o.tsv"
    with fails(*parts):
        main(["--train_file", train, "--output_file", str(output), *(flag.format(train=train) for flag in flags)])
    assert not output.exists()
    assert Path(train).read_text().splitlines() == rows

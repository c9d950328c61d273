"""The k-mer ridge baseline: counts, the choice of the penalty, its tables and what it refuses."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from baselines.kmer_ridge import ALPHAS, count_kmers, fit_ridge, main, read_table

RANDOM = np.random.default_rng(0)
SEQUENCES = ["".join(RANDOM.choice(list("ACGT"), 40)) for _ in range(120)]
VALUES = [sequence.count("GC") - 0.5 * sequence.count("A") for sequence in SEQUENCES]


def write(path: Path, *rows: str) -> str:
    """Writes lines and returns the path as it is typed."""
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture
def bare(tmp_path: Path) -> tuple[str, str]:
    """A training and a test file without header."""
    rows = [f"{sequence}\t{value}" for sequence, value in zip(SEQUENCES, VALUES, strict=True)]
    return write(tmp_path / "train.tsv", *rows[:100]), write(tmp_path / "test.tsv", *rows[100:])


def test_counts_worked_out_by_hand() -> None:
    train, test = count_kmers(pd.Series(["ACAC"]), pd.Series(["CACG"]))
    # Columns in the order of the alphabet: A AC ACA ACAC C CA CAC
    assert train.toarray().tolist() == [[2, 2, 1, 1, 2, 1, 1]]
    assert test.toarray().tolist() == [[1, 1, 0, 0, 2, 1, 1]]


def test_penalty_is_that_of_the_best_held_out_tenth() -> None:
    counts, _ = count_kmers(pd.Series(SEQUENCES), pd.Series(SEQUENCES))
    observed = np.array(VALUES)
    held_out, rest = np.split(np.random.default_rng(0).permutation(120), [12])
    errors = [
        np.mean(
            (Ridge(alpha=alpha).fit(counts[rest], observed[rest]).predict(counts[held_out]) - observed[held_out]) ** 2
        )
        for alpha in ALPHAS
    ]
    model = fit_ridge(counts, observed)
    assert model.alpha == ALPHAS[int(np.argmin(errors))]
    expected = Ridge(alpha=model.alpha).fit(counts, observed).predict(counts)
    np.testing.assert_allclose(model.predict(counts), expected, atol=0.02)


def test_learns_and_writes_rows_in_their_order(bare: tuple[str, str], tmp_path: Path) -> None:
    output = tmp_path / "new" / "ridge.tsv"
    result = main(["--train_file", bare[0], "--test_file", bare[1], "--output_file", str(output)])
    table = pd.read_csv(output, sep="\t")
    assert list(table) == ["sequence", "prediction", "observed"]
    assert table["sequence"].tolist() == SEQUENCES[100:]
    np.testing.assert_allclose(table["observed"], VALUES[100:])
    assert np.corrcoef(table["prediction"], table["observed"])[0, 1] > 0.8
    assert (result["n_train"], result["n_predicted"]) == (100, 20)
    assert [file.name for file in output.parent.iterdir()] == ["ridge.tsv"]


def test_split_column(tmp_path: Path) -> None:
    rows = [f"r{i}\t{SEQUENCES[i].lower()}\t{VALUES[i]}\t{('train', 'validation', 'test')[i % 3]}" for i in range(120)]
    table = write(tmp_path / "all.tsv", "id\tdna\tvalue\tsplit", *rows)
    flags = ["--train_file", table, "--sequence_column", "dna", "--label_column", "value", "--split_column", "split"]
    output = tmp_path / "ridge.tsv"
    assert main([*flags, "--output_file", str(output)])["n_train"] == 40
    written = pd.read_csv(output, sep="\t")
    assert list(written) == ["id", "sequence", "prediction", "observed"]
    assert written["id"].tolist() == [f"r{i}" for i in range(1, 120, 3)]
    assert written["sequence"][0] == SEQUENCES[1]
    unlabelled = write(tmp_path / "test.tsv", "dna", *SEQUENCES[:5])
    assert main([*flags, "--test_file", unlabelled, "--output_file", str(output)])["n_train"] == 40
    assert list(pd.read_csv(output, sep="\t")) == ["sequence", "prediction"]


def test_the_test_rows_have_no_part_in_the_fit(bare: tuple[str, str], tmp_path: Path) -> None:
    one = write(tmp_path / "one.tsv", f"{SEQUENCES[100]}\t99")
    flags = ["--train_file", bare[0], "--output_file", str(tmp_path / "ridge.tsv")]
    main([*flags, "--test_file", bare[1]])
    among_others = pd.read_csv(tmp_path / "ridge.tsv", sep="\t")["prediction"][0]
    main([*flags, "--test_file", one])
    assert pd.read_csv(tmp_path / "ridge.tsv", sep="\t")["prediction"][0] == among_others


def test_a_header_is_told_from_a_row(tmp_path: Path) -> None:
    assert len(read_table(write(tmp_path / "a.tsv", "ACGT\t1", "ACGA\t-2.5e0"))) == 2
    assert len(read_table(write(tmp_path / "b.tsv", "sequence\texpression", "ACGA\t2"))) == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["ACGT\t1", "ACGA\tx"], "line 2: expression is 'x': allowed are numbers"),
        (["sequence\texpression", "ACGA\t1", "ACGA\tinf"], "line 3: expression is 'inf'"),
        (["sequence\texpression", "ACGA\t"], "line 2: expression is ''"),
        (["dna\tvalue", "ACGA\t1"], "no column 'sequence' or no rows; columns found: dna, value; .*--sequence_column"),
        (["sequence\texpression"], "rows: 0"),
    ],
)
def test_refused_tables(rows: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        read_table(write(tmp_path / "a.tsv", *rows))


@pytest.mark.parametrize(
    ("rows", "flags", "message"),
    [
        (["ACGT\t1"], [], "nothing to predict: give --test_file, or --split_column"),
        (["ACGT\t1"], ["--split_column", "fold"], "no column 'fold' for --split_column"),
        (["ACGT\t1"] * 9, ["--test_file", "{train}"], "9 training rows: at least 10"),
        (["sequence\tvalue", "ACGT\t1"], ["--test_file", "{train}"], "no column 'expression'; columns found: sequence"),
        (
            ["sequence\texpression\tsplit", "ACGT\t1\ttrain", "ACGT\t1\tdev"],
            ["--split_column", "split"],
            "1 rows `train` and 0 rows to predict; column 'split' holds: dev, train",
        ),
    ],
)
def test_refused_commands(
    rows: list[str], flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = write(tmp_path / "train.tsv", *rows)
    with pytest.raises(SystemExit) as stopped:
        main(
            ["--train_file", train, "--output_file", str(tmp_path / "o"), *(flag.format(train=train) for flag in flags)]
        )
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").touch()
    with pytest.raises(ValueError, match=r"a\.tsv is empty"):
        read_table(str(tmp_path / "a.tsv"))

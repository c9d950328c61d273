"""Submissions to the challenge in every form, and faulty ones. Tables: see test_run_evaluate.py."""

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kmerbert.scoring.dream import Challenge, read_challenge, read_submission
from tests.support.messages import fails
from tests.support.tiny_challenge import LABELLED, N, TinyChallenge, make_challenge


@pytest.fixture
def tiny(tmp_path: Path) -> TinyChallenge:
    """A whole challenge."""
    return make_challenge(tmp_path / "challenge")


@pytest.fixture
def private(tiny: TinyChallenge) -> Challenge:
    """Its private leaderboard."""
    return read_challenge(tiny.folder, "private")


def whole_table(tiny: TinyChallenge) -> pd.DataFrame:
    """Predictions of all rows."""
    ids = [f"r{row}" for row in range(N)]
    return pd.DataFrame({"id": ids, "sequence": tiny.sequences, "prediction": tiny.predicted})


def bare_lines(tiny: TinyChallenge) -> list[str]:
    """Predictions of all rows in the form of the final submission."""
    return [f"{sequence}\t{value!r}\n" for sequence, value in zip(tiny.sequences, tiny.predicted, strict=True)]


def test_every_form_gives_the_same(tiny: TinyChallenge, private: Challenge, tmp_path: Path) -> None:
    table, lines = whole_table(tiny), "".join(bare_lines(tiny))
    (tmp_path / "a.txt").write_text(lines)
    (tmp_path / "b.tsv").write_text(lines.lower())
    (tmp_path / "c.tsv.gz").write_bytes(gzip.compress(lines.encode()))
    table.to_csv(tmp_path / "d.tsv", sep="\t", index=False)
    table.assign(observed=1.0)[["prediction", "observed", "sequence"]].to_csv(tmp_path / "e.csv", index=False)
    table.to_parquet(tmp_path / "f.parquet")
    (tmp_path / "g.json").write_text(json.dumps(dict(reversed(tiny.submission(range(N)).items()))))
    files = sorted(file for file in tmp_path.iterdir() if file.is_file())
    assert len(files) == 7
    for file in files:
        np.testing.assert_array_equal(read_submission(str(file), private), tiny.predicted, err_msg=file.name)


@pytest.mark.parametrize("has_labels", [True, False])
def test_public_rows_from_every_form(tiny: TinyChallenge, tmp_path: Path, has_labels: bool) -> None:
    if not has_labels:
        (tiny.folder / LABELLED).unlink()
    public = read_challenge(tiny.folder, "public")
    (tmp_path / "public.json").write_text(json.dumps(tiny.submission()))
    (tmp_path / "every.json").write_text(json.dumps(tiny.submission(range(N))))
    (tmp_path / "every.tsv").write_text("".join(bare_lines(tiny)))
    n_rows, rows = len(public.measured), sorted(tiny.public_rows)
    assert n_rows == (N if has_labels else max(rows) + 1)
    for name in ("every.json", "every.tsv"):
        np.testing.assert_array_equal(read_submission(str(tmp_path / name), public), tiny.predicted[:n_rows])
    predicted = read_submission(str(tmp_path / "public.json"), public)
    np.testing.assert_array_equal(np.flatnonzero(~np.isnan(predicted)), rows)
    np.testing.assert_array_equal(predicted[rows], np.array(tiny.predicted)[rows])


def test_public_keys_must_be_those_of_the_challenge(tiny: TinyChallenge, tmp_path: Path) -> None:
    public, path, n = read_challenge(tiny.folder, "public"), tmp_path / "p.json", len(tiny.public_rows)
    whole = tiny.submission()
    first = next(iter(whole))
    for keys, parts in (
        (dict(list(whole.items())[1:]), (f"{n - 1} keys", f"needs {n},", f"{first} is missing")),
        (whole | {"299": 1.0}, (f"{n + 1} keys", f"needs {n},", ": 299 is")),
        (whole | {"9999": 1.0}, (f"{n + 1} keys", ": 9999 is")),
    ):
        path.write_text(json.dumps(keys))
        with fails(path, "public leaderboard", *parts):
            read_submission(str(path), public)


def test_private_keys_are_all_rows(tiny: TinyChallenge, private: Challenge, tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps(tiny.submission()))
    with fails(path, "private leaderboard", "needs 300,", ": 0 is missing", "`leaderboard` public"):
        read_submission(str(path), private)
    path.write_text(json.dumps(tiny.submission(range(N)) | {"300": 1.0}))
    with fails(path, "301 keys", ": 300 is"):
        read_submission(str(path), private)


@pytest.mark.parametrize(
    ("name", "line", "text", "parts"),
    [
        ("p.tsv", 8, "{sequence}\t\n", (", line 8", "prediction is missing")),
        ("p.tsv", 8, "{sequence}\tnan\n", (", line 8", "prediction is missing")),
        ("p.tsv", 8, "{sequence}\tinf\n", (", line 8", "prediction is inf", "finite")),
        ("p.txt", 8, "{sequence}\thigh\n", (", line 8", "prediction is 'high'")),
        ("p.txt", 1, "{sequence}\thigh\n", (", line 1", "prediction is 'high'")),
        ("p.tsv", 8, "", ("299 rows", "300")),
        ("p.tsv", 8, "{sequence}\t1\n{sequence}\t1\n", ("301 rows", "300")),
        ("p.tsv", 8, "ACGT\t1\n", (", line 8", "'ACGT'", "{sequence}")),
        ("p.tsv", 8, "{sequence}\t1\t2\n", (", line 8", "3 columns", " 2 ")),
        ("p.tsv", 8, "\n", (", line 8", "prediction is missing")),
    ],
)
def test_faulty_submissions(
    tiny: TinyChallenge, private: Challenge, tmp_path: Path, name: str, line: int, text: str, parts: tuple[str, ...]
) -> None:
    lines, sequence = bare_lines(tiny), tiny.sequences[line - 1]
    lines[line - 1] = text.format(sequence=sequence)
    (tmp_path / name).write_text("".join(lines))
    with fails(tmp_path / name, *(part.format(sequence=sequence) for part in parts)):
        read_submission(str(tmp_path / name), private)


def test_faulty_tables(tiny: TinyChallenge, private: Challenge, tmp_path: Path) -> None:
    table, path = whole_table(tiny), tmp_path / "p.tsv"
    swapped = table.assign(sequence=[tiny.sequences[1], tiny.sequences[0], *tiny.sequences[2:]])
    for wrong, parts in (
        (table.drop(columns="sequence"), ("'sequence'", "id, prediction")),
        (table.rename(columns={"prediction": "prediction_a"}), ("'prediction'", "id, sequence, prediction_a")),
        (table[:-1], ("299 rows", "300")),
        (swapped, (", line 2", tiny.sequences[0], tiny.sequences[1])),
    ):
        wrong.to_csv(path, sep="\t", index=False)
        with fails(path, *parts):
            read_submission(str(path), private)
    path.write_text("sequence\tprediction\tprediction\nACGT\t1\t2\n")
    with fails(path, "'prediction'", "twice"):
        read_submission(str(path), private)
    path.write_text("")
    with fails(path, "empty"):
        read_submission(str(path), private)
    path.write_text("ACGT\n")
    with fails(path, "'prediction'", "sequence<TAB>prediction"):
        read_submission(str(path), private)
    with fails("`predictions_file` p.fa", ".tsv, .csv", ".json"):
        read_submission("p.fa", private)


def test_faulty_parquet_tables(tiny: TinyChallenge, private: Challenge, tmp_path: Path) -> None:
    table, path = whole_table(tiny), tmp_path / "p.parquet"
    for wrong, parts in (
        ({"sequence": [tiny.sequences[1], tiny.sequences[0], *tiny.sequences[2:]]}, (", row 1:", tiny.sequences[1])),
        ({"prediction": [*tiny.predicted[:-1], None]}, (", row 300:", "prediction is missing")),
        ({"sequence": range(N)}, (", row 1:", "'0'")),
    ):
        table.assign(**wrong).to_parquet(path)
        with fails(path, *parts):
            read_submission(str(path), private)


def test_without_the_test_file_a_table_must_reach_the_last_public_row(tiny: TinyChallenge, tmp_path: Path) -> None:
    (tiny.folder / LABELLED).unlink()
    public = read_challenge(tiny.folder)
    last = max(tiny.public_rows)
    (tmp_path / "p.tsv").write_text("".join(bare_lines(tiny)[:last]))
    with fails(tmp_path / "p.tsv", f"{last} rows", f"row {last} (from 0)"):
        read_submission(str(tmp_path / "p.tsv"), public)

"""Submissions to the challenge, in every form, and those that are refused. Tables: see test_run_evaluate.py."""

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kmerbert.scoring.dream import Challenge, read_challenge, read_submission
from tests.support.tiny_challenge import LABELLED, N, TinyChallenge, make_challenge

FORM = "needed is one prediction per row of the test file, in its order"


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
    found = read_submission(str(tmp_path / "public.json"), public)
    np.testing.assert_array_equal(np.flatnonzero(~np.isnan(found)), rows)
    np.testing.assert_array_equal(found[rows], np.array(tiny.predicted)[rows])


def test_public_keys_must_be_those_of_the_challenge(tiny: TinyChallenge, tmp_path: Path) -> None:
    public, path, n = read_challenge(tiny.folder, "public"), tmp_path / "p.json", len(tiny.public_rows)
    whole = tiny.submission()
    first = next(iter(whole))
    for keys, message in (
        (
            dict(list(whole.items())[1:]),
            f"has {n - 1} keys; the public leaderboard needs {n}, .* once: {first} is missing",
        ),
        (whole | {"299": 1.0}, f"has {n + 1} keys; .* once: 299 is none of them"),
        (whole | {"9999": 1.0}, "9999 is none of them"),
    ):
        path.write_text(json.dumps(keys))
        with pytest.raises(ValueError, match=message):
            read_submission(str(path), public)


def test_private_keys_are_all_rows(tiny: TinyChallenge, private: Challenge, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(json.dumps(tiny.submission()))
    message = (
        "private leaderboard needs 300, each row of it once: 0 is missing; the public rows alone .*--leaderboard public"
    )
    with pytest.raises(ValueError, match=message):
        read_submission(str(tmp_path / "p.json"), private)
    (tmp_path / "p.json").write_text(json.dumps(tiny.submission(range(N)) | {"300": 1.0}))
    with pytest.raises(ValueError, match="300 is none of them"):
        read_submission(str(tmp_path / "p.json"), private)


@pytest.mark.parametrize(
    ("name", "line", "text", "message"),
    [
        ("p.tsv", 8, "{sequence}\t\n", "p.tsv, line 8: prediction is missing"),
        ("p.tsv", 8, "{sequence}\tnan\n", "p.tsv, line 8: prediction is missing"),
        ("p.tsv", 8, "{sequence}\tinf\n", "p.tsv, line 8: prediction is inf: allowed are finite numbers"),
        ("p.txt", 8, "{sequence}\thigh\n", "p.txt, line 8: prediction is 'high': allowed are numbers"),
        ("p.txt", 1, "{sequence}\thigh\n", "p.txt, line 1: prediction is 'high': allowed are numbers"),
        ("p.tsv", 8, "", f"has 299 rows, the test file 300: {FORM}"),
        ("p.tsv", 8, "{sequence}\t1\n{sequence}\t1\n", "has 301 rows, the test file 300"),
        ("p.tsv", 8, "ACGT\t1\n", f"p.tsv, line 8: the sequence is 'ACGT', in the test file '[ACGT]+': {FORM}"),
        ("p.tsv", 8, "{sequence}\t1\t2\n", "Expected 2 fields in line 8, saw 3"),
        ("p.tsv", 8, "\n", "p.tsv, line 8: prediction is missing"),
    ],
)
def test_refused_submissions(
    tiny: TinyChallenge, private: Challenge, tmp_path: Path, name: str, line: int, text: str, message: str
) -> None:
    lines = bare_lines(tiny)
    lines[line - 1] = text.format(sequence=tiny.sequences[line - 1])
    (tmp_path / name).write_text("".join(lines))
    with pytest.raises(ValueError, match=message):
        read_submission(str(tmp_path / name), private)


def test_refused_tables(tiny: TinyChallenge, private: Challenge, tmp_path: Path) -> None:
    table, path = whole_table(tiny), tmp_path / "p.tsv"
    swapped = table.assign(sequence=[tiny.sequences[1], tiny.sequences[0], *tiny.sequences[2:]])
    for wrong, message in (
        (table.drop(columns="sequence"), "no column 'sequence'; columns found: id, prediction; or, without header"),
        (
            table.rename(columns={"prediction": "prediction_a"}),
            "no column 'prediction'; columns found: id, sequence, pred",
        ),
        (table[:-1], "has 299 rows, the test file 300"),
        (swapped, "p.tsv, line 2: the sequence is"),
    ):
        wrong.to_csv(path, sep="\t", index=False)
        with pytest.raises(ValueError, match=message):
            read_submission(str(path), private)
    swapped.to_parquet(tmp_path / "p.parquet")
    with pytest.raises(ValueError, match="p.parquet, row 1: the sequence is"):
        read_submission(str(tmp_path / "p.parquet"), private)
    table.assign(prediction=[*tiny.predicted[:-1], None]).to_parquet(tmp_path / "p.parquet")
    with pytest.raises(ValueError, match="p.parquet, row 300: prediction is missing"):
        read_submission(str(tmp_path / "p.parquet"), private)
    table.assign(sequence=range(N)).to_parquet(tmp_path / "p.parquet")
    with pytest.raises(ValueError, match="p.parquet, row 1: the sequence is '0'"):
        read_submission(str(tmp_path / "p.parquet"), private)
    path.write_text("sequence\tprediction\tprediction\nACGT\t1\t2\n")
    with pytest.raises(ValueError, match="p.tsv: the column 'prediction' stands twice in the header"):
        read_submission(str(path), private)
    for text in ("", "ACGT\n"):
        path.write_text(text)
        with pytest.raises(
            ValueError, match="p.tsv is empty or not a table|p.tsv: no column 'sequence'; columns found: ACGT"
        ):
            read_submission(str(path), private)
    with pytest.raises(ValueError, match=r"p.fa: predictions are read from .* for a challenge also \.json"):
        read_submission("p.fa", private)


def test_without_the_test_file_a_table_must_reach_the_last_public_row(tiny: TinyChallenge, tmp_path: Path) -> None:
    (tiny.folder / LABELLED).unlink()
    public = read_challenge(tiny.folder)
    last = max(tiny.public_rows)
    (tmp_path / "p.tsv").write_text("".join(bare_lines(tiny)[:last]))
    with pytest.raises(ValueError, match=rf"has {last} rows, but row {last} \(from 0\) is public: {FORM}"):
        read_submission(str(tmp_path / "p.tsv"), public)

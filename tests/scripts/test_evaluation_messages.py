"""What run_evaluate.py prints of mistakes and of results that mean nothing: the flag, the path, the value."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from run_evaluate import main
from tests.support.messages import check_message
from tests.support.tiny_challenge import make_challenge

TABLE = pd.DataFrame({"id": list("abcd"), "prediction": [1.0, 2.0, 4.0, 3.0], "observed": [1.0, 2.0, 3.0, 4.0]})
NOT_FOUND = "(No such file or directory)"


def save(table: pd.DataFrame, path: Path) -> Path:
    """Writes a table with a header."""
    table.to_csv(path, sep="\t", index=False)
    return path


def command(predictions: Path | str, folder: Path, **flags: object) -> list[str]:
    """The command line."""
    more = [f"--{name}={value}" for name, value in flags.items()]
    return [f"--predictions_file={predictions}", f"--output_dir={folder}", *more]


def evaluate(predictions: Path | str, folder: Path, **flags: object) -> dict:
    """Runs the script as a user does."""
    return main(command(predictions, folder, **flags))


@pytest.fixture
def failure(error_line: Callable[..., str]) -> Callable[..., str]:
    """The line that the script prints: `failure(predictions, folder, **flags)`."""
    return lambda *arguments, **flags: error_line(main, *command(*arguments, **flags))


@pytest.fixture
def no_results(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the files with the results, because saving a figure takes most of the time."""
    monkeypatch.setattr("run_evaluate.write_results", lambda *_: None)


def test_files_that_cannot_be_read(tmp_path: Path, failure: Callable[..., str]) -> None:
    challenge, folder = make_challenge(tmp_path / "challenge").folder, tmp_path / "e"
    table = save(TABLE, tmp_path / "p.tsv")
    for name in ("nope.tsv", "nope.csv", "nope.parquet", "nope.tsv.gz"):
        path = tmp_path / name
        check_message(failure(path, folder), f"--predictions_file {name} ", NOT_FOUND)
        check_message(failure(table, folder, baseline_file=path), f"--baseline_file {name} ", NOT_FOUND)
    for name in ("nope.json", "nope.txt"):
        line = failure(tmp_path / name, folder, challenge_dir=challenge)
        check_message(line, f"--predictions_file {name} ", NOT_FOUND)
    for name in ("-", "/dev/stdin"):
        check_message(failure(name, folder), f"--predictions_file {name}:", "stdin", "pipe")
        check_message(failure(name, folder, challenge_dir=challenge), f"--predictions_file {name}:", "stdin", "pipe")
        check_message(failure(table, folder, baseline_file=name), f"--baseline_file {name}:", "stdin", "pipe")


def test_an_output_folder_that_is_a_file_fails_before_scoring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Callable[..., str]
) -> None:
    table = save(TABLE, tmp_path / "p.tsv")
    monkeypatch.setattr("run_evaluate.evaluate_table", None)
    check_message(failure(table, table), "--output_dir p.tsv is a file", "folder")
    check_message(failure(table, table / "e"), "--output_dir p.tsv/e ", "(p.tsv: Not a directory)")


def test_tables_without_anything_to_compare(tmp_path: Path, failure: Callable[..., str]) -> None:
    path = save(TABLE.assign(observed=np.nan), tmp_path / "p.tsv")
    check_message(failure(path, tmp_path / "e"), "p.tsv: observed ", "4 rows", "--label_column")
    two = TABLE.rename(columns={"prediction": "prediction_x", "observed": "observed_x"})
    path = save(two.assign(prediction_y=1.0, observed_y=np.nan), tmp_path / "two.tsv")
    check_message(failure(path, tmp_path / "e"), "two.tsv: observed_y ", "4 rows")
    path = save(TABLE[:0], tmp_path / "none.tsv")
    check_message(failure(path, tmp_path / "e"), "none.tsv", "no rows")


@pytest.mark.usefixtures("no_results")
def test_empty_lines_at_the_end_count_for_nothing(tmp_path: Path, failure: Callable[..., str]) -> None:
    table = save(TABLE, tmp_path / "p.tsv")
    expected, whole = evaluate(table, tmp_path / "e"), table.read_text()
    for end in ("\n", "\n\n \n", "\t\t\n", "\r\n"):
        table.write_text(whole + end)
        assert evaluate(table, tmp_path / "e") == expected
    table.write_text(whole.replace("c\t", "\nc\t") + "\n")
    check_message(failure(table, tmp_path / "other"), "p.tsv, line 4", "prediction")
    tiny = make_challenge(tmp_path / "challenge")
    rows = [f"{sequence}\t{value!r}\n" for sequence, value in zip(tiny.sequences, tiny.predicted, strict=True)]
    (tmp_path / "p.txt").write_text("".join(rows) + "\n\n")
    assert evaluate(tmp_path / "p.txt", tmp_path / "scored", challenge_dir=tiny.folder)["leaderboard"] == "private"


def test_a_file_without_header(tmp_path: Path, failure: Callable[..., str]) -> None:
    path = tmp_path / "p.txt"
    path.write_text("ACGTACGT\t11.5\nACGAACGT\t-2e-3\n")
    line = failure(path, tmp_path / "e")
    check_message(line, "p.txt", "'prediction'", "ACGTACGT, 11.5", "no header", "--challenge_dir", "run_predict.py")
    path.write_text("sequence\tvalue\nACGAACGT\t-2e-3\n")
    line = failure(path, tmp_path / "e")
    check_message(line, "p.txt", "'prediction'", "sequence, value")
    assert "no header" not in line


@pytest.mark.usefixtures("no_results")
def test_constant_predictions_are_scored_with_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    varied, constant = save(TABLE, tmp_path / "p.tsv"), TABLE.assign(prediction=2.5)
    fixed = save(constant, tmp_path / "constant.tsv")
    metrics = evaluate(fixed, tmp_path / "a")
    assert metrics["pearsonr"] == metrics["spearmanr"] == 0
    two = {f"{column}_{name}": TABLE[column] for name in "xy" for column in ("prediction", "observed")}
    two["prediction_y"], two["observed_y"] = [7.0, 7.0, 7.0, 9.0], [1.0, 2.0, 3.0, np.nan]  # constant where measured
    warnings = [read_warnings(capsys)]
    evaluate(varied, tmp_path / "b", baseline_file=fixed)
    warnings.append(read_warnings(capsys))
    evaluate(save(pd.DataFrame(two), tmp_path / "two.tsv"), tmp_path / "c")
    warnings.append(read_warnings(capsys))
    for lines, label in zip(warnings, ("model ", "baseline ", "model y "), strict=True):
        (line,) = lines
        check_message(line, label, "r = rho = 0")
    evaluate(varied, tmp_path / "d")
    assert read_warnings(capsys) == []


def read_warnings(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The warnings that were printed since the last call; they come below the table."""
    lines = capsys.readouterr().out.splitlines()
    warnings = [line for line in lines if line.startswith("warning: ")]
    lines = lines[: lines.index("verdict")]
    assert lines[len(lines) - len(warnings) :] == warnings
    return warnings


@pytest.mark.usefixtures("no_results")
def test_a_baseline_of_other_measured_values(tmp_path: Path, failure: Callable[..., str]) -> None:
    table = save(TABLE, tmp_path / "p.tsv")
    other = save(TABLE.assign(observed=[1.0, 2.0, 3.0, 4.5])[::-1], tmp_path / "other.tsv")
    line = failure(table, tmp_path / "e", baseline_file=other)
    check_message(
        line, "--baseline_file other.tsv", "observed of 'd' is 4.5", " 4 in --predictions_file", "--label_column"
    )
    for observed in ([1.0, 2.0, 3.0, np.nan], [1.0, 2.0, 3.0, 4.000001]):  # not measured there; rounded there
        same = save(TABLE.assign(observed=observed), tmp_path / "same.tsv")
        evaluate(table, tmp_path / "e", baseline_file=same)
    noted = save(TABLE.assign(observed_by="somebody"), tmp_path / "noted.tsv")  # no measured values of an output
    evaluate(noted, tmp_path / "e", baseline_file=noted)


def test_intervals_that_are_none(tmp_path: Path, failure: Callable[..., str]) -> None:
    folder = tmp_path / "e"
    path = save(TABLE.assign(lower=0.0), tmp_path / "half.tsv")
    columns = "id, prediction, observed, lower"
    check_message(failure(path, folder), "half.tsv", "'upper'", columns, "run_predict.py --calibration_file")
    path = save(TABLE.assign(lower=[0.0, 1.5, 3.0, 2.0], upper=[2.0, 1.25, 5.0, 4.0]), tmp_path / "crossed.tsv")
    line = failure(path, folder)
    check_message(line, "crossed.tsv, line 3", "lower 1.5", "upper 1.25", "run_predict.py --calibration_file")
    path = save(TABLE.assign(lower=[0.0, np.nan, 3.0, 2.0], upper=5.0), tmp_path / "missing.tsv")
    check_message(failure(path, folder), "missing.tsv, line 3", "lower")
    path = save(TABLE.assign(lower=0.0, upper=["5", "5", "high", "5"]), tmp_path / "text.tsv")
    check_message(failure(path, folder), "text.tsv, line 4", "upper is 'high'", "numbers")
    other = TABLE.assign(lower_leaf="a note", lower="low").drop(columns="observed")  # of no output here
    two = other.assign(prediction_x=1.0, observed_x=[1.0, 2.0, 3.0, 4.0]).drop(columns="prediction")
    assert "coverage" not in evaluate(save(two, tmp_path / "other.tsv"), folder)


def test_replicates_that_give_no_ceiling(tmp_path: Path, failure: Callable[..., str]) -> None:
    table = save(TABLE.assign(one=[1.0, 2.0, 3.0, 5.0], two=[1.0, 2.0, 4.0, 3.0], name="x"), tmp_path / "p.tsv")
    folder, columns = tmp_path / "e", "id, prediction, observed, one, two, name"
    check_message(failure(table, folder, replicate_file=table), "--replicate_file", "--replicate_columns")
    line = failure(table, folder, replicate_columns="one,three")
    check_message(line, "p.tsv", "'three'", columns, "--replicate_columns", "--replicate_file")
    check_message(failure(table, folder, replicate_columns="one"), "--replicate_columns one:", "two")
    check_message(failure(table, folder, replicate_columns="one,name"), "p.tsv, line 2", "name is 'x'")
    line = failure(table, folder, replicate_columns="one,two", replicate_file=tmp_path / "none.tsv")
    check_message(line, "--replicate_file none.tsv ", NOT_FOUND)
    line = failure(table, folder, replicate_columns="one,two", replicate_file=tmp_path / "p.fa")
    check_message(line, "--replicate_file p.fa", ".tsv, .csv")
    assert not folder.exists()


def test_folders_that_are_no_challenge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Callable[..., str]
) -> None:
    tiny, folder = make_challenge(tmp_path / "data" / "challenge"), tmp_path / "e"
    path = tmp_path / "p.json"
    path.write_text(json.dumps(tiny.submission()))
    line = failure(path, folder, challenge_dir=tmp_path / "nowhere")
    check_message(line, "--challenge_dir nowhere:", "no such folder", "public_leaderboard_ids")
    check_message(failure(path, folder, challenge_dir=path), "--challenge_dir p.json is a file", "folder")
    for wrong in ("data", "data/challenge/public_leaderboard_ids", "data/challenge/test_subset_ids"):
        line = failure(path, folder, challenge_dir=tmp_path / wrong)
        check_message(line, "--challenge_dir", f"{wrong}/public_leaderboard_ids/ground.json")
        assert line.endswith(": data/challenge")  # the right one is near
    monkeypatch.chdir(tiny.folder / "test_subset_ids")
    assert failure(path, folder, challenge_dir=".").endswith(": data/challenge")
    line = failure(path, folder, challenge_dir=folder.parent)
    check_message(line, "--challenge_dir", " public_leaderboard_ids/ground.json")


def test_a_log_that_cannot_be_read(tmp_path: Path, failure: Callable[..., str]) -> None:
    table, log = save(TABLE, tmp_path / "p.tsv"), tmp_path / "trainer_state.json"
    for content, part in (("", "not JSON"), ("[" * 100_000, "nested"), ("[1]", "no JSON object")):
        log.write_text(content)
        check_message(failure(table, tmp_path / "e", run_dir=tmp_path), "trainer_state.json", part)
        (tmp_path / "config.json").write_text(content)
        check_message(failure(table, tmp_path / "e", run_dir=tmp_path), "config.json", part)
        (tmp_path / "config.json").unlink()

"""What run_evaluate.py says of mistakes and of results that mean nothing: the flag, the path, what to do."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from run_evaluate import main
from tests.support.tiny_challenge import make_challenge

TABLE = pd.DataFrame({"id": list("abcd"), "prediction": [1.0, 2.0, 4.0, 3.0], "observed": [1.0, 2.0, 3.0, 4.0]})


def save(table: pd.DataFrame, path: Path) -> Path:
    """Writes a table with a header."""
    table.to_csv(path, sep="\t", index=False)
    return path


def evaluate(predictions: Path | str, folder: Path, **flags: object) -> dict:
    """Runs the script as a user does."""
    more = [f"--{name}={value}" for name, value in flags.items()]
    return main([f"--predictions_file={predictions}", f"--output_dir={folder}", *more])


def refusal(predictions: Path | str, folder: Path, **flags: object) -> str:
    """What the script says."""
    with pytest.raises(ValueError, match=".") as found:
        evaluate(predictions, folder, **flags)
    return str(found.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    challenge, folder = make_challenge(tmp_path / "challenge").folder, tmp_path / "e"
    table = save(TABLE, tmp_path / "p.tsv")
    advice = "cannot be read (No such file or directory): name a file that is there and may be read"
    for name in ("nope.tsv", "nope.csv", "nope.parquet", "nope.tsv.gz"):
        path = tmp_path / name
        assert refusal(path, folder) == f"--predictions_file {path} {advice}"
        assert refusal(table, folder, baseline_file=path) == f"--baseline_file {path} {advice}"
    for name in ("nope.json", "nope.txt"):
        path = tmp_path / name
        assert refusal(path, folder, challenge_dir=challenge) == f"--predictions_file {path} {advice}"
    for name in ("-", "/dev/stdin"):
        advice = f"{name}: stdin is not read, nor a pipe: write a file and name that"
        assert refusal(name, folder) == f"--predictions_file {advice}"
        assert refusal(name, folder, challenge_dir=challenge) == f"--predictions_file {advice}"
        assert refusal(table, folder, baseline_file=name) == f"--baseline_file {advice}"


def test_an_output_folder_that_is_a_file_is_refused_before_scoring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = save(TABLE, tmp_path / "p.tsv")
    monkeypatch.setattr("run_evaluate.evaluate_table", None)
    for folder in (table, table / "e"):
        reason = f"cannot be written ({table}: Not a directory): name another place, or mend that one"
        assert refusal(table, folder) == f"--output_dir {folder} {reason}"


def test_tables_without_anything_to_compare(tmp_path: Path) -> None:
    path = save(TABLE.assign(observed=np.nan), tmp_path / "p.tsv")
    expected = "observed has no measured value in 4 rows: predict again with the --label_column that has them"
    assert refusal(path, tmp_path / "e") == f"{path}: {expected}"
    two = TABLE.rename(columns={"prediction": "prediction_x", "observed": "observed_x"})
    path = save(two.assign(prediction_y=1.0, observed_y=np.nan), tmp_path / "two.tsv")
    assert f"{path}: observed_y has no measured value in 4 rows" in refusal(path, tmp_path / "e")
    path = save(TABLE[:0], tmp_path / "none.tsv")
    assert refusal(path, tmp_path / "e") == f"{path}: there are no rows to compare"


def test_empty_lines_at_the_end_count_for_nothing(tmp_path: Path) -> None:
    table = save(TABLE, tmp_path / "p.tsv")
    expected, whole = evaluate(table, tmp_path / "e"), table.read_text()
    for end in ("\n", "\n\n \n", "\t\t\n", "\r\n"):
        table.write_text(whole + end)
        assert evaluate(table, tmp_path / "e", overwrite_output_dir=True) == expected
    table.write_text(whole.replace("c\t", "\nc\t") + "\n")
    assert refusal(table, tmp_path / "other") == f"{table}, line 4: prediction is missing"
    tiny = make_challenge(tmp_path / "challenge")
    rows = [f"{sequence}\t{value!r}\n" for sequence, value in zip(tiny.sequences, tiny.predicted, strict=True)]
    (tmp_path / "p.txt").write_text("".join(rows) + "\n\n")
    assert evaluate(tmp_path / "p.txt", tmp_path / "scored", challenge_dir=tiny.folder)["leaderboard"] == "private"


def test_a_file_without_header(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_text("ACGTACGT\t11.5\nACGAACGT\t-2e-3\n")
    message = refusal(path, tmp_path / "e")
    assert message.startswith(f"{path}: no column 'prediction'; columns found: ACGTACGT, 11.5; it has no header: add")
    assert message.endswith("--challenge_dir to score a submission, or write .tsv with run_predict.py")
    path.write_text("sequence\tvalue\nACGAACGT\t-2e-3\n")
    assert "no header" not in refusal(path, tmp_path / "e")


def test_constant_predictions_are_scored_with_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    varied, constant = save(TABLE, tmp_path / "p.tsv"), TABLE.assign(prediction=2.5)
    fixed = save(constant, tmp_path / "constant.tsv")
    metrics = evaluate(fixed, tmp_path / "a")
    assert metrics["pearsonr"] == metrics["spearmanr"] == 0
    expected = "warning: predictions of the {} do not vary: they count as r = rho = 0"
    assert capsys.readouterr().out.splitlines()[2:] == [expected.format("model")]
    evaluate(varied, tmp_path / "b", baseline_file=fixed)
    assert capsys.readouterr().out.splitlines()[3:] == [expected.format("baseline")]
    two = {f"{column}_{name}": TABLE[column] for name in "xy" for column in ("prediction", "observed")}
    two["prediction_y"], two["observed_y"] = [7.0, 7.0, 7.0, 9.0], [1.0, 2.0, 3.0, np.nan]  # constant where measured
    evaluate(save(pd.DataFrame(two), tmp_path / "two.tsv"), tmp_path / "c")
    assert capsys.readouterr().out.splitlines()[4:] == [expected.format("model y")]
    evaluate(varied, tmp_path / "d")
    assert "warning" not in capsys.readouterr().out


def test_a_baseline_of_other_measured_values(tmp_path: Path) -> None:
    table = save(TABLE, tmp_path / "p.tsv")
    other = save(TABLE.assign(observed=[1.0, 2.0, 3.0, 4.5])[::-1], tmp_path / "other.tsv")
    value = "observed of 'd' is 4.5, but 4 in --predictions_file"
    expected = f"--baseline_file {other}: {value}: predict with the same --label_column"
    assert refusal(table, tmp_path / "e", baseline_file=other) == expected
    for observed in ([1.0, 2.0, 3.0, np.nan], [1.0, 2.0, 3.0, 4.000001]):  # not measured there; rounded there
        same = save(TABLE.assign(observed=observed), tmp_path / "same.tsv")
        evaluate(table, tmp_path / "e", baseline_file=same, overwrite_output_dir=True)


def test_intervals_that_are_none(tmp_path: Path) -> None:
    advice = "run_predict.py --calibration_file"
    path = save(TABLE.assign(lower=0.0), tmp_path / "half.tsv")
    expected = f"{path}: no column 'upper'; columns found: id, prediction, observed, lower; {advice} writes both ends"
    assert refusal(path, tmp_path / "e").startswith(expected)
    path = save(TABLE.assign(lower=[0.0, 1.5, 3.0, 2.0], upper=[2.0, 1.25, 5.0, 4.0]), tmp_path / "crossed.tsv")
    expected = f"{path}, line 3: lower 1.5 is above upper 1.25: write intervals by {advice}"
    assert refusal(path, tmp_path / "e") == expected
    path = save(TABLE.assign(lower=[0.0, np.nan, 3.0, 2.0], upper=5.0), tmp_path / "missing.tsv")
    assert refusal(path, tmp_path / "e") == f"{path}, line 3: lower is missing"
    path = save(TABLE.assign(lower=0.0, upper=["5", "5", "high", "5"]), tmp_path / "text.tsv")
    assert f"{path}, line 4: upper is 'high': allowed are numbers" in refusal(path, tmp_path / "e")
    other = TABLE.assign(lower_leaf="a note", lower="low").drop(columns="observed")  # of no output here
    two = other.assign(prediction_x=1.0, observed_x=[1.0, 2.0, 3.0, 4.0]).drop(columns="prediction")
    assert "coverage" not in evaluate(save(two, tmp_path / "other.tsv"), tmp_path / "e")


def test_replicates_that_give_no_ceiling(tmp_path: Path) -> None:
    table = save(TABLE.assign(one=[1.0, 2.0, 3.0, 5.0], two=[1.0, 2.0, 4.0, 3.0], name="x"), tmp_path / "p.tsv")
    folder = tmp_path / "e"
    assert refusal(table, folder, replicate_file=table).startswith("--replicate_file is read for --replicate_columns: ")
    expected = f"{table}: no column 'three'; columns found: id, prediction, observed, one, two, name; name them by"
    assert refusal(table, folder, replicate_columns="one,three").startswith(expected)
    assert refusal(table, folder, replicate_columns="one").startswith(
        "--replicate_columns one: give two columns or more"
    )
    assert f"{table}, line 2: name is 'x'" in refusal(table, folder, replicate_columns="one,name")
    missing, advice = tmp_path / "none.tsv", "cannot be read (No such file or directory): name a file"
    message = refusal(table, folder, replicate_columns="one,two", replicate_file=missing)
    assert message.startswith(f"--replicate_file {missing} {advice}")
    message = refusal(table, folder, replicate_columns="one,two", replicate_file=tmp_path / "p.fa")
    assert message.startswith(f"--replicate_file {tmp_path / 'p.fa'}: replicates are read from .tsv, .csv")
    assert not folder.exists()


def test_folders_that_are_no_challenge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny, out = make_challenge(tmp_path / "data" / "challenge"), tmp_path / "e"
    path = tmp_path / "p.json"
    path.write_text(json.dumps(tiny.submission()))
    wrong = tmp_path / "nowhere"
    expected = f"--challenge_dir {wrong}: no such folder: name the one that holds public_leaderboard_ids"
    assert refusal(path, out, challenge_dir=wrong) == expected
    assert refusal(path, out, challenge_dir=path).startswith(f"--challenge_dir {path}: no such folder")
    advice = f"ground.json: name the folder that holds public_leaderboard_ids: {tiny.folder}"
    for wrong in (tiny.folder.parent, tiny.folder / "public_leaderboard_ids", tiny.folder / "test_subset_ids"):
        message = refusal(path, out, challenge_dir=wrong)
        assert message == f"--challenge_dir: no file {wrong}/public_leaderboard_ids/{advice}"
    monkeypatch.chdir(tiny.folder / "test_subset_ids")
    assert refusal(path, out, challenge_dir=".").endswith(advice)
    message = refusal(path, out, challenge_dir=out.parent)
    assert message.endswith("public_leaderboard_ids is published with the challenge and always needed")

"""The official score, beside a slow and plain one, and every file that it refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks.speed import official_score
from kmerbert.scoring.dream import SUBSETS, read_challenge
from tests.support.tiny_challenge import LABELLED, PAIRS, SINGLES, N, TinyChallenge, make_challenge

WEIGHTS = {
    "all": 1, "high": 0.3, "low": 0.3, "yeast": 0.3, "random": 0.3, "challenging": 0.5, "SNVs": 1.25,
    "motif_perturbation": 0.3, "motif_tiling": 0.4,
}  # fmt: skip


@pytest.fixture
def tiny(tmp_path: Path) -> TinyChallenge:
    """A whole challenge."""
    return make_challenge(tmp_path / "challenge")


def plain_score(tiny: TinyChallenge, predicted: list[float], leaderboard: str) -> tuple[float, float, dict[str, int]]:
    """Both scores, and the number of rows or pairs of each subset, by the definition and in loops."""
    x, y = {}, {}
    for name in WEIGHTS:
        if leaderboard == "public":
            rows = sorted(tiny.public_rows) if name == "all" else tiny.public[name]
        elif name in PAIRS:
            rows = [pair for pair in set(tiny.listed[name]) if pair not in tiny.public[name]]
        else:
            rows = [row for row in set(tiny.listed.get(name, range(N))) if row not in tiny.public_rows]
        x[name], y[name] = [], []
        for row in rows:
            for taken, numbers in ((x[name], predicted), (y[name], tiny.values)):
                taken.append(numbers[row[0]] - numbers[row[1]] if name in PAIRS else numbers[row])
    pearson = sum(w * stats.pearsonr(x[name], y[name]).statistic ** 2 for name, w in WEIGHTS.items()) / 4.65
    spearman = sum(w * stats.spearmanr(x[name], y[name]).statistic for name, w in WEIGHTS.items()) / 4.65
    return pearson, spearman, {name: len(taken) for name, taken in x.items()}


@pytest.mark.parametrize("leaderboard", ["public", "private"])
def test_scores_are_those_of_the_definition(tiny: TinyChallenge, leaderboard: str) -> None:
    pearson, spearman, numbers = plain_score(tiny, tiny.predicted, leaderboard)
    assert pearson != pytest.approx(spearman, abs=0.02)
    found = read_challenge(tiny.folder, leaderboard).score(np.array(tiny.predicted))
    assert (found["pearson_score"], found["spearman_score"]) == pytest.approx((pearson, spearman), rel=1e-12)
    assert {name: subset["n"] for name, subset in found["subsets"].items()} == numbers
    assert {name: subset["weight"] for name, subset in found["subsets"].items()} == WEIGHTS
    assert found["leaderboard"] == leaderboard
    whole = found["subsets"]["all"]
    assert (found["n"], found["r2_all"], found["rho_all"]) == (whole["n"], whole["r2"], whole["rho"])
    assert whole["r2"] == pytest.approx(whole["r"] ** 2)


def test_private_rows_worked_out_by_hand(tiny: TinyChallenge) -> None:
    rows = read_challenge(tiny.folder).rows
    assert rows["high"].tolist() == [0, *range(4, 20), *range(26, 45), *range(46, 50)]
    assert rows["low"].tolist() == list(range(56, 90))
    assert rows["yeast"].tolist() == list(range(96, 130))
    assert rows["random"].tolist() == list(range(135, 199))
    assert rows["challenging"].tolist() == [*range(26, 45), *range(46, 50), 56, 57, 58, 59, 199]
    pairs = set(map(tuple, rows["SNVs"].tolist()))
    assert len(pairs) == len(rows["SNVs"]) == 62 - 5
    assert {(200, 250), (200, 201), (203, 202), (249, 248)} <= pairs
    assert not {(250, 249), (201, 200)} & pairs
    assert [290, 290] in rows["motif_tiling"].tolist()
    assert len(rows["motif_perturbation"]) == 24 - 6
    assert len(rows["all"]) == N - len(tiny.public_rows)


def test_which_leaderboard(tiny: TinyChallenge) -> None:
    assert read_challenge(tiny.folder).leaderboard == "private"
    predicted = np.array(tiny.predicted)
    with_labels = read_challenge(tiny.folder, "public")
    (tiny.folder / LABELLED).unlink()
    without = read_challenge(tiny.folder)
    assert without.leaderboard == "public"
    assert without.sequences is None
    assert len(without.measured) == max(tiny.public_rows) + 1
    assert with_labels.score(predicted) == without.score(predicted[: len(without.measured)])
    with pytest.raises(ValueError, match=f"no file .*{LABELLED}: it holds the private labels.*--leaderboard public"):
        read_challenge(tiny.folder, "private")


def test_the_other_name_of_the_motif_table(tiny: TinyChallenge) -> None:
    expected = read_challenge(tiny.folder).rows["motif_perturbation"]
    path = tiny.csv_file("motif_perturbation")
    path.rename(path.with_name("motif_perturbation_seqs.csv"))
    np.testing.assert_array_equal(read_challenge(tiny.folder).rows["motif_perturbation"], expected)


@pytest.mark.parametrize("leaderboard", ["public", "private"])
def test_sign_and_scale(tiny: TinyChallenge, leaderboard: str) -> None:
    challenge, values = read_challenge(tiny.folder, leaderboard), np.array(tiny.values)
    perfect, reversed_ = challenge.score(5 + 2 * values), challenge.score(-values)
    assert (perfect["pearson_score"], perfect["spearman_score"]) == pytest.approx((1, 1))
    assert (reversed_["pearson_score"], reversed_["spearman_score"]) == pytest.approx((1, -1))


def test_constant_predictions_are_defined(tiny: TinyChallenge) -> None:
    challenge, names = read_challenge(tiny.folder), [subset.name for subset in SUBSETS]
    flat = np.full(N, 11.3)
    found = challenge.score(flat)
    assert (found["pearson_score"], found["spearman_score"]) == (0, 0)
    assert challenge.constant_subsets(flat) == names
    predicted = np.array(tiny.predicted)
    assert challenge.constant_subsets(predicted) == []
    predicted[:50] = 11
    found = challenge.score(predicted)
    assert challenge.constant_subsets(predicted) == ["high"]
    assert found["subsets"]["high"]["r"] == found["subsets"]["high"]["rho"] == 0
    assert 0 < found["pearson_score"] < challenge.score(np.array(tiny.predicted))["pearson_score"]


def test_refused_predictions(tiny: TinyChallenge) -> None:
    challenge = read_challenge(tiny.folder)
    with pytest.raises(ValueError, match=r"predictions \(299,\), test file \(300,\): needed is one for each"):
        challenge.score(np.array(tiny.predicted[1:]))
    with pytest.raises(ValueError, match="NaN or infinite"):
        challenge.score(np.where(np.arange(N) == 299, np.nan, tiny.predicted))


@pytest.mark.parametrize("name", ["all", *SINGLES, *PAIRS])
def test_missing_public_files(tiny: TinyChallenge, name: str) -> None:
    tiny.json_file(name).unlink()
    with pytest.raises(ValueError, match=f"no file .*{tiny.json_file(name).name}: public_leaderboard_ids is published"):
        read_challenge(tiny.folder)


@pytest.mark.parametrize("name", [*SINGLES, *PAIRS])
def test_missing_subset_files(tiny: TinyChallenge, name: str) -> None:
    tiny.csv_file(name).unlink()
    with pytest.raises(ValueError, match=f"no file .*{tiny.csv_file(name).name}: .*score with --leaderboard public"):
        read_challenge(tiny.folder)
    assert read_challenge(tiny.folder, "public").leaderboard == "public"


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "high",
            {"45": 9.0},
            r"high_exp.*row 45 has the value 9, but not in ground.json: the files are not of one set",
        ),
        ("high", {"299": 0.5}, "high_exp.*row 299 has the value 0.5, but not in ground.json"),
        ("high", {"8": 0.5}, "high_exp.*row 8 has the value 0.5, but not in ground.json"),
        ("SNVs", {"45,8": [0.5, 0.5]}, "SNVs_exp.*row (45|8) has the value 0.5, but not in ground.json"),
        ("all", {"298": 0.1}, "ground.json: row 298 is in no public subset"),
        ("all", {"1.5": 0.1}, r"ground.json: the key '1\.5' is no row number"),
        ("SNVs", {"45": [0.5, 0.5]}, "SNVs_exp.*the key '45' is no row number"),
    ],
)
def test_public_files_that_contradict_each_other(tiny: TinyChallenge, name: str, change: dict, message: str) -> None:
    path = tiny.json_file(name)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        read_challenge(tiny.folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: "", f"{LABELLED} is no table"),
        (lambda rows: "".join(row.replace("\t", " ") for row in rows), "1 columns: needed are two"),
        (lambda rows: "".join(row.replace("\n", "\t1\n") for row in rows), "3 columns: needed are two"),
        (lambda rows: "".join([*rows[:7], "ACGT\t\n", *rows[8:]]), "line 8: the value is '': every row needs"),
        (lambda rows: "".join([*rows[:7], "ACGT\tNaN\n", *rows[8:]]), "line 8: the value is 'NaN'"),
        (lambda rows: "".join([*rows[:7], "ACGT\tinf\n", *rows[8:]]), "line 8: the value is 'inf'"),
        (lambda rows: "".join(["sequence\tvalue\n", *rows]), "line 1: the value is 'value'"),
        (lambda rows: "".join([*rows[:7], "ACGT\t1\t2\n", *rows[8:]]), "no table.*Expected 2 fields in line 8, saw 3"),
        (lambda rows: "".join(rows[:200]), r"has 200 rows, but public row \d+ \(from 0\) is outside"),
        (lambda rows: "".join(rows[::-1]), "public rows have r = -?0.* with ground.json: it must be the challenge"),
    ],
)  # fmt: skip
def test_refused_test_files(tiny: TinyChallenge, change: Callable[[list[str]], str], message: str) -> None:
    path = tiny.folder / LABELLED
    path.write_text(change(path.read_text().splitlines(keepends=True)))
    with pytest.raises(ValueError, match=message):
        read_challenge(tiny.folder)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("yeast", "", "yeast_seqs.csv is no table"),
        ("yeast", "tag,position\na,1\n", "yeast_seqs.csv: no column 'pos'; needed: pos"),
        ("SNVs", "alt_pos,pos\n1,2\n", "all_SNVs_seqs.csv: no column 'ref_pos'; needed: alt_pos, ref_pos"),
        ("yeast", "pos\n1\n300\n", "line 3: pos is '300': allowed are rows of .*, from 0 to 299"),
        ("yeast", "pos\n-1\n", "line 2: pos is '-1'"),
        ("yeast", "pos\n1.5\n", "line 2: pos is '1.5'"),
        ("yeast", "tag,pos\na,\n", "line 2: pos is ''"),
        ("SNVs", "alt_pos,ref_pos\n1,2\n3,four\n", "line 3: ref_pos is 'four'"),
    ],
)
def test_refused_subset_tables(tiny: TinyChallenge, name: str, text: str, message: str) -> None:
    tiny.csv_file(name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_challenge(tiny.folder)


def test_a_public_row_beyond_those_with_values(tiny: TinyChallenge) -> None:
    path, last = tiny.json_file("high"), max(tiny.public_rows)
    path.write_text(json.dumps(json.loads(path.read_text()) | {str(last + 1): tiny.values[last]}))
    with pytest.raises(ValueError, match=f"row {last + 1} has the value .*, but not in ground.json"):
        read_challenge(tiny.folder)


def test_a_subset_without_private_rows(tiny: TinyChallenge) -> None:
    tiny.csv_file("yeast").write_text("pos\n90\n91\n")
    with pytest.raises(ValueError, match="subset yeast has no row on the private leaderboard"):
        read_challenge(tiny.folder).score(np.array(tiny.predicted))


def test_the_benchmark_makes_a_challenge_of_the_true_size(tmp_path: Path) -> None:
    official_score.write_challenge(tmp_path, seed=0)
    public, private = (read_challenge(tmp_path, leaderboard) for leaderboard in ("public", "private"))
    assert {name: len(rows) for name, rows in public.rows.items()} == {
        "all": 9_045, "high": 96, "low": 99, "yeast": 208, "random": 733, "challenging": 195, "SNVs": 4_670,
        "motif_perturbation": 328, "motif_tiling": 263,
    }  # fmt: skip
    assert {name: len(rows) for name, rows in private.rows.items()} == {
        "all": 62_058, "high": 872, "low": 898, "yeast": 370, "random": 5_616, "challenging": 1_758, "SNVs": 39_670,
        "motif_perturbation": 2_959, "motif_tiling": 2_361,
    }  # fmt: skip


def test_the_benchmark_prints_both(capsys: pytest.CaptureFixture[str]) -> None:
    found = official_score.main(["--peer_percentage", "2"])
    assert set(found) == {"reading", "scoring", "plain_reading", "plain_scoring"}
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split()[0] == "kmerbert"
    assert lines[3].startswith("lists (from 2 %)")
    with pytest.raises(SystemExit):
        official_score.main(["--peer_percentage", "0"])

"""The official score against a slow and plain one, and every fault of its files."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks.speed import official_score
from kmerbert.scoring.dream import SUBSETS, read_challenge
from tests.support.messages import fails
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
    metrics = read_challenge(tiny.folder, leaderboard).score(np.array(tiny.predicted))
    assert (metrics["pearson_score"], metrics["spearman_score"]) == pytest.approx((pearson, spearman), rel=1e-12)
    assert {name: subset["n"] for name, subset in metrics["subsets"].items()} == numbers
    assert {name: subset["weight"] for name, subset in metrics["subsets"].items()} == WEIGHTS
    assert metrics["leaderboard"] == leaderboard
    whole = metrics["subsets"]["all"]
    assert (metrics["n"], metrics["r2_all"], metrics["rho_all"]) == (whole["n"], whole["r2"], whole["rho"])
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
    with fails("`challenge_dir`", tiny.folder / LABELLED, "`leaderboard` public"):
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
    metrics = challenge.score(flat)
    assert (metrics["pearson_score"], metrics["spearman_score"]) == (0, 0)
    assert challenge.constant_subsets(flat) == names
    predicted = np.array(tiny.predicted)
    assert challenge.constant_subsets(predicted) == []
    predicted[:50] = 11
    metrics = challenge.score(predicted)
    assert challenge.constant_subsets(predicted) == ["high"]
    assert metrics["subsets"]["high"]["r"] == metrics["subsets"]["high"]["rho"] == 0
    assert 0 < metrics["pearson_score"] < challenge.score(np.array(tiny.predicted))["pearson_score"]


def test_predictions_that_cannot_be_scored(tiny: TinyChallenge) -> None:
    challenge = read_challenge(tiny.folder)
    with fails("(299,)", "(300,)"):
        challenge.score(np.array(tiny.predicted[1:]))
    with fails("NaN or infinite"):
        challenge.score(np.where(np.arange(N) == 299, np.nan, tiny.predicted))


def test_missing_folders(tiny: TinyChallenge) -> None:
    with fails(f"`challenge_dir` {tiny.folder / 'absent'}", "public_leaderboard_ids"):
        read_challenge(tiny.folder / "absent")
    for near in (tiny.folder.parent, tiny.folder / "test_subset_ids"):
        with fails("`challenge_dir`", near / "public_leaderboard_ids", f"public_leaderboard_ids: {tiny.folder}"):
            read_challenge(near)


@pytest.mark.parametrize("name", ["all", *SINGLES, *PAIRS])
def test_missing_public_files(tiny: TinyChallenge, name: str) -> None:
    tiny.json_file(name).unlink()
    with fails("`challenge_dir`", tiny.json_file(name), "public_leaderboard_ids is"):
        read_challenge(tiny.folder)


@pytest.mark.parametrize("name", [*SINGLES, *PAIRS])
def test_missing_subset_files(tiny: TinyChallenge, name: str) -> None:
    tiny.csv_file(name).unlink()
    with fails("`challenge_dir`", tiny.csv_file(name), "`leaderboard` public"):
        read_challenge(tiny.folder)
    assert read_challenge(tiny.folder, "public").leaderboard == "public"


@pytest.mark.parametrize(
    ("name", "change", "parts"),
    [
        ("high", {"45": 9.0}, ("row 45", "value 9", "ground.json")),
        ("high", {"299": 0.5}, ("row 299", "value 0.5", "ground.json")),
        ("high", {"8": 0.5}, ("row 8", "value 0.5", "ground.json")),
        ("SNVs", {"45,8": [0.5, 0.5]}, ("row 45", "value 0.5", "ground.json")),
        ("all", {"298": 0.1}, ("row 298",)),
        ("all", {"1.5": 0.1}, ("'1.5'", "row number")),
        ("SNVs", {"45": [0.5, 0.5]}, ("'45'", "row number")),
    ],
)
def test_public_files_that_contradict_each_other(
    tiny: TinyChallenge, name: str, change: dict, parts: tuple[str, ...]
) -> None:
    path = tiny.json_file(name)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with fails(path, *parts):
        read_challenge(tiny.folder)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda rows: "", ()),
        (lambda rows: "".join(row.replace("\t", " ") for row in rows), ("1 column",)),
        (lambda rows: "".join(row.replace("\n", "\t1\n") for row in rows), ("3 columns",)),
        (lambda rows: "".join([*rows[:7], "ACGT\t\n", *rows[8:]]), ("line 8", "''")),
        (lambda rows: "".join([*rows[:7], "ACGT\tNaN\n", *rows[8:]]), ("line 8", "'NaN'")),
        (lambda rows: "".join([*rows[:7], "ACGT\tinf\n", *rows[8:]]), ("line 8", "'inf'")),
        (lambda rows: "".join(["sequence\tvalue\n", *rows]), ("line 1", "'value'")),
        (lambda rows: "".join([*rows[:7], "ACGT\t1\t2\n", *rows[8:]]), ("line 8", "3 columns", " 2 ")),
        (lambda rows: "".join(rows[:200]), ("200 rows", "public row")),
        (lambda rows: "".join(rows[::-1]), ("r = ", "ground.json")),
    ],
)
def test_faulty_test_files(tiny: TinyChallenge, change: Callable[[list[str]], str], parts: tuple[str, ...]) -> None:
    path = tiny.folder / LABELLED
    path.write_text(change(path.read_text().splitlines(keepends=True)))
    with fails(path, *parts):
        read_challenge(tiny.folder)


@pytest.mark.parametrize(
    ("name", "text", "parts"),
    [
        ("yeast", "", ()),
        ("yeast", "tag,position\na,1\n", ("'pos'",)),
        ("SNVs", "alt_pos,pos\n1,2\n", ("'ref_pos'", "alt_pos, ref_pos")),
        ("yeast", "pos\n1\n300\n", ("line 3", "pos is '300'", "0 to 299")),
        ("yeast", "pos\n-1\n", ("line 2", "pos is '-1'")),
        ("yeast", "pos\n1.5\n", ("line 2", "pos is '1.5'")),
        ("yeast", "tag,pos\na,\n", ("line 2", "pos is ''")),
        ("SNVs", "alt_pos,ref_pos\n1,2\n3,four\n", ("line 3", "ref_pos is 'four'")),
    ],
)
def test_faulty_subset_tables(tiny: TinyChallenge, name: str, text: str, parts: tuple[str, ...]) -> None:
    tiny.csv_file(name).write_text(text)
    with fails(tiny.csv_file(name), *parts):
        read_challenge(tiny.folder)


def test_a_public_row_beyond_those_with_values(tiny: TinyChallenge) -> None:
    path, last = tiny.json_file("high"), max(tiny.public_rows)
    path.write_text(json.dumps(json.loads(path.read_text()) | {str(last + 1): tiny.values[last]}))
    with fails(path, f"row {last + 1}", f"value {tiny.values[last]:g}", "ground.json"):
        read_challenge(tiny.folder)


def test_a_subset_without_private_rows(tiny: TinyChallenge) -> None:
    tiny.csv_file("yeast").write_text("pos\n90\n91\n")
    with fails("yeast", "private"):
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
    seconds = official_score.main(["--peer_percentage", "2"])
    assert set(seconds) == {"reading", "scoring", "plain_reading", "plain_scoring"}
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split()[0] == "kmerbert"
    assert lines[3].startswith("lists (from 2 %)")
    with pytest.raises(SystemExit):
        official_score.main(["--peer_percentage", "0"])

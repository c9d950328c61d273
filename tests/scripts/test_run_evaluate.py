"""run_evaluate.py: its numbers and files, tables as people have them, and what it refuses."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from kmerbert.scoring.metrics import regression_metrics
from run_evaluate import main
from tests.support.tiny_challenge import LABELLED, PAIRS, TinyChallenge, make_challenge

RANDOM = np.random.default_rng(0)
TABLE = pd.DataFrame(
    {"id": [f"r{i}" for i in range(40)], "sequence": ["".join(RANDOM.choice(list("ACGT"), 12)) for _ in range(40)]}
)
TABLE["observed"] = RANDOM.normal(11, 2.5, 40)
TABLE["prediction"] = TABLE["observed"] + RANDOM.normal(0, 1, 40)
BASELINE = TABLE.assign(prediction=TABLE["observed"] + RANDOM.normal(0, 5, 40))


def save(table: pd.DataFrame, path: Path) -> str:
    """Writes a table in the format of its name, and returns the path as it is typed."""
    if path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, sep="," if ".csv" in path.name else "\t", index=False)
    return str(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The output folder, not yet there."""
    return tmp_path / "evaluation"


@pytest.fixture
def predictions(tmp_path: Path) -> str:
    """A table of predictions."""
    return save(TABLE, tmp_path / "predictions.tsv")


def test_writes_metrics_and_figure(predictions: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = main(["--predictions_file", predictions, "--output_dir", str(folder), "--unit", "bin"])
    assert metrics == json.loads((folder / "metrics.json").read_text())
    assert metrics["n"] == 40
    assert metrics["pearsonr"] == pytest.approx(stats.pearsonr(TABLE["prediction"], TABLE["observed"]).statistic)
    assert sorted(file.name for file in folder.iterdir()) == ["metrics.json", "predicted_against_measured.png"]
    assert (folder / "predicted_against_measured.png").read_bytes().startswith(b"\x89PNG")
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["n", "r", "rho", "rmse"]
    assert row.split()[:3] == ["model", "40", f"{metrics['pearsonr']:.3f}"]


@pytest.mark.parametrize("name", ["p.csv", "p.parquet", "p.tsv.gz", "p.csv.gz"])
def test_every_format_gives_the_same(name: str, predictions: str, folder: Path, tmp_path: Path) -> None:
    expected = main(["--predictions_file", predictions, "--output_dir", str(folder)])
    found = main(["--predictions_file", save(TABLE, tmp_path / name), "--output_dir", str(tmp_path / "again")])
    assert found == pytest.approx(expected)


def test_baseline_in_another_order_stands_beside(
    predictions: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--predictions_file", predictions, "--output_dir", str(folder), "--overwrite_output_dir"]
    expected = regression_metrics(BASELINE["prediction"], TABLE["observed"])
    shuffled = BASELINE.sample(frac=1, random_state=0)
    for table in (shuffled, shuffled.drop(columns="id"), shuffled.drop(columns=["sequence", "observed"])):
        metrics = main([*flags, "--baseline_file", save(table, tmp_path / "baseline.csv")])
        assert metrics["baseline"] == pytest.approx(expected)
        assert metrics["pearsonr"] > metrics["baseline"]["pearsonr"]
        assert capsys.readouterr().out.splitlines()[2].split()[:2] == ["baseline", "40"]


def test_repeated_sequences_in_the_same_order_match(folder: Path, tmp_path: Path) -> None:
    table = pd.concat([TABLE, TABLE]).drop(columns="id")
    path = save(table, tmp_path / "p.tsv")
    metrics = main(["--predictions_file", path, "--baseline_file", path, "--output_dir", str(folder)])
    assert metrics["baseline"]["pearsonr"] == metrics["pearsonr"]


@pytest.mark.parametrize(
    ("baseline", "message"),
    [
        (
            BASELINE[1:],
            "by id and sequence: 40 rows against 39; 'r0 [ACGT]+' is in one of the two only: predict the same",
        ),
        (BASELINE.assign(sequence=BASELINE["sequence"][::-1].to_numpy()), "40 rows against 40; 'r0 [ACGT]+' is in one"),
        (BASELINE.drop(columns=["id", "sequence"]), "needs a column 'id' or 'sequence'"),
        (
            BASELINE.rename(columns={"prediction": "prediction_a"}),
            "no column 'prediction'; columns found: id.*needed are",
        ),
        (pd.concat([BASELINE, BASELINE[:1]]), "rows stand in another order, and 'r0 [ACGT]+' is not unique"),
    ],
)
def test_refused_baselines(
    baseline: pd.DataFrame, message: str, predictions: str, folder: Path, tmp_path: Path
) -> None:
    path = save(baseline, tmp_path / "baseline.tsv")
    with pytest.raises(ValueError, match=message):
        main(["--predictions_file", predictions, "--baseline_file", path, "--output_dir", str(folder)])
    assert not folder.exists()


def test_several_outputs_with_missing_values(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pd.DataFrame({"id": TABLE["id"]})
    for name in ("leaf", "root/tip"):
        table[f"observed_{name}"], table[f"prediction_{name}"] = TABLE["observed"], BASELINE["prediction"]
    table.loc[:9, "observed_leaf"] = np.nan
    metrics = main(["--predictions_file", save(table, tmp_path / "p.tsv"), "--output_dir", str(folder)])
    assert (metrics["n"], metrics["n_leaf"], metrics["n_root/tip"]) == (40, 30, 40)
    assert metrics["mse_leaf"] == pytest.approx(
        regression_metrics(BASELINE["prediction"][10:], TABLE["observed"][10:])["mse"]
    )
    assert metrics["mse"] == pytest.approx((metrics["mse_leaf"] + metrics["mse_root/tip"]) / 2)
    figures = sorted(file.name for file in folder.glob("*.png"))
    assert figures == ["predicted_against_measured_leaf.png", "predicted_against_measured_root_tip.png"]
    assert [line.split()[:3] for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["model", "mean", "40"], ["model", "leaf", "30"], ["model", "root/tip", "40"]
    ]  # fmt: skip


def test_coverage_and_width_of_intervals(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--output_dir", str(folder), "--overwrite_output_dir"]
    half_width = np.where(np.arange(40) % 4 == 0, 0.0, 20.0)  # none of the 10 narrow ones holds its value
    table = TABLE.assign(lower=TABLE["prediction"] - half_width, upper=TABLE["prediction"] + half_width)
    path = save(table, tmp_path / "p.tsv")
    plain = save(TABLE, tmp_path / "plain.tsv")
    metrics = main(["--predictions_file", path, "--baseline_file", plain, *flags])
    assert metrics == json.loads((folder / "metrics.json").read_text())
    assert (metrics["coverage"], metrics["interval_width"]) == (0.75, pytest.approx(30))
    assert "coverage" not in metrics["baseline"]
    header, model, baseline = capsys.readouterr().out.splitlines()
    assert header.split() == ["n", "r", "rho", "rmse", "coverage", "width"]
    assert model.split()[-2:] == ["0.750", "30"]
    assert len(baseline.split()) == 5
    metrics = main(["--predictions_file", plain, "--baseline_file", path, *flags])
    assert (metrics["baseline"]["coverage"], "coverage" in metrics) == (0.75, False)
    two = pd.DataFrame({"id": TABLE["id"]})
    for name in ("leaf", "root"):
        own = {"prediction": 1.0, "observed": TABLE["observed"], "lower": table["lower"], "upper": table["upper"]}
        two = two.assign(**{f"{column}_{name}": values for column, values in own.items()})
    two.loc[two.index % 4 == 0, "observed_root"] = np.nan
    metrics = main(["--predictions_file", save(two, tmp_path / "two.tsv"), *flags])
    found = {name: (metrics[f"coverage{name}"], metrics[f"interval_width{name}"]) for name in ("_leaf", "_root", "")}
    assert found == {
        "_leaf": (0.75, pytest.approx(30)),
        "_root": (1, pytest.approx(40)),
        "": (0.875, pytest.approx(35)),
    }


def test_noise_ceiling(predictions: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--predictions_file", predictions, "--output_dir", str(folder), "--overwrite_output_dir"]
    random = np.random.default_rng(1)
    replicates = pd.DataFrame({name: TABLE["observed"] + random.normal(0, 1, 40) for name in ("one", "two")})
    replicates.loc[3, "two"] = np.nan
    r = replicates.corr().loc["one", "two"]
    path = save(replicates, tmp_path / "replicates.csv")
    metrics = main([*flags, "--replicate_file", path, "--replicate_columns", "one, two"])
    assert metrics == json.loads((folder / "metrics.json").read_text())
    assert metrics["replicate_pearsonr"] == pytest.approx(r)
    assert metrics["noise_ceiling"] == pytest.approx((2 * r / (1 + r)) ** 0.5)
    assert (metrics["n_replicates"], metrics["n_replicate_rows"], metrics["n"]) == (2, 39, 40)
    line = capsys.readouterr().out.splitlines()[-1]
    ceiling = f"no model can beat r = {metrics['noise_ceiling']:.3f} on the mean of these 2 replicates"
    assert line == f"{ceiling} (their mean r is {r:.3f} in 39 rows)"
    beside = save(pd.concat([TABLE, replicates], axis=1), tmp_path / "beside.tsv")
    main([*flags[2:], "--predictions_file", beside, "--replicate_columns", "one,two"])
    assert capsys.readouterr().out.splitlines()[-1] == line


def test_one_named_output(folder: Path, tmp_path: Path) -> None:
    table = TABLE.rename(columns={"prediction": "prediction_leaf", "observed": "observed_leaf"})
    metrics = main(["--predictions_file", save(table, tmp_path / "p.tsv"), "--output_dir", str(folder)])
    assert metrics["n"] == 40
    assert "pearsonr_leaf" not in metrics
    assert (folder / "predicted_against_measured_leaf.png").exists()


def test_training_curves(predictions: str, folder: Path, tmp_path: Path) -> None:
    flags = ["--predictions_file", predictions, "--output_dir", str(folder), "--run_dir", str(tmp_path)]
    with pytest.raises(ValueError, match="has no trainer_state.json: name the --output_dir"):
        main(flags)
    log = [{"step": 1, "loss": 1.0}, {"step": 2, "eval_loss": 1.0, "eval_pearsonr": 0.5}]
    (tmp_path / "trainer_state.json").write_text(json.dumps({"log_history": log}))
    main(flags)
    assert (folder / "training_curves.png").exists()
    (tmp_path / "trainer_state.json").write_text(json.dumps({"log_history": log[:1]}))
    main([*flags, "--overwrite_output_dir"])
    (tmp_path / "trainer_state.json").write_text("{}")
    with pytest.raises(ValueError, match="neither 'loss' nor 'eval_loss'"):
        main([*flags, "--overwrite_output_dir"])


def test_results_are_replaced_only_when_asked(predictions: str, folder: Path) -> None:
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    (folder / "predicted_against_measured_old.png").touch()
    flags = ["--predictions_file", predictions, "--output_dir", str(folder)]
    with pytest.raises(ValueError, match="already holds predicted_against_measured_old.png.*--overwrite_output_dir"):
        main(flags)
    main([*flags, "--overwrite_output_dir"])
    found = sorted(file.name for file in folder.iterdir())
    assert found == ["metrics.json", "notes.txt", "predicted_against_measured.png"]


def test_a_sequence_or_id_that_spells_a_missing_value_is_one(folder: Path, tmp_path: Path) -> None:
    table = TABLE.assign(id=["NA", "null", *TABLE["id"][2:]])
    path = save(table, tmp_path / "p.tsv")
    assert main(["--predictions_file", path, "--baseline_file", path, "--output_dir", str(folder)])["n"] == 40


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "p.tsv is empty or not a table"),
        ("id\tprediction\tobserved\n", "no rows"),
        ("id\tscore\nr0\t1\n", "no column 'prediction'; columns found: id, score"),
        ("id\tprediction\nr0\t1\n", "no column 'observed'; columns found: id, prediction; .*--label_column"),
        ("id\tprediction_a\tobserved_b\nr0\t1\t1\n", "no column 'observed_a'; columns found"),
        ("id\tprediction\tobserved\nr0\t1\t1\nr1\thigh\t1\n", "p.tsv, line 3.*prediction.*'high'"),
        ("id\tprediction\tobserved\nr0\t1\t1\nr1\t1\tlow\n", "p.tsv, line 3.*observed.*'low'"),
        ("id\tprediction\tobserved\nr0\t1\t1\nr1\t\t2\n", "p.tsv, line 3: prediction is missing"),
        ("id\tprediction\tobserved\nr0\tinf\t1\n", "p.tsv, line 2.*prediction.*inf"),
        ("id\tprediction\tobserved\nr0\t1\t\n", "no measured value in 1 rows"),
        ("id\tprediction\tobserved\nr0\t1\t1\t1\n", "rows have more columns than its header, which names id, prediction"),
        ("id\tprediction\tobserved\nr0\t1\t1\nr1\t1\t1\t1\n", "Expected 3 fields in line 3, saw 4"),
        ("ACGT\t1.5\nACGA\t2.5\n", "no column 'prediction'; columns found: ACGT, 1.5"),
    ],
)  # fmt: skip
def test_refused_tables(text: str, message: str, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "p.tsv").write_text(text)
    with pytest.raises(ValueError, match=message):
        main(["--predictions_file", str(tmp_path / "p.tsv"), "--output_dir", str(folder)])
    assert not folder.exists()


def test_refused_formats_and_missing_flags(predictions: str, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"predictions are read from \.tsv"):
        main(["--predictions_file", str(tmp_path / "p.json"), "--output_dir", str(folder)])
    with pytest.raises(ValueError, match="give --predictions_file .* and --output_dir"):
        main(["--predictions_file", predictions])
    with pytest.raises(
        ValueError, match=r"--predictions_file .*none.tsv cannot be read \(No such file .*: name a file"
    ):
        main(["--predictions_file", str(tmp_path / "none.tsv"), "--output_dir", str(folder)])
    broken = tmp_path / "broken.tsv.gz"
    broken.write_bytes(gzip.compress(b"id\tprediction\n" * 99)[:40])
    with pytest.raises(ValueError, match="broken.tsv.gz is empty or not a table"):
        main(["--predictions_file", str(broken), "--output_dir", str(folder)])


@pytest.fixture
def tiny(tmp_path: Path) -> TinyChallenge:
    """A whole challenge."""
    return make_challenge(tmp_path / "challenge")


@pytest.fixture
def submission(tiny: TinyChallenge, tmp_path: Path) -> str:
    """Predictions of all its rows, in the form of the final submission."""
    rows = zip(tiny.sequences, tiny.predicted, strict=True)
    (tmp_path / "submission.txt").write_text("".join(f"{sequence}\t{value!r}\n" for sequence, value in rows))
    return str(tmp_path / "submission.txt")


def test_official_score(tiny: TinyChallenge, submission: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--predictions_file", submission, "--output_dir", str(folder), "--challenge_dir", str(tiny.folder)]
    metrics = main(flags)
    assert metrics == json.loads((folder / "metrics.json").read_text())
    assert metrics["leaderboard"] == "private"
    x, y = (np.delete(values, sorted(tiny.public_rows)) for values in (tiny.predicted, tiny.values))
    assert metrics["r2_all"] == pytest.approx(stats.pearsonr(x, y).statistic ** 2)
    assert metrics["rho_all"] == pytest.approx(stats.spearmanr(x, y).statistic)
    header, *rows, pearson, spearman = capsys.readouterr().out.splitlines()
    assert header.split() == ["subset", "weight", "n", "r", "rho"]
    assert len({len(line) for line in (header, *rows, pearson, spearman)}) == 1
    assert [row.split() for row in rows] == [
        [name, f"{found['weight']:.2f}", str(found["n"]), f"{found['r']:.3f}", f"{found['rho']:.3f}"]
        for name, found in metrics["subsets"].items()
    ]
    assert pearson.split() == ["Pearson", "Score,", "private", f"{metrics['pearson_score']:.4f}"]
    assert spearman.split() == ["Spearman", "Score,", "private", f"{metrics['spearman_score']:.4f}"]
    names = {f"subset_{name}.png" for name in metrics["subsets"]}
    assert len(names) == 9
    assert {file.name for file in folder.iterdir()} == {"metrics.json", *names}
    public = main([*flags, "--leaderboard", "public", "--overwrite_output_dir"])
    assert public["leaderboard"] == "public"
    assert public["n"] == len(tiny.public_rows)


def test_official_public_score_from_the_public_files(tiny: TinyChallenge, folder: Path, tmp_path: Path) -> None:
    flags = ["--challenge_dir", str(tiny.folder), "--leaderboard", "public", "--overwrite_output_dir"]
    (tmp_path / "p.json").write_text(json.dumps(tiny.submission()))
    flags += ["--predictions_file", str(tmp_path / "p.json"), "--output_dir", str(folder)]
    expected = main(flags)
    (tiny.folder / LABELLED).unlink()
    assert main(flags) == expected
    assert main([flag for flag in flags if flag not in ("--leaderboard", "public")]) == expected


def test_figures_of_the_subsets(
    tiny: TinyChallenge, submission: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []

    def draw(x: np.ndarray, y: np.ndarray, **options: object) -> Axes:
        drawn.append((x, y, options))
        return Figure().add_subplot()

    monkeypatch.setattr("run_evaluate.plot_predicted_against_measured", draw)
    flags = ["--predictions_file", submission, "--output_dir", str(folder), "--challenge_dir", str(tiny.folder)]
    metrics = main(flags)
    for name, (x, y, options) in zip(metrics["subsets"], drawn, strict=True):
        assert len(x) == len(y) == metrics["subsets"][name]["n"]
        assert stats.pearsonr(x, y).statistic == pytest.approx(metrics["subsets"][name]["r"])
        assert options["is_difference"] == (name in PAIRS)
        assert (options["unit"], options["same_scale"]) == ("MAUDE score", False)
    assert len({options["title"] for _, _, options in drawn}) == 9
    main([*flags, "--overwrite_output_dir", "--unit", "log2"])
    assert drawn[-1][2]["unit"] == "log2"


def test_constant_predictions_are_scored_with_a_warning(
    tiny: TinyChallenge, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--challenge_dir", str(tiny.folder), "--leaderboard", "public", "--overwrite_output_dir"]
    flags += ["--predictions_file", str(tmp_path / "p.json"), "--output_dir", str(folder)]
    (tmp_path / "p.json").write_text(json.dumps(tiny.submission() | {str(row): 11.3 for row in tiny.public["high"]}))
    metrics = main(flags)
    assert metrics["subsets"]["high"]["r"] == metrics["subsets"]["high"]["rho"] == 0
    (warning,) = [line for line in capsys.readouterr().out.splitlines() if "warning" in line]
    assert warning == "warning: predictions do not vary in high: such a subset counts as r = rho = 0"
    (tmp_path / "p.json").write_text(json.dumps(dict.fromkeys(tiny.submission(), 11.3)))
    metrics = main(flags)
    assert metrics["pearson_score"] == metrics["spearman_score"] == 0
    assert capsys.readouterr().out.count("warning: predictions do not vary in all, high, low, ") == 1


def test_results_of_both_kinds_replace_each_other(
    tiny: TinyChallenge, submission: str, predictions: str, folder: Path
) -> None:
    folder.mkdir()
    (folder / "subset_mine.png").touch()
    official = ["--predictions_file", submission, "--output_dir", str(folder), "--challenge_dir", str(tiny.folder)]
    main(official)
    with pytest.raises(ValueError, match=r"already holds (metrics\.json|subset_\w+\.png): .*--overwrite_output_dir"):
        main(official)
    main(["--predictions_file", predictions, "--output_dir", str(folder), "--overwrite_output_dir"])
    found = sorted(file.name for file in folder.iterdir())
    assert found == ["metrics.json", "predicted_against_measured.png", "subset_mine.png"]


def test_refused_flags_of_the_challenge(tiny: TinyChallenge, submission: str, predictions: str, folder: Path) -> None:
    flags = ["--predictions_file", submission, "--output_dir", str(folder)]
    with pytest.raises(ValueError, match="--leaderboard says which official score: give --challenge_dir"):
        main([*flags, "--leaderboard", "public"])
    with pytest.raises(ValueError, match="--leaderboard.*invalid choice: 'final'"):
        main([*flags, "--leaderboard", "final", "--challenge_dir", str(tiny.folder)])
    with pytest.raises(ValueError, match="--baseline_file has no official score beside --challenge_dir"):
        main([*flags, "--baseline_file", predictions, "--challenge_dir", str(tiny.folder)])
    with pytest.raises(ValueError, match="--challenge_dir: no file .*ground.json"):
        main([*flags, "--challenge_dir", str(tiny.folder / "test_subset_ids")])
    with pytest.raises(ValueError, match="has 40 rows, the test file 300"):
        main(["--predictions_file", predictions, *flags[2:], "--challenge_dir", str(tiny.folder)])
    assert not folder.exists()


def test_the_command_needs_no_torch_and_ends_in_one_line(predictions: str, folder: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-X", "importtime", "run_evaluate.py", "--predictions_file", predictions]
    done = subprocess.run([*command, "--output_dir", str(folder)], cwd=root, capture_output=True, text=True, check=True)
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert "kmerbert.scoring.metrics" in imported
    assert not {"torch", "evaluate", "matplotlib.pyplot"} & imported
    again = subprocess.run(
        [sys.executable, *command[3:], "--output_dir", str(folder)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 2
    assert again.stderr.startswith("error: --output_dir")
    assert len(again.stderr.splitlines()) == 1

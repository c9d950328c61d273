"""run_evaluate.py: its numbers and files, tables as people have them, and tables that cannot be compared."""

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from kmerbert.figures import plot_correlations, plot_predicted_against_measured
from kmerbert.scoring.metrics import regression_metrics
from run_evaluate import figure_name, main, saved_step
from tests.support.messages import check_message, fails
from tests.support.tiny_challenge import LABELLED, PAIRS, TinyChallenge, make_challenge

RANDOM = np.random.default_rng(0)
TABLE = pd.DataFrame(
    {"id": [f"r{i}" for i in range(40)], "sequence": ["".join(RANDOM.choice(list("ACGT"), 12)) for _ in range(40)]}
)
TABLE["observed"] = RANDOM.normal(11, 2.5, 40)
TABLE["prediction"] = TABLE["observed"] + RANDOM.normal(0, 1, 40)
BASELINE = TABLE.assign(prediction=TABLE["observed"] + RANDOM.normal(0, 5, 40))


class Drawn(NamedTuple):
    """A figure of predicted against measured values."""

    x: np.ndarray
    y: np.ndarray
    options: dict[str, object]


@pytest.fixture(autouse=True)
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Drawn]:
    """What is drawn. Figures are made as always, but empty ones are saved, which takes a tenth of the time."""
    figures: list[Drawn] = []

    def draw(x: np.ndarray, y: np.ndarray, **options: object) -> Axes:
        plot_predicted_against_measured(x, y, **options)
        figures.append(Drawn(x, y, options))
        axes = Figure(figsize=(0.5, 0.5)).add_subplot()
        axes.set_axis_off()
        return axes

    monkeypatch.setattr("run_evaluate.plot_predicted_against_measured", draw)

    def compare(*arguments: object) -> Axes:
        plot_correlations(*arguments)
        return Figure(figsize=(0.5, 0.5)).add_subplot()

    monkeypatch.setattr("run_evaluate.plot_correlations", compare)
    return figures


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


def test_writes_metrics_and_figure(
    predictions: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("run_evaluate.plot_predicted_against_measured", plot_predicted_against_measured)
    metrics = main(["--predictions_file", predictions, "--output_dir", str(folder), "--unit", "bin"])
    assert metrics == json.loads((folder / "metrics.json").read_text())
    assert metrics["n"] == 40
    assert metrics["pearsonr"] == pytest.approx(stats.pearsonr(TABLE["prediction"], TABLE["observed"]).statistic)
    names = ["metrics.json", "predicted_against_measured.png", "report.html"]
    assert sorted(file.name for file in folder.iterdir()) == names
    assert (folder / "predicted_against_measured.png").read_bytes().startswith(b"\x89PNG")
    header, row, *verdict, where = capsys.readouterr().out.splitlines()
    assert where == f"report and figures: {folder}"
    assert verdict == ["verdict", *(f"  {line}" for line in metrics["verdict"])]
    assert header.split() == ["n", "r", "rho", "rmse"]
    assert row.split()[:3] == ["model", "40", f"{metrics['pearsonr']:.3f}"]


@pytest.mark.parametrize("name", ["p.csv", "p.parquet", "p.tsv.gz", "p.csv.gz"])
def test_every_format_gives_the_same(name: str, predictions: str, folder: Path, tmp_path: Path) -> None:
    expected = main(["--predictions_file", predictions, "--output_dir", str(folder)])
    metrics = main(["--predictions_file", save(TABLE, tmp_path / name), "--output_dir", str(tmp_path / "again")])
    assert metrics.pop("verdict") == expected.pop("verdict")
    assert metrics == pytest.approx(expected)


def test_a_baseline_in_another_order(
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
        assert (folder / "correlations.png").is_file()
    main(flags)
    assert not (folder / "correlations.png").exists()


def test_repeated_sequences_in_the_same_order_match(folder: Path, tmp_path: Path) -> None:
    table = pd.concat([TABLE, TABLE]).drop(columns="id")
    path = save(table, tmp_path / "p.tsv")
    metrics = main(["--predictions_file", path, "--baseline_file", path, "--output_dir", str(folder)])
    assert metrics["baseline"]["pearsonr"] == metrics["pearsonr"]


FIRST_ROW = f"'r0 {TABLE['sequence'][0]}'"


@pytest.mark.parametrize(
    ("baseline", "parts"),
    [
        (BASELINE[1:], ("--baseline_file baseline.tsv", "id and sequence", "40 rows", "39", FIRST_ROW)),
        (
            BASELINE.assign(sequence=BASELINE["sequence"][::-1].to_numpy()),
            ("--baseline_file baseline.tsv", "id and sequence", "40 rows", "'r0 "),
        ),
        (
            BASELINE.drop(columns=["id", "sequence"]),
            ("--baseline_file baseline.tsv", "'id'", "'sequence'", "--predictions_file"),
        ),
        (
            BASELINE.rename(columns={"prediction": "prediction_a"}),
            ("baseline.tsv", "'prediction'", "id, sequence, observed, prediction_a", "--predictions_file"),
        ),
        (pd.concat([BASELINE, BASELINE[:1]]), ("--baseline_file baseline.tsv", "id and sequence", FIRST_ROW, "unique")),
    ],
)
def test_baselines_of_other_rows(
    baseline: pd.DataFrame,
    parts: tuple[str, ...],
    predictions: str,
    folder: Path,
    tmp_path: Path,
    error_line: Callable[..., str],
) -> None:
    path = save(baseline, tmp_path / "baseline.tsv")
    line = error_line(main, "--predictions_file", predictions, "--baseline_file", path, "--output_dir", folder)
    check_message(line, *parts)
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
    assert [line.split()[:3] for line in capsys.readouterr().out.splitlines()[1:4]] == [
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
    header, model, baseline = capsys.readouterr().out.splitlines()[:3]
    assert header.split() == ["n", "r", "rho", "rmse", "coverage", "width"]
    assert model.split()[-2:] == ["0.750", "30"]
    assert len(baseline.split()) == 5
    metrics = main(["--predictions_file", plain, "--baseline_file", path, *flags])
    assert (metrics["baseline"]["coverage"], "coverage" in metrics) == (0.75, False)
    two = pd.DataFrame({"id": TABLE["id"]})
    for name in ("leaf", "root"):
        columns = {"prediction": 1.0, "observed": TABLE["observed"], "lower": table["lower"], "upper": table["upper"]}
        two = two.assign(**{f"{column}_{name}": values for column, values in columns.items()})
    two.loc[two.index % 4 == 0, "observed_root"] = np.nan
    metrics = main(["--predictions_file", save(two, tmp_path / "two.tsv"), *flags])
    intervals = {
        name: (metrics[f"coverage{name}"], metrics[f"interval_width{name}"]) for name in ("_leaf", "_root", "")
    }
    assert intervals == {
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
    line = metrics["verdict"][1]
    assert f"  {line}" in capsys.readouterr().out.splitlines()
    check_message(line, f"r = {metrics['noise_ceiling']:.3f}", "2 replicates", f"{r:.3f}", "39 rows")
    joined = save(pd.concat([TABLE, replicates], axis=1), tmp_path / "joined.tsv")
    main([*flags[2:], "--predictions_file", joined, "--replicate_columns", "one,two"])
    assert f"  {line}" in capsys.readouterr().out.splitlines()


def test_one_named_output(folder: Path, tmp_path: Path) -> None:
    table = TABLE.rename(columns={"prediction": "prediction_leaf", "observed": "observed_leaf"})
    metrics = main(["--predictions_file", save(table, tmp_path / "p.tsv"), "--output_dir", str(folder)])
    assert metrics["n"] == 40
    assert "pearsonr_leaf" not in metrics
    assert (folder / "predicted_against_measured_leaf.png").exists()


def test_training_curves(predictions: str, folder: Path, tmp_path: Path) -> None:
    flags = ["--predictions_file", predictions, "--output_dir", str(folder), "--run_dir", str(tmp_path)]
    with fails(f"--run_dir {tmp_path} ", "trainer_state.json", "--output_dir"):
        main(flags)
    log = [{"step": 1, "loss": 1.0}, {"step": 2, "eval_loss": 1.0, "eval_pearsonr": 0.5}]
    (tmp_path / "trainer_state.json").write_text(json.dumps({"log_history": log}))
    main(flags)
    assert (folder / "training_curves.png").exists()
    (tmp_path / "trainer_state.json").write_text(json.dumps({"log_history": log[:1]}))
    main([*flags, "--overwrite_output_dir"])
    (tmp_path / "trainer_state.json").write_text("{}")
    with fails("'loss'", "'eval_loss'"):
        main([*flags, "--overwrite_output_dir"])


def test_results_are_only_replaced_with_the_flag(predictions: str, folder: Path, tmp_path: Path) -> None:
    leaf = TABLE.rename(columns={"prediction": "prediction_leaf", "observed": "observed_leaf"})
    main(["--predictions_file", save(leaf, tmp_path / "leaf.tsv"), "--output_dir", str(folder)])
    (folder / "notes.txt").write_text("mine")
    (folder / "predicted_against_measured_of_ada.png").write_bytes(b"hers")
    (folder / "subset_high.png").symlink_to(folder / "notes.txt")
    flags = ["--predictions_file", predictions, "--output_dir", str(folder)]
    with fails(f"--output_dir {folder} ", "--overwrite_output_dir"):
        main(flags)
    main([*flags, "--overwrite_output_dir"])
    own = ["metrics.json", "predicted_against_measured.png", "report.html"]  # the figure of the output `leaf` is gone
    others = ["notes.txt", "predicted_against_measured_of_ada.png", "subset_high.png"]
    assert sorted(file.name for file in folder.iterdir()) == sorted(own + others)
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_result_is_not_written_through_a_link_or_over_an_input(
    predictions: str, folder: Path, tmp_path: Path
) -> None:
    folder.mkdir()
    (tmp_path / "mine.json").write_text("{}")
    (folder / "metrics.json").symlink_to(tmp_path / "mine.json")
    flags = ["--output_dir", str(folder), "--overwrite_output_dir"]
    with fails(f"--output_dir {folder}", "metrics.json", "link"):
        main([*flags, "--predictions_file", predictions])
    assert (tmp_path / "mine.json").read_text() == "{}"
    (folder / "metrics.json").unlink()
    (folder / "metrics.json").hardlink_to(predictions)
    with fails(f"--predictions_file {predictions}", f"--output_dir {folder}"):
        main([*flags, "--predictions_file", predictions])


def test_a_report_of_something_else_is_not_replaced(predictions: str, folder: Path) -> None:
    folder.mkdir()
    (folder / "report.html").write_text('<meta name="generator" content="run_finetune_regression.py">')
    with fails(f"--output_dir {folder}", "report.html", "name another"):
        main(["--predictions_file", predictions, "--output_dir", str(folder), "--overwrite_output_dir"])
    assert [file.name for file in folder.iterdir()] == ["report.html"]
    assert "run_finetune" in (folder / "report.html").read_text()


@pytest.mark.usefixtures("whole_reports")
def test_the_report_has_the_baseline_the_ceiling_and_the_run(folder: Path, tmp_path: Path) -> None:
    log = [{"step": 1, "loss": 1.0}, {"step": 2, "eval_loss": 1.0, "eval_pearsonr": 0.5}]
    (tmp_path / "trainer_state.json").write_text(json.dumps({"log_history": log, "global_step": 2}))
    table = TABLE.assign(first=TABLE["observed"] + 0.5, second=TABLE["observed"] - RANDOM.normal(0, 1, 40))
    flags = ["--predictions_file", save(table, tmp_path / "p&q.tsv"), "--output_dir", str(folder), "--unit", "bin"]
    flags += ["--run_dir", str(tmp_path), "--replicate_columns", "first,second"]
    metrics = main([*flags, "--baseline_file", save(BASELINE, tmp_path / "b.tsv")])
    report = (folder / "report.html").read_text()
    assert "p&amp;q.tsv" in report
    ceiling, figure = (
        f"no model can beat r = {metrics['noise_ceiling']:.3f}",
        "r of this model and of what it is compared with",
    )
    for words in (ceiling, figure, "--replicate_columns</span> <span>first,second", "rows of p&amp;q.tsv", "(bin)"):
        assert words in report
    for scores in (metrics, metrics["baseline"]):
        assert f'<td class="number">{scores["pearsonr"]:.3f}</td>' in report
    assert 'id="training"' in report
    main([*flags[:4], "--overwrite_output_dir"])
    assert 'id="training"' not in (folder / "report.html").read_text()


def test_figures_of_outputs_with_similar_names() -> None:
    taken: list[str] = []
    for name in ("a/b", "a b", "A_B", "x" * 300):
        taken.append(figure_name(name, taken))
    assert len({name.casefold() for name in taken}) == 4
    assert max(map(len, taken)) < 150
    assert figure_name("", []) == "predicted_against_measured.png"


@pytest.mark.parametrize(
    ("state", "scores", "step"),
    [
        ({"best_global_step": 9, "best_model_checkpoint": "c", "global_step": 12}, {"eval_pearsonr": 0.5}, 9),
        ({"best_global_step": 9, "best_model_checkpoint": "c", "global_step": 12}, {"eval_pearsonr": 0.4}, 12),
        ({"best_global_step": 9, "best_model_checkpoint": "c", "global_step": 12}, {}, 9),
        ({"best_global_step": 9, "best_model_checkpoint": None, "global_step": 12}, {}, 12),
        ({"global_step": 12}, {}, 12),
        ({}, {}, None),
    ],
)
def test_the_step_that_a_run_saved(state: dict, scores: dict, step: int | None) -> None:
    log = [{"step": number, "eval_pearsonr": r} for number, r in ((6, 0.6), (9, 0.5), (12, 0.4))]
    assert saved_step(state | {"log_history": log}, scores, "eval_pearsonr") == step


def test_a_sequence_or_id_that_spells_a_missing_value_is_one(folder: Path, tmp_path: Path) -> None:
    table = TABLE.assign(id=["NA", "null", *TABLE["id"][2:]])
    path = save(table, tmp_path / "p.tsv")
    assert main(["--predictions_file", path, "--baseline_file", path, "--output_dir", str(folder)])["n"] == 40


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ("p.tsv", "empty")),
        ("id\tprediction\tobserved\n", ("p.tsv", "no rows")),
        ("id\tscore\nr0\t1\n", ("p.tsv", "'prediction'", "id, score", "run_predict.py")),
        ("id\tprediction\nr0\t1\n", ("p.tsv", "'observed'", "id, prediction;", "--label_column")),
        ("id\tprediction_a\tobserved_b\nr0\t1\t1\n", ("p.tsv", "'observed_a'", "id, prediction_a, observed_b")),
        ("id\tprediction\tobserved\nr0\t1\t1\nr1\thigh\t1\n", ("p.tsv, line 3", "prediction", "'high'")),
        ("id\tprediction\tobserved\nr0\t1\t1\nr1\t1\tlow\n", ("p.tsv, line 3", "observed", "'low'")),
        ("id\tprediction\tobserved\nr0\t1\t1\nr1\t\t2\n", ("p.tsv, line 3", "prediction", "missing")),
        ("id\tprediction\tobserved\nr0\tinf\t1\n", ("p.tsv, line 2", "prediction", "inf")),
        ("id\tprediction\tobserved\nr0\t1\t\n", ("p.tsv", "observed", "1 rows", "--label_column")),
        ("id\tprediction\tobserved\nr0\t1\t1\t1\n", ("p.tsv, line 2", "4 columns", " 3 ", "row.names")),
        ("id\tprediction\tobserved\nr0\t1\t1\nr1\t1\t1\t1\n", ("p.tsv, line 3", "4 columns", " 3 ")),
        ("ACGT\t1.5\nACGA\t2.5\n", ("p.tsv", "'prediction'", "ACGT, 1.5", "--challenge_dir")),
    ],
)
def test_tables_that_are_no_predictions(
    text: str, parts: tuple[str, ...], folder: Path, tmp_path: Path, error_line: Callable[..., str]
) -> None:
    (tmp_path / "p.tsv").write_text(text)
    check_message(error_line(main, "--predictions_file", tmp_path / "p.tsv", "--output_dir", folder), *parts)
    assert not folder.exists()


def test_formats_and_missing_flags(
    predictions: str, folder: Path, tmp_path: Path, error_line: Callable[..., str]
) -> None:
    check_message(error_line(main, "--predictions_file", predictions), "--predictions_file", "--output_dir")
    broken = tmp_path / "broken.tsv.gz"
    broken.write_bytes(gzip.compress(b"id\tprediction\n" * 99)[:40])
    for name, *parts in (
        ("p.json", "--predictions_file p.json", ".tsv, .csv", ".parquet"),
        ("none.tsv", "--predictions_file none.tsv", "(No such file or directory)"),
        ("broken.tsv.gz", "broken.tsv.gz", "cannot be read"),
    ):
        check_message(error_line(main, "--predictions_file", tmp_path / name, "--output_dir", folder), *parts)
    assert not folder.exists()


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
    header, *rows, pearson, spearman, where = capsys.readouterr().out.splitlines()
    assert where == f"figures: {folder}"
    assert header.split() == ["subset", "weight", "n", "r", "rho"]
    assert len({len(line) for line in (header, *rows, pearson, spearman)}) == 1
    assert [row.split() for row in rows] == [
        [name, f"{score['weight']:.2f}", str(score["n"]), f"{score['r']:.3f}", f"{score['rho']:.3f}"]
        for name, score in metrics["subsets"].items()
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


def test_figures_of_the_subsets(tiny: TinyChallenge, submission: str, folder: Path, drawn: list[Drawn]) -> None:
    flags = ["--predictions_file", submission, "--output_dir", str(folder), "--challenge_dir", str(tiny.folder)]
    metrics = main(flags)
    for name, (x, y, options) in zip(metrics["subsets"], drawn, strict=True):
        assert len(x) == len(y) == metrics["subsets"][name]["n"]
        assert stats.pearsonr(x, y).statistic == pytest.approx(metrics["subsets"][name]["r"])
        assert options["is_difference"] == (name in PAIRS)
        assert (options["unit"], options["same_scale"]) == ("MAUDE score", False)
    assert len({figure.options["title"] for figure in drawn}) == 9
    main([*flags, "--overwrite_output_dir", "--unit", "log2"])
    assert drawn[-1].options["unit"] == "log2"


def test_constant_predictions_are_scored_with_a_warning(
    tiny: TinyChallenge, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--challenge_dir", str(tiny.folder), "--leaderboard", "public", "--overwrite_output_dir"]
    flags += ["--predictions_file", str(tmp_path / "p.json"), "--output_dir", str(folder)]
    (tmp_path / "p.json").write_text(json.dumps(tiny.submission() | {str(row): 11.3 for row in tiny.public["high"]}))
    metrics = main(flags)
    assert metrics["subsets"]["high"]["r"] == metrics["subsets"]["high"]["rho"] == 0
    (warning,) = [line for line in capsys.readouterr().out.splitlines() if "warning" in line]
    check_message(warning, " high:", "r = rho = 0")
    (tmp_path / "p.json").write_text(json.dumps(dict.fromkeys(tiny.submission(), 11.3)))
    metrics = main(flags)
    assert metrics["pearson_score"] == metrics["spearman_score"] == 0
    (warning,) = [line for line in capsys.readouterr().out.splitlines() if "warning" in line]
    check_message(warning, ", ".join(metrics["subsets"]))


def test_results_of_both_kinds_replace_each_other(
    tiny: TinyChallenge, submission: str, predictions: str, folder: Path
) -> None:
    folder.mkdir()
    (folder / "subset_mine.png").touch()
    official = ["--predictions_file", submission, "--output_dir", str(folder), "--challenge_dir", str(tiny.folder)]
    main(official)
    with fails(f"--output_dir {folder} ", ".png", "--overwrite_output_dir"):
        main(official)
    main(["--predictions_file", predictions, "--output_dir", str(folder), "--overwrite_output_dir"])
    files = sorted(file.name for file in folder.iterdir())
    assert files == ["metrics.json", "predicted_against_measured.png", "report.html", "subset_mine.png"]
    main([*official, "--overwrite_output_dir"])
    assert not (folder / "report.html").exists()


def test_flags_of_the_challenge(
    tiny: TinyChallenge, submission: str, predictions: str, folder: Path, error_line: Callable[..., str]
) -> None:
    inner = tiny.folder / "test_subset_ids"
    for path, more, *parts in (
        (submission, {"leaderboard": "public"}, "--leaderboard", "--challenge_dir"),
        (submission, {"leaderboard": "final", "challenge_dir": tiny.folder}, "--leaderboard", "'final'", "private"),
        (
            submission,
            {"baseline_file": predictions, "challenge_dir": tiny.folder},
            "--baseline_file",
            "--challenge_dir",
        ),
        (submission, {"challenge_dir": inner}, "--challenge_dir", "ground.json", "challenge"),
        (predictions, {"challenge_dir": tiny.folder}, "predictions.tsv", "40 rows", "300"),
    ):
        flags = [f"--{name}={value}" for name, value in more.items()]
        check_message(error_line(main, "--predictions_file", path, "--output_dir", folder, *flags), *parts)
    assert not folder.exists()


def test_a_command_that_fails_needs_no_torch_and_ends_in_one_line(predictions: str, folder: Path) -> None:
    """What is slow to import is imported with the first metric; `drawn` is not in this process."""
    folder.mkdir()
    (folder / "metrics.json").touch()
    command = [sys.executable, "-X", "importtime", "run_evaluate.py", f"--predictions_file={predictions}"]
    root = Path(__file__).resolve().parents[2]
    ended = subprocess.run([*command, f"--output_dir={folder}"], cwd=root, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = [line for line in ended.stderr.splitlines() if not line.startswith("import time:")]
    check_message(line, f"error: --output_dir {folder} ", "metrics.json", "--overwrite_output_dir")
    imported = {line.rsplit("|", 1)[-1].strip() for line in ended.stderr.splitlines()}
    assert "kmerbert.scoring.metrics" in imported
    assert not {"torch", "evaluate", "matplotlib.pyplot"} & imported

"""Metrics: against scipy and scikit-learn, values worked out by hand, and what has no value."""

import json
import multiprocessing
import multiprocessing.connection
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics
from scipy import stats

from kmerbert.scoring import metrics as metrics_module
from kmerbert.scoring.metrics import (
    FOLDER,
    METRIC_LABELS,
    REGRESSION_METRICS,
    is_lower_better,
    load_metrics,
    masked_lm_metrics,
    prediction_spread,
    regression_metrics,
    warn_if_collapsed,
)
from tests.support.messages import check_message, fails

ROOT = Path(__file__).resolve().parents[2]
RANDOM = np.random.default_rng(0)
LABELS = RANDOM.normal(11, 2.5, 200)
PREDICTIONS = 0.5 * LABELS + RANDOM.normal(5, 1, 200)


def test_values_worked_out_by_hand() -> None:
    result = regression_metrics([1, 2, 4], [1, 3, 3])
    # Residuals 0, 1, -1; around their means (both 7/3) the sums of squares are 14/3 and 8/3, of products 8/3.
    assert result["mse"] == pytest.approx(2 / 3)
    assert result["rmse"] == pytest.approx((2 / 3) ** 0.5)
    assert result["mae"] == pytest.approx(2 / 3)
    assert result["r2"] == pytest.approx(1 - 2 / (8 / 3))
    assert result["pearsonr"] == pytest.approx((8 / 3) / (14 / 3 * 8 / 3) ** 0.5)
    assert result["spearmanr"] == pytest.approx(1.5 / 3**0.5)  # ranks 1 2 3 against 1 2.5 2.5


def test_agrees_with_scipy_and_sklearn() -> None:
    result = regression_metrics(PREDICTIONS, LABELS)
    assert tuple(result) == REGRESSION_METRICS
    assert result["pearsonr"] == pytest.approx(stats.pearsonr(PREDICTIONS, LABELS).statistic, abs=1e-12)
    assert result["spearmanr"] == pytest.approx(stats.spearmanr(PREDICTIONS, LABELS).statistic, abs=1e-12)
    assert result["mse"] == pytest.approx(sklearn.metrics.mean_squared_error(LABELS, PREDICTIONS))
    assert result["mae"] == pytest.approx(sklearn.metrics.mean_absolute_error(LABELS, PREDICTIONS))
    assert result["r2"] == pytest.approx(sklearn.metrics.r2_score(LABELS, PREDICTIONS))
    assert all(type(value) is float for value in result.values())


def test_float32_input_is_summed_in_float64() -> None:
    labels = np.array([0, 1, 2, 3], dtype=np.float32) + np.float32(2**22)
    assert regression_metrics(labels, labels)["r2"] == 1.0
    assert regression_metrics(labels + np.float32(1), labels)["mse"] == 1.0


def test_several_outputs_are_single_outputs_and_their_mean() -> None:
    predictions = np.stack([PREDICTIONS, -PREDICTIONS, LABELS], axis=1)
    labels = np.stack([LABELS, LABELS, LABELS], axis=1)
    result = regression_metrics(predictions, labels, ["a", "b", "c"])
    for column, name in enumerate("abc"):
        alone = regression_metrics(predictions[:, column], LABELS)
        assert {metric: result[f"{metric}_{name}"] for metric in REGRESSION_METRICS} == pytest.approx(alone)
    for metric in REGRESSION_METRICS:
        assert result[metric] == pytest.approx(np.mean([result[f"{metric}_{name}"] for name in "abc"]))
    assert "pearsonr_2" in regression_metrics(predictions, labels)


def test_one_output_as_a_column_is_one_output() -> None:
    assert regression_metrics(PREDICTIONS[:, None], LABELS) == regression_metrics(PREDICTIONS, LABELS)
    assert regression_metrics(PREDICTIONS, LABELS, ["a"]) == regression_metrics(PREDICTIONS, LABELS)


def test_missing_labels_are_left_out_per_output() -> None:
    labels = np.stack([LABELS, LABELS], axis=1)
    labels[::3, 1] = np.nan
    known = ~np.isnan(labels[:, 1])
    result = regression_metrics(np.stack([PREDICTIONS, PREDICTIONS], axis=1), labels, ["all", "some"])
    assert result["pearsonr_all"] == pytest.approx(regression_metrics(PREDICTIONS, LABELS)["pearsonr"])
    assert result["mse_some"] == pytest.approx(regression_metrics(PREDICTIONS[known], LABELS[known])["mse"])


@pytest.mark.parametrize(
    ("predictions", "labels"),
    [([0.1] * 7, LABELS[:7]), (PREDICTIONS[:7], [3.0] * 7), ([1.0], [2.0]), ([1.0, 2.0], [np.nan, 2.0])],
    ids=["constant prediction", "constant labels", "one row", "one label"],
)
def test_no_correlation_is_zero_without_a_warning(predictions: list[float], labels: list[float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = regression_metrics(predictions, labels)
    assert result["pearsonr"] == result["spearmanr"] == 0.0
    assert np.isfinite(list(result.values())).all()


def test_r2_of_constant_labels_is_zero_and_of_bad_predictions_negative() -> None:
    assert regression_metrics([1.0, 2.0], [3.0, 3.0])["r2"] == 0.0
    assert regression_metrics([10.0, -10.0], [1.0, 2.0])["r2"] < 0


@pytest.mark.parametrize(
    ("predictions", "labels", "names", "parts"),
    [
        ([1.0, 2.0], [1.0], None, ("(2,)", "(1,)")),
        (np.ones((2, 2)), np.ones(2), None, ("(2, 2)", "(2,)")),
        (1.0, 1.0, None, ("()", "(n,)")),
        ([], [], None, ("(0,)", "no rows")),
        ([1, np.nan, np.inf], [1, 2, 3], None, ("2 of 3 rows", "row 1", "[nan]", "`learning_rate`")),
        ([1, 2], [1, np.inf], None, ("row 1", "infinite")),
        (np.ones((2, 2)), [[1, np.nan], [2, np.nan]], ["a", "b"], ("'b'", "2 rows")),
        (np.ones((2, 2)), np.ones((2, 2)), ["a"], ("2 outputs", "['a']")),
        (np.ones((2, 2)), np.ones((2, 2)), ["a", "a"], ("2 outputs", "['a', 'a']")),
    ],
)
def test_what_cannot_be_compared(
    predictions: list, labels: list, names: list[str] | None, parts: tuple[str, ...]
) -> None:
    with fails(*parts):
        regression_metrics(predictions, labels, names)


def test_many_rows_are_computed_piece_by_piece() -> None:
    labels, predictions = np.tile(LABELS, 700), np.tile(PREDICTIONS, 700)  # two pieces and a part of one
    assert regression_metrics(predictions, labels) == pytest.approx(regression_metrics(PREDICTIONS, LABELS), abs=1e-12)


def test_masked_lm_metrics_by_hand() -> None:
    counts = np.array([[3, 2, 3 * np.log(2), 4, 1], [1, 1, np.log(2), 0, 0]])
    expected = {"accuracy": 0.75, "perplexity": 2.0, "base_accuracy": 0.25, "hidden_bases": 4.0}
    assert masked_lm_metrics(counts) == pytest.approx(expected)
    assert masked_lm_metrics(counts.sum(axis=0)) == pytest.approx(expected)


def test_masked_lm_metrics_stay_finite() -> None:
    assert np.isfinite(list(masked_lm_metrics(np.zeros((2, 5))).values())).all()
    assert np.isfinite(masked_lm_metrics([[1, 0, 1e6, 0, 0]])["perplexity"])


@pytest.mark.parametrize("name", ["loss", "mse", "rmse", "mae", "perplexity"])
def test_which_metrics_are_better_if_lower(name: str) -> None:
    assert all(is_lower_better(metric) for metric in (name, f"eval_{name}", f"eval_{name}_leaf"))


@pytest.mark.parametrize("name", ["pearsonr", "spearmanr", "r2", "accuracy", "base_accuracy"])
def test_which_metrics_are_better_if_higher(name: str) -> None:
    assert not any(is_lower_better(metric) for metric in (name, f"eval_{name}", f"eval_{name}_mse"))


def test_every_metric_has_a_label() -> None:
    assert set(METRIC_LABELS) >= {*REGRESSION_METRICS, *metrics_module.MASKED_LM_METRICS}


def test_prediction_spread() -> None:
    labels = np.array([[0.0, 5.0, 1.0, np.nan], [2.0, 5.0, 2.0, np.nan], [np.nan, 5.0, 3.0, np.nan]])
    predictions = np.array([[1.0, 1.0, 4.0, 1.0], [2.0, 2.0, 4.0, 2.0], [99.0, 3.0, 4.0, 3.0]])
    # The third prediction is constant; of the second and the fourth label nothing can be said.
    np.testing.assert_allclose(prediction_spread(predictions, labels), [0.5, 1.0, 0.0, 1.0])


def test_outputs_that_collapsed_are_named(caplog: pytest.LogCaptureFixture) -> None:
    warn_if_collapsed(np.array([0.04, 0.06, 0.0]), ["a", "b", "c"])
    for message, name in zip(caplog.messages, "ac", strict=True):
        check_message(message, f"{name}:", "5 %", "`learning_rate`")
    caplog.clear()
    warn_if_collapsed(np.array([0.5]), ["a"])
    assert not caplog.records


# Modules that programs without a model use. `cli/launch.py` is not one of them: it starts the processes of torch.
LIGHT_MODULES = [
    *(f"kmerbert.cli.{name}" for name in ("flags", "interruption", "parser", "paths", "programs", "run")),
    "kmerbert.dna.sequences",
    *(
        f"kmerbert.scoring.{name}"
        for name in (
            "baselines",
            "comparison",
            "dream",
            "learning_curve",
            "metrics",
            "noise_ceiling",
            "verdict",
        )
    ),
    *(f"kmerbert.predicting.{name}" for name in ("table", "intervals")),
]
IMPORT_ALL = """
import importlib, sys

for name in sys.argv[1:]:
    importlib.import_module(name)
    if heavy := {"torch", "evaluate", "datasets"} & sys.modules.keys():
        sys.exit(f"{name} imports {heavy}")
"""


def test_programs_without_a_model_import_neither_torch_nor_evaluate() -> None:
    command = [sys.executable, "-c", IMPORT_ALL, *LIGHT_MODULES]
    assert subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True).stderr == ""


@pytest.mark.parametrize(("room", "heavy"), [("cli", {"launch"}), ("dna", set()), ("scoring", {"masked"})])
def test_a_new_module_is_light_or_known_to_be_heavy(room: str, heavy: set[str]) -> None:
    names = {path.stem for path in (ROOT / "kmerbert" / room).glob("*.py")} - {"__init__"}
    light = {name.split(".")[2] for name in LIGHT_MODULES if name.split(".")[1] == room}
    assert names == light | heavy


# Runs in a process that knows neither this project nor a cache, and cannot reach any network.
ELSEWHERE = """
import json, os, socket, sys

def connect(*_):
    raise AssertionError("tried to reach the network")

socket.socket.connect = socket.socket.connect_ex = socket.create_connection = socket.getaddrinfo = connect
import evaluate

folder, predictions, labels, counts = json.load(sys.stdin)
regression, masked_lm = (evaluate.load(folder, kind) for kind in ("regression", "masked_lm"))
assert isinstance(regression, evaluate.Metric) and isinstance(masked_lm, evaluate.Metric)
for rows in (slice(0, 50), slice(50, None)):
    regression.add_batch(predictions=predictions[rows], references=labels[rows])
for row in counts:
    masked_lm.add(predictions=row)
results = {"regression by batch": regression.compute(), "masked_lm by batch": masked_lm.compute()}
results["regression"] = regression.compute(predictions=predictions, references=labels)
results["default"] = evaluate.load(folder).compute(predictions=predictions, references=labels)
results["masked_lm"] = masked_lm.compute(predictions=counts)
two = [[value, -value] for value in predictions], [[value, value] for value in labels]
results["two outputs"] = regression.compute(predictions=two[0], references=two[1], names=["a", "b"])
pairs = evaluate.load(folder, "regression")
pairs.add_batch(predictions=two[0], references=two[1])
results["two outputs by batch"] = pairs.compute(names=["a", "b"])
try:
    evaluate.load(folder, "regresion")
except ValueError as error:
    results["unknown"] = str(error)
results["kmerbert"] = [name for name in sys.modules if name.startswith("kmerbert")]
print(json.dumps(results))
"""
COUNTS = [[3.0, 2.0, 1.5, 4.0, 1.0], [1.0, 1.0, 0.5, 0.0, 0.0]]


def test_evaluate_loads_the_metrics_offline_from_anywhere(tmp_path: Path) -> None:
    elsewhere, home = tmp_path / "elsewhere", tmp_path / "home"
    elsewhere.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHONPATH"))}
    ended = subprocess.run(
        [sys.executable, "-c", ELSEWHERE],
        cwd=elsewhere,
        env=environment | {"HF_HOME": str(home)},
        input=json.dumps([str(FOLDER), PREDICTIONS.tolist(), LABELS.tolist(), COUNTS]),
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    results = json.loads(ended.stdout.splitlines()[-1])
    expected = regression_metrics(PREDICTIONS, LABELS)
    assert results["regression"] == results["regression by batch"] == results["default"] == expected
    assert results["masked_lm"] == results["masked_lm by batch"] == masked_lm_metrics(COUNTS)
    two = np.stack([PREDICTIONS, -PREDICTIONS], axis=1), np.stack([LABELS, LABELS], axis=1)
    assert results["two outputs"] == results["two outputs by batch"] == regression_metrics(*two, names=["a", "b"])
    check_message(results["unknown"], "'regresion'", "regression", "masked_lm")
    assert results["kmerbert"] == []
    assert not list(elsewhere.iterdir())


def test_an_unknown_kind_of_metrics() -> None:
    with fails("'accuracy'", "regression", "masked_lm"):
        load_metrics("accuracy")


def share(cache: str, process: int, connection: multiprocessing.connection.Connection) -> None:
    """Computes the metrics of two processes' rows, as one of them."""
    import evaluate

    options = {"num_process": 2, "process_id": process, "experiment_id": "share", "cache_dir": cache}
    metric = evaluate.load(str(FOLDER), "regression", **options)
    connection.send(metric.compute(predictions=PREDICTIONS[process::2], references=LABELS[process::2]))


def test_two_processes_give_the_result_of_one(tmp_path: Path) -> None:
    expected = regression_metrics(PREDICTIONS, LABELS)  # loaded before the processes part, so that each starts at once
    context = multiprocessing.get_context("fork")
    pipes = [context.Pipe(duplex=False) for _ in range(2)]
    processes = [
        context.Process(target=share, args=(str(tmp_path), process, pipes[process][1])) for process in range(2)
    ]
    for process in processes:
        process.start()
    first, second = (receive.recv() if receive.poll(60) else "no answer" for receive, _ in pipes)
    for process in processes:
        process.join(60)
    assert first == pytest.approx(expected, abs=1e-12)
    assert second is None


@pytest.mark.parametrize(
    ("predictions", "references"), [([1e-200, 3e-200, 2e-200], [1, 2, 3]), ([1, 2, 3], [1e-170, 2e-170, 4e-170])]
)
def test_values_too_small_to_be_squared(predictions: list[float], references: list[float]) -> None:
    with fails(f"{min(*predictions, *references):g}", "multiply"):
        regression_metrics(predictions, references)
    assert regression_metrics([1e-100, 3e-100, 2e-100], [1e-90, 2e-90, 3e-90])["pearsonr"] == pytest.approx(0.5)

"""Metrics: against scipy and scikit-learn, values worked out by hand, and what has no value."""

import multiprocessing
import pickle
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics
from scipy import stats

from kmerbert.predicting.table import match_rows
from kmerbert.scoring.metrics import REGRESSION_METRICS, prediction_spread, regression_metrics

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
    ("predictions", "labels", "names", "message"),
    [
        ([1.0, 2.0], [1.0], None, r"predictions \(2,\), labels \(1,\)"),
        (np.ones((2, 2)), np.ones(2), None, r"predictions \(2, 2\), labels \(2,\)"),
        (1.0, 1.0, None, r"must be \(n,\)"),
        ([], [], None, "no rows"),
        ([1, np.nan, np.inf], [1, 2, 3], None, "2 of 3 rows .* first row 1 .*nan.*learning_rate"),
        ([1, 2], [1, np.inf], None, "label of row 1 .* infinite"),
        (np.ones((2, 2)), [[1, np.nan], [2, np.nan]], ["a", "b"], "'b' has no measured value in 2 rows"),
        (np.ones((2, 2)), np.ones((2, 2)), ["a"], "2 outputs, but the names"),
        (np.ones((2, 2)), np.ones((2, 2)), ["a", "a"], "none twice"),
    ],
)
def test_refusals(predictions: list, labels: list, names: list[str] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        regression_metrics(predictions, labels, names)


def test_prediction_spread() -> None:
    labels = np.array([[0.0, 5.0], [2.0, 5.0], [np.nan, 5.0]])
    predictions = np.array([[1.0, 1.0], [2.0, 2.0], [99.0, 3.0]])
    np.testing.assert_allclose(prediction_spread(predictions, labels), [0.5, 1.0])
    np.testing.assert_allclose(prediction_spread([4.0, 4.0], [1.0, 2.0]), [0.0])
    with pytest.raises(ValueError, match="NaN or infinite"):
        prediction_spread([np.nan, 1.0], [1.0, 2.0])


def test_match_rows() -> None:
    np.testing.assert_array_equal(match_rows(["b", "a", "c"], ["a", "b", "c"]), [1, 0, 2])
    np.testing.assert_array_equal(match_rows(["a", "a", "b"], ["a", "a", "b"]), [0, 1, 2])
    with pytest.raises(ValueError, match="2 rows against 3; 'c' is in one of the two only"):
        match_rows(["a", "b"], ["a", "b", "c"])
    with pytest.raises(ValueError, match="another order, and 'a' is not unique"):
        match_rows(["a", "a", "b"], ["b", "a", "a"])
    with pytest.raises(ValueError, match="another order, and 'b' is not unique"):
        match_rows(["a", "b", "b"], ["a", "b"])


def test_the_functions_need_no_torch() -> None:
    code = "import sys, kmerbert.scoring.metrics; sys.exit('torch' in sys.modules or 'evaluate' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[2])


def _share(folder: str, process: int, connection: multiprocessing.connection.Connection) -> None:
    """Computes the metrics of two processes' rows, as one of them."""
    from kmerbert.scoring.metrics import RegressionMetrics

    metric = RegressionMetrics(num_process=2, process_id=process, experiment_id="share", cache_dir=folder)
    connection.send(metric.compute(predictions=PREDICTIONS[process::2], references=LABELS[process::2]))


class TestRegressionMetrics:
    """The class for `evaluate`; the first test that asks for it waits for the import of torch."""

    @pytest.fixture(autouse=True)
    def offline(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> None:
            raise AssertionError("tried to reach the network")

        monkeypatch.setattr(socket.socket, "connect", refuse)

    def test_agrees_with_the_function(self, tmp_path: Path) -> None:
        import evaluate

        from kmerbert.scoring.metrics import RegressionMetrics

        metric = RegressionMetrics(cache_dir=str(tmp_path))
        assert isinstance(metric, evaluate.Metric)
        assert pickle.loads(pickle.dumps(RegressionMetrics)) is RegressionMetrics
        expected = regression_metrics(PREDICTIONS, LABELS)
        assert metric.compute(predictions=PREDICTIONS, references=LABELS) == expected
        for rows in (slice(0, 50), slice(50, None)):
            metric.add_batch(predictions=PREDICTIONS[rows].tolist(), references=LABELS[rows].tolist())
        assert metric.compute() == expected
        assert not [file for file in tmp_path.rglob("*") if file.is_file()]

    def test_several_outputs_and_missing_labels(self, tmp_path: Path) -> None:
        from kmerbert.scoring.metrics import RegressionMetrics

        predictions, labels = np.stack([PREDICTIONS, LABELS], axis=1), np.stack([LABELS, PREDICTIONS], axis=1)
        labels[3, 0] = np.nan
        found = RegressionMetrics(cache_dir=str(tmp_path)).compute(
            predictions=predictions, references=labels, names=["a", "b"]
        )
        assert found == regression_metrics(predictions, labels, ["a", "b"])

    def test_two_processes_give_the_result_of_one(self, tmp_path: Path) -> None:
        from kmerbert.scoring.metrics import RegressionMetrics

        assert RegressionMetrics  # imported before the processes part, so that each starts at once
        context = multiprocessing.get_context("fork")
        pipes = [context.Pipe(duplex=False) for _ in range(2)]
        processes = [
            context.Process(target=_share, args=(str(tmp_path), process, pipes[process][1])) for process in range(2)
        ]
        for process in processes:
            process.start()
        first, second = (receive.recv() if receive.poll(60) else "no answer" for receive, _ in pipes)
        for process in processes:
            process.join(60)
        assert first == pytest.approx(regression_metrics(PREDICTIONS, LABELS), abs=1e-12)
        assert second is None

    def test_an_unknown_name_is_an_attribute_error(self) -> None:
        import kmerbert.scoring.metrics

        with pytest.raises(AttributeError, match="no attribute 'RegresionMetrics'"):
            _ = kmerbert.scoring.metrics.RegresionMetrics

"""Prediction intervals: widths by hand, the share that they hold, groups of similar prediction, and errors."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kmerbert.predicting.intervals import Intervals, interval_metrics, read_intervals, with_intervals
from tests.support.messages import fails


def column(*values: float) -> np.ndarray:
    """One output."""
    return np.array(values, dtype=np.float64)[:, None]


def drawn(random: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Predictions from 0 to 1 with measured values whose noise has a standard deviation of 1 + 9 times the prediction."""
    x = random.random((n, 1))
    return x, x + random.normal(0, 1 + 9 * x)


def calibrate(x: np.ndarray, y: np.ndarray, coverage: float = 0.9) -> Intervals:
    """Intervals of one output."""
    return Intervals.calibrate(x, y, coverage, ["strength"])


@pytest.mark.parametrize(
    ("coverage", "expected"),
    # rank ceil(20 * coverage) of the errors 1, 2, ... 19; 0.55 * 20 is above 11 in floating point
    [(0.05, 1), (0.5, 10), (0.55, 11), (0.9, 18), (0.901, 19), (0.95, 19)],
)
def test_half_the_width_is_the_error_of_a_rank(coverage: float, expected: float) -> None:
    errors = np.random.default_rng(0).permutation(np.arange(1.0, 20))
    signs = np.where(np.arange(19) % 2, 1, -1)
    intervals = calibrate(column(*range(19)), column(*range(19)) + (signs * errors)[:, None], coverage)
    lower, upper = intervals.around(column(100.0, -7.5))
    np.testing.assert_array_equal(lower, column(100 - expected, -7.5 - expected))
    np.testing.assert_array_equal(upper, column(100 + expected, -7.5 + expected))


@pytest.mark.parametrize("n", [9, 40, 500])
def test_new_values_lie_inside_as_often_as_promised(n: int) -> None:
    random = np.random.default_rng(n)
    shares = []
    for _ in range(400):
        lower, upper = calibrate(*drawn(random, n)).around((new := drawn(random, 500))[0])
        shares.append(np.mean((lower <= new[1]) & (new[1] <= upper)))
    # At least 0.9, and at most 1 / (rows + 1) of a group more; the mean of 400 has a standard error of 0.005 at n = 9.
    assert 0.9 - 0.012 <= np.mean(shares) <= 0.9 + 0.012


def test_intervals_are_wide_where_errors_are() -> None:
    random = np.random.default_rng(3)
    intervals = calibrate(*drawn(random, 5000))
    new = drawn(random, 50_000)
    lower, upper = intervals.around(new[0])
    inside = (lower <= new[1]) & (new[1] <= upper)
    for low in (0.0, 0.2, 0.4, 0.6, 0.8):
        fifth = (new[0] >= low) & (new[0] < low + 0.2)
        assert inside[fifth].mean() == pytest.approx(0.9, abs=0.025)
        middle = 1.645 * (1 + 9 * (low + 0.1))  # 90 % of a normal distribution
        assert np.median((upper - lower)[fifth]) / 2 == pytest.approx(middle, rel=0.12)


@pytest.mark.parametrize(
    ("n", "coverage", "groups"),
    [(199, 0.9, 1), (200, 0.9, 2), (399, 0.9, 3), (499, 0.9, 4), (500, 0.9, 5), (9000, 0.9, 5), (500, 0.995, 2)],
)
def test_number_of_groups(n: int, coverage: float, groups: int) -> None:
    x = np.random.default_rng(0).permutation(np.arange(float(n)))[:, None]
    intervals = calibrate(x, x + 1, coverage)
    assert [len(widths) for widths in intervals.half_widths] == [groups]
    sizes = np.bincount(intervals.edges[0].searchsorted(x[:, 0], "right"))
    assert sizes.max() - sizes.min() <= 1


def test_equal_predictions_stay_in_one_group() -> None:
    x = np.repeat([1.0, 2.0], [800, 200])[:, None]
    errors = np.where(x == 1, 1.0, 5.0)
    intervals = calibrate(x, x + errors)
    assert [len(widths) for widths in intervals.half_widths] == [1]  # no two groups without an empty one
    whole = calibrate(np.ones((1000, 1)), np.ones((1000, 1)) + errors)
    np.testing.assert_array_equal(whole.around(column(1.0))[1], column(6.0))
    halves = calibrate(x[300:], (x + errors)[300:])
    assert [len(widths) for widths in halves.half_widths] == [1]


def test_outputs_are_calibrated_on_the_rows_that_they_have() -> None:
    x = np.zeros((30, 2))
    y = np.column_stack([np.arange(1.0, 31), np.arange(10.0, 310, 10)])
    y[9:, 1] = np.nan
    lower, upper = Intervals.calibrate(x, y, 0.9, ["leaf", "root"]).around(np.zeros((1, 2)))
    np.testing.assert_array_equal(upper, [[28, 90]])  # ranks ceil(31 * 0.9) and ceil(10 * 0.9)
    np.testing.assert_array_equal(lower, -upper)
    y[8:, 1] = np.nan
    with fails("`interval_coverage` 0.9", "9 rows", "root", "`calibration_file`", "8"):
        Intervals.calibrate(x, y, 0.9, ["leaf", "root"])


@pytest.mark.parametrize(("coverage", "needed"), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99), (0.999, 999)])
def test_rows_that_a_coverage_needs(coverage: float, needed: int) -> None:
    x = np.zeros((needed, 1))
    assert calibrate(x, x + 1, coverage).around(x)[1].max() == 1
    with fails(f"`interval_coverage` {coverage}", f"{needed} rows", "strength"):
        calibrate(x[1:], x[1:], coverage)


@pytest.mark.parametrize("coverage", [0, 1, -0.5, 90, float("nan")])
def test_coverages_that_are_not_shares(coverage: float) -> None:
    with fails(f"`interval_coverage` {coverage:g}", "above 0", "below 1"):
        calibrate(column(1.0), column(1.0), coverage)


def test_metrics_count_the_ends_and_leave_missing_values_out() -> None:
    y = np.array([[1.0, 5.0], [2.0, np.nan], [3.0, 7.0], [4.1, np.nan]])
    lower = np.array([[1.0, 5.1], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    upper = np.array([[3.0, 9.1], [3.0, 0.0], [3.0, 8.0], [4.0, 0.0]])
    assert interval_metrics(lower, upper, y, ["a", "b"]) == pytest.approx(
        {
            "coverage": 0.625,
            "interval_width": 4.125,
            "coverage_a": 0.75,
            "interval_width_a": 2.25,
            "coverage_b": 0.5,
            "interval_width_b": 6.0,
        }
    )
    assert interval_metrics(lower[:, :1], upper[:, :1], y[:, :1], ["a"]) == {"coverage": 0.75, "interval_width": 2.25}


def test_intervals_of_a_predictions_file(table: Callable[..., Path]) -> None:
    measured = [str(value) for value in range(1, 20)] + [""]  # errors 1 to 19; the last row has no measured value
    path = table("p.tsv", id=range(20), prediction=[0.0] * 20, observed=measured)
    for coverage, half_width in ((None, 18), (0.5, 10)):  # ranks ceil(20 * coverage)
        lower, upper = read_intervals(str(path), coverage, ["strength"]).around(column(5.0))
        np.testing.assert_array_equal((lower, upper), (column(5.0 - half_width), column(5.0 + half_width)))
    names = ["leaf", "root"]
    with fails(str(path), "prediction_leaf"):
        read_intervals(str(path), None, names)
    columns = {
        f"{kind}_{name}": [number] * 9 for kind, number in (("prediction", 1), ("observed", 3)) for name in names
    }
    lower, _ = read_intervals(str(table("two.csv", **columns)), None, names).around(np.array([[0.0, 1.0]]))
    np.testing.assert_array_equal(lower, [[-2.0, -1.0]])
    with fails(str(path.with_name("absent.tsv")), "`calibration_file`"):
        read_intervals(str(path.with_name("absent.tsv")), None, ["strength"])


def test_intervals_of_a_table_are_those_of_its_calibration_rows() -> None:
    outputs = ["a", "b"]
    old = pd.DataFrame({f"{kind}_{name}": np.zeros(19) for kind in ("prediction", "observed") for name in outputs})
    old["observed_a"], old["observed_b"] = np.arange(1.0, 20), np.where(np.arange(19) < 9, 5.0, np.nan)
    new = pd.DataFrame({"prediction_a": [1.0], "prediction_b": [100.0]})
    found = with_intervals(new, old, outputs)
    assert found[["lower_a", "upper_a", "lower_b", "upper_b"]].to_numpy().tolist() == [[-17, 19, 95, 105]]
    assert with_intervals(new, old[:8], outputs) is new

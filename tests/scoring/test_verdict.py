"""The verdict: intervals against published numbers and simulation, and what the lines say."""

import numpy as np
import pytest
from scipy.stats import pearsonr

from kmerbert.scoring.verdict import correlations, difference_interval, r_interval, score, verdict
from tests.support.messages import check_message


def test_intervals_are_those_of_the_literature() -> None:
    # The example of Zou 2007 for correlations with a variable in common.
    low, high = difference_interval(0.396, 0.179, 0.088, 66)
    assert (round(low, 3), round(high, 3)) == (-0.093, 0.517)
    x, y = np.random.default_rng(0).normal(size=(2, 50))
    expected = pearsonr(x, y).confidence_interval(0.95)
    assert r_interval(pearsonr(x, y).statistic, 50) == pytest.approx((expected.low, expected.high))
    assert r_interval(0.9, 3) == (-1, 1)
    assert r_interval(1.0, 30) == (1, 1)


def test_r_of_several_models_and_outputs() -> None:
    own, other = {"pearsonr": 0.7, "pearsonr_a": 0.9, "pearsonr_b": 0.5}, {"pearsonr_a": 0.2, "pearsonr_b": 0.0}
    found = correlations({"own": own, "other": other, "third": {}}, ["a", "b"], [30, 50])
    assert found == {
        "a": {"own": (0.9, *r_interval(0.9, 30)), "other": (0.2, *r_interval(0.2, 30))},
        "b": {"own": (0.5, *r_interval(0.5, 50))},
    }
    assert correlations({"mean": {"pearsonr": 0.0}}, ["a"], [30]) == {}


def test_the_difference_is_covered_in_19_of_20_samples() -> None:
    random, n_samples, covered = np.random.default_rng(1), 400, 0
    truth = 1 / np.sqrt(1.5) - 1 / np.sqrt(2)  # r of a value with noise of variance 1/2, and of variance 1
    for _ in range(n_samples):
        y, a, b = random.normal(size=(3, 80))
        first, second = y + a * np.sqrt(0.5), y + b
        r = np.corrcoef([y, first, second])
        low, high = difference_interval(r[0, 1], r[0, 2], r[1, 2], 80)
        covered += low <= truth <= high
    assert 0.92 < covered / n_samples < 0.98


def test_the_top_tenth_by_hand() -> None:
    measured = np.arange(20.0)
    predicted = measured.copy()
    predicted[[19, 3]] = predicted[[3, 19]]  # of the two highest, one is missed
    result = score(np.append(predicted, 99.0), np.append(measured, np.nan))  # the last row is not measured
    assert (result.n, result.n_top, result.n_both) == (20, 2, 1)


def sentences(noise: float, ridge_noise: float, n: int = 300) -> list[str]:
    random = np.random.default_rng(0)
    y = random.normal(size=(n, 1))
    predicted = {
        "model": y + noise * random.normal(size=y.shape),
        "ridge": y + ridge_noise * random.normal(size=y.shape),
    }
    return verdict(predicted, y, ["expression"], "test rows", "no model can beat r = 0.98")


@pytest.mark.parametrize(
    ("noise", "ridge_noise", "judged", "use"),
    [
        (0.2, 0.6, "better", "values"),
        (0.9, 0.9, "no clear difference", "ranking"),
        (2.5, 0.5, "WORSE", "enriching"),
        (100, 100, "no clear difference", "chance"),
    ],
)
def test_what_is_said(noise: float, ridge_noise: float, judged: str, use: str) -> None:
    model, ridge, ceiling, usage = sentences(noise, ridge_noise)
    check_message(model, "r 0." if noise < 100 else "r ", "300 test rows")
    check_message(ridge, "ridge", judged)
    check_message(ceiling, "0.98")
    check_message(usage, use, "of the 30 predicted highest", "; error (RMSE) ")
    assert ridge.endswith("; more rows would tell") == (judged == "no clear difference")


def test_few_rows_are_no_verdict() -> None:
    (line,) = sentences(0.5, 0.5, n=9)
    check_message(line, "9 test rows")


def test_several_outputs_with_missing_values() -> None:
    random = np.random.default_rng(0)
    measured = random.normal(size=(60, 5))
    measured[:40, 1] = np.nan
    complete = random.normal(size=(60, 5))
    measured = np.where(np.isnan(measured), np.nan, complete)
    lines = verdict({"model": complete + 0.5 * random.normal(size=(60, 5))}, measured, list("abcde"), "rows")
    check_message(lines[0], "a: r 0.", "c: r 0.", "2 more outputs")
    assert len(lines) == 3  # without a baseline

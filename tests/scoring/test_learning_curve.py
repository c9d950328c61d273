"""Learning curves: known laws are found again, forecasts hold, and what is said of them."""

import numpy as np
import pytest

from kmerbert.scoring.learning_curve import Expected, LearningCurve, PowerLaw, describe, fit_power_law
from tests.support.messages import fails

SIZES = np.array([500, 1000, 2000, 4000])


def law(n_rows: np.ndarray, limit: float = 0.95, loss: float = 0.3, rate: float = 0.5) -> np.ndarray:
    return limit - loss * (n_rows / 500) ** -rate


def test_a_law_is_found_again() -> None:
    for limit, loss, rate in ((0.95, 0.3, 0.5), (0.8, 0.2, 0.25), (1.0, 0.4, 1.0)):
        curve = fit_power_law(SIZES, law(SIZES, limit, loss, rate))
        assert curve.rate == pytest.approx(rate)
        assert curve.limit == pytest.approx(limit)
        assert curve.at(8000) == pytest.approx(law(8000, limit, loss, rate), abs=1e-9)
    assert PowerLaw(0.9, 0.4, 0.5, 100.0).at(400) == pytest.approx(0.7)


def test_a_curve_neither_falls_nor_exceeds_1() -> None:
    falling = fit_power_law(SIZES, np.array([0.8, 0.7, 0.6, 0.5]))
    assert falling.loss == 0
    # 500, 1000, 2000 and 4000 rows weigh 1, 2, 4 and 8.
    assert falling.limit == pytest.approx((0.8 + 2 * 0.7 + 4 * 0.6 + 8 * 0.5) / 15)
    steep = fit_power_law(SIZES, np.array([0.2, 0.5, 0.8, 1.0]))
    assert steep.limit <= 1
    assert steep.at(1e9) <= 1


def test_intervals_hold_the_truth() -> None:
    """Of 12 forecasts of twice as many rows, 95 % intervals hold nearly all."""
    random, held = np.random.default_rng(0), 0
    n_rows = np.repeat(SIZES[:, None], 3, axis=1)
    for repeat in range(12):
        r = law(n_rows, 0.8, 0.3, 0.8) + random.normal(0, 0.008, n_rows.shape) * (n_rows / 4000) ** -0.5
        expected = LearningCurve.fit(n_rows, r, seed=repeat).expect(8000)
        assert expected.low <= expected.r <= expected.high
        held += expected.low <= law(8000, 0.8, 0.3, 0.8) <= expected.high
    assert held >= 10


def test_one_seed_and_too_few_sizes() -> None:
    curve = LearningCurve.fit(SIZES[:, None], law(SIZES)[:, None])
    assert curve.expect(8000).r == pytest.approx(law(8000))
    three = LearningCurve.fit(SIZES[1:, None], law(SIZES)[1:, None]).expect(8000)
    assert np.isnan([three.low, three.high]).all()
    assert "seeds or fractions" in str(three)
    with fails("`fractions`", "2 sizes", "3"):
        LearningCurve.fit(SIZES[:2, None], law(SIZES[:2])[:, None])


def test_what_is_said() -> None:
    n_rows = np.repeat(SIZES[:, None], 2, axis=1)
    r = law(n_rows) + np.array([0.001, -0.001])
    lines = describe(n_rows, r, r - 0.1, [2000], "test")
    assert str(Expected(0.8125, 0.8, 0.834)) == "r 0.81 (0.80 to 0.83)"
    assert (
        lines[0]
        == "with all 4,000 training rows: r 0.844 of the test rows, SD 0.001 between 2 seeds; ridge regression 0.744"
    )
    assert lines[1].startswith(f"with 2,000 more rows expect r {law(6000):.2f} (")
    assert lines[2].startswith("check: from 2,000 rows and fewer, the curve expected r 0.84 (")
    assert lines[2].endswith("of all 4,000; measured: 0.84")
    assert len(describe(n_rows[1:], r[1:], r[1:], [1, 2], "test")) == 3

"""The noise ceiling: by hand, against simulated measurements without noise, and what is refused."""

import numpy as np
import pytest

from kmerbert.scoring.noise_ceiling import noise_ceiling

NAMES = ["one", "two", "three", "four"]


def test_two_replicates_by_hand() -> None:
    # Deviations -1 0 1 and -1 1 0: r = 1 / 2; reliability of the mean 2 * 0.5 / 1.5.
    found = noise_ceiling(np.array([[0.0, 10.0], [1.0, 12.0], [2.0, 11.0], [np.nan, 50.0]]), ["a", "b"])
    assert found == pytest.approx((2, 3, 0.5, 2 / 3, (2 / 3) ** 0.5))
    assert found.line() == (
        "no model can beat r = 0.816 on the mean of these 2 replicates (their mean r is 0.500 in 3 rows)"
    )


def test_three_replicates_use_the_mean_of_all_pairs() -> None:
    columns = np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 1.0], [2.0, 1.0, 2.0]])
    found = noise_ceiling(columns, NAMES[:3])
    assert found.replicate_pearsonr == pytest.approx((0.5 + 1 + 0.5) / 3)
    assert found.reliability == pytest.approx(3 * (2 / 3) / (1 + 2 * (2 / 3)))


@pytest.mark.parametrize("n_replicates", [2, 3, 4])
def test_the_value_without_noise_reaches_the_ceiling(n_replicates: int) -> None:
    random = np.random.default_rng(n_replicates)
    truth = random.normal(11, 2.5, 40_000)
    replicates = truth[:, None] + random.normal(0, 3, (40_000, n_replicates))
    found = noise_ceiling(replicates, NAMES[:n_replicates])
    assert np.corrcoef(truth, replicates.mean(axis=1))[0, 1] == pytest.approx(found.noise_ceiling, abs=0.01)
    assert found.reliability == pytest.approx(2.5**2 / (2.5**2 + 9 / n_replicates), abs=0.02)


def test_perfect_and_unrelated_replicates() -> None:
    rows = np.arange(4.0)
    assert noise_ceiling(np.column_stack([rows, 3 * rows - 1]), NAMES[:2]).noise_ceiling == pytest.approx(1)
    unrelated = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    assert noise_ceiling(unrelated, NAMES[:2])[2:] == (0, 0, 0)


@pytest.mark.parametrize(
    ("replicates", "names", "message"),
    [
        ([[1.0], [2.0], [3.0]], ["a"], "a: give two columns or more, each once"),
        ([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]], ["a", "a"], "a,a: give two columns or more, each once"),
        ([[1.0, 1.0], [2.0, 2.0], [3.0, np.nan]], ["a", "b"], "a,b: 2 of 3 rows have all replicates, but needed are 3: "),
        ([[1.0, 4.0], [2.0, 4.0], [3.0, 4.0]], ["a", "b"], "a,b: b is 4 in all 3 rows: leave that column out"),
        ([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]], ["a", "b"], "a,b: their mean correlation is -1.000: name replicates"),
    ],
)  # fmt: skip
def test_refusals(replicates: list[list[float]], names: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=f"^--replicate_columns {message}"):
        noise_ceiling(np.array(replicates), names)

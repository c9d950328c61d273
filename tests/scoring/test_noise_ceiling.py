"""The noise ceiling: by hand, against simulated measurements without noise, and replicates without one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kmerbert.scoring.noise_ceiling import noise_ceiling, read_replicates
from tests.support.messages import check_message, fails

NAMES = ["one", "two", "three", "four"]


def test_two_replicates_by_hand() -> None:
    # Deviations -1 0 1 and -1 1 0: r = 1 / 2; reliability of the mean 2 * 0.5 / 1.5.
    ceiling = noise_ceiling(np.array([[0.0, 10.0], [1.0, 12.0], [2.0, 11.0], [np.nan, 50.0]]), ["a", "b"])
    assert ceiling == pytest.approx((2, 3, 0.5, 2 / 3, (2 / 3) ** 0.5))
    check_message(ceiling.line(), "0.816", "2 replicates", "0.500", "3 rows")


def test_three_replicates_use_the_mean_of_all_pairs() -> None:
    columns = np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 1.0], [2.0, 1.0, 2.0]])
    ceiling = noise_ceiling(columns, NAMES[:3])
    assert ceiling.replicate_pearsonr == pytest.approx((0.5 + 1 + 0.5) / 3)
    assert ceiling.reliability == pytest.approx(3 * (2 / 3) / (1 + 2 * (2 / 3)))


@pytest.mark.parametrize("n_replicates", [2, 3, 4])
def test_the_value_without_noise_reaches_the_ceiling(n_replicates: int) -> None:
    random = np.random.default_rng(n_replicates)
    truth = random.normal(11, 2.5, 40_000)
    replicates = truth[:, None] + random.normal(0, 3, (40_000, n_replicates))
    ceiling = noise_ceiling(replicates, NAMES[:n_replicates])
    assert np.corrcoef(truth, replicates.mean(axis=1))[0, 1] == pytest.approx(ceiling.noise_ceiling, abs=0.01)
    assert ceiling.reliability == pytest.approx(2.5**2 / (2.5**2 + 9 / n_replicates), abs=0.02)


def test_perfect_and_unrelated_replicates() -> None:
    rows = np.arange(4.0)
    assert noise_ceiling(np.column_stack([rows, 3 * rows - 1]), NAMES[:2]).noise_ceiling == pytest.approx(1)
    unrelated = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    assert noise_ceiling(unrelated, NAMES[:2])[2:] == (0, 0, 0)


@pytest.mark.parametrize(
    ("replicates", "names", "parts"),
    [
        ([[1.0], [2.0], [3.0]], ["a"], ("two",)),
        ([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]], ["a", "a"], ("once",)),
        ([[1.0, 1.0], [2.0, 2.0], [3.0, np.nan]], ["a", "b"], ("2 of 3 rows", "at least 3")),
        ([[1.0, 4.0], [2.0, 4.0], [3.0, 4.0]], ["a", "b"], ("b is 4", "3 rows")),
        ([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]], ["a", "b"], ("-1.000",)),
        ([[row, row % 3, row] for row in range(10)], ["a", "b", "c"], ("a and c", "10 rows")),  # a copy
    ],
)
def test_replicates_without_a_ceiling(replicates: list[list[float]], names: list[str], parts: tuple[str, ...]) -> None:
    with fails(f"`replicate_columns` {','.join(names)}", *parts):
        noise_ceiling(np.array(replicates), names)


def test_columns_of_a_table(table: Callable[..., Path]) -> None:
    path = table("r.csv", a=["1.5", "NA"], name=["x", "y"], b=["2", "-3e1"])
    np.testing.assert_array_equal(read_replicates(str(path), ["b", "a"]), [[2.0, 1.5], [-30.0, np.nan]])
    with fails(path, "'c'", "a, name, b", "`replicate_columns`"):
        read_replicates(str(path), ["a", "c"])
    with fails(f"{path}, line 2", "name", "'x'"):
        read_replicates(str(path), ["name"])
    with fails("`replicate_file`", path.with_name("absent.csv")):
        read_replicates(str(path.with_name("absent.csv")), ["a"])


def test_ids_of_replicates_name_the_predicted_sequences(
    table: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    path = str(table("r.tsv", id=["p", "q", "r"], sequence=["AAAC", "cccc", "GGGG"], a=[1, 2, 3], b=[1, 2, 4]))
    same = pd.DataFrame({"id": ["q", "p", "x"], "sequence": ["CCCC", "AAAC", "TTTT"]})
    assert len(read_replicates(path, ["a", "b"], same)) == 3
    for other in (same[["id"]], same.assign(id="p"), same.assign(sequence=["cccc", "AAAC", "TTTT"])):
        read_replicates(path, ["a", "b"], other)
    assert not caplog.messages
    read_replicates(path, ["a", "b"], same.assign(id=["5", "6", "7"]))
    check_message(caplog.messages[0], "`replicate_file`", path, "'5'")
    with fails("`replicate_file`", path, "'q'", "'CCCC'", "'CCCT'", "1 of 2"):
        read_replicates(path, ["a", "b"], same.assign(sequence=["CCCT", "AAAC", "TTTT"]))

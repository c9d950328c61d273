"""Division of rows: sizes, what stays together, and the rows with the highest values."""

import doctest

import numpy as np
import pytest

from kmerbert.reading.rows import SPLIT_NAMES
from kmerbert.splitting import hold_out as module
from kmerbert.splitting.hold_out import SPLITS, draw_folds, draw_share, hold_out, top_rows
from tests.support.messages import fails


def counts(split: np.ndarray) -> list[int]:
    """Rows that train, validate and test."""
    return np.bincount(split, minlength=3).tolist()


def test_single_rows_give_exact_numbers() -> None:
    split = hold_out(np.arange(100), 13, 29, seed=1, exact=("validation", "test"))
    assert counts(split) == [58, 13, 29]
    assert split.dtype == np.int8


def test_same_seed_same_rows_other_seed_other_rows() -> None:
    first = hold_out(np.arange(100), 20, 0, seed=1)
    assert (first == hold_out(np.arange(100), 20, 0, seed=1)).all()
    assert (first != hold_out(np.arange(100), 20, 0, seed=2)).any()


def test_nothing_held_out() -> None:
    assert counts(hold_out(np.arange(5), 0, 0, seed=0)) == [5, 0, 0]


@pytest.mark.parametrize("seed", range(30))
def test_groups_are_never_divided_and_numbers_met_from_below(seed: int) -> None:
    random = np.random.default_rng(seed)
    together = random.integers(0, 15, 60)
    split = hold_out(together, 12, 7, seed)
    for label in np.unique(together):
        assert len(set(split[together == label])) == 1
    _, n_validation, n_test = counts(split)
    assert n_validation <= 12
    assert n_test <= 7
    # From below, but not lazily: no group that stayed in training would still fit.
    sizes = np.unique(together[split == 0], return_counts=True)[1]
    assert n_validation + sizes.min() > 12
    assert n_test + sizes.min() > 7


def drawn(together: list[int], n_rows: dict[int, int], seed: int) -> list[int]:
    """The same division by going through the labels one by one."""
    labels = sorted(set(together))
    order = [labels[position] for position in np.random.default_rng(seed).permutation(len(labels))]
    codes: dict[int, int] = {}
    for code, missing in n_rows.items():
        for label in order:
            if label not in codes and together.count(label) <= missing:
                codes[label], missing = code, missing - together.count(label)
    return [codes.get(label, 0) for label in together]


@pytest.mark.parametrize("seed", range(30))
def test_hold_out_against_plain_python(seed: int) -> None:
    """Labels that are missing, as where only some rows are divided, change nothing."""
    random = np.random.default_rng(seed)
    together = random.choice(random.permutation(40)[:15], 60)
    for dtype in (np.int64, np.uint8):
        assert hold_out(together.astype(dtype), 12, 7, seed).tolist() == drawn(together.tolist(), {1: 12, 2: 7}, seed)


def test_small_groups_fill_up_behind_a_large_one() -> None:
    together = np.array([0] * 6 + [1, 2, 3, 4])
    for seed in range(10):
        assert counts(hold_out(together, 3, 0, seed, exact=("validation",))) == [7, 3, 0]


@pytest.mark.parametrize(("n_validation", "n_test"), [(10, 0), (0, 10), (5, 5), (11, 0), (6, 6)])
def test_training_rows_must_be_left(n_validation: int, n_test: int) -> None:
    with fails("10 rows", f"{n_validation} validation", f"{n_test} test"):
        hold_out(np.arange(10), n_validation, n_test, seed=0)


def test_exact_numbers_are_not_rounded() -> None:
    together = np.repeat(np.arange(5), 2)
    with fails("`validation_rows` 3", "2 would not"):
        hold_out(together, 3, 0, seed=0, exact=("validation",))
    with fails("`test_rows` 3", "2 would not"):
        hold_out(together, 2, 3, seed=0, exact=("test",))
    assert counts(hold_out(together, 2, 3, seed=0, exact=("validation",))) == [6, 2, 2]
    assert counts(hold_out(together, 4, 2, seed=0, exact=("validation", "test"))) == [4, 4, 2]


@pytest.mark.parametrize("seed", range(5))
def test_top_rows_against_sorting(seed: int) -> None:
    """SYSU-SAIL's rule: sort downwards, take the value at position int(0.2 n), keep what is at or above it."""
    random = np.random.default_rng(seed)
    values = random.integers(0, 18, random.integers(5, 400)).astype(float)  # most values occur many times
    threshold = sorted(values, reverse=True)[int(0.2 * len(values))]
    expected = [row for row, value in enumerate(values) if value >= threshold]
    assert top_rows(values, 0.2).tolist() == expected
    assert len(expected) > 0.2 * len(values)
    missing = np.insert(values, 2, np.nan)
    assert top_rows(missing, 0.2).tolist() == [row + (row >= 2) for row in expected]


def test_names_of_splits() -> None:
    assert SPLITS == ("train", "validation", "test")
    assert {SPLITS[code] for code in SPLIT_NAMES.values()} == set(SPLITS)
    assert {name: SPLITS[SPLIT_NAMES[name]] for name in ("training", "val", "dev", "testing")} == {
        "training": "train",
        "val": "validation",
        "dev": "validation",
        "testing": "test",
    }


def test_examples_in_docstrings() -> None:
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed


# --- folds


@pytest.mark.parametrize(("n", "n_folds"), [(10, 5), (11, 5), (14, 3), (7, 7)])
def test_folds_of_single_rows_are_equal_to_a_row(n: int, n_folds: int) -> None:
    folds = draw_folds(np.arange(n), n_folds, seed=3)
    sizes = np.bincount(folds, minlength=n_folds)
    assert sizes.max() - sizes.min() <= 1
    assert sizes.sum() == n
    assert (folds == draw_folds(np.arange(n), n_folds, seed=3)).all()
    assert n == n_folds or (folds != draw_folds(np.arange(n), n_folds, seed=4)).any()


def test_folds_keep_groups_together_and_small_ones_fill_up_what_large_ones_leave() -> None:
    # Groups of 6, 3 and 2 rows go to three folds, then single rows to the folds with the fewest: 6, 5 and 5 of 16.
    together = np.repeat([4, 9, 2, 11, 12, 13, 14, 15], [6, 3, 2, 1, 1, 1, 1, 1])
    folds = draw_folds(together, 3, seed=0)
    assert sorted(np.bincount(folds).tolist()) == [5, 5, 6]
    for label in np.unique(together):
        assert len(set(folds[together == label])) == 1


def test_fewer_groups_than_folds() -> None:
    with fails("`folds` 3", "2 sets", "5 rows"):
        draw_folds(np.array([0, 0, 0, 1, 1]), 3, seed=0)


# --- shares


@pytest.mark.parametrize("seed", range(5))
def test_a_share_is_of_whole_groups_and_in_every_larger_one(seed: int) -> None:
    together = np.random.default_rng(seed).integers(0, 12, 60)
    shares = [set(draw_share(together, fraction, seed).tolist()) for fraction in (0.3, 0.6, 1)]
    assert shares[0] < shares[1] < shares[2] == set(range(60))
    assert len(shares[0]) <= 18 < 36 - max(np.bincount(together)) < len(shares[1]) <= 36
    for share in shares:
        assert {int(together[row]) for row in share}.isdisjoint(int(together[row]) for row in shares[2] - share)


def test_shares_of_single_rows_and_of_one_group_alone() -> None:
    rows = draw_share(np.arange(10), 0.5, seed=1)
    assert len(rows) == 5
    assert (np.diff(rows) > 0).all()
    assert rows.tolist() != draw_share(np.arange(10), 0.5, seed=2).tolist()
    with fails("`train_fraction` 0.5", "4 rows", "is 2", "has 4"):
        draw_share(np.zeros(4, int), 0.5, seed=0)

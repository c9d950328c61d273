"""Division of rows: sizes, what stays together, and what is found on two sides."""

import doctest
import itertools

import numpy as np
import pytest
from kmerbert.splitting.hold_out import SPLITS, find_leak, hold_out, top_rows

from kmerbert.reading.rows import SPLIT_NAMES, Leak, find_duplicate
from kmerbert.splitting import hold_out as splits
from kmerbert.splitting.groups import components


def joined(keys: list[int], groups: list[int]) -> list[int]:
    """The same by brute force: labels spread along equal keys and equal groups until nothing changes."""
    labels = list(range(len(keys)))
    for _ in labels:
        for a, b in itertools.combinations(range(len(keys)), 2):
            if keys[a] == keys[b] or groups[a] == groups[b]:
                labels[a] = labels[b] = min(labels[a], labels[b])
    return labels


def same_parts(a: np.ndarray, b: list[int]) -> bool:
    """Whether two labellings divide the rows into the same parts."""
    return len(set(zip(a.tolist(), b, strict=True))) == len(set(a.tolist())) == len(set(b))


@pytest.mark.parametrize("seed", range(20))
def test_components_against_brute_force(seed: int) -> None:
    random = np.random.default_rng(seed)
    keys, groups = random.integers(0, 12, (2, 14))
    assert same_parts(components(keys.astype(np.uint64), groups), joined(keys.tolist(), groups.tolist()))
    assert same_parts(components(keys.astype(np.uint64), None), keys.tolist())


def test_components_chain_through_keys_and_groups() -> None:
    # Row 0 and 1 share a key, 1 and 2 a group, 2 and 3 a key; row 4 is alone.
    keys, groups = np.array([1, 1, 2, 2, 9], np.uint64), np.array([10, 11, 11, 12, 13])
    assert len(set(components(keys, groups)[:4])) == 1
    assert components(keys, groups)[4] != components(keys, groups)[0]


def counts(split: np.ndarray) -> list[int]:
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


def drawn(together: list[int], wanted: dict[int, int], seed: int) -> list[int]:
    """The same division by going through the labels one by one."""
    labels = sorted(set(together))
    order = [labels[place] for place in np.random.default_rng(seed).permutation(len(labels))]
    codes: dict[int, int] = {}
    for code, missing in wanted.items():
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
    message = f"^10 rows cannot give {n_validation} validation and {n_test} test rows and leave some to train on: ask"
    with pytest.raises(ValueError, match=message):
        hold_out(np.arange(10), n_validation, n_test, seed=0)


def test_exact_numbers_are_not_rounded() -> None:
    together = np.repeat(np.arange(5), 2)
    with pytest.raises(ValueError, match="^validation: exactly 3 rows would divide a group; 2 rows would not$"):
        hold_out(together, 3, 0, seed=0, exact=("validation",))
    with pytest.raises(ValueError, match="^test: exactly 3 rows would divide a group; 2 rows would not$"):
        hold_out(together, 2, 3, seed=0, exact=("test",))
    assert counts(hold_out(together, 2, 3, seed=0, exact=("validation",))) == [6, 2, 2]
    assert counts(hold_out(together, 4, 2, seed=0, exact=("validation", "test"))) == [4, 4, 2]


@pytest.mark.parametrize("seed", range(20))
def test_find_leak_against_brute_force(seed: int) -> None:
    random = np.random.default_rng(seed)
    values, split = random.integers(0, 40, 12), random.integers(0, 3, 12)
    pairs = {
        (a, b)
        for a, b in itertools.combinations(range(12), 2)
        if values[a] == values[b] and split[a] != split[b]
    }  # fmt: skip
    found = find_leak(values, split)
    assert (found is None) == (not pairs)
    assert found is None or tuple(found) in pairs


def test_duplicates_within_a_side_are_no_leak() -> None:
    assert find_leak(np.array([5, 5, 6, 6]), np.array([0, 0, 1, 1])) is None
    assert find_leak(np.array([], np.uint64), np.array([], np.int8)) is None


def test_find_duplicate() -> None:
    assert find_duplicate(np.array([1, 2, 3])) == (0, None)
    assert find_duplicate(np.array([], np.uint64)) == (0, None)
    # Three repeats; the earliest one is row 2, which repeats row 1.
    assert find_duplicate(np.array([9, 4, 4, 9, 4])) == (3, Leak(1, 2))


@pytest.mark.parametrize("seed", range(5))
def test_top_rows_against_sorting(seed: int) -> None:
    """SYSU-SAIL's rule: sort downwards, take the value at place int(0.2 n), keep what is at or above it."""
    random = np.random.default_rng(seed)
    values = random.integers(0, 18, random.integers(5, 400)).astype(float)  # most values stand many times
    threshold = sorted(values, reverse=True)[int(0.2 * len(values))]
    expected = [row for row, value in enumerate(values) if value >= threshold]
    assert top_rows(values, 0.2).tolist() == expected
    assert len(expected) > 0.2 * len(values)
    missing = np.insert(values, 2, np.nan)
    assert top_rows(missing, 0.2).tolist() == [row + (row >= 2) for row in expected]


def test_words_for_splits() -> None:
    assert SPLITS == ("train", "validation", "test")
    assert {SPLITS[code] for code in SPLIT_NAMES.values()} == set(SPLITS)
    assert {word: SPLITS[SPLIT_NAMES[word]] for word in ("training", "val", "dev", "testing")} == {
        "training": "train",
        "val": "validation",
        "dev": "validation",
        "testing": "test",
    }


def test_examples_in_docstrings() -> None:
    found = doctest.testmod(splits)
    assert found.attempted
    assert not found.failed

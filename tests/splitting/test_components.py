"""Connected components, and rows that share a key or a group: against brute force and by hand."""

import doctest
import itertools

import numpy as np
import pytest

from kmerbert.splitting import components
from kmerbert.splitting.components import join_groups, label_components


def spread(n: int, pairs: list[tuple[int, int]]) -> list[int]:
    """Labels by brute force: both ends of a pair take the smaller label until nothing changes."""
    labels = list(range(n))
    for _ in labels:
        for a, b in pairs:
            labels[a] = labels[b] = min(labels[a], labels[b])
    return labels


def are_same_parts(a: np.ndarray, b: list[int]) -> bool:
    """Whether two labellings divide the rows into the same parts."""
    return len(set(zip(a.tolist(), b, strict=True))) == len(set(a.tolist())) == len(set(b))


@pytest.mark.parametrize("seed", range(20))
def test_join_groups_against_brute_force(seed: int) -> None:
    keys, groups = np.random.default_rng(seed).integers(0, 12, (2, 14))
    pairs = [
        (a, b)
        for a, b in itertools.combinations(range(14), 2)
        if keys[a] == keys[b] or groups[a] == groups[b]
    ]  # fmt: skip
    assert are_same_parts(join_groups(keys.astype(np.uint64), groups), spread(14, pairs))


def test_joined_rows_chain_through_keys_and_groups() -> None:
    # Row 0 and 1 share a key, 1 and 2 a group, 2 and 3 a key; row 4 is alone.
    keys, groups = np.array([1, 1, 2, 2, 9], np.uint64), np.array([10, 11, 11, 12, 13])
    assert join_groups(keys, groups).tolist() == [0, 0, 0, 0, 1]


def test_no_rows_are_joined_to_nothing() -> None:
    assert join_groups(np.array([], np.uint64), np.array([], np.int64)).tolist() == []


@pytest.mark.parametrize("seed", range(10))
def test_label_components_against_brute_force(seed: int) -> None:
    first, second = np.random.default_rng(seed).integers(0, 20, (2, 12))
    labels = label_components(20, first, second)
    assert labels.shape == (20,)
    assert are_same_parts(labels, spread(20, list(zip(first.tolist(), second.tolist(), strict=True))))


def test_nodes_without_edges_are_components_of_their_own() -> None:
    none = np.array([], np.int64)
    assert sorted(label_components(3, none, none).tolist()) == [0, 1, 2]


def test_examples_in_docstrings() -> None:
    result = doctest.testmod(components)
    assert result.attempted
    assert not result.failed

"""Division of rows into training, validation and test, such that nothing is on two sides. Reads no files."""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

SPLITS = ("train", "validation", "test")
# Words that tables use for the three, lower case.
SPLIT_NAMES = {"train": 0, "training": 0, "validation": 1, "valid": 1, "val": 1, "dev": 1, "test": 2, "testing": 2}


class Leak(NamedTuple):
    """The first thing found on two sides: its row (0-based) on one side and on the other."""

    first_row: int
    second_row: int


def components(keys: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Returns which rows must stay together: those of one sequence or of one group, and whatever these join.

    Args:
        keys: uint64 array (n,), equal where the sequences are equal.
        groups: int array (n,), equal where the rows are of one group; None for no groups.

    Returns:
        int64 array (n,), equal for rows that must stay together, numbered by first appearance in the sorted keys.

    >>> components(np.array([7, 8, 7, 9], np.uint64), np.array([0, 0, 1, 2])).tolist()
    [0, 0, 0, 1]
    """
    _, by_key = np.unique(keys, return_inverse=True)
    if groups is None:
        return by_key
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n_keys = int(by_key.max(initial=-1)) + 1
    _, by_group = np.unique(groups, return_inverse=True)
    n_nodes = n_keys + int(by_group.max(initial=-1)) + 1
    edges = coo_array((np.ones(len(keys), np.int8), (by_key, n_keys + by_group)), shape=(n_nodes, n_nodes))
    return connected_components(edges, directed=False)[1][by_key]


def top_rows(values: np.ndarray, fraction: float) -> np.ndarray:
    """Returns the rows with the highest values, and all that tie with the last of them.

    The threshold is the value at place int(fraction * n), counted from 0, of the values in falling order; rows at or above
    it are kept, so that ties make them more than the fraction (DREAM Challenge 2022, team SYSU-SAIL: 26 % of the rows for a
    fraction of 0.2).

    Args:
        values: float array (n,), NaN never kept.
        fraction: above 0 and below 1.

    Returns:
        int64 array of row numbers (0-based), rising.

    >>> top_rows(np.array([1.0, 5.0, 3.0, 3.0, 2.0]), 0.2).tolist()
    [1, 2, 3]
    """
    known = np.sort(values[~np.isnan(values)])[::-1]
    return np.flatnonzero(values >= known[int(fraction * len(known))])


def hold_out(
    together: np.ndarray, n_validation: int, n_test: int, seed: int, exact: Collection[str] = ()
) -> np.ndarray:
    """Draws validation and test rows at random, never dividing rows that must stay together.

    Args:
        together: int array (n,) of `components`, 0 or more.
        n_validation, n_test: rows wanted; met exactly when rows may stand alone, else from below.
        seed: of the draw.
        exact: the splits (`validation`, `test`) in which fewer rows than wanted are an error.

    Returns:
        int8 array (n,): 0 train, 1 validation, 2 test.

    Raises:
        ValueError: when too few rows are left to train on, or an exact number cannot be met.
    """
    if n_validation + n_test >= len(together):
        raise ValueError(
            f"{len(together)} rows cannot give {n_validation} validation and {n_test} test rows and leave some to train "
            "on: ask for fewer"
        )
    counts = np.bincount(together)  # labels are small numbers: no row needs to be sorted or searched for
    labels = np.flatnonzero(counts)
    sizes = counts[labels]
    order = np.random.default_rng(seed).permutation(len(labels))
    assigned = np.zeros(len(labels), np.int8)
    for code, wanted in ((1, n_validation), (2, n_test)):
        if not wanted:
            continue
        free = order[assigned[order] == 0]
        first = free[:wanted]  # every label has a row at least
        taken = first[np.cumsum(sizes[first]) <= wanted]
        missing = wanted - int(sizes[taken].sum())
        assigned[taken] = code
        # A large group may block the way: smaller ones behind it fill the rest.
        for label in free[len(taken) :] if missing else ():
            if sizes[label] <= missing:
                assigned[label] = code
                missing -= int(sizes[label])
            if not missing:
                break
        if missing and SPLITS[code] in exact:
            raise ValueError(
                f"{SPLITS[code]}: exactly {wanted} rows would divide a group; {wanted - missing} rows would not"
            )
    code_of_label = np.zeros(len(counts), np.int8)
    code_of_label[labels] = assigned
    return code_of_label[together]


def find_leak(values: np.ndarray, split: np.ndarray) -> Leak | None:
    """Looks for a value (sequence key or group) that stands in more than one split.

    Args:
        values: array (n,).
        split: int array (n,): 0 train, 1 validation, 2 test.

    Returns:
        The first pair of rows found, or None.

    >>> find_leak(np.array([5, 6, 5]), np.array([0, 0, 1]))
    Leak(first_row=0, second_row=2)
    """
    if sum(n_distinct(values[split == code]) for code in range(len(SPLITS))) == n_distinct(values):
        return None
    order = np.argsort(values, kind="stable")
    same = values[order][1:] == values[order][:-1]
    crossing = np.flatnonzero(same & (split[order][1:] != split[order][:-1]))
    pair = np.sort(order[crossing[0] : crossing[0] + 2])
    return Leak(int(pair[0]), int(pair[1]))


def find_duplicate(keys: np.ndarray) -> tuple[int, Leak | None]:
    """Counts rows whose key stood before, and gives the first such pair.

    >>> find_duplicate(np.array([5, 6, 5, 5]))
    (2, Leak(first_row=0, second_row=2))
    """
    if n_distinct(keys) == len(keys):
        return 0, None
    order = np.argsort(keys, kind="stable")
    repeats = np.flatnonzero(keys[order][1:] == keys[order][:-1])
    second = int(order[repeats + 1].min())
    first = int(np.flatnonzero(keys == keys[second])[0])
    return len(repeats), Leak(first, second)


def n_distinct(values: np.ndarray) -> int:
    """Counts the different values, in a fifth of the time that it takes to say where they stand (`argsort`).

    >>> n_distinct(np.array([5, 6, 5]))
    2
    """
    ordered = np.sort(values)
    return len(values) and 1 + int(np.count_nonzero(ordered[1:] != ordered[:-1]))

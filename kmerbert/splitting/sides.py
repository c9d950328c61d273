"""Division of rows into training, validation and test, such that nothing is on two sides. Reads no files."""

from collections.abc import Collection

import numpy as np

from kmerbert.reading.rows import Leak, n_distinct

SPLITS = ("train", "validation", "test")


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

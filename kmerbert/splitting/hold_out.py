"""Which rows train, and which are held out to validate and test, so that rows that belong together stay together."""

import heapq
from collections.abc import Collection

import numpy as np

SPLITS = ("train", "validation", "test")


def top_rows(values: np.ndarray, fraction: float) -> np.ndarray:
    """Returns the rows with the highest values, and all that tie with the last of them.

    The threshold is the value at position int(fraction * n), counted from 0, of the values in falling order. Rows at or
    above it are kept, so ties make them more than the fraction (DREAM Challenge 2022, team SYSU-SAIL: 26 % of the rows for
    a fraction of 0.2).

    Args:
        values: Float array (n,), NaN never kept.
        fraction: Above 0 and below 1.

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
        together: int array (n,), 0 or more, equal for rows that must stay together.
        n_validation, n_test: Rows to draw; met exactly if rows may be alone, otherwise from below.
        seed: Of the draw.
        exact: The splits (`validation`, `test`) in which fewer rows are an error.

    Returns:
        int8 array (n,): 0 train, 1 validation, 2 test.

    Raises:
        ValueError: Too few rows are left to train on, or an exact number cannot be met.
    """
    if n_validation + n_test >= len(together):
        raise ValueError(
            f"{len(together)} rows cannot give {n_validation} validation and {n_test} test rows and leave some to train "
            "on: hold out fewer with `validation_rows` and `test_rows`, or the percentages"
        )
    counts = np.bincount(together)  # labels are small numbers: no row needs to be sorted or searched for
    labels = np.flatnonzero(counts)
    sizes = counts[labels]
    order = np.random.default_rng(seed).permutation(len(labels))
    assigned = np.zeros(len(labels), np.int8)
    for code, n_rows in ((1, n_validation), (2, n_test)):
        if not n_rows:
            continue
        free = order[assigned[order] == 0]
        first = free[:n_rows]  # every label has at least one row
        taken = first[np.cumsum(sizes[first]) <= n_rows]
        missing = n_rows - int(sizes[taken].sum())
        assigned[taken] = code
        # A large group may block the way: smaller ones behind it fill the rest.
        for label in free[len(taken) :] if missing else ():
            if sizes[label] <= missing:
                assigned[label] = code
                missing -= int(sizes[label])
            if not missing:
                break
        if missing and SPLITS[code] in exact:
            raise ValueError(f"`{SPLITS[code]}_rows` {n_rows} would divide a group; {n_rows - missing} would not")
    code_of_label = np.zeros(len(counts), np.int8)
    code_of_label[labels] = assigned
    return code_of_label[together]


def draw_folds(together: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """Divides rows into folds of about equally many rows, never dividing rows that must stay together.

    The largest sets of rows are dealt first, each to the fold that has the fewest rows so far; sets of one size are dealt in
    random order. Folds of single rows differ by one row at most.

    Args:
        together: int array (n,), 0 or more, equal for rows that must stay together.
        n_folds: Number of folds, 2 or more.
        seed: Of the order.

    Returns:
        int64 array (n,), the fold of each row, from 0.

    Raises:
        ValueError: There are fewer sets of rows than folds.
    """
    counts = np.bincount(together)
    labels = np.flatnonzero(counts)
    if len(labels) < n_folds:
        raise ValueError(
            f"`folds` {n_folds}: there are {len(labels)} sets of rows that may be apart, of {len(together)} rows: allowed is up "
            f"to {len(labels)}"
        )
    shuffled = np.random.default_rng(seed).permutation(labels)
    order = shuffled[np.argsort(-counts[shuffled], kind="stable")]
    fold_of_label = np.zeros(len(counts), np.int64)
    fewest = [(0, fold) for fold in range(n_folds)]
    for label in order.tolist():
        n_rows, fold = fewest[0]
        fold_of_label[label] = fold
        heapq.heapreplace(fewest, (n_rows + int(counts[label]), fold))
    return fold_of_label[together]


def draw_share(together: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Draws a share of the rows, never dividing rows that must stay together; a larger share includes the smaller.

    Args:
        together: int array (n,), 0 or more, equal for rows that must stay together.
        fraction: Share of the rows, above 0 and at most 1; met from below.
        seed: Of the draw.

    Returns:
        int64 array of row numbers (0-based), rising.

    Raises:
        ValueError: The rows that stay together are more than the share.
    """
    n_rows = round(fraction * len(together))
    _, labels, sizes = np.unique(together, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(sizes))
    n_labels = np.searchsorted(np.cumsum(sizes[order]), n_rows, "right")
    if not n_labels:
        raise ValueError(
            f"`train_fraction` {fraction:g} of {len(together)} rows is {n_rows}, but the set of rows that is drawn first and may "
            f"not be divided has {sizes[order[0]]}: give more"
        )
    return np.flatnonzero(np.isin(labels, order[:n_labels]))

"""Prediction intervals that hold a chosen share of measured values, estimated from rows that a model was not trained on.

Split conformal intervals (Lei et al. 2018, doi:10.1080/01621459.2017.1307116): of the absolute errors of n calibration
rows, the one of rank ceil((n + 1) * coverage) is half the width. A new measured value then lies inside with at least that
probability, whatever the model and the distribution of its errors, as long as new rows come from the population and the
assay of the calibration rows; for other rows nothing is promised. Errors are ranked within groups of rows of similar
prediction (Mondrian; Vovk et al. 2005, doi:10.1007/b106715), so that intervals are wide where a model errs more.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import numpy as np
import pandas as pd

from kmerbert.predicting.table import number_columns, output_suffixes, read_predictions

COVERAGE = 0.9  # unless another one is given
MOST_GROUPS, GROUP_ROWS = 5, 100  # with fewer rows in a group, its width says more about chance than about its errors


@dataclass(frozen=True)
class Intervals:
    """Half widths of intervals, in the unit of the labels, by the group that a prediction falls into.

    Attributes:
        edges: For each output, float64 (groups - 1,), ascending; a prediction at an edge belongs to the group above it.
        half_widths: For each output, float64 (groups,).
    """

    edges: tuple[np.ndarray, ...]
    half_widths: tuple[np.ndarray, ...]

    @classmethod
    def calibrate(
        cls, predictions: np.ndarray, labels: np.ndarray, coverage: float, outputs: Sequence[str]
    ) -> "Intervals":
        """Learns intervals from rows that the model was not trained on.

        Every output has five groups of about equally many rows, or as many as have at least 100 rows each, and never
        fewer than the rank needs; with fewer than 200 rows there is one group.

        Args:
            predictions: Float array (n, outputs), in the unit of the labels.
            labels: Measured values of the same shape; NaN where nothing was measured.
            coverage: Share of new measured values that should lie inside, above 0 and below 1.
            outputs: Names of the outputs, for messages.

        Raises:
            ValueError: The coverage is out of range, or there are too few rows for it.
        """
        if not 0 < coverage < 1:
            raise ValueError(f"`interval_coverage` {coverage:g}: allowed is above 0 and below 1, such as 0.9")
        groups = []
        for name, x, y in zip(outputs, predictions.T, labels.T, strict=True):
            known = ~np.isnan(y)
            if known.sum() < (needed := _rows_needed(coverage)):
                raise ValueError(
                    f"`interval_coverage` {coverage:g} needs {needed} rows or more with a measured value of {name}, but "
                    f"`calibration_file` has {known.sum()}: give more rows or a lower coverage"
                )
            groups.append(_calibrate(x[known], np.abs(y - x)[known], coverage))
        edges, half_widths = zip(*groups, strict=True)
        return cls(edges, half_widths)

    def around(self, predictions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns lower and upper ends for predictions, float (n, outputs): float64 arrays of that shape."""
        half_widths = np.empty(predictions.shape)
        for output, (edges, widths) in enumerate(zip(self.edges, self.half_widths, strict=True)):
            half_widths[:, output] = widths[edges.searchsorted(predictions[:, output], "right")]
        return predictions - half_widths, predictions + half_widths


def read_intervals(
    path: str,
    coverage: float | None,
    outputs: Sequence[str],
    check: Callable[[pd.DataFrame], None] | None = None,
) -> Intervals:
    """Reads a predictions file with measured values, and learns a model's intervals from it.

    Args:
        path: Table with the columns `prediction` and `observed`, each with `_<name>` at its end for several outputs.
        coverage: Share of measured values that should lie inside; None for 0.9.
        outputs: Names of what the model predicts.
        check: Given the table, raises ValueError if its rows cannot be used.

    Raises:
        ValueError: The table cannot be read or lacks a column, has too few measured values, or the coverage is out of
            range.
    """
    table = read_predictions(path, "calibration_file")
    if check:
        check(table)
    hint = "write it with run_predict.py, the same model and `label_column`"
    predicted, measured = (
        number_columns(table, [kind + suffix for suffix in output_suffixes(outputs)], path, hint)
        for kind in ("prediction", "observed")
    )
    return Intervals.calibrate(predicted, measured, COVERAGE if coverage is None else coverage, outputs)


def with_intervals(table: pd.DataFrame, calibration: pd.DataFrame, outputs: Sequence[str]) -> pd.DataFrame:
    """Adds the columns `lower` and `upper` to predictions, from the errors of held-out rows.

    Args:
        table: Predictions, as `read_predictions` returns them.
        calibration: Those of other rows that the model was not trained on, with their measured values.
        outputs: Names of what the model predicts.

    Returns:
        The table with intervals of the usual coverage; as it is, if there are too few rows for it.
    """
    suffixes = output_suffixes(outputs)
    predicted, measured, new = (
        rows[[kind + suffix for suffix in suffixes]].to_numpy(np.float64)
        for rows, kind in ((calibration, "prediction"), (calibration, "observed"), (table, "prediction"))
    )
    if np.isfinite(measured).sum(axis=0).min() < _rows_needed(COVERAGE):
        return table
    ends = Intervals.calibrate(predicted, measured, COVERAGE, outputs).around(new)
    columns = [
        (kind + suffix, values)
        for kind, array in zip(("lower", "upper"), ends, strict=True)
        for suffix, values in zip(suffixes, array.T, strict=True)
    ]
    return table.assign(**dict(columns))


def _calibrate(predictions: np.ndarray, errors: np.ndarray, coverage: float) -> tuple[np.ndarray, np.ndarray]:
    """Edges and half widths for one output that has enough rows (n,)."""
    least, ordered, n = max(GROUP_ROWS, _rows_needed(coverage)), np.sort(predictions), len(predictions)
    for n_groups in range(MOST_GROUPS, 0, -1):
        edges = ordered[np.arange(1, n_groups) * n // n_groups]
        groups = edges.searchsorted(predictions, "right")
        if np.bincount(groups, minlength=n_groups).min() >= least:  # equal predictions stay together
            break
    return edges, np.array([_error_of_rank(errors[groups == group], coverage) for group in range(n_groups)])


def _error_of_rank(errors: np.ndarray, coverage: float) -> float:
    rank = ceil((len(errors) + 1) * _exact(coverage))
    return np.partition(errors, rank - 1)[rank - 1]


def _rows_needed(coverage: float) -> int:
    """The smallest n with ceil((n + 1) * coverage) <= n."""
    return ceil(_exact(coverage) / (1 - _exact(coverage)))


def _exact(coverage: float) -> Fraction:
    """The decimal number that was meant: 0.55 * 100 is more than 55 as float64, and would be rounded up to 56."""
    return Fraction(repr(float(coverage)))


def interval_metrics(
    lower: np.ndarray, upper: np.ndarray, labels: np.ndarray, outputs: Sequence[str]
) -> dict[str, float]:
    """Measures how often intervals held the measured value, and how wide they are.

    Args:
        lower, upper: Ends of the intervals, float arrays (n, outputs).
        labels: Measured values of the same shape; NaN where nothing was measured (left out for that output), with at
            least one value for each output.
        outputs: Names of the outputs.

    Returns:
        `coverage`, the share of measured values that lie inside, ends included, and `interval_width`, the mean of
        upper - lower in the unit of the labels. With several outputs `<metric>_<name>` for each, and under `<metric>`
        their unweighted mean.
    """
    known = ~np.isnan(labels)
    is_inside = ((lower <= labels) & (labels <= upper)).mean(axis=0, where=known)
    by_output = {"coverage": is_inside, "interval_width": (upper - lower).mean(axis=0, where=known)}
    metrics = {metric: float(values.mean()) for metric, values in by_output.items()}
    if len(outputs) > 1:
        for output, name in enumerate(outputs):
            metrics |= {f"{metric}_{name}": float(values[output]) for metric, values in by_output.items()}
    return metrics

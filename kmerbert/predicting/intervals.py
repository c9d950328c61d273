"""Prediction intervals that hold a chosen share of measured values, learnt from rows that a model was not trained on.

Split conformal intervals (Lei et al. 2018, doi:10.1080/01621459.2017.1307116): of the absolute errors of n calibration
rows, the one of rank ceil((n + 1) * coverage) is half the width. A new measured value then lies inside with at least that
probability, whatever the model and the distribution of its errors, as long as new rows come from the population and the
assay of the calibration rows; for other rows nothing is promised. Errors are ranked within groups of rows of similar
prediction (Mondrian; Vovk et al. 2005, doi:10.1007/b106715), so that intervals are wide where a model errs more.
Reads no files and knows no model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import numpy as np

from kmerbert.predicting.table import read_predictions, take

MOST_GROUPS, GROUP_ROWS = 5, 100  # with fewer rows a group, its width says more about chance than about its errors


@dataclass(frozen=True)
class Intervals:
    """Half the widths of intervals, in the unit of the labels, by the place of a prediction between edges.

    Attributes:
        edges: for each output, float64 (groups - 1,), ascending; a prediction at an edge belongs to the group above it.
        half_widths: for each output, float64 (groups,).
    """

    edges: tuple[np.ndarray, ...]
    half_widths: tuple[np.ndarray, ...]

    @classmethod
    def calibrate(
        cls, predictions: np.ndarray, labels: np.ndarray, coverage: float, names: Sequence[str]
    ) -> "Intervals":
        """Learns intervals from rows that the model was not trained on.

        Every output has five groups of about equally many rows, or as many as give at least 100 rows each, and never
        fewer than its rank needs; one, where there are not 200 rows.

        Args:
            predictions: float array (n, outputs), in the unit of the labels.
            labels: measured values of the same shape; NaN where nothing was measured.
            coverage: share of new measured values that are to lie inside, above 0 and below 1.
            names: of the outputs, for messages.

        Raises:
            ValueError: for a coverage out of range, or too few rows for it.
        """
        if not 0 < coverage < 1:
            raise ValueError(f"--interval_coverage {coverage:g}: allowed is above 0 and below 1, such as 0.9")
        outputs = []
        for name, x, y in zip(names, predictions.T, labels.T, strict=True):
            known = ~np.isnan(y)
            if known.sum() < (needed := _rows_needed(coverage)):
                raise ValueError(
                    f"--interval_coverage {coverage:g} needs {needed} rows or more with a measured value of {name}, "
                    f"but --calibration_file has {known.sum()}: give more rows or a lower coverage"
                )
            outputs.append(_calibrate(x[known], np.abs(y - x)[known], coverage))
        edges, half_widths = zip(*outputs, strict=True)
        return cls(edges, half_widths)

    def around(self, predictions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the lower and the upper ends for predictions, float (n, outputs): float64 arrays of that shape."""
        half_widths = np.empty(predictions.shape)
        for output, (edges, own) in enumerate(zip(self.edges, self.half_widths, strict=True)):
            half_widths[:, output] = own[edges.searchsorted(predictions[:, output], "right")]
        return predictions - half_widths, predictions + half_widths


def _calibrate(predictions: np.ndarray, errors: np.ndarray, coverage: float) -> tuple[np.ndarray, np.ndarray]:
    """Edges and half the widths for one output, whose rows (n,) are enough."""
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
    lower: np.ndarray, upper: np.ndarray, labels: np.ndarray, names: Sequence[str]
) -> dict[str, float]:
    """Says how often intervals held what was measured, and how wide they are.

    Args:
        lower, upper: ends of the intervals, float arrays (n, outputs).
        labels: measured values of the same shape; NaN where nothing was measured (left out for that output), with at
            least one value for each output.
        names: of the outputs.

    Returns:
        `coverage`, the share of measured values that lie inside, ends included, and `interval_width`, the mean of
        upper - lower in the unit of the labels. With several outputs `<metric>_<name>` for each, and under `<metric>`
        their unweighted mean.
    """
    known = ~np.isnan(labels)
    inside = ((lower <= labels) & (labels <= upper)).mean(axis=0, where=known)
    found = {"coverage": inside, "interval_width": (upper - lower).mean(axis=0, where=known)}
    result = {metric: float(values.mean()) for metric, values in found.items()}
    if len(names) > 1:
        for output, name in enumerate(names):
            result |= {f"{metric}_{name}": float(values[output]) for metric, values in found.items()}
    return result


def read_intervals(path: str, coverage: float | None, outputs: Sequence[str]) -> Intervals:
    """Reads predictions with measured values, and learns intervals of a model from them.

    Args:
        path: of a table `prediction observed`, with `_<name>` at their ends for several outputs.
        coverage: share of measured values that are to lie inside; None for 0.9.
        outputs: names of what the model predicts.

    Raises:
        ValueError: for a table that cannot be read or lacks a column, too few measured values, and a coverage out of range.
    """
    table = read_predictions(path, "--calibration_file")
    ends = [f"_{name}" for name in outputs] if len(outputs) > 1 else [""]
    hint = "write it by run_predict.py with the same model and --label_column"
    predicted, measured = (take(table, [kind + end for end in ends], path, hint) for kind in ("prediction", "observed"))
    return Intervals.calibrate(predicted, measured, 0.9 if coverage is None else coverage, outputs)

"""What a model is worth, in plain lines: its score, that of a baseline, the highest that is possible, and its use."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from kmerbert.scoring.baselines import NAMES
from kmerbert.scoring.metrics import regression_metrics

Z = float(norm.ppf(0.975))  # of 95 % intervals
LEAST_ROWS = 10  # with fewer, r says nothing
TOP = 0.1  # the share of sequences that one would order
MOST_OUTPUTS = 3  # that are named one by one
# From these r on (lower end of the interval), predictions are good for this. By the share of the measured variance that they
# explain, r squared: four fifths, a quarter.
VALUES, RANKING = 0.9, 0.5


class Score(NamedTuple):
    """How well one output is predicted.

    Attributes:
        n: Rows with a measured value.
        r, low, high: Pearson's r and its 95 % interval.
        rho, r2, rmse: Spearman's rho, the coefficient of determination, the root mean squared error in the labels' unit.
        sd: Standard deviation of the measured values.
        n_top: Rows in a tenth.
        n_both: Of the tenth that is predicted highest, the rows that are in the tenth measured highest.
    """

    n: int
    r: float
    low: float
    high: float
    rho: float
    r2: float
    rmse: float
    sd: float
    n_top: int
    n_both: int


def r_interval(r: float, n: int) -> tuple[float, float]:
    """Returns the 95 % interval of a correlation of n pairs, by Fisher's transformation (doi:10.2307/2331838).

    >>> [round(end, 3) for end in r_interval(0.8, 103)]
    [0.718, 0.86]
    """
    if n < 4 or abs(r) >= 1:
        return (-1.0, 1.0) if n < 4 else (r, r)
    half = Z / math.sqrt(n - 3)
    return math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)


def correlations(
    models: Mapping[str, Mapping[str, float]], outputs: Sequence[str], n_rows: Sequence[int]
) -> dict[str, dict[str, tuple[float, float, float]]]:
    """Returns Pearson's r of models on the same rows, and its 95 % interval.

    Args:
        models: Name of a model -> its metrics: `pearsonr`, or for several outputs `pearsonr_<name>` of each.
        outputs: Names of the outputs.
        n_rows: Of each output, the rows with a measured value.

    Returns:
        Output -> model -> r, low, high. Models that have no r, because it is not known or they predict a constant, and
        outputs without any are left out.

    >>> correlations({"a": {"pearsonr": 0.8}, "mean": {"pearsonr": 0.0}}, [""], [3])
    {'': {'a': (0.8, -1.0, 1.0)}}
    """
    groups: dict[str, dict[str, tuple[float, float, float]]] = {}
    for output, n in zip(outputs, n_rows, strict=True):
        key = f"pearsonr_{output}" if len(outputs) > 1 else "pearsonr"
        for model, metrics in models.items():
            if r := metrics.get(key):
                groups.setdefault(output, {})[model] = (r, *r_interval(r, n))
    return groups


def difference_interval(r_first: float, r_second: float, r_both: float, n: int) -> tuple[float, float]:
    """Returns the 95 % interval of the difference of two correlations with the same n measured values.

    Zou 2007, doi:10.1037/1082-989X.12.4.399, for dependent, overlapping correlations.

    Args:
        r_first, r_second: Correlations of two predictions with the measured values.
        r_both: Correlation of the two predictions with each other.
        n: Rows.
    """
    (low, high), (other_low, other_high) = r_interval(r_first, n), r_interval(r_second, n)
    a, b = r_first, r_second
    numerator = (r_both - a * b / 2) * (1 - a**2 - b**2 - r_both**2) + r_both**3
    c = numerator / max((1 - a**2) * (1 - b**2), 1e-12)
    c, d = min(max(c, -1.0), 1.0), a - b
    down = math.sqrt(max(0.0, (a - low) ** 2 + (other_high - b) ** 2 - 2 * c * (a - low) * (other_high - b)))
    up = math.sqrt(max(0.0, (high - a) ** 2 + (b - other_low) ** 2 - 2 * c * (high - a) * (b - other_low)))
    return d - down, d + up


def score(predicted: np.ndarray, measured: np.ndarray) -> Score:
    """Scores predictions (n,) of measured values (n,), NaN where nothing was measured."""
    known = ~np.isnan(measured)
    x, y = np.asarray(predicted, np.float64)[known], np.asarray(measured, np.float64)[known]
    metrics, n_top = regression_metrics(x[:, None], y[:, None]), max(1, round(TOP * len(y)))
    highest = [set(np.argsort(-values, kind="stable")[:n_top].tolist()) for values in (x, y)]
    r, rho, r2, rmse = (metrics[name] for name in ("pearsonr", "spearmanr", "r2", "rmse"))
    n_both = len(highest[0] & highest[1])
    return Score(len(y), r, *r_interval(r, len(y)), rho, r2, rmse, float(y.std()), n_top, n_both)


def verdict(
    predicted: Mapping[str, np.ndarray],
    measured: np.ndarray,
    outputs: Sequence[str],
    rows: str,
    ceiling: str = "",
    advice: str = "more rows would tell",
) -> list[str]:
    """Says in plain lines what a model is worth.

    Args:
        predicted: Predictions, float arrays (n, outputs), of `model` and of baselines (`ridge`, or any name).
        measured: Measured values (n, outputs), NaN where nothing was measured.
        outputs: Names of the outputs.
        rows: What the rows are, such as "test rows, which the training never saw".
        ceiling: A sentence about the best r that is possible; empty if that is not known.
        advice: What would tell whether the model or a baseline is better, where this is not clear.

    Returns:
        Lines: the model, each baseline, the ceiling, the use.
    """
    scores = [score(x, y) for x, y in zip(predicted["model"].T, measured.T, strict=True)]
    n = max(each.n for each in scores)
    if n < LEAST_ROWS:
        return [f"this model: {n} {rows}: too few to say what it is worth; hold out {LEAST_ROWS} or more"]
    names = list(outputs) if len(outputs) > 1 else [""]
    shown = [
        f"{name + ': ' if name else ''}r {s.r:.3f} ({s.low:.2f} to {s.high:.2f}), rho {s.rho:.2f}, r2 {s.r2:.2f}"
        for name, s in zip(names, scores, strict=True)
    ]
    lines = [f"this model: {_joined(shown)} on {n:,} {rows}"]
    lines += [_compared(name, predicted, measured, names, scores, advice) for name in predicted if name != "model"]
    lines.append(ceiling or "ceiling: not known; name the columns of replicates with `replicate_columns`")
    return [*lines, _use(names, scores)]


def _joined(texts: Sequence[str]) -> str:
    more = len(texts) - MOST_OUTPUTS
    return "; ".join(texts[:MOST_OUTPUTS]) + (f"; and {more} more outputs" if more > 0 else "")


def _compared(
    baseline: str,
    predicted: Mapping[str, np.ndarray],
    measured: np.ndarray,
    names: Sequence[str],
    scores: Sequence[Score],
    advice: str,
) -> str:
    """One line: is the model better than a baseline?"""
    texts, is_clear = [], True
    for output, (name, own) in enumerate(zip(names, scores, strict=True)):
        known = ~np.isnan(measured[:, output])
        first, second = predicted["model"][known, output], predicted[baseline][known, output]
        other = score(predicted[baseline][:, output], measured[:, output])
        both = float(np.corrcoef(first, second)[0, 1]) if np.ptp(first) > 0 and np.ptp(second) > 0 else 0.0
        low, high = difference_interval(own.r, other.r, both, own.n)
        judged = "the model is better" if low > 0 else "the model is WORSE" if high < 0 else "no clear difference"
        is_clear = is_clear and not low <= 0 <= high
        interval = f"{own.r - other.r:+.3f}, {low:+.3f} to {high:+.3f}"
        texts.append(f"{name + ': ' if name else ''}r {other.r:.3f}, so {judged} ({interval})")
    return f"{NAMES.get(baseline, baseline)}: {_joined(texts)}{'' if is_clear else f'; {advice}'}"


def _use(names: Sequence[str], scores: Sequence[Score]) -> str:
    """One line: what the predictions are good for."""
    texts = []
    for name, s in zip(names, scores, strict=True):
        if s.low <= 0:
            use = "nothing yet: r may be chance"
        elif s.low >= VALUES:
            use = "values and fine ranking"
        elif s.low >= RANKING:
            use = "ranking, and choosing what to order"
        else:
            use = "enriching a large set, not for single sequences"
        share = f"of the {s.n_top:,} predicted highest, {s.n_both:,} are among the {s.n_top:,} measured highest"
        chance = f"(by chance {s.n_top * TOP:.2g})"
        error = f"error (RMSE) {s.rmse:.3g}, SD of the values {s.sd:.3g}"
        texts.append(f"{name + ': ' if name else ''}{use}; {share} {chance}; {error}")
    return f"good for: {_joined(texts)}"

"""How well predictions agree with measured values: the same function during training and afterwards.

Arrays in, plain floats out: every value can be written to JSON and compared by model selection, so nothing here is NaN.
Reads no files, knows no model and draws nothing. `RegressionMetrics` is the same arithmetic as an `evaluate.Metric`; it
is a class of this file, not a script fetched from the Hub, so it works on nodes without internet.
"""

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

# Predictions whose spread is below this share of the labels' spread say the same about every sequence.
COLLAPSED = 0.05

logger = logging.getLogger(__name__)
PIECE = 1 << 16  # rows that are computed at once
REGRESSION_METRICS = ("pearsonr", "spearmanr", "mse", "rmse", "mae", "r2")


def regression_metrics(
    predictions: ArrayLike, labels: ArrayLike, names: Sequence[str] | None = None
) -> dict[str, float]:
    """Compares predictions with measured values.

    Everything is computed in float64, some rows at a time: besides its arguments it needs 24 bytes a row at most, where no
    label is missing. A correlation needs two rows and values that differ: for a constant prediction,
    constant labels or a single row, `pearsonr` and `spearmanr` are 0.0, because such a prediction orders nothing. `r2`
    is the coefficient of determination, 1 - sum((label - prediction)^2) / sum((label - mean label)^2), not the square
    of r: it is negative for a prediction worse than the mean label, and 0.0 where the labels are constant. Spearman's
    rho is Pearson's r of the ranks, equal values sharing their mean rank.

    Args:
        predictions: Numbers (n,) or (n, outputs), in the unit of the labels.
        labels: Measured values of the same shape, where (n,) and (n, 1) are the same; NaN where nothing was measured.
            Such rows are left out for that output only.
        names: Names of the outputs; by default 0, 1, ...

    Returns:
        The values of `REGRESSION_METRICS`; `mse` in squared label units, `rmse` and `mae` in label units. With several
        outputs, `<metric>_<name>` for each, and under `<metric>` their unweighted mean.

    Raises:
        ValueError: Shapes differ, there are no rows, names do not fit the outputs, a prediction is NaN or infinite, a
            label is infinite, or an output has no label at all.
    """
    columns = _columns(predictions, labels)
    n_outputs = columns[0].shape[1]
    names = [str(output) for output in range(n_outputs)] if names is None else list(names)
    if len(names) != n_outputs or len(set(names)) != n_outputs:
        raise ValueError(f"{n_outputs} outputs, but the names {names}: one name for each is needed, none twice")
    per_output = []
    for name, x, y in zip(names, *(values.T for values in columns), strict=True):
        predicted, known = _known(x, y)
        if not len(known):
            raise ValueError(f"output {name!r} has no measured value in {len(y)} rows: nothing to compare with")
        per_output.append(_compare(predicted, known))
    result = {metric: float(np.mean([output[metric] for output in per_output])) for metric in REGRESSION_METRICS}
    if n_outputs > 1:
        for name, output in zip(names, per_output, strict=True):
            result |= {f"{metric}_{name}": value for metric, value in output.items()}
    return result


def prediction_spread(predictions: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """Says how much predictions vary, relative to the labels: near 0, the model has collapsed to a constant.

    A regression to the mean is no collapse: the best prediction from noisy data has a ratio of about the correlation.

    Args:
        predictions: Numbers (n,) or (n, outputs).
        labels: Measured values of the same shape; NaN where nothing was measured (the row is left out on both sides).

    Returns:
        SD(predictions) / SD(labels), float64 (outputs,); 1.0 where the labels themselves do not vary, because then
        nothing can be said.

    Raises:
        ValueError: Shapes differ, there are no rows, a prediction is NaN or infinite, or a label is infinite.
    """
    predicted, measured = _columns(predictions, labels)
    ratios = np.ones(predicted.shape[1])
    for output, (x, y) in enumerate(zip(predicted.T, measured.T, strict=True)):
        x, y = _known(x, y)
        if not _is_constant(y):
            ratios[output] = math.sqrt(_variance(x) / _variance(y))
    return ratios


def _columns(predictions: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Brings both to float (n, outputs) and refuses what cannot be compared; float32 and float64 stay as they are."""
    x, y = (values if values.dtype in (np.float32, np.float64) else values.astype(np.float64)
            for values in (np.asarray(predictions), np.asarray(labels)))  # fmt: skip
    shapes = f"predictions {x.shape}, labels {y.shape}"
    x, y = (array[:, None] if array.ndim == 1 else array for array in (x, y))
    if x.ndim != 2 or x.shape != y.shape:
        raise ValueError(f"{shapes}: both must be (n,) or (n, outputs), and of the same shape")
    if x.size == 0:
        raise ValueError(f"{shapes}: there are no rows to compare")
    bad = ~np.isfinite(x).all(axis=1)
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(
            f"{bad.sum()} of {len(x)} rows have a prediction that is NaN or infinite, first row {row} (from 0): "
            f"{x[row].tolist()}; if a model gave it, train with a lower --learning_rate"
        )
    if np.isinf(y).any():
        row = int(np.isinf(y).any(axis=1).argmax())
        raise ValueError(f"label of row {row} (from 0) is infinite: allowed are numbers, and NaN for a missing one")
    return x, y


def _known(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leaves the rows without a label out; without such rows nothing is copied."""
    known = ~np.isnan(y)
    return (x, y) if known.all() else (x[known], y[known])


def _is_constant(values: np.ndarray) -> bool:
    """Tells whether values (n,) differ by less than float64 arithmetic can resolve."""
    if len(values) < 2:
        return True
    low, high = float(values.min()), float(values.max())
    return high - low <= 1e-13 * max(abs(low), abs(high))


def _mean(n: int, term: Callable[[slice], np.ndarray]) -> float:
    """The mean of a term, float64, that is computed for some rows at a time, so that no copy of all rows is made."""
    pieces = [slice(start, start + PIECE) for start in range(0, n, PIECE)]
    return math.fsum(float(term(piece).sum(dtype=np.float64)) for piece in pieces) / n


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's r of two columns (n,) that are not constant, about their means."""
    mean_x, mean_y = (_mean(len(values), lambda piece, values=values: values[piece]) for values in (x, y))

    def product(piece: slice) -> np.ndarray:
        return np.subtract(x[piece], mean_x, dtype=np.float64) * np.subtract(y[piece], mean_y, dtype=np.float64)

    r = _mean(len(x), product) / (math.sqrt(_variance(x)) * math.sqrt(_variance(y)))
    return min(1.0, max(-1.0, r))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Twice the ranks of values (n,) from 1, equal values sharing their mean rank: int64 (n,), exact."""
    ordered, ranks = np.sort(values), np.empty(len(values), np.int64)
    for start in range(0, len(values), PIECE):
        piece = slice(start, start + PIECE)
        ranks[piece] = ordered.searchsorted(values[piece], "left") + ordered.searchsorted(values[piece], "right") + 1
    return ranks


def _compare(predicted: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    """Computes all metrics of one output, float (n,) each, nothing missing."""
    n, wide = len(predicted), np.float64
    mse = _mean(n, lambda piece: np.subtract(measured[piece], predicted[piece], dtype=wide) ** 2)
    mae = _mean(n, lambda piece: np.abs(np.subtract(measured[piece], predicted[piece], dtype=wide)))
    is_constant = _is_constant(measured)
    r = rho = 0.0
    if not is_constant and not _is_constant(predicted):
        r = _correlation(predicted, measured)
        rho = _correlation(_ranks(predicted), _ranks(measured))
    return {
        "pearsonr": r,
        "spearmanr": rho,
        "mse": mse,
        "rmse": mse**0.5,
        "mae": mae,
        "r2": 0.0 if is_constant else 1 - mse / _variance(measured),
    }


def _variance(values: np.ndarray) -> float:
    mean = _mean(len(values), lambda piece: values[piece])
    return _mean(len(values), lambda piece: np.subtract(values[piece], mean, dtype=np.float64) ** 2)


def __getattr__(name: str) -> Any:
    """Makes `RegressionMetrics` when it is first asked for: importing `evaluate` imports torch, which takes seconds."""
    if name != "RegressionMetrics":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import datasets
    import evaluate

    class RegressionMetrics(evaluate.Metric):
        """`regression_metrics` behind the interface of Hugging Face `evaluate`, without a download.

        `RegressionMetrics().compute(predictions=..., references=...)` takes numbers (n,) or (n, outputs), and `names=`.
        Rows stay in memory, so that processes that evaluate side by side share no file; to gather the rows of N
        processes into one result, give `num_process=N, process_id=I, experiment_id=NAME`, and only process 0 gets it.
        """

        __qualname__ = "RegressionMetrics"

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.setdefault("keep_in_memory", kwargs.get("num_process", 1) == 1)
            super().__init__(*args, **kwargs)

        def _info(self) -> evaluate.MetricInfo:
            number = datasets.Value("float64")
            return evaluate.MetricInfo(
                description="Pearson r, Spearman rho, MSE, RMSE, MAE and coefficient of determination.",
                citation="",
                inputs_description="predictions, references: float (n,) or (n, outputs); NaN reference = missing.",
                features=[
                    datasets.Features({"predictions": feature, "references": feature})
                    for feature in (number, datasets.List(number))
                ],
            )

        def _compute(
            self, predictions: ArrayLike, references: ArrayLike, names: Sequence[str] | None = None
        ) -> dict[str, float]:
            return regression_metrics(predictions, references, names)

    globals()[name] = RegressionMetrics
    return RegressionMetrics


def warn_if_collapsed(spread: np.ndarray, names: Sequence[str]) -> list[str]:
    """Warns of outputs that say the same about every sequence, and returns their names.

    Args:
        spread: float array (outputs,), standard deviation of the predictions over that of the labels.
        names: of the outputs.
    """
    collapsed = [name for name, ratio in zip(names, spread, strict=True) if ratio < COLLAPSED]
    for name in collapsed:
        logger.warning(
            "%s: predictions hardly differ between sequences (their spread is below %.0f %% of the labels'). Normal in the "
            "first evaluations; later, try another --learning_rate, more epochs, or look at the labels",
            name,
            100 * COLLAPSED,
        )
    return collapsed

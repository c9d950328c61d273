"""Metrics for DNA models, as an `evaluate` module that any project loads offline from its folder.

    import evaluate

    regression = evaluate.load("kmerbert/scoring/dna_metrics", "regression")
    regression.compute(predictions=[10.5, 12.0, 9.1], references=[11.0, 12.5, 8.7])
    masked_lm = evaluate.load("kmerbert/scoring/dna_metrics", "masked_lm")

`regression` compares predictions with measured values: Pearson's r, Spearman's rho, MSE, RMSE, MAE and the coefficient of
determination. `masked_lm` sums what was counted of masked tokens: accuracy, perplexity, accuracy of single bases. Arrays
in, plain floats out: every value can be written to JSON and compared by model selection, so none of them is NaN.

This file imports nothing of the project: `evaluate` copies it elsewhere before it runs.
"""

import math
from collections.abc import Callable, Sequence

import datasets
import evaluate
import numpy as np
from numpy.typing import ArrayLike

PIECE = 1 << 16  # rows that are computed at once: scipy would do, but needs several copies of a million rows
SMALLEST_VARIANCE = 1e-290  # below about 1e-308, float64 loses digits
REGRESSION = ("pearsonr", "spearmanr", "mse", "rmse", "mae", "r2")


class DnaMetrics(evaluate.Metric):
    """Metrics of regression or of masked language modelling, by the name of the configuration."""

    def _info(self) -> evaluate.MetricInfo:
        number = datasets.Value("float64")
        if self.config_name == "masked_lm":
            return evaluate.MetricInfo(
                description="Accuracy and perplexity of masked k-mers, and accuracy of single hidden bases.",
                citation="",
                inputs_description=masked_lm_metrics.__doc__,
                features=datasets.Features({"predictions": datasets.List(number)}),
            )
        if self.config_name not in ("regression", "default"):
            raise ValueError(f"configuration {self.config_name!r}: allowed are regression and masked_lm")
        return evaluate.MetricInfo(
            description="Pearson's r, Spearman's rho, MSE, RMSE, MAE and the coefficient of determination.",
            citation="",
            inputs_description=regression_metrics.__doc__,
            features=[
                datasets.Features({"predictions": feature, "references": feature})
                for feature in (number, datasets.List(number))
            ],
        )

    def compute(
        self, *, predictions: ArrayLike | None = None, references: ArrayLike | None = None, **options: object
    ) -> dict[str, float] | None:
        """Computes the metrics; arrays of one process are used as they are, without a copy in an Arrow file."""
        if predictions is None or self.num_process > 1:
            return super().compute(predictions=predictions, references=references, **options)
        if self.config_name == "masked_lm":
            return self._compute(predictions, **options)
        return self._compute(predictions, references, **options)

    def _compute(
        self, predictions: ArrayLike, references: ArrayLike | None = None, names: Sequence[str] | None = None
    ) -> dict[str, float]:
        if self.config_name == "masked_lm":
            return masked_lm_metrics(predictions)
        return regression_metrics(predictions, references, names)


def regression_metrics(
    predictions: ArrayLike, references: ArrayLike, names: Sequence[str] | None = None
) -> dict[str, float]:
    """Compares predictions with measured values.

    Everything is computed in float64, some rows at a time: it needs at most 24 bytes a row in addition to its arguments,
    if no value is missing. A correlation needs two rows and values that differ: for a constant prediction, constant
    references or a single row, `pearsonr` and `spearmanr` are 0.0, because such a prediction orders nothing. `r2` is the
    coefficient of determination, 1 - sum((reference - prediction)^2) / sum((reference - mean reference)^2), not the square
    of r: it is negative for a prediction worse than the mean, and 0.0 if the references are constant. Spearman's rho is
    Pearson's r of the ranks, equal values sharing their mean rank.

    Args:
        predictions: Numbers (n,) or (n, outputs), in the unit of the references.
        references: Measured values of the same shape, where (n,) and (n, 1) are the same; NaN where nothing was measured.
            Such rows are left out for that output only.
        names: Names of the outputs; by default 0, 1, ...

    Returns:
        `pearsonr spearmanr mse rmse mae r2`; `mse` in squared units of the references, `rmse` and `mae` in their unit. With
        several outputs, `<metric>_<name>` for each, and under `<metric>` their unweighted mean.

    Raises:
        ValueError: Shapes differ, there are no rows, names do not fit the outputs, a prediction is NaN or infinite, a
            reference is infinite, or an output has no reference at all.
    """
    columns = _columns(predictions, references)
    n_outputs = columns[0].shape[1]
    names = [str(output) for output in range(n_outputs)] if names is None else list(names)
    if len(names) != n_outputs or len(set(names)) != n_outputs:
        raise ValueError(f"{n_outputs} outputs, but the names {names}: each output needs one name of its own")
    by_output = []
    for name, x, y in zip(names, *(values.T for values in columns), strict=True):
        known = ~np.isnan(y)
        if not known.any():
            raise ValueError(f"output {name!r} has no measured value in {len(y)} rows: nothing to compare with")
        x, y = (x, y) if known.all() else (x[known], y[known])  # nothing is copied if nothing is missing
        by_output.append(_compare(x, y))
    metrics = {metric: float(np.mean([output[metric] for output in by_output])) for metric in REGRESSION}
    if n_outputs > 1:
        for name, output in zip(names, by_output, strict=True):
            metrics |= {f"{metric}_{name}": value for metric, value in output.items()}
    return metrics


def masked_lm_metrics(counts: ArrayLike) -> dict[str, float]:
    """Sums counts of masked tokens and hidden bases.

    Args:
        counts: Numbers (5,) or (n, 5): tokens to predict, those predicted right, their negative log-likelihood (nats),
            hidden bases, those predicted right.

    Returns:
        `accuracy` of masked tokens, `perplexity` per masked token, `base_accuracy` of hidden bases (0.25 is a guess among
        four letters), and `hidden_bases`, their number.
    """
    tokens, right, nll, bases, right_bases = np.asarray(counts, dtype=np.float64).reshape(-1, 5).sum(axis=0)
    return {
        "accuracy": float(right / max(tokens, 1)),
        "perplexity": float(np.exp(min(nll / max(tokens, 1), 700.0))),
        "base_accuracy": float(right_bases / max(bases, 1)),
        "hidden_bases": float(bases),
    }


def _columns(predictions: ArrayLike, references: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both as float (n, outputs), float32 and float64 as they are; ValueError for what cannot be compared."""
    x, y = (
        values if values.dtype in (np.float32, np.float64) else values.astype(np.float64)
        for values in (np.asarray(predictions), np.asarray(references))
    )
    shapes = f"predictions {x.shape}, references {y.shape}"
    x, y = (array[:, None] if array.ndim == 1 else array for array in (x, y))
    if x.ndim != 2 or x.shape != y.shape:
        raise ValueError(f"{shapes}: both must be (n,) or (n, outputs), and of the same shape")
    if x.size == 0:
        raise ValueError(f"{shapes}: there are no rows to compare")
    is_bad = ~np.isfinite(x).all(axis=1)
    if is_bad.any():
        row = int(is_bad.argmax())
        raise ValueError(
            f"{is_bad.sum()} of {len(x)} rows have a prediction that is NaN or infinite, first row {row} (from 0): "
            f"{x[row].tolist()}; if it comes from a model, train with a lower `learning_rate`"
        )
    if np.isinf(y).any():
        row = int(np.isinf(y).any(axis=1).argmax())
        raise ValueError(f"reference of row {row} (from 0) is infinite: allowed are numbers, and NaN for a missing one")
    return x, y


def _compare(predicted: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    """All metrics of one output, float (n,) each, nothing missing."""
    n = len(predicted)
    mse = _mean(n, lambda piece: np.subtract(measured[piece], predicted[piece], dtype=np.float64) ** 2)
    mae = _mean(n, lambda piece: np.abs(np.subtract(measured[piece], predicted[piece], dtype=np.float64)))
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


def _is_constant(values: np.ndarray) -> bool:
    """Tells whether values (n,) differ by less than float64 arithmetic can resolve."""
    if len(values) < 2:
        return True
    low, high = float(values.min()), float(values.max())
    return high - low <= 1e-13 * max(abs(low), abs(high))


def _mean(n: int, term: Callable[[slice], np.ndarray]) -> float:
    """The mean of a term, float64, computed for some rows at a time, so that no copy of all rows is made."""
    pieces = [slice(start, start + PIECE) for start in range(0, n, PIECE)]
    return math.fsum(float(term(piece).sum(dtype=np.float64)) for piece in pieces) / n


def _variance(values: np.ndarray) -> float:
    """Variance of values (n,) that are not constant; ValueError if it is too small for float64."""
    mean = _mean(len(values), lambda piece: values[piece])
    variance = _mean(len(values), lambda piece: np.subtract(values[piece], mean, dtype=np.float64) ** 2)
    if variance < SMALLEST_VARIANCE:
        raise ValueError(
            f"values from {values.min():g} to {values.max():g} differ too little for their squares: multiply predictions and "
            "references by a large number, such as 1e100"
        )
    return variance


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

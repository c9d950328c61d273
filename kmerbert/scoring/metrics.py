"""Metrics of regression and of masked language models: the same `evaluate` module during training and afterwards.

The arithmetic is in `dna_metrics/dna_metrics.py`, which `evaluate` loads from its folder without internet. Importing
`evaluate` takes seconds, so that happens when the first metric is computed and not before.
"""

import logging
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    import evaluate

logger = logging.getLogger(__name__)
FOLDER = Path(__file__).parent / "dna_metrics"
REGRESSION_METRICS = ("pearsonr", "spearmanr", "mse", "rmse", "mae", "r2")
MASKED_LM_METRICS = ("accuracy", "perplexity", "base_accuracy")
LOWER_IS_BETTER = ("loss", "mse", "rmse", "mae", "perplexity")
METRIC_LABELS = {
    "pearsonr": "Pearson r",
    "spearmanr": "Spearman ρ",
    "r2": "R² (coefficient of determination)",
    "mse": "mean squared error",
    "rmse": "root mean squared error",
    "mae": "mean absolute error",
    "perplexity": "perplexity",
    "accuracy": "accuracy of hidden tokens",
    "base_accuracy": "accuracy of hidden bases",
}
# Predictions whose spread is below this share of the labels' spread say the same about every sequence.
COLLAPSED = 0.05


@cache
def load_metrics(kind: str) -> "evaluate.EvaluationModule":
    """Loads the metrics of a kind, `regression` or `masked_lm`."""
    import evaluate

    return evaluate.load(str(FOLDER), kind)


def regression_metrics(
    predictions: ArrayLike, labels: ArrayLike, names: Sequence[str] | None = None
) -> dict[str, float]:
    """Compares predictions with measured values; see `regression_metrics` in `dna_metrics/dna_metrics.py`."""
    return load_metrics("regression").compute(predictions=predictions, references=labels, names=names)


def masked_lm_metrics(counts: ArrayLike) -> dict[str, float]:
    """Sums counts of masked tokens; see `masked_lm_metrics` in `dna_metrics/dna_metrics.py`."""
    return load_metrics("masked_lm").compute(predictions=counts)


def is_lower_better(metric: str) -> bool:
    """Tells whether low values of a metric, or of one output's (`mse_<name>`), are good.

    >>> is_lower_better("eval_loss"), is_lower_better("rmse_native"), is_lower_better("pearsonr")
    (True, True, False)
    """
    return metric.removeprefix("eval_").split("_")[0] in LOWER_IS_BETTER


def prediction_spread(predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Measures how much predictions vary relative to the labels: near 0, the model has collapsed to a constant.

    A regression to the mean is no collapse: the best prediction from noisy data has a ratio of about the correlation.

    Args:
        predictions: Float array (n, outputs).
        labels: Measured values of the same shape; NaN where nothing was measured (the row is then left out for both).

    Returns:
        SD(predictions) / SD(labels), float64 (outputs,); 1.0 where the labels themselves do not vary, because then
        nothing can be said.
    """
    ratios = np.ones(predictions.shape[1])
    for output, (x, y) in enumerate(zip(predictions.T, labels.T, strict=True)):
        known = ~np.isnan(y)
        if known.any() and np.ptp(y[known]) > 0:
            ratios[output] = x[known].std(dtype=np.float64) / y[known].std(dtype=np.float64)
    return ratios


def warn_if_collapsed(spread: np.ndarray, names: Sequence[str]) -> None:
    """Warns of outputs that say the same about every sequence.

    Args:
        spread: Float array (outputs,), standard deviation of the predictions over that of the labels.
        names: Names of the outputs.
    """
    for name in [name for name, ratio in zip(names, spread, strict=True) if ratio < COLLAPSED]:
        logger.warning(
            "%s: predictions hardly differ between sequences (their spread is below %.0f %% of the labels'). This is normal "
            "in the first evaluations; later, try another `learning_rate`, more epochs, or look at the labels",
            *(name, 100 * COLLAPSED),
        )

"""Labels as targets of a model: standardised for training, in the unit of the measured values for people."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

# Target of what is missing or not to be predicted: the value that torch's cross-entropy ignores, and that the Trainer does
# not count among the items of a batch. A measured value is standardised first and cannot reach it.
IGNORED = -100
# Models compute and answer in float32. If neighbouring float32 numbers of the labels' size are further apart than this share
# of their standard deviation, differences between rows are lost.
COARSEST = 0.01
# Standard deviations that leave room in float32 for weights that are smaller, and for values that are further from the mean.
SMALLEST, LARGEST = 1e-30, 1e30


def check_precision(name: str, values: np.ndarray, scale: float) -> None:
    """Checks that float32 can tell the values of an output apart.

    Args:
        name: Of the output.
        values: Float array (n,), some of its values or their extremes; NaN where missing.
        scale: Its standard deviation; 0 for a constant, of which nothing is said.

    Raises:
        ValueError: The values are so far from 0 that their differences are beyond the digits of float32, or these are too
            small or too large for it.
    """
    furthest = float(np.nanmax(np.abs(values)))
    if scale and not SMALLEST <= scale <= LARGEST:
        raise ValueError(
            f"{name}: values differ by {scale:.3g} (standard deviation), but models compute in float32 and need {SMALLEST:g} to "
            f"{LARGEST:g}: write the values in another unit"
        )
    if scale and np.spacing(np.float32(furthest)) > COARSEST * scale:
        raise ValueError(
            f"{name}: values up to {furthest:.10g} differ by {scale:.3g} only (standard deviation), but models compute in float32, "
            "which has 7 digits: subtract a constant, such as their mean, in the table"
        )


@dataclass(frozen=True)
class TargetScaler:
    """Mean and standard deviation of each measured value, in its own unit, over the training rows.

    `fit` also says the lowest and the highest value of each.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    lowest: tuple[float, ...] = ()
    highest: tuple[float, ...] = ()

    @classmethod
    def fit(cls, blocks: Iterable[np.ndarray], names: Sequence[str]) -> "TargetScaler":
        """Measures the training labels in one pass.

        Sums of squares are combined block by block (Chan, Golub and LeVeque 1983, doi:10.1080/00031305.1983.10483115).

        Args:
            blocks: Float arrays (n, outputs), NaN where missing.
            names: Of the outputs, for messages.

        Raises:
            ValueError: An output does not have two different values, or float32 cannot tell them apart.
        """
        n, mean, squares = (np.zeros(len(names)) for _ in range(3))
        lowest, highest = np.full(len(names), np.inf), np.full(len(names), -np.inf)
        for block in blocks:
            for output, column in enumerate(np.asarray(block, dtype=np.float64).T):
                known = column[~np.isnan(column)]
                if not len(known):
                    continue
                block_mean, total = known.mean(), n[output] + len(known)
                difference = block_mean - mean[output]
                squares[output] += ((known - block_mean) ** 2).sum() + difference**2 * n[output] * len(known) / total
                mean[output] += difference * (len(known) / total)
                n[output] = total
                lowest[output] = min(lowest[output], known.min())
                highest[output] = max(highest[output], known.max())
        for name, n_known, low, high in zip(names, n, lowest, highest, strict=True):
            if not n_known:
                raise ValueError(f"{name}: no training row has a value")
            if low == high:
                raise ValueError(f"{name}: all {n_known:.0f} training values are {low:g}; there is nothing to learn")
        scale = np.sqrt(squares / n)
        for name, *extremes, one_scale in zip(names, lowest, highest, scale, strict=True):
            check_precision(name, np.array(extremes), one_scale)
        return cls(*(tuple(values.tolist()) for values in (mean, scale, lowest, highest)))

    def transform(self, labels: np.ndarray) -> np.ndarray:
        """Returns float32 standardised labels (n, outputs); missing ones (NaN) become `IGNORED`."""
        scaled = (np.asarray(labels, dtype=np.float64) - self.mean) / self.scale
        return np.where(np.isnan(scaled), IGNORED, scaled).astype(np.float32)

    def invert(self, scaled: np.ndarray) -> np.ndarray:
        """Returns float64 values (n, outputs) in the labels' unit; `IGNORED` becomes NaN again."""
        scaled = np.asarray(scaled, dtype=np.float64).reshape(-1, len(self.mean))
        return np.where(scaled == IGNORED, np.nan, scaled) * self.scale + self.mean

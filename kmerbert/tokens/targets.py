"""Units of the measured values: standardised for training, restored for people. Knows no model and no file."""

from dataclasses import dataclass

import numpy as np

# The Trainer counts the labels that differ from this value, so it marks a missing one. A real label is standardised
# first and cannot reach it.
MISSING_LABEL = -100.0


@dataclass(frozen=True)
class TargetScaler:
    """Mean and standard deviation of each measured value, in its own unit, over the training rows."""

    mean: tuple[float, ...]
    scale: tuple[float, ...]

    @classmethod
    def fit(cls, labels: np.ndarray, names: list[str]) -> "TargetScaler":
        """Measures the training labels.

        Args:
            labels: float array (n, outputs), NaN where missing.
            names: of the outputs, for messages.

        Raises:
            ValueError: for an output without two different values.
        """
        labels = np.asarray(labels, dtype=np.float64)
        means, scales = [], []
        for column, name in zip(labels.T, names, strict=True):
            known = column[~np.isnan(column)]
            if len(known) == 0:
                raise ValueError(f"{name}: no training row has a value")
            if np.ptp(known) == 0:
                raise ValueError(
                    f"{name}: all {len(known)} training values are {known[0]:g}; there is nothing to learn"
                )
            means.append(float(known.mean()))
            scales.append(float(known.std()))
        return cls(tuple(means), tuple(scales))

    def transform(self, labels: np.ndarray) -> np.ndarray:
        """Returns float32 standardised labels (n, outputs); missing ones (NaN) become `MISSING_LABEL`."""
        scaled = (np.asarray(labels, dtype=np.float64) - self.mean) / self.scale
        return np.where(np.isnan(scaled), MISSING_LABEL, scaled).astype(np.float32)

    def invert(self, scaled: np.ndarray) -> np.ndarray:
        """Returns float64 values (n, outputs) in the labels' unit; `MISSING_LABEL` becomes NaN again."""
        scaled = np.asarray(scaled, dtype=np.float64).reshape(-1, len(self.mean))
        return np.where(scaled == MISSING_LABEL, np.nan, scaled) * self.scale + self.mean

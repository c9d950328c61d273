"""How accurate a model would be with more rows, from how accurate it is with fewer.

Pearson's r on held-out rows is described as r(n) = limit - loss * n ** -rate, an inverse power law of the number of training
rows n, fitted by least squares in which larger numbers of rows count more, in proportion (Figueroa et al. 2012,
doi:10.1186/1472-6947-12-8; that errors of networks fall by power laws: Hestness et al. 2017, arXiv:1712.00409).

The interval is that of a bootstrap in which the numbers of rows and the seeds are both drawn again (Owen 2007,
doi:10.1214/07-AOAS122), so that it is also wide where the curve depends on one of its points. In simulated curves of four
numbers of rows and three seeds, 95 % intervals held the true r of twice as many rows in 87 to 98 % of cases. With three numbers
of rows only the seeds are drawn, so that intervals are too narrow. All is about the same held-out rows, and more rows of the
same kind.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

# Rates that are tried: from a curve that seems endless to one that ends with the points.
RATES = np.linspace(0.1, 1.5, 57)
LEAST_SIZES = 3  # as many as the curve has parameters
N_DRAWS, COVERAGE = 1000, 0.95


class PowerLaw(NamedTuple):
    """A curve r(n) = limit - loss * (n / scale) ** -rate, or several as arrays (curves,)."""

    limit: float | np.ndarray
    loss: float | np.ndarray
    rate: float | np.ndarray
    scale: float | np.ndarray

    def at(self, n_rows: np.ndarray | float) -> np.ndarray:
        """The curve at some numbers of rows, float64 of the same shape; several curves at one number, float64 (curves,)."""
        return self.limit - self.loss * (np.asarray(n_rows, np.float64) / self.scale) ** -self.rate


def fit_power_law(n_rows: np.ndarray, r: np.ndarray) -> PowerLaw:
    """Fits the curve; it never falls, and its limit is 1 or less.

    Args:
        n_rows: Numbers of rows (m,), of at least three sizes.
        r: Pearson's r (m,).
    """
    n_rows, r = np.asarray(n_rows, np.float64), np.asarray(r, np.float64)
    scale = float(n_rows.max())
    weights = (n_rows / scale)[:, None]
    powers = (n_rows / scale)[:, None] ** -RATES  # (m, rates): for each rate, the rest is a straight line
    total, measured = weights.sum(), r[:, None]
    mean_power, mean_r = (weights * powers).sum(axis=0) / total, (weights * measured).sum() / total
    slope = (weights * (powers - mean_power) * (measured - mean_r)).sum(axis=0)
    loss = np.maximum(-slope / (weights * (powers - mean_power) ** 2).sum(axis=0), 0.0)
    limit = mean_r + loss * mean_power
    loss_below_1 = (weights * powers * (1 - measured)).sum(axis=0) / (weights * powers**2).sum(axis=0)
    loss, limit = np.where(limit > 1, loss_below_1, loss), np.minimum(limit, 1.0)
    best = int((weights * (measured - limit + loss * powers) ** 2).sum(axis=0).argmin())
    return PowerLaw(float(limit[best]), float(loss[best]), float(RATES[best]), scale)


class Expected(NamedTuple):
    """Pearson's r that a curve expects, and the interval around it; NaN if there are too few trainings for one."""

    r: float
    low: float
    high: float

    def __str__(self) -> str:
        if np.isnan(self.low):
            return f"r {self.r:.2f} (without an interval, which needs more seeds or fractions)"
        return f"r {self.r:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True)
class LearningCurve:
    """A fitted curve, and those of all draws of the bootstrap."""

    curve: PowerLaw
    draws: PowerLaw
    has_interval: bool

    @classmethod
    def fit(cls, n_rows: np.ndarray, r: np.ndarray, seed: int = 0) -> "LearningCurve":
        """Fits the curve to trainings with several sizes and seeds.

        Args:
            n_rows: Training rows, int array (sizes, seeds).
            r: Pearson's r of the same trainings, float array (sizes, seeds).
            seed: Of the bootstrap.

        Raises:
            ValueError: There are fewer than three sizes.
        """
        n_rows, r = np.asarray(n_rows), np.asarray(r, np.float64)
        n_sizes, n_seeds = r.shape
        if n_sizes < LEAST_SIZES:
            raise ValueError(f"`fractions`: {n_sizes} sizes: a curve needs {LEAST_SIZES} or more")
        random, draws = np.random.default_rng(seed), []
        while len(draws) < N_DRAWS:
            sizes = random.integers(0, n_sizes, n_sizes)
            if len(set(sizes.tolist())) >= LEAST_SIZES:
                drawn = np.ix_(sizes, random.integers(0, n_seeds, n_seeds))
                draws.append(fit_power_law(n_rows[drawn].ravel(), r[drawn].ravel()))
        has_interval = n_seeds > 1 or n_sizes > LEAST_SIZES  # otherwise every draw has the same points
        return cls(fit_power_law(n_rows.ravel(), r.ravel()), PowerLaw(*np.array(draws).T), has_interval)

    def expect(self, n_rows: float) -> Expected:
        """What the curve expects of a number of training rows."""
        r = float(self.curve.at(n_rows))
        if not self.has_interval:
            return Expected(r, math.nan, math.nan)
        low, high = np.quantile(self.draws.at(n_rows), [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
        return Expected(r, min(float(low), r), max(float(high), r))


def describe(
    n_rows: np.ndarray, r: np.ndarray, ridge: np.ndarray, more_rows: Sequence[int], held_out: str
) -> list[str]:
    """Says what a learning curve shows, in plain lines.

    Args:
        n_rows: Training rows, int array (sizes, seeds), rising along the sizes.
        r, ridge: Pearson's r of the model and of ridge regression, float arrays of the same shape.
        more_rows: Numbers of rows that might be added.
        held_out: Which rows r is of.
    """
    curve, most = LearningCurve.fit(n_rows, r), int(n_rows[-1].max())
    n_seeds = r.shape[1]
    spread = f", SD {r[-1].std(ddof=1):.3f} between {n_seeds} seeds" if n_seeds > 1 else ""
    now = f"with all {most:,} training rows: r {r[-1].mean():.3f} of the {held_out} rows{spread}"
    lines = [f"{now}; ridge regression {ridge[-1].mean():.3f}"]
    lines += [f"with {more:,} more rows expect {curve.expect(most + more)}" for more in more_rows]
    if len(n_rows) > LEAST_SIZES:
        before = LearningCurve.fit(n_rows[:-1], r[:-1]).expect(float(n_rows[-1].mean()))
        lines.append(
            f"check: from {int(n_rows[-2].max()):,} rows and fewer, the curve expected {before} of all {most:,}; measured: "
            f"{r[-1].mean():.2f}"
        )
    return lines

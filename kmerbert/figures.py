"""Figures. This is the only module that imports matplotlib.

Every function takes arrays or tables and `ax=None`, draws on those axes or on a new figure, and returns the axes; the
caller saves them with `axes.figure.savefig(path)`. Nothing is saved, shown or closed here, no global style is set, and
pyplot is not needed: figures need no display and leave nothing behind in a long program. Colours are those of Okabe and
Ito (https://jfly.uni-koeln.de/color/), which colour-blind readers can tell apart; line styles and markers differ as well,
for readers of a grey copy.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator
from numpy.typing import ArrayLike
from scipy.stats import pearsonr, spearmanr

BLUE, VERMILLION, GREY = "#0072B2", "#D55E00", "#666666"
MOST_POINTS = 400  # more would hide each other
# The palest tenth of the map would vanish on white paper; dark means many, also in a grey copy.
COUNTS = ListedColormap(matplotlib.colormaps["viridis_r"](np.linspace(0.12, 1.0, 256)), name="counts")


def plot_predicted_against_measured(
    predicted: ArrayLike,
    measured: ArrayLike,
    ax: Axes | None = None,
    unit: str = "",
    title: str = "",
    same_scale: bool | None = None,
    is_difference: bool = False,
) -> Axes:
    """Draws predictions against measured values: few rows as points, many as counts in hexagons.

    Args:
        predicted: Numbers (n,), in the unit of the predictions.
        measured: Measured values (n,); rows where they are NaN are left out.
        ax: Axes to draw on.
        unit: Unit of the measured values, for the axis labels.
        title: Heading.
        same_scale: Whether both are on the same scale: the axes then have the same limits, and the line of equality is
            drawn. (The DREAM 2022 test labels are on another scale than the training labels,
            doi:10.1038/s41587-024-02414-w.) None: decided by `on_same_scale`.
        is_difference: Whether both are differences between two sequences. The axes then say so and are crossed at zero,
            in their middle: predictions of the right sign lie in two of the four quarters.

    Returns:
        The axes; Pearson's r, Spearman's rho and the number of rows are in a corner.

    Raises:
        ValueError: Shapes differ, a prediction is NaN or infinite, or no row has a measured value.
    """
    x, y = np.asarray(measured, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"predicted {y.shape} and measured {x.shape} must be (n,), and of the same shape")
    x, y = x[~np.isnan(x)], y[~np.isnan(x)]
    if not (len(x) and np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("nothing to draw: no row with a measured value, or values that are NaN or infinite")
    same_scale = on_same_scale(y, x) if same_scale is None else same_scale
    ax = ax or _new_axes(5.2, 4.4)
    # With its mirror image, a range has 0 in its middle.
    x_range, y_range = ((x, -x), (y, -y)) if is_difference else ((x,), (y,))
    x_limits, y_limits = (_limits(*x_range, *y_range),) * 2 if same_scale else (_limits(*x_range), _limits(*y_range))
    if is_difference:
        for line in (ax.axhline, ax.axvline):
            line(0, color=GREY, linewidth=0.8, linestyle=":", zorder=1)
    if same_scale:
        ax.axline((x_limits[0], x_limits[0]), slope=1, color=GREY, linewidth=1, linestyle=(0, (5, 3)), label="equality")
    if len(x) <= MOST_POINTS:
        ax.plot(x, y, "o", color=BLUE, markersize=4, alpha=0.5, markeredgewidth=0, zorder=2)
    else:
        _draw_counts(ax, x, y, (*x_limits, *y_limits), "pairs" if is_difference else "rows")
    ax.set(xlim=x_limits, ylim=y_limits, box_aspect=1, title=title)
    what = " difference" if is_difference else ""
    y_unit = unit if same_scale else "the model's own scale"
    ax.set_xlabel(f"measured{what}" + (f" ({unit})" if unit else ""))
    ax.set_ylabel(f"predicted{what}" + (f" ({y_unit})" if y_unit else ""))
    box = {"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
    ax.text(0.035, 0.965, _agreement(y, x), transform=ax.transAxes, va="top", bbox=box, zorder=3, linespacing=1.35)
    _tidy(ax)
    return ax


def _draw_counts(ax: Axes, x: np.ndarray, y: np.ndarray, extent: tuple[float, ...], noun: str) -> None:
    """Draws how many rows (n,) fall into each hexagon, and the scale of the colours."""
    hexagons = ax.hexbin(x, y, gridsize=(52, 30), extent=extent, mincnt=1, cmap=COUNTS, linewidths=0.15, zorder=2)
    hexagons.set_norm(LogNorm(1, max(10, hexagons.get_array().max())))
    style = {"ticks": LogLocator(subs=(1, 2, 5)), "format": "%d", "pad": 0.03, "aspect": 30}
    ax.figure.colorbar(hexagons, ax=ax, label=f"{noun} per hexagon", **style).minorticks_off()


def on_same_scale(predicted: np.ndarray, measured: np.ndarray) -> bool:
    """Guesses whether predictions are in the unit of the measured values.

    They are if the ranges of their middle nine tenths overlap, and that of the predictions is at most three times as wide.
    Predictions that have collapsed to the mean pass, too.

    Args:
        predicted: Numbers (n,).
        measured: Numbers (n,), none missing.
    """
    (low, high), (measured_low, measured_high) = (np.percentile(values, (5, 95)) for values in (predicted, measured))
    overlap = low <= measured_high and measured_low <= high
    return bool(overlap and high - low <= 3 * (measured_high - measured_low))


def plot_training_curves(
    log_history: Sequence[Mapping[str, Any]],
    ax: Axes | None = None,
    metric: str | None = None,
    label: str | None = None,
    is_lower_better: bool = False,
    title: str = "",
    saved_step: int | None = None,
) -> Axes:
    """Draws the loss, and one evaluation metric on a second axis, against the training step.

    Args:
        log_history: The list under `log_history` in the Trainer's `trainer_state.json`. If a step was evaluated twice, the
            first time counts: the second is the best model, evaluated again when training was over.
        ax: Axes of the loss.
        metric: Name of the metric without `eval_`; None for the loss alone.
        label: What the figure calls the metric; None for its name.
        is_lower_better: Whether low values of the metric are good.
        title: Heading.
        saved_step: The step whose weights the run saved, which need not be the best by this metric; None if that is not
            known.

    Returns:
        The axes of the loss; those of the metric are the last of `axes.figure.axes`. The saved step is marked, or otherwise
        the best by the metric or by the evaluation loss.

    Raises:
        ValueError: There is no loss to draw, or no such metric.
    """
    train, evaluated = _series(log_history, "loss"), _series(log_history, "eval_loss")
    chosen = _series(log_history, f"eval_{metric}") if metric else evaluated
    if not (train or evaluated):
        raise ValueError(
            "log_history has neither 'loss' nor 'eval_loss': give the trainer_state.json of a training run"
        )
    if metric and not chosen:
        metrics = sorted({key[5:] for row in log_history for key in row if key.startswith("eval_")})
        raise ValueError(f"log_history has no 'eval_{metric}'; its metrics are: {', '.join(metrics) or 'none'}")
    ax = ax or _new_axes(6.4, 4.2)
    lines = ax.plot(*_points(train), color=BLUE, linewidth=1, alpha=0.6, label="training loss") if train else []
    if evaluated:
        lines += ax.plot(
            *_points(evaluated), color=BLUE, linestyle="--", marker="o", markersize=4, label="validation loss"
        )
    ax.set(xlabel="training step", ylabel="loss", title=title)
    second = ax
    if metric:
        second = ax.twinx()
        name = label or metric
        lines += second.plot(*_points(chosen), color=VERMILLION, marker="s", markersize=4, label=f"validation {name}")
        second.set_ylabel(name, color=VERMILLION)
        ax.yaxis.label.set_color(BLUE)
    if chosen and saved_step is None:
        best = (min if is_lower_better or not metric else max)(chosen, key=chosen.__getitem__)
        lines.append(_mark(second, best, chosen[best], "best"))
    elif chosen:
        lines.append(_mark(second, saved_step, chosen.get(saved_step), "saved model"))
    _tidy(ax, second)
    ax.legend(handles=lines, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False)
    return ax


def plot_learning_curve(
    series: Mapping[str, tuple[ArrayLike, ArrayLike]],
    curves: Mapping[str, tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike]],
    ax: Axes | None = None,
    title: str = "",
    held_out: str = "held-out",
) -> Axes:
    """Draws Pearson's r against the number of training rows, measured and as a curve expects it.

    Args:
        series: Name of a model -> training rows (m,) and r (m,) of its trainings.
        curves: Name of a model -> rows (p,), rising, expected r (p,), and the ends of its interval (p,) each. Beyond the
            measured rows, the curve is dashed.
        ax: Axes to draw on.
        title: Heading.
        held_out: Which rows r is of.
    """
    ax = ax or _new_axes(6.0, 4.2)
    for (name, (n_rows, r)), colour in zip(series.items(), (BLUE, VERMILLION, GREY), strict=False):
        ax.plot(n_rows, r, "o", color=colour, markersize=5, alpha=0.7, markeredgewidth=0, zorder=3, label=name)
        if name not in curves:
            continue
        at, expected, low, high = (np.asarray(values, np.float64) for values in curves[name])
        is_measured = at <= np.max(n_rows)
        ax.fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0, zorder=1, label=f"{name}, 95 % interval")
        ax.plot(at[is_measured], expected[is_measured], color=colour, linewidth=1.3, zorder=2)
        beyond = at >= at[is_measured][-1]
        ax.plot(at[beyond], expected[beyond], color=colour, linewidth=1.3, linestyle=(0, (4, 2)), zorder=2)
    ax.set_xscale("log")
    ticks = sorted({float(n) for n in np.round(np.concatenate([np.unique(n) for n, _ in series.values()]))})
    ends = sorted({float(np.max(at)) for at, *_ in curves.values()})
    ax.set_xticks(_apart([*ticks, *ends]), minor=False)
    ax.set_xticks([], minor=True)
    ax.xaxis.set_major_formatter(lambda n, _: f"{n:,.0f}")
    ax.set(xlabel="training rows", ylabel=f"Pearson r of the {held_out} rows", title=title)
    _tidy(ax)
    ax.legend(loc="lower right", frameon=False)
    return ax


def _apart(values: Sequence[float]) -> list[float]:
    """Values, from the largest down, that are at least a third apart, so that their labels do not touch on a log scale."""
    chosen: list[float] = []
    for value in sorted(values, reverse=True):
        if not chosen or value < chosen[-1] / 1.33:
            chosen.append(value)
    return sorted(chosen)


def _new_axes(width: float, height: float) -> Axes:
    """Makes axes on a new figure; width and height in inches."""
    return Figure(figsize=(width, height), layout="constrained").add_subplot()


def _tidy(*axes: Axes) -> None:
    """Removes the frame where it has no scale."""
    for ax in axes:
        ax.spines["top"].set_visible(False)
    axes[0].spines["right"].set_visible(len(axes) > 1 and axes[1] is not axes[0])


def _limits(*values: np.ndarray) -> tuple[float, float]:
    """Axis limits that include all values, with a margin; never of zero width."""
    low, high = min(float(array.min()) for array in values), max(float(array.max()) for array in values)
    margin = 0.04 * (high - low) or 0.04 * abs(high) or 1.0
    return low - margin, high + margin


def _agreement(predicted: np.ndarray, measured: np.ndarray) -> str:
    """Text with r, rho and n; values that do not vary have no correlation."""
    n = f"n = {len(measured):,}"
    if len(measured) < 2 or np.ptp(predicted) == 0 or np.ptp(measured) == 0:
        return f"no correlation: constant\n{n}"
    r, rho = pearsonr(predicted, measured).statistic, spearmanr(predicted, measured).statistic
    return f"r = {r:.3f}\nρ = {rho:.3f}\n{n}".replace("-", "\N{MINUS SIGN}")


def _series(log_history: Sequence[Mapping[str, Any]], key: str) -> dict[int, float]:
    """The first finite value of a key at every step that has one; a run that diverged also has NaN."""
    series: dict[int, float] = {}
    for row in log_history:
        if key in row and np.isfinite(row[key]):
            series.setdefault(int(row["step"]), float(row[key]))
    return series


def _points(series: Mapping[int, float]) -> tuple[list[int], list[float]]:
    """x and y of a line."""
    return list(series), list(series.values())


def _mark(ax: Axes, step: int, value: float | None, what: str) -> Line2D:
    """Rings a value, and returns the ring for the legend, where its label crosses no line; without a value, a line alone."""
    line = ax.axvline(step, color=GREY, linewidth=0.8, linestyle=":", zorder=0)
    if value is None:
        line.set_label(f"{what}: step {step:,}, not evaluated")
        return line
    style = {"markersize": 10, "fillstyle": "none", "color": "black", "linestyle": ""}
    (ring,) = ax.plot(step, value, "o", label=f"{what}: {value:.3g} at step {step:,}", **style)
    return ring

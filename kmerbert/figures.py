"""Figures. This is the only module that imports matplotlib.

Every function takes arrays or tables and `ax=None`, draws on those axes or on a new figure, and returns the axes; the
caller saves them with `axes.figure.savefig(path)`. Nothing is saved, shown or closed here, no global style is set, and
pyplot is not needed: figures need no display and leave nothing behind in a long program. Colours are those of Okabe and
Ito (https://jfly.uni-koeln.de/color/), which colour-blind readers can tell apart; line styles and markers differ as well,
for readers of a grey copy. `page_svg` turns a figure into part of a web page, with colours that the page sets.
"""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from itertools import cycle, pairwise, product
from textwrap import fill
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator
from numpy.typing import ArrayLike
from scipy.stats import binomtest, pearsonr, spearmanr

BLUE, VERMILLION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#666666"
MOST_POINTS = 2000  # more would hide each other; above CLOSE_POINTS they are drawn smaller
CLOSE_POINTS = 400
# The palest tenth of the map would vanish on white paper; dark means many, also in a grey copy. With this few colours, a
# count can be read off its scale.
N_COUNTS = 24
COUNTS = ListedColormap(matplotlib.colormaps["viridis_r"](np.linspace(0.12, 1.0, N_COUNTS)), name="counts")
# Colours of a page by the names of its CSS variables: what a figure is drawn in, and instead of it on a dark page, where
# bright means many.
PAGE_COLOURS = {
    "paper": ("#FFFFFF", "#15181C"),
    "ink": ("#000000", "#E4E6E8"),
    "blue": (BLUE, "#56B4E9"),
    "vermillion": (VERMILLION, "#F0803C"),
    "green": (GREEN, "#2CC295"),
    "grey": (GREY, "#A0A4A8"),
    **{
        f"count-{number}": (to_hex(light), to_hex(dark))
        for number, (light, dark) in enumerate(
            zip(COUNTS.colors, matplotlib.colormaps["viridis"](np.linspace(0.25, 1.0, N_COUNTS)), strict=True)
        )
    },
}
# Rows in a part of an axis for which a median or a correlation is shown, and parts of an axis.
LEAST_ROWS, MOST_PARTS = 10, 10
# Letters that most axes have room for, and a low vertical one.
LONGEST_LINE, SHORT_LINE = 45, 32
LEAST_BINS, MOST_BINS = 10, 40  # of a histogram


def plot_predicted_against_measured(
    predicted: ArrayLike,
    measured: ArrayLike,
    ax: Axes | None = None,
    unit: str = "",
    title: str = "",
    same_scale: bool | None = None,
    is_difference: bool = False,
    name: str = "",
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
        name: What was measured, for the axis labels.

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
    ax = ax or new_axes(5.2, 4.4)
    # With its mirror image, a range has 0 in its middle.
    x_range, y_range = ((x, -x), (y, -y)) if is_difference else ((x,), (y,))
    x_limits, y_limits = (_limits(*x_range, *y_range),) * 2 if same_scale else (_limits(*x_range), _limits(*y_range))
    if is_difference:
        for line in (ax.axhline, ax.axvline):
            line(0, color=GREY, linewidth=0.8, linestyle=":", zorder=1)
    if same_scale:
        ax.axline((x_limits[0], x_limits[0]), slope=1, color=GREY, linewidth=1, linestyle=(0, (5, 3)), label="equality")
    if len(x) <= MOST_POINTS:
        _draw_points(ax, x, y)
    else:
        _draw_counts(ax, x, y, (*x_limits, *y_limits), "pairs" if is_difference else "rows")
    ax.set(xlim=x_limits, ylim=y_limits, box_aspect=1, title=title)
    what = (name and f" {name}") + (" difference" if is_difference else "")
    y_unit = unit if same_scale else "the model's own scale"
    ax.set_xlabel(axis_label(f"measured{what}", unit))
    ax.set_ylabel(axis_label(f"predicted{what}", y_unit))
    box = {"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
    ax.text(0.035, 0.965, _agreement(y, x), transform=ax.transAxes, va="top", bbox=box, zorder=3, linespacing=1.35)
    _tidy(ax)
    return ax


def axis_label(text: str, unit: str = "", longest: int = LONGEST_LINE) -> str:
    """Joins a text and its unit, if there is one, in lines that an axis has room for.

    >>> axis_label("measured YFP mean", "log2 a.u.")
    'measured YFP mean (log2 a.u.)'
    """
    return fill(text + (f" ({unit})" if unit else ""), longest)


def _draw_points(ax: Axes, x: np.ndarray, y: np.ndarray) -> None:
    """Draws a point for each row (n,)."""
    size = 4 if len(x) <= CLOSE_POINTS else 2.5
    ax.plot(x, y, "o", color=BLUE, markersize=size, alpha=0.5, markeredgewidth=0, zorder=2)


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
    ax = ax or new_axes(6.4, 4.2)
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
            measured rows, the curve is dashed. Ends that are NaN mean that there is no interval.
        ax: Axes to draw on.
        title: Heading.
        held_out: Which rows r is of.
    """
    ax = ax or new_axes(6.0, 4.2)
    for (name, (n_rows, r)), colour in zip(series.items(), (BLUE, VERMILLION, GREY), strict=False):
        ax.plot(n_rows, r, "o", color=colour, markersize=5, alpha=0.7, markeredgewidth=0, zorder=3, label=name)
        if name not in curves:
            continue
        at, expected, low, high = (np.asarray(values, np.float64) for values in curves[name])
        is_measured = at <= np.max(n_rows)
        if np.isfinite(low).all():
            band = {"color": colour, "alpha": 0.15, "linewidth": 0, "zorder": 1}
            ax.fill_between(at, low, high, label=f"{name}, 95 % interval", **band)
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
    handles = ax.get_legend_handles_labels()[0]
    if curves:
        handles.append(Line2D([], [], color=GREY, linewidth=1.3, linestyle=(0, (4, 2)), label="expected"))
    if any(np.isnan(low).any() for _, _, low, _ in curves.values()):
        n_seeds = max(np.unique(n, return_counts=True)[1].max() for n, _ in series.values())
        reason = "one seed" if n_seeds == 1 else "too few trainings"
        handles.append(Line2D([], [], linestyle="none", label=f"no interval: {reason}"))
    ax.legend(handles=handles, loc="lower right", frameon=False)
    return ax


def _apart(values: Sequence[float]) -> list[float]:
    """Values, from the largest down, that are at least a third apart, so that their labels do not touch on a log scale."""
    chosen: list[float] = []
    for value in sorted(values, reverse=True):
        if not chosen or value < chosen[-1] / 1.33:
            chosen.append(value)
    return sorted(chosen)


def plot_histograms(values: Mapping[str, ArrayLike], ax: Axes | None = None, label: str = "", title: str = "") -> Axes:
    """Draws how values are distributed in several sets of rows, as shares, so that sets of other sizes can be compared.

    Args:
        values: Numbers (n,) of up to three sets, by their names; NaN are left out, and so is a set without numbers.
        ax: Axes to draw on.
        label: Name of the horizontal axis, with its unit.
        title: Heading.

    Raises:
        ValueError: No set has a number.
    """
    known = {name: np.asarray(array, dtype=np.float64) for name, array in values.items()}
    known = {name: array[np.isfinite(array)] for name, array in known.items()}
    known = {name: array for name, array in known.items() if len(array)}
    if not known:
        raise ValueError("nothing to draw: `values` has no number")
    ax = ax or new_axes(4.8, 3.3)
    n_bins = np.ceil(2 * np.cbrt(min(map(len, known.values()))))  # Rice's rule: more bins have holes by chance
    edges = _histogram_edges(np.concatenate(list(known.values())), int(np.clip(n_bins, LEAST_BINS, MOST_BINS)))
    styles = zip((BLUE, VERMILLION, GREEN), ("-", "--", ":"), strict=True)
    for (name, array), (colour, dashes) in zip(known.items(), styles, strict=False):
        shares = 100 * np.histogram(array, edges)[0] / len(array)
        ax.stairs(shares, edges, color=colour, linestyle=dashes, linewidth=1.5, label=f"{name} ({len(array):,})")
    ax.set(xlabel=label, ylabel="rows (%)", title=title)
    ax.set_ylim(bottom=0)
    _tidy(ax)
    ax.legend(
        loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False, columnspacing=1.2, handlelength=1.6
    )
    return ax


def _histogram_edges(values: np.ndarray, n_bins: int) -> np.ndarray:
    """Edges of at most so many bins (n_bins + 1,).

    Values (n,) such as whole numbers, or GC contents of sequences of one length, are multiples of a step. Bins are then
    whole steps wide, and their edges lie halfway between possible values: otherwise, some would hold more of these than
    others, and some none.
    """
    distinct = np.unique(values)
    low, high = float(distinct[0]), float(distinct[-1])
    if low == high:
        return np.array([low - 0.5, low + 0.5])
    step = np.diff(distinct).min()
    n_steps = (distinct - low) / step
    if len(distinct) < 3 or not np.allclose(n_steps, np.round(n_steps), rtol=0, atol=0.01):
        return np.linspace(low, high, n_bins + 1)
    n_values = round(n_steps[-1]) + 1
    width = -(-n_values // n_bins)
    return low + step * (width * np.arange(-(-n_values // width) + 1) - 0.5)


def plot_residuals(
    values: ArrayLike,
    predicted: ArrayLike,
    measured: ArrayLike,
    ax: Axes | None = None,
    label: str = "",
    unit: str = "",
    title: str = "",
    name: str = "",
) -> Axes:
    """Draws what predictions are too high or too low by, against another number of the same rows.

    Args:
        values: Numbers (n,), such as the lengths of the sequences.
        predicted, measured: Numbers (n,) in one unit.
        ax: Axes to draw on.
        label: Name of `values`, with its unit.
        unit: Unit of the measured values.
        title: Heading.
        name: What was measured, for the vertical axis.

    Returns:
        The axes, with a point for each of up to 2,000 rows. Rows are also divided into up to ten parts of about equally
        many by `values`; for each with at least ten rows there are the median, the quartiles (dark bar), and the 5th and 95th
        percentile (thin bar).

    Raises:
        ValueError: There are no rows, or a number is NaN or infinite.
    """
    x, residuals = np.asarray(values, np.float64), np.asarray(predicted, np.float64) - np.asarray(measured, np.float64)
    if not (len(x) and np.isfinite(x).all() and np.isfinite(residuals).all()):
        raise ValueError("nothing to draw: no rows, or values that are NaN or infinite")
    ax = ax or new_axes(4.8, 3.3)
    ax.axhline(0, color=GREY, linewidth=1, linestyle=(0, (5, 3)), zorder=1)
    if len(x) <= MOST_POINTS:
        _draw_points(ax, x, residuals)
        ax.lines[-1].set_alpha(0.35)
    for rows in _parts(x):
        low, first, median, third, high = np.percentile(residuals[rows], (5, 25, 50, 75, 95))
        middle = np.median(x[rows])
        ax.vlines(middle, low, high, color=VERMILLION, linewidth=1, zorder=3)
        ax.vlines(middle, first, third, color=VERMILLION, linewidth=4, zorder=3)
        ax.plot(middle, median, "s", color="black", markersize=4, zorder=4)
    difference = f"predicted \N{MINUS SIGN} measured {name}".rstrip()
    ax.set(xlabel=label, ylabel=axis_label(difference, unit, SHORT_LINE), title=title)
    _tidy(ax)
    return ax


def _parts(values: np.ndarray) -> list[np.ndarray]:
    """Row numbers of up to ten parts by rising value (n,), with about equally many and at least ten rows each."""
    n_parts = min(MOST_PARTS, len(values) // LEAST_ROWS)
    edges = np.unique(np.quantile(values, np.arange(1, n_parts) / n_parts)) if n_parts else []
    parts = np.searchsorted(edges, values, side="right")  # equal values stay together
    groups = [np.flatnonzero(parts == part) for part in range(len(edges) + 1)]
    return [rows for rows in groups if len(rows) >= LEAST_ROWS]


def plot_coverage(
    predicted: ArrayLike,
    measured: ArrayLike,
    lower: ArrayLike,
    upper: ArrayLike,
    ax: Axes | None = None,
    unit: str = "",
    title: str = "",
    name: str = "",
) -> Axes:
    """Draws what share of measured values prediction intervals hold, from low to high predictions.

    Args:
        predicted, measured, lower, upper: Numbers (n,) in one unit.
        ax: Axes to draw on.
        unit: Unit of the measured values.
        title: Heading.
        name: What was measured, for the horizontal axis.

    Returns:
        The axes: the share of all rows as a line and, for up to ten parts of the rows, a point with its 95 % confidence
        interval (Wilson 1927, doi:10.1080/01621459.1927.10502953).
    """
    predicted, measured, lower, upper = (np.asarray(array, np.float64) for array in (predicted, measured, lower, upper))
    if not len(predicted):
        raise ValueError("nothing to draw: no rows")
    is_inside = (lower <= measured) & (measured <= upper)
    ax = ax or new_axes(4.8, 3.3)
    share = 100 * is_inside.mean()
    ax.axhline(
        share, color=GREY, linewidth=1, linestyle=(0, (5, 3)), label=f"all {len(measured):,} rows: {share:.0f} %"
    )
    for rows in _parts(predicted):
        ends = binomtest(int(is_inside[rows].sum()), len(rows)).proportion_ci(method="wilson")
        middle = np.median(predicted[rows])
        ax.vlines(middle, 100 * ends.low, 100 * ends.high, color=BLUE, linewidth=1.5)
        ax.plot(middle, 100 * is_inside[rows].mean(), "o", color=BLUE, markersize=5)
    xlabel = axis_label(f"predicted {name}".rstrip(), unit)
    ax.set(xlabel=xlabel, ylabel="measured values inside (%)", title=title)
    ax.set_ylim(0, 102)
    _tidy(ax)
    ax.legend(loc="lower center", frameon=False)
    return ax


def plot_correlation_by(
    values: ArrayLike,
    predicted: ArrayLike,
    measured: ArrayLike,
    edges: Sequence[float],
    ax: Axes | None = None,
    label: str = "",
    title: str = "",
) -> Axes:
    """Draws Pearson's r between predicted and measured values in ranges of another number of the same rows.

    Args:
        values: Numbers (n,), such as the similarity to the nearest training row.
        predicted, measured: Numbers (n,).
        edges: Ends of the ranges, rising; a value at an edge belongs to the range above it, the last edge to the last range.
        ax: Axes to draw on.
        label: Name of `values`, with its unit.
        title: Heading.

    Returns:
        The axes: r of each range with at least ten rows that differ, with its 95 % confidence interval (by Fisher's
        transformation); below each range its number of rows.
    """
    values, predicted, measured = (np.asarray(array, np.float64) for array in (values, predicted, measured))
    ax = ax or new_axes(4.8, 3.3)
    ax.axhline(0, color=GREY, linewidth=0.8, linestyle=":", zorder=1)
    ranges = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    names = []
    for number, (low, high) in enumerate(pairwise(edges)):
        rows = ranges == number
        names.append(f"{low:g}\N{EN DASH}{high:g}\n({rows.sum():,})")
        if rows.sum() >= LEAST_ROWS and np.ptp(predicted[rows]) > 0 and np.ptp(measured[rows]) > 0:
            result = pearsonr(predicted[rows], measured[rows])
            ax.vlines(number, *result.confidence_interval(), color=BLUE, linewidth=1.5)
            ax.plot(number, result.statistic, "o", color=BLUE, markersize=5)
    ax.set_xticks(range(len(names)), names)
    ax.set(xlim=(-0.5, len(names) - 0.5), xlabel=f"{label}\n(rows)" if label else "", ylabel="Pearson r", title=title)
    ax.set_ylim(top=1.02)
    _tidy(ax)
    return ax


def plot_correlations(
    groups: Mapping[str, Mapping[str, tuple[float, float, float]]],
    ceiling: float | None = None,
    ax: Axes | None = None,
    title: str = "",
) -> Axes:
    """Draws Pearson's r of several models with its interval, so that one sees which is better and by how much.

    Args:
        groups: Name of a group (an output, a fold; "" for a single one) -> name of a model -> r and the ends of its 95 %
            interval. The first model is that of interest.
        ceiling: The highest r that any model can have, if it is known; not drawn for several groups.
        ax: Axes to draw on.
        title: Heading.

    Returns:
        The axes: a row for each group and model. A single group names its models at the left; several are named there
        themselves, and models in a legend.

    Raises:
        ValueError: There is no correlation.
    """
    models = list(dict.fromkeys(model for scores in groups.values() for model in scores))
    if not models:
        raise ValueError("nothing to draw: `groups` has no correlation")
    is_single, n_rows = len(groups) == 1, len(groups) * len(models)
    styles = cycle(zip((BLUE, VERMILLION, GREEN, GREY), ("o", "s", "^", "D"), strict=True))
    styles = dict(zip(models, styles, strict=False))
    ax = ax or new_axes(4.8, min(100, 1.2 + 0.36 * n_rows + 0.2 * len(models) * (not is_single)))
    step = 1 / (len(models) + 0.6)  # the rest is the gap between groups
    legend = {}
    for (number, scores), (row, model) in product(enumerate(groups.values()), enumerate(models)):
        if model not in scores:
            continue
        (r, low, high), (colour, marker), y = scores[model], styles[model], number + row * step
        ax.hlines(y, low, high, color=colour, linewidth=1.5)
        legend[fill(model, 45)] = ax.plot(r, y, marker, color=colour, markersize=6)[0]
        text = f"{r:.3f}".replace("-", "\N{MINUS SIGN}")
        ax.annotate(text, (r, y), (0, 5), textcoords="offset points", ha="center", fontsize=8)
    middle = step * (len(models) - 1) / 2
    if is_single:
        legend.clear()
        ax.set_yticks(np.arange(len(models)) * step, [fill(model, 24) for model in models])
    else:
        ax.set_yticks(np.arange(len(groups)) + middle, [fill(group, 24) for group in groups])
    for text in ax.get_yticklabels():
        text.set_parse_math(False)
    if ceiling is not None and is_single:
        line = ax.axvline(ceiling, color="black", linewidth=1, linestyle=(0, (5, 3)), zorder=0)
        legend[f"highest r that is possible: {ceiling:.3f}"] = line
    if legend:
        ax.legend(legend.values(), legend.keys(), loc="lower left", bbox_to_anchor=(0, 1), frameon=False)
    ax.set_ylim(len(groups) - 1 + 2 * middle + 0.4 * step, -0.7 * step)
    ax.set(xlabel="Pearson r and its 95 % interval", title=title)
    _tidy(ax)
    return ax


@contextmanager
def page_style() -> Iterator[None]:
    """Lets figures be drawn in matplotlib's own style, whatever the program's is, as `page_svg` needs it."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


def page_svg(ax: Axes, alt: str, prefix: str) -> str:
    """Returns a figure as an element of a web page, which sets its colours: the same figure on a light and a dark page.

    Args:
        ax: Axes of the figure, drawn within `page_style`.
        alt: What the figure shows, for readers who do not see it.
        prefix: Letters before all ids of the figure, which must differ from those of the page's other figures.

    Returns:
        `<svg>` without links, scripts or fonts: letters are shapes. Colours are CSS variables with the names of
        `PAGE_COLOURS`.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": prefix}):
        ax.figure.savefig(buffer, format="svg", transparent=True)
    svg = buffer.getvalue()
    width, height = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg).groups()
    body = svg[svg.index('<g id="figure_1">') : svg.rindex("</svg>")]
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)  # the texts
    body = re.sub(r"\s*\n\s*", " ", body).replace("> <", "><").replace("xlink:href=", "href=")
    body = re.sub(r'\b([xy]="-?\d+\.\d\d)\d+"', r'\1"', body)
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", body)
    names = {light.lower(): f"var(--{name})" for name, (light, _) in PAGE_COLOURS.items()}
    body = re.sub(r"(?<=: )#[0-9a-f]{6}", lambda colour: names.get(colour[0], colour[0]), body)
    # Letters have no colour of their own.
    root = f'<svg role="img" aria-label="{escape(alt)}" viewBox="0 0 {width} {height}" width="{width}" fill="currentColor">'
    return root + body + "</svg>"


def new_axes(width: float, height: float) -> Axes:
    """Makes axes on a new figure; width and height in inches."""
    return Figure(figsize=(width, height), layout="constrained").add_subplot()


def _tidy(*axes: Axes) -> None:
    """Removes the frame where it has no scale, and takes names as they are."""
    for ax in axes:
        ax.spines["top"].set_visible(False)
        for text in (ax.title, ax.xaxis.label, ax.yaxis.label):
            text.set_parse_math(False)  # a user's name with dollar signs is no formula
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

"""Figures, read back from their axes: what is drawn, what is written, and that nothing else happens."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from kmerbert import figures
from kmerbert.figures import (
    MOST_POINTS,
    PAGE_COLOURS,
    on_same_scale,
    page_style,
    page_svg,
    plot_correlation_by,
    plot_correlations,
    plot_coverage,
    plot_histograms,
    plot_learning_curve,
    plot_predicted_against_measured,
    plot_residuals,
    plot_training_curves,
)
from tests.support.messages import fails

RANDOM = np.random.default_rng(0)
MEASURED = RANDOM.normal(11, 3, 2500)
PREDICTED = 11 + 0.7 * (MEASURED - 11) + RANDOM.normal(0, 1, 2500)
LOG = [
    {"step": 10, "epoch": 0.5, "loss": 2.0, "learning_rate": 1e-3},
    {"step": 20, "epoch": 1.0, "loss": 1.0},
    {"step": 20, "epoch": 1.0, "eval_loss": 1.2, "eval_pearsonr": 0.5, "eval_mse": 1.2},
    {"step": 40, "epoch": 2.0, "eval_loss": 1.1, "eval_pearsonr": 0.7, "eval_mse": 1.1},
    {"step": 60, "epoch": 3.0, "eval_loss": 1.3, "eval_pearsonr": 0.6, "eval_mse": 1.3},
    {"step": 60, "epoch": 3.0, "eval_loss": 1.1, "eval_pearsonr": 0.7},
    {"step": 60, "epoch": 3.0, "train_loss": 1.5, "train_runtime": 3.0},
]


def text_of(ax: Axes) -> str:
    """The text in the corner."""
    return " ".join(text.get_text() for text in ax.texts)


def lines_of(ax: Axes) -> dict[str, list]:
    """The points of every named line."""
    lines = {line.get_label(): np.asarray(line.get_xydata()).tolist() for line in ax.lines}
    return {label: points for label, points in lines.items() if not label.startswith("_")}


def legend_of(ax: Axes) -> list[str]:
    """The labels of the legend."""
    return [text.get_text() for text in ax.get_legend().get_texts()]


class TestCorrelations:
    def test_a_row_for_each_model(self) -> None:
        ax = plot_correlations({"": {"this model": (0.8, 0.7, 0.9), "$ridge$": (-0.25, -0.5, 0.1)}}, ceiling=0.95)
        assert [text.get_text() for text in ax.get_yticklabels()] == ["this model", "$ridge$"]
        assert ax.get_xlabel() == "Pearson r and its 95 % interval"
        points = [line.get_xydata()[0].tolist() for line in ax.lines[:2]]
        assert [x for x, _ in points] == [0.8, -0.25]
        assert [y for _, y in points] == ax.get_yticks().tolist()
        ends = [bar.get_segments()[0][:, 0].tolist() for bar in ax.collections]
        assert ends == [[0.7, 0.9], [-0.5, 0.1]]
        assert [text.get_text() for text in ax.texts] == ["0.800", "\N{MINUS SIGN}0.250"]
        assert legend_of(ax) == ["highest r that is possible: 0.950"]
        low, high = ax.get_ylim()
        assert low > high  # the first is at the top

    def test_several_groups_have_a_legend(self) -> None:
        groups = {"fold 0": {"a": (0.5, 0.4, 0.6), "b": (0.3, 0.2, 0.4)}, "fold 1": {"b": (0.1, 0.0, 0.2)}}
        ax = plot_correlations(groups)
        assert [text.get_text() for text in ax.get_yticklabels()] == ["fold 0", "fold 1"]
        assert legend_of(ax) == ["a", "b"]
        assert len(ax.collections) == 3
        ax.figure.canvas.draw()
        with fails("`groups`"):
            plot_correlations({"": {}})


class TestPredictedAgainstMeasured:
    def test_every_row_is_counted_once(self) -> None:
        ax = plot_predicted_against_measured(PREDICTED, MEASURED, unit="log2 bin", title="ridge")
        assert ax.collections[0].get_array().sum() == 2500
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("measured (log2 bin)", "predicted (log2 bin)")
        assert ax.get_title() == "ridge"
        assert ax.figure.axes[1].get_ylabel() == "rows per hexagon"
        r, rho = (
            np.corrcoef(PREDICTED, MEASURED)[0, 1],
            np.corrcoef(PREDICTED.argsort().argsort(), MEASURED.argsort().argsort())[0, 1],
        )
        assert text_of(ax) == f"r = {r:.3f}\nρ = {rho:.3f}\nn = 2,500"

    def test_one_scale_has_equal_limits_and_the_line_of_equality(self) -> None:
        ax = plot_predicted_against_measured(PREDICTED, MEASURED)
        assert ax.get_xlim() == ax.get_ylim()
        assert "equality" in lines_of(ax)
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("measured", "predicted")

    @pytest.mark.parametrize(("measured", "same_scale"), [((MEASURED - 11) / 3, None), (MEASURED, False)])
    def test_another_scale_has_no_line_of_equality(self, measured: np.ndarray, same_scale: bool | None) -> None:
        ax = plot_predicted_against_measured(PREDICTED, measured, unit="SD", same_scale=same_scale)
        assert not lines_of(ax)
        assert ax.get_ylabel() == "predicted (the model's own scale)"
        assert ax.get_ylim()[0] < PREDICTED.min() < PREDICTED.max() < ax.get_ylim()[1]

    def test_missing_rows_are_left_out_and_few_or_constant_rows_drawn(self) -> None:
        measured = np.where(np.arange(2500) < 3, MEASURED, np.nan)
        assert "n = 3" in text_of(plot_predicted_against_measured(PREDICTED, measured))
        assert text_of(plot_predicted_against_measured([1.0], [1.0])) == "no correlation: constant\nn = 1"
        ax = plot_predicted_against_measured(np.full(2500, 11.0), MEASURED)
        assert "no correlation" in text_of(ax)
        assert "equality" in lines_of(ax)

    def test_few_rows_are_points(self) -> None:
        n = MOST_POINTS
        ax = plot_predicted_against_measured(PREDICTED[:n], MEASURED[:n], same_scale=False)
        (points,) = ax.lines
        np.testing.assert_array_equal(points.get_xydata(), np.stack([MEASURED[:n], PREDICTED[:n]], axis=1))
        assert not ax.collections
        assert len(ax.figure.axes) == 1
        assert len(plot_predicted_against_measured(PREDICTED[: n + 1], MEASURED[: n + 1]).figure.axes) == 2

    @pytest.mark.parametrize("n", [300, 2500])
    def test_differences_have_zero_in_the_middle(self, n: int) -> None:
        measured, predicted = MEASURED[:n] - 9, PREDICTED[:n] + 4
        ax = plot_predicted_against_measured(predicted, measured, unit="SD", same_scale=False, is_difference=True)
        for (low, high), values in ((ax.get_xlim(), measured), (ax.get_ylim(), predicted)):
            assert low == -high
            assert low < values.min() < values.max() < high
        labels = (ax.get_xlabel(), ax.get_ylabel())
        assert labels == ("measured difference (SD)", "predicted difference (the model's own scale)")
        crossed = {tuple(map(tuple, line.get_xydata())) for line in ax.lines if len(line.get_xydata()) == 2}
        assert crossed == {((0, 0), (1, 0)), ((0, 0), (0, 1))}
        assert [bar.get_ylabel() for bar in ax.figure.axes[1:]] == (["pairs per hexagon"] if n == 2500 else [])
        ax = plot_predicted_against_measured(predicted, measured, same_scale=True, is_difference=True)
        assert ax.get_xlim() == ax.get_ylim() == (-ax.get_xlim()[1], ax.get_xlim()[1])
        assert "equality" in lines_of(ax)

    def test_a_negative_correlation_has_a_minus_sign(self) -> None:
        assert "r = −1.000" in text_of(plot_predicted_against_measured(-MEASURED, MEASURED))

    @pytest.mark.parametrize(
        ("predicted", "measured", "parts"),
        [
            ([1.0, 2.0], [1.0], ("predicted (2,)", "measured (1,)")),
            ([[1.0]], [[1.0]], ("(1, 1)", "(n,)")),
            ([1.0], [np.nan], ("no row with a measured value",)),
            ([np.nan, 1.0], [1.0, 2.0], ("NaN",)),
            ([np.inf, 1.0], [1.0, 2.0], ("infinite",)),
        ],
    )
    def test_what_cannot_be_drawn(self, predicted: list, measured: list, parts: tuple[str, ...]) -> None:
        with fails(*parts):
            plot_predicted_against_measured(predicted, measured)


def test_same_scale() -> None:
    assert on_same_scale(PREDICTED, MEASURED)
    assert on_same_scale(np.full(2500, 11.0), MEASURED)
    assert not on_same_scale(PREDICTED, MEASURED / 18)
    assert not on_same_scale(100 * (PREDICTED - 11), MEASURED)


class TestTrainingCurves:
    def test_losses_metric_and_best_step(self) -> None:
        ax = plot_training_curves(LOG, metric="pearsonr", label="Pearson r", title="run")
        second = ax.figure.axes[-1]
        assert lines_of(ax) == {
            "training loss": [[10, 2.0], [20, 1.0]],
            "validation loss": [[20, 1.2], [40, 1.1], [60, 1.3]],
        }
        assert lines_of(second) == {
            "validation Pearson r": [[20, 0.5], [40, 0.7], [60, 0.6]],
            "best: 0.7 at step 40": [[40, 0.7]],
        }
        assert (ax.get_xlabel(), ax.get_ylabel(), second.get_ylabel()) == ("training step", "loss", "Pearson r")
        assert ax.get_title() == "run"
        assert legend_of(ax) == [*lines_of(ax), *lines_of(second)]

    def test_the_best_error_is_the_smallest(self) -> None:
        assert "best: 1.1 at step 40" in legend_of(plot_training_curves(LOG, metric="mse", is_lower_better=True))

    def test_without_metric_the_loss_alone(self) -> None:
        ax = plot_training_curves(LOG, metric=None)
        assert len(ax.figure.axes) == 1
        assert "best: 1.1 at step 40" in legend_of(ax)
        ax = plot_training_curves(LOG[:2], metric=None)
        assert legend_of(ax) == ["training loss"]

    def test_values_of_a_diverged_run_are_left_out(self) -> None:
        ax = plot_training_curves(
            [*LOG, {"step": 80, "eval_loss": float("nan"), "eval_pearsonr": float("nan")}], metric="pearsonr"
        )
        assert "best: 0.7 at step 40" in legend_of(ax)

    def test_a_log_without_the_values(self) -> None:
        with fails("'loss'", "'eval_loss'", "trainer_state.json"):
            plot_training_curves([{"step": 1, "train_loss": 1.0}], metric=None)
        with fails("'eval_r2'", "loss, mse, pearsonr"):
            plot_training_curves(LOG, metric="r2")


class TestHistograms:
    def test_shares_of_each_set(self) -> None:
        ax = plot_histograms({"train": [1, 1, 2, np.nan], "test": [4], "none": [np.nan]}, label="bases")
        shares = [(patch.get_data().values.tolist(), patch.get_data().edges.tolist()) for patch in ax.patches]
        edges = [0.5, 1.5, 2.5, 3.5, 4.5]
        assert shares == [([pytest.approx(200 / 3), pytest.approx(100 / 3), 0, 0], edges), ([0, 0, 0, 100], edges)]
        assert legend_of(ax) == ["train (3)", "test (1)"]
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("bases", "rows (%)")

    def test_many_values_have_forty_bins(self) -> None:
        for values in (MEASURED, np.arange(1000), [3.5, 3.5]):
            (patch,) = plot_histograms({"train": values}).patches
            assert len(patch.get_data().values) <= 40
            assert patch.get_data().values.sum() == pytest.approx(100)

    def test_bins_are_whole_steps_of_the_gc_content(self) -> None:
        sizes = {"train": 3000, "test": 300}
        n_gc = {split: stats.binom.ppf((np.arange(n) + 0.5) / n, 110, 0.5) for split, n in sizes.items()}
        ax = plot_histograms({split: 100 * n / 110 for split, n in n_gc.items()})
        for patch, n in zip(ax.patches, n_gc.values(), strict=True):
            shares, edges, _ = patch.get_data()
            assert np.unique(np.diff(edges * 110 / 100).round(6)).tolist() == [3]
            assert (edges[0] * 110 / 100) % 1 == pytest.approx(0.5)
            assert shares * len(n) / 100 == pytest.approx(np.histogram(n, edges * 110 / 100)[0])
            filled = np.flatnonzero(shares)
            assert len(filled) == np.ptp(filled) + 1

    @pytest.mark.parametrize(("n", "n_bins"), [(12, 10), (1000, 20), (20_000, 40)])
    def test_few_rows_have_few_bins(self, n: int, n_bins: int) -> None:
        values = np.random.default_rng(0).random(20_000)
        patch, _ = plot_histograms({"train": values, "test": values[:n]}).patches
        assert len(patch.get_data().values) == n_bins

    def test_nothing_to_draw(self) -> None:
        with fails("`values`"):
            plot_histograms({"train": [np.nan]})


class TestResiduals:
    def test_parts_of_the_rows(self) -> None:
        """Errors are -2, -1, ... 2 in each of ten parts, shifted by its number."""
        parts = np.repeat(np.arange(10), 25)
        measured = np.zeros(250)
        predicted = np.tile(np.arange(-2, 3), 50) + parts
        ax = plot_residuals(parts, predicted, measured, label="GC (%)", unit="bin")
        medians = [line.get_xydata()[0].tolist() for line in ax.lines if line.get_marker() == "s"]
        assert medians == [[part, part] for part in range(10)]
        bars = [bar.get_segments()[0].tolist() for bar in ax.collections]
        assert bars[:2] == [[[0, -2], [0, 2]], [[0, -1], [0, 1]]]
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("GC (%)", "predicted − measured (bin)")

    @pytest.mark.parametrize(("n", "n_points", "n_medians"), [(9, 9, 0), (10, 10, 1), (2000, 2000, 10), (2500, 0, 10)])
    def test_points_and_medians(self, n: int, n_points: int, n_medians: int) -> None:
        ax = plot_residuals(np.arange(n), PREDICTED[:n], MEASURED[:n])
        assert sum(len(line.get_xydata()) for line in ax.lines if line.get_marker() == "o") == n_points
        assert sum(line.get_marker() == "s" for line in ax.lines) == n_medians

    def test_what_cannot_be_drawn(self) -> None:
        for values in ([], [np.nan]):
            with fails("nothing to draw"):
                plot_residuals(values, values, values)


def test_coverage_of_intervals() -> None:
    predicted = np.arange(100.0)
    is_inside = (predicted < 50) | (predicted % 2 == 0)  # all of the lower half, every second one of the upper
    measured = predicted + np.where(is_inside, 1, 3)
    ax = plot_coverage(predicted, measured, predicted - 2, predicted + 2, unit="bin")
    points = [line.get_xydata()[0].tolist() for line in ax.lines if line.get_marker() == "o"]
    assert points == [[10 * part + 4.5, 100 if part < 5 else 50] for part in range(10)]
    assert legend_of(ax) == ["all 100 rows: 75 %"]
    # Wilson's interval of 5 of 10: centre (5 + 1.96² / 2) / (10 + 1.96²), half width 1.96 sqrt(10 / 4 + 1.96² / 4) / (10 + 1.96²)
    low, high = ax.collections[-1].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((23.66, 76.34), abs=0.01)
    with fails("nothing to draw"):
        plot_coverage([], [], [], [])


def test_correlation_in_ranges() -> None:
    values = np.concatenate([np.full(20, 5.0), np.full(9, 50.0), np.full(30, 100.0)])
    measured, predicted = MEASURED[:59], PREDICTED[:59].copy()
    ax = plot_correlation_by(values, predicted, measured, (0, 50, 90, 100), label="similarity (%)")
    assert [text.get_text() for text in ax.get_xticklabels()] == ["0–50\n(20)", "50–90\n(9)", "90–100\n(30)"]
    points = {line.get_xydata()[0][0]: line.get_xydata()[0][1] for line in ax.lines if line.get_marker() == "o"}
    expected = {
        0: np.corrcoef(predicted[:20], measured[:20])[0, 1],
        2: np.corrcoef(predicted[29:], measured[29:])[0, 1],
    }
    assert points == pytest.approx(expected)
    low, high = ax.collections[0].get_segments()[0][:, 1]
    assert np.arctanh([low, high]) == pytest.approx(
        np.arctanh(expected[0]) + np.array([-1.96, 1.96]) / 17**0.5, abs=0.001
    )
    predicted[:20] = 11  # no correlation
    assert len(plot_correlation_by(values, predicted, measured, (0, 50, 90, 100)).collections) == 1


class TestPages:
    def drawn(self) -> str:
        """A figure with all that reports have."""
        with page_style():
            ax = plot_predicted_against_measured(PREDICTED, MEASURED, unit="log $x$ <b>", title="$a\\b$")
            return page_svg(ax, 'r < 1 & "b"', "f1")

    def test_a_figure_for_a_page(self) -> None:
        svg = self.drawn()
        root = ET.fromstring(svg)
        assert root.get("aria-label") == 'r < 1 & "b"'
        assert (root.tag, root.get("role")) == ("svg", "img")
        ids = [element.get("id") for element in root.iter() if element.get("id")]
        assert len(set(ids)) == len(ids)
        assert all(name.startswith("f1-") for name in ids)
        used = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg)
        assert {name for pair in used for name in pair if name} <= set(ids)
        assert not re.search("http|<script|<style|<image|<!--|#[0-9a-f]{6}\\b", re.sub(r'(href="|url\()#', "", svg))

    def test_colours_are_those_of_the_page(self) -> None:
        names = set(re.findall(r"var\(--([\w-]+)\)", self.drawn()))
        assert {"ink", "grey", "count-0", f"count-{figures.N_COUNTS - 1}"} <= names <= PAGE_COLOURS.keys()
        assert all(re.fullmatch("#[0-9a-fA-F]{6}", colour) for pair in PAGE_COLOURS.values() for colour in pair)

    def test_the_style_of_the_program_does_not_matter(self) -> None:
        expected = self.drawn()
        with mpl.rc_context({"text.color": "red", "axes.labelcolor": "white", "font.size": 30}):
            assert self.drawn() == expected
            assert mpl.rcParams["text.color"] == "red"

    @pytest.mark.parametrize("mode", [0, 1])
    def test_text_and_data_stand_out_from_the_paper(self, mode: int) -> None:
        """Contrast of WCAG 2: 4.5 for text, 3 for lines and points; the palest counts may be fainter."""

        def luminance(colour: str) -> float:
            channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
            linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
            return float(linear @ [0.2126, 0.7152, 0.0722])

        paper = luminance(PAGE_COLOURS["paper"][mode])
        for name, pair in PAGE_COLOURS.items():
            low, high = sorted((paper, luminance(pair[mode])))
            least = {"ink": 4.5, "grey": 4.5, "paper": 0}.get(name, 1.4 if name.startswith("count") else 3)
            assert (high + 0.05) / (low + 0.05) >= least, name


def test_given_axes_are_used_and_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    style = dict(mpl.rcParams)
    left, right = Figure(layout="constrained").subplots(1, 2)
    assert plot_predicted_against_measured(PREDICTED, MEASURED, ax=left) is left
    assert plot_training_curves(LOG, ax=right) is right
    left.figure.savefig("figure.png")
    assert [file.name for file in tmp_path.iterdir()] == ["figure.png"]
    assert dict(mpl.rcParams) == style


def test_no_pyplot_and_no_torch() -> None:
    code = "import sys, kmerbert.figures; sys.exit(bool({'matplotlib.pyplot', 'torch'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


def test_the_saved_step_is_marked_even_where_another_is_better() -> None:
    log = [{"step": step, "eval_loss": 1.0, "eval_pearsonr": r} for step, r in ((6, 0.6), (9, 0.5))]
    axes = plot_training_curves(log, metric="pearsonr", saved_step=9)
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert any("0.5" in label and "step 9" in label for label in labels)
    assert not any("step 6" in label for label in labels)
    labels = [text.get_text() for text in plot_training_curves(log, saved_step=12).get_legend().get_texts()]
    assert any("step 12" in label for label in labels)  # between evaluations


def test_a_learning_curve_is_dashed_beyond_the_measured_rows() -> None:
    at = np.array([100.0, 200, 400, 800])
    band = (at, np.array([0.5, 0.6, 0.7, 0.75]), np.array([0.4, 0.5, 0.6, 0.6]), np.array([0.6, 0.7, 0.8, 0.9]))
    series = {"model": ([100, 400, 102], [0.5, 0.7, 0.52]), "ridge": ([100, 400], [0.4, 0.45])}
    ax = plot_learning_curve(series, {"model": band}, held_out="test")
    solid, dashed = (line for line in ax.lines if line.get_marker() == "None")
    assert solid.get_xydata().tolist() == [[100, 0.5], [200, 0.6], [400, 0.7]]
    assert dashed.get_xydata().tolist() == [[400, 0.7], [800, 0.75]]
    assert solid.get_linestyle() == "-" != dashed.get_linestyle()
    assert lines_of(ax)["ridge"] == [[100, 0.4], [400, 0.45]]
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_xscale()) == ("training rows", "Pearson r of the test rows", "log")
    assert [label.get_text() for label in ax.get_xticklabels()] == ["102", "400", "800"]
    assert {text.get_text() for text in ax.get_legend().get_texts()} == {
        *("model", "model, 95 % interval", "ridge", "expected")
    }


def test_a_learning_curve_of_one_seed_has_no_interval() -> None:
    at, r, nothing = np.array([100.0, 200, 400, 800]), np.array([0.5, 0.6, 0.7, 0.75]), np.full(4, np.nan)
    ax = plot_learning_curve({"model": ([100, 200, 400], [0.5, 0.6, 0.7])}, {"model": (at, r, nothing, nothing)})
    assert not ax.collections
    assert legend_of(ax) == ["model", "expected", "no interval: one seed"]

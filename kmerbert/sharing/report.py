"""The report: one HTML file that says what a model was fitted to and what its predictions are worth.

It opens offline in any browser: figures are part of it, and there are no scripts, links or fonts. Its layout is in
`report.html`. It takes plain values and tables, so a notebook makes one as the scripts do. Whatever is not given, or cannot
be measured in so few rows, the report says that it is missing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import ArrayLike

from kmerbert.dna.sequences import canonical
from kmerbert.errors import counted
from kmerbert.files import whole_file
from kmerbert.predicting.table import FOLD, suffixes_in
from kmerbert.scoring.metrics import METRIC_LABELS
from kmerbert.scoring.verdict import correlations
from kmerbert.splitting.similarity import K, share_in_nearest

if TYPE_CHECKING:
    from kmerbert.figures import Axes

REPORT_FILE = "report.html"
TEMPLATE = "report.html"
# Metrics of the table, and their names there.
SHOWN_METRICS = {"pearsonr": "r", "spearmanr": "ρ", "r2": "R²", "rmse": "RMSE", "mae": "MAE"}
# The file stays below some MB: figures of so many outputs are drawn, and names have so many letters.
MOST_OUTPUTS, LONGEST_NAME = 4, 80
# Training rows that are worth reading again for a report; held-out rows, and training bases, whose similarity is measured.
TRAINING_ROWS, SIMILARITY_ROWS, SIMILARITY_BASES = 50_000, 2_000, 20_000_000
SIMILARITY_EDGES = (0, 10, 30, 50, 70, 90, 100)  # percent
# With fewer rows, what metrics and figures say may be chance.
FEW_ROWS = 10
# Splits that are called "test rows"; others are shown as they are named.
SPLITS = ("train", "validation", "test")
SEED = 0  # of the rows that are drawn


class Fold(NamedTuple):
    """The rows of a fold, predicted by what was fitted to the other folds.

    Attributes:
        name: Of the fold.
        n_rows: Of each output, the rows with a measured value.
        metrics: Metric -> value.
        baselines: Name of a baseline -> metric -> value.
    """

    name: str
    n_rows: Sequence[int]
    metrics: Mapping[str, float]
    baselines: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class ReportFacts:
    """What a report says; all but the first four may be left out.

    Attributes:
        title, summary: Heading, and a sentence on what was done.
        outputs: Names of what is predicted, in the order of the tables' columns; [""] for one without a name.
        predictions: Split -> predictions with measured values, as `read_predictions` returns them: `prediction` and
            `observed`, perhaps `sequence`, `lower` and `upper`, each with `_<name>` at its end for several outputs. Figures
            of errors are drawn for the last split, which should be the test rows. Rows with a number in `fold` were
            predicted by the model that was trained on those with other numbers.
        metrics: Split -> metric -> value, such as `pearsonr` or, of one of several outputs, `pearsonr_<name>`.
        baselines: Name of a baseline -> split -> metric -> value.
        folds: Those of a cross-validation.
        verdict: Lines that say what the model is worth.
        ceiling: The highest r with the values of the last split that any model can have, if it is known.
        unit: Unit of the measured values.
        same_scale: Whether predictions are in that unit, too, so that their differences are errors; None to guess by their
            ranges.
        n_training_rows: Number of rows that the model was fitted to; 0 if they are not known.
        training_sequences, training_labels: Of some or all training rows: sequences in the letters ACGTN, and measured
            values, float array (n, outputs), NaN where nothing was measured.
        both_strands: Whether a sequence and its reverse complement are one to the model.
        calibrated_on: Name of the rows whose errors the intervals were learnt from, if that is known.
        counts: What else there is to say of the data -> number of rows or groups, such as rows that were left out.
        log_history, saved_step: `log_history` of the Trainer's state, and the step whose weights were saved, if known.
            Without a log, the report says nothing of the training.
        has_linear_term: Whether the saved model adds ridge regression to the network whose training was logged.
        settings: Names and values.
        command: The command line.
        program: The script that writes the report.
    """

    title: str
    summary: str
    outputs: Sequence[str]
    predictions: Mapping[str, pd.DataFrame]
    _: KW_ONLY
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    baselines: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    folds: Sequence[Fold] = ()
    verdict: Sequence[str] = ()
    ceiling: float | None = None
    unit: str = ""
    same_scale: bool | None = None
    n_training_rows: int = 0
    training_sequences: Sequence[str] = ()
    training_labels: np.ndarray | None = None
    both_strands: bool = False
    calibrated_on: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    log_history: Sequence[Mapping[str, Any]] = ()
    saved_step: int | None = None
    has_linear_term: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    program: str = ""


class Table(NamedTuple):
    """Names of the columns, cells of the rows, and how many columns at the left are text; the others are numbers."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    n_texts: int = 1


class Picture(NamedTuple):
    """A figure of the page: its element, and the text below it."""

    svg: str
    caption: str


@dataclass
class Section:
    """A part of the page, with its heading; `name` is its anchor.

    Attributes:
        lines: Sentences to be read first.
        tables, pictures: What it shows.
        notes: What is missing, sampled or to be kept in mind.
        code: A command.
    """

    name: str
    title: str
    lines: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    code: str = ""


class _Scored(NamedTuple):
    """An output of a split, its number and shortened name; the rows of the split that have a measured value, by their number
    from 0, and their values, float64 (n,)."""

    split: str
    number: int
    name: str
    rows: np.ndarray
    predicted: np.ndarray
    measured: np.ndarray
    lower: np.ndarray | None
    upper: np.ndarray | None

    @property
    def label(self) -> str:
        """What it is, for captions."""
        return f"{self.name}, {rows_of(self.split)}" if self.name else rows_of(self.split)


def rows_of(split: str) -> str:
    """What the rows of a split are called.

    >>> [rows_of(split) for split in ("test", "rows of promoters.tsv")]
    ['test rows', 'rows of promoters.tsv']
    """
    return f"{split} rows" if split in SPLITS else split


def write_report(path: Path, facts: ReportFacts) -> None:
    """Writes a report, whole or not at all.

    Raises:
        ValueError: A table of predictions lacks a column, has not as many outputs as there are names, or sequences that are
            not DNA; or the disk is full.
    """
    # Names of files may hold what is no text in any encoding.
    content = report_html(facts).encode("utf-8", "replace")
    with whole_file(path) as partial:
        partial.write_bytes(content)


def report_html(facts: ReportFacts) -> str:
    """Returns the report as a page; see `write_report`."""
    page = _Page(facts)
    parts = (
        page.result,
        *([page.folds] if facts.folds else []),
        page.data,
        *([page.training] if facts.folds or facts.log_history else []),
        page.agreement,
        page.errors,
        page.intervals,
        page.similarity,
        page.settings,
    )
    with page.figures.page_style():
        sections = [part() for part in parts]
    light, dark = ({name: pair[mode] for name, pair in page.figures.PAGE_COLOURS.items()} for mode in (0, 1))
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(TEMPLATE).render(facts=facts, sections=sections, light=light, dark=dark)


class _Page:
    """Makes the sections of a report."""

    def __init__(self, facts: ReportFacts) -> None:
        from kmerbert import figures  # it takes a second, for which no training should wait

        self.facts, self.figures = facts, figures
        self.scored = [output for split in facts.predictions for output in _outputs(facts, split)]
        # Rows that were used for nothing else, if there are any.
        self.last_split = next(reversed(facts.predictions), None)
        self.drawn = [output for output in self.scored if output.number < MOST_OUTPUTS]
        self.n_pictures = 0

    def _picture(self, ax: "Axes", alt: str, caption: str) -> Picture:
        self.n_pictures += 1
        return Picture(self.figures.page_svg(ax, alt, f"f{self.n_pictures}"), caption)

    def _with_unit(self, text: str) -> str:
        return f"{text} ({self.facts.unit})" if self.facts.unit else text

    def result(self) -> Section:
        """The verdict, and the metrics of the model and of what it is compared with."""
        facts = self.facts
        section = Section("result", "Result", list(facts.verdict))
        several = len(facts.outputs) > 1
        names = [("mean", "")] * several + [(_short(name), f"_{name}" * several) for name in facts.outputs]
        n_rows = {(output.split, output.number): len(output.rows) for output in self.scored}
        rows = []
        for split, metrics in facts.metrics.items():
            models = {"this model": metrics} | {name: splits.get(split, {}) for name, splits in facts.baselines.items()}
            for (model, values), (number, (name, suffix)) in product(models.items(), enumerate(names, -several)):
                n = n_rows.get((split, number))
                numbers = [_number(values.get(metric + suffix)) for metric in SHOWN_METRICS]
                rows.append([split, model, *([name] if several else []), f"{n:,}" if n else "", *numbers])
        if rows:
            head = ["split", "model", *(["output"] if several else []), "rows", *SHOWN_METRICS.values()]
            section.tables.append(Table(head, rows, 3 if several else 2))
            section.notes.append(
                "r is Pearson's and ρ Spearman's correlation of predicted and measured values: 1 is perfect, 0 is chance. R² is "
                f"the share of the variance that is explained. RMSE and MAE are errors{_in_unit(facts.unit)}."
            )
        else:
            section.notes.append(
                "No rows were held out and measured, so that nothing says how good the predictions are."
            )
        self._draw_correlations(section)
        if not facts.baselines:
            section.notes.append("There is no baseline: whether a simpler model does as well is not known.")
        few = [f"{n} {rows_of(split)}" for (split, _), n in n_rows.items() if n < FEW_ROWS]
        section.notes += [f"Only {each}: such results may be chance." for each in dict.fromkeys(few)]
        if facts.n_training_rows:
            missing = [split for split in ("validation", "test") if split not in facts.predictions]
            section.notes += [f"There are no {split} rows." for split in missing]
        return section

    def _draw_correlations(self, section: Section) -> None:
        """Adds r of the model and of the baselines for the last split."""
        facts, split = self.facts, self.last_split
        models = {"this model": facts.metrics.get(split, {})}
        models |= {name: splits[split] for name, splits in facts.baselines.items() if split in splits}
        n_rows = {output.number: len(output.rows) for output in self._of_last_split()}
        groups = correlations(models, facts.outputs, [n_rows.get(number, 0) for number in range(len(facts.outputs))])
        groups = {name: groups[name] for name in facts.outputs[:MOST_OUTPUTS] if name in groups}
        if len(models) == 1 or not groups:
            return
        ax = self.figures.plot_correlations(groups, facts.ceiling)
        alt = f"Pearson r of this model and of what it is compared with, {rows_of(split)}"
        what = rows_of(split)
        caption = f"{what[0].upper()}{what[1:]}. All models predict the same rows, so that r of two can differ clearly although "
        section.pictures.append(self._picture(ax, alt, caption + "their intervals overlap: the lines above say so."))

    def folds(self) -> Section:
        """How well each fold is predicted by what was fitted to the others."""
        facts = self.facts
        section = Section("folds", "Folds")
        several = len(facts.outputs) > 1
        names = [("mean", "")] * several + [(_short(name), f"_{name}" * several) for name in facts.outputs]
        baselines = list(dict.fromkeys(name for fold in facts.folds for name in fold.baselines))
        rows = []
        for number, (output, suffix) in enumerate(names, -several):
            columns = [[fold.metrics.get(metric + suffix) for fold in facts.folds] for metric in SHOWN_METRICS]
            columns += [
                [fold.baselines.get(name, {}).get(f"pearsonr{suffix}") for fold in facts.folds] for name in baselines
            ]
            start = [output] if several else []
            for fold, values in zip(facts.folds, zip(*columns, strict=True), strict=True):
                n = f"{fold.n_rows[number]:,}" if number >= 0 else ""
                rows.append([_short(fold.name), *start, n, *map(_number, values)])
            for what, summary in (("mean", np.mean), ("SD", lambda known: np.std(known, ddof=1))):
                known = [[value for value in column if value is not None] for column in columns]
                values = [_number(float(summary(column))) if len(column) > 1 else "" for column in known]
                rows.append([what, *start, "", *values])
        head = ["fold", *(["output"] if several else []), "rows", *SHOWN_METRICS.values()]
        section.tables.append(Table([*head, *(f"r, {_short(name)}" for name in baselines)], rows, 2 if several else 1))
        for number, output in enumerate(facts.outputs[:MOST_OUTPUTS]):
            groups = {}
            for fold in facts.folds:
                models = {"this model": fold.metrics} | fold.baselines
                groups[f"fold {fold.name}"] = correlations(models, facts.outputs, fold.n_rows).get(output, {})
            if any(groups.values()):
                ax = self.figures.plot_correlations(groups)
                caption = f"Pearson r of each fold{several * f': {_short(output)}'}"
                section.pictures.append(self._picture(ax, caption, caption))
        section.notes.append(
            "Each fold was predicted by a model that was trained on the others. SD has the number of folds less one as its "
            "divisor. Models of two folds share most of their training rows, so that a model of new rows may differ by more."
        )
        return section

    def data(self) -> Section:
        """Rows, sequences and measured values of every split."""
        facts, section = self.facts, Section("data", "Data")
        sequences = {"train": facts.training_sequences} if len(facts.training_sequences) else {}
        labels = {} if facts.training_labels is None else {"train": np.asarray(facts.training_labels, np.float64)}
        n_rows = {"train": facts.n_training_rows} if facts.n_training_rows else {}
        for split, table in facts.predictions.items():
            n_rows[split] = len(table)
            labels[split] = table[[f"observed{suffix}" for suffix in suffixes_in(table)]].to_numpy(np.float64)
            if "sequence" in table:
                sequences[split] = table["sequence"].astype(str).tolist()
        lengths = {split: np.array([len(sequence) for sequence in some]) for split, some in sequences.items()}
        gc = {split: gc_percent(some) for split, some in sequences.items()}
        rows = []
        for split, n in n_rows.items():
            share = f"{100 * n / sum(n_rows.values()):.1f}" if "train" in n_rows else ""
            rows.append([split, f"{n:,}", share, *_spread(lengths.get(split)), *_mean_and_sd(gc.get(split))])
        section.tables.append(Table(["rows", "number", "%", "bases, least", "median", "most", "GC (%)", "SD"], rows))
        rows = []
        for (number, name), (split, values) in product(enumerate(facts.outputs), labels.items()):
            known = values[:, number][np.isfinite(values[:, number])]
            least, median, most = _spread(known)
            rows.append([_short(name) or "value", split, f"{len(known):,}", *_mean_and_sd(known), least, median, most])
        head = [self._with_unit("measured"), "rows", "with a value", "mean", "SD", "lowest", "median", "highest"]
        section.tables.append(Table(head, rows, 2))
        if facts.counts:
            section.tables.append(Table(["also", "number"], [[what, f"{n:,}"] for what, n in facts.counts.items()]))
        self._draw_data(section, lengths, gc, labels)
        if n_sampled := max(len(facts.training_sequences), len(labels.get("train", ()))):
            if n_sampled < facts.n_training_rows:
                section.notes.append(f"Of the training rows, {n_sampled:,} are shown here, drawn at random.")
        elif facts.n_training_rows:
            section.notes.append("Sequences and values of the training rows are not shown.")
        if missing := [split for split in n_rows if split not in sequences]:
            section.notes.append(f"Without sequences, and so without lengths and GC content: {', '.join(missing)}.")
        return section

    def _draw_data(
        self,
        section: Section,
        lengths: Mapping[str, np.ndarray],
        gc: Mapping[str, np.ndarray],
        labels: Mapping[str, np.ndarray],
    ) -> None:
        """Adds the histograms."""
        plot = self.figures.plot_histograms
        found = {int(length) for values in lengths.values() for length in (values.min(), values.max())}
        if len(found) == 1:
            section.notes.append(f"All sequences have {found.pop():,} bases.")
        elif found:
            ax = plot(lengths, label="sequence length (bases)")
            section.pictures.append(self._picture(ax, "Histogram of sequence lengths by split", "Sequence lengths"))
        if any(np.isfinite(values).any() for values in gc.values()):
            ax = plot(gc, label="GC content (%)")
            section.pictures.append(self._picture(ax, "Histogram of GC content by split", "GC content"))
        for number, name in enumerate(map(_short, self.facts.outputs[:MOST_OUTPUTS])):
            values = {split: array[:, number] for split, array in labels.items()}
            if any(np.isfinite(array).any() for array in values.values()):
                label = self.figures.axis_label(f"measured {name or 'value'}", self.facts.unit)
                ax = plot(values, label=label)
                caption = f"Measured values{name and ' of ' + name}"
                section.pictures.append(self._picture(ax, f"Histogram by split: {caption}", caption))
        if len(self.facts.outputs) > MOST_OUTPUTS:
            section.notes.append(
                f"Figures, here and below, are of the first {MOST_OUTPUTS} of {len(self.facts.outputs)} outputs."
            )

    def training(self) -> Section:
        """The curves of the loss and of the evaluations."""
        section, facts, log = Section("training", "Training"), self.facts, self.facts.log_history

        def has(key: str) -> bool:
            return any(np.isfinite(row.get(key, np.nan)) for row in log)

        if facts.folds:
            section.notes.append("The curves of each model are in the report of its folder.")
            return section
        if not (has("loss") or has("eval_loss")):
            section.notes.append("No loss was logged.")
            return section
        metric = "pearsonr" if has("eval_pearsonr") else None
        label, ax = METRIC_LABELS.get(metric), self.figures.new_axes(5.2, 3.6)
        self.figures.plot_training_curves(log, ax, metric=metric, label=label, saved_step=facts.saved_step)
        alt = "Loss and, if there are validation rows, their correlation against the training step"
        section.pictures.append(self._picture(ax, alt, "The loss is that of standardised values."))
        if facts.has_linear_term:
            section.notes.append(
                "The final model adds ridge regression to the network, so its r differs from the curve."
            )
        if not has("eval_loss"):
            section.notes.append(
                "The model was not evaluated while it trained, because there were no rows for it or by request."
            )
        return section

    def agreement(self) -> Section:
        """Measured against predicted values."""
        section = Section("agreement", "Measured and predicted values")
        for output in self.drawn:
            ax = self.figures.plot_predicted_against_measured(
                output.predicted,
                output.measured,
                unit=self.facts.unit,
                same_scale=self.facts.same_scale,
                name=output.name,
            )
            alt = f"Predicted against measured values: {output.label}, {len(output.rows):,} with a measured value"
            section.pictures.append(self._picture(ax, alt, output.label))
        if not self.drawn:
            section.notes.append("There are no predictions with measured values.")
        return section

    def errors(self) -> Section:
        """What predictions are too high or too low by, against length and GC content."""
        section = Section("errors", "Errors by length and GC content")
        table = self.facts.predictions.get(self.last_split)
        if table is None or "sequence" not in table:
            section.notes.append("There are no predictions with sequences and measured values.")
            return section
        sequences = table["sequence"].astype(str).tolist()
        lengths, gc = np.array([len(sequence) for sequence in sequences], np.float64), gc_percent(sequences)
        for output in self._of_last_split():
            is_in_unit = self.facts.same_scale
            if not (
                self.figures.on_same_scale(output.predicted, output.measured) if is_in_unit is None else is_in_unit
            ):
                section.notes.append(f"{output.label}: predicted and measured values are not on one scale.")
                continue
            for values, name, unit in (
                (lengths, "length", "sequence length (bases)"),
                (gc, "GC content", "GC content (%)"),
            ):
                known = np.isfinite(values[output.rows])
                x = values[output.rows][known]
                if not len(x) or np.ptp(x) == 0:
                    section.notes.append(f"{output.label}: {name} does not vary.")
                    continue
                ax = self.figures.plot_residuals(
                    *(x, output.predicted[known], output.measured[known]),
                    label=unit,
                    unit=self.facts.unit,
                    name=output.name,
                )
                caption = f"Errors by {name}: {output.label}"
                section.pictures.append(self._picture(ax, caption, caption))
        if section.pictures:
            section.notes.append(
                "Above 0, predictions are too high. Squares are medians of up to ten parts of the rows, thick bars hold the middle "
                "half of the errors, thin ones nine tenths."
            )
        return section

    def intervals(self) -> Section:
        """How many measured values the prediction intervals hold."""
        section = Section("intervals", "Prediction intervals")
        for output in self._of_last_split():
            if output.lower is None or output.upper is None:
                continue
            ends = output.lower, output.upper
            ax = self.figures.plot_coverage(
                output.predicted, output.measured, *ends, unit=self.facts.unit, name=output.name
            )
            caption = f"Measured values inside their interval: {output.label}"
            section.pictures.append(self._picture(ax, caption, caption))
            share = 100 * np.mean((ends[0] <= output.measured) & (output.measured <= ends[1]))
            width = f"{np.mean(ends[1] - ends[0]):.4g} wide on average{_in_unit(self.facts.unit)}"
            section.lines.append(
                f"{output.label}: intervals hold {share:.1f} % of the measured values, and are {width}."
            )
        if section.pictures:
            section.notes.append(
                "Good intervals hold the share that was asked for (90 % unless interval_coverage of run_predict.py said otherwise), for "
                "low and for high predictions. Bars are 95 % confidence intervals of that share."
            )
            if self.facts.calibrated_on:
                section.notes.append(
                    f"The intervals were learnt from the errors of the {self.facts.calibrated_on} rows, as the flag calibration_file "
                    "of run_predict.py does with the predictions of these rows."
                )
        else:
            section.notes.append(
                "These predictions have no intervals: the flag calibration_file of run_predict.py adds them."
            )
        return section

    def similarity(self) -> Section:
        """How good predictions are for sequences that are unlike the training rows."""
        facts, section = self.facts, Section("similarity", "Similarity to the training rows")
        table = facts.predictions.get(self.last_split)
        sequences, folds = self._training()
        if not len(sequences):
            section.notes.append("The training sequences are not at hand: the report of a training run has this.")
            return section
        if table is None or "sequence" not in table:
            section.notes.append("There are no predictions with sequences and measured values.")
            return section
        random = np.random.default_rng(SEED)
        drawn = np.sort(random.permutation(len(table))[:SIMILARITY_ROWS])
        held_out = _sequences(table.iloc[drawn])
        order = random.permutation(len(sequences))
        n_bases = np.cumsum([len(sequences[row]) for row in order])
        chosen = order[: max(1, np.searchsorted(n_bases, SIMILARITY_BASES))]
        training = sequences[chosen]
        percent = np.full(len(table), np.nan)
        own = self._folds_of(table)[drawn]
        for fold in np.unique(own):
            others = training[(folds[chosen] != fold) | (fold == "")]
            percent[drawn[own == fold]] = 100 * share_in_nearest(
                held_out[own == fold].tolist(), others.tolist(), facts.both_strands
            )
        known = percent[drawn][np.isfinite(percent[drawn])]
        if not len(known):
            section.notes.append(f"The sequences of the {rows_of(self.last_split)} are too short to be compared.")
            return section
        section.lines = [
            f"{100 * np.mean(known >= low):.0f} % of {len(known):,} {rows_of(self.last_split)} share {low} % or more of their {K}-mers "
            "with one training row."
            for low in (90, 50)
        ]
        for output in self._of_last_split():
            is_known = np.isfinite(percent[output.rows])
            ranges = np.searchsorted(SIMILARITY_EDGES[1:-1], percent[output.rows][is_known], side="right")
            if len(set(ranges.tolist())) == 1:
                low, high = SIMILARITY_EDGES[ranges[0] :][:2]
                section.lines.append(
                    f"{output.label}: all share {low} to {high} %, so that r cannot be compared between more and less similar rows."
                )
            elif is_known.any():
                ax = self.figures.plot_correlation_by(
                    percent[output.rows][is_known],
                    output.predicted[is_known],
                    output.measured[is_known],
                    SIMILARITY_EDGES,
                    label=f"{K}-mers shared with the nearest training row (%)",
                )
                caption = f"Pearson r by similarity to the nearest training row: {output.label}"
                section.pictures.append(self._picture(ax, caption, caption))
        compared, n = (
            f"{len(known):,} {rows_of(self.last_split)} were compared with {len(training):,}",
            facts.n_training_rows,
        )
        if max(n, len(sequences)) > len(training):
            compared += (
                f" of {max(n, len(sequences)):,} training rows, drawn at random: the nearest of all may be nearer"
            )
        else:
            compared += " training rows"
        if (own != "").any():
            compared += ", each with those of the other folds"
        section.notes.append(
            f"{compared}. Each changed base takes away up to {K} of a sequence's {K}-mers; bases at the ends that nearly all "
            f"sequences share are left out. Ranges with fewer than {FEW_ROWS} rows have no r; bars are 95 % confidence intervals."
        )
        return section

    def _training(self) -> tuple[np.ndarray, np.ndarray]:
        """Sequences of training rows, and the fold of each, as texts; in a cross-validation, the held-out rows of all folds."""
        for table in self.facts.predictions.values():
            if self.facts.folds and FOLD in table and "sequence" in table:
                return _sequences(table), self._folds_of(table)
        sequences = np.array(self.facts.training_sequences, object)
        return sequences, np.full(len(sequences), "")

    def _folds_of(self, table: pd.DataFrame) -> np.ndarray:
        """The fold of each row, as text; empty where there is none, for rows that all models have not seen."""
        has_folds = self.facts.folds and FOLD in table
        return table[FOLD].to_numpy().astype(str) if has_folds else np.full(len(table), "")

    def settings(self) -> Section:
        """Settings, versions and the command."""
        section = Section("settings", "Settings and versions", code=self.facts.command)
        if self.facts.settings:
            rows = [[name, str(value)] for name, value in self.facts.settings.items()]
            section.tables.append(Table(["setting", "value"], rows, 2))
        elif not self.facts.command:
            section.notes.append("None were given.")
        return section

    def _of_last_split(self) -> list[_Scored]:
        return [output for output in self.drawn if output.split == self.last_split]


def _outputs(facts: ReportFacts, split: str) -> Iterator[_Scored]:
    """The outputs of a split that have a measured value."""
    table = facts.predictions[split]
    suffixes = suffixes_in(table)
    if len(suffixes) != len(facts.outputs):
        raise ValueError(
            f"`outputs` has {counted(len(facts.outputs), 'name')}, but the {split} predictions have {len(suffixes)}: name each"
        )
    columns = [kind + suffix for suffix in suffixes for kind in ("prediction", "observed")]
    if missing := [column for column in columns if column not in table]:
        raise ValueError(
            f"`predictions`, {split}: no column {missing[0]!r}; it has {', '.join(map(str, table))}: give predictions with their "
            "measured values"
        )
    for number, (name, suffix) in enumerate(zip(facts.outputs, suffixes, strict=True)):
        values = {
            kind: table[kind + suffix].to_numpy(np.float64)
            for kind in ("prediction", "observed", "lower", "upper")
            if kind + suffix in table
        }
        rows = np.flatnonzero(np.isfinite(values["prediction"]) & np.isfinite(values["observed"]))
        if len(rows):
            ends = (values[kind][rows] if kind in values else None for kind in ("lower", "upper"))
            yield _Scored(
                split, number, _short(name), rows, values["prediction"][rows], values["observed"][rows], *ends
            )


def _sequences(table: pd.DataFrame) -> np.ndarray:
    """Sequences of a table in the letters ACGTN, object (n,)."""
    return np.array([canonical(sequence.strip()) for sequence in table["sequence"].astype(str)], object)


def gc_percent(sequences: Sequence[str]) -> np.ndarray:
    """Returns the share of G and C among the known bases of sequences, float64 (n,) in percent; NaN without such bases.

    >>> gc_percent(["ggcaN", "NN"]).tolist()
    [75.0, nan]
    """
    shares = np.full(len(sequences), np.nan)
    for row, sequence in enumerate(sequences):
        text = sequence.upper()
        n_gc = text.count("G") + text.count("C")
        if n_known := n_gc + text.count("A") + text.count("T") + text.count("U"):
            shares[row] = 100 * n_gc / n_known
    return shares


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _in_unit(unit: str) -> str:
    return f", in {unit}" if unit else ""


def _number(value: float | None) -> str:
    """A metric as text, nothing if it is not known."""
    return "" if value is None else f"{value:z.3f}" if abs(value) < 100 else f"{value:.4g}"


def _spread(values: ArrayLike | None) -> list[str]:
    """Least, median and most of numbers (n,) as texts; nothing if there are none."""
    if values is None or not len(values):
        return ["", "", ""]
    return [f"{value:.4g}" for value in (np.min(values), np.median(values), np.max(values))]


def _mean_and_sd(values: np.ndarray | None) -> list[str]:
    """Mean and standard deviation of those numbers (n,) that are known, as texts."""
    known = np.empty(0) if values is None else values[np.isfinite(values)]
    return [f"{known.mean():.4g}", f"{known.std():.3g}"] if len(known) else ["", ""]

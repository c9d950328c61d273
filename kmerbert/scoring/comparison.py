"""Compares predictions with measured values: reads both from a predictions file, scores them, formats the result."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from kmerbert.predicting.intervals import interval_metrics
from kmerbert.predicting.table import (
    align_rows,
    interval_columns,
    measured_columns,
    number_columns,
    read_predictions,
    suffixes_in,
)
from kmerbert.reading.training_sample import TrainingSample
from kmerbert.scoring.baselines import BASELINE_FILE
from kmerbert.scoring.metrics import regression_metrics
from kmerbert.scoring.verdict import verdict
from tokenization_kmer import Flanks

Bounds = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Comparison:
    """Predictions of a model, and of a baseline if there is one, for the same rows.

    Attributes:
        outputs: Names of the outputs; "" for a single output.
        measured: float64 (n, outputs), NaN where nothing was measured; in the unit of the labels, like all that follows.
        predicted: float64 (n, outputs) of `model` and perhaps `baseline`.
        bounds: Lower and upper ends of intervals, float64 (n, outputs) each, of those that have any.
        table: The predictions as they were read.
        baseline_name: `ridge` for the file that training wrote, otherwise `baseline`.
    """

    outputs: list[str]
    measured: np.ndarray
    predicted: dict[str, np.ndarray]
    bounds: dict[str, Bounds]
    table: pd.DataFrame
    baseline_name: str = "baseline"

    @classmethod
    def read(cls, path: str, baseline_path: str | None) -> "Comparison":
        """Reads a predictions file with measured values, and a baseline's for the same rows in any order.

        Raises:
            ValueError: A file cannot be read, lacks a column or measured values, or they do not have the same rows.
        """
        table = read_predictions(path)
        suffixes = suffixes_in(table)
        columns = [f"prediction{suffix}" for suffix in suffixes]
        predicted = {"model": number_columns(table, columns, path, "run_predict.py writes such a table")}
        bounds = {"model": interval_columns(table, suffixes, path)}
        hint = "run_predict.py `label_column` adds it"
        measured = measured_columns(table, [f"observed{suffix}" for suffix in suffixes], path, hint)
        if baseline_path:
            baseline = align_rows(read_predictions(baseline_path, "baseline_file"), table, baseline_path)
            hint = "it needs those of `predictions_file`"
            predicted["baseline"] = number_columns(baseline, columns, baseline_path, hint)
            bounds["baseline"] = interval_columns(baseline, suffixes, baseline_path)
        outputs = [suffix.removeprefix("_") for suffix in suffixes]
        bounds = {model: ends for model, ends in bounds.items() if ends}
        is_ridge = (baseline_path or "").endswith(BASELINE_FILE.format(""))
        return cls(outputs, measured, predicted, bounds, table, "ridge" if is_ridge else "baseline")

    def score(self) -> dict[str, Any]:
        """Computes the content of metrics.json: rows, the metrics of the model, and the baseline's under `baseline`."""
        known = ~np.isnan(self.measured)
        scores = {model: regression_metrics(x, self.measured, self.outputs) for model, x in self.predicted.items()}
        for model, bounds in self.bounds.items():
            scores[model] |= interval_metrics(*bounds, self.measured, self.outputs)
        rows = {f"n_{name}": int(known[:, output].sum()) for output, name in enumerate(self._several)}
        return {"n": int(known.any(axis=1).sum())} | rows | scores.pop("model") | scores

    def lines(self, metrics: dict[str, Any]) -> list[str]:
        """Formats the result of `score` as the lines of a table, and a warning below it if predictions do not vary."""
        formats = {"n": "8", "pearsonr": "8.3f", "spearmanr": "8.3f", "rmse": "10.4g"}
        formats |= {"coverage": "10.3f", "interval_width": "10.4g"} if self.bounds else {}
        heads = {"pearsonr": "r", "spearmanr": "rho", "interval_width": "width"}
        lines = [f"{'':<24}" + "".join(f"{heads.get(key, key):>{form.split('.')[0]}}" for key, form in formats.items())]
        for model, name in product(self.predicted, ["", *self._several]):
            values = metrics | metrics.get("baseline", {}) if model == "baseline" else metrics
            label = f"{model} {name or 'mean'}" if self._several else model
            shown = formats if model in self.bounds else list(formats)[:4]
            suffix = f"_{name}" if name else ""
            lines.append(f"{label:<24}" + "".join(f"{values[key + suffix]:>{formats[key]}}" for key in shown))
        for name, y in zip(self.outputs, self.measured.T, strict=True):
            known = y[~np.isnan(y)]
            if len(known) < 2 or np.ptp(known) == 0:
                what = "there is one measured value" if len(known) < 2 else f"all measured values are {known[0]:g}"
                lines.append(
                    f"warning: {what}{name and ' of ' + name}: r, rho and r2 need values that differ, and count as 0"
                )
        for (model, x), (output, name) in product(self.predicted.items(), enumerate(self.outputs)):
            known = x[~np.isnan(self.measured[:, output]), output]
            if len(known) > 1 and np.ptp(known) == 0:
                label = f"{model} {name}".rstrip()
                lines.append(f"warning: predictions of the {label} do not vary: they count as r = rho = 0")
        return lines

    def verdict(self, rows: str = "rows", **sentences: str) -> list[str]:
        """Says in a few lines what the model is worth; arguments as for `verdict`."""
        predicted = {self.baseline_name if name == "baseline" else name: x for name, x in self.predicted.items()}
        return verdict(predicted, self.measured, self.outputs, rows, **sentences)

    def trained_line(self, config: Mapping[str, Any]) -> str | None:
        """Returns a warning if a model was trained on these sequences, as far as its configuration tells; None if not."""
        sample = TrainingSample.from_text(config.get("training_sample"))
        if sample is None or "sequence" not in self.table:
            return None
        flanks = Flanks(**config["flanks"]) if config.get("flanks") else None
        longest = config.get("sequence_length", (None,))[-1]
        found = sample.find_written(
            self.table["sequence"].astype(str), flanks, bool(config.get("both_strands")), longest
        )
        if not found.rows.any():
            return None
        return (
            f"warning: the model was trained on the sequence of row {found.rows.argmax() + 1}, and on about {found.share:.0%} of "
            f"these {len(found.rows)} rows: such a score says nothing about new sequences"
        )

    @property
    def _several(self) -> list[str]:
        """Names of the outputs if there are several, whose metrics are also given one by one."""
        return self.outputs if len(self.outputs) > 1 else []

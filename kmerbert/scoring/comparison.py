"""Predictions of models beside measured values: read, scored, and put into the lines that are printed. Draws nothing."""

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from kmerbert.predicting.intervals import interval_metrics
from kmerbert.predicting.table import align, endings, read_predictions, take, take_bounds, take_measured
from kmerbert.scoring.metrics import regression_metrics

Bounds = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Comparison:
    """Predictions of a model, and of a baseline if there is one, for the same rows.

    Attributes:
        names: of the outputs; "" for one that has none.
        measured: float64 (n, outputs), NaN where nothing was measured; in the unit of the labels, as all that follows.
        predicted: float64 (n, outputs) of `model` and maybe `baseline`.
        bounds: lower and upper ends of intervals, float64 (n, outputs) each, of those with any.
    """

    names: list[str]
    measured: np.ndarray
    predicted: dict[str, np.ndarray]
    bounds: dict[str, Bounds]

    @classmethod
    def read(cls, path: str, baseline_path: str | None) -> "Comparison":
        """Reads a table of predictions with measured values, and a baseline's for the same rows in any order.

        Raises:
            ValueError: for tables that cannot be read, lack a column or measured values, or do not have the same rows.
        """
        table = read_predictions(path)
        ends = endings(table)
        columns = [f"prediction{end}" for end in ends]
        predicted = {"model": take(table, columns, path, "run_predict.py writes such a table")}
        bounds = {"model": take_bounds(table, ends, path)}
        hint = "run_predict.py --label_column adds it"
        measured = take_measured(table, [f"observed{end}" for end in ends], path, hint)
        if baseline_path:
            baseline = align(read_predictions(baseline_path, "--baseline_file"), table, baseline_path)
            predicted["baseline"] = take(baseline, columns, baseline_path, "needed are those of --predictions_file")
            bounds["baseline"] = take_bounds(baseline, ends, baseline_path)
        names = [end.removeprefix("_") for end in ends]
        return cls(names, measured, predicted, {model: found for model, found in bounds.items() if found})

    def score(self) -> dict[str, Any]:
        """Computes the content of metrics.json: rows, the metrics of the model, and under `baseline` those of that."""
        known = ~np.isnan(self.measured)
        scores = {model: regression_metrics(x, self.measured, self.names) for model, x in self.predicted.items()}
        for model, bounds in self.bounds.items():
            scores[model] |= interval_metrics(*bounds, self.measured, self.names)
        rows = {f"n_{name}": int(known[:, output].sum()) for output, name in enumerate(self._several)}
        return {"n": int(known.any(axis=1).sum())} | rows | scores.pop("model") | scores

    def lines(self, metrics: dict[str, Any]) -> list[str]:
        """Puts what `score` found into the lines of a table, and below it a warning for predictions that do not vary."""
        formats = {"n": "8", "pearsonr": "8.3f", "spearmanr": "8.3f", "rmse": "10.4g"}
        formats |= {"coverage": "10.3f", "interval_width": "10.4g"} if self.bounds else {}
        heads = {"pearsonr": "r", "spearmanr": "rho", "interval_width": "width"}
        lines = [f"{'':<24}" + "".join(f"{heads.get(key, key):>{form.split('.')[0]}}" for key, form in formats.items())]
        for model, name in product(self.predicted, ["", *self._several]):
            found = metrics | metrics.get("baseline", {}) if model == "baseline" else metrics
            label = f"{model} {name or 'mean'}" if self._several else model
            shown = formats if model in self.bounds else list(formats)[:4]
            ending = f"_{name}" if name else ""
            lines.append(f"{label:<24}" + "".join(f"{found[key + ending]:>{formats[key]}}" for key in shown))
        for (model, x), (output, name) in product(self.predicted.items(), enumerate(self.names)):
            if np.ptp(x[~np.isnan(self.measured[:, output]), output]) == 0:
                label = f"{model} {name}".rstrip()
                lines.append(f"warning: predictions of the {label} do not vary: they count as r = rho = 0")
        return lines

    @property
    def _several(self) -> list[str]:
        """Names of the outputs where there are several, whose metrics are also given one by one."""
        return self.names if len(self.names) > 1 else []

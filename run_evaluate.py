"""Compares predictions with measured values: metrics and figures, without a model or a GPU.

Reads a table with a header (.tsv .csv .parquet, text also .gz): `id` or `sequence`, `prediction` and `observed`, or
`prediction_<name>` and `observed_<name>` for several outputs, as run_predict.py and benchmarks/kmer_ridge.py write it.
Writes metrics.json, predicted_against_measured.png (one per output) and, with --run_dir, training_curves.png.

    python run_evaluate.py --predictions_file predictions.tsv --baseline_file ridge.tsv --output_dir evaluation
    python run_evaluate.py --predictions_file predictions.tsv --run_dir model --unit "log2 bin" --output_dir evaluation
"""

import gzip
import json
import re
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from transformers.hf_argparser import HfArg

from kmerbert.command_line import parse, run
from kmerbert.metrics import match_rows, regression_metrics
from kmerbert.plotting import plot_predicted_against_measured, plot_training_curves
from kmerbert.tables import FileSource, to_numbers

RESULTS = re.compile(r"metrics\.json|training_curves\.png|predicted_against_measured.*\.png")


@dataclass
class EvaluationArguments:
    """What to compare, and where to write."""

    predictions_file: str | None = HfArg(default=None, help="Table of predictions and measured values, with a header.")
    output_dir: str | None = HfArg(default=None, help="Folder for metrics.json and the figures.")
    baseline_file: str | None = HfArg(default=None, help="Another model's table for the same rows, in any order.")
    run_dir: str | None = HfArg(default=None, help="Output folder of a training run, to draw its curves.")
    unit: str = HfArg(default="", help="Unit of the measured values, for the axes of the figures.")
    overwrite_output_dir: bool = HfArg(default=False, help="Replace the results that --output_dir already holds.")

    def __post_init__(self) -> None:
        if not self.predictions_file or not self.output_dir:
            raise ValueError("give --predictions_file (a table that run_predict.py wrote) and --output_dir (a folder)")


def read_predictions(path: str) -> pd.DataFrame:
    """Reads a table; predictions and measured values become float64, NaN where nothing was measured."""
    source = FileSource(Path(path))
    if source.format not in ("\t", ",", "parquet"):
        raise ValueError(f"{path}: predictions are read from .tsv, .csv (each also .gz) or .parquet")
    text = {"dtype": str, "keep_default_na": False, "skip_blank_lines": False}
    try:
        table = pd.read_parquet(path) if source.format == "parquet" else pd.read_csv(path, sep=source.format, **text)
    except (ValueError, EOFError, ImportError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is empty or not a table with a header: {error}") from None
    if source.format != "parquet" and not isinstance(table.index, pd.RangeIndex):
        raise ValueError(f"{path}: its rows have more columns than its header, which names {', '.join(table)}")
    first = 1 if source.format == "parquet" else 2
    for column in filter(re.compile("(prediction|observed)(_.+)?").fullmatch, table):
        table[column] = to_numbers(pa.array(table[column], from_pandas=True), source, first, column)
        if column.startswith("prediction") and table[column].isna().any():
            raise ValueError(f"{source.place(first + int(table[column].isna().argmax()))}: {column} is missing")
    return table


def take(table: pd.DataFrame, columns: list[str], path: str, hint: str) -> np.ndarray:
    """Takes columns of numbers out of a table, float64 (n, columns)."""
    if missing := [column for column in columns if column not in table]:
        raise ValueError(f"{path}: no column {missing[0]!r}; columns found: {', '.join(table)}; {hint}")
    return table[columns].to_numpy(np.float64)


def align(baseline: pd.DataFrame, table: pd.DataFrame, path: str) -> pd.DataFrame:
    """Puts a baseline's rows in the order of the predictions; rows are the same if their `id` and `sequence` are."""
    keys = [column for column in ("id", "sequence") if column in table and column in baseline]
    if not keys:
        raise ValueError(f"--baseline_file {path}: needs a column 'id' or 'sequence' that --predictions_file has too")
    try:
        return baseline.iloc[match_rows(*(rows[keys].astype(str).agg(" ".join, axis=1) for rows in (table, baseline)))]
    except ValueError as error:
        raise ValueError(f"--baseline_file {path}, by {' and '.join(keys)}: {error}: predict the same rows") from None


def write_results(folder: Path, metrics: dict[str, Any], figures: dict[str, Any]) -> None:
    """Puts the results into the folder when all are whole, in the place of those it held."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unfinished-") as unfinished:
        Path(unfinished, "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
        for name, ax in figures.items():
            ax.figure.savefig(Path(unfinished, name), dpi=200)
        for file in filter(lambda file: RESULTS.fullmatch(file.name), list(folder.iterdir())):
            file.unlink()
        for file in list(Path(unfinished).iterdir()):
            file.replace(folder / file.name)


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Runs the script; returns the content of metrics.json."""
    (args,) = parse([EvaluationArguments], argv, description=__doc__.split("\n")[0])

    folder, path, state = Path(args.output_dir), args.predictions_file, Path(args.run_dir or "", "trainer_state.json")
    old = [] if args.overwrite_output_dir else [file.name for file in folder.glob("*") if RESULTS.fullmatch(file.name)]
    if old:
        raise ValueError(f"--output_dir {folder} already holds {old[0]}: name another or --overwrite_output_dir")
    if args.run_dir and not state.is_file():
        raise ValueError(f"--run_dir {args.run_dir} has no trainer_state.json: name the --output_dir of a training run")

    table = read_predictions(path)
    columns = [column for column in table if re.fullmatch("prediction(_.+)?", column)] or ["prediction"]
    names = [column.removeprefix("prediction") for column in columns]
    predicted = {"model": take(table, columns, path, "run_predict.py writes such a table")}
    measured = take(table, [f"observed{name}" for name in names], path, "run_predict.py --label_column adds it")
    if args.baseline_file:
        baseline = align(read_predictions(args.baseline_file), table, args.baseline_file)
        predicted["baseline"] = take(baseline, columns, args.baseline_file, "needed are those of --predictions_file")

    results = {model: regression_metrics(x, measured, [name[1:] for name in names]) for model, x in predicted.items()}
    known, several = np.isfinite(measured), names if len(names) > 1 else []
    metrics = {"n": int(known.any(axis=1).sum())}
    metrics |= {f"n{name}": int(known[:, output].sum()) for output, name in enumerate(several)} | results["model"]
    metrics |= {"baseline": results["baseline"]} if args.baseline_file else {}
    figures = {}
    for name, x, y in zip(names, predicted["model"].T, measured.T, strict=True):
        file_name = re.sub(r"[^\w.-]", "_", f"predicted_against_measured{name}.png")
        figures[file_name] = plot_predicted_against_measured(x, y, unit=args.unit, title=name[1:])
    if args.run_dir:
        log = json.loads(state.read_text(encoding="utf-8")).get("log_history", [])
        metric = "pearsonr" if any("eval_pearsonr" in row for row in log) else None
        figures["training_curves.png"] = plot_training_curves(log, metric=metric)

    write_results(folder, metrics, figures)
    print(f"{'':<24}{'n':>8}{'r':>8}{'rho':>8}{'rmse':>10}")
    for model, name in product(results, ["", *several]):
        r, rho, rmse = (results[model][metric + name] for metric in ("pearsonr", "spearmanr", "rmse"))
        label = f"{model} {name[1:] or 'mean'}" if several else model
        print(f"{label:<24}{metrics[f'n{name}']:>8}{r:>8.3f}{rho:>8.3f}{rmse:>10.4g}")
    return metrics


if __name__ == "__main__":
    run(main)

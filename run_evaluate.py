"""Compares predictions with measured values: metrics and figures, without a model or a GPU.

Reads a table with a header (.tsv .csv .parquet, text also compressed): `id` or `sequence`, `prediction` and `observed`, or
`prediction_<name>` and `observed_<name>` for several outputs, as run_predict.py and baselines/kmer_ridge.py write it.
Writes metrics.json, report.html, predicted_against_measured.png (one per output) and, with --run_dir, training_curves.png.
With a baseline (for predictions that training wrote, its ridge regression, unless you name another), correlations.png shows
Pearson's r of both with 95 % intervals.
If the table has `lower` and `upper`, the metrics say what share of measured values lies between them, and how wide that is.

With --challenge_dir it gives the official score of the DREAM Challenge 2022 instead, and draws one figure per subset.
Predictions are then the challenge's .json of rows and values, its sequence<TAB>prediction, or a table `sequence
prediction`. The folder contains public_leaderboard_ids and, for the private score, test_subset_ids and the labelled test
file, filtered_test_data_with_MAUDE_expression.txt, as they are published (doi:10.5281/zenodo.10633252).

    python run_evaluate.py --predictions_file predictions.tsv --baseline_file ridge.tsv --output_dir evaluation
    python run_evaluate.py --predictions_file predictions.tsv --run_dir model --unit "log2 bin" --output_dir evaluation
    python run_evaluate.py --predictions_file predictions.tsv --replicate_file test.tsv --replicate_columns first,second \\
        --output_dir evaluation
    python run_evaluate.py --predictions_file submission.json --challenge_dir dream2022 --output_dir evaluation
"""

import kmerbert.cli.interruption  # noqa: F401 (Ctrl-C during the imports)

import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kmerbert.cli.flags import EvaluationArguments, split_names
from kmerbert.cli.parser import parse
from kmerbert.cli.run import command_line, run, with_dashes
from kmerbert.figures import plot_correlations, plot_predicted_against_measured, plot_training_curves
from kmerbert.files import check_folder, read_json, whole_file
from kmerbert.reading.labels import LabelTransform
from kmerbert.scoring.baselines import BASELINE_FILE, NAMES
from kmerbert.scoring.comparison import Comparison
from kmerbert.scoring.dream import SUBSETS, read_challenge, read_submission, score_lines
from kmerbert.scoring.metrics import METRIC_LABELS
from kmerbert.scoring.noise_ceiling import noise_ceiling, read_replicates
from kmerbert.scoring.verdict import correlations
from kmerbert.sharing.report import REPORT_FILE, ReportFacts, write_report

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

SUBSET_NAMES = "|".join(subset.name for subset in SUBSETS)
RESULTS = re.compile(
    r"metrics\.json|report\.html|(training_curves|correlations|predicted_against_measured.*)\.png"
    rf"|subset_({SUBSET_NAMES})\.png"
)
# Saved in every figure and report: by this one of an earlier evaluation is told from one of the user's, or of a training run.
SOFTWARE = "run_evaluate.py"
LONGEST_NAME = 80  # letters of an output's name in the name of its figure
# Content of metrics.json, figures by file name, lines to print, the report if there is one.
Results = tuple[dict[str, Any], dict[str, "Axes"], list[str], ReportFacts | None]


def evaluate_table(args: EvaluationArguments) -> Results:
    """Compares the predictions, and a baseline's if there is one, with the measured values of the same table."""
    comparison = Comparison.read(args.predictions_file, args.baseline_file or ridge_of_run(args.predictions_file))
    metrics, figures = comparison.score(), {}
    table, remarks, config = comparison.lines(metrics), [], read_config(args)
    unit = args.unit or config.get("label_unit") or ""
    if args.run_dir:
        trained = comparison.trained_line(config)
        remarks += [trained] if trained else []
    ceiling = add_ceiling(args, metrics, comparison.table, LabelTransform.of(config.get("label_transform")))
    metrics["verdict"] = [with_dashes(line) for line in comparison.verdict(ceiling=ceiling)]
    highest = metrics.get("noise_ceiling")
    for name, x, y in zip(comparison.outputs, comparison.predicted["model"].T, comparison.measured.T, strict=True):
        file_name = figure_name(name, figures)
        figures[file_name] = plot_predicted_against_measured(x, y, unit=unit, title=name)
    baselines = {}
    if "baseline" in metrics:
        baselines[NAMES.get(comparison.baseline_name, comparison.baseline_name)] = metrics["baseline"]
        n_rows = [int(n) for n in (~np.isnan(comparison.measured)).sum(axis=0)]
        if groups := correlations({"this model": metrics} | baselines, comparison.outputs, n_rows):
            figures["correlations.png"] = plot_correlations(groups, highest)
    files = {"predictions": args.predictions_file, "baseline": args.baseline_file, "run": args.run_dir}
    title = Path(args.predictions_file).name
    split = f"rows of {title}"
    facts = ReportFacts(
        title=title,
        summary="Predictions compared with measured values.",
        outputs=comparison.outputs,
        predictions={split: comparison.table},
        metrics={split: metrics},
        baselines={name: {split: values} for name, values in baselines.items()},
        ceiling=highest,
        verdict=[line for line in table if line.startswith("warning: ")] + remarks + metrics["verdict"],
        unit=unit,
        has_linear_term=bool(config.get("linear_term")),
        settings={name: path for name, path in files.items() if path}
        | {"versions": ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy"))},
        program=SOFTWARE,
    )
    lines = [*table, *remarks, "verdict", *(f"  {line}" for line in metrics["verdict"])]
    return metrics, figures, lines, facts


def figure_name(output: str, taken: Collection[str]) -> str:
    """Returns a name for the figure of an output that no other figure has, in whatever case."""
    stem = "predicted_against_measured" + re.sub(r"[^\w.-]", "_", output and "_" + output[:LONGEST_NAME])
    others = {name.casefold() for name in taken}
    names = (f"{stem}{ending}.png" for ending in ("", *(f"_{number}" for number in range(2, len(others) + 3))))
    return next(name for name in names if name.casefold() not in others)


def evaluate_challenge(args: EvaluationArguments) -> Results:
    """Scores the predictions as the challenge does."""
    challenge = read_challenge(Path(args.challenge_dir), args.leaderboard)
    predicted = read_submission(args.predictions_file, challenge)
    metrics = challenge.score(predicted)
    figures = {}
    for subset in SUBSETS:
        x, y = challenge.values(subset.name, predicted), challenge.values(subset.name, challenge.measured)
        figures[f"subset_{subset.name}.png"] = plot_predicted_against_measured(
            x, y, unit=args.unit or "MAUDE score", title=subset.title, same_scale=False, is_difference=subset.is_pairs
        )
    lines = score_lines(metrics, challenge.constant_subsets(predicted))
    ceiling = add_ceiling(args, metrics)
    lines += [ceiling] if ceiling else []
    return metrics, figures, lines, None


def ridge_of_run(predictions_file: str) -> str | None:
    """Returns the ridge regression's predictions of the same rows, if training wrote both."""
    path = Path(predictions_file)
    ridge = path.with_name(BASELINE_FILE.format(path.name.removesuffix("_predictions.tsv")))
    return str(ridge) if is_of_run(path) and ridge.is_file() else None


def is_of_run(predictions: Path) -> bool:
    """Tells whether a file of predictions has the name of one that training writes."""
    return predictions.name in ("validation_predictions.tsv", "test_predictions.tsv")


def read_config(args: EvaluationArguments) -> dict[str, Any]:
    """Reads the configuration of the model, as far as the run is named or wrote the predictions; otherwise empty."""
    predictions = Path(args.predictions_file)
    folder = Path(args.run_dir) if args.run_dir else predictions.parent if is_of_run(predictions) else None
    config = folder / "config.json" if folder else None
    return read_object(config) if config and config.is_file() else {}


def add_ceiling(
    args: EvaluationArguments,
    metrics: dict[str, Any],
    predicted: "pd.DataFrame | None" = None,
    transform: LabelTransform | None = None,
) -> str:
    """Adds the noise ceiling of replicates, if there are any, and returns a sentence about it, otherwise nothing.

    The ids of the replicates must name the sequences that were predicted. Replicates become what the model predicts.
    """
    if not args.replicate_columns:
        return ""
    names = split_names(args.replicate_columns)
    path = args.replicate_file or args.predictions_file
    replicates = read_replicates(path, names, predicted, args.sheet, transform)
    ceiling = noise_ceiling(replicates, names)
    metrics |= ceiling._asdict()
    return ceiling.line()


def read_training(run_dir: Path) -> dict[str, Any]:
    """Reads the log of a training run, and the step whose weights it saved, as `ReportFacts` names them."""
    state = read_object(run_dir / "trainer_state.json")
    log = state.get("log_history", [])
    scores = run_dir / "eval_results.json"
    step = saved_step(state, read_object(scores) if scores.is_file() else {}, f"eval_{metric_in(log) or 'loss'}")
    return {"log_history": log, "saved_step": step}


def metric_in(log_history: Sequence[Mapping[str, Any]]) -> str | None:
    """The metric of a log that its figure shows next to the loss; None for one of pretraining."""
    return "pearsonr" if any("eval_pearsonr" in row for row in log_history) else None


def draw_training(log_history: Sequence[Mapping[str, Any]], saved_step: int | None) -> "Axes":
    """Draws the curves of a training run."""
    metric = metric_in(log_history)
    return plot_training_curves(log_history, metric=metric, label=METRIC_LABELS.get(metric), saved_step=saved_step)


def read_object(path: Path) -> dict[str, Any]:
    """Reads a JSON object of a training run; ValueError if the file is something else."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not of a training run: it has no JSON object")
    return content


def saved_step(state: Mapping[str, Any], scores: Mapping[str, float], metric: str) -> int | None:
    """Returns the step whose weights a run saved: that of its best checkpoint, or the last; None if that is not known.

    Args:
        state: Content of trainer_state.json, which does not say whether the run ended with the best.
        scores: Content of eval_results.json: what the saved model scored, which its step scored, too.
        metric: Name of a metric in both.
    """
    logged = {row["step"]: row[metric] for row in reversed(state.get("log_history", [])) if metric in row}
    best, last = state.get("best_global_step"), state.get("global_step")
    if metric in scores:
        for step in (best, last):
            if step in logged and math.isclose(logged[step], scores[metric], rel_tol=1e-6):
                return step
    return best if state.get("best_model_checkpoint") and best else last


def stale_results(folder: Path, new: Collection[str]) -> list[Path]:
    """Returns the results of an earlier evaluation in a folder that the new ones do not replace.

    Raises:
        ValueError: A new result would be written through a link, into a folder, or over a report of something else.
    """
    for name in new:
        if (folder / name).is_symlink() or (folder / name).is_dir():
            raise ValueError(
                f"--output_dir {folder}: {name} is a link or a folder, which is not replaced: move it away"
            )
    report = folder / REPORT_FILE
    if REPORT_FILE in new and report.exists() and not is_own(report):
        raise ValueError(
            f"--output_dir {folder}: {REPORT_FILE} is not of {SOFTWARE} and is not replaced, such as that of a training run: "
            "name another folder"
        )
    others = [file for file in folder.iterdir() if RESULTS.fullmatch(file.name) and file.name not in new]
    return [file for file in others if file.is_file() and not file.is_symlink() and is_own(file)]


def is_own(file: Path) -> bool:
    """Tells whether run_evaluate.py made a figure or report."""
    with open(file, "rb") as start:
        content = start.read(1000)
    return f"Software\0{SOFTWARE}".encode() in content or f'"generator" content="{SOFTWARE}"'.encode() in content


def write_results(
    folder: Path, metrics: Mapping[str, Any], figures: Mapping[str, "Axes"], report: ReportFacts | None = None
) -> None:
    """Replaces the results in a folder, once all new ones are complete."""
    folder.mkdir(parents=True, exist_ok=True)
    old = stale_results(folder, ["metrics.json", *figures, *([REPORT_FILE] if report else [])])
    with ExitStack() as stack:
        partial = stack.enter_context(whole_file(folder / "metrics.json"))
        partial.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
        for name, ax in figures.items():
            style = {"dpi": 200, "format": "png", "bbox_inches": "tight", "metadata": {"Software": SOFTWARE}}
            ax.figure.savefig(stack.enter_context(whole_file(folder / name)), **style)
        if report:
            write_report(stack.enter_context(whole_file(folder / REPORT_FILE)), report)
        for file in old:
            file.unlink()


def check_inputs(args: EvaluationArguments, folder: Path) -> None:
    """Raises ValueError if a table to read has the name of a result in the output folder, and would be replaced."""
    for flag in ("predictions_file", "baseline_file", "replicate_file"):
        path = getattr(args, flag) and Path(getattr(args, flag))
        names = [file for file in folder.glob("*") if RESULTS.fullmatch(file.name)]
        if path and path.exists() and any(file.exists() and file.samefile(path) for file in names):
            raise ValueError(f"--{flag} {path} has the name of a result in --output_dir {folder}: name another folder")


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Runs the script; returns the content of metrics.json."""
    (args,) = parse([EvaluationArguments], argv, __doc__)
    folder, run_dir = Path(args.output_dir), Path(args.run_dir or "")
    old = [] if args.overwrite_output_dir else [file.name for file in folder.glob("*") if RESULTS.fullmatch(file.name)]
    if old:
        raise ValueError(f"--output_dir {folder} already contains {old[0]}: name another or add --overwrite_output_dir")
    check_folder(folder, f"--output_dir {folder}")
    check_inputs(args, folder)
    if args.run_dir and not (run_dir / "trainer_state.json").is_file():
        raise ValueError(f"--run_dir {args.run_dir} has no trainer_state.json: name the --output_dir of a training run")

    metrics, figures, lines, report = evaluate_challenge(args) if args.challenge_dir else evaluate_table(args)
    training = read_training(run_dir) if args.run_dir else {}
    if training:
        figures["training_curves.png"] = draw_training(**training)
    write_results(
        folder, metrics, figures, report and replace(report, command=command_line(SOFTWARE, argv), **training)
    )
    print(*lines, f"{'report and figures' if report else 'figures'}: {folder}", sep="\n")
    return metrics


if __name__ == "__main__":
    run(main, "no results were written")

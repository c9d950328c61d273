"""Memory and time of evaluating a regression model on many rows, against the Trainer's defaults.

    python -m benchmarks.speed.evaluation --rows 100000 1000000
    python -m benchmarks.speed.evaluation --rows 20000 100000 --batch_size 512

Each figure is from a process of its own: a BERT of one layer of 16 predicts for random DNA with random measured values, the
metrics are computed, and a table of predictions is written. Ours is what run_finetune_regression.py does; the peer is a
`datasets` table of Python lists with a padding collator, metrics by scipy and a table by pandas. "Growth" is the peak of the
process's memory less what it held when the evaluation began, so that model, libraries and rows do not count; the last line
has its difference between the two numbers of rows, in bytes a row. The last column is the largest difference between the
metrics and the same figures computed by numpy in float64 from the written table, relative to the larger of the figure and 1.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import torch
from scipy.stats import pearsonr, rankdata, spearmanr
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DataCollatorWithPadding,
    EvalPrediction,
    Trainer,
    TrainingArguments,
)

from benchmarks.measuring import best_seconds, device_name, memory_growth, run_apart, versions, write_table
from benchmarks.training import load_rows
from kmerbert.predicting.writers import write_predictions
from kmerbert.scoring.metrics import load_metrics, prediction_spread, regression_metrics
from kmerbert.tokens.batches import collate, read_names
from kmerbert.tokens.targets import TargetScaler
from kmerbert.training.flags import KmerTrainingArguments
from kmerbert.training.losses import regression_loss
from tokenization_kmer import KmerTokenizer

N_BASES, NAME = 30, "expression"


def make_model(tokenizer: KmerTokenizer) -> BertForSequenceClassification:
    """A tiny BERT of random weights, large enough ones that its predictions differ."""
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 32}
    config = BertConfig(
        vocab_size=len(tokenizer), **size, num_labels=1, problem_type="regression", initializer_range=0.5
    )
    return BertForSequenceClassification(config)


def make_trainer(
    tokenizer: KmerTokenizer, arguments: type[TrainingArguments], folder: Path, batch_size: int, **settings: Any
) -> Trainer:
    """A Trainer on the CPU that only evaluates."""
    flags = {"per_device_eval_batch_size": batch_size, "disable_tqdm": True, "eval_strategy": "no", "report_to": []}
    return Trainer(make_model(tokenizer), arguments(output_dir=str(folder), use_cpu=True, **flags), **settings)


def ours(folder: Path, batch_size: int) -> Callable[[], dict[str, float]]:
    """Prepares the evaluation of run_finetune_regression.py, which returns the metrics."""
    tokenizer = KmerTokenizer(k=3)
    load_metrics("regression")  # imports libraries; those of the peer are there already
    files = {"train_file": str(folder / "train.tsv"), "validation_file": str(folder / "rows.tsv")}
    splits = load_rows(folder, tokenizer, **files)
    scaler = TargetScaler.fit(splits["train"].label_blocks(), [NAME])
    rows = splits["validation"].with_targets(scaler)

    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        predictions, labels = scaler.invert(prediction.predictions), scaler.invert(prediction.label_ids)
        prediction_spread(predictions, labels)
        return regression_metrics(predictions, labels, [NAME])

    settings = {"data_collator": collate, "compute_metrics": compute_metrics}
    settings["compute_loss_func"] = regression_loss("mse", scaler.scale)
    trainer = make_trainer(tokenizer, KmerTrainingArguments, folder / "ours", batch_size, **settings)

    def run() -> dict[str, float]:
        result = trainer.predict(rows)
        names = read_names(rows, None, "sequence")
        write_predictions(folder / "ours.tsv", names, scaler.invert(result.predictions), rows.labels, [NAME])
        return result.metrics

    return run


def peer(folder: Path, batch_size: int) -> Callable[[], dict[str, float]]:
    """Prepares the same by the Trainer's defaults."""
    tokenizer = KmerTokenizer(k=3)
    files = {"data_files": str(folder / "rows.tsv"), "sep": "\t", "cache_dir": str(folder)}
    table = datasets.load_dataset("csv", split="train", **files)
    rows = table.map(lambda batch: dict(tokenizer(batch["sequence"])), batched=True)
    known = pd.read_csv(folder / "train.tsv", sep="\t")[NAME]
    mean, scale = known.mean(), known.std()
    rows = rows.map(lambda batch: {"labels": [(value - mean) / scale for value in batch[NAME]]}, batched=True)

    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        predictions, labels = prediction.predictions[:, 0] * scale + mean, prediction.label_ids * scale + mean
        r, rho = (correlation(predictions, labels).statistic for correlation in (pearsonr, spearmanr))
        return {"pearsonr": r, "spearmanr": rho, "mse": ((predictions - labels) ** 2).mean()}

    settings = {"data_collator": DataCollatorWithPadding(tokenizer), "compute_metrics": compute_metrics}
    trainer = make_trainer(tokenizer, TrainingArguments, folder / "peer", batch_size, **settings)

    def run() -> dict[str, float]:
        result = trainer.predict(rows)
        columns = {"sequence": table["sequence"], "prediction": result.predictions[:, 0] * scale + mean}
        pd.DataFrame(columns | {"observed": table[NAME]}).to_csv(folder / "peer.tsv", sep="\t", index_label="id")
        return result.metrics

    return run


def error(metrics: dict[str, float], path: Path) -> float:
    """Largest relative difference between metrics and those of the written table, by numpy in float64."""
    table = pd.read_csv(path, sep="\t")
    x, y = (table[name].to_numpy(np.float64) for name in ("prediction", "observed"))
    expected = {
        "pearsonr": np.corrcoef(x, y)[0, 1],
        "spearmanr": np.corrcoef(rankdata(x), rankdata(y))[0, 1],
        "mse": np.mean((x - y) ** 2),
    }
    return max(abs(metrics[f"test_{name}"] - value) / max(abs(value), 1) for name, value in expected.items())


def measure(side: str, folder: Path, batch_size: int) -> dict[str, float]:
    """Evaluates in this process: bytes that memory grew by, seconds, and the metrics' error."""
    run = {"ours": ours, "peer": peer}[side](folder, batch_size)
    seconds, (metrics, growth) = best_seconds(lambda: memory_growth(run), 1)
    return {"growth": growth, "seconds": seconds, "error": error(metrics, folder / f"{side}.tsv")}


def compare(args: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """Prints the table; returns its figures, one dictionary for each number of rows."""
    print(f"{device_name(torch.device('cpu'))}; {versions('torch', 'transformers')}")
    print(f"{'':<6}{'rows':>12}{'growth, MiB':>14}{'seconds':>10}{'error of metrics':>20}")
    table: dict[str, list[dict[str, float]]] = {side: [] for side in args.sides}
    for n_rows in args.rows:
        with tempfile.TemporaryDirectory() as folder:
            for file, n, seed in (("train.tsv", 100, 1), ("rows.tsv", n_rows, 0)):
                write_table(Path(folder) / file, n, N_BASES, seed)
            flags = ["--folder", folder, "--batch_size", args.batch_size]
            for side in args.sides:
                row = run_apart("benchmarks.speed.evaluation", "--measure", side, *flags)
                table[side].append(row)
                growth = row["growth"] / 2**20
                print(f"{side:<6}{n_rows:>12,}{growth:>14,.1f}{row['seconds']:>10.1f}{row['error']:>20.1e}", flush=True)
    for side, rows in table.items():
        if len(rows) > 1:
            slope = (rows[-1]["growth"] - rows[0]["growth"]) / (args.rows[-1] - args.rows[0])
            print(f"{side}: {slope:.0f} bytes a row")
    return table


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Runs the program; returns the table's figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000], help="numbers of rows to evaluate")
    parser.add_argument("--batch_size", type=int, default=64, help="sequences in an evaluation batch (default: 64)")
    parser.add_argument(
        "--sides", nargs="+", choices=["ours", "peer"], default=["ours", "peer"], help="what to measure"
    )
    parser.add_argument(
        "--measure", choices=["ours", "peer"], help="measure only this on tables that are ready, print JSON"
    )
    parser.add_argument("--folder", type=Path, help="folder of the tables of --measure")
    args = parser.parse_args(argv)
    if args.measure:
        figures = measure(args.measure, args.folder, args.batch_size)
        print(json.dumps(figures))
        return figures
    return compare(args)


if __name__ == "__main__":
    main()

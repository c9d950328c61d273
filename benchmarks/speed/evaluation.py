"""Memory and time of evaluating a regression model on many rows, side by side with the Trainer's defaults.

    python -m benchmarks.speed.evaluation --rows 100000 1000000
    python -m benchmarks.speed.evaluation --rows 20000 100000 --batch_size 512

Each figure is from a process of its own: a BERT of one layer of 16 predicts for random DNA with random measured values, the
metrics are computed, and a table of predictions is written. Ours is what run_finetune_regression.py does; the peer is a
`datasets` table of Python lists with a padding collator, metrics by scipy and a table by pandas. "Growth" is the peak of the
process's memory less what it held when the evaluation began, so the model, the libraries and the rows are not in it; the
last line has its difference between the two numbers of rows, in bytes a row. The last column is the largest difference between
the metrics and the same figures computed by numpy in float64 from the written table, relative to the larger of the figure and 1.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}  # before transformers is imported
ROOT = Path(__file__).resolve().parents[2]

import datasets
import numpy as np
import pandas as pd
import torch
import transformers
from scipy.stats import pearsonr, rankdata, spearmanr
from transformers import BertConfig, BertForSequenceClassification, DataCollatorWithPadding, Trainer, TrainingArguments

from kmerbert.cli.flags import RegressionDataArguments
from kmerbert.predicting.table import write_predictions
from kmerbert.scoring.metrics import prediction_spread, regression_metrics
from kmerbert.tokens import batches
from kmerbert.tokens.targets import TargetScaler
from kmerbert.training.flags import KmerTrainingArguments
from kmerbert.training.losses import regression_loss
from kmerbert.training.splits import load_splits
from tokenization_kmer import KmerTokenizer

N_BASES, MEAN, SCALE = 30, 11.0, 2.5
NAME = "expression"


def processor_name() -> str:
    """What Linux calls the processor, else its architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def memory(field: str) -> int:
    """Bytes of this process, by Linux: `VmRSS` now, or `VmHWM` at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith(field))
    return 1024 * int(line.split()[1])


def write_rows(path: Path, n_rows: int, seed: int) -> None:
    """Writes a table of random DNA with random values."""
    generator = np.random.default_rng(seed)
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"sequence\t{NAME}\n")
        for start in range(0, n_rows, 10_000):
            n = min(10_000, n_rows - start)
            letters = np.frombuffer(b"ACGT", np.uint8)[generator.integers(0, 4, (n, N_BASES))]
            values = generator.normal(MEAN, SCALE, n)
            file.writelines(
                f"{row.tobytes().decode()}\t{value:.6f}\n" for row, value in zip(letters, values, strict=True)
            )


def make_model(tokenizer: KmerTokenizer) -> BertForSequenceClassification:
    """A tiny BERT of random weights, large enough ones that its predictions differ."""
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 32}
    config = BertConfig(
        vocab_size=len(tokenizer), **size, num_labels=1, problem_type="regression", initializer_range=0.5
    )
    return BertForSequenceClassification(config)


def ours(folder: Path, batch_size: int) -> Callable[[], dict[str, float]]:
    """Prepares the evaluation of run_finetune_regression.py; what comes back runs it and gives the metrics."""
    tokenizer = KmerTokenizer(k=3)
    files = {"train_file": str(folder / "train.tsv"), "validation_file": str(folder / "rows.tsv")}
    splits = load_splits(
        RegressionDataArguments(**files, token_cache_dir=str(folder), label_column=NAME), tokenizer, None, [NAME]
    )
    scaler = TargetScaler.fit(splits["train"].labels, [NAME])
    rows = splits["validation"].with_targets(scaler.transform(splits["validation"].labels))

    def compute_metrics(found: Any) -> dict[str, float]:
        predictions, labels = scaler.invert(found.predictions), scaler.invert(found.label_ids)
        prediction_spread(predictions, labels)
        return regression_metrics(predictions, labels, [NAME])

    flags = {"output_dir": str(folder / "ours"), "per_device_eval_batch_size": batch_size, "disable_tqdm": True}
    trainer = Trainer(
        make_model(tokenizer),
        KmerTrainingArguments(**flags, eval_strategy="no", use_cpu=True, report_to=[]),
        data_collator=batches.collate,
        compute_loss_func=regression_loss("mse", scaler.scale),
        compute_metrics=compute_metrics,
    )

    def run() -> dict[str, float]:
        found = trainer.predict(rows)
        names = batches.read_names(rows, None, "sequence")
        write_predictions(folder / "ours.tsv", names, scaler.invert(found.predictions), rows.labels, [NAME])
        return found.metrics

    return run


def peer(folder: Path, batch_size: int) -> Callable[[], dict[str, float]]:
    """Prepares the same by the Trainer's defaults."""
    tokenizer = KmerTokenizer(k=3)
    table = datasets.load_dataset(
        "csv", data_files=str(folder / "rows.tsv"), sep="\t", cache_dir=str(folder), split="train"
    )
    rows = table.map(lambda batch: dict(tokenizer(batch["sequence"])), batched=True)
    mean, scale = (getattr(pd.read_csv(folder / "train.tsv", sep="\t")[NAME], name)() for name in ("mean", "std"))
    rows = rows.map(lambda batch: {"labels": [(value - mean) / scale for value in batch[NAME]]}, batched=True)

    def compute_metrics(found: Any) -> dict[str, float]:
        predictions, labels = found.predictions[:, 0] * scale + mean, found.label_ids * scale + mean
        r, rho = (correlation(predictions, labels).statistic for correlation in (pearsonr, spearmanr))
        return {"pearsonr": r, "spearmanr": rho, "mse": ((predictions - labels) ** 2).mean()}

    flags = {"output_dir": str(folder / "peer"), "per_device_eval_batch_size": batch_size, "disable_tqdm": True}
    trainer = Trainer(
        make_model(tokenizer),
        TrainingArguments(**flags, use_cpu=True, report_to=[]),
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=compute_metrics,
    )

    def run() -> dict[str, float]:
        found = trainer.predict(rows)
        columns = {
            "sequence": table["sequence"],
            "prediction": found.predictions[:, 0] * scale + mean,
            "observed": table[NAME],
        }
        pd.DataFrame(columns).to_csv(folder / "peer.tsv", sep="\t", index_label="id")
        return found.metrics

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
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, start = memory("VmRSS"), time.perf_counter()
    metrics = run()
    seconds, growth = time.perf_counter() - start, memory("VmHWM") - before
    return {"growth": growth, "seconds": seconds, "error": error(metrics, folder / f"{side}.tsv")}


def compare(args: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """Prints the table; returns its figures, one dictionary for each number of rows."""
    print(
        f"{processor_name()}, {torch.get_num_threads()} thread(s); torch {torch.__version__}, transformers {transformers.__version__}"
    )
    print(f"{'':<6}{'rows':>12}{'growth, MiB':>14}{'seconds':>10}{'error of metrics':>20}")
    found: dict[str, list[dict[str, float]]] = {side: [] for side in args.sides}
    for n_rows in args.rows:
        with tempfile.TemporaryDirectory() as name:
            for file, n, seed in (("train.tsv", 100, 1), ("rows.tsv", n_rows, 0)):
                write_rows(Path(name) / file, n, seed)
            for side in args.sides:
                command = [
                    sys.executable,
                    "-m",
                    "benchmarks.speed.evaluation",
                    "--measure",
                    side,
                    "--folder",
                    name,
                    "--batch_size",
                    str(args.batch_size),
                ]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                row = json.loads(done.stdout.splitlines()[-1])
                found[side].append(row)
                print(
                    f"{side:<6}{n_rows:>12,}{row['growth'] / 2**20:>14,.1f}{row['seconds']:>10.1f}{row['error']:>20.1e}"
                )
    for side, rows in found.items():
        if len(rows) > 1:
            slope = (rows[-1]["growth"] - rows[0]["growth"]) / (args.rows[-1] - args.rows[0])
            print(f"{side}: {slope:.0f} bytes a row")
    return found


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Runs the program; returns the table's figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rows", type=int, nargs="+", default=[100_000, 1_000_000], help="Numbers of rows to evaluate."
    )
    parser.add_argument("--batch_size", type=int, default=64, help="Sequences in an evaluation batch (default: 64).")
    parser.add_argument(
        "--sides", nargs="+", default=["ours", "peer"], help="What to measure: ours, peer (default: both)."
    )
    parser.add_argument(
        "--measure", choices=["ours", "peer"], help="One measurement in this process, of --folder's tables."
    )
    parser.add_argument(
        "--folder", type=Path, help="Folder of the tables of --measure, which the program itself gives."
    )
    args = parser.parse_args(argv)
    if args.measure:
        found = measure(args.measure, args.folder, args.batch_size)
        print(json.dumps(found))
        return found
    return compare(args)


if __name__ == "__main__":
    main()

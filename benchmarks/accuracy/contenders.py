"""Accuracy of every way to train on a table of measured promoters: same rows, same split, several seeds, one table.

Runs each contender by its own command, all on the rows `train` of `--split_column`, and scores what they predict for the
rows `validation` and for `--test_file`: Pearson's r and Spearman's rho, mean and standard deviation (divisor: seeds less
one) over the seeds, and of the mean of the seeds' predictions. Contenders:

- `ridge`, regression on k-mer counts, and `legnet`, a convolutional network of LegNet's design (both in baselines/);
- `davuluri` and `sysu`, the BERTs of the two challenge systems, narrower and without their pretraining;
- `best`, the recipe of recipes/best, and `pretrained`, the same from a `--pretrained_model`;
- `best` with one thing changed, a line for each: what it is made of, and what was tried.

A run whose predictions are in `--output_dir` already is scored and not repeated, so that the program continues where it was
stopped and seeds can be added.

    python -m benchmarks.accuracy.contenders --train_file native.tsv --split_column split --test_file test.tsv --output_dir runs/accuracy
    python -m benchmarks.accuracy.contenders --train_file native.tsv --split_column split --test_file test.tsv --jobs 2 \\
        --contenders ridge,legnet,best --seeds 0,1,2 --output_dir runs/accuracy
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import pearsonr, spearmanr

from benchmarks.measuring import ROOT, processor_name, words

FILES = {"validation": "validation_predictions.tsv", "test": "test_predictions.tsv"}
ROWS = "--train_file {train} --split_column {split} --test_file {test}"
RIDGE = "-m baselines.kmer_ridge --overwrite --train_file {train} --split_column {split} --output_file {out}/"
REGRESSION = (
    f"run_finetune_regression.py {ROWS} --seed {{seed}} --output_dir {{out}} --overwrite_output_dir --config recipes/"
)
BEST = f"{REGRESSION}best/finetune_regression.yaml"
# The BERTs of the challenge systems, narrower and from scratch.
SHORT = "--per_device_train_batch_size 64 --learning_rate 5e-4 --bf16"
SIX_MERS = (
    "davuluri/finetune_regression_as_reported.yaml --model_name_or_path= --num_train_epochs 3 --config_overrides "
    f"hidden_size=128,num_hidden_layers=4,num_attention_heads=4,intermediate_size=256 {SHORT}"
)
THREE_MERS = (
    "sysu/finetune_regression.yaml --validation_rows none --test_rows none --num_train_epochs 3 --config_overrides "
    f"hidden_size=128,num_hidden_layers=3,num_attention_heads=8,intermediate_size=512 {SHORT}"
)


class Contender(NamedTuple):
    """A way to train: what the table calls it, and its commands, which write the predictions of both sets of rows."""

    title: str
    commands: tuple[str, ...]
    has_seeds: bool = True


CONTENDERS = {
    "ridge": Contender(
        "ridge, 1- to 6-mer counts",
        (f"{RIDGE}validation_predictions.tsv", f"{RIDGE}test_predictions.tsv --test_file {{test}}"),
        has_seeds=False,
    ),
    "legnet": Contender(
        "LegNet-like, one strand",
        (f"-m baselines.legnet {ROWS} --seed {{seed}} --bf16 --overwrite --output_dir {{out}}",),
    ),
    "davuluri": Contender("BERT, 6-mers, from scratch", (REGRESSION + SIX_MERS,)),
    "sysu": Contender("BERT, 3-mers in 3 frames, from scratch", (REGRESSION + THREE_MERS,)),
    "best": Contender("recipes/best", (BEST,)),
    "pretrained": Contender("recipes/best, pretrained", (f"{BEST} --model_name_or_path {{pretrained}}",)),
    "one_strand": Contender("one strand, forward", (f"{BEST} --config_overrides both_strands=false",)),
    "no_sub_kmers": Contender(
        "6-mers without the shorter ones in them", (f"{BEST} --config_overrides sub_kmers=false",)
    ),
    "bases": Contender("single bases instead of 6-mers", (f"{BEST} --k 1",)),
    "3mers": Contender("3-mers instead of 6-mers", (f"{BEST} --k 3",)),
    "smooth_l1": Contender("smooth L1 instead of squared error", (f"{BEST} --loss smooth_l1",)),
    "decay": Contender("weight decay 0.01 instead of 0.3", (f"{BEST} --weight_decay 0.01",)),
    "batch64": Contender(
        "batches of 64, a quarter of the rate", (f"{BEST} --per_device_train_batch_size 64 --learning_rate 7.5e-4",)
    ),
}


def run_contender(
    name: str, seed: int, values: dict[str, str], folder: Path, threads: int, flags: Sequence[str]
) -> None:
    """Runs the commands of a contender for a seed, and records them and their seconds; their output goes into a log.

    Raises:
        ValueError: A command failed, or the folder contains a run of other commands.
    """
    out = folder / name / f"seed{seed}"
    commands = [
        words(command, **values, out=out, seed=seed) + list(flags) * command.startswith(BEST)
        for command in CONTENDERS[name].commands
    ]
    record = "".join(f"{shlex.join(command)}\n" for command in commands)
    if (out / "seconds.txt").exists():
        if (out / "commands.txt").read_text(encoding="utf-8") != record:
            raise ValueError(f"{out} was made by other commands, see commands.txt there: give another --output_dir")
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    start = time.perf_counter()
    with open(out.with_suffix(".log"), "w", encoding="utf-8") as log:
        for command in commands:
            if subprocess.call([sys.executable, *command], cwd=ROOT, env=environment, stdout=log, stderr=log):
                raise ValueError(f"{name}, seed {seed} failed: {log.name} says why")
    (out / "commands.txt").write_text(record, encoding="utf-8")
    (out / "seconds.txt").write_text(f"{time.perf_counter() - start:.0f}\n", encoding="utf-8")
    print(f"{name}, seed {seed}: {time.perf_counter() - start:.0f} s", flush=True)


def score(tables: Sequence[pd.DataFrame]) -> list[tuple[float, float]]:
    """Correlates each table's predictions with its measured values: Pearson's r, Spearman's rho."""
    return [
        (pearsonr(table["prediction"], table["observed"])[0], spearmanr(table["prediction"], table["observed"])[0])
        for table in tables
    ]


def describe(name: str, folder: Path, seeds: Sequence[int]) -> list[str]:
    """Returns the table's lines of a contender: its seeds, and where there are several, the mean of their predictions."""
    runs = [folder / name / f"seed{seed}" for seed in seeds]
    cells, together = [], []
    for file in FILES.values():
        tables = [pd.read_csv(run / file, sep="\t") for run in runs]
        scores = np.array(score(tables))
        spread = scores.std(axis=0, ddof=1) if len(runs) > 1 else [np.nan] * 2
        cells += [
            f"{mean:.4f}" + f" ± {sd:.4f}" * (len(runs) > 1)
            for mean, sd in zip(scores.mean(axis=0), spread, strict=True)
        ]
        mean = tables[0].assign(prediction=np.mean([table["prediction"] for table in tables], axis=0))
        together += [f"{value:.4f}" for value in score([mean])[0]]
    minutes = np.mean([float((run / "seconds.txt").read_text()) for run in runs]) / 60
    title = CONTENDERS[name].title
    lines = [f"| {title} | {len(runs)} | {' | '.join(cells)} | {minutes:.1f} |"]
    if len(runs) > 1:
        lines.append(f"| {title}, predictions averaged | {len(runs)} | {' | '.join(together)} | |")
    return lines


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train_file", required=True, help="Table of sequences and measured values, tab-separated.")
    parser.add_argument("--split_column", default="split", help="Its column of train or validation (default: split).")
    parser.add_argument("--test_file", required=True, help="Rows to report on; they choose nothing.")
    parser.add_argument("--pretrained_model", help="Folder of recipes/best/pretrain_mlm.yaml, for `pretrained`.")
    names = ", ".join(CONTENDERS)
    parser.add_argument("--contenders", default="ridge,legnet,best", help=f"Some of {names}; comma-separated.")
    parser.add_argument("--best_flags", default="", help="More flags of recipes/best, such as '--num_train_epochs 4'.")
    parser.add_argument("--seeds", default="0,1,2", help="Seeds, comma-separated (default: 0,1,2).")
    parser.add_argument("--jobs", type=int, default=1, help="Runs at a time, which share the cores (default: 1).")
    parser.add_argument("--output_dir", required=True, help="Folder for all runs; finished ones are not repeated.")
    args = parser.parse_args(argv)
    if not re.fullmatch(r"\d+(,\d+)*", args.seeds) or args.jobs < 1:
        parser.error(
            f"--seeds {args.seeds}, --jobs {args.jobs}: allowed are whole numbers such as 0,1,2, and 1 or more"
        )
    names, folder = args.contenders.split(","), Path(args.output_dir)
    seeds = [int(seed) for seed in args.seeds.split(",")]
    for name in names:
        if name not in CONTENDERS:
            parser.error(f"--contenders {name}: allowed are {', '.join(CONTENDERS)}")
    if "pretrained" in names and not args.pretrained_model:
        parser.error("--contenders pretrained needs --pretrained_model, what recipes/best/pretrain_mlm.yaml made")
    paths = {"train": args.train_file, "test": args.test_file, "pretrained": args.pretrained_model}
    values = {name: str(Path(path).resolve()) for name, path in paths.items() if path} | {"split": args.split_column}
    seeds_of = {name: seeds if CONTENDERS[name].has_seeds else seeds[:1] for name in names}
    threads = max((os.cpu_count() or 1) // args.jobs, 1)
    with ThreadPoolExecutor(args.jobs) as pool:
        runs = [
            pool.submit(run_contender, name, seed, values, folder.resolve(), threads, shlex.split(args.best_flags))
            for name in names
            for seed in seeds_of[name]
        ]
        try:
            for run in runs:
                run.result()
        except ValueError as error:
            pool.shutdown(cancel_futures=True)
            parser.error(str(error))
    print(f"\n{processor_name()}, {threads} thread(s) a run, {args.jobs} run(s) at a time\n")
    print("| contender | seeds | validation r | rho | test r | rho | minutes a seed |\n|---|---|---|---|---|---|---|")
    print("\n".join(line for name in names for line in describe(name, folder, seeds_of[name])))


if __name__ == "__main__":
    main()

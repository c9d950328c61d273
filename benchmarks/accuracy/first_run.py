"""What a stranger's first command is worth: the default of run_finetune_regression.py on one or more tables, next to others.

Each table has its rows divided by a column `split` (train, validation, test), and one or more measured values. On every
table, with every seed, the program runs, by their own commands:

- `default`, the command without a recipe, a checkpoint or settings, and from the same run its ridge regression;
- `best`, recipes/best without the linear term, whatever the number of rows;
- `legnet`, a convolutional network of LegNet's design (baselines/), once for each measured value.

It prints r and r2 of the test rows, mean over the measured values, and mean and standard deviation (divisor: seeds less one)
over the seeds. A run whose predictions exist is scored and not repeated.

    python -m benchmarks.accuracy.first_run --table native.tsv --table fly.tsv:dev,hk --flags='--group_column locus' \\
        --output_dir runs/first_run
"""

import argparse
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmarks.measuring import ROOT, processor_name, words
from kmerbert.predicting.table import read_predictions, suffixes_in
from kmerbert.scoring.baselines import BASELINE_FILE
from kmerbert.scoring.metrics import regression_metrics

ROWS = "run_finetune_regression.py --train_file {table} --split_column split --label_column {labels} --seed {seed} --output_dir {out}"
COMMANDS = {
    "default": ROWS,
    "best": f"{ROWS} --config recipes/best/finetune_regression.yaml --linear_term false --baselines false",
    "legnet": (
        "-m baselines.legnet --train_file {table} --split_column split --test_file {test} --label_column {label} --seed {seed} "
        "--bf16 --output_dir {out}/{label}"
    ),
}
TITLES = {
    "ridge": "ridge regression, 1- to 6-mer counts",
    "legnet": "LegNet-like network, one strand",
    "best": "recipes/best without the linear term",
    "default": "default command",
}
PREDICTIONS = "test_predictions.tsv"


class Table(NamedTuple):
    """A table, the names of its measured values, and a file of its test rows alone."""

    path: Path
    labels: tuple[str, ...]
    test_file: Path

    @classmethod
    def read(cls, text: str, folder: Path) -> "Table":
        """Reads `path` or `path:label,label`, and writes the test rows into the folder.

        Raises:
            ValueError: There is no such file, or it has no test rows.
        """
        name, _, labels = text.partition(":")
        path = Path(name).resolve()
        if not path.is_file():
            raise ValueError(f"`table` {name}: no such file")
        rows = pd.read_csv(path, sep="\t", dtype=str)
        test = rows[rows.get("split") == "test"]
        if test.empty:
            raise ValueError(
                f"`table` {name}: no row whose column split is test: give a table with train, validation and test"
            )
        test_file = folder / f"{path.stem}.test.tsv"
        test.to_csv(test_file, sep="\t", index=False)
        return cls(path, tuple(labels.split(",")) if labels else ("expression",), test_file)


def run_once(name: str, table: Table, seed: int, folder: Path, flags: Sequence[str]) -> tuple[Path, float]:
    """Runs a contender for a seed, if it has not been run; returns its folder and the seconds it took.

    Raises:
        ValueError: A command failed.
    """
    out = folder / table.path.stem / f"{name}{seed}"
    record = out / "seconds.txt"
    if record.exists():
        return out, float(record.read_text())
    out.parent.mkdir(parents=True, exist_ok=True)
    labels, values = ",".join(table.labels), {"table": table.path, "test": table.test_file, "seed": seed, "out": out}
    each = table.labels if name == "legnet" else (labels,)
    more = [] if name == "legnet" else flags
    start = time.perf_counter()
    with open(out.with_suffix(".log"), "w", encoding="utf-8") as log:
        for label in each:
            command = [*words(COMMANDS[name], **values, labels=labels, label=label), *more]
            if subprocess.call([sys.executable, *command], cwd=ROOT, stdout=log, stderr=log):
                raise ValueError(f"{shlex.join(command)} failed: {log.name} says why")
    seconds = time.perf_counter() - start
    record.write_text(f"{seconds:.0f}\n", encoding="utf-8")
    print(f"{table.path.stem}, {name}, seed {seed}: {seconds:.0f} s", flush=True)
    return out, seconds


def score(files: Sequence[Path]) -> tuple[float, float]:
    """r and r2 of predictions, mean over the measured values of one file or of one value in each of several files."""
    scores = []
    for table in map(read_predictions, map(str, files)):
        for suffix in suffixes_in(table):
            columns = (table[kind + suffix].to_numpy(float)[:, None] for kind in ("prediction", "observed"))
            metrics = regression_metrics(*columns, ["value"])
            scores.append((metrics["pearsonr"], metrics["r2"]))
    return tuple(np.mean(scores, axis=0))


def describe(runs: dict[str, list[tuple[list[Path], float]]], table: str) -> list[str]:
    """The lines of a table: for each contender the files of its predictions and the seconds, a pair a seed."""
    lines = []
    for name, title in TITLES.items():
        if not runs.get(name):
            continue
        scores = np.array([score(files) for files, _ in runs[name]])
        cells = [f"{mean:.3f}" for mean in scores.mean(axis=0)]
        if len(scores) > 1:
            cells = [f"{cell} ± {sd:.3f}" for cell, sd in zip(cells, scores.std(axis=0, ddof=1), strict=True)]
        seconds = np.mean([seconds for _, seconds in runs[name]])
        lines.append(f"| {table} | {title} | {len(scores)} | {' | '.join(cells)} | {seconds:.0f} |")
    return lines


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--table",
        action="append",
        required=True,
        help="Tab-separated table, with :label,... if not :expression; repeat.",
    )
    parser.add_argument("--contenders", default="default,best,legnet", help=f"Some of {', '.join(COMMANDS)}.")
    parser.add_argument(
        "--flags", default="", help="More flags of run_finetune_regression.py, such as '--group_column locus'."
    )
    parser.add_argument("--seeds", default="0,1,2", help="Seeds, comma-separated (default: 0,1,2).")
    parser.add_argument("--output_dir", required=True, help="Folder for all runs; finished ones are not repeated.")
    args = parser.parse_args(argv)
    folder, names = Path(args.output_dir).resolve(), args.contenders.split(",")
    if unknown := [name for name in names if name not in COMMANDS]:
        parser.error(f"--contenders {unknown[0]}: allowed are {', '.join(COMMANDS)}")
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    try:
        for table in [Table.read(text, folder) for text in args.table]:
            runs: dict[str, list[tuple[list[Path], float]]] = {}
            for name in names:
                for seed in map(int, args.seeds.split(",")):
                    out, seconds = run_once(name, table, seed, folder, shlex.split(args.flags))
                    files = (
                        [out / label / PREDICTIONS for label in table.labels]
                        if name == "legnet"
                        else [out / PREDICTIONS]
                    )
                    runs.setdefault(name, []).append((files, seconds))
            if runs.get("default"):
                folder_of_first = runs["default"][0][0][0].parent
                runs["ridge"] = [([folder_of_first / BASELINE_FILE.format("test")], np.nan)]
            lines += describe(runs, table.path.stem)
    except ValueError as error:
        parser.error(str(error))
    print(f"\n{processor_name()}, {os.environ.get('OMP_NUM_THREADS', os.cpu_count())} thread(s)\n")
    print("| table | | seeds | test r | r2 | seconds a seed |\n|---|---|---|---|---|---|")
    print("\n".join(lines).replace("| nan |", "| |"))


if __name__ == "__main__":
    main()

"""Would more rows make the model better? Trains it on some of the rows, and says what more rows would give.

Takes the flags of run_finetune_regression.py, and trains with them on 1/8, 1/4, 1/2 and all of the training rows (whole
groups, a larger share includes the smaller), with several seeds, and always the same held-out rows. Ridge regression on
k-mer counts is fitted to the same rows. Writes to --output_dir learning_curve.png, learning_curve.tsv with a line for each
training, learning_curve.json, and the folder of each training. The same command again continues an interrupted one.

    python run_learning_curve.py --train_file promoters.tsv --output_dir runs/learning_curve
    python run_learning_curve.py --train_file promoters.tsv --test_file test.tsv --seeds 0,1,2,3,4 --more_rows 2000,10000 \\
        --output_dir runs/learning_curve
"""

import kmerbert.cli.interruption  # noqa: F401 (Ctrl-C during the imports)

import json
import logging
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from kmerbert.cli.flags import LearningCurveArguments, RegressionDataArguments, RegressionModelArguments
from kmerbert.cli.launch import check_launch, set_up_logging
from kmerbert.cli.parser import names_any, parse, without_flags
from kmerbert.cli.run import run
from kmerbert.figures import plot_learning_curve
from kmerbert.files import check_folder, read_json, whole_file, write_text
from kmerbert.models.loading import load_config, load_tokenizer, max_tokens
from kmerbert.scoring.baselines import Baselines
from kmerbert.scoring.learning_curve import LEAST_SIZES, LearningCurve, describe
from kmerbert.scoring.metrics import regression_metrics
from kmerbert.splitting.groups import read_sequences
from kmerbert.tokens.batches import TokenDataset
from kmerbert.training.checkpoints import (
    SETTINGS_FILE,
    changeable_settings,
    check_settings,
    checkpoints_in,
    run_settings,
)
from kmerbert.training.flags import RegressionArguments
from kmerbert.training.folder import FolderLock
from kmerbert.training.splits import load_splits, settle_columns
from tokenization_kmer import Flanks

logger = logging.getLogger(__name__)
SCRIPT = Path(__file__).with_name("run_finetune_regression.py")
# Flags of one training that the curve sets by itself, or that mean something else.
NOT_HERE = (
    *("train_fraction", "sample_seed", "max_train_samples", "folds", "fold_column", "streaming"),
    *("resume_from_checkpoint", "overwrite_output_dir", "push_to_hub"),
)
N_CURVE_POINTS = 60
MODEL, RIDGE = "this model", "ridge regression on k-mer counts"


@dataclass(frozen=True)
class Point:
    """One training: the share of the rows, the seed, the training rows, and Pearson's r of the held-out rows."""

    fraction: float
    seed: int
    rows: int
    held_out: str
    r: float
    ridge_r: float


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Runs the script; returns r with all rows, and what the curve expects with more."""
    words = list(sys.argv[1:] if argv is None else argv)
    groups = (LearningCurveArguments, RegressionDataArguments, RegressionModelArguments, RegressionArguments)
    args, data_args, model_args, training_args = parse(groups, words, __doc__)
    for name in NOT_HERE:
        if names_any(words, [name]):
            raise ValueError(
                f"--{name} is not for a learning curve, which trains many models and continues by itself: leave it out"
            )
    set_up_logging(True)
    check_launch(1)
    remark = settle_columns(data_args)
    logging.getLogger("kmerbert").setLevel(logging.WARNING)  # what is said of each training is in its log
    settings = run_settings(training_args, model_args, data_args) | changeable_settings(training_args)
    folder = Path(training_args.output_dir)
    lock = take_folder(folder, settings)
    try:
        flags = without_flags(words, [field.name for field in fields(args)] + ["output_dir", "seed"])
        points = read_points(folder)
        wanted = list(product(args.seed_numbers, args.shares))
        done = {(point.seed, point.fraction) for point in points}
        missing = [pair for pair in wanted if pair not in done]
        shortest = "; --seeds 0 --fractions 0.25,0.5,1 would be the shortest" if len(wanted) > LEAST_SIZES else ""
        logger.info("%d trainings, %d done%s", len(wanted), len(wanted) - len(missing), shortest)
        if remark:
            logger.info("%s", remark)
        seconds: dict[float, float] = {}
        for number, (seed, fraction) in enumerate(missing, 1):
            own_folder = folder / f"fraction_{fraction:g}_seed_{seed}"
            began = time.monotonic()
            train(
                own_folder,
                [*flags, f"--train_fraction={fraction}", f"--sample_seed={seed}", f"--seed={seed}"],
                args.launcher,
            )
            own = replace(data_args, train_fraction=fraction, sample_seed=seed)
            points.append(score(own_folder, own, training_args))
            write_points(folder, points)
            seconds[fraction] = time.monotonic() - began
            left = [share for _, share in missing[number:]]
            minutes = f"; about {minutes_left(seconds, left):.0f} minutes left, or less" if left else ""
            logger.info("%s, %.0f s%s", describe_point(points[-1]), seconds[fraction], minutes)
        return write_curve(folder, points, args)
    finally:
        lock.release()


def minutes_left(seconds: Mapping[float, float], left: Sequence[float]) -> float:
    """Estimates how long trainings take; larger shares than were trained so far, as long as if each row took its time.

    Args:
        seconds: Share of the rows -> how long its last training took.
        left: Shares of the rows of the trainings that are left.

    >>> minutes_left({0.25: 60.0, 0.5: 90.0}, [0.25, 1.0])
    4.0
    """
    largest = max(seconds)
    return sum(seconds.get(share, seconds[largest] * share / largest) for share in left) / 60


def take_folder(folder: Path, settings: dict[str, object]) -> FolderLock:
    """Takes the output folder, which is new, empty, or that of the same learning curve.

    Raises:
        ValueError: It is not, or another program writes into it.
    """
    check_folder(folder, f"--output_dir {folder}")
    is_known = (folder / SETTINGS_FILE).is_file()
    if is_known:
        check_settings(folder, settings)
    elif folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise ValueError(f"--output_dir {folder} is not empty, and not that of a learning curve: name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    lock = FolderLock(folder)
    if not is_known:
        write_text(folder / SETTINGS_FILE, json.dumps(settings, indent=2) + "\n")
    return lock


def train(folder: Path, flags: Sequence[str], launcher: str) -> None:
    """Trains one model into a folder, or continues; its messages go into a file next to the folder.

    Raises:
        ValueError: The training failed.
    """
    if (folder / "README.md").is_file():  # the last that a training writes
        return
    command = [*(shlex.split(launcher) or [sys.executable]), str(SCRIPT), *flags, f"--output_dir={folder}"]
    if checkpoints_in(folder):
        command.append("--resume_from_checkpoint=true")
    elif (folder / "run_files.json").is_file():
        command.append("--overwrite_output_dir=true")
    log = folder.with_name(f"{folder.name}.log")
    if code := launch(command, log):
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
        problem = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")] or [
            f"exit status {code}"
        ]
        raise ValueError(f"{problem[-1]} (all messages: {log})")


def launch(command: Sequence[str], log: Path) -> int:
    """Runs a program whose messages are added to a file; returns its exit status."""
    with open(log, "a", encoding="utf-8") as file:
        return subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False).returncode


def score(folder: Path, data_args: RegressionDataArguments, training_args: RegressionArguments) -> Point:
    """Reads how well a model predicts the held-out rows, and fits ridge regression to its training rows.

    Raises:
        ValueError: There are no held-out rows, or the table is not what the model was trained on any more.
    """
    names = tuple(data_args.label_columns)
    tokenizer = load_tokenizer(str(folder))
    config = load_config(tokenizer, str(folder))
    flanks = Flanks(**config.flanks) if getattr(config, "flanks", None) else None
    both_strands = getattr(config, "both_strands", False)
    splits = load_splits(data_args, training_args, tokenizer, max_tokens(config), names, flanks, both_strands)
    if (
        splits["train"].facts()["data_checksum"] != config.data_checksum
        or len(splits["train"]) != config.n_training_rows
    ):
        raise ValueError(f"{splits['train'].name} has changed since {folder} was trained: begin in a new --output_dir")
    held_out = next((split for split in ("test", "validation") if split in splits), None)
    if held_out is None:
        raise ValueError(
            "no held-out rows to score: give --test_file, --test_split_percentage or --validation_split_percentage"
        )
    baselines = Baselines.fit(sequences_of(splits["train"], data_args), splits["train"].labels)
    predicted = baselines.predict(sequences_of(splits[held_out], data_args)).get("ridge")
    if predicted is None:
        raise ValueError(
            f"{len(splits['train'])} training rows are too few for a learning curve: give larger --fractions"
        )
    ridge_r = regression_metrics(predicted, splits[held_out].labels, names)["pearsonr"]
    prefix = {"test": "test", "validation": "eval"}[held_out]
    r = read_json(folder / "all_results.json")[f"{prefix}_pearsonr"]
    return Point(data_args.train_fraction, data_args.sample_seed, len(splits["train"]), held_out, r, ridge_r)


def sequences_of(rows: TokenDataset, data_args: RegressionDataArguments) -> list[str]:
    """The sequences of rows, in their order."""
    return [text for texts in read_sequences(rows.table, data_args.sequence_column, rows.rows) for text in texts]


def describe_point(point: Point) -> str:
    """One training in a line."""
    return (
        f"{point.rows:,} training rows ({point.fraction:g} of all), seed {point.seed}: r {point.r:.3f} of the {point.held_out} "
        f"rows, ridge regression {point.ridge_r:.3f}"
    )


def read_points(folder: Path) -> list[Point]:
    """The trainings that are done."""
    path = folder / "learning_curve.tsv"
    return [Point(**row) for row in pd.read_csv(path, sep="\t").to_dict("records")] if path.is_file() else []


def write_points(folder: Path, points: Sequence[Point]) -> None:
    """Writes a line for each training."""
    rows = sorted(map(asdict, points), key=lambda row: (row["fraction"], row["seed"]))
    write_text(folder / "learning_curve.tsv", pd.DataFrame(rows).to_csv(sep="\t", index=False))


def write_curve(folder: Path, points: Sequence[Point], args: LearningCurveArguments) -> dict[str, float]:
    """Fits the curves, writes the figure and the numbers, and prints what they say."""
    by_key = {(point.fraction, point.seed): point for point in points}
    chosen = [[by_key[fraction, seed] for seed in args.seed_numbers] for fraction in args.shares]
    n_rows, r, ridge = (
        np.array([[getattr(point, name) for point in row] for row in chosen]) for name in ("rows", "r", "ridge_r")
    )
    most, held_out = int(n_rows.max()), chosen[0][0].held_out
    more = args.added_rows or [most]
    curves = {MODEL: LearningCurve.fit(n_rows, r), RIDGE: LearningCurve.fit(n_rows, ridge)}
    lines = describe(n_rows, r, ridge, more, held_out)

    at = np.geomspace(n_rows.min(), most + max(more), N_CURVE_POINTS)
    expected = {name: [curve.expect(n) for n in at] for name, curve in curves.items()}
    bands = {
        name: (at, *(np.array([getattr(value, end) for value in values]) for end in ("r", "low", "high")))
        for name, values in expected.items()
    }
    measured = {MODEL: (n_rows.ravel(), r.ravel()), RIDGE: (n_rows.ravel(), ridge.ravel())}
    ax = plot_learning_curve(measured, bands, held_out=held_out)
    with whole_file(folder / "learning_curve.png") as partial:
        ax.figure.savefig(partial, dpi=200, format="png", bbox_inches="tight")
    content = {
        "held_out": held_out,
        "curves": {name: curve.curve._asdict() for name, curve in curves.items()},
        "expected": {
            str(most + extra): {
                name: None if np.isnan(value) else value
                for name, value in curves[MODEL].expect(most + extra)._asdict().items()
            }
            for extra in more
        },
        "lines": lines,
    }
    write_text(folder / "learning_curve.json", json.dumps(content, indent=2) + "\n")
    print(*lines, f"figure and table: {folder}", sep="\n")
    return {"r": float(r[-1].mean()), "expected_r": curves[MODEL].expect(most + max(more)).r}


if __name__ == "__main__":
    run(main, "the same command continues")

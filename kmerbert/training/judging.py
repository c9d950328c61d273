"""Baselines for the held-out rows of a run, and the verdict on its model, which the run folder keeps as `verdict.json`."""

import json
import logging
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from kmerbert.cli.run import with_dashes
from kmerbert.files import write_text
from kmerbert.predicting.writers import write_predictions
from kmerbert.reading.labels import LabelTransform
from kmerbert.reading.sources import to_numbers
from kmerbert.scoring.baselines import BASELINE_FILE, NAMES, Baselines
from kmerbert.scoring.comparison import Comparison
from kmerbert.scoring.metrics import regression_metrics
from kmerbert.scoring.noise_ceiling import NoiseCeiling, noise_ceiling
from kmerbert.tokens.batches import TokenDataset, read_names
from kmerbert.training.folder import RunFolder

logger = logging.getLogger(__name__)
VERDICT_FILE = "verdict.json"
MOST_TRAINING_ROWS = 100_000  # that baselines are fitted to: more change their weights little and take minutes


class Verdict(NamedTuple):
    """What a model is worth.

    Attributes:
        split: `test`, or `validation` if there are no test rows.
        lines: Result of `verdict`.
        baselines: Metrics of the baselines on the rows of the split.
    """

    split: str
    lines: list[str]
    baselines: dict[str, dict[str, float]]


def write_baselines(
    folder: RunFolder,
    splits: Mapping[str, TokenDataset],
    outputs: Sequence[str],
    id_column: str | None,
    sequence_column: str,
) -> dict[str, dict[str, dict[str, float]]]:
    """Fits the baselines to the training rows and predicts the held-out rows.

    The predictions of the ridge regression become `<split>_ridge_predictions.tsv`.

    Args:
        folder: Of the run.
        splits: `train`, and `validation` and `test` as far as there are such rows.
        outputs: Names of the measured values.
        id_column, sequence_column: As for `read_names`.

    Returns:
        Split -> baseline -> its metrics; empty if there are no held-out rows.
    """
    if len(splits) < 2:
        return {}
    train = splits["train"].sample(MOST_TRAINING_ROWS, seed=0)
    if len(train) < len(splits["train"]):
        logger.info("baselines are fitted to %d training rows, drawn at random", len(train))
    sequences = _sequences(train, id_column, sequence_column)
    groups = None if train.table.groups is None else train.table.groups[train.rows]
    baselines, metrics = Baselines.fit(sequences, train.labels, groups), {}
    for split in [split for split in ("validation", "test") if split in splits]:
        rows = splits[split]
        predictions = baselines.predict(_sequences(rows, id_column, sequence_column))
        metrics[split] = {name: regression_metrics(x, rows.labels, outputs) for name, x in predictions.items()}
        if "ridge" in predictions:
            name = BASELINE_FILE.format(split)
            folder.note(name)
            names = read_names(rows, id_column, sequence_column)
            write_predictions(folder.path / name, names, predictions["ridge"], rows.labels, outputs)
    return metrics


def by_baseline(
    metrics: Mapping[str, Mapping[str, Mapping[str, float]]],
) -> dict[str, dict[str, Mapping[str, float]]]:
    """Returns the result of `write_baselines` by the baselines' full names, then splits."""
    names = dict.fromkeys(name for values in metrics.values() for name in values)
    return {NAMES[name]: {split: values[name] for split, values in metrics.items()} for name in names}


def _sequences(rows: TokenDataset, id_column: str | None, sequence_column: str) -> list[str]:
    return [sequence for part in read_names(rows, id_column, sequence_column) for sequence in part.sequences]


def find_ceiling(
    splits: Mapping[str, TokenDataset],
    columns: Sequence[str],
    has_folds: bool = False,
    transform: LabelTransform | None = None,
) -> NoiseCeiling | None:
    """Returns the best r that is possible for the rows of the verdict; None without such rows, or without columns.

    Args:
        splits: The rows.
        columns: Names of the columns of replicates in their table; none if there are no replicates.
        has_folds: Whether the rows are those of a cross-validation, in which all training rows of one model are validation
            rows of others.
        transform: What the measured values become, and replicates with them.

    Raises:
        ValueError: The columns are not replicates, as `noise_ceiling` says, or a value cannot be transformed.
    """
    judged = ("test",) if "test" in splits else ("train", "validation") if has_folds else ("validation",)
    parts = [splits[split] for split in judged if split in splits]
    if not parts or not columns:
        return None
    blocks = []
    for rows in parts:
        for batch in rows.table.read_again(list(columns), rows.rows):
            where = (rows.table.source, batch.numbers)
            values = np.column_stack([to_numbers(batch.columns[column], *where, column) for column in columns])
            blocks.append(transform.apply(values, columns, *where) if transform else values)
    return noise_ceiling(np.concatenate(blocks), list(columns))


def judge(
    folder: RunFolder,
    baselines: Mapping[str, Mapping[str, Mapping[str, float]]],
    chosen: Sequence[str],
    command: str,
    ceiling: NoiseCeiling | None = None,
    has_folds: bool = False,
) -> Verdict | None:
    """Says what the model of a finished run is worth, by its predictions of the test rows, or otherwise the validation rows.

    Writes `verdict.json` and logs the lines.

    Args:
        folder: With the predictions of the model, and perhaps of the ridge regression.
        baselines: Result of `write_baselines`.
        chosen: What the validation rows chose, such as the checkpoint.
        command: What to type next, with `{}` for the folder.
        ceiling: The best r that is possible, if it is known.
        has_folds: Whether this is the result of a cross-validation.

    Returns:
        None if there are no held-out rows.
    """
    path = folder.path
    split = next((name for name in ("test", "validation") if (path / f"{name}_predictions.tsv").exists()), None)
    if split is None:
        return None
    ridge = path / BASELINE_FILE.format(split)
    comparison = Comparison.read(str(path / f"{split}_predictions.tsv"), str(ridge) if ridge.exists() else None)
    seen = f"validation rows, which also chose {' and '.join(chosen)}" if chosen else "validation rows"
    rows = "test rows, which the training never saw" if split == "test" else seen
    sentences = {"ceiling": ceiling.line() if ceiling else ""}
    if not has_folds:
        sentences["advice"] = "more test rows or `folds` 5 would tell"
    lines = [with_dashes(line) for line in comparison.verdict(rows, **sentences)]
    following = command.format(shlex.quote(str(path)))
    result = Verdict(split, lines, dict(baselines.get(split, {})))
    folder.note(VERDICT_FILE)
    content: dict[str, Any] = {
        "split": split,
        "verdict": lines,
        "metrics": comparison.score(),
        "baselines": result.baselines,
        **({"ceiling": ceiling._asdict()} if ceiling else {}),
        "next": following,
    }
    write_text(path / VERDICT_FILE, json.dumps(content, indent=2) + "\n")
    logger.info("verdict\n%s", "\n".join(f"  {line}" for line in [*lines, f"next: {following}"]))
    return result

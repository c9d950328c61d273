"""The tables of the baselines: rows are read and predictions written as the project's own scripts do it.

So a baseline takes every format that run_finetune_regression.py takes, its messages name the line of a mistake, and
`run_evaluate.py --baseline_file` finds its rows. The models of the baselines know nothing of the project.
"""

import argparse
import logging
from pathlib import Path

import numpy as np
import pandas as pd

from kmerbert.cli.programs import ProgramParser
from kmerbert.dna.sequences import canonical
from kmerbert.predicting.writers import check_output, write_predictions
from kmerbert.reading.rows import SPLIT_NAMES, read_dna
from kmerbert.reading.sources import Batch, FileSource, as_text, has_column, to_numbers

logger = logging.getLogger(__name__)


def add_flags(parser: ProgramParser) -> None:
    """Adds the flags that say which rows to fit and which to predict, and whether predictions are replaced."""
    parser.add_argument("--train_file", required=True, help="Table of sequences and measured values.")
    parser.add_argument("--test_file", help="Rows to predict; measured values may be missing.")
    parser.add_argument("--split_column", help="Column of --train_file that says train or validation for each row.")
    parser.add_argument("--sequence_column", default="sequence", help="Column with the DNA (default: %(default)s).")
    parser.add_argument("--label_column", default="expression", help="Column with the value (default: %(default)s).")
    parser.add_argument("--overwrite", action="store_true", help="Replace predictions that exist.")


def read_splits(args: argparse.Namespace) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Reads the rows that the flags name.

    Returns:
        The rows to fit; and the rows to predict, under `validation` and `test`, as far as there are any.

    Raises:
        ValueError: A row cannot be used, or there is nothing to fit or nothing to predict.
    """
    table = read_table(args.train_file, args.sequence_column, args.label_column, args.split_column)
    train, predicted, splits = table, {}, ""
    if args.split_column:
        codes = table["split"].str.strip().str.lower().map(SPLIT_NAMES)
        train = table[codes == SPLIT_NAMES["train"]]
        predicted["validation"] = table[codes == SPLIT_NAMES["validation"]]
        splits = f"; {args.split_column} contains: {', '.join(sorted(set(table['split'])))}"
    if args.test_file:
        predicted["test"] = read_table(args.test_file, args.sequence_column, args.label_column, needs_values=False)
    predicted = {name: rows for name, rows in predicted.items() if len(rows)}
    if train.empty or not predicted:
        raise ValueError(
            f"{args.train_file}: {len(train)} rows to train on, {sum(map(len, predicted.values()))} to predict{splits}: give "
            "`test_file`, or `split_column` with rows `train` and `validation`"
        )
    trained = set(letters(train))
    for name, rows in predicted.items():
        if n_shared := int(letters(rows).isin(trained).sum()):
            logger.warning(
                "%d of %d %s rows have the sequence of a training row: a score of them says little about new sequences",
                *(n_shared, len(rows), name),
            )
    return train, predicted


def letters(rows: pd.DataFrame) -> pd.Series:
    """Returns the sequences of a result of `read_table` in the letters ACGTN, as the project's models read them."""
    return rows["sequence"].map(lambda sequence: canonical(sequence.strip()))


def read_table(
    path: str,
    sequence_column: str = "sequence",
    label_column: str = "expression",
    split_column: str | None = None,
    needs_values: bool = True,
) -> pd.DataFrame:
    """Reads a table of sequences.

    Args:
        path: Table or FASTA file, with a header or with the two columns of the DREAM Challenge.
        sequence_column, label_column, split_column: Columns of the DNA, of the measured values and of the splits; None for
            no splits.
        needs_values: Whether a table without `label_column` is an error.

    Returns:
        Columns `id` (the table's own, otherwise the number of the line) and `sequence`, text unchanged from the file; and
        `observed`, float64, and `split`, text, if the table has them.

    Raises:
        ValueError: The file cannot be read, has no rows or lacks a column; or a sequence is missing or no DNA, a measured
            value is missing, or a split has another name than those of run_finetune_regression.py.
    """
    source = FileSource(Path(path), sequence_column, label_column)
    names = {"sequence": sequence_column}
    if needs_values or has_column(source, label_column):
        names["observed"] = label_column
    if split_column:
        names["split"] = split_column
    if has_column(source, "id"):
        names["id"] = "id"
    parts = [_read_batch(batch, source, names) for batch in source.batches(list(dict.fromkeys(names.values())))]
    if not parts:
        raise ValueError(f"{path}: the table has no rows")
    return pd.concat(parts, ignore_index=True)


def _read_batch(batch: Batch, source: FileSource, names: dict[str, str]) -> pd.DataFrame:
    """The rows of a batch; `names` has the table's names of our columns."""
    columns = {}
    for name, column in names.items():
        if name == "observed":
            columns[name] = to_numbers(batch.columns[column], source, batch.numbers, column)
            is_missing = np.isnan(columns[name])
        else:
            columns[name] = as_text(batch.columns[column]).fill_null("").to_pylist()
            is_missing = np.array(columns[name]) == ""
        if is_missing.any():
            location = source.location(int(batch.numbers[is_missing][0]))
            raise ValueError(f"{location}: {column} is missing: remove the row")
    read_dna(batch, source, names["sequence"])
    for row, split in enumerate(columns.get("split", ())):
        if split.strip().lower() not in SPLIT_NAMES:
            location = source.location(int(batch.numbers[row]))
            raise ValueError(f"{location}: {names['split']} is {split!r}: allowed are train, validation and test")
    return pd.DataFrame({"id": batch.numbers.astype(str)} | columns)


def check_predictions_file(path: Path, args: argparse.Namespace) -> None:
    """Raises ValueError if the predictions cannot be written, or would replace what is not to be replaced."""
    argument = "output_file" if hasattr(args, "output_file") else "output_dir"
    inputs = {"train_file": args.train_file, "test_file": args.test_file}
    check_output(path, ["expression"], args.overwrite, inputs=inputs, argument=argument)


def write_rows(path: Path, rows: pd.DataFrame, predictions: np.ndarray) -> None:
    """Writes predictions (n,), float64, for rows of `read_table` into a predictions file."""
    observed = rows["observed"].to_numpy()[:, None] if "observed" in rows else None
    names = [(rows["id"].tolist(), rows["sequence"].tolist())]
    write_predictions(path, names, predictions[:, None], observed, ["expression"])

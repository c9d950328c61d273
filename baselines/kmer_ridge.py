"""Ridge regression on k-mer counts: the baseline that every model is put beside.

A promoter becomes the counts of all its 1- to 6-mers, wherever they stand; a linear model with a squared penalty on its
weights maps them to the measured value. It knows neither order nor distance, so what a model gains over it is what the
model learnt beyond composition.

Input: tab-separated tables, plain or `.gz`. Either with a header (`--sequence_column`, `--label_column`), or without one
and with two columns, sequence and measured value. Output: the table that `run_evaluate.py --baseline_file` reads, in
input order: `sequence prediction observed`, and `id` where the input has it.

    python -m baselines.kmer_ridge --train_file train.tsv --test_file test.tsv --output_file ridge.tsv
    python -m baselines.kmer_ridge --train_file all.tsv --split_column split --output_file ridge.tsv

With `--split_column`, rows `train` are fitted and rows `validation` predicted; with `--test_file` too, only the rows of
that file are predicted (a correlation over two populations at once says nothing), and rows `validation` are left unused.
"""

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import Ridge

# Half-decade steps: wide enough for 100 rows as for 50,000; the error is flat around its minimum.
ALPHAS = tuple(10.0 ** (exponent / 2) for exponent in range(11))


def _numbers(texts: pd.Series) -> np.ndarray:
    """Reads texts as float64; NaN where one is no finite number."""
    numbers = pd.to_numeric(texts, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def read_table(path: str, sequence_column: str = "sequence", label_column: str = "expression") -> pd.DataFrame:
    """Reads a table of sequences, with a header or with two bare columns.

    Args:
        path: Tab-separated file; it has no header if its first line is two fields of which the second is a number.
        sequence_column: Column of the DNA, where there is a header.
        label_column: Column of the measured value, where there is a header; the column may be missing.

    Returns:
        The columns as text, except `observed`, float64; `sequence` is in upper case.

    Raises:
        ValueError: A column is missing, the file has no rows, or a measured value is no finite number.
    """
    options = {"sep": "\t", "dtype": str, "keep_default_na": False}
    try:
        first = pd.read_csv(path, header=None, nrows=1, **options).iloc[0]
    except pd.errors.EmptyDataError:
        raise ValueError(f"{path} is empty: needed are sequences and measured values, tab-separated") from None
    bare = len(first) == 2 and not np.isnan(_numbers(first[1:])).any()
    names = {"names": [sequence_column, label_column]} if bare else {}
    table = pd.read_csv(path, **names, **options)
    if sequence_column not in table or table.empty:
        raise ValueError(
            f"{path}: no column {sequence_column!r} or no rows; columns found: {', '.join(table)}; rows: {len(table)}; "
            "the column is named by --sequence_column"
        )
    table = table.rename(columns={sequence_column: "sequence", label_column: "observed"})
    table["sequence"] = table["sequence"].str.upper()
    if "observed" in table:
        numbers = _numbers(table["observed"])
        for row in np.flatnonzero(np.isnan(numbers))[:1]:
            raise ValueError(
                f"{path}, line {row + 2 - bare}: {label_column} is {table['observed'][row]!r}: allowed are numbers; "
                "leave the row out, or name another column by --label_column"
            )
        table["observed"] = numbers
    return table


def count_kmers(train: pd.Series, test: pd.Series) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Counts the 1- to 6-mers of two sets of sequences.

    Args:
        train: Sequences (n_train,), whose k-mers become the columns.
        test: Sequences (n_test,); k-mers that no training sequence has are left out.

    Returns:
        Counts, float64, (n_train, n_kmers) and (n_test, n_kmers): at most 5,460 columns for sequences of ACGT.
    """
    counter = CountVectorizer(analyzer="char", ngram_range=(1, 6), lowercase=False, dtype=np.float64)
    return counter.fit_transform(train), counter.transform(test)


def fit_ridge(counts: sparse.csr_matrix, observed: np.ndarray, seed: int = 0) -> Ridge:
    """Fits the ridge regression, with the penalty that predicts a held-out tenth of the rows best.

    A random tenth is set aside, every penalty of `ALPHAS` is fitted to the rest and judged by its mean squared error on
    the tenth, and the best is fitted to all rows. The test rows take no part in it.

    Args:
        counts: Counts (n, n_kmers), float64.
        observed: Measured values (n,), float64.
        seed: Seed of the choice of the held-out tenth.

    Returns:
        The fitted model; `alpha` is the chosen penalty.

    Raises:
        ValueError: There are fewer than 10 rows.
    """
    if len(observed) < 10:
        raise ValueError(
            f"{len(observed)} training rows: at least 10 are needed to choose the penalty on a tenth of them"
        )
    order = np.random.default_rng(seed).permutation(len(observed))
    held_out, rest = np.split(order, [len(order) // 10])
    held_out_counts, rest_counts = counts[held_out], counts[rest]

    def error(alpha: float) -> float:
        model = Ridge(alpha=alpha, solver="sparse_cg").fit(rest_counts, observed[rest])
        return float(np.mean((model.predict(held_out_counts) - observed[held_out]) ** 2))

    return Ridge(alpha=min(ALPHAS, key=error), solver="sparse_cg").fit(counts, observed)


def read_rows(args: argparse.Namespace) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Reads the rows to fit and the rows to predict that the command line names; ValueError where there are none."""
    table = read_table(args.train_file, args.sequence_column, args.label_column)
    if "observed" not in table:
        raise ValueError(
            f"{args.train_file}: no column {args.label_column!r}; columns found: {', '.join(table)}; "
            "name the measured values by --label_column"
        )
    if not args.split_column:
        if not args.test_file:
            raise ValueError("nothing to predict: give --test_file, or --split_column with rows `validation`")
        return table, read_table(args.test_file, args.sequence_column, args.label_column)
    if args.split_column not in table:
        raise ValueError(f"{args.train_file}: no column {args.split_column!r} for --split_column")
    train, test = (table[table[args.split_column] == split] for split in ("train", "validation"))
    if args.test_file:
        test = read_table(args.test_file, args.sequence_column, args.label_column)
    if train.empty or test.empty:
        found = ", ".join(sorted(set(table[args.split_column])))
        raise ValueError(
            f"{args.train_file}: {len(train)} rows `train` and {len(test)} rows to predict; "
            f"column {args.split_column!r} holds: {found}; needed are `train` and `validation`"
        )
    return train, test


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Runs the program; returns the numbers of rows, the chosen penalty and the seconds it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train_file", required=True, help="Tab-separated table of sequences and measured values.")
    parser.add_argument("--test_file", help="Rows to predict, same format; measured values may be missing.")
    parser.add_argument("--split_column", help="Column of --train_file that says train or validation for each row.")
    parser.add_argument("--sequence_column", default="sequence", help="Column with the DNA (default: sequence).")
    parser.add_argument("--label_column", default="expression", help="Column with the value (default: expression).")
    parser.add_argument("--output_file", required=True, help="Table of predictions to write, .tsv.")
    args = parser.parse_args(argv)
    start = time.perf_counter()
    try:
        train, test = read_rows(args)
        train_counts, test_counts = count_kmers(train["sequence"], test["sequence"])
        model = fit_ridge(train_counts, train["observed"].to_numpy())
        test = test.assign(prediction=model.predict(test_counts))
        columns = [column for column in ("id", "sequence", "prediction", "observed") if column in test]
        Path(args.output_file).parent.mkdir(parents=True, exist_ok=True)
        test[columns].to_csv(f"{args.output_file}.unfinished", sep="\t", index=False, float_format="%.7g")
        os.replace(f"{args.output_file}.unfinished", args.output_file)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    result = {"n_train": len(train), "n_predicted": len(test), "alpha": model.alpha}
    result["seconds"] = round(time.perf_counter() - start, 1)
    print(", ".join(f"{name} {value:g}" for name, value in result.items()))
    return result


if __name__ == "__main__":
    main()

"""Ridge regression on k-mer counts: the baseline that every model is compared with.

A promoter becomes the counts of all its 1- to 6-mers, wherever they are; a linear model with a squared penalty on its
weights maps them to the measured value. It knows neither order nor distance, so what a model gains over it is what the
model has learned beyond composition.

    python -m baselines.kmer_ridge --train_file train.tsv --test_file test.tsv --output_file ridge.tsv
    python -m baselines.kmer_ridge --train_file all.tsv --split_column split --output_file ridge.tsv

With `--split_column`, rows `train` are fitted and rows `validation` predicted; with `--test_file` as well, only the rows of
that file are predicted (a correlation over two populations at once says nothing), and rows `validation` are left unused.
The output is what `run_evaluate.py --baseline_file` reads: `id sequence prediction` and, if measured, `observed`, in the
order of the input.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import Ridge

from baselines.tables import add_flags, check_predictions_file, letters, read_splits, write_rows
from kmerbert.cli.programs import ProgramParser
from kmerbert.cli.run import run

# Half-decade steps: wide enough for 100 rows as for 50,000; the error is flat around its minimum.
ALPHAS = tuple(10.0 ** (exponent / 2) for exponent in range(11))


def count_kmers(train: pd.Series, test: pd.Series) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Counts the 1- to 6-mers of two sets of sequences.

    Args:
        train: Sequences (n_train,) in upper case, whose k-mers become the columns.
        test: Sequences (n_test,); k-mers that no training sequence has are left out.

    Returns:
        Counts, float64, (n_train, n_kmers) and (n_test, n_kmers): at most 5,460 columns for sequences of ACGT.
    """
    counter = CountVectorizer(analyzer="char", ngram_range=(1, 6), lowercase=False, dtype=np.float64)
    return counter.fit_transform(train), counter.transform(test)


def fit_ridge(counts: sparse.csr_matrix, observed: np.ndarray, seed: int = 0) -> Ridge:
    """Fits the ridge regression, with the penalty that predicts a held-out tenth of the rows best.

    A random tenth is held out, every penalty of `ALPHAS` is fitted to the rest and judged by its mean squared error on
    the tenth, and the best is fitted to all rows. The rows to predict take no part in it.

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


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Runs the program; returns the numbers of rows, the chosen penalty and the seconds it took."""
    parser = ProgramParser(__doc__)
    add_flags(parser)
    parser.add_argument("--output_file", required=True, help="Predictions to write: .tsv .csv .parquet.")
    args = parser.parse_args(argv)
    start, output = time.perf_counter(), Path(args.output_file)
    train, predicted = read_splits(args)
    check_predictions_file(output, args)
    rows = predicted["test" if "test" in predicted else "validation"]
    train_counts, counts = count_kmers(letters(train), letters(rows))
    model = fit_ridge(train_counts, train["observed"].to_numpy())
    write_rows(output, rows, model.predict(counts))
    result = {"n_train": len(train), "n_predicted": len(rows), "alpha": model.alpha}
    result["seconds"] = round(time.perf_counter() - start, 1)
    print(", ".join(f"{name} {value:g}" for name, value in result.items()))
    return result


if __name__ == "__main__":
    run(main, "no predictions were written")

"""Ridge regression on k-mer counts, the baseline that every model is compared with, for a table without a training run.

A training run fits the same to its own rows (`kmerbert/scoring/baselines.py`, which says what it is).

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

from baselines.tables import add_flags, check_predictions_file, letters, read_splits, write_rows
from kmerbert.cli.programs import ProgramParser
from kmerbert.cli.run import run
from kmerbert.scoring.baselines import count_kmers, fit_ridge


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
    model = fit_ridge(count_kmers(list(letters(train))), train["observed"].to_numpy())
    write_rows(output, rows, model.predict(count_kmers(list(letters(rows)))))
    result = {"n_train": len(train), "n_predicted": len(rows), "alpha": model.alpha}
    result["seconds"] = round(time.perf_counter() - start, 1)
    print(", ".join(f"{name} {value:g}" for name, value in result.items()))
    return result


if __name__ == "__main__":
    run(main, "no predictions were written")

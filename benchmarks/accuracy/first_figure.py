"""The figure of the README: predictions of a run's test rows, and the learning curve of the same table, next to each other.

    python -m benchmarks.accuracy.first_figure --run_dir runs/first_run/native/default0 --curve_dir runs/learning_curve \\
        --more_rows 3000 --output_file docs/first_run.png
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from kmerbert.figures import plot_learning_curve, plot_predicted_against_measured
from kmerbert.predicting.table import read_predictions
from kmerbert.scoring.learning_curve import LearningCurve

SERIES = {"this model": "r", "ridge regression": "ridge_r"}


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run_dir", type=Path, required=True, help="Output folder of run_finetune_regression.py.")
    parser.add_argument("--curve_dir", type=Path, required=True, help="Output folder of run_learning_curve.py.")
    parser.add_argument(
        "--more_rows", type=int, required=True, help="Rows beyond the measured ones to draw the curves to."
    )
    parser.add_argument("--output_file", type=Path, required=True, help="PNG file to write.")
    args = parser.parse_args(argv)

    table = read_predictions(str(args.run_dir / "test_predictions.tsv"))
    points = pd.read_csv(args.curve_dir / "learning_curve.tsv", sep="\t")
    by_share = points.pivot(index="fraction", columns="seed")
    n_rows = by_share["rows"].to_numpy()
    at = np.geomspace(n_rows.min(), n_rows.max() + args.more_rows, 60)
    series, curves = {}, {}
    for name, column in SERIES.items():
        series[name] = (n_rows.ravel(), by_share[column].to_numpy().ravel())
        expected = [LearningCurve.fit(n_rows, by_share[column].to_numpy()).expect(n) for n in at]
        curves[name] = (at, *(np.array([getattr(value, end) for value in expected]) for end in ("r", "low", "high")))

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
    plot_predicted_against_measured(table["prediction"], table["observed"], left, same_scale=True)
    plot_learning_curve(series, curves, right, held_out=points["held_out"][0])
    figure.savefig(args.output_file, dpi=130)


if __name__ == "__main__":
    main()

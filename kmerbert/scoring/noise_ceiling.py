"""The noise ceiling: how well any model can predict the mean of replicate measurements."""

from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd

from kmerbert.predicting.table import check_columns, check_sequences, read_headed, read_numbers
from kmerbert.reading.labels import LabelTransform

LEAST_ROWS = 3
SURELY_A_COPY = 10  # rows in which two replicates are equal; in fewer, they may be by chance


class NoiseCeiling(NamedTuple):
    """What replicates say about the noise in their mean.

    Attributes:
        n_replicates: Number of replicates.
        n_replicate_rows: Rows that have all of them.
        replicate_pearsonr: Mean of Pearson's r over all pairs of replicates.
        reliability: Squared correlation of their mean with the value without noise.
        noise_ceiling: The best Pearson r with their mean that a model can have.
    """

    n_replicates: int
    n_replicate_rows: int
    replicate_pearsonr: float
    reliability: float
    noise_ceiling: float

    def line(self) -> str:
        """Returns it as a sentence."""
        return (
            f"no model can beat r = {self.noise_ceiling:.3f} on the mean of these {self.n_replicates} replicates "
            f"(their mean r is {self.replicate_pearsonr:.3f} in {self.n_replicate_rows} rows)"
        )


def noise_ceiling(replicates: np.ndarray, names: list[str]) -> NoiseCeiling:
    """Estimates the best possible Pearson r with the mean of replicates, from how well these agree.

    With r the mean of Pearson's r over all pairs of N replicates, the reliability of their mean, its squared correlation
    with the value that is free of noise, is N r / (1 + (N - 1) r) (Spearman 1910, doi:10.1111/j.2044-8295.1910.tb00206.x;
    Brown 1910, doi:10.1111/j.2044-8295.1910.tb00207.x). A model that knows the value without noise correlates with the
    mean by the square root of that (Spearman's attenuation formula of 1904, doi:10.2307/1412159). This holds for
    replicates that are equally noisy, and whose noise is independent: what they share counts as signal.

    Args:
        replicates: Float array (n, N), NaN where nothing was measured; such rows are left out.
        names: Names of the N columns, for messages.

    Raises:
        ValueError: There are fewer than two columns, or one twice, also under two names; fewer than three rows have all
            replicates; a column does not vary; or the replicates agree less than by chance.
    """
    argument = f"`replicate_columns` {','.join(names)}"
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(f"{argument}: give two or more columns, each once, with the single measurements of every row")
    complete = replicates[~np.isnan(replicates).any(axis=1)]
    if len(complete) < LEAST_ROWS:
        raise ValueError(
            f"{argument}: {len(complete)} of {len(replicates)} rows have all replicates, at least {LEAST_ROWS} must: name "
            "columns with more measurements"
        )
    for name, values in zip(names, complete.T, strict=True):
        if np.ptp(values) == 0:
            raise ValueError(f"{argument}: {name} is {values[0]:g} in all {len(complete)} rows: leave that column out")
    for (name, values), (other, others) in combinations(zip(names, complete.T, strict=True), 2):
        if len(complete) >= SURELY_A_COPY and np.array_equal(values, others):
            raise ValueError(
                f"{argument}: {name} and {other} are equal in all {len(complete)} rows: a copy says nothing about noise"
            )
    matrix, n = np.corrcoef(complete, rowvar=False), len(names)
    r = float(np.mean([matrix[pair] for pair in combinations(range(n), 2)]))
    if r < 0:
        raise ValueError(
            f"{argument}: their mean correlation is {r:.3f}: name replicates of one measurement, which must agree"
        )
    reliability = n * r / (1 + (n - 1) * r)
    return NoiseCeiling(n, len(complete), r, reliability, reliability**0.5)


def read_replicates(
    path: str,
    columns: list[str],
    predicted: pd.DataFrame | None = None,
    sheet: str | None = None,
    transform: LabelTransform | None = None,
) -> np.ndarray:
    """Reads columns of single measurements from a table, float64 (n, columns), NaN where nothing was measured.

    Args:
        path: The table.
        columns: Names of the columns.
        predicted: Ids and sequences of the predicted rows, to make sure that the table's ids name the same sequences.
        sheet: Name of the sheet of an Excel file; None for the only one that has rows.
        transform: What the model learnt instead of measured values; None for themselves.

    Raises:
        ValueError: The file is not a table with a header, a column is missing, a cell that should be a number is text or
            cannot be transformed, or an id names another sequence than in the predictions.
    """
    source, table = read_headed(path, "replicate_file", sheet)
    check_columns(table, columns, path, "name them with `replicate_columns`, the file with `replicate_file`")
    if predicted is not None:
        check_sequences(predicted, table, "replicate_file", path)
    values = np.column_stack([read_numbers(table, column, source, is_needed=False) for column in columns])
    if transform is None:
        return values
    return transform.apply(values, columns, source, table.index.to_numpy(), is_trained=True)

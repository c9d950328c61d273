"""The noise ceiling: how well any model can predict the mean of replicate measurements. Reads no files."""

from itertools import combinations
from typing import NamedTuple

import numpy as np

from kmerbert.predicting.table import check_columns, numbers_of, read_headed

LEAST_ROWS = 3


class NoiseCeiling(NamedTuple):
    """What replicates say of the noise in their mean.

    Attributes:
        n_replicates: of every row.
        n_replicate_rows: that have all of them.
        replicate_pearsonr: mean of Pearson's r over all pairs of replicates.
        reliability: squared correlation of their mean with the value free of noise.
        noise_ceiling: the best Pearson r with their mean that a model can have.
    """

    n_replicates: int
    n_replicate_rows: int
    replicate_pearsonr: float
    reliability: float
    noise_ceiling: float

    def line(self) -> str:
        """Puts it into words."""
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
        replicates: float array (n, N), NaN where nothing was measured; such rows are left out.
        names: of the N columns, for messages.

    Raises:
        ValueError: for fewer than two columns, one given twice, fewer than three whole rows, a column that does not
            vary, or replicates that agree less than by chance.
    """
    asked = f"--replicate_columns {','.join(names)}"
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(f"{asked}: give two columns or more, each once, with the single measurements of every row")
    whole = replicates[~np.isnan(replicates).any(axis=1)]
    if len(whole) < LEAST_ROWS:
        raise ValueError(
            f"{asked}: {len(whole)} of {len(replicates)} rows have all replicates, but needed are {LEAST_ROWS}: name "
            "columns with more measurements"
        )
    for name, values in zip(names, whole.T, strict=True):
        if np.ptp(values) == 0:
            raise ValueError(f"{asked}: {name} is {values[0]:g} in all {len(whole)} rows: leave that column out")
    matrix, n = np.corrcoef(whole, rowvar=False), len(names)
    r = float(np.mean([matrix[pair] for pair in combinations(range(n), 2)]))
    if r < 0:
        raise ValueError(
            f"{asked}: their mean correlation is {r:.3f}: name replicates, which agree, of one measurement"
        )
    reliability = n * r / (1 + (n - 1) * r)
    return NoiseCeiling(n, len(whole), r, reliability, reliability**0.5)


def read_replicates(path: str, columns: list[str]) -> np.ndarray:
    """Reads the columns of single measurements out of any table, float64 (n, columns), NaN where there is none.

    Raises:
        ValueError: for a file that is no table with a header, a column that is not there, or text in place of a number.
    """
    source, table = read_headed(path, "--replicate_file")
    check_columns(table, columns, path, "name them by --replicate_columns, the file by --replicate_file")
    return np.column_stack([numbers_of(table, column, source, is_needed=False) for column in columns])

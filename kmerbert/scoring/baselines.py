"""Simple models for the same rows: what a network gains over them is what it has learned beyond composition.

- the mean of the training values;
- a line through their GC content;
- ridge regression on the counts of all 1- to 6-mers, wherever they are in the sequence: it knows neither order nor distance.

They are fitted to training rows alone, in seconds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tokenization_kmer import N_SPECIAL, KmerTokenizer

if TYPE_CHECKING:
    from scipy import sparse
    from sklearn.linear_model import Ridge

LONGEST_KMER = 6
N_COLUMNS = sum(4**k for k in range(1, LONGEST_KMER + 1))
# Half-decade steps: wide enough for 100 rows as for 50,000; the error is flat around its minimum.
ALPHAS = tuple(10.0 ** (exponent / 2) for exponent in range(11))
LEAST_ROWS = 10
# The best penalty hardly depends on the number of rows (it is the noise's variance over that of the weights), so that some
# rows choose it for all.
ROWS_TO_CHOOSE = 10_000
COUNTED_ROWS = 10_000  # whose k-mers are counted at a time
# Name of the file of a split's ridge predictions, next to the model's `<split>_predictions.tsv`.
BASELINE_FILE = "{}_ridge_predictions.tsv"
NAMES = {"mean": "mean of the training values", "gc": "GC content", "ridge": "ridge regression on 1- to 6-mer counts"}


def count_kmers(sequences: Sequence[str]) -> "sparse.csr_matrix":
    """Counts the 1- to 6-mers of sequences.

    Args:
        sequences: n sequences; k-mers with another letter than ACGT and U are left out.

    Returns:
        Counts, float64 (n, 5460): the 1-mers A, C, G, T, then AA, AC, ... to TTTTTT.
    """
    from scipy import sparse

    tokenizers = [KmerTokenizer(k, alphabet="ACGT", errors="replace") for k in range(1, LONGEST_KMER + 1)]
    blocks = []
    for start in range(0, len(sequences), COUNTED_ROWS):
        block, first, rows, columns = sequences[start : start + COUNTED_ROWS], 0, [], []
        for tokenizer in tokenizers:
            ids = tokenizer.encode_ids(block, add_special_tokens=False)
            row, position = np.nonzero(ids >= N_SPECIAL)
            rows.append(row)
            columns.append(ids[row, position].astype(np.int64) - N_SPECIAL + first)
            first += 4**tokenizer.k
        places = np.concatenate(rows), np.concatenate(columns)
        blocks.append(sparse.csr_matrix((np.ones(len(places[0])), places), shape=(len(block), N_COLUMNS)))
    return sparse.vstack(blocks, format="csr") if blocks else sparse.csr_matrix((0, N_COLUMNS))


def fit_ridge(
    counts: "sparse.csr_matrix", measured: np.ndarray, together: np.ndarray | None = None, seed: int = 0
) -> "Ridge":
    """Fits the ridge regression, with the penalty that predicts a held-out tenth of the rows best.

    A random tenth is held out, every penalty of `ALPHAS` is fitted to the rest and judged by its mean squared error on
    the tenth, and the best is fitted to all rows. Of more than `ROWS_TO_CHOOSE` rows, so many choose the penalty.

    Args:
        counts: Counts (n, k-mers), float64.
        measured: Measured values (n,), float64.
        together: int array (n,), equal for rows that are held out together; None if each is on its own.
        seed: Seed of the choice of the held-out tenth.

    Returns:
        The fitted model; `alpha` is the chosen penalty.

    Raises:
        ValueError: There are fewer than 10 rows.
    """
    from sklearn.linear_model import Ridge

    if len(measured) < LEAST_ROWS:
        raise ValueError(
            f"{len(measured)} training rows: at least {LEAST_ROWS} are needed to choose the penalty on a tenth of them"
        )
    random = np.random.default_rng(seed)
    if together is None:
        order = random.permutation(len(measured))[:ROWS_TO_CHOOSE]
    else:  # whole groups, one after the other
        labels, number = np.unique(together, return_inverse=True)
        order = np.argsort(random.permutation(len(labels))[number], kind="stable")[:ROWS_TO_CHOOSE]
    held_out, rest = np.split(order, [max(1, len(order) // 10)])
    if together is not None:  # the group at the edge is on one side
        rest = rest[~np.isin(together[rest], together[held_out])]
    held_out_counts, rest_counts = counts[held_out], counts[rest]

    def error(alpha: float) -> float:
        model = Ridge(alpha=alpha, solver="sparse_cg").fit(rest_counts, measured[rest])
        return float(np.mean((model.predict(held_out_counts) - measured[held_out]) ** 2))

    alpha = min(ALPHAS, key=error) if len(rest) else ALPHAS[-1]
    return Ridge(alpha=alpha, solver="sparse_cg").fit(counts, measured)


def gc_content(sequences: Sequence[str]) -> np.ndarray:
    """Returns the share of G and C among the letters ACGTU, float64 (n,); 0.5 where there are none."""
    strong = np.array([sum(map(sequence.count, "GCgc")) for sequence in sequences], float)
    weak = np.array([sum(map(sequence.count, "ATUatu")) for sequence in sequences], float)
    known = strong + weak
    return np.divide(strong, known, out=np.full(len(known), 0.5), where=known > 0)


@dataclass(frozen=True)
class Baselines:
    """Baselines that were fitted to training rows.

    Attributes:
        predictors: Name (`mean`, `gc`, `ridge`) -> for each output a function from sequences to float64 (n,).
        alphas: Penalty of the ridge regression of each output.
    """

    predictors: dict[str, list[Callable[[Sequence[str]], np.ndarray]]]
    alphas: list[float] = field(default_factory=list)

    @classmethod
    def fit(cls, sequences: Sequence[str], measured: np.ndarray, together: np.ndarray | None = None) -> "Baselines":
        """Fits them.

        Args:
            sequences: n training sequences.
            measured: float array (n, outputs), NaN where nothing was measured.
            together: As for `fit_ridge`.
        """
        counts, gc, measured = count_kmers(sequences), gc_content(sequences), np.asarray(measured, np.float64)
        baselines = cls({name: [] for name in NAMES})
        for values in measured.T:
            known = ~np.isnan(values)
            values = values[known]
            mean = float(values.mean())
            slope, offset = np.polyfit(gc[known], values, 1) if np.ptp(gc[known]) > 0 else (0.0, mean)
            baselines.predictors["mean"].append(lambda texts, mean=mean: np.full(len(texts), mean))
            baselines.predictors["gc"].append(
                lambda texts, slope=slope, offset=offset: slope * gc_content(texts) + offset
            )
            if len(values) >= LEAST_ROWS:
                model = fit_ridge(counts[known], values, None if together is None else together[known])
                baselines.alphas.append(float(model.alpha))
                baselines.predictors["ridge"].append(lambda texts, model=model: model.predict(count_kmers(texts)))
        if len(baselines.predictors["ridge"]) < measured.shape[1]:  # too few rows of an output
            del baselines.predictors["ridge"]
        return baselines

    def predict(self, sequences: Sequence[str]) -> dict[str, np.ndarray]:
        """Returns the predictions of every baseline, float64 (n, outputs), in the unit of the measured values."""
        return {
            name: np.column_stack([predict(sequences) for predict in outputs])
            for name, outputs in self.predictors.items()
        }

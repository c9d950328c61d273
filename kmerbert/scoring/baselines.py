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
FEW_ROWS = 1_500  # which cost little to hold out tenth by tenth, and of which one tenth would choose by chance
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
    """Fits the ridge regression, with the penalty that predicts held-out rows best.

    A random tenth of the rows is held out, every penalty of `ALPHAS` is fitted to the rest and judged by its squared error on
    the tenth. Of at most `FEW_ROWS` rows, each tenth is held out once; of more than `ROWS_TO_CHOOSE`, so many choose. The best
    penalty is fitted to all rows.

    Args:
        counts: Counts (n, k-mers), float64.
        measured: Measured values (n,), float64.
        together: int array (n,), equal for rows that are held out together; None if each is on its own.
        seed: Seed of the tenths.

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
    order, number = _in_groups(len(measured), together, seed)
    is_few = len(order) <= FEW_ROWS
    # The group at the edge of a tenth is on one side.
    tenths = [(held_out, order[~np.isin(number[order], number[held_out])]) for held_out in np.array_split(order, 10)]
    tenths = [(held_out, rest) for held_out, rest in tenths if len(rest)][: None if is_few else 1]
    gram = (counts @ counts.T).toarray() if is_few else None
    errors = np.zeros(len(ALPHAS))
    for held_out, rest in tenths:
        if is_few:
            predicted = _predict_by_gram(gram[np.ix_(rest, rest)], gram[np.ix_(held_out, rest)], measured[rest])
        else:
            models = [Ridge(alpha=alpha, solver="sparse_cg").fit(counts[rest], measured[rest]) for alpha in ALPHAS]
            predicted = np.stack([model.predict(counts[held_out]) for model in models])
        errors += ((predicted - measured[held_out]) ** 2).sum(axis=1)
    alpha = ALPHAS[int(np.argmin(errors))] if tenths else ALPHAS[-1]
    return Ridge(alpha=alpha, solver="sparse_cg").fit(counts, measured)


def _in_groups(n: int, together: np.ndarray | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows in random order, those of a group one after the other, at most `ROWS_TO_CHOOSE`; and the group of each of the n."""
    random = np.random.default_rng(seed)
    if together is None:
        return random.permutation(n)[:ROWS_TO_CHOOSE], np.arange(n)
    groups, number = np.unique(together, return_inverse=True)
    return np.argsort(random.permutation(len(groups))[number], kind="stable")[:ROWS_TO_CHOOSE], number


def _predict_by_gram(gram: np.ndarray, cross: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Predictions of ridge regressions with every penalty of `ALPHAS`, from one decomposition of the rows' products.

    Args:
        gram: float64 (n, n), products of the n training rows' features.
        cross: float64 (m, n), products of m other rows' features with them.
        measured: float64 (n,).

    Returns:
        float64 (penalties, m).
    """
    mean = gram.mean(axis=0)
    values, vectors = np.linalg.eigh(gram - mean - mean[:, None] + mean.mean())
    target, seen = vectors.T @ (measured - measured.mean()), (cross - mean) @ vectors
    return np.stack([measured.mean() + seen @ (target / (values.clip(min=0) + alpha)) for alpha in ALPHAS])


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

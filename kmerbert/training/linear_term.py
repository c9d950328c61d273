"""Ridge regression on the network's own k-mers, added to what the network answers: with few or noisy rows it is the better half.

The regression is fitted to the training rows, and both parts are weighted by validation rows, of which neither has seen a
value. The sum is part of the saved model. docs/results.md shows what it gains.
"""

import logging
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from scipy import sparse
from scipy.optimize import nnls

from kmerbert.scoring.baselines import LEAST_ROWS, LONGEST_KMER, fit_ridge
from kmerbert.tokens.batches import TokenDataset
from kmerbert.tokens.targets import IGNORED
from kmerbert.training.trainer import RunTrainer
from modeling_kmer_conv import KmerConvConfig, other_strand
from tokenization_kmer import N_SPECIAL

logger = logging.getLogger(__name__)
MOST_ROWS = 20_000  # that the regression is fitted to: where there are more, the network needs it least
# What is believed of the two weights without validation rows, and how many of these it takes to believe them as much.
PRIOR = {"regression": 0.3, "network": 0.7}
PRIOR_ROWS = 20
# Validation rows of which half of the difference of their mean is believed, unless it is this many standard errors or more.
SHIFT_ROWS = 100
SURE = 3


class Blend(NamedTuple):
    """output = shift + regression * (answer of the regression) + network * (answer of the network), one number an output."""

    shift: np.ndarray
    regression: np.ndarray
    network: np.ndarray

    def describe(self) -> str:
        """The weights, for people."""
        network, regression = (" ".join(f"{weight:.2f}" for weight in part) for part in (self.network, self.regression))
        return f"{network} x network + {regression} x ridge regression on its k-mers"


def add_linear_term(trainer: RunTrainer, splits: Mapping[str, TokenDataset]) -> Blend | None:
    """Adds the regression to a trained model, in place, if its network can have one.

    Args:
        trainer: After training; every process calls this.
        splits: `train`, and `validation` if there are such rows, with targets.

    Returns:
        The weights; None if nothing was added: another network, shards divided among GPUs, or fewer than 10 training rows.
    """
    model, train = trainer.model, splits["train"]
    if not hasattr(model, "add_linear_term") or trainer.is_fsdp_enabled:
        return None
    train = train.sample(MOST_ROWS, seed=0)
    n_known = (train.targets != IGNORED).sum(axis=0)
    if n_known.min() < LEAST_ROWS:
        logger.info("no linear term: it needs %d training rows with a value, there are %d", LEAST_ROWS, n_known.min())
        return None
    validation = splits.get("validation")
    predicted = None if validation is None else trainer.predict(validation).predictions
    result = [None, None]
    if trainer.is_world_process_zero():
        result = list(_fit(model.config, train, validation, predicted))
    if trainer.args.world_size > 1:
        broadcast_object_list(result)
    values, weights = result
    factor, shift = (torch.from_numpy(part) for part in (weights.network, weights.shift))
    model.add_linear_term(torch.from_numpy(values), factor, shift)
    reason = "validation rows" if validation is not None else "what other tables have shown"
    logger.info("the model is %s, weighted by %s", weights.describe(), reason)
    return weights


def _fit(
    config: KmerConvConfig, train: TokenDataset, validation: TokenDataset | None, predicted: np.ndarray | None
) -> tuple[np.ndarray, Blend]:
    """The weighted values of all ids, float64 (ids, outputs), and the weights; `shift` has that of the regression."""
    kmers = kmer_features(config.kmer_k, len(config.kmer_alphabet))
    counts = count_tokens(train, config)
    groups = None if train.table.groups is None else train.table.groups[train.rows]
    values, offsets = np.zeros((config.vocab_size, config.num_labels)), np.zeros(config.num_labels)
    for output, targets in enumerate(train.targets.T.astype(np.float64)):
        is_known = targets != IGNORED
        own = None if groups is None else groups[is_known]
        model = fit_ridge(counts[is_known] @ kmers, targets[is_known], own)
        values[N_SPECIAL:, output], offsets[output] = kmers @ model.coef_, model.intercept_
    if validation is None:
        nothing = np.zeros((0, config.num_labels))
        weights = blend(nothing, nothing, nothing)
    else:
        regression = count_tokens(validation, config) @ values[N_SPECIAL:] + offsets
        measured = np.where(validation.targets == IGNORED, np.nan, validation.targets)
        weights = blend(measured, regression, np.asarray(predicted, np.float64).reshape(measured.shape))
    shift = weights.shift + weights.regression * offsets
    return values * weights.regression, weights._replace(shift=shift)


def blend(measured: np.ndarray, regression: np.ndarray, network: np.ndarray) -> Blend:
    """Finds the weights, which are not negative, by least squares on validation rows, drawn towards `PRIOR`.

    The distance of a weight from its prior counts like `PRIOR_ROWS` rows of that part's variance: with 50 rows the result is a
    compromise, with 5,000 what the rows say. The prior of a part whose answers vary more than the measured values (a network
    after a few steps) is as much smaller.

    Args:
        measured: Standardised values, float64 (n, outputs), NaN where missing.
        regression, network: Answers of the two, likewise.
    """
    found = []
    for values, *answers in zip(measured.T, regression.T, network.T, strict=True):
        is_known, shift, weights = ~np.isnan(values), 0.0, np.array(list(PRIOR.values()))
        n, y, x = is_known.sum(), values[is_known], np.stack(answers, axis=1)[is_known]
        if n > 1:
            spread = x.std(axis=0)
            prior, pseudo = weights / spread.clip(min=1), np.sqrt(PRIOR_ROWS) * np.diag(spread)
            rows, targets = np.concatenate([x - x.mean(axis=0), pseudo]), np.concatenate([y - y.mean(), pseudo @ prior])
            weights, _ = nnls(rows, targets)
            errors = y - x @ weights
            mean, variance = errors.mean(), errors.var()
            # The shift is one of many with this variance; more if the errors show it.
            between = max(variance / SHIFT_ROWS, mean**2 - SURE**2 * variance / n)
            shift = mean * between / max(between + variance / n, np.finfo(float).tiny)
        found.append((shift, *weights))
    return Blend(*np.array(found).T)


def count_tokens(rows: TokenDataset, config: KmerConvConfig) -> sparse.csr_matrix:
    """Counts each k-mer token of rows, or the mean of both strands' counts if the network reads both.

    Returns:
        float64 (n, k-mers), in the order of their ids.
    """
    starts, lengths = rows.table.starts[rows.rows], rows.table.lengths[rows.rows]
    n_kmers = config.vocab_size - N_SPECIAL
    position = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    ids = rows.table.ids[np.repeat(starts, lengths) + position].astype(np.int64)
    row, is_kmer = np.repeat(np.arange(len(rows)), lengths), ids >= N_SPECIAL
    places = row[is_kmer], ids[is_kmer] - N_SPECIAL
    counts = sparse.csr_matrix((np.ones(len(places[0])), places), shape=(len(rows), n_kmers))
    if not config.both_strands:
        return counts
    other = other_strand(config.kmer_k, config.kmer_alphabet)[N_SPECIAL:] - N_SPECIAL
    return (counts + counts[:, other.numpy()]) / 2


def kmer_features(k: int, n_letters: int) -> sparse.csr_matrix:
    """Which counts a k-mer adds to: its own, and those of the shorter k-mers with which it begins, up to 6-mers.

    As a k-mer begins at every base but the last k - 1, each shorter one is counted once, but for those that begin there; on
    the other strand, these are counted.

    Returns:
        0 or 1, float64 (n_letters ** k k-mers, n_letters + n_letters ** 2 + ... features).
    """
    code = np.arange(n_letters**k)
    parts = [
        sparse.csr_matrix((np.ones(len(code)), (code, code // n_letters ** (k - length))))
        for length in range(1, min(k, LONGEST_KMER) + 1)
    ]
    return sparse.hstack(parts, format="csr")

"""The baselines: counts by hand, the choice of the penalty, groups, and what each predicts."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from kmerbert.scoring.baselines import ALPHAS, Baselines, count_kmers, fit_ridge, gc_content
from tests.support.messages import fails

RANDOM = np.random.default_rng(0)
SEQUENCES = ["".join(RANDOM.choice(list("ACGT"), 40)) for _ in range(120)]
VALUES = np.array([sequence.count("GC") - 0.5 * sequence.count("A") for sequence in SEQUENCES])


def test_counts_worked_out_by_hand() -> None:
    counts = count_kmers(["ACAC", "acnu", "", "GATTACA"]).toarray()
    assert counts.shape == (4, 4 + 16 + 64 + 256 + 1024 + 4096)
    first = {"A": 0, "C": 1, "G": 2, "T": 3}
    assert counts[0, :4].tolist() == [2, 2, 0, 0]
    pairs = {a + b: counts[0, 4 + 4 * first[a] + first[b]] for a in "ACGT" for b in "ACGT"}
    assert {pair: n for pair, n in pairs.items() if n} == {"AC": 2, "CA": 1}
    assert counts[0].sum() == 4 + 3 + 2 + 1
    assert counts[1].sum() == 3 + 1  # A, C, T for U, and AC: nothing with N
    assert counts[2].sum() == 0
    assert counts[3].sum() == 7 + 6 + 5 + 4 + 3 + 2


@pytest.mark.parametrize("n_tenths", [10, 1])
def test_penalty_is_that_of_the_best_held_out_tenths(n_tenths: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kmerbert.scoring.baselines.FEW_ROWS", 1000 if n_tenths == 10 else 100)
    counts, values = count_kmers(SEQUENCES), VALUES + np.random.default_rng(1).normal(0, 4, len(VALUES))
    order, errors = np.random.default_rng(0).permutation(120), []
    for alpha in ALPHAS:
        squares = 0.0
        for held_out in np.split(order, 10)[:n_tenths]:
            rest = np.setdiff1d(order, held_out)
            predicted = Ridge(alpha=alpha).fit(counts[rest], values[rest]).predict(counts[held_out])
            squares += ((predicted - values[held_out]) ** 2).sum()
        errors.append(squares)
    model = fit_ridge(counts, values)
    assert model.alpha == ALPHAS[int(np.argmin(errors))]
    expected = Ridge(alpha=model.alpha).fit(counts, values).predict(counts)
    np.testing.assert_allclose(model.predict(counts), expected, atol=0.02)


def test_fewer_than_ten_rows_are_an_error() -> None:
    with fails("9 training rows", "10"):
        fit_ridge(count_kmers(SEQUENCES[:9]), VALUES[:9])


def test_a_group_does_not_choose_its_own_penalty() -> None:
    """Noise that repeats within groups can only be learnt by heart: held-out groups ask for the highest penalty."""
    sequences = [sequence for sequence in SEQUENCES[:60] for _ in range(3)]
    noise, groups = np.repeat(RANDOM.normal(size=60), 3), np.repeat(np.arange(60), 3)
    counts = count_kmers(sequences)
    alone, together = (
        np.mean([np.log10(fit_ridge(counts, noise, given, seed).alpha) for seed in range(4)])
        for given in (None, groups)
    )
    assert alone + 1 < together


def test_what_each_baseline_predicts() -> None:
    measured = np.column_stack([VALUES, [10 * value for value in gc_content(SEQUENCES)]])
    measured[:20, 1] = np.nan
    baselines = Baselines.fit(SEQUENCES, measured)
    predictions = baselines.predict(["GGGG", "acgu", *SEQUENCES])
    assert {name: x.shape for name, x in predictions.items()} == dict.fromkeys(("mean", "gc", "ridge"), (122, 2))
    np.testing.assert_allclose(predictions["mean"][0], np.nanmean(measured, axis=0))
    np.testing.assert_allclose(predictions["gc"][:2, 1], [10, 5])
    assert np.corrcoef(predictions["ridge"][2:, 0], VALUES)[0, 1] > 0.9


def test_few_rows_have_no_ridge_regression() -> None:
    assert set(Baselines.fit(SEQUENCES[:9], VALUES[:9, None]).predictors) == {"mean", "gc"}


@pytest.mark.parametrize(("sequence", "share"), [("GGCC", 1), ("gcau", 0.5), ("NN", 0.5), ("", 0.5), ("AATT", 0)])
def test_gc_content(sequence: str, share: float) -> None:
    assert gc_content([sequence]).tolist() == [share]

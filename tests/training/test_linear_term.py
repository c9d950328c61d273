"""The linear term: its features and counts by hand, weights that validation rows give, and a run that saves it."""

import json
import re
from collections.abc import Iterable
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

import run_finetune_regression
import run_predict
from kmerbert.dna.sequences import reverse_complement
from kmerbert.scoring.baselines import ALPHAS
from kmerbert.tokens.batches import TokenDataset
from kmerbert.training.linear_term import PRIOR, blend, count_tokens, kmer_features
from modeling_kmer_conv import KmerConvConfig
from tests.support.tiny_runs import flags, planted_table, write_table
from tests.support.tiny_tokens import read_tokens
from tokenization_kmer import KmerTokenizer

CONV = "embedding_size=8,hidden_size=16,num_stages=2,head_size=16"


def test_a_kmer_adds_to_the_shorter_ones_with_which_it_begins() -> None:
    features = kmer_features(2, 4).toarray()
    assert features.shape == (16, 4 + 16)
    tokenizer = KmerTokenizer(2)
    (index,) = tokenizer.convert_tokens_to_ids(["CG"])
    assert np.flatnonzero(features[index - 5]).tolist() == ["ATCG".index("C"), 4 + index - 5]
    assert kmer_features(8, 4).shape == (4**8, sum(4**length for length in range(1, 7)))


def test_counts_of_one_strand_and_of_both(tmp_path: Path) -> None:
    """Padding, [UNK] and special tokens are not counted; rows may have different lengths."""
    rows, tokenizer = ["ACGAC", "GATTACANGA", "TT"], KmerTokenizer(2)
    table = read_tokens(write_table(tmp_path / "rows.tsv", sequence=rows), tokenizer)
    dataset = TokenDataset(table, np.arange(3), pad_id=0)
    expected = np.zeros((2, 3, 16))
    for strand, texts in enumerate((rows, map(reverse_complement, rows))):
        for row, text in enumerate(texts):
            for start in range(len(text) - 1):
                if "N" not in text[start : start + 2]:
                    expected[strand, row, tokenizer.convert_tokens_to_ids(text[start : start + 2]) - 5] += 1
    for both, counts in ((False, expected[0]), (True, expected.mean(axis=0))):
        config = KmerConvConfig(vocab_size=21, kmer_k=2, both_strands=both)
        np.testing.assert_array_equal(count_tokens(dataset, config).toarray(), counts)


def test_many_validation_rows_decide_and_none_leave_the_prior() -> None:
    random = np.random.default_rng(0)
    regression, network = random.normal(size=(2, 50_000, 2))
    measured = np.stack([0.2 * regression[:, 0] + 0.5 * network[:, 0] + 3, network[:, 1] - regression[:, 1]], axis=1)
    measured[::2, 1] = np.nan
    weights = blend(measured, regression, network)
    np.testing.assert_allclose(weights.regression, [0.2, 0], atol=0.01)  # not negative
    np.testing.assert_allclose(weights.network, [0.5, 1], atol=0.01)
    np.testing.assert_allclose(weights.shift, [3, 0], atol=0.02)
    for n in (0, 1):
        few = blend(measured[:n], regression[:n], network[:n])
        assert few.regression.tolist() == [PRIOR["regression"]] * 2
        assert few.network.tolist() == [PRIOR["network"]] * 2
        assert few.shift.tolist() == [0, 0]


def test_twenty_rows_count_as_much_as_the_prior() -> None:
    """With answers that are not correlated, each weight is the mean of its prior and of what the 20 rows say."""
    pattern = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]] * 5, float)
    weights = blend(pattern @ [[1.0], [0.1]], pattern[:, :1], pattern[:, 1:])
    np.testing.assert_allclose([weights.regression[0], weights.network[0]], [(1 + 0.3) / 2, (0.1 + 0.7) / 2])


def test_a_difference_of_the_mean_is_believed_as_far_as_it_is_sure() -> None:
    """Of 20 rows a sixth of what may be chance, and nearly all of what cannot be."""
    pattern = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]] * 5, float)
    noise = np.prod(pattern, axis=1, keepdims=True)  # of variance 1, not correlated with the answers
    for mean, share in ((0.5, 20 / 120), (6, (36 - 9 / 20) / (36 - 9 / 20 + 1 / 20))):
        weights = blend(pattern @ [[0.3], [0.7]] + noise + mean, pattern[:, :1], pattern[:, 1:])
        np.testing.assert_allclose(weights.shift, mean * share)
        np.testing.assert_allclose([weights.regression[0], weights.network[0]], [0.3, 0.7])


def test_answers_that_vary_too_much_have_less_weight() -> None:
    pattern = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]] * 5, float)
    weights = blend(pattern @ [[0.3], [0.7]], pattern[:, :1], 40 * pattern[:, 1:])
    np.testing.assert_allclose([weights.regression[0], weights.network[0]], [0.3, 0.7 / 40])


def beginnings(sequences: Iterable[str], k: int = 3) -> np.ndarray:
    """Mean over both strands of the counts of all k-mers and of the shorter ones with which these begin, from the letters."""
    names = [name for length in range(1, k + 1) for name in map("".join, product("ACGT", repeat=length))]
    column, counts = {name: number for number, name in enumerate(names)}, []
    for sequence in sequences:
        row = np.zeros(len(names))
        for strand in (sequence, reverse_complement(sequence)):
            for start, length in product(range(len(strand) - k + 1), range(1, k + 1)):
                row[column[strand[start : start + length]]] += 0.5
        counts.append(row)
    return np.array(counts)


def test_a_run_ends_with_the_sum_of_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Predictions are those of the same run without the term and of a ridge regression, weighted; also by the saved model."""
    table = planted_table(tmp_path / "train.tsv", 200)
    settings = {"model_type": "kmer_conv", "config_overrides": CONV, "k": 3, "split_column": "split"}
    rows = pd.read_csv(table, sep="\t").assign(split=["train"] * 140 + ["validation"] * 20 + ["test"] * 40)
    rows.to_csv(table, sep="\t", index=False)
    run_finetune_regression.main(flags(table, tmp_path / "with", **settings))
    (said,) = re.findall(r"the model is (\S+) x network \+ (\S+) x ridge", capsys.readouterr().err)
    run_finetune_regression.main(flags(table, tmp_path / "without", linear_term=False, **settings))
    train, (both, network) = rows[:140], (predictions(tmp_path / name) for name in ("with", "without"))
    features, residuals = beginnings(rows["sequence"]), {}
    for alpha in ALPHAS:
        ridge = Ridge(alpha=alpha).fit(features[:140], train["expression"]).predict(features[160:])
        parts = np.stack([network, ridge, np.ones(40)], axis=1)
        weights, *_ = np.linalg.lstsq(parts, both)
        residuals[np.abs(parts @ weights - both).max()] = weights
    assert min(residuals) < 0.01
    np.testing.assert_allclose(residuals[min(residuals)][:2], np.array(said, float), atol=0.02)

    configs = [json.loads((tmp_path / name / "config.json").read_text()) for name in ("with", "without")]
    assert [config["linear_term"] for config in configs] == [True, False]
    assert "x ridge regression" in (tmp_path / "with" / "README.md").read_text()
    file = write_table(tmp_path / "rows.tsv", sequence=rows["sequence"][160:])
    output = str(tmp_path / "new.tsv")
    run_predict.main(
        ["--model_name_or_path", str(tmp_path / "with"), "--input_file", str(file), "--output_file", output]
    )
    np.testing.assert_allclose(pd.read_csv(output, sep="\t")["prediction"], both, rtol=1e-5)

    # A checkpoint's own term becomes part of the next one.
    run_finetune_regression.main(
        flags(
            table, tmp_path / "further", model_name_or_path=tmp_path / "with", split_column="split", learning_rate=1e-6
        )
    )
    assert np.corrcoef(predictions(tmp_path / "further"), both)[0, 1] > 0.99


def predictions(folder: Path) -> np.ndarray:
    return pd.read_csv(folder / "test_predictions.tsv", sep="\t")["prediction"].to_numpy()

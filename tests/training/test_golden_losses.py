"""Losses of tiny fixed-seed runs, written down once: a change that alters what is computed shows here.

`benchmarks/compare_commits.py` compares two commits bit for bit. Here a tolerance of a thousandth leaves room for other
processors and releases of torch. The networks have no dropout, whose random numbers an implementation may draw otherwise.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

import run_finetune_regression
import run_pretrain_mlm
from kmerbert.models.loading import load_config, load_model
from tests.support.tiny_runs import NETWORK, NO_DROPOUT, flags, planted, write_table
from tokenization_kmer import KmerTokenizer

BERT = f"{NETWORK}{NO_DROPOUT},initializer_range=0.3"
CONV = "embedding_size=8,hidden_size=16,num_stages=2,head_size=16,hidden_dropout_prob=0.0"
# Case: flags of the run; the losses of its steps; a metric of the validation rows and its value.
REGRESSION = {
    "bert": ({"model_type": "bert", "config_overrides": BERT}, [2.82688, 3.17447, 2.01443, 2.33255, 2.59918], 13.1942),
    "modernbert": ({}, [1.4302, 1.96022, 1.21118, 1.10485, 0.90999], 6.78618),  # from `save_modernbert`
    "convolutions": (
        {"model_type": "kmer_conv", "config_overrides": CONV, "linear_term": False},
        [1.22205, 1.09978, 1.01501, 1.04922, 0.96364],
        6.13371,
    ),
    "reading frames": (
        {"model_type": "bert", "config_overrides": BERT, "reading_frames": 3},
        [3.34141, 2.25262, 1.71891, 2.56515, 2.39364],
        9.59779,
    ),
    "two outputs with missing values": (
        {
            "model_type": "kmer_conv",
            "config_overrides": CONV,
            "label_column": "expression,second",
            "linear_term": False,
        },
        [1.31469, 1.13855, 1.2179, 1.06718, 1.00853],
        6.07047,
    ),
}
MASKED = {
    "bases": ({"masking": "bases"}, [5.7948, 6.66625, 5.83749, 5.20106, 5.10413], 187.304),
    "dnabert": ({"masking": "dnabert", "mlm_probability": 0.05}, [5.92036, 6.4592, 5.52555, 5.45016, 5.16657], 191.319),
}


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """100 planted promoters with two measured values, the second one missing in every third row."""
    sequences, values = planted(np.random.default_rng(0), 100, 30)
    second = ["" if row % 3 == 0 else f"{value:.4f}" for row, value in enumerate(20 - values)]
    return write_table(tmp_path / "rows.tsv", sequence=sequences, expression=values.round(4), second=second)


def losses(folder: Path) -> list[float]:
    """The loss of every step of a run."""
    log = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [row["loss"] for row in log if "loss" in row]


def check(
    main: Callable[[list[str]], dict[str, float]],
    rows: Path,
    folder: Path,
    settings: dict[str, Any],
    expected: list[float],
    metric: str,
    value: float,
) -> None:
    """Runs a script for five steps and compares its losses and a metric."""
    metrics = main(flags(rows, folder, logging_steps=1, seed=3, max_steps=5, validation_rows=20, **settings))
    assert losses(folder) == pytest.approx(expected, rel=1e-3)
    assert metrics[metric] == pytest.approx(value, rel=1e-3)


def save_modernbert(folder: Path) -> Path:
    """Saves a ModernBERT of weights from numpy: releases of transformers initialise it differently."""
    tokenizer, random = KmerTokenizer(3), np.random.default_rng(0)
    config = load_config(tokenizer, model_type="modernbert", config_overrides=NETWORK, num_labels=1)
    model = load_model(AutoModelForSequenceClassification, config)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            is_norm = "norm" in name and weight.ndim == 1
            weight.copy_(torch.ones_like(weight) if is_norm else torch.from_numpy(random.normal(0, 0.2, weight.shape)))
    for saved in (model, tokenizer):
        saved.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("case", REGRESSION)
def test_regression(case: str, rows: Path, tmp_path: Path) -> None:
    settings, expected, mse = REGRESSION[case]
    if case == "modernbert":
        settings = {"model_name_or_path": save_modernbert(tmp_path / "start"), "learning_rate": 1e-3}
    check(run_finetune_regression.main, rows, tmp_path / "run", settings, expected, "eval_mse", mse)


@pytest.mark.parametrize("case", MASKED)
def test_masked(case: str, rows: Path, tmp_path: Path) -> None:
    settings, expected, perplexity = MASKED[case]
    settings = {"model_type": "bert", "config_overrides": BERT} | settings
    check(run_pretrain_mlm.main, rows, tmp_path / "run", settings, expected, "eval_perplexity", perplexity)

"""The benchmark of training steps at toy size, and its count of operations against torch's own."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification

from benchmarks.speed import training_step
from benchmarks.speed.training_step import NETWORKS, StepTimer
from kmerbert.cli.flags import ModelArguments
from kmerbert.models.loading import load_config
from kmerbert.models.outputs import score_masked_tokens
from kmerbert.training.losses import masked_lm_loss
from tokenization_kmer import KmerTokenizer


@pytest.mark.parametrize("name", ["tiny", "small"])
@pytest.mark.parametrize("task", ["regression", "mlm"])
def test_operations_are_those_that_torch_counts(name: str, task: str) -> None:
    network = NETWORKS[name]
    tokenizer = KmerTokenizer(k=network.k, alphabet=network.alphabet)
    given = ModelArguments(model_type=network.model_type, config_overrides=network.overrides)
    config = load_config(given, tokenizer, num_labels=1, problem_type="regression")
    config._attn_implementation = "eager"  # the counter does not know fused attention on a CPU
    ids, masked = torch.randint(5, len(tokenizer), (2, 30)), torch.tensor([3, 4, 40, 41])
    if task == "mlm":
        model, named = AutoModelForMaskedLM.from_config(config), {"masked": masked}
        score_masked_tokens(model)
        wanted = network.products(30, 2, len(tokenizer))
    else:
        model, named = AutoModelForSequenceClassification.from_config(config), {}
        wanted = network.products(30, 1, 1)
    with FlopCounterMode(display=False) as counter:
        found = model(input_ids=ids, **named)
        loss = masked_lm_loss(found, torch.zeros(2, 30, dtype=torch.int64)) if named else found.logits.sum()
        loss.backward()
    # The first layer needs no gradient of ids, the heads differ in small layers.
    assert 2 * wanted == pytest.approx(counter.get_total_flops(), rel=0.05)


def test_both_are_measured(capsys: pytest.CaptureFixture) -> None:
    sizes = ["--batch_size", "4", "--bases", "20", "--steps", "2", "--product_size", "256"]
    found = training_step.main(["--models", "tiny", "--precisions", "fp32", *sizes])
    assert list(found) == ["regression tiny fp32", "mlm tiny fp32"]
    for rows in found.values():
        assert [row["rate"] for row in rows] == [pytest.approx(4 / row["seconds"]) for row in rows]
        assert all(0 < row["share"] < 1 for row in rows)
    table = capsys.readouterr().out
    assert table.count("ours") == table.count("example script") == 2
    assert len(StepTimer.ends) == 2 + training_step.SKIPPED


def test_the_middle_step_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    StepTimer.ends = [0.0, 50.0, 90.0, 91.0, 93.0, 94.0, 99.0]  # steps of 1, 2, 1 and 5 s are counted
    assert StepTimer.seconds() == 1.5
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert StepTimer.seconds() == 9 / 4

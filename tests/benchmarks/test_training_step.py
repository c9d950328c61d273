"""The benchmark of training steps at toy size, and its count of operations against torch's own."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification

from benchmarks.speed import training_step
from benchmarks.speed.training_step import NETWORKS
from kmerbert.models.loading import load_config
from kmerbert.models.outputs import score_masked_tokens
from kmerbert.training.losses import masked_lm_loss
from tokenization_kmer import KmerTokenizer


@pytest.mark.parametrize("name", ["tiny", "small"])
@pytest.mark.parametrize("task", ["regression", "mlm"])
def test_operations_are_those_that_torch_counts(name: str, task: str) -> None:
    network = NETWORKS[name]
    tokenizer = KmerTokenizer(k=network.k, alphabet=network.alphabet)
    architecture = {"model_type": network.model_type, "config_overrides": network.overrides}
    config = load_config(tokenizer, **architecture, num_labels=1, problem_type="regression")
    config._attn_implementation = "eager"  # the counter does not know fused attention on a CPU
    ids, masked = torch.randint(5, len(tokenizer), (2, 30)), torch.tensor([3, 4, 40, 41])
    if task == "mlm":
        model, named = AutoModelForMaskedLM.from_config(config), {"masked": masked}
        score_masked_tokens(model)
        operations = network.products(30, 2, len(tokenizer))
    else:
        model, named = AutoModelForSequenceClassification.from_config(config), {}
        operations = network.products(30, 1, 1)
    with FlopCounterMode(display=False) as counter:
        outputs = model(input_ids=ids, **named)
        loss = masked_lm_loss(outputs, torch.zeros(2, 30, dtype=torch.int64)) if named else outputs.logits.sum()
        loss.backward()
    # The first layer needs no gradient of ids, the heads differ in small layers.
    assert 2 * operations == pytest.approx(counter.get_total_flops(), rel=0.05)


def test_both_are_measured(capsys: pytest.CaptureFixture) -> None:
    sizes = ["--batch_size", "4", "--bases", "20", "--steps", "2", "--product_size", "256"]
    table = training_step.main(["--models", "tiny", "--precisions", "fp32", *sizes])
    assert list(table) == ["regression tiny fp32", "mlm tiny fp32"]
    for lines in table.values():
        assert [line["rate"] for line in lines] == [pytest.approx(4 / line["seconds"]) for line in lines]
        assert all(0 < line["share"] < 1 for line in lines)
    printed = capsys.readouterr().out
    assert printed.count("ours") == printed.count("example script") == 2


def test_the_limit_is_the_faster_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_step, "product_rate", lambda device, dtype, size, by_onednn: 5.0 if by_onednn else 3.0)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: None)
    for is_exact, rate in ((True, 5.0), (False, 3.0)):
        monkeypatch.setattr(training_step, "onednn_is_exact", lambda is_exact=is_exact: is_exact)
        assert training_step.limit("fp32", 64) == rate
        assert training_step.limit("bf16", 64) == 3.0

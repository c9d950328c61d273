"""Faster prediction: the same outputs as the model's own, on one layer and on several, and everything put back afterwards."""

import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    ModernBertConfig,
    ModernBertForSequenceClassification,
)

from kmerbert.models import kernels
from kmerbert.models.kernels import fast_prediction, onednn_is_exact

SIZES = {"vocab_size": 20, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "num_labels": 2}


@pytest.fixture(params=[1, 2, "modernbert"])
def model(request: pytest.FixtureRequest) -> torch.nn.Module:
    torch.manual_seed(0)
    if request.param == "modernbert":
        special = dict.fromkeys(("pad_token_id", "cls_token_id", "sep_token_id", "bos_token_id", "eos_token_id"), 0)
        return ModernBertForSequenceClassification(ModernBertConfig(num_hidden_layers=2, **SIZES, **special)).eval()
    return BertForSequenceClassification(BertConfig(num_hidden_layers=request.param, **SIZES)).eval()


@pytest.fixture(params=[True, False], ids=["padded", "equal"])
def inputs(request: pytest.FixtureRequest) -> dict[str, torch.Tensor]:
    ids = torch.randint(5, 20, (4, 11), generator=torch.Generator().manual_seed(0))
    if not request.param:
        return {"input_ids": ids}
    mask = (torch.arange(11) < torch.tensor([[11], [7], [3], [9]])).long()
    return {"input_ids": ids * mask, "attention_mask": mask}


@pytest.mark.parametrize("is_exact", [True, False])
def test_outputs_are_the_models_own(
    model: torch.nn.Module, inputs: dict[str, torch.Tensor], is_exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "onednn_is_exact", lambda: is_exact)
    with torch.inference_mode():
        expected = model(**inputs).logits
        with fast_prediction([model], bf16=False):
            found = model(**inputs).logits
        assert torch.allclose(found, expected, rtol=1e-2 if is_exact and not onednn_is_exact() else 1e-5, atol=1e-6)
        assert torch.equal(model(**inputs).logits, expected)  # everything is as it was


def test_bfloat16_is_near(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> None:
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        expected = model(**inputs).logits
        with fast_prediction([model], bf16=True):
            found = model(**inputs).logits
    assert torch.allclose(found.float(), expected.float(), atol=2e-2)


def test_only_the_first_token_leaves_the_last_layer(inputs: dict[str, torch.Tensor]) -> None:
    model = BertForSequenceClassification(BertConfig(num_hidden_layers=2, **SIZES)).eval()
    with torch.inference_mode(), fast_prediction([model], bf16=False):
        assert model.bert(**inputs).last_hidden_state.shape == (4, 1, 16)
    assert model.bert(**inputs).last_hidden_state.shape == (4, 11, 16)


def test_settings_come_back_after_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "onednn_is_exact", lambda: True)
    model = BertForSequenceClassification(BertConfig(num_hidden_layers=1, **SIZES)).eval()
    before = torch.get_float32_matmul_precision(), model.config._attn_implementation
    with pytest.raises(RuntimeError), fast_prediction([model], bf16=False):
        assert (torch.get_float32_matmul_precision(), model.config._attn_implementation) == ("medium", "eager")
        raise RuntimeError
    assert (torch.get_float32_matmul_precision(), model.config._attn_implementation) == before
    assert "forward" not in vars(model.bert.encoder.layer[-1])


@pytest.mark.parametrize(("change", "expected"), [(1.0, False), (1 + 1e-6, True), (1 + 1e-4, False)])
def test_another_kernel_is_taken_when_it_is_there_and_exact(
    change: float, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def products(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        is_usual = torch.get_float32_matmul_precision() == "highest"
        found = (left.double() @ right.double()).float()
        return found if is_usual else found * change

    monkeypatch.setattr(kernels, "_product", products)
    assert onednn_is_exact.__wrapped__() is expected

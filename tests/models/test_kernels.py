"""Faster kernels: the same outputs and gradients as the model's own, and everything restored afterwards."""

from contextlib import suppress
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    ModernBertConfig,
    PretrainedConfig,
    PreTrainedModel,
)

from kmerbert.models import kernels
from kmerbert.models.kernels import fast_kernels, first_token_only, onednn_is_exact, onednn_products

SIZES = {"vocab_size": 69, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "num_labels": 2}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
SPECIAL = {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": None, "eos_token_id": None}
CONFIGS = {
    "bert of one layer": BertConfig(num_hidden_layers=1, **SIZES),
    "bert": BertConfig(num_hidden_layers=2, **SIZES),
    "modernbert": ModernBertConfig(num_hidden_layers=2, **SIZES, **SPECIAL),
}


def build(config: PretrainedConfig, attention: str | None = None) -> PreTrainedModel:
    """A model of random weights, in evaluation mode."""
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_config(deepcopy(config), attn_implementation=attention).eval()


@pytest.fixture(params=CONFIGS)
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    """A model of each architecture."""
    return build(CONFIGS[request.param])


@pytest.fixture(params=[True, False], ids=["padded", "equal"])
def inputs(request: pytest.FixtureRequest) -> dict[str, torch.Tensor]:
    """A batch with and without padding."""
    ids = torch.randint(5, 69, (4, 40), generator=torch.Generator().manual_seed(0))
    if not request.param:
        return {"input_ids": ids}
    mask = (torch.arange(40) < torch.tensor([[40], [31], [12], [3]])).long()
    return {"input_ids": ids * mask, "attention_mask": mask}


def settings(model: PreTrainedModel) -> tuple[str, str, list[str]]:
    """What `fast_kernels` may change: the precision, the attention, and layers with a forward of their own."""
    overridden = [name for name, module in model.named_modules() if "forward" in vars(module)]
    return torch.get_float32_matmul_precision(), model.config._attn_implementation, overridden


@pytest.mark.parametrize("is_exact", [True, False])
@pytest.mark.parametrize("has_gradients", [True, False])
def test_outputs_are_the_models_own(
    model: PreTrainedModel,
    inputs: dict[str, torch.Tensor],
    is_exact: bool,
    has_gradients: bool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(kernels, "onednn_is_exact", lambda: is_exact)
    before = settings(model)
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    tolerance = 1e-2 if is_exact and not onednn_is_exact() else 1e-4
    with torch.inference_mode(not has_gradients):
        expected = model(**inputs).logits
        with fast_kernels([model], bf16=False):
            assert settings(model)[:2] == (("medium", "eager") if is_exact else ("highest", "sdpa"))
            torch.testing.assert_close(model(**inputs).logits, expected, rtol=tolerance, atol=1e-5)
        assert settings(model) == before
        assert torch.equal(model(**inputs).logits, expected)
    assert model.state_dict().keys() == weights.keys()
    assert all(torch.equal(weight, weights[name]) for name, weight in model.state_dict().items())
    model.save_pretrained(tmp_path)
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path).config._attn_implementation == "sdpa"


def test_bfloat16_is_close(model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> None:
    before = settings(model)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        expected = model(**inputs).logits
        with fast_kernels([model], bf16=True):
            assert settings(model)[:2] == ("highest", "eager")
            logits = model(**inputs).logits
    assert settings(model) == before
    torch.testing.assert_close(logits.float(), expected.float(), rtol=0, atol=2e-2)


def test_several_models_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "onednn_is_exact", lambda: True)
    models = [build(CONFIGS["bert"]), build(CONFIGS["modernbert"]), build(CONFIGS["bert"], "eager")]
    before = [settings(model) for model in models]
    with fast_kernels(models, bf16=False):
        assert [settings(model)[1] for model in models] == ["eager"] * 3
    assert [settings(model) for model in models] == before


@pytest.mark.parametrize("bf16", [False, True])
def test_settings_come_back_after_an_error(bf16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "onednn_is_exact", lambda: True)
    model = build(CONFIGS["bert"])
    before = settings(model)
    with suppress(RuntimeError), fast_kernels([model], bf16):
        during = settings(model)
        raise RuntimeError
    assert during == ("highest" if bf16 else "medium", "eager", ["bert.encoder.layer.1"])
    assert settings(model) == before == ("highest", "sdpa", [])


@pytest.mark.parametrize("bf16", [False, True])
def test_a_model_that_waits_for_its_gpu_keeps_its_attention(bf16: bool) -> None:
    model = build(CONFIGS["bert"])
    with fast_kernels([model], bf16, torch.device("cuda")):
        assert settings(model) == ("highest", "sdpa", ["bert.encoder.layer.1"])


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("is_exact", [True, False])
def test_gradients_are_those_of_the_whole_model(
    attention: str, is_exact: bool, inputs: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "onednn_is_exact", lambda: is_exact and onednn_is_exact())
    model = build(BertConfig(num_hidden_layers=2, **SIZES | NO_DROPOUT), attention).train()
    model(**inputs).logits.square().sum().backward()
    expected = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()
    with fast_kernels([model], bf16=False):
        model(**inputs).logits.square().sum().backward()
    assert all(gradient.any() for gradient in expected.values())
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight.grad, expected[name], rtol=1e-3, atol=1e-6, msg=name)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("is_training", [True, False])
def test_the_first_token_is_that_of_the_full_layer(
    attention: str, is_training: bool, inputs: dict[str, torch.Tensor]
) -> None:
    model = build(BertConfig(num_hidden_layers=2, **SIZES | NO_DROPOUT), attention).train(is_training)
    full = model.bert(**inputs).last_hidden_state
    with first_token_only(model):
        first = model.bert(**inputs).last_hidden_state
    assert first.shape == (4, 1, 32)
    torch.testing.assert_close(first, full[:, :1], rtol=1e-4, atol=1e-5)
    assert torch.equal(model.bert(**inputs).last_hidden_state, full)


def test_the_last_layer_still_drops_attention_in_training() -> None:
    model = build(BertConfig(num_hidden_layers=2, **SIZES | NO_DROPOUT | {"attention_probs_dropout_prob": 0.5})).train()
    states = torch.randn(2, 40, 32)
    with first_token_only(model), torch.no_grad():
        last = model.bert.encoder.layer[-1]
        assert not torch.equal(last(states), last(states))
        model.eval()
        assert torch.equal(last(states), last(states))


def test_other_models_compute_every_token(inputs: dict[str, torch.Tensor]) -> None:
    model = build(CONFIGS["modernbert"])
    with first_token_only(model):
        assert settings(model)[2] == []
        assert model.model(**inputs).last_hidden_state.shape == (4, 40, 32)
    model = build(CONFIGS["bert"])
    model.config._attn_implementation = "flash_attention_2"  # has no masks, which this one needs
    with first_token_only(model):
        assert settings(model)[2] == []


def test_onednn_is_used_only_meanwhile() -> None:
    with suppress(RuntimeError), onednn_products():
        during = torch.get_float32_matmul_precision()
        raise RuntimeError
    assert (during, torch.get_float32_matmul_precision()) == ("medium", "highest")


@pytest.mark.parametrize(("change", "expected"), [(1.0, False), (1 + 1e-6, True), (1 + 1e-4, False)])
def test_another_library_is_taken_if_it_is_there_and_exact(
    change: float, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        exact = (left.double() @ right.double()).float()
        return exact if torch.get_float32_matmul_precision() == "highest" else exact * change

    monkeypatch.setattr(kernels, "_product", product)
    assert onednn_is_exact.__wrapped__() is expected
    assert torch.get_float32_matmul_precision() == "highest"

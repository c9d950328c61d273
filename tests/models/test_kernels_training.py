"""Faster training on a CPU: the same functions as torch's, by other means."""

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, BertConfig, ModernBertConfig

from kmerbert.models import kernels
from kmerbert.models.kernels import Dropout, attention, dropout, fast_training, onednn_is_exact, onednn_products

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 69}
CONFIGS = {
    "bert": BertConfig(**SIZES, num_labels=1),
    "modernbert": ModernBertConfig(
        **SIZES, num_labels=1, pad_token_id=0, cls_token_id=2, sep_token_id=3, bos_token_id=None, eos_token_id=None
    ),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("shape", [(101, 103, 7), (5,), (0, 4)])
def test_dropout_keeps_or_scales(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    values = (torch.rand(shape, dtype=torch.float64) + 0.5).to(dtype).requires_grad_()
    found = dropout(values, 0.25)
    found.sum().backward()
    kept = found != 0
    torch.testing.assert_close(found[kept], values[kept] * (4 / 3), rtol=2e-2, atol=0)
    torch.testing.assert_close(values.grad, kept.to(dtype) * (4 / 3), rtol=2e-2, atol=0)
    if kept.numel() > 1000:
        assert kept.double().mean().item() == pytest.approx(0.75, abs=0.01)  # 5 standard errors


@pytest.mark.parametrize("p", [0.02, 0.1, 0.5, 0.9])
def test_dropout_is_independent_and_unbiased(p: float) -> None:
    torch.manual_seed(1)
    dropped = (dropout(torch.ones(400_000), p) == 0).double()
    error = (p * (1 - p) / len(dropped)) ** 0.5
    for start in range(4):  # four values share one draw: each of them must have the right share
        assert dropped[start::4].mean().item() == pytest.approx(p, abs=10 * error)
    for shift in (1, 2, 3, 4):
        both = (dropped[shift:] * dropped[:-shift]).mean().item()
        assert both == pytest.approx(p * p, abs=5 * (p * p / len(dropped)) ** 0.5)
    assert dropout(torch.ones(400_000), p).mean().item() == pytest.approx(1, abs=5 * error / (1 - p) + 1e-4)


def test_dropout_follows_the_seed_and_the_mode() -> None:
    values, layer = torch.ones(1000), Dropout(0.3)
    torch.manual_seed(5)
    first, second = layer(values), layer(values)
    torch.manual_seed(5)
    assert torch.equal(layer(values), first)
    assert not torch.equal(first, second)
    assert layer.eval()(values) is values
    assert dropout(values, 0.0) is values


def reference(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Attention written out, float64."""
    query, key, value = query.double(), key.double(), value.double()
    scores = torch.einsum("bhid,bhjd->bhij", query, key) / query.shape[-1] ** 0.5
    weights = (scores if mask is None else scores + mask).exp()
    return torch.einsum("bhij,bhjd->bihd", weights / weights.sum(-1, keepdim=True), value)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
@pytest.mark.parametrize("is_masked", [False, True])
@pytest.mark.parametrize("by_onednn", [False, True])
def test_attention(dtype: torch.dtype, error: float, is_masked: bool, by_onednn: bool) -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(2, 3, 9, 4).to(dtype).requires_grad_() for _ in range(3)]
    mask = torch.where(torch.arange(9) < 6, 0.0, -1e9).expand(2, 1, 9, 9).to(dtype) if is_masked else None
    weights = torch.randn(2, 9, 3, 4)
    with onednn_products() if by_onednn else nullcontext():
        found, _ = attention(SimpleNamespace(training=True), *inputs, mask)
    (found.float() * weights).sum().backward()
    gradients = [tensor.grad.double() for tensor in inputs]
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    wanted = reference(*exact, mask)
    (wanted * weights).sum().backward()
    torch.testing.assert_close(found.double(), wanted, rtol=error, atol=error)
    for gradient, tensor in zip(gradients, exact, strict=True):
        torch.testing.assert_close(gradient, tensor.grad, rtol=3 * error, atol=3 * error)


def test_attention_drops_weights_in_training_only() -> None:
    query, key = torch.zeros(1, 1, 4, 8), torch.zeros(1, 1, 4, 8)
    value = torch.ones(1, 1, 4, 8)
    even, _ = attention(SimpleNamespace(training=False), query, key, value, None, dropout=0.5)
    assert torch.equal(even, torch.ones(1, 4, 1, 8))
    torch.manual_seed(0)
    found, weights = attention(SimpleNamespace(training=True), query, key, value, None, dropout=0.5)
    assert set(weights.flatten().tolist()) == {0.0, 0.5}  # a quarter each, dropped or doubled
    torch.testing.assert_close(found[0, :, 0, 0], weights[0, 0].sum(-1))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("is_padded", [False, True])
def test_models_answer_as_before(name: str, is_padded: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(CONFIGS[name]).eval()
    inputs = {"input_ids": torch.randint(5, 69, (3, 40))}
    if is_padded:
        inputs["attention_mask"] = (torch.arange(40) < torch.tensor([[40], [31], [12]])).long()
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        before = model(**inputs).logits
        with fast_training(model):
            during = model(**inputs).logits
            assert torch.get_float32_matmul_precision() == ("medium" if onednn_is_exact() else "highest")
        assert torch.get_float32_matmul_precision() == "highest"
        after = model(**inputs).logits
    torch.testing.assert_close(during, before, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    assert model.state_dict().keys() == weights.keys()
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
    model.save_pretrained(tmp_path)
    assert kernels.ATTENTION not in json.dumps(json.loads((tmp_path / "config.json").read_text()))
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert loaded.config._attn_implementation == "sdpa"
    assert not any(isinstance(module, Dropout) for module in loaded.modules())


def test_all_dropout_is_replaced() -> None:
    model = AutoModelForSequenceClassification.from_config(CONFIGS["bert"])
    n_layers = sum(type(module) is nn.Dropout for module in model.modules())
    with fast_training(model):
        assert sum(type(module) is Dropout for module in model.modules()) == n_layers
    assert not any(type(module) is nn.Dropout for module in model.modules())


def test_a_model_that_waits_for_its_gpu_keeps_its_layers() -> None:
    model = AutoModelForSequenceClassification.from_config(BertConfig(**SIZES, num_labels=1))
    with fast_training(model, torch.device("cuda")):
        assert torch.get_float32_matmul_precision() == "highest"
        assert model.config._attn_implementation == "sdpa"
        assert not any(isinstance(module, Dropout) for module in model.modules())


def test_onednn_is_used_only_where_it_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    model = AutoModelForSequenceClassification.from_config(CONFIGS["bert"])
    for exact, precision in ((True, "medium"), (False, "highest")):
        monkeypatch.setattr(kernels, "onednn_is_exact", lambda exact=exact: exact)
        with fast_training(model):
            assert torch.get_float32_matmul_precision() == precision


@pytest.mark.parametrize("attention_kind", ["sdpa", "eager"])
@pytest.mark.parametrize("is_padded", [False, True])
def test_gradients_are_those_of_the_whole_model(attention_kind: str, is_padded: bool) -> None:
    torch.manual_seed(0)
    config = BertConfig(**SIZES, num_labels=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    config._attn_implementation = attention_kind
    model = AutoModelForSequenceClassification.from_config(config).train()
    inputs = {"input_ids": torch.randint(5, 69, (3, 40))}
    if is_padded:
        inputs["attention_mask"] = (torch.arange(40) < torch.tensor([[40], [31], [12]])).long()
    model(**inputs).logits.square().sum().backward()
    wanted = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()
    with fast_training(model):
        assert model.bert(**inputs).last_hidden_state.shape == (3, 1, 32)
        model(**inputs).logits.square().sum().backward()
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight.grad, wanted[name], rtol=1e-3, atol=1e-6, msg=name)


def test_the_last_layer_still_drops_attention() -> None:
    torch.manual_seed(0)
    config = BertConfig(**SIZES, num_labels=1, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.5)
    model = AutoModelForSequenceClassification.from_config(config).train()
    ids, states = torch.randint(5, 69, (2, 40)), torch.randn(2, 40, 32)
    with fast_training(model), torch.no_grad():
        last = model.bert.encoder.layer[-1]
        assert not torch.equal(last(states), last(states))
        model.eval()
        assert torch.equal(last(states), last(states))
        assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)

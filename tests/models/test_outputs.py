"""Losses that can be checked by hand, and outputs in another unit."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, PreTrainedModel
from transformers.models.auto import CONFIG_MAPPING

from kmerbert.models.outputs import IGNORED, output_layer, rescale_outputs, score_masked_tokens
from kmerbert.scoring.metrics import warn_if_collapsed
from kmerbert.training.losses import masked_lm_loss, regression_loss

SMALL = {
    "vocab_size": 69, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": 40, "pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": None,
    "eos_token_id": None,
}  # fmt: skip
IDS = torch.tensor([[2, 7, 8, 9, 3], [2, 60, 50, 40, 3], [2, 5, 5, 5, 3]])


MSE = regression_loss("mse", [1.0])


def outputs(values: list) -> dict[str, torch.Tensor]:
    """What a model returns, as far as the losses read it."""
    return {"logits": torch.tensor(values)}


def build(model_type: str, n_outputs: int, **settings: object) -> PreTrainedModel:
    """A tiny model with random weights and no dropout."""
    torch.manual_seed(0)
    config = CONFIG_MAPPING[model_type](**SMALL | settings, num_labels=n_outputs, problem_type="regression")
    return AutoModelForSequenceClassification.from_config(config).eval()


@torch.no_grad()
def answers(model: PreTrainedModel) -> torch.Tensor:
    return model(input_ids=IDS).logits


def test_regression_loss_by_hand() -> None:
    predicted = outputs([[1.0, 2.0], [3.0, 5.0]])
    assert MSE(predicted, torch.tensor([[0.0, 4.0], [3.0, 2.0]])) == pytest.approx((1 + 4 + 0 + 9) / 4)


def test_smooth_l1_counts_in_units_of_the_labels() -> None:
    """Standardised by 4 and 0.5: equal to torch's on the labels themselves, but for the scale."""
    torch.manual_seed(0)
    scale, predicted, labels = torch.tensor([4.0, 0.5]), 3 * torch.randn(50, 2), torch.randn(50, 2)
    found = regression_loss("smooth_l1", scale.tolist())({"logits": predicted}, labels)
    raw = torch.nn.functional.smooth_l1_loss(predicted * scale, labels * scale, reduction="none") / scale
    assert found == pytest.approx(raw.mean().item(), rel=1e-6)
    missing = torch.tensor([[-100.0, 0.0]])
    assert regression_loss("smooth_l1", [1.0, 1.0])(outputs([[7.0, 3.0]]), missing) == pytest.approx(2.5)
    with pytest.raises(ValueError, match="^loss 'mae': allowed are mse and smooth_l1$"):
        regression_loss("mae", [1.0])


def test_missing_labels_do_not_count() -> None:
    logits = torch.tensor([[1.0, 2.0], [3.0, float(IGNORED)]], requires_grad=True)
    loss = MSE({"logits": logits}, torch.tensor([[0.0, -100.0], [5.0, -100.0]]))
    assert loss.item() == pytest.approx((1 + 4) / 2)
    loss.backward()
    assert logits.grad.tolist() == [[1.0, 0.0], [-2.0, 0.0]]


@pytest.mark.parametrize("count", [8, torch.tensor(8)])
def test_losses_divide_by_the_items_of_the_global_batch(count: int | torch.Tensor) -> None:
    assert MSE(outputs([[1.0], [3.0]]), torch.tensor([[0.0], [-100.0]]), count) == pytest.approx(1 / 8)
    labels = torch.tensor([[IGNORED, 1, 0]])
    logits = outputs([[[9.0, 9.0], [0.0, 0.0], [0.0, 0.0]]])
    assert masked_lm_loss(logits, labels, count) == pytest.approx(2 * 0.6931472 / 8)


def test_parts_of_a_batch_add_up_to_the_whole() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 9, 11), torch.randint(0, 11, (6, 9))
    labels[torch.rand(6, 9) < 0.5] = IGNORED
    count = (labels != IGNORED).sum()
    whole = masked_lm_loss({"logits": logits}, labels)
    parts = [masked_lm_loss({"logits": logits[rows]}, labels[rows], count) for rows in (slice(0, 1), slice(1, 6))]
    assert sum(parts) == pytest.approx(whole.item(), rel=1e-6)
    assert whole == pytest.approx(torch.nn.functional.cross_entropy(logits.mT, labels).item(), rel=1e-6)


@pytest.mark.parametrize("loss", [MSE, masked_lm_loss])
def test_nothing_to_learn_is_a_loss_of_zero(loss: object) -> None:
    is_mlm = loss is masked_lm_loss
    logits = torch.ones((2, 3, 4) if is_mlm else (2, 3), requires_grad=True)
    value = loss({"logits": logits}, torch.full((2, 3), IGNORED if is_mlm else -100.0))
    value.backward()
    assert value == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("loss", [MSE, masked_lm_loss])
def test_losses_are_float32_for_bf16_outputs(loss: object) -> None:
    logits = torch.ones(2, 3, 4) if loss is masked_lm_loss else torch.ones(2, 3)
    labels = torch.zeros(2, 3, dtype=torch.int64 if loss is masked_lm_loss else torch.float32)
    assert loss({"logits": logits.bfloat16()}, labels).dtype == torch.float32


@pytest.mark.parametrize(
    ("model_type", "n_outputs"),
    [("bert", 1), ("bert", 3), ("bert", 16), ("distilbert", 1), ("roberta", 2), ("modernbert", 1), ("electra", 1)],
)
def test_rescaled_outputs_are_output_times_factor_plus_shift(model_type: str, n_outputs: int) -> None:
    # 16 outputs are as many as the hidden units: other layers of that size must not be taken for the last one.
    model = build(model_type, n_outputs)
    if model_type == "modernbert":
        assert model.classifier is output_layer(model)
    before = answers(model)
    factor, shift = torch.linspace(2.5, 0.5, n_outputs), torch.linspace(11.0, -3.0, n_outputs)
    rescale_outputs(model, factor.tolist(), shift.tolist())
    assert before.std() > 0
    torch.testing.assert_close(answers(model), before * factor + shift, rtol=0, atol=1e-5)
    rescale_outputs(model, (1 / factor).tolist(), (-shift / factor).tolist())
    torch.testing.assert_close(answers(model), before, rtol=0, atol=1e-5)


def test_rescaling_keeps_dtype_and_trainability() -> None:
    model = build("bert", 1)
    rescale_outputs(model, [2.0], [1.0])
    assert all(weight.dtype == torch.float32 and weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_sharded_models_are_rescaled_alike(n_outputs: int, tmp_path: Path) -> None:
    model = build("bert", n_outputs)
    before, factor, shift = answers(model), [2.0, 0.5, 3.0][:n_outputs], [11.0, -1.0, 4.0][:n_outputs]
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    try:
        fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
        assert isinstance(output_layer(model).weight, DTensor)
        rescale_outputs(model, factor, shift)
        found = answers(model)
    finally:
        dist.destroy_process_group()
    torch.testing.assert_close(found, before * torch.tensor(factor) + torch.tensor(shift), rtol=0, atol=1e-5)


@pytest.mark.parametrize("model_type", ["bert", "modernbert", "roberta", "electra", "distilbert"])
def test_only_masked_tokens_are_scored(model_type: str) -> None:
    torch.manual_seed(0)
    settings = {} if model_type != "distilbert" else {"dim": 16, "hidden_dim": 32, "n_heads": 2, "n_layers": 1}
    dropout = {
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "dropout": 0.0,
        "attention_dropout": 0.0,
    }
    model = AutoModelForMaskedLM.from_config(CONFIG_MAPPING[model_type](**SMALL | settings | dropout)).train()
    labels = torch.where(torch.rand(IDS.shape) < 0.5, IDS, IGNORED)
    places = torch.nonzero(labels.flatten() != IGNORED)[:, 0]
    every_token = model(input_ids=IDS).logits
    whole = masked_lm_loss({"logits": every_token}, labels)
    whole.backward()
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    names = set(model.state_dict())
    score_masked_tokens(model)
    found = model(input_ids=IDS, masked=places)
    torch.testing.assert_close(found["logits"], every_token.flatten(0, 1)[places])
    loss = masked_lm_loss(found, labels)
    assert loss.item() == pytest.approx(whole.item(), rel=1e-6)
    loss.backward()
    for name, weight in model.named_parameters():
        if name in gradients:
            torch.testing.assert_close(weight.grad, gradients[name], rtol=1e-4, atol=1e-7)
    assert set(model.state_dict()) == names
    again = model(input_ids=IDS)  # as before, where no places are given
    assert "masked" not in again
    torch.testing.assert_close(again.logits, every_token)


def test_no_masked_token_at_all() -> None:
    model = AutoModelForMaskedLM.from_config(CONFIG_MAPPING["bert"](**SMALL))
    score_masked_tokens(model)
    found = model(input_ids=IDS, masked=torch.empty(0, dtype=torch.int64))
    loss = masked_lm_loss(found, torch.full(IDS.shape, IGNORED))
    loss.backward()
    assert loss == 0


def test_models_without_a_linear_layer_with_bias_at_the_end() -> None:
    no_bias = build("gpt2", 1, n_embd=16, n_layer=1, n_head=2, n_positions=40)
    mlm = AutoModelForMaskedLM.from_config(CONFIG_MAPPING["bert"](**SMALL, num_labels=2))
    for model in (no_bias, mlm):
        with pytest.raises(ValueError, match=f"{type(model).__name__} does not end in a linear layer.*--model_type"):
            rescale_outputs(model, [2.0], [1.0])


def test_alarm_names_the_outputs_that_collapsed(caplog: pytest.LogCaptureFixture) -> None:
    assert warn_if_collapsed(np.array([0.04, 0.06, 0.0]), ["a", "b", "c"]) == ["a", "c"]
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["a", "c"]
    assert "--learning_rate" in caplog.text
    caplog.clear()
    assert warn_if_collapsed(np.array([0.5]), ["a"]) == []
    assert not caplog.records

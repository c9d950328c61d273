"""The output end of a model: the last layer by its name, outputs in another unit, masked tokens scored alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, PreTrainedModel
from transformers.models.auto import CONFIG_MAPPING

import modeling_kmer_conv  # noqa: F401 (makes its models known to the Auto classes)
import modeling_kmer_regression  # noqa: F401
from kmerbert.models.outputs import output_layer, rescale_outputs, score_masked_tokens
from kmerbert.tokens.targets import IGNORED
from kmerbert.training.losses import masked_lm_loss
from tests.support.messages import fails

SPECIAL = {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": None, "eos_token_id": None}
BERT_SIZES = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": 40,
}  # fmt: skip
# The sizes of a tiny network, for architectures that call them otherwise than BERT.
SIZES = {
    "distilbert": {"dim": 16, "hidden_dim": 32, "n_heads": 2, "n_layers": 1},
    "funnel": {"d_model": 16, "block_sizes": [1], "n_head": 2, "d_head": 8, "d_inner": 32},
    "gpt2": {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 40},
    "kmer_bert": BERT_SIZES | {"n_frames": 3},
    "kmer_conv": {"kmer_k": 3, "embedding_size": 4, "hidden_size": 8, "num_stages": 1, "head_size": 16},
    "xlnet": {"d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 32},
}
# The name of the last layer in each architecture.
HEADS = {
    "bert": "classifier",
    "distilbert": "classifier",
    "electra": "classifier.out_proj",
    "funnel": "classifier.linear_out",
    "kmer_bert": "classifier",
    "kmer_conv": "classifier",
    "modernbert": "classifier",
    "roberta": "classifier.out_proj",
    "xlnet": "logits_proj",
}
IDS = torch.tensor([[2, 7, 8, 9, 3], [2, 60, 50, 40, 3], [2, 5, 5, 5, 3]])


def build(model_type: str, n_outputs: int, **settings: object) -> PreTrainedModel:
    """A tiny model with random weights, in evaluation mode."""
    torch.manual_seed(0)
    sizes = SIZES.get(model_type, BERT_SIZES)
    given = {"vocab_size": 69, "num_labels": n_outputs, "problem_type": "regression"}
    config = CONFIG_MAPPING[model_type](**given | SPECIAL | sizes | settings)
    return AutoModelForSequenceClassification.from_config(config).eval()


@torch.no_grad()
def answers(model: torch.nn.Module) -> torch.Tensor:
    """The model's outputs for a few sequences, (3, outputs)."""
    return model(input_ids=IDS).logits


def name_of(layer: torch.nn.Module, model: torch.nn.Module) -> str:
    """The name of a layer in a model."""
    (name,) = [name for name, module in model.named_modules() if module is layer]
    return name


def check_rescaling(model: torch.nn.Module, n_outputs: int, tolerance: float = 1e-5) -> None:
    """Asserts that `rescale_outputs` gives outputs * factor + shift, for signs and sizes of all kinds."""
    before = answers(model)
    assert (before.std(dim=0) > 0).all()
    factor, shift = torch.linspace(2.5, -0.5, n_outputs), torch.linspace(11.0, -3.0, n_outputs)
    rescale_outputs(model, factor.tolist(), shift.tolist())
    torch.testing.assert_close(answers(model), before * factor + shift, rtol=0, atol=tolerance)


@pytest.mark.parametrize("n_outputs", [1, 3, 16])
@pytest.mark.parametrize("model_type", HEADS)
def test_the_last_layer_is_found_by_its_name(model_type: str, n_outputs: int) -> None:
    """Other layers of every one of these networks have 16 outputs, too: the pooler, the one before the last, ..."""
    model = build(model_type, n_outputs)
    if n_outputs == 16:
        same = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m.out_features == 16]
        assert len(same) > 1
    assert name_of(output_layer(model), model) == HEADS[model_type]
    check_rescaling(model, n_outputs)


@pytest.mark.parametrize("model_type", ["bert", "kmer_conv", "roberta", "modernbert"])
def test_a_layer_that_was_registered_after_the_head_is_not_the_last_one(model_type: str) -> None:
    model = build(model_type, 2)
    model.auxiliary = torch.nn.Linear(16, 2)
    assert name_of(output_layer(model), model) == HEADS[model_type]
    check_rescaling(model, 2)


def test_rescaling_can_be_undone() -> None:
    model = build("bert", 2)
    before, factor, shift = answers(model), torch.tensor([2.5, 0.5]), torch.tensor([11.0, -3.0])
    rescale_outputs(model, factor.tolist(), shift.tolist())
    rescale_outputs(model, (1 / factor).tolist(), (-shift / factor).tolist())
    torch.testing.assert_close(answers(model), before, rtol=0, atol=1e-5)


def test_rescaling_keeps_dtype_and_trainability() -> None:
    model = build("bert", 1)
    rescale_outputs(model, [2.0], [1.0])
    assert all(weight.dtype == torch.float32 and weight.requires_grad for weight in model.parameters())


def adapted(model_type: str, **settings: Any) -> PeftModel:
    """A model with three outputs and low-rank updates that are not zero, as after training."""
    config = LoraConfig(r=2, lora_alpha=4, init_lora_weights=False, **settings)
    return get_peft_model(build(model_type, 3), config).eval()


ATTENTION = ["query", "value"]
ADAPTERS = {
    "head trained as a whole": ("bert", {"target_modules": ATTENTION, "modules_to_save": ["classifier"]}),
    "head by task": ("bert", {"target_modules": ATTENTION, "task_type": "SEQ_CLS"}),
    "frozen head": ("bert", {"target_modules": ATTENTION}),
    "updates of the head": ("bert", {"target_modules": [*ATTENTION, "classifier"]}),
    "updates with a bias": ("bert", {"target_modules": ["classifier"], "lora_bias": True}),
    "updates of directions": ("bert", {"target_modules": ["classifier"], "use_dora": True}),
    "head of two layers": ("roberta", {"target_modules": ATTENTION, "modules_to_save": ["classifier"]}),
    "last of two layers": ("roberta", {"target_modules": ATTENTION, "modules_to_save": ["out_proj"]}),
    "updates of the last of two layers": ("roberta", {"target_modules": ["out_proj"]}),
    "convolutions": ("kmer_conv", {"target_modules": ["dense"], "modules_to_save": ["classifier"]}),
}


@pytest.mark.parametrize("case", ADAPTERS)
def test_adapters_are_rescaled(case: str) -> None:
    model_type, settings = ADAPTERS[case]
    model = adapted(model_type, **settings)
    trainable = {name for name, weight in model.named_parameters() if weight.requires_grad}
    before = answers(model)
    check_rescaling(model, 3)
    assert {name for name, weight in model.named_parameters() if weight.requires_grad} == trainable
    rescaled = answers(model)
    merged = model.merge_and_unload()
    assert not any("lora" in name or "modules_to_save" in name for name, _ in merged.named_modules())
    torch.testing.assert_close(answers(merged), rescaled, rtol=0, atol=1e-4)
    assert (rescaled - before).abs().min() > 0.1
    check_rescaling(merged, 3, tolerance=1e-4)


def test_the_trained_copy_of_a_head_is_the_last_layer() -> None:
    model = adapted("bert", target_modules=ATTENTION, modules_to_save=["classifier"])
    name = "base_model.model.classifier.modules_to_save.default"
    assert name_of(output_layer(model), model) == name
    original = model.base_model.model.classifier.original_module.weight.clone()
    rescale_outputs(model, [2.0, 3.0, 4.0], [1.0, 1.0, 1.0])
    assert torch.equal(model.base_model.model.classifier.original_module.weight, original)


def test_updates_of_the_head_can_be_taken_back() -> None:
    """The base model is rescaled, too: without the adapter it gives its own outputs in the new unit."""
    model = adapted("bert", target_modules=["classifier"])
    factor, shift = [2.0, 0.5, -1.0], [11.0, -3.0, 4.0]
    with model.disable_adapter():
        expected = answers(model) * torch.tensor(factor) + torch.tensor(shift)
    rescale_outputs(model, factor, shift)
    with model.disable_adapter():
        torch.testing.assert_close(answers(model), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_sharded_models_are_rescaled_alike(n_outputs: int, tmp_path: Path) -> None:
    model = build("bert", n_outputs)
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    try:
        fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
        assert isinstance(output_layer(model).weight, DTensor)
        check_rescaling(model, n_outputs)
    finally:
        dist.destroy_process_group()


def test_models_without_a_linear_layer_with_bias_at_the_end() -> None:
    no_bias = build("gpt2", 1)
    mlm = AutoModelForMaskedLM.from_config(CONFIG_MAPPING["bert"](vocab_size=69, **BERT_SIZES, num_labels=2))
    other_adapter = get_peft_model(build("bert", 2), IA3Config(target_modules=["classifier"], feedforward_modules=[]))
    for model, name in (
        (no_bias, "GPT2ForSequenceClassification"),
        (mlm, "BertForMaskedLM"),
        (other_adapter, "BertForSequenceClassification"),
    ):
        with fails(name, "linear", "`model_type`"):
            rescale_outputs(model, [2.0], [1.0])


@pytest.mark.parametrize("model_type", ["bert", "modernbert", "roberta", "electra", "distilbert"])
def test_only_masked_tokens_are_scored(model_type: str) -> None:
    torch.manual_seed(0)
    dropout = {
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "dropout": 0.0,
        "attention_dropout": 0.0,
    }
    sizes = SIZES.get(model_type, BERT_SIZES)
    config = CONFIG_MAPPING[model_type](vocab_size=69, **SPECIAL | sizes | dropout)
    model = AutoModelForMaskedLM.from_config(config).train()
    labels = torch.where(torch.rand(IDS.shape) < 0.5, IDS, IGNORED)
    positions = torch.nonzero(labels.flatten() != IGNORED)[:, 0]
    every_token = model(input_ids=IDS).logits
    whole = masked_lm_loss({"logits": every_token}, labels)
    whole.backward()
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    names = set(model.state_dict())
    score_masked_tokens(model)
    outputs = model(input_ids=IDS, masked=positions)
    torch.testing.assert_close(outputs["logits"], every_token.flatten(0, 1)[positions])
    loss = masked_lm_loss(outputs, labels)
    assert loss.item() == pytest.approx(whole.item(), rel=1e-6)
    loss.backward()
    for name, weight in model.named_parameters():
        if name in gradients:
            torch.testing.assert_close(weight.grad, gradients[name], rtol=1e-4, atol=1e-7)
    assert set(model.state_dict()) == names
    again = model(input_ids=IDS)  # as before without positions
    assert "masked" not in again
    torch.testing.assert_close(again.logits, every_token)


def test_no_masked_token_at_all() -> None:
    model = AutoModelForMaskedLM.from_config(CONFIG_MAPPING["bert"](vocab_size=69, **BERT_SIZES))
    score_masked_tokens(model)
    outputs = model(input_ids=IDS, masked=torch.empty(0, dtype=torch.int64))
    loss = masked_lm_loss(outputs, torch.full(IDS.shape, IGNORED))
    loss.backward()
    assert loss == 0


def test_a_model_that_takes_positions_by_itself_is_not_changed() -> None:
    config = CONFIG_MAPPING["kmer_conv"](vocab_size=69, **SPECIAL | SIZES["kmer_conv"])
    model = AutoModelForMaskedLM.from_config(config).eval()
    score_masked_tokens(model)
    assert not model._forward_hooks
    assert not model.base_model._forward_hooks
    positions = torch.tensor([1, 7, 13])
    with torch.no_grad():
        outputs = model(input_ids=IDS, masked=positions)
        torch.testing.assert_close(outputs["logits"], model(input_ids=IDS).logits.flatten(0, 1)[positions])

"""The output end of a model: its last layer, outputs in the unit of the labels, scores of masked tokens alone."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel

# Where transformers' sequence classification models keep their head, and where a head of several layers keeps its last.
HEADS = ("classifier", "score", "logits_proj")
LAST_LAYERS = ("out_proj", "linear_out")


def score_masked_tokens(model: PreTrainedModel) -> None:
    """Makes a masked language model score the hidden tokens alone, in place: the head is most of the work of a small one.

    The model then takes another input, `masked`: int64 tensor (masked tokens,), positions in the flattened (n, tokens)
    batch, which the collator computes so that no step waits for a GPU. Its `logits` are (masked tokens, ids), and its
    outputs have `masked`, too. Without that input it answers as before. What is saved of the model stays the same. A model
    that takes the input by itself is not changed.
    """
    if "masked" in signature(model.forward).parameters:
        return
    chosen: list[torch.Tensor] = []

    def before(module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        chosen[:] = [masked] if (masked := named.pop("masked", None)) is not None else []
        return arguments, named

    def choose(encoder: nn.Module, arguments: tuple[Any, ...], states: Any) -> Any:
        if chosen:
            states["last_hidden_state"] = states["last_hidden_state"].flatten(0, 1)[chosen[0]]
        return states

    def after(module: nn.Module, arguments: tuple[Any, ...], outputs: Any) -> Any:
        if chosen:
            outputs["masked"] = chosen.pop()
        return outputs

    model.register_forward_pre_hook(before, with_kwargs=True)
    model.base_model.register_forward_hook(choose)
    model.register_forward_hook(after)


def output_layer(model: nn.Module) -> nn.Module:
    """Returns the linear layer whose outputs are the model's, found by the name that the model itself gives it.

    Adapters (LoRA) are looked through: a head that is trained as a whole is returned as the adapter trains it, and a head
    with low-rank updates is returned with them.

    Raises:
        ValueError: The model does not end in a linear layer with a bias.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    if hasattr(inner, "members"):
        raise ValueError(
            f"{type(inner).__name__} has several last layers, one of each member: take one of the models that it was made of, "
            "such as the folder fold_0 of a cross-validation"
        )
    head = next((getattr(inner, name) for name in HEADS if hasattr(inner, name)), None)
    for _ in range(3):  # a wrapper of an adapter, a head of several layers, a wrapper of its last one
        if hasattr(head, "modules_to_save"):
            head = head.modules_to_save[head.active_adapters[0]]
        head = next((getattr(head, name) for name in LAST_LAYERS if hasattr(head, name)), head)
    if not isinstance(_linear(head), nn.Linear) or head.bias is None:
        raise ValueError(
            f"{type(inner).__name__} does not end in a linear layer with a bias: use another `model_type`, such as bert"
        )
    return head


@torch.no_grad()
def rescale_outputs(model: nn.Module, factor: Sequence[float], shift: Sequence[float]) -> None:
    """Changes the unit of a model's outputs in place: every output becomes output * factor + shift.

    With the labels' standard deviation and mean, a model that was trained on standardised labels answers in the labels'
    unit, also in a stock `pipeline`.

    Args:
        model: A model that `output_layer` accepts.
        factor, shift: One number for each output.
    """
    head = output_layer(model)
    layer = _linear(head)
    scale, offset = (_laid_out_as(layer.bias, values) for values in (factor, shift))
    layer.weight.copy_(layer.weight.double() * scale[:, None])
    layer.bias.copy_(layer.bias.double() * scale + offset)
    for update in getattr(head, "lora_B", {}).values():  # the output side of low-rank updates
        update.weight.copy_(update.weight.double() * scale[:, None])
        if update.bias is not None:
            update.bias.copy_(update.bias.double() * scale)
    for norms in getattr(head, "lora_magnitude_vector", {}).values():  # of the rows of the updated weights (DoRA)
        norms.weight.copy_(norms.weight.double() * scale.abs())


@contextmanager
def in_other_unit(model: nn.Module, factor: Sequence[float], shift: Sequence[float]) -> Iterator[None]:
    """Changes the unit of a model's outputs, as `rescale_outputs` does, and says so in its configuration, for a while.

    At the end, the model is what it was, bit by bit. Without numbers, nothing is changed.
    """
    if not len(factor):
        yield
        return
    weights = {name: weight.detach().clone() for name, weight in output_layer(model).named_parameters()}
    model.config.update({"outputs_in_label_units": True})
    try:
        rescale_outputs(model, factor, shift)
        yield
    finally:
        with torch.no_grad():
            for name, weight in output_layer(model).named_parameters():
                weight.copy_(weights[name])
        model.config.update({"outputs_in_label_units": False})


def _linear(head: nn.Module) -> nn.Module:
    """The layer below low-rank updates; other adapters of the head are not looked through."""
    return head.base_layer if isinstance(getattr(head, "lora_B", None), nn.ModuleDict) else head


def _laid_out_as(bias: torch.Tensor, values: Sequence[float]) -> torch.Tensor:
    """Values (outputs,) as float64, divided among processes as the bias is (fully sharded training)."""
    tensor = torch.tensor(values, dtype=torch.float64, device=bias.device)
    return distribute_tensor(tensor, bias.device_mesh, bias.placements) if isinstance(bias, DTensor) else tensor

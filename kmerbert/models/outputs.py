"""The output end of a model: losses that stay right on any number of processes, outputs in the labels' unit, alarms.

Stock models average their loss over a batch, which the Trainer then multiplies by the number of processes and of
accumulation steps. The losses here divide the summed loss by the number of items in the whole global batch instead.
"""

import logging
from collections.abc import Sequence
from inspect import signature
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel

logger = logging.getLogger(__name__)
IGNORED = -100  # a label that is missing or not to be guessed; the Trainer counts the others


def score_masked_tokens(model: PreTrainedModel) -> None:
    """Makes a masked language model score the hidden tokens alone, in place; its head is most of the work of a small one.

    The model then takes another input, `masked`: int64 tensor (masked tokens,), places in the flattened (n, tokens) batch,
    found by the collator, so that a GPU need not be waited for. Its `logits` are (masked tokens, ids), and its outputs have
    `masked`, too. Without that input it answers as before. What is saved of the model stays the same. A model that takes
    the input by itself is left alone.
    """
    if "masked" in signature(model.forward).parameters:
        return
    asked: list[torch.Tensor] = []

    def before(module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        asked[:] = [masked] if (masked := named.pop("masked", None)) is not None else []
        return arguments, named

    def choose(encoder: nn.Module, arguments: tuple[Any, ...], states: Any) -> Any:
        if asked:
            states["last_hidden_state"] = states["last_hidden_state"].flatten(0, 1)[asked[0]]
        return states

    def after(module: nn.Module, arguments: tuple[Any, ...], outputs: Any) -> Any:
        if asked:
            outputs["masked"] = asked.pop()
        return outputs

    model.register_forward_pre_hook(before, with_kwargs=True)
    model.base_model.register_forward_hook(choose)
    model.register_forward_hook(after)


def output_layer(model: PreTrainedModel) -> nn.Linear:
    """Returns the linear layer whose outputs are the model's.

    Raises:
        ValueError: when the model does not end in one.
    """
    layers = [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features == model.config.num_labels]
    if not layers or layers[-1].bias is None:
        raise ValueError(f"{type(model).__name__} does not end in a linear layer with a bias: use another --model_type")
    return layers[-1]


@torch.no_grad()
def rescale_outputs(model: PreTrainedModel, factor: list[float], shift: list[float]) -> None:
    """Changes the unit of a model's outputs in place: every output becomes output * factor + shift.

    With the labels' standard deviation and mean, a model that was trained on standardised labels answers in the labels'
    unit, also in a stock `pipeline`.

    Args:
        model: ends in a linear layer.
        factor, shift: one number for each output.
    """
    layer = output_layer(model)
    scale, offset = (_laid_out_as(layer.bias, values) for values in (factor, shift))
    layer.weight.copy_(layer.weight.double() * scale[:, None])
    layer.bias.copy_(layer.bias.double() * scale + offset)


def _laid_out_as(bias: torch.Tensor, values: Sequence[float]) -> torch.Tensor:
    """Values (outputs,) as float64, divided among processes where the bias is (fully sharded training)."""
    tensor = torch.tensor(values, dtype=torch.float64, device=bias.device)
    return distribute_tensor(tensor, bias.device_mesh, bias.placements) if isinstance(bias, DTensor) else tensor

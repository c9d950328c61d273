"""The output end of a model: losses that stay right on any number of processes, outputs in the labels' unit, alarms.

Stock models average their loss over a batch, which the Trainer then multiplies by the number of processes and of
accumulation steps. The losses here divide the summed loss by the number of items in the whole global batch instead.
"""

import logging
from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel

logger = logging.getLogger(__name__)
# Predictions whose spread is below this share of the labels' spread say the same about every sequence.
COLLAPSED = 0.05
IGNORED = -100  # a label that is missing or not to be guessed; the Trainer counts the others


def _items(known: torch.Tensor, num_items_in_batch: torch.Tensor | int | None) -> torch.Tensor:
    count = known.sum() if num_items_in_batch is None else torch.as_tensor(num_items_in_batch, device=known.device)
    return count.clamp(min=1)


def regression_loss(kind: str, scale: Sequence[float]) -> Callable[..., torch.Tensor]:
    """Returns a loss over the labels that are known.

    Args:
        kind: `mse`, the mean squared error; or `smooth_l1`, half the squared error for errors below one unit of the labels
            and the absolute error less a half above (Huber, doi:10.1214/aoms/1177703732), divided by the labels' scale.
        scale: of each output, in units of the labels: what standardised labels were divided by.

    Returns:
        A function of outputs (with `logits`, float tensor (n, outputs)), labels (float tensor (n, outputs), standardised;
        `IGNORED` where missing) and `num_items_in_batch` (known labels in the global batch; None to count this batch's),
        which gives a scalar tensor.

    Raises:
        ValueError: for another kind.
    """
    if kind not in ("mse", "smooth_l1"):
        raise ValueError(f"loss {kind!r}: allowed are mse and smooth_l1")

    def loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None) -> torch.Tensor:
        known = labels != IGNORED
        errors = (outputs["logits"].float() - labels).abs()
        if kind == "mse":
            losses = errors.square()
        else:
            unit = 1 / torch.tensor(scale, dtype=errors.dtype, device=errors.device)  # one unit of the labels
            losses = torch.where(errors < unit, errors.square() / (2 * unit), errors - unit / 2)
        return torch.where(known, losses, 0.0).sum() / _items(known, num_items_in_batch)

    return loss


def masked_lm_loss(
    outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
) -> torch.Tensor:
    """Cross-entropy over the tokens that are to be guessed.

    Args:
        outputs: with `logits`, float tensor (n, tokens, ids); or of a model that `score_masked_tokens` changed: `logits`,
            float tensor (masked tokens, ids), and `masked`, their places.
        labels: int64 tensor (n, tokens); `IGNORED` where nothing is to be guessed.
        num_items_in_batch: tokens to be guessed in the global batch; None to count this batch's.

    Returns:
        Scalar tensor, nats per token.
    """
    logits, wanted = outputs["logits"], labels.flatten()
    if "masked" in outputs:
        wanted = wanted[outputs["masked"]]
    loss = nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]).float(), wanted, ignore_index=IGNORED, reduction="sum"
    )
    return loss / _items(wanted != IGNORED, num_items_in_batch)


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


def warn_if_collapsed(spread: np.ndarray, names: Sequence[str]) -> list[str]:
    """Warns of outputs that say the same about every sequence, and returns their names.

    Args:
        spread: float array (outputs,), standard deviation of the predictions over that of the labels.
        names: of the outputs.
    """
    collapsed = [name for name, ratio in zip(names, spread, strict=True) if ratio < COLLAPSED]
    for name in collapsed:
        logger.warning(
            "%s: predictions hardly differ between sequences (their spread is below %.0f %% of the labels'). Normal in the "
            "first evaluations; later, try another --learning_rate, more epochs, or look at the labels",
            name,
            100 * COLLAPSED,
        )
    return collapsed

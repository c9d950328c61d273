"""How models are computed faster with the same result: which sums are formed, and by what; no model and no data of its own.

On a CPU, torch multiplies float32 matrices by MKL, which on AMD processors has half the speed of oneDNN; its fused attention
has a slow backward pass in bfloat16; and it draws dropout one number after the other. The functions here compute the same:
products and attention to rounding, dropout from the same generator but with other draws, so that a seed gives another,
equally random, mask than `torch.nn.Dropout`. Everywhere, a BERT that answers from its first token needs no more of its last
layer than that token.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, BertForSequenceClassification, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface, eager_mask

ATTENTION = "cpu_products"  # the name under which transformers finds `attention`
LEVELS = 1 << 15  # a probability is rounded to a 32,768th
# Relative error of a product of matrices; float32 stays well below, factors rounded to bfloat16 well above.
EXACT = 1e-5
INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


@cache
def onednn_is_exact() -> bool:
    """Tells whether oneDNN multiplies float32 matrices on this processor, and without rounding them to bfloat16.

    torch has one switch for "another library" and "may round". On processors that multiply bfloat16 faster (AMX) it rounds;
    on those without AVX-512 it changes nothing, and the result is that of the default to the last bit.
    """
    factors = torch.rand(512, 512, generator=torch.Generator().manual_seed(0))
    usual, exact = _product(factors, factors), factors.double() @ factors.double()
    with onednn_products():
        other = _product(factors, factors)
    return not torch.equal(other, usual) and bool(((other - exact).abs() < EXACT * exact).all())


def _product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return left @ right


@contextmanager
def onednn_products() -> Iterator[None]:
    """Leaves products of float32 matrices to oneDNN; right only where `onednn_is_exact`."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, p: float) -> torch.Tensor:
        level = round(p * LEVELS)
        # One draw of 64 bits decides over four values; 15 bits of each 16 count.
        draws = torch.empty((values.numel() + 3) // 4, dtype=torch.int64).random_(-(1 << 63), None)
        bits = draws.view(torch.int16)[: values.numel()].bitwise_and_(LEVELS - 1)
        # All bits set where a value stays, none where it goes: faster by far than choosing by a boolean mask.
        keep = bits.neg_().add_(level - 1).bitwise_right_shift_(15)
        ctx.keep = keep.to(INTEGERS[values.element_size()]).view(values.shape)
        ctx.scale = LEVELS / (LEVELS - level)
        return _masked(values, ctx)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _masked(gradient, ctx), None


def _masked(values: torch.Tensor, ctx: Any) -> torch.Tensor:
    return (values * ctx.scale).view(ctx.keep.dtype).bitwise_and_(ctx.keep).view(values.dtype)


def dropout(values: torch.Tensor, p: float, training: bool = True) -> torch.Tensor:
    """Sets values to zero at random and scales the others up, so that the expectation stays (arXiv:1207.0580).

    Args:
        values: float tensor of any shape, on a CPU.
        p: probability of a zero, 0 to 1 (1 not included), rounded to a 32,768th.
        training: otherwise the values come back as they are.
    """
    return _Dropped.apply(values, p) if training and p > 0 else values


class Dropout(nn.Dropout):
    """`torch.nn.Dropout` by `dropout`; without weights, like it."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if values.device.type != "cpu" or self.inplace:
            return super().forward(values)
        return dropout(values, self.p, self.training)


def attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **unused: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Scaled dot-product attention as two matrix products and a softmax, in the form that transformers asks for.

    Args:
        module: the layer that attends.
        query, key, value: float tensors (n, heads, tokens, width of a head), on a CPU.
        attention_mask: float tensor that broadcasts to (n, heads, tokens, tokens), added to the scores; None for nothing.
        scaling: factor of the scores; None for 1 / sqrt(width of a head).
        dropout: probability with which a weight is set to zero.

    Returns:
        What was attended to, (n, tokens, heads, width), and the weights, (n, heads, tokens, tokens), where
        there are any.
    """
    dropout = dropout if module.training else 0.0
    is_plain = query.dtype == torch.float32 and torch.get_float32_matmul_precision() == "highest"
    if is_plain and not dropout:  # torch's fused attention is the faster one here, and the slower one everywhere else
        found = nn.functional.scaled_dot_product_attention(query, key, value, attention_mask, scale=scaling)
        return found.transpose(1, 2).contiguous(), None
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = (query * scaling) @ key.transpose(-1, -2)
    weights = torch.softmax(scores if attention_mask is None else scores + attention_mask, dim=-1, dtype=torch.float32)
    weights = _dropout(weights.to(query.dtype), dropout)
    return (weights @ value).transpose(1, 2).contiguous(), weights


_dropout = dropout  # `attention` has an argument of this name


@contextmanager
def fast_prediction(models: Sequence[PreTrainedModel], bf16: bool) -> Iterator[None]:
    """Computes what a prediction needs and no more, by the fastest kernels that are as exact as those that torch takes.

    Everything is put back afterwards, so that a model that goes on training is as it was.

    Args:
        models: in evaluation mode, all on one device; they must be asked for nothing but their outputs meanwhile.
        bf16: whether they run in bfloat16 (torch.autocast).
    """
    on_processor = models[0].device.type == "cpu"
    with ExitStack() as stack:
        for model in models:
            stack.enter_context(first_token_only(model))
        if on_processor and (bf16 or onednn_is_exact()):
            for model in models:
                stack.callback(model.set_attn_implementation, model.config._attn_implementation)
                model.set_attn_implementation("eager")
            if not bf16:
                stack.enter_context(onednn_products())
        yield


@contextmanager
def fast_training(model: PreTrainedModel, device: torch.device | None = None) -> Iterator[None]:
    """Trains a model by the functions of this module; its weights and what is saved of it are those of any other.

    Args:
        model: its dropout layers, and its attention where that is torch's fused one, are replaced on a CPU, and stay so.
        device: that it will be trained on, which need not be where it still is (fully sharded training); None for that.
    """
    with ExitStack() as stack:
        stack.enter_context(first_token_only(model))
        if (device or model.device).type == "cpu":
            for module in list(model.modules()):
                for name, child in module.named_children():
                    if type(child) is nn.Dropout:
                        setattr(module, name, Dropout(child.p).train(child.training))
            if model.config._attn_implementation == "sdpa":
                AttentionInterface.register(ATTENTION, attention)
                AttentionMaskInterface.register(ATTENTION, eager_mask)
                model.set_attn_implementation(ATTENTION)
            if onednn_is_exact():
                stack.enter_context(onednn_products())
        yield


@contextmanager
def first_token_only(model: PreTrainedModel) -> Iterator[None]:
    """Makes the last layer of a BERT that answers from its first token compute that token alone; other models stay.

    Its `last_hidden_state` is (n, 1, width) meanwhile. Spares most of one layer's work.
    """
    if not isinstance(model, BertForSequenceClassification) or "flash" in (model.config._attn_implementation or ""):
        yield
        return
    layer = model.bert.encoder.layer[-1]
    attention = layer.attention.self

    def by_head(states: torch.Tensor) -> torch.Tensor:
        return states.unflatten(-1, (-1, attention.attention_head_size)).transpose(1, 2)

    def forward(states: torch.Tensor, attention_mask: torch.Tensor | None = None, *_: Any, **__: Any) -> torch.Tensor:
        first = states[:, :1]
        mixed = nn.functional.scaled_dot_product_attention(
            by_head(attention.query(first)),
            by_head(attention.key(states)),
            by_head(attention.value(states)),
            attn_mask=None if attention_mask is None else attention_mask[:, :, :1],
            dropout_p=attention.dropout.p if attention.training else 0.0,
        )
        return layer.feed_forward_chunk(layer.attention.output(mixed.transpose(1, 2).flatten(2), first))

    layer.forward = forward
    try:
        yield
    finally:
        del layer.forward  # the class's own shows again

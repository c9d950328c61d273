"""Models computed faster with the same result: which products are formed, and by which library.

What each gains was measured on the recipes that people run (`benchmarks/speed/kernels.py`, docs/speed.md): a BERT that
answers from its first token needs only that token of its last layer; in bfloat16 on a CPU, torch's fused attention has a
slow backward pass; and on AMD processors MKL multiplies float32 matrices more slowly than oneDNN (half as fast on some).
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import torch
from torch import nn
from transformers import BertForSequenceClassification, PreTrainedModel

# Relative error of a product of matrices: float32 stays well below, factors rounded to bfloat16 are well above.
EXACT = 1e-5


@contextmanager
def fast_kernels(models: Sequence[PreTrainedModel], bf16: bool, device: torch.device | None = None) -> Iterator[None]:
    """Computes models by the fastest kernels that are as exact as torch's default; everything is restored afterwards.

    Args:
        models: On one device. Only their outputs may be used meanwhile.
        bf16: Whether they run in bfloat16 (torch.autocast).
        device: Device that they will run on, which need not be where they still are (fully sharded training); None for
            that of the first model.
    """
    is_cpu = (device or models[0].device).type == "cpu"
    with ExitStack() as stack:
        for model in models:
            stack.enter_context(first_token_only(model))
        if is_cpu and (bf16 or onednn_is_exact()):
            for model in models:
                if model.config._attn_implementation == "sdpa":
                    stack.callback(model.set_attn_implementation, "sdpa")
                    model.set_attn_implementation("eager")
            if not bf16:
                stack.enter_context(onednn_products())
        yield


@cache
def onednn_is_exact() -> bool:
    """Tells whether oneDNN multiplies float32 matrices on this processor without rounding them to bfloat16.

    torch has one switch for "another library" and "may round". On processors that multiply bfloat16 faster (AMX) it rounds;
    on those without AVX-512 it changes nothing, and the result is that of the default to the last bit.
    """
    factors = torch.rand(512, 512, generator=torch.Generator().manual_seed(0))
    default, exact = _product(factors, factors), factors.double() @ factors.double()
    with onednn_products():
        other = _product(factors, factors)
    return not torch.equal(other, default) and bool(((other - exact).abs() < EXACT * exact).all())


def _product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return left @ right


@contextmanager
def onednn_products() -> Iterator[None]:
    """Leaves products of float32 matrices to oneDNN; right only if `onednn_is_exact`."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def first_token_only(model: PreTrainedModel) -> Iterator[None]:
    """Makes the last layer of a BERT that answers from its first token compute that token alone; other models stay.

    Its `last_hidden_state` is (n, 1, width) meanwhile. Saves most of one layer's work.
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
        del layer.forward  # the class's own is visible again

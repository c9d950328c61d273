"""Losses that stay right on any number of processes.

Stock models average their loss over a batch, which the Trainer then multiplies by the number of processes and of
accumulation steps. The losses here divide the summed loss by the number of items in the whole global batch instead.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from kmerbert.tokens.targets import IGNORED

Outputs = Mapping[str, torch.Tensor]
Loss = Callable[[Outputs, torch.Tensor, torch.Tensor | int | None], torch.Tensor]


def _n_items(known: torch.Tensor, num_items_in_batch: torch.Tensor | int | None) -> torch.Tensor:
    count = known.sum() if num_items_in_batch is None else torch.as_tensor(num_items_in_batch, device=known.device)
    return count.clamp(min=1)


def regression_loss(kind: str, scale: Sequence[float]) -> Loss:
    """Returns a loss over the labels that are known.

    Args:
        kind: `mse`, the mean squared error; or `smooth_l1`, half the squared error for errors below one unit of the labels
            and the absolute error minus a half above (Huber, doi:10.1214/aoms/1177703732), divided by the labels' scale.
        scale: Of each output, in units of the labels: what standardised labels were divided by.

    Returns:
        A function of outputs (with `logits`, float tensor (n, outputs)), labels (float tensor (n, outputs), standardised;
        `IGNORED` where missing) and `num_items_in_batch` (known labels in the global batch; None to count this batch's),
        which returns a scalar tensor.

    Raises:
        ValueError: The kind is another one.
    """
    if kind not in ("mse", "smooth_l1"):
        raise ValueError(f"`loss` {kind!r}: allowed are mse and smooth_l1")

    def loss(
        outputs: Outputs, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        known = labels != IGNORED
        errors = (outputs["logits"].float() - labels).abs()
        if kind == "mse":
            losses = errors.square()
        else:
            unit = 1 / torch.tensor(scale, dtype=errors.dtype, device=errors.device)  # one unit of the labels
            losses = torch.where(errors < unit, errors.square() / (2 * unit), errors - unit / 2)
        return torch.where(known, losses, 0.0).sum() / _n_items(known, num_items_in_batch)

    return loss


def masked_lm_loss(
    outputs: Outputs, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
) -> torch.Tensor:
    """Cross-entropy over the tokens that are to be predicted.

    Args:
        outputs: With `logits`, float tensor (n, tokens, ids); or of a model that `score_masked_tokens` changed: `logits`,
            float tensor (masked tokens, ids), and `masked`, their positions.
        labels: int64 tensor (n, tokens); `IGNORED` where nothing is to be predicted.
        num_items_in_batch: Tokens to be predicted in the global batch; None to count this batch's.

    Returns:
        Scalar tensor, nats per token.
    """
    logits, truth = outputs["logits"], labels.flatten()
    if "masked" in outputs:
        truth = truth[outputs["masked"]]
    loss = nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]).float(), truth, ignore_index=IGNORED, reduction="sum"
    )
    return loss / _n_items(truth != IGNORED, num_items_in_batch)

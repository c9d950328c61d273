"""Losses: by hand, against torch's own, over the items of the global batch, and what is missing."""

import pytest
import torch

from kmerbert.tokens.targets import IGNORED
from kmerbert.training.losses import Loss, masked_lm_loss, regression_loss
from tests.support.messages import fails

MSE = regression_loss("mse", [1.0])


def outputs(values: list) -> dict[str, torch.Tensor]:
    """What a model returns, as far as the losses read it."""
    return {"logits": torch.tensor(values)}


def test_mean_squared_error_by_hand() -> None:
    predicted = outputs([[1.0, 2.0], [3.0, 5.0]])
    assert MSE(predicted, torch.tensor([[0.0, 4.0], [3.0, 2.0]])) == pytest.approx((1 + 4 + 0 + 9) / 4)


def test_smooth_l1_counts_in_units_of_the_labels() -> None:
    """Standardised by 4 and 0.5: equal to torch's on the labels themselves, but for the scale."""
    torch.manual_seed(0)
    scale, predicted, labels = torch.tensor([4.0, 0.5]), 3 * torch.randn(50, 2), torch.randn(50, 2)
    loss = regression_loss("smooth_l1", scale.tolist())({"logits": predicted}, labels)
    raw = torch.nn.functional.smooth_l1_loss(predicted * scale, labels * scale, reduction="none") / scale
    assert loss == pytest.approx(raw.mean().item(), rel=1e-6)


def test_smooth_l1_by_hand() -> None:
    # Labels were divided by 2, so that errors of 0.25 and 3 are 0.5 and 6 units: (0.5**2 / 2 + (6 - 0.5)) / 2 / 2 outputs.
    loss = regression_loss("smooth_l1", [2.0, 2.0])
    assert loss(outputs([[0.25, -3.0]]), torch.zeros(1, 2)) == pytest.approx((0.125 + 5.5) / 2 / 2)
    missing = torch.tensor([[IGNORED, 0.0]])
    assert regression_loss("smooth_l1", [1.0, 1.0])(outputs([[7.0, 3.0]]), missing) == pytest.approx(2.5)


def test_a_loss_that_does_not_exist() -> None:
    with fails("`loss` 'mae'", "mse", "smooth_l1"):
        regression_loss("mae", [1.0])


def test_missing_labels_do_not_count() -> None:
    logits = torch.tensor([[1.0, 2.0], [3.0, float(IGNORED)]], requires_grad=True)
    loss = MSE({"logits": logits}, torch.tensor([[0.0, IGNORED], [5.0, IGNORED]]))
    assert loss.item() == pytest.approx((1 + 4) / 2)
    loss.backward()
    assert logits.grad.tolist() == [[1.0, 0.0], [-2.0, 0.0]]


@pytest.mark.parametrize("count", [8, torch.tensor(8)])
def test_losses_divide_by_the_items_of_the_global_batch(count: int | torch.Tensor) -> None:
    assert MSE(outputs([[1.0], [3.0]]), torch.tensor([[0.0], [IGNORED]]), count) == pytest.approx(1 / 8)
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


def test_masked_tokens_alone_have_the_loss_of_the_whole() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 9, 11), torch.randint(0, 11, (6, 9))
    labels[torch.rand(6, 9) < 0.5] = IGNORED
    masked = torch.nonzero(labels.flatten() != IGNORED)[:, 0]
    compact = {"logits": logits.flatten(0, 1)[masked], "masked": masked}
    torch.testing.assert_close(masked_lm_loss(compact, labels), masked_lm_loss({"logits": logits}, labels))


@pytest.mark.parametrize("loss", [MSE, masked_lm_loss])
def test_nothing_to_learn_is_a_loss_of_zero(loss: Loss) -> None:
    is_mlm = loss is masked_lm_loss
    logits = torch.ones((2, 3, 4) if is_mlm else (2, 3), requires_grad=True)
    value = loss({"logits": logits}, torch.full((2, 3), IGNORED if is_mlm else float(IGNORED)))
    value.backward()
    assert value == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("loss", [MSE, masked_lm_loss])
def test_losses_are_float32_for_bf16_outputs(loss: Loss) -> None:
    logits = torch.ones(2, 3, 4) if loss is masked_lm_loss else torch.ones(2, 3)
    labels = torch.zeros(2, 3, dtype=torch.int64 if loss is masked_lm_loss else torch.float32)
    assert loss({"logits": logits.bfloat16()}, labels).dtype == torch.float32

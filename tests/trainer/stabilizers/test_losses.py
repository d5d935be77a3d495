import math

import pytest
import torch

from gyrostat.spec.losses import CrossEntropy, Mse
from trainer.stabilizers import losses

LOGITS = [[2.0, -1.0, 0.5], [0.0, 0.0, 0.0], [-3.0, 4.0, 1.0]]
CLASSES = [0, 2, 2]


def by_the_formula() -> float:
    rows = zip(LOGITS, CLASSES, strict=True)
    return sum(-math.log(math.exp(row[y]) / sum(map(math.exp, row))) for row, y in rows) / 3


def test_cross_entropy_is_the_mean_of_minus_log_softmax():
    loss = losses.build(CrossEntropy(), "classification")
    value = loss(torch.tensor(LOGITS, dtype=torch.float64), torch.tensor(CLASSES))
    assert value.item() == pytest.approx(by_the_formula(), rel=1e-12)


def test_cross_entropy_of_sequences_is_the_mean_over_samples_and_positions():
    loss = losses.build(CrossEntropy(), "language_model")
    logits = torch.tensor([LOGITS, LOGITS], dtype=torch.float64)
    assert loss(logits, torch.tensor([CLASSES, CLASSES])).item() == pytest.approx(by_the_formula(), rel=1e-12)


def test_mean_squared_error():
    loss = losses.build(Mse(), "regression")
    assert loss(torch.tensor([[1.0], [4.0]]), torch.tensor([[3.0], [3.0]])).item() == pytest.approx((4 + 1) / 2)


def test_each_task_has_a_loss_of_its_own():
    assert losses.build(None, "regression") is losses.mse
    assert losses.build(None, "classification") is losses.cross_entropy
    assert losses.build(None, "language_model") is losses.cross_entropy


@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.mse])
def test_gradients_agree_with_finite_differences(loss):
    outputs = torch.tensor(LOGITS, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor(CLASSES) if loss is losses.cross_entropy else torch.zeros(3, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda z: loss(z, targets), outputs)

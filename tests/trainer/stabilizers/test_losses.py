import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from scipy.stats import entropy

from gyrostat.spec.contrastive import InfoNce
from gyrostat.spec.losses import ConfidencePenalty, CrossEntropy, Focal, LabelSmoothing, Mse
from gyrostat.spec.regularization import Regularization
from trainer.stabilizers import losses

LOGITS = [[2.0, -1.0, 0.5], [0.0, 0.0, 0.0], [-3.0, 4.0, 1.0]]
CLASSES = [0, 2, 2]
Z = torch.tensor(LOGITS, dtype=torch.float64)
Y = torch.tensor(CLASSES)
SOFT = torch.tensor([[0.7, 0.3, 0.0], [0.2, 0.2, 0.6], [0.0, 0.5, 0.5]], dtype=torch.float64)
COUNTS = torch.tensor([60, 30, 10])
SETTINGS = [
    CrossEntropy(),
    CrossEntropy(class_weights="balanced"),
    Focal(),
    Focal(gamma=0.5, class_weights=[1.0, 2.0, 4.0]),
]


def by_the_formula() -> float:
    rows = zip(LOGITS, CLASSES, strict=True)
    return sum(-math.log(math.exp(row[y]) / sum(map(math.exp, row))) for row, y in rows) / 3


def built(settings):
    return losses.build(settings, "classification", COUNTS)


def test_cross_entropy_is_the_mean_of_minus_log_softmax():
    assert losses.build(CrossEntropy(), "classification")(Z, Y).item() == pytest.approx(by_the_formula(), rel=1e-12)


def test_cross_entropy_of_sequences_is_the_mean_over_samples_and_positions():
    loss = losses.build(CrossEntropy(), "language_model")
    assert loss(torch.stack([Z, Z]), torch.stack([Y, Y])).item() == pytest.approx(by_the_formula(), rel=1e-12)


@pytest.mark.parametrize("settings", SETTINGS, ids=repr)
@pytest.mark.parametrize("soft", [False, True])
def test_pixels_are_samples(settings, soft):
    loss, source = built(settings), torch.Generator().manual_seed(0)
    scores = torch.randn(2, 3, 4, 5, generator=source, dtype=torch.float64)
    targets = torch.randint(3, (2, 4, 5), generator=source)
    flat = scores.permute(0, 2, 3, 1).reshape(-1, 3)
    if soft:
        spread = torch.rand(2, 3, 4, 5, generator=source, dtype=torch.float64)
        assert torch.allclose(loss(scores, spread), loss(flat, spread.permute(0, 2, 3, 1).reshape(-1, 3)), rtol=1e-12)
    else:
        assert torch.allclose(loss(scores, targets), loss(flat, targets.flatten()), rtol=1e-12)


def test_mean_squared_error():
    loss = losses.build(Mse(), "regression")
    assert loss(torch.tensor([[1.0], [4.0]]), torch.tensor([[3.0], [3.0]])).item() == pytest.approx((4 + 1) / 2)


def test_each_task_has_a_loss_of_its_own():
    assert losses.build(None, "regression") is losses.mse
    assert losses.build(None, "classification") is losses.cross_entropy
    assert losses.build(None, "language_model") is losses.cross_entropy
    z, groups = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.arange(3).repeat(2)
    assert losses.build(None, "contrastive")(z, groups) == losses.build(InfoNce(), "contrastive")(z, groups)


def test_balanced_weights_give_every_class_the_same_say_and_have_a_mean_of_one_over_the_training_labels():
    weights = losses.class_weights("balanced", COUNTS)
    shares = COUNTS / COUNTS.sum()
    assert (weights * shares).sum().item() == pytest.approx(1)
    assert (weights * shares).tolist() == pytest.approx([1 / 3] * 3)


def test_listed_weights_keep_their_ratios_and_have_a_mean_of_one_over_the_training_labels():
    weights = losses.class_weights([1.0, 2.0, 4.0], COUNTS)
    assert (weights / weights[0]).tolist() == pytest.approx([1, 2, 4])
    assert (weights * COUNTS).sum().item() == pytest.approx(100)


def test_a_class_without_training_labels_has_a_finite_weight():
    weights = losses.class_weights("balanced", torch.tensor([6, 0, 2]))
    assert weights.isfinite().all()
    assert (weights * torch.tensor([6, 0, 2])).sum().item() == pytest.approx(8)


def test_as_many_weights_as_classes_are_wanted():
    with pytest.raises(ValueError, match="2 weights for 3 classes; give one each"):
        losses.class_weights([1.0, 2.0], COUNTS)
    with pytest.raises(ValueError, match="counts of the training labels"):
        losses.class_weights("balanced", None)


def test_weighted_cross_entropy_is_the_formula_and_is_never_divided_by_the_batch_s_own_weights():
    weights = losses.class_weights([1.0, 2.0, 4.0], COUNTS).double().numpy()
    expected = -(weights[CLASSES] * log_softmax(np.array(LOGITS), 1)[range(3), CLASSES]).sum() / 3
    loss = built(CrossEntropy(class_weights=[1.0, 2.0, 4.0]))
    assert loss(Z, Y).item() == pytest.approx(expected, rel=1e-6)
    parts = sum(loss(Z[i : i + 1], Y[i : i + 1]).item() for i in range(3)) / 3
    assert loss(Z, Y).item() == pytest.approx(parts, rel=1e-9)


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 4.0]])
@pytest.mark.parametrize("targets", [Y, SOFT], ids=["hard", "soft"])
def test_focal_loss_at_gamma_zero_is_cross_entropy(weights, targets):
    focal, plain = built(Focal(gamma=0.0, class_weights=weights)), built(CrossEntropy(class_weights=weights))
    assert focal(Z, targets).item() == pytest.approx(plain(Z, targets).item(), rel=1e-12)


@pytest.mark.parametrize("gamma", [0.5, 2.0, 5.0])
def test_focal_loss_is_its_formula(gamma):
    p = softmax(np.array(LOGITS), 1)[range(3), CLASSES]
    expected = -((1 - p) ** gamma * np.log(p)).mean()
    assert built(Focal(gamma=gamma))(Z, Y).item() == pytest.approx(expected, rel=1e-9)


def test_focal_loss_and_its_derivatives_are_finite_where_a_sample_is_as_good_as_certain():
    z = torch.tensor([[80.0, -80.0], [-80.0, 80.0]], requires_grad=True)
    value = losses.focal(z, torch.tensor([0, 0]), 0.5)
    (first,) = torch.autograd.grad(value, z, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), z)
    assert value.isfinite()
    assert first.isfinite().all()
    assert second.isfinite().all()


@pytest.mark.parametrize("settings", SETTINGS, ids=repr)
def test_soft_targets_mix_the_losses_of_their_classes(settings):
    loss = built(settings)
    expected = sum((SOFT[i, k] * loss(Z[i : i + 1], torch.tensor([k]))).item() for i in range(3) for k in range(3))
    assert loss(Z, SOFT).item() == pytest.approx(expected / 3, rel=1e-9)


@pytest.mark.parametrize("settings", [*SETTINGS, Mse()], ids=repr)
def test_gradients_agree_with_finite_differences_once_and_twice(settings):
    loss, outputs = built(settings), Z.clone().requires_grad_()
    targets = SOFT if isinstance(settings, Mse) else Y
    assert torch.autograd.gradcheck(lambda z: loss(z, targets), outputs)
    assert torch.autograd.gradgradcheck(lambda z: loss(z, targets), outputs)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("settings", [*SETTINGS, Mse()], ids=repr)
def test_half_precision_scores_are_compared_in_single(settings, dtype):
    loss, scores = built(settings), Z.to(dtype)
    targets = SOFT.float() if isinstance(settings, Mse) else Y
    assert loss(scores, targets).dtype == torch.float32
    assert torch.equal(loss(scores, targets), loss(scores.float(), targets))


@pytest.mark.parametrize("targets", [Y, SOFT], ids=["hard", "soft"])
def test_label_smoothing_is_the_cross_entropy_with_its_distribution(targets):
    hard = np.eye(3)[CLASSES] if targets is Y else SOFT.numpy()
    expected = -((0.9 * hard + 0.1 / 3) * log_softmax(np.array(LOGITS), 1)).sum(1).mean()
    settings = Regularization(label_smoothing=LabelSmoothing(epsilon=0.1))
    loss = losses.regularized(losses.cross_entropy, settings)
    assert loss(Z, targets).item() == pytest.approx(expected, rel=1e-12)
    if targets is Y:
        torchs = torch.nn.functional.cross_entropy(Z, Y, label_smoothing=0.1)
        assert loss(Z, Y).item() == pytest.approx(torchs.item(), rel=1e-12)


def test_label_smoothing_of_pixels_and_of_sequences_is_that_of_each():
    source = torch.Generator().manual_seed(1)
    scores, targets = torch.randn(2, 3, 4, 5, generator=source), torch.randint(3, (2, 4, 5), generator=source)
    smoothed = losses.smoothed(targets, scores, 0.3)
    assert smoothed.shape == scores.shape
    assert torch.allclose(smoothed.sum(1), torch.ones(2, 4, 5))
    assert torch.equal(smoothed.argmax(1), targets)
    flat = losses.smoothed(targets.flatten(1), scores.flatten(2).movedim(1, -1), 0.3)
    assert torch.equal(flat, smoothed.flatten(2).movedim(1, -1))


def test_the_confidence_penalty_takes_the_entropy_off():
    settings = Regularization(confidence_penalty=ConfidencePenalty(weight=0.5))
    loss = losses.regularized(losses.cross_entropy, settings)
    expected = by_the_formula() - 0.5 * entropy(softmax(np.array(LOGITS), 1), axis=1).mean()
    assert loss(Z, Y).item() == pytest.approx(expected, rel=1e-12)
    assert torch.autograd.gradgradcheck(lambda z: loss(z, Y), Z.clone().requires_grad_())


def test_without_regularization_the_training_loss_is_the_loss():
    assert torch.equal(losses.regularized(losses.cross_entropy, Regularization())(Z, Y), losses.cross_entropy(Z, Y))

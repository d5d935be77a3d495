import itertools

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.metrics import jaccard_score, recall_score

from trainer.tasks.tallies import (
    calibration_gaps,
    expected_calibration_error,
    mean_iou,
    overlap_shares,
    recall_shares,
    worst_recall,
)


def samples(count=500, classes=4, seed=0):
    source = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, classes, generator=source)
    return logits, torch.randint(classes, (count,), generator=source)


def in_batches(tally, logits, targets, sizes=(200, 200, 100)):
    """As validation does it: means of batches, weighted by their samples."""
    parts = zip(logits.split(list(sizes)), targets.split(list(sizes)), strict=True)
    return sum(tally(z, y) * len(y) for z, y in parts) / len(targets)


def test_the_calibration_error_is_that_of_all_samples_together_however_they_came():
    logits, targets = samples()
    probabilities = softmax(logits.double().numpy(), 1)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == targets.numpy()
    edges, expected = np.linspace(0, 1, 16), 0.0
    for low, high in itertools.pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    got = expected_calibration_error(in_batches(calibration_gaps, logits, targets))
    assert got.item() == pytest.approx(expected, abs=1e-6)
    assert expected > 0.1


def test_sure_and_right_is_calibrated_and_sure_and_wrong_is_not():
    logits = 100 * torch.eye(3)
    assert expected_calibration_error(calibration_gaps(logits, torch.arange(3))).item() == pytest.approx(0)
    assert expected_calibration_error(calibration_gaps(logits, torch.tensor([1, 2, 0]))).item() == pytest.approx(1)


def test_the_worst_recall_is_scikit_learns_smallest():
    logits, targets = samples()
    expected = recall_score(targets.numpy(), logits.argmax(1).numpy(), average=None).min()
    assert worst_recall(in_batches(recall_shares, logits, targets)).item() == pytest.approx(expected, rel=1e-5)


def test_a_class_that_is_not_there_has_no_recall():
    assert worst_recall(recall_shares(torch.eye(5)[[0, 1, 3]], torch.tensor([0, 1, 3]))).item() == 1
    assert worst_recall(recall_shares(torch.eye(5)[:2], torch.tensor([0, 0]))).item() == pytest.approx(0.5)


def test_the_mean_iou_is_scikit_learns_over_all_pixels():
    source = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(6, 3, 4, 5, generator=source), torch.randint(3, (6, 4, 5), generator=source)
    expected = jaccard_score(targets.flatten().numpy(), logits.argmax(1).flatten().numpy(), average="macro")
    assert mean_iou(in_batches(overlap_shares, logits, targets, (4, 2))).item() == pytest.approx(expected, rel=1e-5)


def test_a_class_that_is_neither_there_nor_said_counts_for_nothing():
    targets = torch.tensor([[[0, 1], [1, 1]]])
    logits = torch.nn.functional.one_hot(targets, 4).movedim(-1, 1).float()
    assert mean_iou(overlap_shares(logits, targets)).item() == pytest.approx(1)

"""What is counted over all held-out samples: means over a batch's samples, which add up, and metrics made of them."""

import torch
from torch import Tensor
from torch.nn import functional

CALIBRATION_BINS = 15
"""As in Guo et al. 2017."""


def calibration_gaps(logits: Tensor, targets: Tensor) -> Tensor:
    """(bins,): in each bin of confidence, the samples' sum of (right − confidence), over all N samples of the batch.

    `logits` is (N, K), `targets` (N,) class numbers; confidence is the largest probability, bins are equally wide.
    """
    confidence, predicted = logits.float().softmax(1).max(1)
    bins = (confidence * CALIBRATION_BINS).ceil().long().sub(1).clamp(0, CALIBRATION_BINS - 1)
    return _shares(bins, (predicted == targets).float() - confidence, CALIBRATION_BINS)


def expected_calibration_error(gaps: Tensor) -> Tensor:
    """Σ_b (n_b/N)·|accuracy_b − confidence_b| from the mean of `calibration_gaps` over all samples.

    Source: Guo et al. 2017, arXiv 1706.04599, eq. 3.
    """
    return gaps.abs().sum()


def recall_shares(logits: Tensor, targets: Tensor) -> Tensor:
    """(2, K): the share of the batch that is of each class, and that is of it and classified so."""
    classes = logits.shape[1]
    right = (logits.argmax(1) == targets).float()
    return torch.stack([_shares(targets, torch.ones_like(right), classes), _shares(targets, right, classes)])


def worst_recall(shares: Tensor) -> Tensor:
    """The smallest recall of any class that was there, from the mean of `recall_shares`; 0-dim."""
    present, right = shares.unbind()
    return torch.where(present > 0, right / present.clamp_min(torch.finfo(present.dtype).tiny), 1.0).min()


def overlap_shares(logits: Tensor, targets: Tensor) -> Tensor:
    """(3, K): the share of pixels that are of a class, that are said to be, and both.

    `logits` is (N, K, H, W), `targets` (N, H, W).
    """
    classes, said, wanted = logits.shape[1], logits.argmax(1).flatten(), targets.flatten()
    both = (said == wanted).float()
    every = torch.ones_like(both)
    return torch.stack([_shares(wanted, every, classes), _shares(said, every, classes), _shares(wanted, both, classes)])


def mean_iou(shares: Tensor) -> Tensor:
    """Intersection over union, mean over the classes that are there or are said to be; 0-dim.

    Source: Everingham et al. 2010, International Journal of Computer Vision 88.
    """
    wanted, said, both = shares.unbind()
    union = wanted + said - both
    seen = union > 0
    overlaps = torch.where(seen, both / torch.where(seen, union, 1.0), 0.0)
    return overlaps.sum() / seen.sum()


def _shares(places: Tensor, values: Tensor, length: int) -> Tensor:
    """(length,): the sum of `values` (N,) at each of their `places` (N,), over N."""
    # by indicators: the order of summation is fixed on every device, and autocast leaves elementwise products alone
    return (functional.one_hot(places, length) * values.unsqueeze(1)).sum(0) / len(values)

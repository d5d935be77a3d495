"""How much of the classes a linear classifier finds in frozen features."""

import torch
from torch import Tensor
from torch.nn import functional

RIDGE = 1e-2
"""λ: of the penalty λ·n·‖W‖² on the weights of standardized features."""


def probe_accuracy(features: Tensor, labels: Tensor, others: Tensor, wanted: Tensor, classes: int) -> Tensor:
    """Share of `others` (m, F) that ridge regression onto one-hot labels, fit to `features` (n, F), classifies rightly.

    Solved exactly, in float64 (float32 on Apple's): W = Xᵀ(XXᵀ + λnI)⁻¹Y, which is small where there are more features
    than samples. NaN where features are not finite; 0-dim, nothing is waited for.

    Source: Alain and Bengio 2016, arXiv 1610.01644 (linear probes); Hoerl and Kennard 1970, Technometrics 12 (ridge).
    """
    wide = torch.float32 if features.device.type == "mps" else torch.float64
    known, unknown = features.to(wide), others.to(wide)
    mean, deviation = known.mean(0), known.std(0, correction=0)
    scale = torch.where(deviation > 0, deviation, 1.0)
    known, unknown = (known - mean) / scale, (unknown - mean) / scale
    targets = functional.one_hot(labels, classes).to(wide)
    offset = targets.mean(0)
    ridge = RIDGE * len(known) * torch.eye(len(known), dtype=known.dtype, device=known.device)
    solution, _ = torch.linalg.solve_ex(known @ known.T + ridge, targets - offset)
    scores = unknown @ (known.T @ solution) + offset
    share = (scores.argmax(1) == wanted).float().mean()
    return torch.where(scores.isfinite().all(), share, torch.nan)

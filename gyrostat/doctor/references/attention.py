"""Attention heads, from softmax(q·kᵀ/√d) written out."""

import numpy as np
from torch import Tensor

from gyrostat.doctor.moment import Array, Moment
from gyrostat.doctor.references.registry import Values, reference
from gyrostat.spec.probes import AttentionProbe


def logits(queries: Tensor, keys: Tensor, values: Tensor) -> Array:
    """(sequences, heads, T, T) of the sequences that the probe looks at."""
    some = AttentionProbe().sequences
    q, k = queries[:some].numpy(), keys[:some].numpy()
    found: Array = np.einsum("nhtd,nhsd->nhts", q, k) / np.sqrt(q.shape[-1])
    return found


@reference("attention.max_logit", floor=0.1)
def max_logit(moment: Moment) -> Values:
    """Largest of each head."""
    return {
        f"{name}#{head}": float(logits(*inputs)[:, head].max())
        for name, inputs in moment.attended.items()
        for head in range(inputs[0].shape[1])
    }


@reference("attention.entropy")
def entropy(moment: Moment) -> Values:
    """Mean of −Σ p·ln p over queries."""
    found = {}
    for name, inputs in moment.attended.items():
        weights = np.exp(logits(*inputs))
        weights /= weights.sum(-1, keepdims=True)
        for head in range(weights.shape[1]):
            found[f"{name}#{head}"] = float(-(weights * np.log(weights)).sum(-1)[:, head].mean())
    return found

"""How alike two sets of features of the same samples are: linear centered kernel alignment, unbiased by few samples.

With K = XXᵀ and L = YYᵀ, centered kernel alignment is HSIC(K, L)/√(HSIC(K, K)·HSIC(L, L)) (Kornblith et al. 2019, arXiv
1905.00414, eq. 3). The plain estimate of HSIC calls independent features alike when there are more of them than
samples; here it is the unbiased one (Song et al. 2012, Journal of Machine Learning Research 13, eq. 5; used so by
Nguyen, Raghu and Kornblith 2020, arXiv 2010.15327, eq. 3). That is an inner product of matrices, each U-centered by
itself (Székely and Rizzo 2014, arXiv 1310.2926, definition 2 and proposition 1), which is all that is kept of features.
"""

import torch
from torch import Tensor

MIN_SAMPLES = 4
"""With fewer, U-centered matrices are zero."""

_VARIATION = 1e-12
"""Features whose U-centered Gram matrix is no larger than this, relative to their square, vary by rounding only."""


def signature(features: Tensor) -> Tensor:
    """(n(n−1)/2,) of features (n, F): above the diagonal, their U-centered Gram matrix, scaled to unit length.

    Unchanged by rotations of the features, by one factor on all of them and by offsets. All zero where the features do
    not vary over samples (or over one sample alone); NaN where one is not finite. Computed in the type of `features`:
    float64 keeps small variation beside large offsets. `n` is at least 4.
    """
    count = len(features)
    centered = features - features.mean(0)
    gram = (centered @ centered.mT).fill_diagonal_(0)
    rows = gram.sum(1) / (count - 2)
    gram = gram - rows - rows.unsqueeze(1) + rows.sum() / (count - 1)
    above = gram[*torch.triu_indices(count, count, 1, device=features.device)]
    length = above.norm()
    flat = length <= _VARIATION * features.square().sum()
    return torch.where(flat, 0.0, above / length)


def alignment(one: Tensor, other: Tensor) -> Tensor:
    """Centered kernel alignment of two sets of features by their signatures, 0-dim, at most 1.

    1 where one set is a rotation, scaling and shift of the other; 0 in expectation, and so as often below as above,
    where they are independent. 0 too where one does not vary.
    """
    return torch.dot(one, other)

"""The largest singular values of many linear maps at once, from products with them.

Nothing here knows models or probes. B maps A from (n,) to (m,) are given by their `Gram`. Vectors are rows, floating,
on one device.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_LONG = 256
"""Length of vectors from which, on a CPU, many products cost less than a batched one."""

Gram = Callable[[Tensor], tuple[Tensor, Tensor]]
"""(B, n) vectors v, one for each map, to A·v (B, m) and Aᵀ·A·v (B, n)."""


@dataclass(frozen=True, eq=False)
class Largest:
    """Estimates, one for each map.

    Attributes:
        values: (B,) float64 σ₁; NaN where a product was not finite.
        vectors: (B, n) their right singular vectors, of length 1; 0 where there is none.
        errors: (B,) estimated relative errors.
        products: pairs of products, with A and Aᵀ, that the slowest took.
    """

    values: np.ndarray
    vectors: Tensor
    errors: np.ndarray
    products: int


def largest_singular_values(
    gram: Gram, start: Tensor, *, tolerance: float, max_products: int, max_basis: int = 64
) -> Largest:
    """By Lanczos on AᵀA with full reorthogonalization (Parlett 1998, The Symmetric Eigenvalue Problem, chapter 13).

    With the Ritz pair (θ, y) and its residual r = ‖AᵀAy − θy‖, the square of some singular value lies within r of θ,
    which makes √θ right to r/2θ; √θ never exceeds σ₁. A map is done when that is `tolerance`. The first product is one
    power iteration, and further ones make more of the same products than powers do, whose error shrinks with the ratio
    of the two largest singular values, close to 1 in a random matrix.

    Args:
        gram: the maps.
        start: (B, n), no row zero. Near the singular vector it makes it fast, and needs a random part: of what is
            orthogonal to `start` and its images nothing is seen.
        tolerance: estimated relative error at which it stops. That is of *some* singular value: from random vectors one
            of two hundred random matrices settled on its second, up to 0.5 % too low, when 1e-3 was asked for, and none
            when a tenth of that was.
        max_products: pairs of products at most; the estimate so far is returned then.
        max_basis: vectors kept for each map; it restarts from the Ritz vectors when they are full.

    Waits for the device once a product, to decide whether to go on.
    """
    vectors = _unit(start)
    basis = vectors.new_empty(len(start), min(max_basis, max_products), start.shape[1])
    held = 0
    diagonal: list[np.ndarray] = []
    beside: list[np.ndarray] = []
    failed = np.zeros(len(start), dtype=bool)
    done, errors, products = failed.copy(), np.full(len(start), np.inf), 0
    while True:
        basis[:, held], held = vectors, held + 1
        image, back = gram(vectors)
        products += 1
        back = _orthogonalized(back, basis[:, :held])
        told = torch.stack((image.square().sum(1), torch.linalg.vector_norm(back, dim=1)))
        alpha, beta = told.cpu().double().numpy()
        failed |= ~np.isfinite(alpha + beta)
        alpha[failed] = beta[failed] = 0
        diagonal.append(alpha)
        theta, weights = _ritz(diagonal, beside)
        residual = beta * np.abs(weights[:, -1])
        error = np.divide(residual, 2 * theta, out=np.zeros_like(theta), where=theta > 0)
        errors = np.where(done, errors, error)
        # the space is invariant, there is nothing further to see; 1000 rounding errors of a product are no direction
        done |= failed | (beta <= 1000 * torch.finfo(back.dtype).eps * theta) | (error <= tolerance)
        if done.all() or products >= max_products:
            break
        if held == basis.shape[1]:
            vectors, held, diagonal, beside, done = _combined(basis, weights), 0, [], [], failed.copy()
            continue
        # what is done goes on as zeros, which change neither its Ritz value nor its vector
        vectors = torch.where(torch.from_numpy(~done).to(back.device)[:, None], _unit(back), 0)
        beside.append(np.where(done, 0, beta))
    values = np.where(failed, np.nan, np.sqrt(np.maximum(theta, 0)))
    weights = np.where(failed[:, None], 0, weights)
    return Largest(values, _combined(basis[:, :held], weights), errors, products)


def power_iterations(gram: Gram, start: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """The largest singular values by `iterations` pairs of products; never waits for the device.

    Returns (σ (B,), v (B, n)): ‖Av‖ of the last unit vectors v, and the next ones, from which it goes on when called
    with them. σ never exceeds the true value (Golub and Van Loan, Matrix Computations, section 7.3.1).
    """
    vectors, sigma = _unit(start), start.new_zeros(len(start))
    for _ in range(iterations):
        image, back = gram(vectors)
        sigma, vectors = torch.linalg.vector_norm(image, dim=1), _unit(back)
    return sigma, vectors


def _unit(vectors: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return vectors / lengths.clamp_min(torch.finfo(vectors.dtype).tiny)


def _orthogonalized(vectors: Tensor, basis: Tensor) -> Tensor:
    """(B, n) without what lies along (B, k, n)."""
    # twice is enough: Parlett 1998, section 6.9
    for _ in range(2):
        vectors = vectors - _combination(basis, _along(basis, vectors))
    return vectors


def _along(basis: Tensor, vectors: Tensor) -> Tensor:
    """(B, k) products of (B, k, n) with (B, n)."""
    if basis.shape[2] < _LONG or basis.device.type != "cpu":
        return torch.bmm(basis, vectors.unsqueeze(2)).squeeze(2)
    return torch.stack([own @ vector for own, vector in zip(basis, vectors, strict=True)])


def _combination(basis: Tensor, shares: Tensor) -> Tensor:
    """(B, n) sums of (B, k, n) with shares (B, k)."""
    if basis.shape[2] < _LONG or basis.device.type != "cpu":
        return torch.bmm(shares.unsqueeze(1), basis).squeeze(1)
    return torch.stack([share @ own for own, share in zip(basis, shares, strict=True)])


def _ritz(diagonal: Sequence[np.ndarray], beside: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(B,) largest Ritz values and (B, k) their coefficients in the basis."""
    size = len(diagonal)
    matrices = np.zeros((len(diagonal[0]), size, size))
    for at, values in enumerate(diagonal):
        matrices[:, at, at] = values
    for at, values in enumerate(beside):
        matrices[:, at, at + 1] = matrices[:, at + 1, at] = values
    # torch's own, for numpy's starts threads of its own on matrices as small as these, and they wait dearly
    values, vectors = torch.linalg.eigh(torch.from_numpy(matrices))
    return values[:, -1].numpy(), vectors[:, :, -1].numpy()


def _combined(basis: Tensor, weights: np.ndarray) -> Tensor:
    """The vectors with these coefficients, of length 1."""
    return _unit(_combination(basis, torch.from_numpy(weights).to(basis)))

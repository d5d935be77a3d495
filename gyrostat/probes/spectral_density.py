"""How the eigenvalues of a symmetric operator are spread, from products with it: stochastic Lanczos quadrature.

For a random unit vector v, k steps of Lanczos give the k-point Gauss quadrature of the spectrum as v sees it: its nodes
are the Ritz values θᵢ, its weights ωᵢ the squared first components of their eigenvectors, and Σᵢ ωᵢ·f(θᵢ) is exactly
vᵀf(A)v for polynomials f up to degree 2k − 1. The mean over random vectors is tr f(A)/n. With f a narrow Gaussian
around t it is the spectrum's density at t, smoothed.

Sources: Ghorbani, Krishnan and Xiao 2019, arXiv 1901.10159, section 2 and algorithm 1; Papyan 2018, arXiv 1811.07062;
Ubaru, Chen and Saad 2017, SIAM J. Matrix Anal. 38(4).
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gyrostat.probes.estimators import Operator

MARGIN = 5.0
"""How many widths of the Gaussian the grid goes beyond the outermost Ritz values."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean over random vectors, and its standard error as their spread tells it."""

    value: float
    error: float


@dataclass(frozen=True, eq=False)
class SpectralDensity:
    """An estimate of the density of n eigenvalues.

    Errors are standard errors over the random vectors: they shrink as 1/√m. What the quadrature itself leaves out
    shrinks exponentially with its steps, and is nothing for trace and square.

    Attributes:
        grid: (G,) evenly spaced, rising, beyond the outermost Ritz values.
        density, error: (G,) mean over the vectors, which integrates to 1, and its standard error.
        eigenvalues, weights: (R,) the Ritz values of all vectors, rising, and their shares of the spectrum, which add
            up to 1. The largest never exceeds the true one.
        sigma: standard deviation of the Gaussian that each Ritz value became.
        trace, square: tr A, and tr A², the squared Frobenius norm.
        steps: Lanczos steps of the longest run; one ends early where the vector's space is exhausted.
    """

    grid: Array
    density: Array
    error: Array
    eigenvalues: Array
    weights: Array
    sigma: float
    trace: Estimate
    square: Estimate
    steps: int


def spectral_density(
    operator: Operator, like: Tensor, *, probes: int, steps: int, width: float, points: int, seed: int
) -> SpectralDensity:
    """The spectrum of a symmetric `operator` over vectors like `like` (n,): their length, type and device.

    Needs memory for `steps` vectors, and `probes` times `steps` products. Waits for the device once a product.

    Args:
        operator: symmetric, (n,) -> (n,).
        like: a vector that gives length, type and device; what it holds does not matter.
        probes: m random vectors, at least 2, with independent signs ±1/√n.
        steps: k Lanczos steps for each.
        width: σ of the Gaussian, as a share of the distance from the smallest to the largest Ritz value.
        points: of the grid.
        seed: of the vectors, which are the same on every device.

    Raises:
        FloatingPointError: a product is not finite.
    """
    source = torch.Generator().manual_seed(seed)
    found = [quadrature(operator, _signs(like, source), steps) for _ in range(probes)]
    eigenvalues = np.concatenate([nodes for nodes, _ in found])
    low, high = float(eigenvalues.min()), float(eigenvalues.max())
    # one eigenvalue alone has no extent: its own size stands in for it, and for the operator that is 0 a unit
    sigma = width * ((high - low) or abs(high) or 1.0)
    grid = np.linspace(low - MARGIN * sigma, high + MARGIN * sigma, points)
    densities = np.stack([weights @ _gaussian(grid[None] - nodes[:, None], sigma) for nodes, weights in found])
    order = np.argsort(eigenvalues, kind="stable")
    return SpectralDensity(
        grid=grid,
        density=densities.mean(0),
        error=densities.std(0, ddof=1) / math.sqrt(probes),
        eigenvalues=eigenvalues[order],
        weights=np.concatenate([weights for _, weights in found])[order] / probes,
        sigma=sigma,
        trace=_estimate([len(like) * float(weights @ nodes) for nodes, weights in found]),
        square=_estimate([len(like) * float(weights @ nodes**2) for nodes, weights in found]),
        steps=max(len(nodes) for nodes, _ in found),
    )


def quadrature(operator: Operator, start: Tensor, steps: int) -> tuple[Array, Array]:
    """Nodes (rising) and weights (adding up to 1) of the spectrum as `start` sees it, at most `steps` of each.

    Lanczos with full reorthogonalization, twice, without which copies of converged eigenvalues would appear. It ends
    early where products lead to nothing new; the quadrature is exact then.

    Raises:
        FloatingPointError: a product is not finite.
    """
    basis = start.new_empty(min(steps, len(start)), len(start))
    basis[0] = start / start.norm()
    diagonal: list[float] = []
    beside: list[float] = []
    for step in range(len(basis)):
        image = operator(basis[step])
        ahead = torch.dot(basis[step], image)
        for _ in range(2):
            image = image - basis[: step + 1].mT @ (basis[: step + 1] @ image)
        alpha, beta = torch.stack((ahead, image.norm())).tolist()
        if not (math.isfinite(alpha) and math.isfinite(beta)):
            raise FloatingPointError("a product with the operator is not finite")
        diagonal.append(alpha)
        size = max(abs(number) for number in (*diagonal, *beside))
        if step + 1 == len(basis) or beta <= 1000 * torch.finfo(image.dtype).eps * size:
            break
        beside.append(beta)
        basis[step + 1] = image / beta
    # torch's own, for numpy's starts threads of its own on matrices as small as these, and they wait dearly
    matrix = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
    nodes, vectors = torch.linalg.eigh(torch.from_numpy(matrix))
    return nodes.numpy(), vectors[0].numpy() ** 2


def _signs(like: Tensor, source: torch.Generator) -> Tensor:
    drawn = torch.randint(2, (len(like),), dtype=torch.int8, generator=source)
    return (2 * drawn - 1).to(like.device, like.dtype)


def _gaussian(distance: Array, sigma: float) -> Array:
    density: Array = np.exp(-0.5 * (distance / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))
    return density


def _estimate(samples: list[float]) -> Estimate:
    return Estimate(float(np.mean(samples)), float(np.std(samples, ddof=1)) / math.sqrt(len(samples)))

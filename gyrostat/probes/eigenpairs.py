"""The largest eigenvalues and the trace of a symmetric operator from few products, each of which serves both.

Shapes: n the operator's dimension, m the vectors of the basis.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gyrostat.probes.estimators import Operator

_DEPENDENT = 1e-4
"""A vector of which no more than this part is new adds rounding errors to the basis instead of a direction."""

_ORTHOGONAL = 0.7
"""If so much of a vector is left by an orthogonalization, a second one changes nothing (Daniel et al. 1976)."""


class NotFinite(ArithmeticError):
    """A product, or what it was made with, is NaN or infinite."""


class Subspace:
    """An orthonormal basis Q with its images AQ: what is known of an operator A (Rayleigh-Ritz).

    Waits for the device at every vector that is added. When the basis is full it goes on from the first Ritz vectors:
    a third of it, and at least `kept`, which are fewer than `capacity`.

    Attributes:
        products: how many were made with the operator.
    """

    def __init__(self, operator: Operator, like: Tensor, length: int, capacity: int, kept: int = 2) -> None:
        self._operator, self._kept = operator, kept
        self._basis, self._images = (like.new_empty((capacity, length)) for _ in range(2))
        self._size = 0
        self.products = 0
        self._projected = np.zeros((0, 0))
        self._decompose()

    @property
    def basis(self) -> Tensor:
        """(m, n) orthonormal rows."""
        return self._basis[: self._size]

    @property
    def images(self) -> Tensor:
        """(m, n) the operator's image of each row of the basis."""
        return self._images[: self._size]

    @property
    def values(self) -> np.ndarray:
        """(m,) Ritz values, falling. The first never exceeds the largest eigenvalue, nor each next its own."""
        values: np.ndarray = self._values
        return values

    def __len__(self) -> int:
        return self._size

    def vector(self, number: int) -> Tensor:
        """(n,) unit Ritz vector that belongs to `values[number]`."""
        return self._weights(number) @ self.basis

    def residual(self, number: int) -> tuple[Tensor, float]:
        """(n,) r = Ay − θy of a Ritz pair, and its norm."""
        weights = self._weights(number)
        left = torch.mv(self.images.mT, weights)
        left.addmv_(self.basis.mT, weights, alpha=-float(self._values[number]))
        return left, float(left.norm())

    def extend(self, vector: Tensor, image: Tensor | None = None) -> bool:
        """Takes a direction in, whose `image` is known or else computed; whether there was anything new in it.

        Raises:
            NotFinite: the vector or its image is not finite; nothing is taken in then.
        """
        norm = _finite_norm(vector)
        if not norm:
            return False
        # from here on in place: on a CPU, memory of such a length takes longer to get than to write
        vector = vector / norm
        shares = torch.zeros(self._size, dtype=vector.dtype, device=vector.device)
        before, left = 1.0, 0.0
        for _ in range(2):
            part = self.basis @ vector
            vector.addmv_(self.basis.mT, part, alpha=-1)
            shares += part
            left = float(vector.norm())
            if left > _ORTHOGONAL * before:
                break
            before = left
        if left < _DEPENDENT:
            return False
        vector.div_(left)
        if image is None:
            self.products += 1
            image = self._operator(vector)
        else:
            image = torch.addmv(image / norm, self.images.mT, shares, alpha=-1) / left
        _finite_norm(image)
        if self._size == len(self._basis):
            self._shrink(max(self._kept, self._size // 3))
        self._basis[self._size], self._images[self._size] = vector, image
        self._size += 1
        self._project(image)
        return True

    def scaled(self, scale: Tensor) -> "Subspace":
        """What is known of DAD, D = diag(`scale`), (n,): its image of D⁻¹q is D·Aq, so this takes no product.

        Nothing is known where a scale is 0: then DAD sees less of q than A did.
        """

        def operator(vector: Tensor) -> Tensor:
            return scale * self._operator(scale * vector)

        other = Subspace(operator, self._basis, self._basis.shape[1], len(self._basis), self._kept)
        if bool((scale > 0).all()):
            for vector, image in zip(self.basis, self.images, strict=True):
                other.extend(vector / scale, scale * image)
        return other

    def refine(self, number: int, *, tolerance: float, max_products: int) -> float:
        """Extends the basis by residuals until ‖r‖ ≤ `tolerance`·|θ| for a Ritz value θ; answers ‖r‖/|θ|.

        Some eigenvalue lies within ‖r‖ of θ, and the one that belongs to it within ‖r‖²/gap, for which the next
        eigenvalue had to be known (Parlett 1998, The Symmetric Eigenvalue Problem, sections 4.5 and 11.7).

        Args:
            number: which of `values`.
            tolerance: relative residual at which it stops.
            max_products: of this subspace altogether, at which it stops as well.
        """
        while True:
            residual, norm = self.residual(number)
            error = self._relative(norm, number)
            if error <= tolerance or self.products >= max_products or not self.extend(residual):
                return error

    def _relative(self, residual: float, number: int) -> float:
        # 1000 rounding errors of a product are no residual
        if residual <= 1000 * torch.finfo(self._basis.dtype).eps * float(np.abs(self._values).max()):
            return 0.0
        value = abs(float(self._values[number]))
        return residual / value if value else math.inf

    def _weights(self, number: int) -> Tensor:
        return torch.from_numpy(self._rotation[:, number].copy()).to(self._basis)

    def _project(self, image: Tensor) -> None:
        column = (self.basis @ image).double().cpu().numpy()
        projected = np.zeros((self._size, self._size))
        projected[:-1, :-1] = self._projected
        projected[-1, :] = projected[:, -1] = column
        self._projected = projected
        self._decompose()

    def _decompose(self) -> None:
        # torch's own, for numpy's starts threads of its own on matrices as small as these, and they wait dearly
        values, rotation = torch.linalg.eigh(torch.from_numpy(self._projected))
        self._values, self._rotation = values.numpy()[::-1], rotation.numpy()[:, ::-1]

    def _shrink(self, size: int) -> None:
        """Keeps the first Ritz vectors alone (thick restart: Wu and Simon 2000, SIAM J. Matrix Anal. Appl. 22(2))."""
        weights = torch.from_numpy(self._rotation[:, :size].T.copy()).to(self._basis)
        kept, images = weights @ self.basis, weights @ self.images
        self._size = size
        self._basis[:size], self._images[:size] = kept, images
        self._projected = np.diag(self._values[:size])
        self._decompose()


def _finite_norm(vector: Tensor) -> float:
    norm = float(vector.norm())
    if not np.isfinite(norm):
        raise NotFinite("a product with the operator is not finite")
    return norm


@dataclass(frozen=True, eq=False)
class Trace:
    """An estimate of tr A and of its diagonal's sums.

    Attributes:
        total: 0-dim, tr A. error: 0-dim, its standard error.
        parts: (n,) whose sum over any set of places estimates the sum of A's diagonal there.
        squares: (n,) whose sum over that set is at least the square of that estimate's standard error.
        image: (n,) the last product, without what the basis holds.
        rest: estimate of the Frobenius norm of what the basis does not hold.
        rank: over how many directions that is spread at least; 1 or more.
    """

    total: Tensor
    error: Tensor
    parts: Tensor
    squares: Tensor
    image: Tensor
    rest: float
    rank: float


_FREEDOM = (1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 60, math.inf)
_STUDENT = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3060, 2.2281, 2.1314, 2.0860, 2.0423, 2.0003, 1.9600)
"""Degrees of freedom, and the 97.5 % quantiles of Student's t that belong to them."""


def student(freedom: float) -> float:
    """t/1.96 of Student's t, by which an estimated standard error is stretched for ±1.96 of it to hold 95 %.

    A random direction that misses what few large eigenvalues there are tells both too small a trace and too small an
    error. For a single eigenvalue, which is the worst, this stretch with the products for degrees of freedom, from 1
    on, makes up for that almost exactly; `tests/gyrostat/probes/test_eigenpairs.py` counts.
    """
    # convex in 1/freedom, so that between two of the table it is rather too large
    return float(np.interp(1 / freedom, [1 / f for f in reversed(_FREEDOM)], _STUDENT[::-1])) / _STUDENT[-1]


def trace(operator: Operator, space: Subspace, signs: Sequence[Tensor]) -> Trace:
    """The trace of A from one product with each of `signs`, random vectors of ±1 that `space` does not depend on.

    What the images of the basis say is exact: with P = 1 − QᵀQ, A − PAP is known, diagonal and all. The rest is
    Hutchinson's estimate z·PAPz (Hutch++: Meyer et al. 2021, arXiv 2010.09649, algorithm 1, with the basis that there
    is). Its variance is 2(‖PAP‖² − Σ(PAP)ᵢᵢ²) ≤ 2‖PAP‖², of Frobenius norms, and E‖PAPz‖² = ‖PAP‖², so that the same
    product tells the standard error. Over a set S of places the variance is at most 2·Σ_{i∈S} E(PAPz)ᵢ².

    ‖PAPz‖² varies itself, like a χ² of at least ‖PAP‖²/σ² degrees of freedom for each z, σ the largest singular value
    (Satterthwaite 1946, Biometrics Bulletin 2(6)). That is `rank`, with σ the largest |θ| of the basis; see `student`.
    """
    basis, images = space.basis, space.images
    known = 2 * (basis * images).sum(0) - (basis * (images @ basis.mT @ basis)).sum(0)
    parts, squares, rest = known.clone(), torch.zeros_like(known), known
    for z in signs:
        rest = operator(z) - images.mT @ (basis @ z)
        rest = rest - basis.mT @ (basis @ rest)
        parts.addcmul_(z - basis.mT @ (basis @ z), rest, value=1 / len(signs))
        squares.addcmul_(rest, rest, value=2 / len(signs) ** 2)
    variance = squares.sum()
    beyond = float(variance) * len(signs) / 2
    largest = float(np.abs(space.values).max(initial=0.0))
    rank = max(1.0, beyond / largest**2) if largest else 1.0
    return Trace(parts.sum(), variance.sqrt(), parts, squares, rest, math.sqrt(beyond), rank)

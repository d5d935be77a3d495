"""Start vectors of iterative estimates: the last result, not trusted blindly."""

from typing import Any

import torch
from torch import Tensor


def random_vector(length: int, like: Tensor, seed: int = 0) -> Tensor:
    """(length,) unit vector of normal entries, of `like`'s dtype and device; touches no global generator."""
    generator = torch.Generator().manual_seed(seed)
    vector = torch.randn(length, generator=generator, dtype=torch.float32).to(
        like.device, like.dtype, non_blocking=True
    )
    unit: Tensor = vector / vector.norm()
    return unit


def random_signs(length: int, like: Tensor, seed: int) -> Tensor:
    """(length,) of 1 and −1, each as likely, of `like`'s dtype and device; touches no global generator."""
    generator = torch.Generator().manual_seed(seed)
    bits = torch.randint(2, (length,), generator=generator, dtype=torch.int8)
    return bits.mul_(2).sub_(1).to(like.device, like.dtype, non_blocking=True)


class WarmStarts:
    """A vector for each name, kept from one measurement to the next.

    Eigenvalues cross during training: the vector of the largest becomes that of the second, stays an eigenvector, and
    an iteration that starts there sees nothing else. So a warm start has a random part, and now and then a start is
    cold.

    Args:
        fresh: length of the random part of a warm start, relative to the last vector.
        cold_every: every so many measurements of a name start from a random vector; 0: none but the first.
    """

    def __init__(self, *, fresh: float, cold_every: int) -> None:
        self._fresh = fresh
        self._cold_every = cold_every
        self._vectors: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def start(self, name: str, length: int, like: Tensor) -> tuple[Tensor, bool]:
        """(length,) of `like`'s dtype and device, and whether it comes from the last measurement."""
        count = self._counts.get(name, 0)
        self._counts[name] = count + 1
        last = self._vectors.pop(name, None)
        fresh = random_vector(length, like, seed=count)
        if last is None or len(last) != length or (self._cold_every and count % self._cold_every == 0):
            return fresh, False
        return torch.add(last.to(like), fresh, alpha=self._fresh), True

    def starts(self, name: str) -> int:
        """How many measurements of a name have started."""
        return self._counts.get(name, 0)

    def keep(self, name: str, vector: Tensor | None) -> None:
        """The unit vector that a measurement ended with; None (something was not finite) starts the next one anew."""
        if vector is not None:
            self._vectors[name] = vector

    def state_dict(self) -> dict[str, Any]:
        """Vectors and counts by name."""
        return {"vectors": dict(self._vectors), "counts": dict(self._counts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up `state_dict`; vectors whose length no longer fits are passed over when their turn comes."""
        self._vectors = dict(state["vectors"])
        self._counts = dict(state["counts"])

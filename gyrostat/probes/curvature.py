"""How sharp the loss is around the weights, held against what the optimizer can bear."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gyrostat.probes.base import Need, Probe, Readings, Value
from gyrostat.probes.convolutions import TwiceDifferentiable
from gyrostat.probes.eigenpairs import NotFinite, Subspace, student, trace
from gyrostat.probes.estimators import GradientGraph
from gyrostat.probes.network import Network
from gyrostat.probes.stability import inverse_root_preconditioner, is_adaptive, limit
from gyrostat.probes.undisturbed import undisturbed
from gyrostat.probes.warmstart import random_signs, random_vector
from gyrostat.spec.probes import CurvatureProbe
from gyrostat.wire.layout import Axis

_FRESH = 0.1
"""Length of the new direction in a start, besides what was known (1)."""

_LOOK = 3
"""Measurements from one that looks along the guard vector to the next."""

_SUSPECT = 0.5
"""An iteration can settle on the second eigenvalue, and its residual does not tell. Then what the basis does not hold
is large; where it is so large, relative to the sharpness, the iteration goes on from there. What comes of that is
counted in `tests/gyrostat/probes/test_curvature_confidence.py`."""

_PATIENCE = 8
"""Measurements between two such looks, at most: each that finds nothing doubles them. A large bulk of small eigenvalues
is as suspicious as one large one, and stays so."""

_NEWEST = 0.2
"""Weight of the newest measurement in the running mean of what tells the blocks' errors."""

_SEEDS = 2**20
"""Seeds of random directions for each size of the basis: more than there will be measurements."""

_BASIS_BYTES = 2**28
"""Memory for a basis and its images, at most (but for three vectors of each besides those of the eigenvalues that are
wanted, with which it can do)."""


class Curvature(Probe):
    """The Hessian of the training loss on the probe batch: largest eigenvalues, trace, curvature along the gradient.

    Over all trainable parameters. The graph of the gradient is built once a measurement, and each product with it
    serves all: that with the gradient is the curvature along it, and the first vector of the basis in which eigenvalues
    are looked for; what this basis tells is exact in the trace, and known of the preconditioned Hessian too; that with
    random signs is the rest of the trace, parameter by parameter, and a random direction in which the large eigenvalues
    that the basis did not hold stand out already. It goes into a guard vector, along which every third measurement
    looks, so that an eigenvalue which overtakes is seen.

    Parameters must lie on one device. This probe waits for the device, a few times a product, and needs memory for one
    forward and two backward passes of the batch, and for the basis.
    """

    settings_type = CurvatureProbe
    needs = frozenset({Need.PROBE_LOSS})

    def __init__(self, settings: Any, network: Network) -> None:
        super().__init__(settings, network)
        self._starts: dict[str, Tensor] = {}
        self._guards: dict[str, Tensor] = {}
        self._measured = 0
        self._pause, self._next_look = 1, 0
        self._squares: Tensor | None = None
        self._weight = 1.0

    def axes(self) -> Mapping[Axis, Sequence[str]]:
        """The largest eigenvalue is number 1."""
        return {"eigenvalue": [f"eigenvalue {number}" for number in range(1, self.settings.eigenvalues + 1)]}

    def after_update(self) -> Readings:
        """At the new weights; the limit at the learning rate of the step that led to them."""
        network = self.network
        parameters = {at: p for at, p in enumerate(network.parameters.values()) if p.requires_grad}
        if network.probe_loss is None or not parameters:
            return {}
        bound = limit(network.optimizer)
        readings: dict[str, Value] = {} if bound is None else {"curvature.limit": bound}
        with undisturbed(network.model):
            with TwiceDifferentiable():
                loss = network.probe_loss()
            graph = GradientGraph(loss, list(parameters.values()))
            with torch.no_grad():
                readings |= self._measure(graph, parameters)
        self._measured += 1
        decisive = "curvature.preconditioned_sharpness" if is_adaptive(network.optimizer) else "curvature.sharpness"
        value = readings.get(decisive)
        if bound is not None and value is not None:
            readings["curvature.sharpness_over_limit"] = value / bound
        return readings

    def _measure(self, graph: GradientGraph, parameters: dict[int, nn.Parameter]) -> Readings:
        held, wanted = list(parameters.values()), self.settings.eigenvalues
        gradient = graph.gradient.to(_common_dtype(held))
        capacity = max(wanted + 3, min(32, _BASIS_BYTES // (2 * gradient.numel() * gradient.element_size())))
        space = Subspace(graph.product, gradient, len(gradient), capacity, kept=wanted + 1)
        scale = self._scale(held, gradient)
        readings: dict[str, Tensor | float] = {}
        try:
            if self.settings.along_gradient and space.extend(gradient):
                readings["curvature.along_gradient"] = torch.dot(space.basis[0], space.images[0])
        except NotFinite:
            readings["curvature.along_gradient"] = math.nan
        most = self.settings.max_products // (1 if scale is None else 2)
        values, errors = self._largest(space, self._starts_of("sharpness", space, gradient, wanted), most, wanted)
        # after the eigenvalues: the basis must not depend on the signs
        found, fresh, rest = self._trace(graph, space, parameters)
        if rest > _SUSPECT * abs(values[0]) and self._measured >= self._next_look:
            before = values[0]
            values, errors = self._largest(space, [fresh], most, wanted)
            self._pause = 1 if values[0] > before + self.settings.tolerance * abs(before) else self._pause * 2
            self._next_look = self._measured + min(self._pause, _PATIENCE)
        readings |= found | {"curvature.sharpness": values[0], "curvature.sharpness_error": errors[0]}
        if wanted > 1:
            readings["curvature.eigenvalue"] = self._along_axis(values)
            readings["curvature.eigenvalue_error"] = self._along_axis(errors)
        if scale is not None:
            other, left = space.scaled(scale), self.settings.max_products - space.products
            values, _ = self._largest(other, self._starts_of("preconditioned", other, scale * gradient, 1), left, 1)
            readings["curvature.preconditioned_sharpness"] = values[0]
            self._keep("preconditioned", other, scale * fresh, 1)
        self._keep("sharpness", space, fresh, wanted)
        return readings

    def _along_axis(self, values: Sequence[float]) -> Tensor:
        """What the probe has of as many eigenvalues as are asked for; absent where a small matrix has not so many."""
        found = torch.tensor(values, dtype=torch.float64).to(self.network.device)
        return self.network.spread(found, range(len(values)), self.settings.eigenvalues)

    def _scale(self, parameters: list[nn.Parameter], like: Tensor) -> Tensor | None:
        """(n,) the diagonal of P⁻¹ᐟ², where there is one."""
        if not is_adaptive(self.network.optimizer):
            return None
        roots = inverse_root_preconditioner(self.network.optimizer, parameters)
        return None if roots is None else torch.cat([root.reshape(-1) for root in roots]).to(like)

    def _largest(
        self, space: Subspace, starts: Sequence[Tensor], most: int, count: int
    ) -> tuple[list[float], list[float]]:
        """So many eigenvalues, falling, as there are, and their relative residuals; of what is not finite one NaN."""
        try:
            for start in starts[: max(1, most - space.products)]:
                space.extend(start)
            errors = self._refined(space, most, count)
            # a basis that is too small for so many, and invariant
            while len(errors) < count and space.products < most and space.extend(self._random(space)):
                errors = self._refined(space, most, count)
        except NotFinite:
            return [math.nan], [math.nan]
        return [float(value) for value in space.values[: len(errors)]], errors

    def _refined(self, space: Subspace, most: int, count: int) -> list[float]:
        """The relative residuals of the first so many Ritz values, as many as the basis tells."""
        while True:
            before = space.products
            errors = [
                space.refine(number, tolerance=self.settings.tolerance, max_products=most)
                for number in range(count)
                if number < len(space)  # which grows
            ]
            # what was found for one may have unsettled those before it
            if count == 1 or space.products == before:
                return errors

    def _starts_of(self, name: str, space: Subspace, gradient: Tensor, count: int) -> list[Tensor]:
        """Where to look first: where the last measurement ended; where there was none, along the gradient's image.

        Where nothing is known of that either, along the gradient itself.
        """
        known = self._starts.get(name)
        if known is not None and known.shape[1:] == gradient.shape:
            starts, guard = list(known.to(gradient)[:count]), self._guards.get(name)
            return [*starts, guard.to(gradient)] if guard is not None and self._looks(self._measured) else starts
        return [_plus(self._random(space), space.images[0] if len(space) else gradient, 1 / _FRESH)]

    def _looks(self, measured: int) -> bool:
        return measured % _LOOK == 0

    def _random(self, space: Subspace) -> Tensor:
        """(n,) another one for each measurement and each size of its basis."""
        like = space.basis
        return random_vector(like.shape[1], like, seed=2 * (self._measured + len(space) * _SEEDS))

    def _trace(
        self, graph: GradientGraph, space: Subspace, parameters: dict[int, nn.Parameter]
    ) -> tuple[dict[str, Tensor | float], Tensor, float]:
        """The trace's readings, a random direction with what the basis does not hold amplified, and how much that is.

        The last is an estimate of its Frobenius norm, which no eigenvalue exceeds; 0 where nothing is known. Without
        samples, the gradient is the direction: what begins to oscillate shows in it.
        """
        samples, length, network = self.settings.trace_samples, space.basis.shape[1], self.network
        if not samples:
            return {}, graph.gradient.to(space.basis), 0.0
        signs = [
            random_signs(length, space.basis, seed=2 * (self._measured * samples + at) + 1) for at in range(samples)
        ]
        found = trace(graph.product, space, signs)
        sizes, places = [p.numel() for p in parameters.values()], list(parameters)

        def sums(values: Tensor) -> Tensor:
            return torch.stack([part.sum() for part in torch.split(values, sizes)])

        blocks = sums(found.squares)
        pooled = self._over_time(torch.cat((blocks, blocks.sum().reshape(1)))).sqrt()
        told = samples / self._weight
        readings: dict[str, Tensor | float] = {
            "curvature.trace": found.total,
            "curvature.trace_error": pooled[-1] * student(told * found.rank),
            "curvature.block_trace": network.spread(sums(found.parts), places, len(network.parameters)),
            "curvature.block_trace_error": network.spread(pooled[:-1] * student(told), places, len(network.parameters)),
        }
        return readings, found.image, found.rest

    def _over_time(self, squares: Tensor) -> Tensor:
        """(blocks,) the larger of these squares of errors and of their mean over the last measurements."""
        last = self._squares
        if last is None or last.shape != squares.shape:
            last, self._weight = squares, 1.0
        else:
            # the plain mean at first, then a running one; the weight is the sum of the squares of all weights in it
            share = max(_NEWEST, self._weight / (1 + self._weight))
            self._weight = (1 - share) ** 2 * self._weight + share**2
            last = torch.lerp(last.to(squares), squares, share)
        self._squares = torch.where(last.isfinite(), last, 0)
        return torch.maximum(squares, self._squares)

    def _keep(self, name: str, space: Subspace, fresh: Tensor, count: int) -> None:
        """What the next measurement starts from; after something that was not finite it starts anew.

        Not the Ritz vectors but their images, which are known and a step of power iteration ahead (Parlett 1998, The
        Symmetric Eigenvalue Problem, chapter 4). The guard is what the next eigenvector would be; it goes such a step
        each time that it is looked along, and takes up what is new.
        """
        self._starts.pop(name, None)
        guard = self._guards.pop(name, fresh[:0])
        if not len(space) or not bool(fresh.norm().isfinite()):
            return
        rows = [_ahead(space, number) for number in range(min(count, len(space)))]
        self._starts[name] = torch.stack(rows) if len(rows) > 1 else rows[0].unsqueeze(0)
        if len(space) > count and (len(guard) != len(fresh) or self._looks(self._measured)):
            guard = _ahead(space, count)
        if len(guard) == len(fresh):
            soon = self._looks(self._measured + 1)
            self._guards[name] = _plus(guard.to(fresh), fresh, _FRESH * float(guard.norm())) if soon else guard

    def state_dict(self) -> dict[str, Any]:
        """Where the next measurement starts from, when it looks further, and what told the blocks' errors."""
        looks = {"pause": self._pause, "next_look": self._next_look, "weight": self._weight}
        known = {"starts": dict(self._starts), "guards": dict(self._guards)}
        return known | {"measured": self._measured, "squares": self._squares} | looks

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up `state_dict`; vectors whose length no longer fits are passed over when their turn comes."""
        self._starts, self._measured = dict(state["starts"]), state["measured"]
        self._guards = dict(state.get("guards", {}))
        self._pause, self._next_look = state.get("pause", 1), state.get("next_look", 0)
        self._squares, self._weight = state.get("squares"), state.get("weight", 1.0)


def _ahead(space: Subspace, number: int) -> Tensor:
    """(n,) the image of a Ritz vector; the vector itself where its value is negative, whose image is no nearer."""
    left, _ = space.residual(number)
    value = float(space.values[number])
    return left.add_(space.vector(number), alpha=value) if value > 0 else space.vector(number)


def _plus(vector: Tensor, other: Tensor, share: float) -> Tensor:
    """The vector, and so long a one in the direction of the other, if that has one."""
    return torch.add(vector, other / other.norm().clamp_min(torch.finfo(other.dtype).tiny), alpha=share)


def _common_dtype(parameters: list[nn.Parameter]) -> torch.dtype:
    wide = any(p.dtype == torch.float64 for p in parameters)
    return torch.float64 if wide else torch.float32

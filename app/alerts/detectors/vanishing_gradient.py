"""The gradient shrinks by orders of magnitude from the last layers to the first."""

from typing import ClassVar

import numpy as np
from pydantic import Field

from app.alerts import reading
from app.alerts.base import Detector, Memory
from app.alerts.model import Evidence, FrameView, RunContext, Verdict
from gyrostat.spec.run import Severity


class VanishingGradient(Detector):
    """Norms of the first layers' weight gradients against the last layers'."""

    kind: ClassVar[str] = "vanishing_gradient"
    title: ClassVar[str] = "Gradient vanishes over depth"
    metrics: ClassVar[tuple[str, ...]] = ("gradient.norm",)
    explanation: ClassVar[str] = (
        "The gradient that reaches the first layers is a tiny fraction of that of the last ones: the first layers "
        "hardly learn. Each saturating or badly scaled layer multiplies the gradient by less than one, and over "
        "depth the factors compound. Weight matrices are compared in order of depth, the median of the first "
        "quarter with that of the last, so that neither the loss's scale nor a single odd layer matters; biases "
        "and normalization gains are left out. A small gradient everywhere, as at the end of a training, is not a "
        "finding."
    )
    source: ClassVar[str] = (
        "First over last layer below 1e-3: AutoTrainer (Zhang et al., ICSE 2021, arXiv 2002.08562), whose second "
        "condition, a first-layer norm below 1e-4, is left out because it depends on the loss's scale; the "
        "phenomenon: Glorot and Bengio 2010"
    )
    hold: ClassVar[int] = 3
    quiet: ClassVar[int] = 10

    ratio: float = Field(1e-3, gt=0, lt=1)
    """First layers' gradient norm over the last layers'; below it the gradient vanishes."""
    critical_ratio: float = Field(1e-6, gt=0, lt=1)
    """Below this the first layers' updates are lost in float32's rounding even with an adaptive optimizer: critical."""
    layers: int = Field(4, ge=2, le=10_000)
    """Weight matrices that a net must have to be judged over depth."""

    def observe(self, memory: Memory, frame: FrameView, context: RunContext) -> Verdict | None:
        """Compares the measured weight gradients; frozen and unused layers, and non-finite values, are left out."""
        norms = reading.vector(frame, "gradient.norm", context)
        if norms is None:
            return None
        places = reading.matrices("gradient.norm", context)
        known = places[np.isfinite(norms[places])]
        if len(known) < self.layers:
            return None
        sizes = norms[known]
        early, late = reading.ends(sizes)
        if late <= 0.0:
            return None
        ratio = early / late
        if ratio >= self.ratio:
            return Verdict(breached=False)
        return self._breach(frame, context, known, sizes, ratio, late)

    def _breach(
        self, frame: FrameView, context: RunContext, known: np.ndarray, sizes: np.ndarray, ratio: float, late: float
    ) -> Verdict:
        axis = reading.names_of("gradient.norm", context)
        starved = np.flatnonzero(sizes < self.ratio * late)
        worst = starved[np.argsort(sizes[starved], kind="stable")][: reading.MAX_NAMES]
        names = tuple(axis[known[i]] for i in worst)
        limit = self.ratio * late
        summary = (
            f"At step {frame.step} the first layers' gradient norm is {ratio:.2g} of the last layers' ({late:.3g}). "
            f"{len(starved)} of {len(sizes)} weight matrices get less than {self.ratio:g} of it, least "
            f"{reading.listed(names)}: they hardly learn."
        )
        evidence = tuple(
            Evidence(
                metric="gradient.norm",
                name=axis[known[i]],
                step=frame.step,
                value=float(sizes[i]),
                threshold=limit,
                text=f"gradient.norm of {axis[known[i]]} was {sizes[i]:.2g}, against {late:.2g} in the last layers",
            )
            for i in worst[:5]
        )
        severity: Severity | None = "critical" if ratio < self.critical_ratio else None
        return Verdict(breached=True, names=names, severity=severity, summary=summary, evidence=evidence)

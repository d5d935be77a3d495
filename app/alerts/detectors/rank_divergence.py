"""Ranks of one training that no longer hold the same weights, or step by different gradients."""

from typing import ClassVar

import numpy as np
from pydantic import Field

from app.alerts import reading
from app.alerts.base import Detector, Memory
from app.alerts.model import Evidence, FrameView, RunContext, Verdict
from gyrostat.spec.run import Severity

_NOUNS = {"rank.parameter_digest_gap": "weights", "rank.gradient_digest_gap": "reduced gradient"}


class RankMemory(Memory):
    """Since when."""

    onset_step: int | None = None


class RankDivergence(Detector):
    """Digests of each rank's weights and reduced gradients against those of rank 0."""

    kind: ClassVar[str] = "rank_divergence"
    title: ClassVar[str] = "Ranks out of step"
    severity: ClassVar[Severity] = "critical"
    metrics: ClassVar[tuple[str, ...]] = tuple(_NOUNS)
    explanation: ClassVar[str] = (
        "Data-parallel ranks hold copies of the same weights and make the same step from the same averaged gradient, "
        "so digests of both agree bit for bit. A rank whose digest differs has been altered: by memory or a device "
        "that errs, by an operation whose result depends on the device, or by code that one rank alone ran. From then "
        "on the ranks average gradients of different networks, and the checkpoint is that of rank 0 alone. Where all "
        "other ranks differ from rank 0 by the same amount, rank 0 is the one that is named."
    )
    source: ClassVar[str] = (
        "Replicas that start equal and take equal steps stay equal: Li et al. 2020 (PyTorch DDP), arXiv 2006.15704, "
        "section 3.1; silent corruption that makes one replica differ: Hochschild et al. 2021, 'Cores that don't "
        "count', HotOS. The threshold is above what float32 rounding on devices of different kinds brings"
    )
    quiet: ClassVar[int] = 3
    memory: ClassVar[type[Memory]] = RankMemory

    gap: float = Field(1e-6, gt=0, lt=1)
    """A digest that differs by more than this share of rank 0's is out of step."""

    def observe(self, memory: RankMemory, frame: FrameView, context: RunContext) -> Verdict | None:
        """Judges every comparison of digests; 0 is in step."""
        found = {metric: reading.vector(frame, metric, context) for metric in self.metrics}
        gaps = {metric: values for metric, values in found.items() if values is not None}
        if not gaps:
            return None
        # NaN compares as in step; a digest that is no number where rank 0's is one has an infinite gap
        apart = {metric: values > self.gap for metric, values in gaps.items()}
        if not any(where.any() for where in apart.values()):
            memory.onset_step = None
            return Verdict(breached=False)
        memory.onset_step = frame.step if memory.onset_step is None else memory.onset_step
        ranks = reading.names_of(next(iter(gaps)), context)
        names: dict[str, None] = {}
        evidence = []
        for metric, where in apart.items():
            for rank in _culprits(gaps[metric], where):
                names[ranks[rank]] = None
                value = float(gaps[metric].max() if rank == 0 else gaps[metric][rank])
                evidence.append(_evidence(metric, ranks[rank], frame.step, value, self.gap))
        what = " and ".join(_NOUNS[metric] for metric, where in apart.items() if where.any())
        summary = (
            f"Since step {memory.onset_step} {reading.listed(tuple(names))} differs from the others in its {what}: "
            "they no longer train the same network, and the checkpoints are rank 0's."
        )
        return Verdict(
            breached=True,
            names=tuple(names)[: reading.MAX_NAMES],
            onset_step=memory.onset_step,
            summary=summary,
            evidence=tuple(evidence[:10]),
        )


def _culprits(gaps: np.ndarray, apart: np.ndarray) -> list[int]:
    """Ranks out of step, worst first; rank 0 where all the others differ from it, and not from one another."""
    others = gaps[1:]
    if len(others) > 1 and apart[1:].all() and others.min() >= 0.999 * others.max():
        return [0]
    found = np.flatnonzero(apart)
    return [int(rank) for rank in found[np.argsort(-gaps[found], kind="stable")]]


def _evidence(metric: str, name: str, step: int, value: float, threshold: float) -> Evidence:
    return Evidence(
        metric=metric,
        name=name,
        step=step,
        value=value,
        threshold=threshold,
        text=f"the {_NOUNS[metric]} of {name} differed by {value:.2g} of their norm at step {step}",
    )

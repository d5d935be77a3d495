"""How weights start, what stands in for them, and what bounds them: what excludes what."""

from collections.abc import Iterator

from gyrostat.spec.catalogue import Technique
from gyrostat.spec.checks.problem import Problem
from gyrostat.spec.connections import Connection
from gyrostat.spec.initialization import Lsuv
from gyrostat.spec.lipschitz import InputGradient, OneCentred, SpectralNorm
from gyrostat.spec.optimizers import ScheduleFree
from gyrostat.spec.run import RunSpec

SUMS = ("residual", "layer_scale")
"""Connections to whose sum a branch of zeros adds nothing, and that it can leave."""

SUPERVISED = ("classification", "regression", "segmentation")
"""Tasks whose loss is a function of samples as they are, which are no tokens."""


def problems(spec: RunSpec) -> Iterator[Problem]:
    """What cannot be trained."""
    yield from _zero_last_problems(spec)
    yield from _penalty_problems(spec)
    yield from _clip_problems(spec)


def warnings(spec: RunSpec) -> Iterator[Problem]:
    """What does not do what it is for."""
    if isinstance(spec.init, Lsuv) and isinstance(spec.parametrization, SpectralNorm):
        yield Problem(
            path="init.kind",
            value="lsuv",
            message="init 'lsuv' scales each weight, and parametrization 'spectral_norm' gives each its norm whatever "
            "its scale",
            mend="init 'orthogonal', or parametrization 'weight_norm', which keeps the scale",
        )


def _zero_last_problems(spec: RunSpec) -> Iterator[Problem]:
    if spec.zero_last is None:
        return
    networks = {"model": spec.model, **_second_network(spec)}
    connections: dict[str, Connection | None] = {
        place: getattr(network, "connection", None) for place, network in networks.items()
    }
    summing = [place for place, each in connections.items() if each is not None and each.kind in SUMS]
    stuck = [place for place, each in connections.items() if each is not None and each.kind == "rezero"]
    if not summing:
        own = connections["model"]
        has = "has none" if own is None else f"has {own.kind!r}"
        yield Problem(
            path="zero_last",
            value=spec.zero_last.kind,
            message=f"zero_last starts residual branches at zero, and model.connection {has}",
            mend="model.connection 'residual' or 'layer_scale', or zero_last null",
        )
    elif stuck:
        yield Problem(
            path="zero_last",
            value=spec.zero_last.kind,
            message=f"{stuck[0]}.connection 'rezero' starts at zero already: with zero_last neither it nor the branch "
            "would ever get a gradient",
            mend=f"zero_last null, or {stuck[0]}.connection 'residual'",
        )
    if isinstance(spec.parametrization, SpectralNorm):
        yield Problem(
            path="zero_last",
            value=spec.zero_last.kind,
            message="parametrization 'spectral_norm' divides each weight by its norm, and a layer that zero_last makes "
            "zero has none",
            mend="zero_last null, or parametrization 'weight_norm'",
        )


def _second_network(spec: RunSpec) -> dict[str, Technique]:
    """A generative task's other network, by its place in the spec."""
    found = {name: getattr(spec.task, name, None) for name in ("generator", "decoder")}
    return {f"task.{name}": network for name, network in found.items() if network is not None}


def _penalty_problems(spec: RunSpec) -> Iterator[Problem]:
    penalty, task = spec.lipschitz.gradient_penalty, spec.task.kind
    if isinstance(penalty, OneCentred) and task != "gan":
        yield Problem(
            path="lipschitz.gradient_penalty.kind",
            value=penalty.kind,
            message=f"the one-centred penalty is on a critic's slope between two sets of samples; task {task!r} has "
            "no critic",
            mend="'inputs'" if task in SUPERVISED else "null, or parametrization 'spectral_norm'",
        )
    if isinstance(penalty, InputGradient) and task not in SUPERVISED:
        yield Problem(
            path="lipschitz.gradient_penalty.kind",
            value=penalty.kind,
            message=f"the input gradient penalty is for tasks {', '.join(SUPERVISED)}, whose loss is a function of "
            f"samples as they are; that of task {task!r} is not",
            mend="'one_centred'" if task == "gan" else "null, or parametrization 'spectral_norm'",
        )


def _clip_problems(spec: RunSpec) -> Iterator[Problem]:
    if spec.lipschitz.weight_clip is None:
        return
    if isinstance(spec.parametrization, SpectralNorm):
        yield Problem(
            path="lipschitz.weight_clip",
            value=spec.lipschitz.weight_clip.limit,
            message="parametrization 'spectral_norm' scales what lipschitz.weight_clip has clipped: nothing is bounded "
            "by the clip",
            mend="one of the two",
        )
    if isinstance(spec.optimizer, ScheduleFree):
        yield Problem(
            path="lipschitz.weight_clip",
            value=spec.lipschitz.weight_clip.limit,
            message="optimizer 'schedule_free' validates and ends with an average that lipschitz.weight_clip does not "
            "reach",
            mend="another optimizer, or lipschitz.gradient_penalty",
        )

"""A training in another guise is the same training, and so are its values; and so they are at any size."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gyrostat.probes import ProbeSession
from gyrostat.spec.probes import PROBES, Probes, Recorder
from tests.gyrostat.probes.test_harmless_ways import Images, Recomputed, Shared, Way, trained

GUISES = {
    "channels last": (Way(make=lambda: Images(torch.contiguous_format)), Way(make=Images)),
    "checkpointed": (Way(make=lambda: Recomputed(None)), Way(make=lambda: Recomputed(False))),
    "checkpointed, reentrant": (Way(make=lambda: Recomputed(None)), Way(make=lambda: Recomputed(True))),
    "compiled": (Way(make=Shared), Way(make=Shared, compiler="eager")),
}
OF_OUTPUTS = ("activations", "signals", "ranks", "statistics")
"""What hooks on modules see, which compiled code does not call."""


@pytest.fixture(autouse=True)
def _nothing_compiled() -> None:
    torch._dynamo.reset()


@pytest.mark.parametrize("name", GUISES)
def test_values_are_those_of_the_same_training_without_it(name: str, sink: Any) -> None:
    frames = []
    for way in GUISES[name]:
        sink.clear()
        trained(way, sink, watched=True)
        frames.append({metric: values for metric, values in sink.frames[8].items() if not metric.startswith("probe.")})
    plain, other = frames
    missing = set(plain) - set(other)
    if name == "compiled":
        assert missing <= {metric for probe in OF_OUTPUTS for metric in PROBES[probe].metrics}
    elif "reentrant" in name:  # refuses torch.autograd.grad
        assert missing
        assert not any(metric.startswith(("gradient.norm", "weight.", "activation.")) for metric in missing)
    else:
        assert not missing
    assert {"gradient.norm", "update.ratio", "weight.operator_norm"} <= other.keys() <= plain.keys()
    for metric, values in other.items():
        np.testing.assert_allclose(values, plain[metric], rtol=2e-3, atol=1e-6, err_msg=metric)


def cheap() -> Probes:
    dear = {name: kind(enabled=False) for name, kind in PROBES.items() if kind.cost != "cheap"}
    return Probes(budget=None, recorder=Recorder(enabled=False), **dear)  # type: ignore[arg-type]


@pytest.mark.parametrize("layers", [1, 10, 10_000])
def test_values_of_one_to_ten_thousand_layers(layers: int, sink: Any) -> None:
    """Each passes on what it is given, so that every value is known."""
    model = nn.Sequential(*(nn.Linear(1, 1) for _ in range(layers)))
    for parameter in model.parameters():
        nn.init.constant_(parameter, float(parameter.ndim == 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.25)
    with ProbeSession(model, optimizer, cheap(), sink=sink, scalars=["loss.train"]) as session:
        session.begin_step(1)
        model(torch.ones(2, 1)).mean().backward()
        session.after_backward()
        optimizer.step()
        session.after_update()
        session.end_step({"loss.train": 1.0}, epoch=0.0)
    assert not sink.events
    found, both, each = sink.frames[1], np.ones(2 * layers), np.ones(layers)
    np.testing.assert_allclose(found["gradient.norm"], both)
    np.testing.assert_allclose(found["gradient.global_norm"], (2 * layers) ** 0.5, rtol=1e-6)
    np.testing.assert_allclose(found["weight.norm"], np.tile([0.75, 0.25], layers))
    np.testing.assert_allclose(found["update.ratio"][::2], 0.25 * each)
    np.testing.assert_allclose(found["activation.rms"], each)
    np.testing.assert_allclose(found["activation.gradient_rms"], 0.5 * each)
    if layers > 1:
        np.testing.assert_allclose(found["gradient.depth_slope"], 0, atol=1e-9)


@pytest.mark.parametrize("exponent", range(9))
def test_values_of_parameters_of_one_to_a_hundred_million_elements(exponent: int, sink: Any) -> None:
    """One element of the gradient is another than the rest."""
    size = 10**exponent
    model = nn.Module()
    model.weight = nn.Parameter(torch.full((size,), 0.5, dtype=torch.bfloat16))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    with ProbeSession(model, optimizer, cheap(), sink=sink, scalars=["loss.train"]) as session:
        session.begin_step(1)
        gradient = torch.full((size,), 0.25, dtype=torch.bfloat16)
        gradient[size // 2] = -2.0
        model.weight.grad = gradient
        session.after_backward()
        optimizer.step()
        session.after_update()
        session.end_step({"loss.train": 1.0}, epoch=0.0)
    assert not sink.events
    found = {metric: float(values[0]) for metric, values in sink.frames[1].items()}
    norm, before, after = ((size - 1) / 16 + 4) ** 0.5, (size / 4) ** 0.5, ((size - 1) / 16 + 6.25) ** 0.5
    assert found["gradient.norm"] == pytest.approx(norm, rel=1e-6)
    assert found["gradient.max_abs"] == 2.0
    assert (found["gradient.zero_fraction"], found["gradient.nonfinite_count"]) == (0, 0)
    assert found["gradient.weight_ratio"] == pytest.approx(norm / before, rel=1e-6)
    assert found["weight.norm"] == pytest.approx(after, rel=1e-6)
    assert found["update.ratio"] == pytest.approx(norm / before, rel=1e-6)

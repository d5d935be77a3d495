from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gyrostat.probes import ProbeSession
from gyrostat.probes import base as registry
from gyrostat.probes.base import Need, Probe, Readings
from gyrostat.probes.schedule import Due
from gyrostat.spec import probes as spec
from gyrostat.spec.probes import Probes

OF_ADAPTIVE = {"curvature.preconditioned_sharpness", "update.second_moment_lag"}
OF_SEVERAL = {"curvature.eigenvalue", "curvature.eigenvalue_error"}
"""Only where more than one eigenvalue is asked for."""
NO_RECORDER = spec.Recorder(enabled=False)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def num_hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def loss_of(model: nn.Module) -> Tensor:
    return model(torch.ones(5, 3)).square().mean()


@pytest.fixture
def session(sink: Any) -> Iterator[tuple[ProbeSession, nn.Module, torch.optim.Optimizer]]:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with ProbeSession(
        model,
        optimizer,
        Probes(budget=None, recorder=NO_RECORDER),
        sink=sink,
        scalars=["loss.train", "accuracy.train"],
        probe_loss=lambda: loss_of(model),
    ) as session:
        yield session, model, optimizer


def test_without_a_budget_each_probe_keeps_exactly_its_cadence(
    sink: Any, session: Any, run_step: Callable[..., Tensor]
) -> None:
    watching, model, optimizer = session
    losses = [run_step(watching, step, model, optimizer, lambda: loss_of(model)) for step in range(1, 101)]
    for kind in spec.PROBES.values():
        if registry.PROBES[kind.name].needs & {Need.ATTENTION, Need.BRANCHES, Need.PROBE_BATCH}:
            continue
        every, start = kind().every, [1] if kind.at_start else []
        for metric in set(kind.metrics) - {*OF_ADAPTIVE, *OF_SEVERAL, *spec.StatisticsProbe.metrics}:
            found = [step for step, frame in sink.frames.items() if metric in frame]
            due = [*start, *range(every if every > 1 else 2, 101, every)]
            later = Need.NEXT_GRADIENT in registry.PROBES[kind.name].needs
            assert found == [step + later for step in due if step + later <= 100], metric
    assert [frame["loss.train"][0] for frame in sink.frames.values()] == [np.float32(loss) for loss in losses]
    assert [step for step, frame in sink.frames.items() if "probe.overhead" in frame] == [50, 100]
    assert all(0 < sink.frames[step]["probe.overhead"][0] < 1 for step in (50, 100))
    assert sink.order[:2] == ["layout 1", "frame 1"]
    assert sink.order.count("layout 1") == 1
    assert not sink.events


def test_hooks_are_there_only_in_the_forward_passes_of_due_steps(session: Any) -> None:
    watching, model, _ = session
    assert num_hooks(model) == 0
    watching.begin_step(1)
    assert num_hooks(model) == 3
    watching.after_backward()
    assert num_hooks(model) == 0
    watching.after_update()
    watching.end_step({}, epoch=0)
    watching.begin_step(2)
    assert num_hooks(model) == 0


def test_hooks_are_gone_after_an_error_and_after_a_step_that_was_broken_off(session: Any, sink: Any) -> None:
    watching, model, _ = session
    watching.begin_step(1)
    watching.begin_step(1)
    assert num_hooks(model) == 3
    with pytest.raises(RuntimeError, match="in training"), watching:
        raise RuntimeError("in training")
    assert num_hooks(model) == 0


def test_a_probe_that_raises_is_switched_off_and_reported_and_training_goes_on(
    sink: Any, run_step: Callable[..., Tensor]
) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def broken() -> Tensor:
        raise ValueError("no such batch")

    settings = Probes(budget=None, curvature=spec.CurvatureProbe(every=2), gradients=spec.GradientsProbe(every=1))
    with ProbeSession(model, optimizer, settings, sink=sink, scalars=["loss.train"], probe_loss=broken) as session:
        for step in (1, 2, 3):
            run_step(session, step, model, optimizer, lambda: loss_of(model))
    ((kind, step, data),) = sink.events
    assert (kind, step, data["probe"], data["reason"]) == (
        "probe_disabled",
        1,
        "curvature",
        "ValueError: no such batch",
    )
    assert "in broken" in data["traceback"]
    assert all("gradient.norm" in frame for frame in sink.frames.values())
    assert "weight.spectral_norm" in sink.frames[1]


def test_a_probe_that_raises_in_a_hook_is_switched_off_too(
    sink: Any, run_step: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "PROBES", dict(registry.PROBES))
    monkeypatch.delitem(registry.PROBES, "activations")

    class Fragile(Probe):
        settings_type = spec.ActivationsProbe
        needs = frozenset({Need.OUTPUTS})

        def output(self, leaf: int, output: Tensor) -> None:
            raise MemoryError("in a hook")

    monkeypatch.setattr("gyrostat.probes.session.PROBES", registry.PROBES | {"activations": Fragile})
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with ProbeSession(model, optimizer, Probes(budget=None), sink=sink, scalars=["loss.train"]) as session:
        run_step(session, 1, model, optimizer, lambda: loss_of(model))
    assert [data["reason"] for _, _, data in sink.events] == ["MemoryError: in a hook"]
    assert "gradient.norm" in sink.frames[1]
    assert num_hooks(model) == 0


def test_scalars_may_be_numbers_or_tensors_and_only_those_announced(session: Any, sink: Any) -> None:
    watching, _, _ = session
    watching.begin_step(2)
    watching.end_step({"loss.train": torch.tensor([2.0], requires_grad=True), "accuracy.train": 1}, epoch=0.5)
    assert {name: float(value[0]) for name, value in sink.frames[2].items()} == {"loss.train": 2, "accuracy.train": 1}
    watching.begin_step(3)
    with pytest.raises(ValueError, match=r"'loss\.validation' was not announced"):
        watching.end_step({"loss.validation": 1.0}, epoch=0)
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        watching.end_step({"loss.train": torch.ones(3)}, epoch=0)


def test_a_step_with_nothing_to_say_sends_nothing(session: Any, sink: Any) -> None:
    watching, _, _ = session
    watching.begin_step(2)
    watching.after_backward()
    watching.after_update()
    watching.end_step({}, epoch=0)
    assert not sink.frames


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("loss.trian", "no scalar of the catalogue"),
        ("weight.norm", "no scalar"),
        ("gradient.global_norm", "by a probe"),
    ],
)
def test_scalars_that_mean_nothing_or_something_else_are_refused(sink: Any, name: str, message: str) -> None:
    model = network()
    with pytest.raises(ValueError, match=message):
        ProbeSession(model, torch.optim.SGD(model.parameters()), Probes(), sink=sink, scalars=[name])


def test_a_restored_session_measures_what_an_uninterrupted_one_does(
    sink: Any, run_step: Callable[..., Tensor], tmp_path: Any
) -> None:
    settings = Probes(
        budget=None,
        spectral=spec.SpectralProbe(every=1),
        direction=spec.DirectionProbe(every=4),
        curvature=spec.CurvatureProbe(every=1, tolerance=0.1),
    )

    def start(recorder: Any) -> tuple[nn.Module, torch.optim.Optimizer, ProbeSession]:
        model = network()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
        probe_loss = lambda: loss_of(model)  # noqa: E731
        return (
            model,
            optimizer,
            ProbeSession(model, optimizer, settings, sink=recorder, scalars=["loss.train"], probe_loss=probe_loss),
        )

    model, optimizer, session = start(sink)
    with session:
        for step in range(1, 9):
            run_step(session, step, model, optimizer, lambda: loss_of(model))
            if step == 4:
                saved = {"m": model.state_dict(), "o": optimizer.state_dict(), "s": session.state_dict()}
                torch.save(saved, tmp_path / "checkpoint")
    state = torch.load(tmp_path / "checkpoint", weights_only=True)
    other = type(sink)()
    model, optimizer, session = start(other)
    model.load_state_dict(state["m"])
    optimizer.load_state_dict(state["o"])
    session.load_state_dict(state["s"])
    with session:
        for step in range(5, 9):
            run_step(session, step, model, optimizer, lambda: loss_of(model))
    assert "gradient.direction_change" in other.frames[5], "the gradient before the cut is in the checkpoint"
    for step in range(5, 9):
        assert other.frames[step].keys() == sink.frames[step].keys()
        for metric, values in other.frames[step].items():
            np.testing.assert_array_equal(values, sink.frames[step][metric], err_msg=f"{metric} at {step}")


class Clock:
    """Time that only passes where somebody says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Stands in for the clock of everything that a session measures its time with."""
    made = Clock()
    for module in ("session", "stopwatch"):
        monkeypatch.setattr(f"gyrostat.probes.{module}.time.perf_counter", made.perf_counter)
    return made


def timed(name: str, seconds: float, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each measurement of the probe takes so long."""
    measure = registry.PROBES[name].after_update

    def slow(probe: Probe) -> Readings:
        clock.now += seconds
        return measure(probe)

    monkeypatch.setattr(registry.PROBES[name], "after_update", slow)


def test_with_a_budget_curvature_waits_until_it_is_paid_for_and_the_overhead_is_reported(
    sink: Any, run_step: Callable[..., Tensor], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed("curvature", 2.0, clock, monkeypatch)
    timed("weights", 0.04, clock, monkeypatch)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    off = {name: kind(enabled=False) for name, kind in spec.PROBES.items() if name not in ("curvature", "weights")}
    settings = Probes(budget=0.1, **off, curvature=spec.CurvatureProbe(every=4))

    def loss() -> Tensor:
        clock.now += 1.0
        return loss_of(model)

    with ProbeSession(
        model, optimizer, settings, sink=sink, scalars=["loss.train"], probe_loss=lambda: loss_of(model)
    ) as session:
        for step in range(1, 501):
            run_step(session, step, model, optimizer, loss)
            if step == 400:
                session.tighten(100)
    found = [step for step, frame in sink.frames.items() if "curvature.sharpness" in frame]
    assert found[0] >= 200, "twenty steps are expected of it, and a tenth of each is saved"
    assert all(step % 4 == 0 for step in found if step <= 400)
    before, after = (len([step for step in found if a < step <= a + 100]) for a in (300, 400))
    assert after > 2 * before > 0
    overhead = {step: frame["probe.total_overhead"][0] for step, frame in sink.frames.items() if step % 50 == 0}
    assert all(0 < share <= 0.1 for step, share in overhead.items() if step <= 400)
    assert 0.1 < overhead[500] < 0.5
    assert len(sink.frames) == 500


def test_the_recorder_sends_the_steps_before_an_incident_in_full_and_those_after_it(
    sink: Any, run_step: Callable[..., Tensor]
) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    settings = Probes(
        budget=None, recorder=spec.Recorder(steps=8), curvature=spec.CurvatureProbe(enabled=False),
        gradients=spec.GradientsProbe(every=10), weights=spec.WeightsProbe(every=10),
    )  # fmt: skip
    factors = [1.0] * 34 + [50.0] + [1.0] * 25
    with ProbeSession(model, optimizer, settings, sink=sink, scalars=["loss.train"]) as session:
        for step in range(1, 61):
            run_step(session, step, model, optimizer, lambda: factors.pop(0) * loss_of(model))
    measured = [step for step, frame in sink.frames.items() if "gradient.norm" in frame]
    assert measured == [1, 10, 20, *range(27, 44), 50, 60]
    assert [entry for entry in sink.order if entry.startswith("recalled")] == [
        f"recalled {step}" for step in (27, 28, 29, 31, 32, 33, 34)
    ]
    assert sink.order.index("recalled 34") < sink.order.index("frame 35")
    assert all(sink.frames[step].keys() >= {"gradient.norm", "weight.norm", "activation.rms"} for step in range(27, 44))
    ((kind, step, data),) = sink.events
    assert (kind, step) == ("log", 35)
    assert "loss.train was" in data["message"]


def test_the_recorder_sends_what_it_has_when_a_detector_sees_trouble_and_when_training_breaks_down(
    sink: Any, run_step: Callable[..., Tensor]
) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    settings = Probes(budget=None, gradients=spec.GradientsProbe(every=50), curvature=spec.CurvatureProbe(every=500))
    session = ProbeSession(model, optimizer, settings, sink=sink, scalars=["loss.train"])
    for step in range(1, 6):
        run_step(session, step, model, optimizer, lambda: loss_of(model))
    session.tighten(2)
    assert "gradient.norm" not in sink.frames[5]
    for step in range(6, 11):
        run_step(session, step, model, optimizer, lambda: loss_of(model))
    assert [step for step, frame in sink.frames.items() if "gradient.norm" in frame] == [1, 2, 3, 4, 5, 6, 7]
    with pytest.raises(RuntimeError, match="broke"), session:
        raise RuntimeError("it broke")
    assert all("gradient.norm" in frame for frame in sink.frames.values())


class Counting(nn.Module):
    """Thousands of modules, of which the hooks' cost would show."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Identity() for _ in range(3_000))
        self.weight = nn.Parameter(torch.ones(1))


def test_thousands_of_modules_cost_nothing_in_steps_that_measure_nothing(sink: Any) -> None:
    model = Counting()
    settings = Probes(budget=None, recorder=NO_RECORDER)
    with ProbeSession(model, torch.optim.SGD(model.parameters()), settings, sink=sink, scalars=[]) as session:
        for step in (1, 2):
            session.begin_step(step)
            assert num_hooks(model) == (3_000 if step == 1 else 0)
            for part in model.parts:
                part(torch.ones(1))
            session.after_backward()
            session.after_update()
            session.end_step({}, epoch=0)
    assert len(sink.frames[1]["activation.mean"]) == 3_000
    assert list(sink.frames) == [1]


def test_readings_of_a_probe_may_be_empty(sink: Any) -> None:
    model = nn.Sequential(nn.ReLU())
    model.scale = nn.Parameter(torch.ones(()))
    with ProbeSession(model, torch.optim.SGD(model.parameters()), Probes(), sink=sink, scalars=[]) as session:
        session.begin_step(1)
        session.after_backward()
        session.after_update()
        session.end_step({}, epoch=0)
    assert not sink.events
    readings: Readings = sink.frames[1]
    assert set(readings) >= {"weight.norm", "update.ratio", "gradient.norm", "gradient.global_norm"}
    assert not set(readings) & {"activation.mean", "weight.spectral_norm", "gradient.depth_slope"}


def test_at_steps_that_cannot_be_paid_for_nobody_looks_until_a_detector_asks(
    sink: Any, run_step: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monkeypatch.setattr("gyrostat.probes.session.ALLOWANCE", 0.0)
    monkeypatch.setattr("gyrostat.probes.session.QUIET_SECONDS", 60.0)
    looks: list[int] = []
    with ProbeSession(model, optimizer, Probes(budget=1e-6), sink=sink, scalars=["loss.train"]) as watching:
        due = watching._schedule.due

        def look(step: int) -> Due:
            looks.append(step)
            return due(step)

        monkeypatch.setattr(watching._schedule, "due", look)

        def run(step: int) -> None:
            run_step(watching, step, model, optimizer, lambda: loss_of(model))

        for step in range(1, 201):
            run(step)
        seldom = [step for step in looks if step > 50]
        assert len(seldom) < 10
        watching.tighten(3)
        run(201)
        assert looks[-1] == 201
        for step in range(202, 260):
            run(step)
        run(300)  # as after a resumption
        assert looks[-1] == 300
    assert [step for step, frame in sink.frames.items() if "loss.train" in frame] == [*range(1, 260), 300]
    shares = [frame["probe.overhead"][0] for frame in sink.frames.values() if "probe.overhead" in frame]
    assert 0 < shares[-1] < 1

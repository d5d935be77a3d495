import math
import random
from typing import Any

import numpy as np
import pytest

from gyrostat.probes.packing import Packed
from gyrostat.probes.recorder import MAX_BYTES, FlightRecorder, Incident, Ring, Watch
from gyrostat.wire.pending import PendingFrame


def frame(step: int, **values: float) -> tuple[PendingFrame, Packed]:
    """Metrics `a__b` are `a.b`."""
    vector = np.array(list(values.values()), dtype=np.float32)
    slices = {name.replace("__", "."): (at, at + 1) for at, name in enumerate(values)}
    fetch = lambda: vector  # noqa: E731
    pending = PendingFrame(step=step, time=1e9 + step, epoch=step / 10, layout=1, slices=slices, fetch=fetch)
    return pending, Packed(slices, fetch, lambda: True, vector.nbytes)


def judged(values: list[float]) -> list[int]:
    watch = Watch("loss.train")
    return [at for at, value in enumerate(values) if watch.judge(value)]


def falling(length: int, noise: float, seed: int = 0) -> list[float]:
    source = random.Random(seed)
    return [math.exp(-at / 300) * source.lognormvariate(0, noise) for at in range(length)]


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1, 0.3])
def test_a_healthy_loss_is_no_incident(noise: float) -> None:
    assert sum(len(judged(falling(2000, noise, seed))) for seed in range(5)) == 0


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_a_value_far_above_the_recent_ones_is_one_and_the_next_are_not(noise: float) -> None:
    values = falling(400, noise)
    values[200] *= 10
    values[203] *= 12
    assert judged(values) == [200]
    watch = Watch("loss.train")
    incident = next(found for value in values if (found := watch.judge(value)))
    assert incident.metric == "loss.train"
    assert incident.value == values[200]
    assert incident.median < incident.limit < incident.value
    assert "loss.train was" in str(incident)


def test_before_sixteen_values_are_known_nothing_is_too_large() -> None:
    assert judged([1.0] * 15 + [1e9] + [1.0] * 10) == []


def test_negative_losses_are_judged_by_their_spread_alone() -> None:
    source = random.Random(1)
    values = [-5 + source.gauss(0, 0.1) for _ in range(100)]
    assert judged([*values, -4.6]) == []
    assert judged([*values, -3.0]) == [100]


def test_what_becomes_non_finite_is_an_incident_at_once_and_once() -> None:
    nan, inf = math.nan, math.inf
    assert judged([1.0, nan, nan, inf, 1.0, 1.0, inf, 1.0]) == [1, 6]


def test_a_new_level_becomes_the_usual_one() -> None:
    assert judged([1.0] * 100 + [50.0] * 200) == [100]


def test_a_ring_forgets_by_number_by_step_and_by_size() -> None:
    ring = Ring(3)
    for step in range(1, 6):
        ring.keep(frame(step, a=1.0)[0], 4)
    assert (len(ring), ring.num_bytes) == (3, 12)
    ring.forget_before(4)
    assert [kept.step for kept in ring.take()] == [4, 5]
    assert (len(ring), ring.num_bytes) == (0, 0)
    large = Ring(1000)
    for step in range(10):
        large.keep(frame(step, a=1.0)[0], MAX_BYTES // 4)
    assert (len(large), large.num_bytes) == (4, MAX_BYTES)


def take(recorder: FlightRecorder, step: int, loss: float, *, due: bool = False, **more: float) -> Incident | None:
    pending, packed = frame(step, loss__train=loss, weight__norm=float(step), **more)
    return recorder.take(pending, packed, () if due else ("weight.norm",))


def test_kept_metrics_are_sent_after_an_incident_once_in_order_and_before_its_own_frame(sink: Any) -> None:
    recorder = FlightRecorder(8, sink)
    sink.layout_of, sink.layouts = {}, [Anything()]
    for step in range(1, 31):
        take(recorder, step, 1.0, due=step % 10 == 0)
    assert "recalled 29" not in sink.order
    assert take(recorder, 31, 99.0) is not None
    assert sink.order[-8:] == [*(f"recalled {step}" for step in (23, 24, 25, 26, 27, 28, 29)), "frame 31"]
    assert all(sink.frames[step]["weight.norm"] == step for step in range(23, 32))
    assert "weight.norm" not in sink.frames[22]
    assert recorder.num_bytes == 0
    assert take(recorder, 32, 99.0) is None
    recorder.recall()
    assert sink.order[-2:] == ["frame 32", "recalled 32"]


def test_a_frame_that_has_only_what_is_kept_is_not_sent(sink: Any) -> None:
    recorder = FlightRecorder(8, sink)
    sink.layouts = [Anything()]
    pending, packed = frame(1, weight__norm=1.0)
    recorder.take(pending, packed, ["weight.norm"])
    assert not sink.order
    recorder.recall()
    assert sink.order == ["recalled 1"]


def test_after_a_rollback_what_was_kept_is_of_another_training(sink: Any) -> None:
    recorder = FlightRecorder(8, sink)
    sink.layouts = [Anything()]
    take(recorder, 10, 1.0)
    take(recorder, 4, 1.0)
    recorder.recall()
    assert [entry for entry in sink.order if "recalled" in entry] == ["recalled 4"]


def test_values_that_are_on_their_way_are_judged_when_they_have_come(sink: Any) -> None:
    recorder = FlightRecorder(64, sink)
    sink.layouts = [Anything()]
    for step in range(1, 21):
        take(recorder, step, 1.0)
    here = False
    pending, packed = frame(21, loss__train=math.nan)
    assert recorder.take(pending, packed._replace(arrived=lambda: here), ()) is None
    pending, packed = frame(22, loss__train=1.0)
    assert recorder.take(pending, packed, ()) is None
    here = True
    pending, packed = frame(23, loss__train=1.0)
    incident = recorder.take(pending, packed, ())
    assert incident is not None
    assert math.isnan(incident.value)


def test_a_gradient_that_overflows_at_a_loss_scale_is_no_incident(sink: Any) -> None:
    recorder = FlightRecorder(64, sink)
    sink.layouts = [Anything()]
    assert take(recorder, 1, 1.0, gradient__global_norm=math.inf, precision__overflow=1.0) is None
    assert take(recorder, 2, 1.0, gradient__global_norm=math.inf, precision__overflow=0.0) is not None


class Anything:
    """A layout that has every metric."""

    version = 1

    def width(self, metric: str) -> int:
        return 1

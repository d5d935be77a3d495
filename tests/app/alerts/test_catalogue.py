"""What must hold of every detector, found by walking the registry."""

import json

import numpy as np
import pytest
from pydantic import ValidationError

from app.alerts import detectors as _registered  # noqa: F401
from app.alerts.base import DETECTORS, Detector
from app.alerts.engine import Engine
from app.alerts.rules import effective
from gyrostat.spec.catalogue import STABILIZERS
from gyrostat.spec.metrics import METRICS
from gyrostat.spec.presets import PRESETS
from gyrostat.wire.values import ABSENT
from tests.app.alerts.streams import AXIS_OF, WIDTHS, context, frame, frames, healthy, only

JUDGING = [kind for kind, detector in DETECTORS.items() if detector.metrics]


def test_the_kinds_are_those_that_the_service_promises() -> None:
    assert sorted(DETECTORS) == [
        "dead_units",
        "divergence",
        "exploding_gradient",
        "loss_spike",
        "non_finite",
        "rank_divergence",
        "sharpness",
        "update_ratio",
        "vanishing_gradient",
        "worker_lost",
    ]


@pytest.mark.parametrize("kind", DETECTORS)
def test_every_detector_explains_itself_and_reads_only_metrics_of_the_catalogue(kind: str) -> None:
    detector = DETECTORS[kind]
    assert detector.title
    assert len(detector.explanation) > 100
    assert detector.source
    assert detector.hold >= 1
    assert detector.quiet >= 1
    assert set(detector.metrics) <= set(METRICS)
    for field in detector.model_fields.values():
        assert field.description
        assert field.metadata, "a threshold needs bounds"


@pytest.mark.parametrize("kind", DETECTORS)
def test_thresholds_out_of_range_and_unknown_ones_are_refused(kind: str) -> None:
    detector = DETECTORS[kind]
    with pytest.raises(ValidationError):
        detector.model_validate({"no_such_threshold": 1})
    for name in detector.model_fields:
        with pytest.raises(ValidationError):
            detector.model_validate({name: -1})
        with pytest.raises(ValidationError):
            detector.model_validate({name: float("nan")})


def test_two_detectors_of_one_kind_are_an_error() -> None:
    with pytest.raises(TypeError, match="two detectors have the kind 'divergence'"):
        type("Twice", (Detector,), {"kind": "divergence", "__module__": __name__})


def test_presets_expect_kinds_that_exist_and_so_do_the_techniques_that_treat_them() -> None:
    for preset in PRESETS.values():
        assert set(preset.expected_alerts) <= set(DETECTORS)
    treated = {kind for technique in STABILIZERS.values() for kind in technique.entry.treats}
    assert treated - set(DETECTORS) <= {"overfitting"}


@pytest.mark.parametrize("seed", range(5))
def test_a_healthy_training_raises_nothing(seed: int) -> None:
    engine = Engine(effective(), context(), None)
    assert engine.observe(frames(healthy(seed), range(1, 401))) == []
    assert not engine.tighten


@pytest.mark.parametrize("kind", JUDGING)
def test_it_is_silent_on_a_flat_series(kind: str) -> None:
    fine = {"curvature.sharpness_over_limit": 0.5, "activation.zero_fraction": 0.5, "update.ratio": 1e-3}
    values = {m: 0.0 if m.startswith("rank.") else fine.get(m, 1.0) for m in DETECTORS[kind].metrics}
    assert Engine(only(kind), context(), None).observe(frames(lambda step: values, range(1, 300))) == []


@pytest.mark.parametrize("kind", [kind for kind in JUDGING if kind != "non_finite"])
def test_gaps_of_nan_are_not_its_finding_and_do_not_blind_it(kind: str) -> None:
    """The finding of the detector on NaN is `non_finite`'s; the others must neither speak nor keep it."""
    source = healthy(3)

    def with_gaps(step: int) -> dict[str, object]:
        values = source(step)
        return {m: np.full_like(np.atleast_1d(v), np.nan) for m, v in values.items()} if step % 60 == 50 else values

    engine = Engine(only(kind), context(), None)
    assert engine.observe(frames(with_gaps, range(1, 401))) == []
    assert b"\xff\xf8" not in engine.dump()
    assert b"\x7f\xf8" not in engine.dump()


@pytest.mark.parametrize("kind", JUDGING)
def test_what_was_not_measured_says_nothing(kind: str) -> None:
    values = {metric: np.full(WIDTHS[AXIS_OF[metric]], ABSENT) for metric in DETECTORS[kind].metrics}
    assert Engine(only(kind), context(), None).observe(frames(lambda step: values, range(1, 50))) == []
    assert Engine(only(kind), context(), None).observe([frame(1, {}), frame(2, {"memory.resident_bytes": 1.0})]) == []


@pytest.mark.parametrize("kind", JUDGING)
def test_vectors_that_do_not_fit_the_axis_are_passed_over(kind: str) -> None:
    values = {metric: np.full(3, np.nan, dtype=np.float32) for metric in DETECTORS[kind].metrics}
    vectors = {metric: value for metric, value in values.items() if AXIS_OF[metric] != "run"}
    assert Engine(only(kind), context(), None).observe(frames(lambda step: vectors, range(1, 50))) == []


def test_the_state_is_small() -> None:
    engine = Engine(effective(), context(), None)
    engine.observe(frames(healthy(), range(1, 401)))
    assert len(engine.dump()) < 8192


def test_settings_are_described_for_the_interface() -> None:
    for detector in DETECTORS.values():
        schema = json.loads(json.dumps(detector.model_json_schema()))
        assert set(schema.get("properties", {})) == set(detector.model_fields)

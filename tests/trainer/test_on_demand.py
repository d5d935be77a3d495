"""Measurements on demand in a running training: made between two steps, told whatever comes of them, and harmless."""

import pytest

from gyrostat.spec.measurements import Alignment, Landscape, SpectralDensity
from gyrostat.spec.probes import PROBES
from gyrostat.wire.measurements import LandscapeValues, Order, Report
from tests.trainer.recording import document, trained
from trainer import on_demand
from trainer.control import Control

QUIET = {name: {"enabled": False} for name in PROBES}
SPEC = document(
    "digits-mlp",
    steps=8,
    model={"width": 16, "norm": "batch"},
    regularization={"dropout": {"kind": "element", "rate": 0.3}},
    probes=QUIET,
)
LINE = Order(id="line", settings=Landscape(points=5))
SPECTRUM = Order(id="spectrum", settings=SpectralDensity(probes=2, steps=5))


def reports(recording):
    return {
        data["id"]: (step, Report.model_validate(data))
        for kind, step, data in recording.events
        if kind == "measurement"
    }


def test_what_is_asked_for_is_measured_at_the_weights_of_that_step_and_changes_nothing(tmp_path):
    undisturbed = trained(SPEC, tmp_path / "a")
    control = Control()
    control.measure(LINE)

    def ask(step):
        if step == 5:
            control.measure(SPECTRUM)
            control.measure(Order(id="line-again", settings=LINE.settings))
            control.measure(Order(id="likeness", settings=Alignment()))
            control.measure(LINE)  # told twice, as commands are until they are done

    disturbed = trained(SPEC, tmp_path / "b", control=control, progress=ask)
    assert disturbed.scalars("loss.train") == undisturbed.scalars("loss.train")
    assert disturbed.scalars("loss.validation") == undisturbed.scalars("loss.validation")
    found = reports(disturbed)
    assert {name: step for name, (step, _) in found.items()} == {
        "line": 0, "spectrum": 5, "line-again": 5, "likeness": 5,
    }  # fmt: skip
    for _, report in found.values():
        assert report.error is None
        assert report.samples == 64
        assert report.seconds > 0
    before, after = found["line"][1].values, found["line-again"][1].values
    assert isinstance(before, LandscapeValues)
    assert isinstance(after, LandscapeValues)
    assert after.losses[2] < before.losses[2], "trained for five steps"
    assert before.losses[2] == pytest.approx(2.3, abs=0.6)


def test_a_measurement_that_fails_is_told_and_training_goes_on(tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("out of memory \x1b[31m" + "x" * 5000)

    monkeypatch.setattr(on_demand, "measure", broken)
    control = Control()
    control.measure(LINE)
    recording = trained(SPEC, tmp_path, control=control)
    _, report = reports(recording)["line"]
    assert report.error.startswith("RuntimeError: out of memory")
    assert report.values is None
    assert recording.kinds()[-1] == "finished"
    assert len(recording.scalars("loss.train")) == 8


def test_a_training_that_is_asked_to_end_does_not_wait_for_a_measurement(tmp_path):
    control = Control()

    class Impatient(Control):
        @property
        def ending(self):
            self.looked = getattr(self, "looked", 0) + 1
            return "stopped" if self.looked > 4 else None

        @ending.setter
        def ending(self, how):
            pass

    control = Impatient()
    control.measure(Order(id="long", settings=Landscape(dimensions=2, points=51)))
    control.measure(SPECTRUM)
    recording = trained(SPEC, tmp_path, control=control)
    found = reports(recording)
    assert "asked to end" in found["long"][1].error
    assert "asked to end" in found["spectrum"][1].error
    assert recording.kinds()[-1] == "stopped"

"""The sick are told from the well: real nets, trained by the real loop on real data, judged by all rules."""

from pathlib import Path
from typing import Any

import pytest
import torch

from app.alerts.engine import Engine
from app.alerts.model import AlertChange, FrameView, RunContext
from app.alerts.rules import effective
from gyrostat.spec.catalogue import merge_patch
from gyrostat.spec.presets import PRESETS
from tests.trainer.recording import Recording, trained

CHEAP = {"threads": 1, "probes": {"budget": 1.0, "curvature": {"enabled": False}}, "checkpoints": {"every": 10_000}}


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train(folder: Path, document: dict[str, Any], steps: int, **patch: Any) -> tuple[Recording, list[AlertChange]]:
    """The training, and what the rules say of it."""
    wanted = merge_patch(document, {**CHEAP, "steps": steps, "validation": {"every": steps}, **patch})
    recording = trained(wanted, folder)
    layout = recording.layouts[-1]
    context = RunContext(
        axes={axis: tuple(names) for axis, names in layout.axes.items()},
        axis_of={metric.name: metric.axis for metric in layout.metrics},
        spec=wanted,
    )
    frames = [FrameView(step=step, values=values) for step, values in recording.frames.items()]
    return recording, Engine(effective(), context, None).observe(frames)


def normalized(preset: str) -> dict[str, Any]:
    return PRESETS[preset].spec.model_dump(mode="json")


def opened(changes: list[AlertChange]) -> dict[str, AlertChange]:
    return {change.kind: change for change in changes if change.change == "opened"}


def last_loss(recording: Recording) -> float:
    return list(recording.scalars("loss.train").values())[-1]


@pytest.mark.parametrize(
    ("preset", "steps"),
    [
        ("digits-mlp", 200),
        ("digits-resnet", 45),
        ("digits-cnn", 40),
        ("diabetes-mlp", 300),
        ("text-transformer", 55),
        ("digits-diffusion", 70),
        ("digits-vae", 200),
        ("digits-gan", 150),
    ],
)
def test_a_healthy_training_is_silent(preset: str, steps: int, tmp_path: Path) -> None:
    recording, changes = train(tmp_path, normalized(preset), steps)
    assert [(change.kind, change.step, change.summary) for change in changes] == []
    assert last_loss(recording) < next(iter(recording.scalars("loss.train").values()))


def test_a_deep_sigmoid_mlp_loses_its_gradient_in_the_first_layers_and_is_cured(tmp_path: Path) -> None:
    recording, changes = train(tmp_path / "sick", normalized("sick-deep-sigmoid"), 120)
    vanishing = opened(changes)["vanishing_gradient"]
    assert vanishing.onset_step is not None
    assert vanishing.onset_step <= 5
    assert vanishing.step <= 20
    assert vanishing.names[:3] == tuple(f"layers.{i}.linear.weight" for i in range(3))
    assert not {"divergence", "exploding_gradient", "non_finite", "dead_units"} & set(opened(changes))
    for number, remedy in enumerate(vanishing.remedies[:3]):
        cured = merge_patch(normalized("sick-deep-sigmoid"), remedy.patch)
        again, changes = train(tmp_path / str(number), cured, 150)
        assert changes == [], remedy.title
        assert last_loss(again) < 0.6 * last_loss(recording), remedy.title


def test_a_rate_ten_times_too_large_is_found_within_fifty_steps_and_cured(tmp_path: Path) -> None:
    _, changes = train(tmp_path / "sick", normalized("sick-large-rate"), 60)
    found = opened(changes)
    assert set(PRESETS["sick-large-rate"].expected_alerts) <= set(found)
    assert found["divergence"].step <= 20
    assert found["exploding_gradient"].step <= 50
    assert found["divergence"].severity == "critical"
    cured = merge_patch(normalized("sick-large-rate"), found["divergence"].remedies[0].patch)
    recording, changes = train(tmp_path / "cured", cured, 200)
    assert changes == []
    assert last_loss(recording) < 0.5


def test_units_that_die_are_found_with_their_layers(tmp_path: Path) -> None:
    _, changes = train(tmp_path, normalized("sick-dead-relu"), 150)
    dead = opened(changes)["dead_units"]
    assert dead.step <= 100
    assert all("activation" in name for name in dead.names)

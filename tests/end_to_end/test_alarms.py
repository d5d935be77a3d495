"""The sick are told from the well, in real trainings through the real service."""

from pathlib import Path
from typing import Any

import pytest

from gyrostat.spec.catalogue import merge_patch
from gyrostat.spec.presets import PRESETS
from tests.end_to_end.service import Service, running

CHEAP = {"threads": 1, "probes": {"curvature": {"every": 100, "batch_size": 64, "max_products": 8}}}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("alarms")
    with running(folder) as started:
        started.start_worker(slots=2)
        yield started


def trained(service: Service, preset: str, steps: int) -> str:
    document = merge_patch(PRESETS[preset].document, {**CHEAP, "steps": steps})
    run = service.start_run(document, name=preset)
    service.wait_for_state(run, "finished", within=150)
    return run


def test_a_deep_sigmoid_mlp_is_told_that_its_gradient_vanishes_in_the_first_layers(service: Service) -> None:
    alerts = service.alerts(trained(service, "sick-deep-sigmoid", 200))
    vanishing = next(alert for alert in alerts if alert["kind"] == "vanishing_gradient")
    assert vanishing["names"][0].startswith("layers.0.")
    assert vanishing["onset_step"] <= 50
    assert vanishing["evidence"]
    stabilizers = [remedy["stabilizer"] for remedy in vanishing["remedies"]]
    assert {"activation.relu", "norm.batch", "connection.residual"} & set(stabilizers)


def test_a_rate_ten_times_too_large_is_called_a_divergence_or_explosion_early(service: Service) -> None:
    alerts = service.alerts(trained(service, "sick-large-rate", 150))
    found = [alert for alert in alerts if alert["kind"] in ("divergence", "exploding_gradient", "non_finite")]
    assert found
    assert min(alert["opened_step"] for alert in found) <= 60
    patches = [remedy["patch"] for alert in found for remedy in alert["remedies"]]
    assert any(patch.get("optimizer", {}).get("learning_rate") for patch in patches)


@pytest.mark.parametrize(("preset", "steps"), [("digits-resnet", 250), ("digits-mlp", 400)])
def test_a_healthy_run_stays_silent(service: Service, preset: str, steps: int) -> None:
    assert service.alerts(trained(service, preset, steps)) == []

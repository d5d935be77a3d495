"""A training from request to stored numbers, with everything that can be killed killed."""

import time
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.service import Service, eventually, running

DROPOUT_MLP: dict[str, Any] = {
    "task": {"kind": "classification", "dataset": "digits"},
    "model": {"kind": "mlp", "depth": 2, "width": 32, "norm": "batch"},
    "regularization": {"dropout": {"kind": "element", "rate": 0.2}},
    "optimizer": {"kind": "sgd", "learning_rate": 0.02, "momentum": 0.9},
    "data": {"batch_size": 32},
    "validation": {"every": 50},
    "checkpoints": {"every": 50},
    "steps": 120,
    "seed": 3,
    "threads": 1,
}


def long(steps: int) -> dict[str, Any]:
    """Enough work for something to be killed in the middle of it: about 100 steps a second."""
    return DROPOUT_MLP | {
        "model": {"kind": "mlp", "depth": 8, "width": 192, "norm": "batch"},
        "data": {"batch_size": 256},
        "checkpoints": {"every": 40},
        "probes": {"curvature": {"every": 200, "batch_size": 64, "max_products": 6}},
        "steps": steps,
    }


@pytest.fixture
def service(tmp_path: Path, database_url: str) -> Any:
    with running(tmp_path, database_url) as started:
        yield started


def test_a_run_started_over_rest_is_trained_measured_and_finished(service: Service) -> None:
    service.start_worker()
    every_cadence = {"probes": {"budget": None}}  # so short a run saves too little for curvature
    run = service.start_run(DROPOUT_MLP | every_cadence, name="first", project="tests", tags=["a", "b"])
    ended = service.wait_for_state(run, "finished")
    assert ended["step"] == ended["steps"] == 120
    assert list(service.scalars(run, "loss.train")) == list(range(1, 121))
    assert service.scalars(run, "accuracy.validation")[120] > 0.8
    catalogue = service.catalogue(run)
    for metric in ("gradient.norm", "weight.norm", "update.ratio", "activation.rms", "weight.spectral_norm",
                   "curvature.sharpness", "optimizer.learning_rate", "memory.resident_bytes"):  # fmt: skip
        assert catalogue[metric]["count"] > 0, metric
    norms = service.series(run, "gradient.norm", names="*linear.weight")
    assert norms["names"] == ["layers.0.linear.weight", "layers.1.linear.weight"]
    states = [change["new"] for change in service.transitions(run)]
    assert states == ["queued", "starting", "running", "finished"]


def test_a_training_goes_on_unharmed_while_the_backend_is_killed_and_every_frame_arrives_once(service: Service) -> None:
    service.start_worker()
    run = service.start_run(long(700))
    service.wait_for_step(run, 40)
    service.kill_backend()
    time.sleep(2.5)
    service.start_backend()
    ended = service.wait_for_state(run, "finished", within=120)
    assert ended["attempt"] == 1
    losses = service.series(run, "loss.train")
    assert losses["steps"] == list(range(1, 701))
    assert losses["total_points"] == 700
    catalogue = service.catalogue(run)
    assert catalogue["loss.train"]["count"] == 700


def test_a_run_whose_worker_is_killed_goes_on_elsewhere_bit_for_bit(service: Service) -> None:
    document = long(600)
    service.start_worker("undisturbed")
    reference = service.start_run(document)
    service.wait_for_state(reference, "finished", within=120)
    service.end_worker("undisturbed")

    service.start_worker("doomed")
    run = service.start_run(document)
    service.wait_for_step(run, 90)
    service.kill_worker("doomed")
    killed_at = time.monotonic()
    service.start_worker("heir")
    eventually(lambda: service.run(run)["state"] in ("unreachable", "queued"), within=30)
    noticed = time.monotonic() - killed_at
    service.wait_for_state(run, "finished", within=120)
    assert noticed < 30
    assert service.run(run)["attempt"] == 2
    assert service.scalars(run, "loss.train") == service.scalars(reference, "loss.train")
    assert service.scalars(run, "loss.validation") == service.scalars(reference, "loss.validation")


def test_pausing_and_resuming_changes_no_number(service: Service) -> None:
    document = long(1500)
    service.start_worker(slots=2)
    reference = service.start_run(document)
    run = service.start_run(document)
    service.wait_for_step(run, 60)
    assert service.http.post(f"/v1/runs/{run}:pause").status_code in (200, 202)
    paused = service.wait_for_state(run, "paused")
    assert paused["step"] < 1500
    assert service.http.post(f"/v1/runs/{run}:resume").status_code in (200, 202)
    service.wait_for_state(run, "finished", within=120)
    service.wait_for_state(reference, "finished", within=120)
    assert service.scalars(run, "loss.train") == service.scalars(reference, "loss.train")


def test_a_stopped_run_keeps_what_it_measured_and_can_be_forked(service: Service) -> None:
    service.start_worker()
    run = service.start_run(long(5000) | {"checkpoints": {"every": 40, "keep": 1000}})
    service.wait_for_step(run, 90)
    assert service.http.post(f"/v1/runs/{run}:stop").status_code in (200, 202)
    stopped = service.wait_for_state(run, "stopped")
    losses = service.scalars(run, "loss.train")
    assert list(losses) == list(range(1, stopped["step"] + 1))
    forked = service.http.post(
        f"/v1/runs/{run}:fork",
        json={"from_step": 80, "patch": {"steps": 100, "optimizer": {"learning_rate": 0.001}}},
    )
    assert forked.status_code == 201, forked.text
    child = forked.json()["id"]
    service.wait_for_state(child, "finished")
    assert list(service.scalars(child, "loss.train")) == list(range(81, 101))
    assert service.run(child)["parent"] == run


def test_a_training_that_raises_fails_with_its_traceback_on_the_run(service: Service, tmp_path: Path) -> None:
    service.start_worker()
    document = DROPOUT_MLP | {
        "task": {"kind": "language_model", "dataset": {"kind": "text_file", "path": "missing.txt"}},
        "model": {"kind": "transformer", "depth": 1, "width": 16, "attention": {"kind": "multi_head", "heads": 2}},
        "regularization": {},
        "optimizer": {"kind": "adamw"},
    }
    run = service.start_run(document)
    failed = service.wait_for_state(run, "failed")
    assert "missing.txt" in failed["failure"]["error"]
    assert "Traceback" in failed["failure"]["traceback"]
    fine = service.start_run(DROPOUT_MLP | {"steps": 10})
    service.wait_for_state(fine, "finished")

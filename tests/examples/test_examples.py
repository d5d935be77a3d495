"""The examples run as they are: against a real backend, and without one until `gyrostat sync`."""

import contextlib
import io
import re
import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from gyrostat.commands import main
from gyrostat.stream.attached import Attached, folders
from tests.end_to_end.service import Service
from tests.gyrostat.watching.folders import left_in

EXAMPLES = Path(__file__).parents[2] / "examples"

Run = Callable[[str], str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the text of a program in a folder of the test; answers what it prints."""
    monkeypatch.chdir(tmp_path)

    def run(text: str) -> str:
        program = tmp_path / "program.py"
        program.write_text(text)
        with torch.random.fork_rng(), contextlib.redirect_stdout(io.StringIO()) as printed:
            state = np.random.get_state()
            runpy.run_path(str(program), run_name="__main__")
            np.random.set_state(state)
        return printed.getvalue()

    return run


def sent(folder: Path) -> str:
    """Id of the one run that a program has made."""
    (found,) = folders(folder / "gyrostat-runs")
    run = Attached.read(found).run
    assert run is not None
    return run


@pytest.mark.parametrize(
    ("example", "steps", "metrics"),
    [
        ("plain_torch", 96, {"accuracy.validation", "gradient.clipped_norm"}),
        ("accumulation_amp", 40, {"precision.loss_scale", "precision.overflow", "my.samples", "accuracy.validation"}),
        ("lightning_example", 45, {"loss.validation", "accuracy.held_out"}),
        ("transformers_example", 20, {"trainer.grad_norm", "train.runtime"}),
    ],
)
def test_each_example_is_on_the_backend_when_it_ends(
    example: str,
    steps: int,
    metrics: set[str],
    run: Run,
    tmp_path: Path,
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GYROSTAT_SERVER", service.url)
    run((EXAMPLES / f"{example}.py").read_text())
    made = sent(tmp_path)
    found = service.run(made)
    assert (found["state"], found["step"], found["spec"]) == ("finished", steps, None)
    losses = service.scalars(made, "loss.train")
    assert list(losses) == list(range(1, steps + 1))
    assert losses[steps] < losses[1]
    assert metrics <= set(service.catalogue(made))
    assert service.catalogue(made)["gradient.norm"]["count"] > 0
    assert service.catalogue(made)["activation.rms"]["count"] > 0


def test_five_lines_are_added_and_change_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GYROSTAT_SERVER", "")
    text = (EXAMPLES / "plain_torch.py").read_text()
    program = text[text.index('"""', 3) + 3 :]
    added = [line for line in program.splitlines() if re.search("gyrostat|watch", line)]
    assert len(added) <= 5
    bare = "\n".join(line for line in program.splitlines() if line not in added)
    assert run(bare) == run(program)


def test_without_a_backend_everything_is_sent_later(
    run: Run, tmp_path: Path, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GYROSTAT_SERVER", "")
    run((EXAMPLES / "plain_torch.py").read_text())
    (folder,) = folders(tmp_path / "gyrostat-runs")
    left = left_in(folder)
    assert len(left.frames) == 96

    assert main(["sync", "gyrostat-runs", "--server", service.url]) == 0
    made = sent(tmp_path)
    assert service.run(made)["state"] == "finished"
    for metric in ("loss.train", "gradient.norm", "activation.rms", "weight.norm"):
        found = service.series(made, metric, points=10_000)
        assert found["steps"] == [step for step, frame in left.frames.items() if metric in frame]
        expected = np.stack([frame[metric] for frame in left.frames.values() if metric in frame])
        assert np.array_equal(np.array(found["values"], dtype=np.float32), expected)
    assert not left_in(folder).frames

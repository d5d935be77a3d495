"""How a watch ends, and who it does not get in the way of."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import gyrostat
from gyrostat.stream.attached import folders
from gyrostat.watching.opening import STRANGERS
from tests.end_to_end.service import Service, eventually, free_port
from tests.gyrostat.watching.folders import left_in
from tests.gyrostat.watching.test_watch import Loop, num_hooks

ROOT = Path(__file__).parents[3]
Attach = Callable[..., gyrostat.Watch]


@pytest.mark.parametrize(
    ("error", "kind", "data"),
    [
        (ZeroDivisionError("no samples"), "failed", {"error": "ZeroDivisionError: no samples"}),
        (KeyboardInterrupt(), "stopped", {"reason": "interrupted by its user"}),
    ],
)
def test_an_exception_ends_the_watch_and_goes_on(
    attach: Attach, error: BaseException, kind: str, data: dict[str, str]
) -> None:
    loop = Loop()

    def train(watch: gyrostat.Watch) -> None:
        loop.run(watch)
        loop.model(torch.ones(6, 4))
        raise error

    with pytest.raises(type(error)), attach(loop.model, loop.optimizer) as watch:
        train(watch)
    assert num_hooks(loop.model, loop.optimizer) == 0
    left = left_in(watch.folder)
    assert left.events[-1][0] == kind
    assert data.items() <= left.events[-1][2].items()
    assert ("in train" in left.events[-1][2].get("traceback", "")) == (kind == "failed")
    assert len(left.frames) == 6


def test_a_second_watch_of_a_model_ends_the_first(attach: Attach) -> None:
    loop = Loop()
    first = attach(loop.model, loop.optimizer)
    loop.run(first)
    second = attach(loop.model, loop.optimizer)
    loop.run(second)
    first.log({"loss.train": 0.0})
    first.finish()
    second.finish()
    assert left_in(first.folder).events[-1] == ("stopped", 6, {"reason": "its model was attached again"})
    assert len(left_in(first.folder).frames) == len(left_in(second.folder).frames) == 6
    assert num_hooks(loop.model, loop.optimizer) == 0


def test_an_optimizer_of_another_model_is_told_of(attach: Attach, caplog: pytest.LogCaptureFixture) -> None:
    loop, other = Loop(), Loop()
    with attach(loop.model, other.optimizer) as strange, attach(loop.model, loop.optimizer) as right:
        pass
    told = [data.get("message") for watch in (strange, right) for _, _, data in left_in(watch.folder).events]
    assert told.count(STRANGERS) == 1
    assert caplog.text.count(STRANGERS) == 1


def test_what_is_no_mapping_is_refused_where_it_is_logged(attach: Attach) -> None:
    loop = Loop()
    with attach(loop.model, loop.optimizer) as watch, pytest.raises(TypeError, match=r"by their names.*got list"):
        watch.log([1.0])  # type: ignore[arg-type]


PROGRAM = """
import sys, torch, gyrostat
model = torch.nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
watch = gyrostat.attach(model, optimizer, server="", probes={"budget": None})
for _ in range(3):
    optimizer.zero_grad()
    model(torch.ones(5, 4)).sum().backward()
    optimizer.step()
if len(sys.argv) > 1:
    raise RuntimeError("out of data")
"""


@pytest.mark.parametrize("fails", [False, True])
def test_a_program_that_ends_without_a_word_is_told_of(tmp_path: Path, fails: bool) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, str(program), *(["fail"] if fails else [])]
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == fails, done.stderr
    (folder,) = folders(tmp_path / "gyrostat-runs")
    left = left_in(folder)
    assert list(left.frames) == [1, 2, 3]
    kind, step, data = left.events[-1]
    assert (kind, step) == ("failed" if fails else "finished", 3)
    assert data.get("error") == ("RuntimeError: out of data" if fails else None)


def test_a_backend_that_comes_later_gets_everything(attach: Attach, tmp_path: Path) -> None:
    loop = Loop()
    service = Service(tmp_path)
    watch = attach(loop.model, loop.optimizer, server=service.url, name="early", tags=["one"], config={"rate": 0.01})
    try:
        began = time.perf_counter()
        losses = loop.run(watch)
        assert time.perf_counter() - began < 5  # nothing waits for anybody
        service.start_backend()
        run = eventually(lambda: watch.run, within=20)
        assert watch.url == f"{service.url}/runs/{run}"
        watch.finish(timeout=20)
        found = service.run(run)
        assert (found["name"], found["tags"], found["notes"]) == ("early", ["one"], "rate: 0.01")
        assert (found["state"], found["step"]) == ("finished", 6)
        assert list(service.scalars(run, "loss.train").values()) == pytest.approx(losses)

        # started again, it goes on from its step 4
        again = Loop()
        with attach(again.model, again.optimizer, server=service.url, name="early", resume=True, done=4) as watch:
            more = again.run(watch)
            assert eventually(lambda: watch.run, within=20) == run
            watch.finish(timeout=20)
        found = service.run(run)
        assert (found["state"], found["step"], found["attempt"]) == ("finished", 10, 2)
        assert service.scalars(run, "loss.train") == pytest.approx(dict(enumerate([*losses[:4], *more], start=1)))
    finally:
        service.close()


def test_a_backend_that_is_away_costs_no_more_than_its_time(attach: Attach, caplog: pytest.LogCaptureFixture) -> None:
    loop = Loop()
    watch = attach(loop.model, loop.optimizer, server=f"http://127.0.0.1:{free_port()}")
    loop.run(watch)
    watch.finish(timeout=0.3)
    assert watch.run is None
    assert f"gyrostat sync {watch.folder}" in caplog.text
    assert len(left_in(watch.folder).frames) == 6


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "two\nlines"}, "name"),
        ({"project": ""}, "project"),
        ({"probes": {"gradiants": {}}}, "gradiants: is not known here .did you mean 'gradients'"),
        ({"accumulation": 0}, "accumulation ≥ 1"),
        ({"resume": True}, "give name="),
        ({"batch": (torch.ones(1),)}, "no loss"),
        ({"server": "ftp://somewhere"}, "no http address"),
    ],
)
def test_mistakes_are_refused_at_once(attach: Attach, given: dict[str, object], message: str) -> None:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters())
    with pytest.raises(ValueError, match=message):
        attach(model, optimizer, **given)
    assert num_hooks(model, optimizer) == 0


@pytest.mark.parametrize(
    ("scalars", "message"),
    [
        ({"9lives": 1.0}, "begin with a letter"),
        ({"my//metric": 1.0}, "begin with a letter"),
        ({"my/" + "long" * 40: 1.0}, "96 characters"),
        ({"gradient.norm": 1.0}, "scalar"),
        ({"gradient.global_norm": 1.0}, "by a probe"),
        ({"loss.train": torch.ones(2)}, "one element"),
        ({"my/phase": "warmup"}, "'warmup', which is no real number"),
        ({"my/phase": None}, "no real number"),
        ({"my/phase": np.ones(2)}, "no real number"),
        ({"my/phase": 10**400}, "no real number"),
        ({"my/phase": torch.tensor(1j)}, "complex64"),
    ],
)
def test_what_cannot_be_logged_is_refused(attach: Attach, scalars: dict[str, object], message: str) -> None:
    loop = Loop()
    with attach(loop.model, loop.optimizer) as watch, pytest.raises(ValueError, match=message):
        watch.log(scalars)  # type: ignore[arg-type]


def test_the_optimizer_is_no_model(attach: Attach) -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="the model first"):
        attach(torch.optim.SGD(model.parameters()), model)


def test_numbers_of_other_libraries_are_logged(attach: Attach) -> None:
    loop = Loop()
    with attach(loop.model, loop.optimizer) as watch:
        loop.run(watch)
        watch.log({"my/scalar": np.float64(0.5), "my/array": np.array(2), "my/flag": np.bool_(1), "my/count": 3})
    last = left_in(watch.folder).frames[6]
    logged = {name: float(values[0]) for name, values in last.items() if name.startswith("my.")}
    assert logged == {"my.scalar": 0.5, "my.array": 2.0, "my.flag": 1.0, "my.count": 3.0}


def test_the_package_loads_torch_only_when_it_is_asked_to() -> None:
    program = (
        "import sys, gyrostat; assert 'torch' not in sys.modules; import gyrostat.watching; "
        "assert callable(gyrostat.attach) and gyrostat.Watch; assert not hasattr(gyrostat, 'atach')"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)

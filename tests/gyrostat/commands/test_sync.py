import socket
from pathlib import Path

import numpy as np
import pytest

from gyrostat.commands import main
from gyrostat.stream.attached import Attached, stream_of
from tests.end_to_end.service import Service
from tests.gyrostat.stream.frames import frame, layout


def trained(folder: Path, steps: int = 20, *, server: str = "", project: str = "sync") -> Path:
    """A folder as an attached training leaves it that no backend was there for."""
    attached = Attached.made(folder, {"attached": True, "name": folder.name, "project": project}, server=server)
    stream = stream_of(attached, token=None)
    stream.layout(layout())
    for step in range(1, steps + 1):
        stream.emit(frame(step))
    stream.event("finished", steps, {})
    assert stream.close(0.2).spooled.frames == steps
    return folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def check_complete(service: Service, folder: Path, steps: int = 20) -> str:
    run = Attached.read(folder).run
    assert run is not None
    assert service.run(run)["state"] == "finished"
    losses = service.scalars(run, "loss.train")
    assert losses == {step: step / 2 for step in range(1, steps + 1)}
    norms = service.series(run, "gradient.norm", points=1000)
    expected = [step for step in range(1, steps + 1) if step % 3]
    assert norms["steps"] == expected
    assert np.array_equal(norms["values"], np.array(expected)[:, None] + np.arange(3))
    return run


def test_everything_arrives_once_whatever_was_there(
    tmp_path: Path, service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [trained(tmp_path / "runs" / name) for name in ("one", "two")]
    assert main(["sync", str(tmp_path / "runs"), "--server", service.url]) == 0
    runs = [check_complete(service, folder) for folder in folders]
    assert capsys.readouterr().out.splitlines() == [
        f"{folder}: run {run}, 20 frames sent" for folder, run in zip(folders, runs, strict=True)
    ]

    assert main(["sync", str(tmp_path / "runs"), "--server", service.url]) == 0
    assert "0 frames sent" in capsys.readouterr().out
    assert [check_complete(service, folder) for folder in folders] == runs


def test_a_folder_that_forgot_its_run_finds_the_same_one(tmp_path: Path, service: Service) -> None:
    folder = trained(tmp_path / "forgetful")
    before = (folder / "run.json").read_text()
    assert main(["sync", str(folder), "--server", service.url]) == 0
    run = check_complete(service, folder)
    (folder / "run.json").write_text(before)  # as after a crash between the backend's answer and the disk
    stream = stream_of(Attached.read(folder), token=None)
    stream.event("log", 20, {"level": "info", "message": "one more"})
    stream.close(0.1)
    assert main(["sync", str(folder), "--server", service.url]) == 0
    assert check_complete(service, folder) == run


def test_nothing_is_lost_while_nobody_answers(
    tmp_path: Path, service: Service, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = trained(tmp_path / "waiting", server=f"http://127.0.0.1:{free_port()}")
    assert main(["sync", str(folder), "--timeout", "0.3"]) == 1
    assert "no run made yet, 0 frames sent, 3 messages left" in capsys.readouterr().out
    monkeypatch.setenv("GYROSTAT_SERVER", service.url)
    assert main(["sync", str(folder)]) == 0
    check_complete(service, folder)


def test_a_run_that_is_refused_keeps_its_measurements(
    tmp_path: Path, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    folder = trained(tmp_path / "refused", project="x" * 101)
    assert main(["sync", str(folder), "--server", service.url, "--timeout", "0.5"]) == 1
    assert "cannot be registered" in caplog.text
    document = (folder / "run.json").read_text()
    (folder / "run.json").write_text(document.replace("x" * 101, "sync"))
    assert main(["sync", str(folder), "--server", service.url]) == 0
    check_complete(service, folder)


def test_mistakes_are_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def told(*arguments: str) -> str:
        assert main(["sync", *arguments]) == 2
        return capsys.readouterr().err

    assert "holds no attached training" in told(str(tmp_path))
    folder = trained(tmp_path / "run")
    assert "names no server" in told(str(folder))
    assert "no http address" in told(str(folder), "--server", "ftp://somewhere")
    stream = stream_of(Attached.read(folder), token=None)
    assert "is being written by another" in told(str(folder), "--server", "http://127.0.0.1:1")
    stream.close()
    (folder / "run.json").write_text("[]")
    assert "does not say what run it is of" in told(str(folder))

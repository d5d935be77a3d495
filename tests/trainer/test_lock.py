"""A worker's name belongs to one process at a time."""

import subprocess
import sys
import threading

import pytest

from trainer.errors import NameTaken
from trainer.lock import default_name, lock_name


@pytest.mark.parametrize("name", ["one", "../../one two/..", "é" * 128, "a\nb"])
def test_a_name_is_taken_until_its_process_gives_it_back(tmp_path, name):
    with lock_name(tmp_path, name, wait_seconds=0):
        with pytest.raises(NameTaken, match=r"process \d+ on .*--name"):
            lock_name(tmp_path, name, wait_seconds=0)
        lock_name(tmp_path, "other", wait_seconds=0).close()
    lock_name(tmp_path, name, wait_seconds=0).close()
    assert {path.parent for path in tmp_path.rglob("*.lock")} == {tmp_path / "workers"}


def test_a_worker_that_is_leaving_is_waited_for(tmp_path):
    first = lock_name(tmp_path, "one", wait_seconds=0)
    threading.Timer(0.3, first.close).start()
    lock_name(tmp_path, "one", wait_seconds=30).close()


def test_a_second_worker_of_the_name_ends_with_status_2_before_it_registers(tmp_path):
    code = "import sys, trainer.worker as w; w.NAME_SECONDS = 0; sys.exit(w.main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "--server", "http://127.0.0.1:9", "--data", str(tmp_path), "--name", "one"]
    with lock_name(tmp_path, "one", wait_seconds=0):
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "--name" in ended.stderr


def test_workers_that_are_not_named_have_names_of_their_own(tmp_path):
    names = [default_name("cpu", tmp_path), default_name("cuda", tmp_path), default_name("cpu", tmp_path / "b")]
    assert len(set(names)) == 3
    assert default_name("cpu", tmp_path) == names[0]

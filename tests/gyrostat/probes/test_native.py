import logging
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gyrostat.probes import native
from gyrostat.probes.moments import chunked_moments, native_moments
from gyrostat.probes.native import Kernels

pytestmark = pytest.mark.skipif(native.shutil.which("cc") is None, reason="there is no C compiler")

FLAT = torch.arange(-5.0, 4000.0)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("GYROSTAT_NATIVE", raising=False)
    return tmp_path / "gyrostat" / "native"


def prepared() -> Kernels:
    kernels = Kernels()
    kernels.prepare(wait=True)
    return kernels


def refused(caplog: pytest.LogCaptureFixture) -> str:
    """What one process says, once, where it does without."""
    with caplog.at_level(logging.INFO, logger="gyrostat.probes.native"):
        kernels = Kernels()
        for _ in range(3):
            kernels.prepare(wait=True)
    assert kernels.library is None
    (record,) = caplog.records
    return record.getMessage()


def test_the_first_process_compiles_and_the_next_loads_at_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepared()
    assert first.library is not None
    (path,) = cache.iterdir()  # nothing of the build is left beside it
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    monkeypatch.setattr(native, "_compile", None)
    second = Kernels()
    second.prepare()
    assert second.library is not None
    found = native_moments([FLAT], second.library)[0].tolist()
    assert found == pytest.approx(list(chunked_moments(FLAT)), rel=1e-6)


def test_source_compiler_and_processor_each_have_a_library_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text("one")
    keys = {native._key(str(compiler))}
    compiler.write_text("another")
    keys.add(native._key(str(compiler)))
    monkeypatch.setattr(native, "_processor", lambda: "another")
    keys.add(native._key(str(compiler)))
    source = tmp_path / "moments.c"
    source.write_text("int x;")
    monkeypatch.setattr(native, "SOURCES", (source,))
    keys.add(native._key(str(compiler)))
    assert len(keys) == 4


def test_several_processes_at_once_all_get_it(cache: Path) -> None:
    program = (  # the file by itself: its package would load torch
        "import importlib.util, sys; spec = importlib.util.spec_from_file_location('native', sys.argv[1]);"
        "native = importlib.util.module_from_spec(spec); spec.loader.exec_module(native);"
        "native.kernels.prepare(wait=True); print(native.kernels.library is not None)"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", program, native.__file__], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [process.communicate(timeout=120)[0] for process in started] == ["True\n"] * 3
    assert len(list(cache.iterdir())) == 1


def test_a_switch_turns_it_off(cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("GYROSTAT_NATIVE", "0")
    assert refused(caplog).endswith("GYROSTAT_NATIVE is 0")
    assert not cache.exists()


def test_without_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no C compiler" in refused(caplog)


def test_a_build_that_fails(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "broken.c"
    broken.write_text("this is no C")
    monkeypatch.setattr(native, "SOURCES", (broken,))
    assert "error:" in refused(caplog)
    assert not list(cache.iterdir())


def test_a_compiler_that_does_not_know_this_processor_still_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = tmp_path / "cc"
    real = native.shutil.which("cc")
    compiler.write_text(f'#!/bin/sh\nfor a in "$@"; do [ "$a" = -march=native ] && exit 1; done\nexec {real} "$@"\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert prepared().library is not None


def test_a_cache_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert "no cache folder" in refused(caplog)


def test_a_folder_that_others_can_write_to_is_not_trusted(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    assert "not this user's alone" in refused(caplog)


def test_a_folder_that_is_a_link_is_not_trusted(cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache.parent.mkdir()
    (tmp_path / "elsewhere").mkdir()
    cache.symlink_to(tmp_path / "elsewhere")
    assert "not this user's alone" in refused(caplog)


def test_a_folder_or_library_of_another_user_is_not_trusted(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert prepared().library is not None
    own = os.geteuid()
    monkeypatch.setattr(native.os, "geteuid", lambda: own + 1)
    assert "not this user's alone" in refused(caplog)


def test_a_library_that_others_could_have_written_is_not_loaded(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert prepared().library is not None
    (path,) = cache.iterdir()
    path.chmod(0o666)
    assert "not this user's alone" in refused(caplog)


def test_a_library_cut_short_is_compiled_again(cache: Path) -> None:
    cache.mkdir(parents=True, mode=0o700)
    path = cache / f"kernels-{native._key(native._compiler())}.so"
    path.write_bytes(b"\x7fELF")
    path.chmod(0o600)
    assert prepared().library is not None
    assert path.stat().st_size > 1000

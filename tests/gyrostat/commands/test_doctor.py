"""`gyrostat doctor`: what is well is told so, and each thing that is amiss comes with what mends it."""

import json
import subprocess
import sys
from email.utils import formatdate
from pathlib import Path

import httpx
import pytest

from gyrostat import commands
from gyrostat.doctor import installation
from gyrostat.doctor.installation import Finding
from gyrostat.stream.segments import Kind
from gyrostat.stream.spool import Spool
from tests.app.control import served

TOKEN = "correct-horse-battery-staple"
ROOT = Path(__file__).parents[3]


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    assert len({found.what for found in findings}) == len(findings)
    for found in findings:
        assert bool(found.mend) == (found.verdict != "ok"), found
    return {found.what: found for found in findings}


def test_a_sound_installation_is_told_line_by_line_and_ends_with_0(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with served(tmp_path / "backend") as (_, url):
        status = commands.main(["doctor", "--server", url, "--data", str(tmp_path)])
    told = {line.split()[1]: line for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")}
    assert set(told) == {"python", "torch", "kernels", "disk", "spool", "backend", "clock", "database"}
    assert status == (1 if any(line.startswith("fail") for line in told.values()) else 0)
    for what in ("python", "torch", "spool", "backend", "clock", "database"):
        assert told[what].startswith("ok "), told[what]


def test_a_missing_token_and_a_wrong_address_are_failures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GYROSTAT_TOKEN", raising=False)
    with served(tmp_path, token=TOKEN) as (_, url):
        found = by_name(list(installation.backend(url, None)))
        assert found["backend"].verdict == "ok"
        assert found["token"].verdict == "fail"
        assert "--token" in found["token"].mend
        assert by_name(list(installation.backend(url, TOKEN)))["database"].verdict == "ok"
    gone = by_name(list(installation.backend(url, TOKEN)))
    assert (gone["backend"].verdict, set(gone)) == ("fail", {"backend"})
    assert by_name(list(installation.backend("ftp://x", None)))["backend"].verdict == "fail"


def test_a_database_at_another_revision_fails(tmp_path: Path) -> None:
    with served(tmp_path) as (server, url):
        server.app.state.database.downgrade("0001")
        found = by_name(list(installation.backend(url, None)))
    assert found["database"].verdict == "fail"
    assert "revision 0001" in found["database"].told


def test_another_version_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "__version__", "9.9.9")
    with served(tmp_path) as (_, url):
        found = by_name(list(installation.backend(url, None)))
    assert found["backend"].verdict == "warn"
    assert "9.9.9" in found["backend"].told


def test_what_is_no_backend_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def answered(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=["something else"])

    client = httpx.Client
    monkeypatch.setattr(httpx, "Client", lambda **options: client(transport=httpx.MockTransport(answered), **options))
    found = by_name(list(installation.backend("http://127.0.0.1:1", None)))
    assert found["backend"].verdict == "fail"
    assert "no Gyrostat backend" in found["backend"].told


@pytest.mark.parametrize(
    ("off", "verdict", "told"),
    [(0.0, "ok", "same"), (-4, "ok", "same"), (60, "warn", "60 s ahead"), (-3600, "warn", "3600 s behind")],
)
def test_clocks_are_compared(off: float, verdict: str, told: str) -> None:
    found = installation.clock(formatdate(1.7e9, usegmt=True), 1.7e9 + off)
    assert (found.verdict, told in found.told) == (verdict, True)


def test_an_answer_without_a_date_tells_no_time() -> None:
    assert installation.clock("", 1.7e9).verdict == "warn"


@pytest.mark.parametrize(("free", "verdict"), [(10 << 30, "ok"), (1 << 30, "warn"), (1 << 20, "fail")])
def test_little_space_is_told(tmp_path: Path, free: int, verdict: str) -> None:
    found = installation.disk(tmp_path / "not" / "there", free)
    assert found.verdict == verdict
    assert str(tmp_path) in found.told


@pytest.mark.parametrize(("version", "verdict"), [((3, 10, 9), "fail"), ((3, 11, 0), "ok"), ((3, 14, 1), "ok")])
def test_python_must_be_new_enough(version: tuple[int, ...], verdict: str) -> None:
    assert installation.python(version).verdict == verdict


def test_what_waits_to_be_sent_is_counted_and_what_is_in_use_left_alone(tmp_path: Path) -> None:
    for name in ("one", "two", "open"):
        spool = Spool(tmp_path / name)
        spool.producer(1)
        for _ in range(3):
            spool.append(Kind.EVENTS, lambda sequence: b"x" * 100)
        if name != "open":
            spool.close()
    found = installation.spools(tmp_path)
    spool.close()
    assert found.verdict == "warn"
    assert found.told.startswith("6 messages")
    assert "1 spools are in use" in found.told
    assert f"gyrostat sync {tmp_path}" in found.mend
    assert installation.spools(tmp_path / "none").verdict == "ok"


def test_trainings_attached_here_are_looked_for_where_attach_puts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spool = Spool(tmp_path / "gyrostat-runs" / "one")
    spool.producer(1)
    spool.append(Kind.EVENTS, lambda sequence: b"x")
    spool.close()
    found = list(installation.examine(server="http://127.0.0.1:1", token=None, data=tmp_path / "var"))
    told = [each.told for each in found if each.what == "spool"]
    assert [each.partition(" messages")[0] for each in told] == ["0", "1"]


def test_without_torch_and_compiler_it_warns_and_goes_on(tmp_path: Path) -> None:
    program = f"""
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ImportError("no torch here")
sys.meta_path.insert(0, Blocked())
from gyrostat import commands
sys.exit(commands.main(["doctor", "--json", "--server", "http://127.0.0.1:1", "--data", {str(tmp_path)!r}]))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    verdicts = {row["what"]: row["verdict"] for row in json.loads(done.stdout)}
    assert (verdicts["torch"], verdicts["kernels"], verdicts["backend"]) == ("warn", "warn", "fail")

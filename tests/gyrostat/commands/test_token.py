"""`gyrostat token` against the real backend."""

from collections.abc import Iterator

import httpx
import pytest

from gyrostat import commands
from tests.app.control import served

TOKEN = "correct-horse-battery-staple"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("data"), token=TOKEN) as (_, url):
        yield url


def test_a_token_is_made_listed_used_and_revoked(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GYROSTAT_SERVER", url)
    monkeypatch.setenv("GYROSTAT_TOKEN", TOKEN)
    assert commands.main(["token", "create", "worker one", "--scope", "read", "--scope", "ingest", "--days", "9"]) == 0
    token = capsys.readouterr().out.strip()
    headers = {"Authorization": f"Bearer {token}"}
    assert httpx.get(f"{url}/v1/runs", headers=headers).status_code == 200

    assert commands.main(["token", "list"]) == 0
    title, row = capsys.readouterr().out.splitlines()
    assert title.split() == ["id", "scopes", "expires", "last", "used", "name"]
    assert "read,ingest" in row
    assert row.endswith("worker one")
    assert "never" not in row
    assert token not in row

    assert commands.main(["token", "revoke", row.split()[0]]) == 0
    assert httpx.get(f"{url}/v1/runs", headers=headers).status_code == 401
    capsys.readouterr()
    assert commands.main(["token", "list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_refusal_is_one_line_and_status_2(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GYROSTAT_TOKEN", raising=False)
    assert commands.main(["token", "--server", url, "list"]) == 2
    assert "401" in capsys.readouterr().err
    assert commands.main(["token", "--server", url, "--token", TOKEN, "revoke", "nothing"]) == 2
    told = capsys.readouterr().err
    assert "there is no token 'nothing'" in told
    assert told.count("\n") == 1
    assert commands.main(["token", "--server", "http://127.0.0.1:1", "list"]) == 2
    assert "no backend answers" in capsys.readouterr().err

"""Settings: what is refused, and that the operator's page tells of each."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import AppSettings, misspelt

OPERATIONS = Path(__file__).parent.parent.parent / "docs" / "operations.md"


@pytest.mark.parametrize("name", AppSettings.model_fields)
def test_every_setting_is_told_with_its_default(name: str) -> None:
    rows = [line for line in OPERATIONS.read_text().splitlines() if line.startswith(f"| `GYROSTAT_{name.upper()}` |")]
    assert len(rows) == 1
    default = AppSettings.model_fields[name].get_default(call_default_factory=True)
    if default not in (None, "", []):
        assert f"`{default}`" in rows[0]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org", "127.0.0.1.example.org", ""])
def test_an_address_beyond_loopback_needs_a_token(host: str) -> None:
    with pytest.raises(ValidationError, match="GYROSTAT_TOKEN"):
        AppSettings(host=host)
    AppSettings(host=host, token="0123456789abcdef")  # type: ignore[arg-type]


def test_times_of_silence_must_follow_each_other() -> None:
    with pytest.raises(ValidationError, match="heartbeat_seconds < unreachable_seconds < lease_seconds"):
        AppSettings(heartbeat_seconds=10)


def test_runs_that_are_deleted_first_cannot_be_thinned() -> None:
    with pytest.raises(ValidationError, match="KEEP_RAW_DAYS=30 must be below GYROSTAT_KEEP_DAYS=30"):
        AppSettings(keep_days=30, keep_raw_days=30)
    AppSettings(keep_days=30, keep_raw_days=7)


@pytest.mark.parametrize("given", ["a.example, b.example", '["a.example", "b.example"]', "a.example,b.example,"])
def test_host_names_come_separated_by_commas_or_as_json(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("GYROSTAT_HOSTS", given)
    assert AppSettings().hosts == ["a.example", "b.example"]


def test_host_names_that_cannot_be_read_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GYROSTAT_HOSTS", "[broken")
    with pytest.raises(ValidationError):
        AppSettings()


def test_where_channels_may_send_to_is_hosts_and_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GYROSTAT_CHANNEL_ALLOW", "hooks.internal, 10.1.0.0/16,fd00::/8,192.168.1.5")
    assert AppSettings().channel_allow == ["hooks.internal", "10.1.0.0/16", "fd00::/8", "192.168.1.5"]


@pytest.mark.parametrize(
    "entry", ["10.1.0.1/16", "10.1.0.0/33", "http://hooks.internal", "a b", "*", "*.internal", "a:80"]
)
def test_what_is_neither_a_host_nor_a_network_is_refused(monkeypatch: pytest.MonkeyPatch, entry: str) -> None:
    monkeypatch.setenv("GYROSTAT_CHANNEL_ALLOW", f"localhost,{entry}")
    with pytest.raises(ValidationError, match="is no host and no network"):
        AppSettings()


@pytest.mark.parametrize(
    "address",
    ["gyrostat.example.org", "javascript:alert(1)", "https://a@b/", "https://x/?q", "https://x/#y", "https:// x"],
)
def test_what_is_no_address_of_a_page_is_refused(address: str) -> None:
    with pytest.raises(ValidationError, match="is no address of a page"):
        AppSettings(public_url=address)
    assert AppSettings(public_url="https://x.example/gyrostat/").public_url == "https://x.example/gyrostat"


def test_the_token_is_never_shown() -> None:
    assert "0123456789abcdef" not in repr(AppSettings(token="0123456789abcdef"))  # type: ignore[arg-type]


def test_variables_that_look_like_a_setting_are_told_and_others_are_not() -> None:
    told = misspelt(["GYROSTAT_KEEP_DAY", "GYROSTAT_DATABSE_URL", "GYROSTAT_KEEP_DAYS", "HOME"])
    assert [line.split()[0] for line in told] == ["GYROSTAT_DATABSE_URL", "GYROSTAT_KEEP_DAY"]
    assert told[1].endswith("did you mean GYROSTAT_KEEP_DAYS?")
    of_others = ["GYROSTAT_SERVER", "GYROSTAT_DATA_ROOT", "GYROSTAT_NATIVE", "GYROSTAT_SERVICE_HOST"]
    assert misspelt([*of_others, "GYROSTAT_PORT_8000_TCP", "GYROSTAT_PORT_8000_TCP_PORT"]) == []

"""The page of settings: tokens and channels, for those who may make them."""

from collections.abc import Iterator

import httpx
import pytest

from tests.app.control import served

TOKEN = "correct-horse-battery-staple"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with (
        served(tmp_path_factory.mktemp("data"), token=TOKEN, channel_allow=["127.0.0.1"]) as (_, url),
        httpx.Client(base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}) as client,
    ):
        yield client


def test_an_admin_sees_the_tokens_and_never_their_text(client: httpx.Client) -> None:
    assert "There are none." in client.get("/settings").text
    made = client.post("/v1/tokens", json={"name": "<b>worker</b>", "scopes": ["ingest"], "days": 3}).json()
    page = client.get("/settings")
    assert page.status_code == 200
    assert "&lt;b&gt;worker&lt;/b&gt;" in page.text
    assert "<b>worker" not in page.text
    assert f'data-post="/v1/tokens/{made["id"]}"' in page.text
    assert made["token"] not in page.text
    assert "asks for no token" not in page.text
    client.delete(f"/v1/tokens/{made['id']}")


def test_an_admin_sees_the_channels_and_never_their_secrets(client: httpx.Client) -> None:
    assert "nobody is told" in client.get("/settings").text
    target = {"kind": "webhook", "url": "http://127.0.0.1:9/T0/not-to-be-told"}
    made = client.post("/v1/channels", json={"name": "<b>team</b>", "target": target, "projects": ["<i>p</i>"]}).json()
    client.post(f"/v1/channels/{made['id']}:test")
    page = client.get("/settings").text
    assert "&lt;b&gt;team&lt;/b&gt;" in page
    assert "&lt;i&gt;p&lt;/i&gt;" in page
    assert "<b>team" not in page
    assert "http://127.0.0.1:9/…" in page
    assert "no connection to 127.0.0.1" in page
    assert "GYROSTAT_PUBLIC_URL" in page, "messages have no links yet"
    assert '<option value="apprise">' not in page, "the operator has not allowed it"
    for secret in (made["secret"], "not-to-be-told"):
        assert secret not in page
    client.delete(f"/v1/channels/{made['id']}")


def test_others_are_told_what_they_lack(client: httpx.Client) -> None:
    reader = client.post("/v1/tokens", json={"name": "reader", "scopes": ["read"]}).json()["token"]
    page = client.get("/settings", headers={"Authorization": f"Bearer {reader}"})
    assert page.status_code == 403
    assert "Missing scope" in page.text
    assert "`admin`" in page.text
    assert "reader" in page.text
    assert 'id="new-token"' not in page.text
    assert 'id="new-channel"' not in page.text


def test_where_no_token_is_asked_for_the_page_says_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    with served(tmp_path_factory.mktemp("open")) as (_, url):
        assert "asks for no token" in httpx.get(f"{url}/settings").text

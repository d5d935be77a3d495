"""What an operator asks of a backend, through the client."""

from collections.abc import Iterator

import pytest

from gyrostat.client import ApiError, Client
from tests.app.control import served
from tests.app.receivers import web_server


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    settings = {"token": "correct-horse-battery-staple", "channel_allow": ["127.0.0.1"]}
    with served(tmp_path_factory.mktemp("data"), **settings) as (_, url), Client(url, settings["token"]) as client:
        yield client


def test_tokens_are_made_listed_and_revoked(client: Client) -> None:
    made = client.create_token("somebody", ["read", "ingest"], days=2)
    assert made["token"].startswith("gyro_")
    assert [(each["id"], each["scopes"]) for each in client.tokens()] == [(made["id"], ["read", "ingest"])]
    with Client(client.server, made["token"]) as somebody, pytest.raises(ApiError, match="admin"):
        somebody.channels()
    client.revoke_token(made["id"])
    assert client.tokens() == []


def test_channels_are_made_changed_tried_and_deleted(client: Client) -> None:
    with web_server() as hook:
        made = client.create_channel("team", {"kind": "webhook", "url": hook.url}, severity="critical", projects=["p"])
        assert (made["severity"], made["projects"], made["secret"][:6]) == ("critical", ["p"], "whsec_")
        assert client.test_channel(made["id"])["state"] == "sent"
        hook.answers = [(404, {})]
        failed = client.test_channel(made["id"])
        assert (failed["state"], failed["error"]) == ("failed", "it answers 404 Not Found")
    assert [each["state"] for each in client.deliveries(made["id"])] == ["failed", "sent"]
    assert client.change_channel(made["id"], enabled=False, name="others")["enabled"] is False
    assert [(each["name"], each["last"]["state"]) for each in client.channels()] == [("others", "failed")]
    with pytest.raises(ApiError, match=r"target\.url") as refused:
        client.change_channel(made["id"], target={"kind": "webhook", "url": "https://169.254.169.254/"})
    assert refused.value.status == 422
    client.delete_channel(made["id"])
    assert client.channels() == []

"""Channels over HTTP: made, changed, tried, deleted, and never telling their secrets."""

import base64
import json
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from app.services import channels as channel_service
from app.services.notify import mail
from tests.app.control import served
from tests.app.receivers import mail_server, web_server

URL = "http://127.0.0.1:9/services/T0/B0/not-to-be-told"
SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
EMAIL = {
    "kind": "email", "host": "127.0.0.1", "port": 587, "username": "gyrostat", "password": "swordfish",
    "sender": "gyrostat@example.org", "recipients": ["team@example.org"],
}  # fmt: skip


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = {"channel_allow": ["127.0.0.0/8"], "channel_apprise": True}
    with served(tmp_path_factory.mktemp("data"), **settings) as (_, url):
        yield url


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url) as client:
        yield client
        for item in client.get("/v1/channels").json()["items"]:
            client.delete(f"/v1/channels/{item['id']}")


def make(client: httpx.Client, target: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    target = target or {"kind": "webhook", "url": URL}
    answer = client.post("/v1/channels", json={"name": "team", "target": target, **more})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def refusal(answer: httpx.Response, status: int = 422) -> list[tuple[str, str]]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return [(problem["path"], problem["message"]) for problem in answer.json()["problems"]]


def test_a_channel_is_made_listed_changed_and_deleted(client: httpx.Client) -> None:
    made = make(client, severity="warning", projects=["p"], rules=["divergence"], events=["resolved", "resolved"])
    assert made["kind"] == "webhook"
    assert (made["enabled"], made["events"], made["waiting"], made["last"]) == (True, ["resolved"], 0, None)
    assert made["secret"].startswith("whsec_")
    shown = {key: value for key, value in made.items() if key != "secret"}
    assert client.get("/v1/channels").json() == {"items": [shown], "next": None}
    path = f"/v1/channels/{made['id']}"
    assert client.get(path).json() == shown
    change = {"name": "others", "enabled": False, "severity": "critical", "projects": [], "events": ["opened"]}
    changed = client.patch(path, json=change)
    assert changed.status_code == 200
    assert {key: changed.json()[key] for key in change} == change
    assert changed.json()["rules"] == ["divergence"]
    assert changed.json()["updated_at"] > made["updated_at"]
    assert client.delete(path).status_code == 204
    for answer in (client.get(path), client.delete(path), client.patch(path, json={}), client.post(f"{path}:test"),
                   client.get(f"{path}/deliveries")):  # fmt: skip
        assert answer.status_code == 404
        assert "GET /v1/channels lists" in answer.json()["detail"]


def test_secrets_are_never_told_again(client: httpx.Client) -> None:
    hook = make(client, {"kind": "webhook", "url": URL, "secret": SECRET})
    assert hook["secret"] == SECRET
    post = make(client, EMAIL)
    assert post["secret"] is None
    assert post["target"]["has_password"] is True
    other = make(client, {"kind": "apprise", "urls": ["json://user:swordfish@127.0.0.1:9/not-to-be-told"]})
    assert other["target"] == {"kind": "apprise", "services": ["json"]}
    client.post(f"/v1/channels/{hook['id']}:test")
    texts = [client.get("/v1/channels").text, client.get("/settings").text, client.get("/metrics").text]
    for each in (hook, post, other):
        path = f"/v1/channels/{each['id']}"
        texts += [
            client.get(path).text,
            client.patch(path, json={"name": "x"}).text,
            client.get(f"{path}/deliveries").text,
        ]
    for secret in (SECRET, SECRET[6:], "swordfish", "not-to-be-told", "T0/B0"):
        assert not [text for text in texts if secret in text]
    assert hook["target"] == {"kind": "webhook", "url": "http://127.0.0.1:9/…"}


def test_a_secret_stays_where_a_new_target_gives_none(client: httpx.Client, url: str) -> None:
    with web_server() as hook:
        made = make(client, {"kind": "webhook", "url": URL, "secret": SECRET})
        path = f"/v1/channels/{made['id']}"
        client.patch(path, json={"target": {"kind": "webhook", "url": hook.url}}).raise_for_status()
        assert client.post(f"{path}:test").json()["state"] == "sent"
        (got,) = hook.got
    import hashlib
    import hmac

    signed = f"{got.headers['webhook-id']}.{got.headers['webhook-timestamp']}.".encode() + got.body
    digest = hmac.digest(b"0123456789abcdef0123456789abcdef", signed, hashlib.sha256)
    assert got.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"


def test_a_password_stays_for_its_server_and_user_and_goes_to_no_other(client: httpx.Client) -> None:
    made = make(client, EMAIL)
    path = f"/v1/channels/{made['id']}"
    without = {key: value for key, value in EMAIL.items() if key != "password"}
    changed = client.patch(path, json={"target": {**without, "recipients": ["a@example.org", "b@example.org"]}})
    assert changed.json()["target"]["has_password"] is True
    assert changed.json()["target"]["recipients"] == ["a@example.org", "b@example.org"]
    for other in ({"host": "127.0.0.2"}, {"port": 588}, {"username": "root"}):
        assert refusal(client.patch(path, json={"target": {**without, **other}})) == [("target.password", "is missing")]
    assert refusal(client.post("/v1/channels", json={"name": "x", "target": without})) == [
        ("target.password", "is missing")
    ]
    alone = {key: value for key, value in EMAIL.items() if key != "username"}
    assert refusal(client.post("/v1/channels", json={"name": "x", "target": alone})) == [
        ("target.username", "is missing")
    ]


@pytest.mark.parametrize(
    "target",
    [
        "sesame",
        {"kind": "webhook", "url": URL, "secret": "sesame"},
        {"kind": "webhook", "url": URL, "secrets": "sesame"},
        {"kind": "webhook", "url": URL + 2000 * "sesame"},
        {**EMAIL, "password": 100 * "sesame"},
        {**EMAIL, "password": ["sesame"]},
        {"kind": "apprise", "urls": "tgram://sesame"},
    ],
)
def test_what_is_refused_of_a_target_is_not_repeated(client: httpx.Client, target: object) -> None:
    answers = [client.post("/v1/channels", json={"name": "x", "target": target})]
    answers.append(client.patch(f"/v1/channels/{make(client)['id']}", json={"target": target}))
    for answer in answers:
        assert answer.status_code == 422
        assert answer.json()["problems"][0]["path"].startswith("target")
        assert "sesame" not in answer.text


def test_a_channel_keeps_its_kind(client: httpx.Client) -> None:
    made = make(client)
    answer = client.patch(f"/v1/channels/{made['id']}", json={"target": EMAIL})
    assert answer.status_code == 409
    assert "of the kind webhook and stays so" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"target": {"kind": "webhook", "url": URL, "secrets": "x"}}, "target.secrets"),
        ({"target": {"kind": "webhook"}}, "target.url"),
        ({"target": {"kind": "pager", "url": URL}}, "target.kind"),
        ({"target": {"url": URL}}, "target.kind"),
        ({"target": {"kind": "webhook", "url": URL}, "webhook": True}, "webhook"),
        ({"target": {"kind": "webhook", "url": URL, "secret": "short"}}, "target.secret"),
        ({"target": {"kind": "webhook", "url": URL, "secret": "whsec_" + "!" * 40}}, "target.secret"),
        ({"target": {"kind": "webhook", "url": "https://169.254.169.254/latest/"}}, "target.url"),
        ({"target": {"kind": "webhook", "url": "https://[::1]:8000/"}}, "target.url"),
        ({"target": {"kind": "webhook", "url": "https://nowhere.invalid/"}}, "target.url"),
        ({"target": {**EMAIL, "recipients": []}}, "target.recipients"),
        ({"target": {**EMAIL, "recipients": ["a@b\r\nBcc: c@d"]}}, "target.recipients.0"),
        ({"target": {**EMAIL, "sender": "Gyrostat <a@b.org>"}}, "target.sender"),
        ({"target": {**EMAIL, "security": "ssl"}}, "target.security"),
        ({"target": {**EMAIL, "port": 0}}, "target.port"),
        ({"target": {**EMAIL, "port": "587"}}, "target.port"),
        ({"target": {**EMAIL, "host": "10.0.0.1"}}, "target.host"),
        ({"target": {**EMAIL, "username": "a\nb"}}, "target.username"),
        ({"target": {**EMAIL, "username": "jürgen"}}, "target.username"),
        ({"target": {**EMAIL, "password": "schwertfïsch"}}, "target.password"),
        ({"target": {"kind": "apprise", "urls": []}}, "target.urls"),
        ({"target": {"kind": "apprise", "urls": ["nothing://x"]}}, "target.urls"),
        ({"severity": "fatal"}, "severity"),
        ({"events": []}, "events"),
        ({"events": ["worsened"]}, "events.0"),
        ({"rules": ["los_spike"]}, "rules.0"),
        ({"projects": [""]}, "projects.0"),
        ({"name": "a\r\nb"}, "name"),
    ],
)
def test_what_cannot_be_a_channel_is_told_by_its_path(client: httpx.Client, body: dict[str, Any], path: str) -> None:
    whole = {"name": "team", "target": {"kind": "webhook", "url": URL}, **body}
    answer = client.post("/v1/channels", json=whole)
    assert path in [each for each, _ in refusal(answer)]
    assert all(problem["mend"] for problem in answer.json()["problems"])
    assert client.get("/v1/channels").json()["items"] == []


@pytest.mark.parametrize(
    ("target", "mend"),
    [
        ({"kind": "webhook", "url": "https://10.0.0.1/"}, "GYROSTAT_CHANNEL_ALLOW"),
        ({"kind": "webhook", "url": "http://93.184.216.34/"}, "GYROSTAT_CHANNEL_ALLOW"),
        ({"kind": "webhook", "url": "https://93.184.216.34:22/"}, "GYROSTAT_CHANNEL_ALLOW"),
        ({**EMAIL, "host": "93.184.216.34", "security": "none"}, "GYROSTAT_CHANNEL_ALLOW"),
        ({"kind": "webhook", "url": "hooks.example.org/x"}, "correct it"),
        ({"kind": "webhook", "url": "https://me:it@hooks.example.org/x"}, "correct it"),
        ({"kind": "webhook", "url": "https://2130706433/"}, "correct it"),
        ({"kind": "webhook", "url": "https://127.0.0.1:99999/"}, "correct it"),
        ({**EMAIL, "host": "0x7f.1"}, "correct it"),
    ],
)
def test_only_what_the_operator_could_allow_is_to_be_allowed(
    client: httpx.Client, target: dict[str, Any], mend: str
) -> None:
    answer = client.post("/v1/channels", json={"name": "team", "target": target})
    assert answer.status_code == 422
    (problem,) = answer.json()["problems"]
    assert mend in problem["mend"]


@pytest.mark.parametrize(
    ("body", "mend"),
    [({"projects": "digits"}, "use a list"), ({"target": {**EMAIL, "sender": "me"}}, "see /docs")],
)
def test_no_field_of_a_channel_is_looked_for_among_specs(client: httpx.Client, body: dict[str, Any], mend: str) -> None:
    answer = client.post("/v1/channels", json={"name": "team", "target": EMAIL, **body})
    (problem,) = answer.json()["problems"]
    assert mend in problem["mend"]


def test_trying_a_channel_sends_now_and_tells_what_came_of_it(client: httpx.Client) -> None:
    with web_server() as hook:
        made = make(client, {"kind": "webhook", "url": hook.url}, enabled=False)
        path = f"/v1/channels/{made['id']}"
        told = client.post(f"{path}:test").json()
        assert (told["state"], told["event"], told["status"], told["tries"]) == ("sent", "test", 204, 1)
        assert json.loads(hook.got[0].body)["type"] == "channel.test"
        assert hook.got[0].headers["webhook-id"] == told["id"]
        hook.answers = [(500, {})]
        failed = client.post(f"{path}:test").json()
        assert (failed["state"], failed["status"], failed["error"]) == (
            "failed",
            500,
            "it answers 500 Internal Server Error",
        )
    gone = client.post(f"{path}:test").json()
    assert (gone["state"], gone["status"]) == ("failed", None)
    page = client.get(f"{path}/deliveries", params={"limit": 2}).json()
    assert page["items"] == [gone, failed]
    rest = client.get(f"{path}/deliveries", params={"limit": 2, "cursor": page["next"]}).json()
    assert rest == {"items": [told], "next": None}
    assert client.get(path).json()["last"] == gone
    for number in ("9" * 30, "-1", "1.5", "true", '"1"', "[" * 60):
        made_up = base64.urlsafe_b64encode(number.encode()).decode()
        assert refusal(client.get(f"{path}/deliveries", params={"cursor": made_up})) == [
            ("query.cursor", "is no cursor of this list")
        ]
    assert refusal(client.get(f"{path}/deliveries", params={"cursor": "ü"})) == [
        ("query.cursor", "is no cursor of this list")
    ]


def test_trying_mail_sends_one(client: httpx.Client) -> None:
    with mail_server() as box:
        target = {**EMAIL, "port": box.port, "security": "none", "username": None, "password": None}
        made = make(client, target)
        assert client.post(f"/v1/channels/{made['id']}:test").json()["state"] == "sent"
        assert box.mails[0][0]["Subject"] == "Gyrostat: a test of team"
    assert mail.SECONDS <= 30


def test_their_number_is_bounded(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_service, "MAX_CHANNELS", 1)
    make(client)
    answer = client.post("/v1/channels", json={"name": "x", "target": {"kind": "webhook", "url": URL}})
    assert answer.status_code == 409
    assert "delete one" in answer.json()["detail"]


def test_without_apprise_the_extra_is_named(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    answer = client.post(
        "/v1/channels", json={"name": "x", "target": {"kind": "apprise", "urls": ["json://127.0.0.1"]}}
    )
    assert answer.status_code == 409
    assert "pip install 'gyrostat[apprise]'" in answer.json()["detail"]


def test_where_the_operator_has_not_allowed_it_nothing_goes_inside_or_through_apprise(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with served(tmp_path_factory.mktemp("strict")) as (_, url), web_server() as hook:
        for target, path in (
            ({"kind": "webhook", "url": hook.url}, "target.url"),
            ({"kind": "webhook", "url": f"http://localhost:{hook.port}/"}, "target.url"),
            ({**EMAIL, "port": hook.port}, "target.host"),
            ({"kind": "apprise", "urls": [f"json://127.0.0.1:{hook.port}/"]}, "target.urls"),
        ):
            answer = httpx.post(f"{url}/v1/channels", json={"name": "x", "target": target})
            assert [each for each, _ in refusal(answer)] == [path]
        assert hook.got == []

"""Where a token is set, everything asks for it."""

from collections.abc import Iterator

import httpx
import pytest

from app.dashboard.login import local_path
from app.guards.tokens import COOKIE
from tests.app.control import served

TOKEN = "correct-horse-battery-staple"


@pytest.fixture
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with (
        served(tmp_path_factory.mktemp("data"), token=TOKEN) as (_, url),
        httpx.Client(base_url=url, follow_redirects=False) as client,
    ):
        yield client


def test_every_route_but_the_open_ones_answers_401_without_the_token(client: httpx.Client) -> None:
    described = client.get("/openapi.json", headers={"Authorization": f"Bearer {TOKEN}"}).json()
    routes = [(method, path) for path, methods in described["paths"].items() for method in methods]
    assert len(routes) > 20
    for method, path in [*routes, ("get", "/openapi.json"), ("get", "/docs"), ("get", "/"), ("get", "/nowhere")]:
        answer = client.request(method, path.replace("{", "").replace("}", ""))
        assert answer.status_code == (200 if path == "/healthz" else 401), (method, path)
        if path != "/healthz":
            assert answer.headers["www-authenticate"].startswith("Bearer")
    assert client.get("/healthz/").status_code == 401
    assert client.get("/static/../v1/runs").status_code == 401


def test_the_bearer_may_do_everything(client: httpx.Client) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert client.get("/v1/runs", headers=headers).status_code == 200
    assert client.get("/v1/runs", headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_a_browser_is_sent_to_the_login_page_and_comes_back(client: httpx.Client) -> None:
    sent = client.get("/alerts", headers={"Accept": "text/html"})
    assert (sent.status_code, sent.headers["location"]) == (303, "/login?next=/alerts")
    form = client.get(sent.headers["location"])
    assert form.status_code == 200
    assert 'value="/alerts"' in form.text
    wrong = client.post("/login", data={"token": "wrong", "next": "/alerts"})
    assert (wrong.status_code, COOKIE in wrong.headers.get("set-cookie", "")) == (401, False)
    right = client.post("/login", data={"token": TOKEN, "next": "/alerts"})
    assert (right.status_code, right.headers["location"]) == (303, "/alerts")
    cookie = right.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert client.get("/v1/runs").status_code == 200
    assert client.post("/v1/runs", json={"attached": True}).status_code == 201
    client.post("/logout")
    assert client.get("/v1/runs").status_code == 401


def test_the_cookie_is_for_encrypted_connections_alone_where_the_browser_has_one(client: httpx.Client) -> None:
    plain, encrypted = (
        client.post(
            "/login", data={"token": TOKEN}, headers={"Origin": f"{scheme}://{client.base_url.netloc.decode()}"}
        )
        for scheme in ("http", "https")
    )
    assert (plain.status_code, encrypted.status_code) == (303, 303)
    assert "secure" not in plain.headers["set-cookie"].lower()
    assert "secure" in encrypted.headers["set-cookie"].lower()


def test_a_login_from_a_foreign_page_is_refused(client: httpx.Client) -> None:
    answer = client.post("/login", data={"token": TOKEN}, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    "elsewhere",
    ["https://evil.example", "//evil.example", "/\\evil.example", "\\\\evil", "", "javascript:1", "/a\r\nb", "/x\\y"],
)
def test_the_login_leads_nowhere_else(elsewhere: str) -> None:
    assert local_path(elsewhere) == "/"


def test_what_a_link_puts_into_the_form_is_escaped(client: httpx.Client) -> None:
    assert "<script>" not in client.get('/login?next=/"><script>alert(1)</script>').text

"""Every text that somebody else can choose, made to run a script: none does, on any page, and none opens a dialog."""

import base64
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from playwright.sync_api import expect

from gyrostat.wire import png
from tests.app.control import served
from tests.app.dashboard.browser.training import Training

pytestmark = pytest.mark.browser

RUN = "window.ran=(window.ran||0)+1"
SCRIPTS = (
    f"<script>{RUN}</script>",
    f"\"><img src=x onerror={RUN}>",
    f"'><svg onload={RUN}>",
    f"</script><script>{RUN}</script>",
    f"</textarea></title></style><script>{RUN}</script>",
    f"javascript:{RUN}//",
    f"<a href=\"javascript:{RUN}\">press</a>",
    f"<iframe srcdoc='<script>parent.{RUN}</script>'>",
    f"{{{{7*7}}}}{{% raw %}}<b onmouseover={RUN}>x</b>",
    f"\u202e\u2066<script>{RUN}</script>\u2069",
    f"' onfocus='{RUN}' autofocus='",
    f"%3Cscript%3E{RUN}%3C/script%3E&lt;script&gt;",
    f"<math><mtext><script>{RUN}</script>",
)  # fmt: skip
ALL = " ".join(SCRIPTS)
FOREIGN_SCRIPTS = """[...document.querySelectorAll("script:not([type='application/json'])")]
    .map((script) => script.textContent).filter((text) => text.includes("window.ran="))"""
DANGEROUS_ATTRIBUTES = """[...document.querySelectorAll("*")].flatMap((element) => [...element.attributes])
    .filter(({ name, value }) => /^on/i.test(name)
        || (/^(href|src|action|formaction)$/i.test(name) && /^\\s*javascript:/i.test(value)))
    .map(({ name, value }) => `${name}=${value}`)"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    patience = {"heartbeat_seconds": 60, "unreachable_seconds": 600, "lease_seconds": 1200}
    with served(tmp_path_factory.mktemp("hostile"), **patience) as (_, address):
        yield address


@pytest.fixture(scope="module")
def hostile(address):
    """A run all of whose texts are hostile, its alert, and all that hangs on it."""
    with httpx.Client(base_url=address, timeout=20) as http:

        def post(path, **body):
            answer = http.post(path, json=body)
            assert answer.is_success, (path, answer.text)
            return answer.json()

        for number, script in enumerate(SCRIPTS):
            post("/v1/runs", attached=True, name=script, project=f"{number}{script}"[:100], tags=[script[:100]])
            post("/v1/tokens", name=script[:100], scopes=["read"])
        training = Training(http, ALL[:200], preset="sick-deep-sigmoid", sick=True, project=ALL[:100],
                            tags=[script[:100] for script in SCRIPTS], notes=ALL)  # fmt: skip
        training.declare(tuple(script + str(number) for number, script in enumerate(SCRIPTS)))
        training.train(20)
        training.train(2, loss__train="Infinity")
        training.checkpoint()
        for script in SCRIPTS:
            training.event("log", message=script, **{script[:50]: script})
            training.event("intervention", technique=script, reason=script)
            training.event("probe_disabled", probe=script, error=script, reason=script)
        picture = base64.b64encode(png.encode(np.full((4, 6), 7, np.uint8))).decode()
        training.event("samples", png=picture, caption=ALL)
        post(f"/v1/runs/{training.run}:measure", kind="ntk")
        (measurement,) = http.get(f"/v1/runs/{training.run}/measurements").json()["items"]
        training.event(
            "measurement", id=measurement["id"], settings=measurement["settings"], seconds=1.0, error=ALL[:500]
        )
        for alert in http.get("/v1/alerts", params={"run": training.run}).json()["items"]:
            post(f"/v1/alerts/{alert['id']}:acknowledge", note=ALL)
        http.post("/v1/workers", json={"name": SCRIPTS[1][:128], "host": SCRIPTS[0], "pid": 1, "device": SCRIPTS[2],
                                       "datasets": [SCRIPTS[3]], "version": SCRIPTS[4][:64]})  # fmt: skip
        training.event("failed", error=SCRIPTS[1], traceback=ALL)
        yield training


def addresses(run):
    payload = quote(SCRIPTS[1], safe="")
    return [
        "/", f"/?q={payload}&project={payload}&tag={payload}&state={payload}&order={payload}", "/alerts",
        "/alerts?state=acknowledged", f"/alerts?state={payload}&severity={payload}", f"/runs/{run}", f"/runs/{payload}",
        "/runs/new", f"/runs/new?preset={payload}", "/catalogue", "/settings", f"/fragments/runs/{run}",
        "/fragments/runs", "/docs", f"/login?next={payload}",
    ]  # fmt: skip


def test_no_script_of_others_runs_on_any_page(open_page, hostile, address):
    # an address that names nothing is answered 404 or 422, which the console tells
    page = open_page("/", expected=("Failed to load resource",))
    for path in addresses(hostile.run):
        page.goto(path)
        expect(page.locator("body")).to_be_visible()
        assert "script-src 'self';" in httpx.get(address + path).headers["content-security-policy"]
        if path == f"/runs/{hostile.run}":
            page.locator("#panel-gradient-norm").scroll_into_view_if_needed()
            expect(page.locator("#panel-gradient-norm svg.main-svg").first).to_be_visible()
            page.locator("#panel-gradient-norm .plot").hover(position={"x": 300, "y": 60})
            page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        page.wait_for_timeout(100)
        assert page.evaluate("window.ran") is None, f"a text of others was run at {path}"
        assert page.locator("iframe, object, embed, base, math").count() == 0, path
        assert page.evaluate(FOREIGN_SCRIPTS) == [], path
        assert page.evaluate(DANGEROUS_ATTRIBUTES) == [], path


def test_the_texts_are_shown_as_they_are(open_page, hostile):
    """Without this the test above would pass on empty pages."""
    page = open_page(f"/runs/{hostile.run}")
    expect(page.get_by_role("heading", level=1)).to_have_text(ALL[:200].strip())
    content = page.content()
    assert "&lt;script&gt;window.ran=" in content
    page.goto("/")
    for script in (SCRIPTS[0], SCRIPTS[1], SCRIPTS[5]):
        expect(page.get_by_role("link", name=script, exact=True)).to_be_visible()
    page.goto("/settings")
    expect(page.get_by_text(SCRIPTS[6][:100], exact=True).first).to_be_visible()

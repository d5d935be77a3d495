"""An admin makes a token in the browser, sees it once, and revokes it."""

import httpx
import pytest
from playwright.sync_api import expect

from tests.app.control import served

pytestmark = pytest.mark.browser

TOKEN = "a-token-of-enough-length"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with served(tmp_path_factory.mktemp("tokens"), token=TOKEN) as (_, address):
        yield address


def test_a_token_is_made_shown_once_and_revoked(open_page, address):
    page = open_page("/settings")
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/settings")
    page.get_by_label("Whose, or what for").fill("<i>my</i> worker")
    page.get_by_label("May").select_option("ingest, run")
    page.get_by_label("Days").fill("7")
    page.get_by_role("button", name="Make a token").click()
    token = page.locator("#made code").inner_text()
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    assert token.startswith("gyro_")
    row = page.locator("#token-list tbody tr")
    expect(row).to_contain_text("<i>my</i> worker")
    expect(row.locator(".tag")).to_have_text(["ingest", "run"])
    headers = {"Authorization": f"Bearer {token}"}
    assert httpx.post(f"{address}/v1/runs", json={"attached": True}, headers=headers).status_code == 201
    page.reload()
    expect(page.locator("#made code")).to_have_count(0)
    page.get_by_role("button", name="Revoke <i>my</i> worker").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(page.get_by_text("There are none.")).to_be_visible()
    assert httpx.post(f"{address}/v1/runs", json={"attached": True}, headers=headers).status_code == 401
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/login")

"""With a token set, a browser signs in once."""

import httpx
import pytest
from playwright.sync_api import expect

from tests.app.control import served

pytestmark = pytest.mark.browser

TOKEN = "a-token-of-enough-length"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with served(tmp_path_factory.mktemp("login"), token=TOKEN) as (_, address):
        yield address


def test_a_person_signs_in_with_the_token_and_sees_the_page_asked_for(open_page, address):
    page = open_page("/alerts", expected=("401",))
    expect(page.get_by_role("heading", name="Sign in to Gyrostat")).to_be_visible()
    page.get_by_label("Token").fill("not it")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("That is no token of this service, or not any more.")
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/alerts")
    expect(page.locator("#connection")).to_have_attribute("data-state", "live")
    assert httpx.get(f"{address}/alerts").status_code == 401

"""An admin makes channels in the browser, sees a secret once, tries them, switches them off and deletes them."""

import json

import pytest
from playwright.sync_api import expect

from tests.app.control import served
from tests.app.receivers import mail_server, web_server

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with served(tmp_path_factory.mktemp("channels"), channel_allow=["127.0.0.0/8"]) as (_, address):
        yield address


def test_a_webhook_is_made_tried_switched_off_and_deleted(open_page, http):
    with web_server() as hook:
        page = open_page("/settings")
        expect(page.get_by_text("There are none: nobody is told.")).to_be_visible()
        page.get_by_label("Name", exact=True).fill("<i>team</i>")
        page.get_by_label("From", exact=True).select_option("critical")
        page.get_by_label("In projects").fill("digits, a b")
        page.get_by_label("Of kind").select_option("divergence")
        page.get_by_label("Address", exact=True).fill(hook.url)
        page.get_by_role("button", name="Make a channel").click()
        secret = page.locator("#channel-made code")
        expect(secret).to_contain_text("whsec_")
        (made,) = http.get("/v1/channels").json()["items"]
        assert (made["name"], made["severity"], made["projects"], made["rules"], made["events"]) == (
            "<i>team</i>", "critical", ["digits", "a b"], ["divergence"], ["opened", "resolved"],
        )  # fmt: skip
        row = page.locator("#channel-list li")
        expect(row).to_contain_text("<i>team</i>")
        expect(row).to_contain_text("Nothing was told yet.")
        page.get_by_role("button", name="Try <i>team</i>").click()
        expect(page.get_by_text("It was taken (204).")).to_be_visible()
        expect(row.locator(".told .badge")).to_have_text("sent")
        assert json.loads(hook.got[0].body)["type"] == "channel.test"
        hook.answers = [(500, {})]
        page.get_by_role("button", name="Try <i>team</i>").click()
        expect(page.get_by_text("It was not taken: it answers 500 Internal Server Error.")).to_be_visible()
        expect(row.locator(".told .badge")).to_have_text("failed")
        expect(row.locator("details tbody tr")).to_have_count(2)
    row.locator("summary").click()
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    page.get_by_role("button", name="Switch <i>team</i> off").click()
    expect(row.locator("h3")).to_contain_text("off")
    expect(row.locator("details")).to_have_attribute("open", "")
    assert http.get("/v1/channels").json()["items"][0]["enabled"] is False
    page.reload()
    expect(page.locator("#channel-made code")).to_have_count(0)
    page.get_by_role("button", name="Switch <i>team</i> on").click()
    expect(row.locator("h3")).not_to_contain_text("off")
    page.get_by_role("button", name="Delete <i>team</i>").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("There are none: nobody is told.")).to_be_visible()
    assert http.get("/v1/channels").json()["items"] == []


def test_mail_has_a_form_of_its_own_and_what_is_refused_is_told(open_page, http):
    with mail_server() as box:
        page = open_page("/settings", expected=("422",))
        page.get_by_label("Name", exact=True).fill("mail")
        page.get_by_label("Told by").select_option("email")
        expect(page.get_by_label("Address", exact=True)).to_be_hidden()
        page.get_by_label("Server", exact=True).fill("10.0.0.1")
        page.get_by_label("Encrypted").select_option("none")
        page.get_by_label("From whom").fill("gyrostat@example.org")
        page.get_by_label("To whom").fill("one@example.org, two@example.org")
        page.get_by_role("button", name="Make a channel").click()
        expect(page.get_by_text("10.0.0.1 is private")).to_be_visible()
        page.get_by_label("Server", exact=True).fill("127.0.0.1")
        page.get_by_label("Port", exact=True).fill(str(box.port))
        page.get_by_role("button", name="Make a channel").click()
        row = page.locator("#channel-list li")
        expect(row).to_contain_text("Mail: one@example.org, two@example.org by 127.0.0.1")
        expect(page.locator("#channel-made code")).to_have_count(0)
        page.get_by_role("button", name="Try mail").click()
        expect(row.locator(".told .badge")).to_have_text("sent")
        assert box.mails[0][2] == ["one@example.org", "two@example.org"]
    for item in http.get("/v1/channels").json()["items"]:
        http.delete(f"/v1/channels/{item['id']}")

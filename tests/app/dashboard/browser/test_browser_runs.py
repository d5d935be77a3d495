"""From the list to a run, to its alert, to a remedy, to the fork that applies it; and everything live."""

import re

import pytest
from playwright.sync_api import expect

from tests.app.dashboard.browser.training import Training

pytestmark = pytest.mark.browser

LIVE = 10_000
"""Milliseconds that a change may take to be shown; 2 s where the machine is idle."""


@pytest.fixture
def healthy(http):
    """A run of 100 steps with nothing wrong."""
    training = Training(http, "healthy run")
    training.declare()
    training.train(100)
    yield training
    training.event("finished")


@pytest.fixture
def sick(http):
    """A run whose gradient vanishes."""
    training = Training(http, "sick run", preset="sick-deep-sigmoid", sick=True, project="ward")
    training.declare()
    training.train(30)
    training.checkpoint()
    training.train(30)
    yield training
    training.event("finished")


def test_a_person_goes_from_the_list_to_the_alert_to_a_fork_that_cures_it(open_page, sick):
    page = open_page("/")
    row = page.locator(f"#run-{sick.run}")
    expect(row.get_by_text("running")).to_be_visible()
    expect(row.get_by_text("60 / ", exact=False)).to_be_visible()
    expect(row.locator(".spark polyline")).to_have_count(1)
    row.get_by_role("link", name="sick run").click()

    verdict = page.locator("#verdict")
    expect(verdict).to_contain_text("open alert")
    expect(verdict.locator("code").first).to_have_text("layers.0.linear.weight")
    expect(page.locator("#vital-loss-train [data-value]")).to_have_text("1.542")
    expect(page.locator("#vital-sharpness [data-value]")).to_have_text("0.263")

    alert = page.locator(".alert").filter(has_text="Gradient vanishes")
    alert.get_by_text("Evidence").click()
    expect(alert.locator("table")).to_contain_text("gradient.norm")
    remedy = alert.locator(".remedy").first
    remedy.get_by_text("Change to the spec").click()
    expect(remedy.locator("pre")).to_be_visible()
    changed = remedy.locator("pre").inner_text()
    remedy.get_by_role("button", name="Apply to a fork").click()

    page.wait_for_url(re.compile(rf"/runs/(?!{sick.run})[0-9a-f]+$"))
    expect(page.locator(".run-meta")).to_contain_text("forked from")
    page.locator("#drawer-spec summary").click()
    activation = re.search(r'"kind": "(\w+)"', changed).group(1)
    expect(page.locator("#drawer-spec pre")).to_contain_text(f'"{activation}"')
    page.locator(".run-meta a").click()
    page.wait_for_url(f"**/runs/{sick.run}")


def test_charts_are_drawn_and_tell_their_numbers(open_page, sick):
    page = open_page(f"/runs/{sick.run}")
    loss = page.locator("#panel-loss .plot")
    expect(loss).to_have_attribute("aria-label", re.compile(r"train: 1\.542 at step 60"))
    expect(loss.locator("svg.main-svg").first).to_be_visible()
    expect(page.locator("#panel-loss .key")).to_have_text("trainvalidation")
    heatmap = page.locator("#panel-gradient-norm .plot")
    expect(heatmap).to_have_attribute("aria-label", re.compile("smallest 1e-10 in layers.0.linear.weight"))
    expect(heatmap.locator("image").first).to_be_attached()
    page.locator("#panel-sharpness").scroll_into_view_if_needed()
    expect(page.locator("#panel-sharpness .plot")).to_have_attribute("aria-label", re.compile("limit: 76 at step 60"))


def test_a_family_of_charts_is_drawn_once_it_is_opened_and_stays_open(open_page, healthy):
    page = open_page(f"/runs/{healthy.run}")
    panel = page.locator("#family-gradients [id='panel-metric.gradient.clip_factor']")
    expect(panel).to_be_hidden()
    page.locator("#family-gradients > summary").click()
    expect(panel.locator(".plot")).to_have_attribute("aria-label", re.compile("at step 100"))
    healthy.train(1)
    expect(panel.locator(".plot")).to_have_attribute("aria-label", re.compile("at step 101"), timeout=LIVE)
    expect(page.locator("#family-gradients summary")).to_have_count(1)


def test_a_measurement_appears_by_itself_on_the_page_and_in_the_chart(open_page, healthy):
    page = open_page(f"/runs/{healthy.run}")
    expect(page.locator("#connection")).to_have_attribute("data-state", "live")
    expect(page.locator("#panel-loss .plot")).to_have_attribute("aria-label", re.compile("at step 100"))
    healthy.train(1, loss__train=0.1234)
    expect(page.locator("#vital-loss-train [data-value]")).to_have_text("0.1234", timeout=LIVE)
    expect(page.locator("#panel-loss .plot")).to_have_attribute(
        "aria-label", re.compile("0.1234 at step 101"), timeout=LIVE
    )


def test_not_a_number_is_told_everywhere_and_opens_an_alert_by_itself(open_page, healthy):
    page = open_page(f"/runs/{healthy.run}")
    expect(page.locator("#verdict")).to_contain_text("Well.")
    expect(page.locator("#connection")).to_have_attribute("data-state", "live")
    healthy.train(1, loss__train="NaN")
    expect(page.locator("#verdict")).to_have_attribute("data-tone", "critical", timeout=LIVE)
    expect(page.locator("#vital-loss-train [data-value]")).to_have_text("NaN")
    expect(page.locator("#announcer")).to_contain_text("New critical alert", timeout=LIVE)
    expect(page.locator("#panel-loss .plot")).to_have_attribute(
        "aria-label", re.compile("NaN or infinity"), timeout=LIVE
    )
    expect(page.locator("#open-alerts")).to_contain_text(re.compile(r"\d+ open"))


def test_the_list_follows_runs_without_a_reload(open_page, healthy):
    page = open_page("/")
    row = page.locator(f"#run-{healthy.run}")
    expect(row).to_contain_text("100 / ")
    expect(page.locator("#connection")).to_have_attribute("data-state", "live")
    page.evaluate("window.isSamePage = true")
    healthy.train(20, loss__train=0.4321)
    expect(row).to_contain_text("120 / ", timeout=LIVE)
    expect(row.locator(".c-loss")).to_contain_text("0.4321")
    other = Training(healthy.http, "newcomer")
    expect(page.locator(f"#run-{other.run}")).to_contain_text("newcomer", timeout=LIVE)
    other.event("finished")
    expect(page.locator(f"#run-{other.run}")).to_contain_text("finished", timeout=LIVE)
    assert page.evaluate("window.isSamePage") is True


def test_what_was_opened_and_focused_survives_an_update(open_page, sick):
    page = open_page(f"/runs/{sick.run}")
    evidence = page.locator(".alert details[id^=evidence]").first
    evidence.locator("summary").focus()
    page.keyboard.press("Enter")
    sick.train(5, loss__train=0.777)
    expect(page.locator("#vital-loss-train [data-value]")).to_have_text("0.7770", timeout=LIVE)
    expect(evidence).to_have_attribute("open", "")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"


def test_alerts_are_acknowledged_and_resolved_from_the_inbox(open_page, sick):
    page = open_page("/alerts")
    alert = page.locator(".alert").filter(has_text="sick run").filter(has_text="Gradient vanishes").first
    name = alert.get_attribute("id")
    alert.get_by_role("button", name="Acknowledge").click()
    expect(page.locator(f"#{name}")).to_have_count(0, timeout=LIVE)
    page.get_by_role("link", name="Acknowledged").click()
    page.locator(f"#{name}").get_by_role("button", name="Resolve").click()
    expect(page.locator(f"#{name}")).to_have_count(0, timeout=LIVE)
    page.get_by_role("link", name="Resolved").click()
    expect(page.locator(f"#{name}")).to_contain_text("resolved")


def test_a_run_is_renamed_forked_stopped_and_deleted_with_a_question_before_it(open_page, healthy):
    healthy.checkpoint()
    # the refused patch, and what the page still asks for while its run is deleted
    page = open_page(f"/runs/{healthy.run}", expected=("422", "404"))
    page.get_by_role("button", name="Edit").click()
    page.locator("#edit-dialog").get_by_label("Name").fill("renamed run")
    page.locator("#edit-dialog").get_by_label("Tags").fill("one, two")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("renamed run", timeout=LIVE)
    expect(page.locator(".run-meta .tag")).to_have_text(["one", "two"])

    page.get_by_role("button", name="Fork", exact=True).click()
    page.get_by_label("Begin at").select_option("100")
    page.get_by_label("Change to the spec").fill('{"optimizer": {"learning_rate": -1}}')
    page.get_by_role("button", name="Start the fork").click()
    expect(page.get_by_role("alert")).to_contain_text("optimizer.learning_rate")
    page.get_by_label("Change to the spec").fill('{"optimizer": {"learning_rate": 0.01}}')
    page.get_by_role("button", name="Start the fork").click()
    expect(page.locator(".run-meta")).to_contain_text("at step 100")

    page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_role("button", name="Keep training").click()
    page.get_by_role("button", name="Stop", exact=True).click()
    page.locator("#stop-dialog").get_by_role("button", name="Stop").click()
    expect(page.locator(".run-title .badge")).to_have_text("stopped", timeout=LIVE)
    page.get_by_role("button", name="Delete this run").click()
    page.locator("#delete-dialog").get_by_role("button", name="Delete").click()
    page.wait_for_url(re.compile(r"/$"))
    expect(page.get_by_text("renamed run-fork")).to_have_count(0)

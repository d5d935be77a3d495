"""Every page at every width, by keyboard, in both themes, with hostile names, and the form of a new run."""

import re

import httpx
import pytest
from playwright.sync_api import expect

from tests.app.dashboard.browser.training import Training

pytestmark = pytest.mark.browser

HOSTILE = "<script>alert('x')</script>\"&' <img src=x onerror=alert(1)> مرحبا שלום " + "long" * 30


@pytest.fixture(scope="module")
def hostile(address):
    """A sick run whose name, project, tags and layers are made to break pages."""
    with httpx.Client(base_url=address, timeout=20) as http:
        training = Training(
            http,
            HOSTILE[:200],
            preset="sick-deep-sigmoid",
            sick=True,
            project=HOSTILE[:100],
            tags=[HOSTILE[:90], "t" * 100],
        )
        names = [f"<b onclick=alert(1)>{'x' * 220}</b>{number}" for number in range(6)]
        training.declare(tuple(names))
        training.train(20)
        training.train(2, loss__train="Infinity")
        yield training
        training.event(
            "failed", error="<img src=x onerror=alert(2)>", traceback="<script>alert(3)</script>\n" + "a" * 300
        )


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1400, "light"), (3840, "dark")])
def test_no_page_complains_or_scrolls_sideways(open_page, hostile, width, scheme):
    page = open_page("/", viewport={"width": width, "height": 900}, color_scheme=scheme)
    for path in ("/", f"/runs/{hostile.run}", "/alerts", "/runs/new", "/catalogue", "/?q=nothing-like-it"):
        page.goto(path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        if "/runs/" in path and path != "/runs/new":
            page.locator("#panel-loss").scroll_into_view_if_needed()
            expect(page.locator("#panel-loss svg.main-svg").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0, path
        assert page.evaluate("document.querySelectorAll('img').length") == 0, "a name became an image"


def test_hostile_names_are_read_as_text(open_page, hostile):
    page = open_page(f"/runs/{hostile.run}")
    expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE[:200].strip())
    expect(page.locator("#verdict code").first).to_contain_text("<b onclick=alert(1)>")
    label = page.locator("#panel-gradient-norm .ytick text").first
    expect(label).to_contain_text("<b oncl")
    page.locator("#panel-gradient-norm .plot").hover(position={"x": 300, "y": 60})
    expect(page.locator("#panel-gradient-norm .hoverlayer")).to_contain_text("<b onclick")


def test_the_keyboard_reaches_everything(open_page, hostile):
    page = open_page("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip-link"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "q"
    page.keyboard.type("nothing-like-it")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No run matches")).to_be_visible()
    page.keyboard.press("Escape")
    page.locator("body").click(position={"x": 5, "y": 400})
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("a")
    page.wait_for_url("**/alerts")
    page.keyboard.press("n")
    page.wait_for_url("**/runs/new")


def test_every_control_of_a_run_is_reached_by_tabbing_and_is_named(open_page, hostile):
    page = open_page(f"/runs/{hostile.run}")
    expect(page.locator("#panel-loss svg.main-svg").first).to_be_visible()
    unnamed = page.evaluate(
        """[...document.querySelectorAll("button, a, input, select, textarea")].filter((each) => each.checkVisibility()
             && !(each.ariaLabel || each.textContent.trim() || each.labels?.length)).map((each) => each.outerHTML)"""
    )
    assert unnamed == []
    seen = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.ariaLabel || document.activeElement.textContent.trim()"))
    assert {"Pause", "Stop", "Fork", "Edit", "Delete this run", "Enlarge Loss", "Logarithmic scale, Loss"} <= seen


def test_the_theme_is_the_systems_until_it_is_chosen_and_then_it_stays(open_page, hostile):
    page = open_page(f"/runs/{hostile.run}", color_scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    tick = page.locator("#panel-loss .xtick text").first
    expect(tick).to_be_visible()
    colour = tick.evaluate("node => node.style.fill")
    page.get_by_role("button", name="Switch between light and dark").click()
    light = page.evaluate(background)
    assert light != dark
    expect(tick).not_to_have_css("fill", colour)
    page.reload()
    assert page.evaluate(background) == light


def test_charts_zoom_together_smooth_enlarge_and_change_scale(open_page, hostile):
    page = open_page(f"/runs/{hostile.run}")
    expect(page.locator("#panel-loss svg.main-svg").first).to_be_visible()
    with page.expect_response(re.compile("from=5&to=10.*panel=accuracy")):
        page.locator("#from-step").fill("5")
        page.locator("#to-step").fill("10")
        page.locator("#to-step").press("Enter")
    with page.expect_response(lambda answer: "panel=loss" in answer.url and "from" not in answer.url):
        page.get_by_role("button", name="Reset zoom").click()
    with page.expect_response(re.compile("smooth=0.98.*panel=loss")):
        page.get_by_label("Smoothing").press("End")
    log = page.get_by_role("button", name="Logarithmic scale, Loss")
    with page.expect_response(re.compile("panel=loss%2Clinear")):
        log.click()
    expect(log).to_have_attribute("aria-pressed", "false")
    page.get_by_role("button", name="Enlarge Loss").click()
    expect(page.locator("#panel-loss")).to_have_class(re.compile("expanded"))


def test_the_form_says_what_is_wrong_and_starts_what_is_right(open_page, http):
    page = open_page("/runs/new", expected=("422",))
    start = page.get_by_role("button", name="Start training")
    expect(start).to_be_enabled()
    page.get_by_label("Preset").select_option("sick-deep-sigmoid")
    expect(page.get_by_label("Spec")).to_have_value(re.compile('"sigmoid"'))
    expect(page.locator("#findings")).to_contain_text("vanish")
    expect(start).to_be_enabled()

    page.get_by_label("Learning rate").fill("-3")
    finding = page.locator(".finding").filter(has_text="optimizer.learning_rate")
    expect(finding).to_be_visible()
    expect(start).to_be_disabled()
    expect(page.get_by_label("Learning rate")).to_have_attribute("aria-invalid", "true")
    page.get_by_label("Learning rate").fill("0.03")
    expect(finding).to_have_count(0)

    page.get_by_label("Optimizer").select_option("adamw")
    expect(page.get_by_label("Spec")).to_have_value(re.compile(r'"optimizer": \{\s+"kind": "adamw"\s+\}'))
    page.get_by_label("Normalization").select_option("layer")
    page.get_by_label("Spec").fill("{ not json")
    expect(page.locator("#findings")).to_contain_text("JSON")
    expect(page.get_by_label("Seed")).to_be_disabled()
    page.get_by_label("Preset").select_option("diabetes-mlp")
    page.get_by_label("Steps").fill("77")
    page.get_by_label("Name").fill("started by hand")
    page.get_by_label("Tags").fill("form, test")
    expect(start).to_be_enabled()
    start.click()
    page.wait_for_url(re.compile("/runs/[0-9a-f]+$"))
    expect(page.get_by_role("heading", level=1)).to_have_text("started by hand")
    made = http.get(f"/v1/runs/{page.url.rpartition('/')[2]}").json()
    assert (made["steps"], made["tags"], made["project"]) == (77, ["form", "test"], "default")
    assert made["spec"]["task"]["dataset"]["kind"] == "diabetes"


def test_ten_thousand_layers_are_drawn_in_two_hundred_rows(open_page, http):
    training = Training(http, "deep")
    training.declare(tuple(f"blocks.{number}.weight" for number in range(10_000)))
    training.train(3)
    page = open_page(f"/runs/{training.run}")
    expect(page.locator("#panel-gradient-norm .hint")).to_have_text(
        "10,000 layers: each row shows the largest value of 50"
    )
    expect(page.locator("#panel-gradient-norm image").first).to_be_attached()
    training.event("finished")

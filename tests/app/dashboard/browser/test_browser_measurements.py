"""Measurements on demand on the run's page: asked for by its form, drawn when they come, at every width."""

import re

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.app.dashboard.browser.training import Training

pytestmark = pytest.mark.browser


def values_of(settings):
    """What a training could answer: a bowl, or a bulk with outliers."""
    if settings["kind"] == "landscape":
        points = settings["points"] or {1: 51, 2: 21}[settings["dimensions"]]
        at = np.linspace(-settings["reach"], settings["reach"], points)
        line = 0.3 + 4 * at**2 + 0.4 * np.sin(5 * at) ** 2
        losses = line if settings["dimensions"] == 1 else line[None] + 3 * at[:, None] ** 2 + at[:, None] * at[None]
        return {"positions": at.tolist(), "losses": losses.tolist()}
    if settings["kind"] == "ntk":
        return {"kernel_eigenvalues": np.geomspace(1e-3, 40, 32).tolist()}
    if settings["kind"] == "cka":
        depth = np.arange(24)
        likeness = np.exp(-np.abs(depth[:, None] - depth) / 8)
        return {"names": [f"layers.{i}.attention.projection" for i in depth], "alignment": likeness.tolist()}
    grid = np.linspace(-3, 42, 512)
    eigenvalues = [*np.linspace(-2, 3, 40), 9.0, 17.0, 40.0]
    weights = [*np.full(40, 0.9999 / 40), 4e-5, 4e-5, 2e-5]
    sigma = 0.42
    peaks = np.exp(-0.5 * ((grid[:, None] - eigenvalues) / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
    density = peaks @ weights
    return {
        "grid": grid.tolist(), "density": density.tolist(), "error": (0.15 * density).tolist(),
        "eigenvalues": eigenvalues, "weights": weights, "sigma": sigma, "trace": 512.0, "trace_error": 12.5,
        "square": 2300.0, "square_error": 61.0, "steps": 40, "parameters": 50_826,
    }  # fmt: skip


def answer(http, training, **changes):
    """Answers what was asked for last, as the training would."""
    asked = http.get(f"/v1/runs/{training.run}/measurements").json()["items"][0]
    told = {"id": asked["id"], "settings": asked["settings"], "seconds": 0.42}
    training.event("measurement", **told, **(changes or {"samples": 64, "values": values_of(asked["settings"])}))
    return asked


@pytest.fixture
def trained(http):
    training = Training(http, "measured run")
    training.declare()
    training.train(60)
    yield training
    training.event("finished")


@pytest.mark.parametrize("width", [390, 1400])
def test_a_measurement_is_asked_for_and_its_chart_comes_by_itself(open_page, http, trained, width):
    page = open_page(f"/runs/{trained.run}", viewport={"width": width, "height": 900})
    form, section = page.locator("#measure-form"), page.locator("#measurements")
    for what, told, seed in (
        ("Loss along a line", "at the weights", "7"),
        ("Loss on a plane", "at the weights", "7"),
        ("Spectrum of the Hessian", "50,826 eigenvalues", "7"),
        ("Spectrum of the tangent kernel", "32 eigenvalues from 0.001 to 40", ""),
        ("Likeness of layers", "24 layers", ""),
    ):
        form.get_by_label("What").select_option(what)
        form.get_by_label("Seed").fill(seed)
        form.get_by_role("button", name="Measure").click()
        expect(section).to_contain_text("1 waited for")
        asked = answer(http, trained)
        assert str(asked["settings"].get("seed", "")) == seed
        panel = page.locator(f"#panel-measurement-{asked['id']}")
        panel.scroll_into_view_if_needed()
        expect(panel.locator(".plot")).to_have_attribute("aria-label", re.compile(told))
        expect(panel.locator(".hint")).to_contain_text("Step 60, 64 samples.")
        expect(section).not_to_contain_text("waited for")
    expect(page.locator("#measured .panel")).to_have_count(5)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_newer_one_takes_the_place_of_its_form_and_a_failure_says_why(open_page, http, trained):
    run = f"/v1/runs/{trained.run}"
    for _ in range(2):
        http.post(f"{run}:measure", json={"kind": "landscape"}).raise_for_status()
        first = answer(http, trained)
    http.post(f"{run}:measure", json={"kind": "spectral_density"}).raise_for_status()
    answer(http, trained, error="FloatingPointError: a product with <b>the operator</b> is not finite")
    page = open_page(f"/runs/{trained.run}")
    expect(page.locator("#measured .panel")).to_have_count(1)
    panel = page.locator(f"#panel-measurement-{first['id']}")
    panel.scroll_into_view_if_needed()
    expect(panel.locator(".plot")).to_have_attribute("aria-label", re.compile("at the weights"))
    page.evaluate("window.isSamePage = true")
    scale = panel.get_by_role("button", name="Logarithmic scale")
    expect(scale).to_have_text("linear")
    scale.click()
    expect(scale).to_have_text("log")
    panel.get_by_role("button", name="Enlarge").click()
    expect(panel).to_have_class(re.compile("expanded"))
    expect(panel.locator("svg.main-svg").first).to_have_js_property(
        "width.baseVal.value", panel.locator(".plot").evaluate("it => it.clientWidth")
    )
    panel.get_by_role("button", name="Enlarge").focus()
    trained.train(1)  # what the user did to it survives what else comes in
    expect(page.locator(".verdict")).to_contain_text("61", timeout=15_000)
    expect(scale).to_have_text("log")
    expect(panel).to_have_class(re.compile("expanded"))
    expect(panel.get_by_role("button", name="Enlarge")).to_be_focused()
    page.get_by_text("3 asked for").click()
    expect(page.locator("#measurement-list")).to_contain_text("a product with <b>the operator</b> is not finite")
    http.post(f"{run}:measure", json={"kind": "landscape", "seed": 1}).raise_for_status()
    newer = answer(http, trained)
    expect(page.locator("#measured .panel")).to_have_attribute("id", f"panel-measurement-{newer['id']}")
    assert page.evaluate("window.isSamePage")

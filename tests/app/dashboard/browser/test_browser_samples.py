"""What a generative model makes, on its page: the newest picture first, new ones by themselves, at every width."""

import base64

import numpy as np
import pytest
from playwright.sync_api import expect

from gyrostat.wire import png
from tests.app.dashboard.browser.training import Training

pytestmark = pytest.mark.browser


@pytest.fixture
def generative(http):
    """A run that has shown samples twice."""
    training = Training(http, "generative run")
    training.declare()
    for _ in range(2):
        training.train(50)
        _show(training)
    yield training
    training.event("finished")


def _show(training):
    noise = np.random.default_rng(training.step).integers(0, 256, (47, 47), dtype=np.uint8)
    training.event("samples", png=base64.b64encode(png.encode(noise)).decode(), caption="25 digits")


@pytest.mark.parametrize("width", [390, 1400])
def test_samples_are_shown_newest_first_and_new_ones_come_by_themselves(open_page, generative, width):
    page = open_page(f"/runs/{generative.run}", viewport={"width": width, "height": 900})
    pictures = page.locator("#samples img")
    expect(pictures).to_have_count(2)
    expect(pictures.first).to_have_attribute("alt", "Samples after step 100: 25 digits")
    generative.train(50)
    _show(generative)
    expect(pictures).to_have_count(3)
    expect(pictures.first).to_have_attribute("alt", "Samples after step 150: 25 digits")
    expect(pictures.first).to_have_js_property("naturalWidth", 47)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

"""A real Chromium on a real server; what a page's console complains about, CSP violations among it, fails its test."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect

from tests.app.control import served
from tests.app.dashboard.browser.chromium import launched, program


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for the tests of a file."""
    path = program()
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI must test in a browser, and no Chromium is on the PATH")
        pytest.skip("no Chromium on the PATH; on Debian: apt-get install chromium")
    # of a module, not of the session: while it lives, its event loop counts as running in this thread
    with launched(path) as browser:
        expect.set_options(timeout=15_000)
        yield browser


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that does not miss the workers that tests only claim to have."""
    patience = {"heartbeat_seconds": 60, "unreachable_seconds": 600, "lease_seconds": 1200}
    with served(tmp_path_factory.mktemp("browser"), **patience) as (_, address):
        yield address


@pytest.fixture
def http(address: str) -> Iterator[httpx.Client]:
    """For what is not done in the browser."""
    with httpx.Client(base_url=address, timeout=20) as client:
        yield client


@pytest.fixture
def open_page(chromium: Browser, address: str) -> Iterator[Callable[..., Page]]:
    """Makes a page of a fresh context; what its console complains about fails the test, but for what is expected."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_page(path: str, *, expected: tuple[str, ...] = (), **options: Any) -> Page:
        def complain(text: str) -> None:
            if not any(part in text for part in expected):
                complaints.append(text)

        def heard(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                complain(message.text)

        context = chromium.new_context(base_url=address, **{"viewport": {"width": 1400, "height": 1000}, **options})
        context.set_default_timeout(15_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", heard)
        page.on("pageerror", lambda error: complain(str(error)))
        page.on("dialog", lambda dialog: complain(f"a dialog opened: {dialog.message}"))
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []

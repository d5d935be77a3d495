"""Hands a message to the library apprise, which sends it wherever its addresses say.

It resolves and connects by itself, so that what it reaches can neither be checked nor held to what was checked; the
operator has to allow it (`GYROSTAT_CHANNEL_APPRISE`).
"""

import importlib
import logging
import threading
from collections.abc import Mapping
from typing import Any

from app.errors import Conflict
from app.services.notify import messages
from app.services.notify.addresses import Refused
from app.services.notify.outbox import Outcome
from app.services.notify.targets import AppriseTarget

SECONDS = 30.0
"""After them it is tried again, whatever becomes of the try."""
_TYPES = {"info": "info", "warning": "warning", "critical": "failure"}


def check(target: AppriseTarget, *, allowed: bool) -> None:
    """Whether apprise is allowed, installed, and knows every address.

    Raises:
        Refused: it is not allowed, or an address is none of its. Conflict: it is not installed.
    """
    if not allowed:
        raise Refused(
            "its destinations cannot be checked, so this service must be started with GYROSTAT_CHANNEL_APPRISE=1"
        )
    for place, url in enumerate(target.urls):
        if not _library().Apprise(asset=_asset()).add(url.get_secret_value()):
            raise Refused(f"apprise cannot read address {place} (from 0); see its documentation for how to write it")


def send(target: AppriseTarget, message: Mapping[str, Any], public_url: str) -> Outcome:
    """Hands the message over and tells what came of it."""
    library = _library()
    services = library.Apprise(asset=_asset())
    for url in target.urls:
        services.add(url.get_secret_value())
    said: list[bool] = []

    def notify() -> None:
        severity = message.get("alert", {}).get("severity", "info")
        kind = "success" if message["event"] == "resolved" else _TYPES[severity]
        said.append(
            bool(
                services.notify(
                    title=messages.title(message),
                    body=messages.text(message, public_url),
                    notify_type=kind,
                    body_format=library.NotifyFormat.TEXT,  # so that it escapes what it puts into HTML
                )
            )
        )

    thread = threading.Thread(target=notify, name="gyrostat-apprise", daemon=True)
    thread.start()
    thread.join(SECONDS)
    if thread.is_alive():
        return Outcome(passed=False, again=True, error=f"apprise has not ended within {SECONDS:g} s")
    if said == [True]:
        return Outcome(passed=True)
    return Outcome(passed=False, again=True, error="apprise says that not every service took it")


def _library() -> Any:
    try:
        library = importlib.import_module("apprise")
    except ImportError as error:
        raise Conflict(
            "this service has no apprise; install it beside the service: pip install 'gyrostat[apprise]'"
        ) from error
    # its lines hold what was sent to whom, and what was answered
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    return library


def _asset() -> Any:
    # no plug-ins from folders: they would be code
    return _library().AppriseAsset(app_id="Gyrostat", app_desc="Gyrostat", plugin_paths=[], async_mode=False)

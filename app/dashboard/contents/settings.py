"""What the page of settings shows: tokens and channels, to whom it may be shown."""

from typing import Any

from app.dashboard.contents import channels as channels_content
from app.guards.tokens import Caller
from app.services import tokens as token_service
from app.settings import AppSettings
from app.storage.database import Session

CHOICES = (
    ("read", "Look: pages, API, Prometheus"),
    ("ingest", "Train: a worker"),
    ("ingest, run", "Attach: a training loop of one's own"),
    ("read, run", "Look, start and steer"),
    ("read, ingest, run", "Everything but rules, channels and tokens"),
    ("admin", "Everything"),
)
"""Scopes that are given together, and what for."""


def context(session: Session, caller: Caller, settings: AppSettings, *, protected: bool) -> dict[str, Any]:
    """What the template needs.

    Raises:
        MissingScope: the caller is no admin.
    """
    caller.check("admin")
    return {
        "caller": caller,
        "protected": protected,
        "choices": CHOICES,
        "tokens": token_service.list_tokens(session).items,
        **channels_content.context(session, settings),
    }

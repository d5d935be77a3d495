"""What may be asked about channels, and how they and what was told through them are shown."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from app.services.notify.targets import Kind, Target, TargetShown
from app.services.run_requests import Body, Word
from app.services.run_view import View
from gyrostat.spec.run import Severity

Told = Literal["opened", "resolved"]
Words = Annotated[list[Word], Field(max_length=50)]
Events = Annotated[list[Told], Field(min_length=1, max_length=2)]


class ChannelRequest(Body):
    """Makes a channel."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "team",
                    "target": {"kind": "webhook", "url": "https://hooks.example.org/gyrostat"},
                    "severity": "warning",
                }
            ]
        }
    )

    name: Word
    """What to call it."""
    target: Target
    """What it sends to."""
    enabled: bool = True
    """Whether it is told anything."""
    severity: Severity = "info"
    """The least severe alerts that it is told of."""
    projects: Words = Field(default_factory=list)
    """Only alerts of runs of these projects; empty is all."""
    rules: Words = Field(default_factory=list)
    """Only alerts of these rules; empty is all."""
    events: Events = Field(default=["opened", "resolved"])
    """What of an alert it is told: that it `opened` (or became more severe), that it was `resolved`."""


class ChannelPatch(Body):
    """Changes a channel; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"enabled": False}]})

    name: Word | None = None
    """New name."""
    target: Target | None = None
    """All of what it sends to, of the same kind. A webhook's secret stays where none is given, and so does a password
    for the same server and user."""
    enabled: bool | None = None
    """False tells it nothing more, and gives up what waits."""
    severity: Severity | None = None
    """New least severity."""
    projects: Words | None = None
    """All projects that it is told of; empty is all there are."""
    rules: Words | None = None
    """All rules that it is told of; empty is all there are."""
    events: Events | None = None
    """All that it is told of an alert."""


DELIVERY: dict[str, Any] = {
    "id": "5b1d0a6e3c9f48d2a7c4e1f09b8d6352",
    "event": "opened",
    "alert": "c0ffee5f0c2f9d3b",
    "run": "5f0c2f9d3b1a4e77",
    "title": "[critical] Loss diverges: digits-mlp-1",
    "state": "sent",
    "tries": 1,
    "status": 200,
    "error": None,
    "created_at": "2026-03-14T09:26:53.589793Z",
    "tried_at": "2026-03-14T09:26:54.101912Z",
}


class DeliveryView(View):
    """A message through a channel, and what came of it."""

    model_config = ConfigDict(json_schema_extra={"examples": [DELIVERY]})

    id: str
    """What its receiver knows it by, in `webhook-id` or `Message-ID`; the same at each try."""
    event: Literal["opened", "worsened", "resolved", "summary", "test"]
    """What it tells."""
    alert: str | None
    """Of which alert; null for tests and summaries."""
    run: str | None
    """Of which run."""
    title: str
    """The message in one line."""
    state: Literal["waiting", "sent", "failed", "summed"]
    """`summed`: a summary told of it, with others."""
    tries: int
    """How often it was sent."""
    status: int | None
    """What was answered last: of HTTP or SMTP."""
    error: str | None
    """Why the last try failed; of a mail that was sent, whom the server refused."""
    created_at: datetime
    """When it was written."""
    tried_at: datetime | None
    """When it was last sent; null before the first try."""


EXAMPLE: dict[str, Any] = {
    "id": "3e9a70c1d2b4f586",
    "name": "team",
    "kind": "webhook",
    "target": {"kind": "webhook", "url": "https://hooks.example.org/…"},
    "enabled": True,
    "severity": "warning",
    "projects": [],
    "rules": [],
    "events": ["opened", "resolved"],
    "waiting": 0,
    "last": DELIVERY,
    "created_at": "2026-03-14T09:00:00.000000Z",
    "updated_at": "2026-03-14T09:00:00.000000Z",
}


class ChannelView(View):
    """A channel, without its secrets."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    id: str
    """To name it by."""
    name: str
    """What it is called."""
    kind: Kind
    """What it sends by."""
    target: TargetShown
    """What it sends to, without secrets."""
    enabled: bool
    """Whether it is told anything."""
    severity: Severity
    """The least severe alerts that it is told of."""
    projects: list[str]
    """Only alerts of runs of these projects; empty is all."""
    rules: list[str]
    """Only alerts of these rules; empty is all."""
    events: list[Told]
    """What of an alert it is told."""
    waiting: int
    """Messages that are yet to be sent."""
    last: DeliveryView | None
    """What was last sent, or tried; null before."""
    created_at: datetime
    """When it was made."""
    updated_at: datetime
    """When it was last changed."""


class NewChannel(ChannelView):
    """A channel that was just made."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{**EXAMPLE, "last": None, "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="}]
        }
    )

    secret: str | None
    """What a webhook's messages are signed with, which is told this once; null for other kinds."""


class Channels(View):
    """Every channel."""

    items: list[ChannelView]
    """In the order they were made."""
    next: None = None
    """There is no second page."""

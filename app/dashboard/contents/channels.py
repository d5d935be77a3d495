"""What the page of settings shows of channels: each with what was told through it last."""

from typing import Any, NamedTuple

from app.alerts.base import DETECTORS
from app.dashboard.looks import SEVERITIES, Look
from app.services import channels as channel_service
from app.services.channel_view import ChannelView, DeliveryView
from app.services.notify.targets import AppriseShown, EmailShown
from app.settings import AppSettings
from app.storage.database import Session

SHOWN = 8
"""Deliveries of a channel."""
KINDS = {"webhook": "Webhook", "email": "Mail", "apprise": "Apprise"}
_STATES = {
    "sent": Look("ok", "check"),
    "failed": Look("critical", "cross"),
    "waiting": Look("warning", "clock"),
    "summed": Look("neutral", "info"),
}


class Row(NamedTuple):
    """A channel, where it sends to in words, and what was told through it, newest first."""

    channel: ChannelView
    where: str
    deliveries: list[DeliveryView]


def context(session: Session, settings: AppSettings) -> dict[str, Any]:
    """What the template needs."""
    return {
        "channels": [
            Row(
                channel,
                _where(channel),
                channel_service.deliveries(session, channel.id, cursor=None, limit=SHOWN).items,
            )
            for channel in channel_service.list_channels(session)
        ],
        "channel_kinds": {
            kind: title for kind, title in KINDS.items() if kind != "apprise" or settings.channel_apprise
        },
        "severities": SEVERITIES[::-1],
        "rules": {kind: detector.title for kind, detector in DETECTORS.items()},
        "links": bool(settings.public_url),
    }


def delivery_look(delivery: DeliveryView) -> Look:
    """How the badge of a delivery looks: one that waits for its second try has failed before."""
    return _STATES.get(delivery.state, Look("neutral", "info"))


def _where(channel: ChannelView) -> str:
    target = channel.target
    if isinstance(target, EmailShown):
        return f"{', '.join(target.recipients)} by {target.host}"
    if isinstance(target, AppriseShown):
        return ", ".join(target.services)
    return target.url

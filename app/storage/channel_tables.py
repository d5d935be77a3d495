"""Tables of channels, and of what is told through them."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.storage.base import Base
from app.storage.tables import BigId


class Channel(Base):
    """Where alerts are told, and which."""

    __tablename__ = "channel"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    kind: Mapped[str] = mapped_column(String(16))
    target: Mapped[dict[str, Any]]
    """A target of `app.services.notify.targets`, its secrets included."""
    enabled: Mapped[bool]
    severity: Mapped[str] = mapped_column(String(16))
    """The least severe that is told."""
    projects: Mapped[list[Any]]
    rules: Mapped[list[Any]]
    events: Mapped[list[Any]]
    next_at: Mapped[datetime]
    """Nobody sends before: somebody is at it, it failed a moment ago, or enough was sent for this minute."""
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Delivery(Base):
    """Something to be told through a channel, and what came of it."""

    __tablename__ = "delivery"
    number: Mapped[int] = mapped_column(BigId, primary_key=True)
    id: Mapped[str] = mapped_column(String(32), unique=True)
    """What the receiver knows it by."""
    # no foreign keys: a channel or a run that is deleted meanwhile must not fail the batch that raises an alert
    channel_id: Mapped[str] = mapped_column(String(32))
    alert_id: Mapped[str | None] = mapped_column(String(32))
    run_id: Mapped[str | None] = mapped_column(String(32))
    event: Mapped[str] = mapped_column(String(16))
    """opened, worsened, resolved, summary or test."""
    severity: Mapped[str | None] = mapped_column(String(16))
    message: Mapped[dict[str, Any]]
    """A message of `app.services.notify.messages`, as things were when it was written."""
    state: Mapped[str] = mapped_column(String(16))
    """waiting, sent, failed or summed."""
    tries: Mapped[int] = mapped_column(default=0)
    status: Mapped[int | None]
    """What the receiver answered last."""
    error: Mapped[str | None] = mapped_column(Text)
    """Why the last try failed."""
    summary: Mapped[int | None] = mapped_column(BigInteger)
    """Number of the delivery that told of this one among others."""
    created_at: Mapped[datetime]
    tried_at: Mapped[datetime | None]
    # numbers are an order: one that was handed out again would let a message overtake others
    __table_args__ = (Index("ix_delivery_channel_id_number", "channel_id", "number"), {"sqlite_autoincrement": True})


# what is looked for every second: few, however many were sent
Index(
    "ix_delivery_waiting",
    Delivery.channel_id,
    Delivery.number,
    sqlite_where=Delivery.state == "waiting",
    postgresql_where=Delivery.state == "waiting",
)

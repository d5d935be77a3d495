"""What tests of notifications share: channels, what waits for them, a courier that notes what it is given."""

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any

from app.services import channels as channel_service
from app.services.channel_view import ChannelRequest, DeliveryView, NewChannel
from app.services.notify import outbox
from app.services.notify.courier import Courier
from app.services.notify.outbox import Outcome, Task
from app.settings import AppSettings
from app.storage.database import Database
from tests.app.control import START

SETTINGS = AppSettings(channel_allow=["127.0.0.0/8", "::1"])
WEBHOOK = {"kind": "webhook", "url": "http://127.0.0.1:9/hook"}


def channel(
    database: Database, *, target: dict[str, Any] | None = None, now: datetime = START, **more: Any
) -> NewChannel:
    """A channel that is told of everything, where nothing else is said."""
    request = ChannelRequest.model_validate({"name": "team", "target": target or WEBHOOK, **more})
    prepared = channel_service.prepared(request, Courier(SETTINGS))
    return database.write(lambda session: channel_service.create(session, request, prepared, now))


def told(database: Database, channel_id: str) -> list[DeliveryView]:
    """What was told through the channel and what waits, oldest first."""
    with database.read() as session:
        return channel_service.deliveries(session, channel_id, cursor=None, limit=200).items[::-1]


def take(database: Database, channel_id: str, now: datetime) -> Task | None:
    """What is to be sent through the channel now."""
    return database.write(lambda session: outbox.take(session, channel_id, now))


def record(database: Database, task: Task, now: datetime, outcome: Outcome | None = None) -> str:
    """Writes down that it was sent, where nothing else is said."""
    return database.write(
        lambda session: outbox.record(session, task, outcome or Outcome(passed=True, status=204), now)
    )


class Noting(Courier):
    """Sends nowhere: keeps what it is given, and answers what it is told to."""

    def __init__(self, answer: Callable[[Task], Outcome] = lambda task: Outcome(passed=True, status=204)) -> None:
        super().__init__(SETTINGS)
        self.tasks: list[Task] = []
        self._answer = answer
        self._door = threading.Lock()

    def send(self, task: Task, now: datetime) -> Outcome:
        with self._door:
            self.tasks.append(task)
        return self._answer(task)

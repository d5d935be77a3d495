"""Viewers of one run as the backend meets them: each listens, and fetches what a page does when it hears of frames."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

PAUSE_SECONDS = 0.85
"""Between two updates of a page: static/live.js and static/charts.js."""
OPENING_SECONDS = 4.0


@dataclass
class Seen:
    """What all viewers together have got."""

    notices: int = 0
    answers: Counter[int] = field(default_factory=Counter)
    size: int = 0


async def watch(
    url: str, run: str, viewers: int, seconds: float, paths: Sequence[str], begun: Callable[[], None]
) -> Seen:
    """So many viewers for so long; after a notice each fetches the paths, at most once in PAUSE_SECONDS.

    What they do before `begun` is called, when all listen, does not count.
    """
    seen = Seen()
    tasks = [asyncio.create_task(_view(url, run, paths, seen)) for _ in range(viewers)]
    await asyncio.sleep(OPENING_SECONDS)
    begun()
    seen.notices, seen.size = 0, 0
    seen.answers.clear()
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    for each in ended:
        if isinstance(each, Exception):
            raise each
    return seen


async def _view(url: str, run: str, paths: Sequence[str], seen: Seen) -> None:
    events, writer = await _connected(url)
    changed = asyncio.Event()
    fetching = asyncio.create_task(_fetch(url, paths, changed, seen))
    try:
        writer.write(_request(f"/v1/runs/{run}/events"))
        while line := await events.readline():
            if line.startswith(b"data:") and "revision" in json.loads(line[5:]):
                seen.notices += 1
                changed.set()
        raise RuntimeError("the backend ended a stream")
    finally:
        writer.close()
        fetching.cancel()
        with suppress(asyncio.CancelledError):
            await fetching


async def _fetch(url: str, paths: Sequence[str], changed: asyncio.Event, seen: Seen) -> None:
    reader, writer = await _connected(url)
    try:
        while True:
            await changed.wait()
            await asyncio.sleep(PAUSE_SECONDS)
            changed.clear()
            for path in paths:
                writer.write(_request(path))
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
                seen.answers[int(head.split()[1])] += 1
                seen.size += len(await reader.readexactly(length))
    finally:
        writer.close()


async def _connected(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    place = urlsplit(url)
    return await asyncio.open_connection(place.hostname, place.port, limit=1 << 20)


def _request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()

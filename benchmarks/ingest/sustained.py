"""How long a rate is kept: one run without an end, sent for minutes, and what has piled up by then."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmarks.ingest import bodies
from benchmarks.ingest.ours import Backend
from gyrostat.wire import codec

PATTERN_STEPS = 1000
MEBIBYTE = 1 << 20


@dataclass
class Course:
    """What became of so many minutes of sending.

    Attributes:
        points: acknowledged in each minute.
        memory: bytes that the backend holds before, after the first minute, and at the end.
        backlog: blocks that wait to be merged when the last answer is there.
        seconds_behind: from then until nothing is left to merge.
        left: blocks not of full size by then: the ends of the series, which wait for more.
        cpu_seconds: of the backend for all of it, merging included.
    """

    points: list[int]
    memory: list[int] = field(default_factory=list)
    backlog: int = 0
    seconds_behind: float = 0.0
    left: int = 0
    cpu_seconds: float = 0.0


def sustained(backend: Backend, minutes: int, frames: int, rate: float | None = None) -> Course:
    """Sends for so long to a run of its own, at most `rate` points a second; batches are put together meanwhile."""
    course = Course([0] * minutes, [backend.memory()])
    run = backend.run(bodies.layout(bodies.UNWATCHED))
    cpu = backend.cpu_seconds()
    backend.send(run, _endless(backend, course, frames, rate), codec.MSGPACK)
    ended = time.perf_counter()
    course.backlog = _unmerged(backend)
    course.memory.append(backend.memory())
    quiet = 1.5
    course.cpu_seconds = backend.settled(quiet) - cpu
    course.seconds_behind = max(0.0, time.perf_counter() - ended - quiet)
    course.left = _unmerged(backend)
    return course


def told(course: Course) -> str:
    """The course in words and figures."""
    rates = [points / 60 for points in course.points]
    by_minute = ", ".join(f"{rate / 1e6:.2f}" for rate in rates)
    before, warm, after = (f"{held / MEBIBYTE:.0f}" for held in course.memory)
    total = sum(course.points)
    return (
        f"Sustained for {len(rates)} minutes, {total / 1e9:.2f} thousand million points in one run: "
        f"{rates[0] / 1e6:.2f} M points/s in the first minute, {rates[-1] / 1e6:.2f} M in the last, "
        f"{min(rates) / 1e6:.2f} M in the slowest ({by_minute}); {total / course.cpu_seconds / 1e6:.2f} M a CPU "
        f"second. After the last answer {course.backlog} blocks were not of full size, and {course.left} when the "
        f"merging came to rest {course.seconds_behind:.1f} s later. "
        f"Memory of the backend: {before} MiB before, {warm} MiB after the first minute, {after} MiB at the end.\n"
    )


def _endless(backend: Backend, course: Course, frames: int, rate: float | None) -> Iterator[bytes]:
    """Bodies until the time is over; that the next is asked for says that the last was acknowledged."""
    made = bodies.batches(PATTERN_STEPS, frames, bodies.UNWATCHED)
    began, minute = time.perf_counter(), 0
    for turn in range(2**53):
        place = made[turn % len(made)]
        yield codec.encode_msgpack(bodies.moved(place, turn + 2, PATTERN_STEPS * (turn // len(made))))
        now = int((time.perf_counter() - began) // 60)
        course.points[min(now, len(course.points) - 1)] += place.num_points
        if rate is not None:
            time.sleep(max(0.0, began + sum(course.points) / rate - time.perf_counter()))
        if minute == 0 < now:
            course.memory.append(backend.memory())
        minute = now
        if now >= len(course.points):
            return


def _unmerged(backend: Backend) -> int:
    found = re.search(r"^gyrostat_unmerged_blocks (\S+)$", backend.get("/metrics"), re.MULTILINE)
    if found is None:
        raise RuntimeError("/metrics does not tell of unmerged blocks")
    return int(float(found[1]))

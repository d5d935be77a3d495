import logging
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gyrostat.stream.ledger import Count, Ledger
from gyrostat.stream.sender import delay
from gyrostat.stream.spool import Spool
from gyrostat.stream.stream import Stream, sync
from gyrostat.stream.transport import HttpTransport, Transient
from gyrostat.wire.messages import Acknowledgement
from tests.gyrostat.backend import Backend
from tests.gyrostat.stream.frames import Refusing, fetch_nothing, frame, layout, points


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def opened(folder: Path) -> Iterator[Any]:
    """Opens streams on `folder`; all are closed in the end."""
    streams: list[Stream] = []

    def open_one(server: Backend | str | None, run: str = "run", **settings: Any) -> Stream:
        spool = Spool(folder, **{key: settings.pop(key) for key in ("limit_bytes",) if key in settings})
        url = server.url if isinstance(server, Backend) else server
        transport = settings.pop("transport", None) or (HttpTransport(url, timeout=5) if url else None)
        stream = Stream(spool=spool, transport=transport, run=run, attempt=1, flush_seconds=0.05, **settings)
        streams.append(stream)
        return stream

    yield open_one
    for stream in streams:
        stream.close(0)


def emit(stream: Stream, steps: range, **settings: Any) -> None:
    for step in steps:
        stream.emit(frame(step, **settings))


def whole(ledger: Ledger, steps: range) -> None:
    """Fails unless every one of the steps is with the backend, by the ledger."""
    assert ledger.balanced
    assert ledger.produced == Count(len(steps), points(steps))
    assert ledger.acknowledged + ledger.duplicate == ledger.produced


def test_all_that_is_emitted_arrives_once_in_order_with_its_layout_and_events(backend: Backend, opened: Any) -> None:
    stream = opened(backend, "plain")
    stream.event("started", 0, {"device": "cpu"})
    stream.layout(layout())
    emit(stream, range(1, 101))
    stream.event("checkpoint", 100, {"best": True, "loss": float("nan")})
    emit(stream, range(101, 151))
    assert stream.flush(10)
    stream.event("finished", 150, {})
    ledger = stream.close()
    whole(ledger, range(1, 151))
    store = backend.store.of("plain")
    assert store.steps() == list(range(1, 151))
    kinds = [kind for _, kind, _ in store.messages()]
    assert kinds[:2] == ["events", "layout"]
    assert kinds[-1] == "events"
    assert [event.kind for event in store.events()] == ["started", "checkpoint", "finished"]
    assert store.events()[1].data == {"best": True, "loss": "NaN"}
    assert [sequence for sequence, _, _ in store.messages()] == list(range(1, len(kinds) + 1))
    assert len(kinds) < 20
    (norms,) = [c for c in store.batches()[0].columns if c.metric == "gradient.norm"]
    assert norms.values[0].tolist() == [1, 2, 3]


def test_the_first_frame_is_sent_within_the_flush_time(backend: Backend, opened: Any) -> None:
    arrived = threading.Event()
    stream = opened(backend, "prompt", on_acknowledged=lambda told: arrived.set() if told.frames else None)
    stream.layout(layout())
    started = time.monotonic()
    stream.emit(frame(1))
    assert arrived.wait(10)
    assert time.monotonic() - started < 4


def test_what_the_backend_asks_for_is_passed_on_and_a_listener_that_fails_harms_nothing(
    backend: Backend, opened: Any, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Acknowledgement] = []

    def listen(told: Acknowledgement) -> None:
        heard.append(told)
        raise RuntimeError("not mine")

    stream = opened(backend, "tighten", on_acknowledged=listen)
    stream.layout(layout())
    emit(stream, range(1, 4))
    assert stream.flush(10)
    assert any(told.tighten for told in heard)
    whole(stream.close(), range(1, 4))
    assert "listens" in caplog.text


def test_frames_of_two_layouts_do_not_mix(backend: Backend, opened: Any) -> None:
    stream = opened(backend, "layouts")
    stream.layout(layout())
    emit(stream, range(1, 5))
    stream.layout(layout(version=2, width=5))
    emit(stream, range(5, 9), version=2, width=5)
    assert stream.close().balanced
    store = backend.store.of("layouts")
    assert [kind for _, kind, _ in store.messages()] == ["layout", "frames", "layout", "frames"]
    assert [batch.layout for batch in store.batches()] == [1, 2]
    assert store.steps() == list(range(1, 9))


def test_frames_wider_than_a_batch_go_one_by_one(backend: Backend, opened: Any) -> None:
    stream = opened(backend, "wide")
    stream.layout(layout(width=20_000))
    wide = [1, 2, 4, 5, 7, 8]
    for step in wide:
        stream.emit(frame(step, width=20_000))
    assert stream.flush(20)
    store = backend.store.of("wide")
    assert store.steps() == wide
    assert all(len(body) < 300_000 for _, _, body in store.messages("frames"))
    assert len(store.batches()) >= 2


def test_one_bad_frame_is_counted_and_its_neighbours_arrive(
    backend: Backend, opened: Any, caplog: pytest.LogCaptureFixture
) -> None:
    stream = opened(backend, "bad")
    stream.emit(frame(1))
    stream.layout(layout())
    stream.emit(frame(2))
    stream.emit(frame(3, slices={"loss.train": (0, 2)}))
    stream.emit(frame(4, fetch=fetch_nothing))
    stream.emit(frame(5, fetch=lambda: np.zeros(4)))
    stream.emit(frame(6, slices="nonsense"))
    stream.emit(frame(7, time="now"))
    stream.emit(frame(8))
    stream.layout("nonsense")
    stream.event("nonsense", 8, {})
    stream.event("log", -1, {})
    stream.event("log", 8, None)
    ledger = stream.close()
    assert backend.store.of("bad").steps() == [2, 8]
    assert ledger.balanced
    assert {reason: count.frames for reason, count in ledger.dropped.items()} == {
        "layout_unknown": 1,
        "malformed": 3,
        "fetch_failed": 1,
    }
    assert ledger.dropped_messages == 3
    assert {event.kind for event in backend.store.of("bad").events()} == {"log", "loss_ledger"}
    assert "device is gone" in caplog.text


def test_a_refused_batch_is_skipped_counted_and_told_once(
    backend: Backend, opened: Any, caplog: pytest.LogCaptureFixture
) -> None:
    stream = opened(backend, "refused")
    stream.layout(layout())
    assert stream.flush(10)
    for step in (1, 2, 4):
        # the second time also for the event that tells of the first
        backend.answers(*[{"status": 422, "detail": "steps must rise"}] * {1: 1, 2: 2, 4: 0}[step])
        stream.emit(frame(step))
        assert stream.flush(10) == (step == 4)
    ledger = stream.close()
    assert backend.store.of("refused").steps() == [4]
    assert ledger.rejected == {"steps must rise": Count(2, points(range(1, 3)))}
    assert ledger.rejected_messages == 1
    assert ledger.balanced
    assert sum("refuses" in message for message in caplog.messages) == 1
    assert ledger.acknowledged.frames == 1


def test_after_a_newer_attempt_took_over_nothing_more_is_sent(backend: Backend, opened: Any, folder: Path) -> None:
    stream = opened(backend, "superseded")
    stream.layout(layout())
    assert stream.flush(10)
    assert stream.superseded is None
    told = {"status": 409, "type": "urn:gyrostat:problem:attempt-superseded", "detail": "attempt 2 took over"}
    backend.answers(told)
    stream.emit(frame(1))
    assert not stream.flush(10)
    assert stream.superseded == "attempt 2 took over"
    emit(stream, range(2, 12))
    stream.event("finished", 12, {})
    ledger = stream.close()
    assert sum(backend.store.of("superseded").requests().values()) == 2
    assert ledger.balanced
    assert ledger.spooled.frames == 1
    assert ledger.dropped == {"superseded": Count(10, points(range(2, 12)))}


def test_transient_answers_are_tried_again_until_they_pass(backend: Backend, opened: Any) -> None:
    stream = opened(backend, "transient")
    backend.answers({"status": 503}, {"status": 429, "headers": {"Retry-After": "0"}}, {"status": 507}, {"status": 401})
    stream.layout(layout())
    emit(stream, range(1, 31))
    assert stream.flush(20)
    whole(stream.close(), range(1, 31))
    assert backend.store.of("transient").steps() == list(range(1, 31))


def test_a_wish_to_wait_is_obeyed(backend: Backend, opened: Any) -> None:
    stream = opened(backend, "patient")
    backend.answers({"status": 503, "headers": {"Retry-After": "1"}})
    started = time.monotonic()
    stream.layout(layout())
    assert stream.flush(10)
    assert time.monotonic() - started >= 1


def test_waits_double_to_two_seconds_in_the_first_minute_and_ten_later() -> None:
    assert all(0.1 <= delay(1, 0, None) <= 0.2 for _ in range(100))
    assert all(0.4 <= delay(3, 5, None) <= 0.8 for _ in range(100))
    assert max(delay(1000, 59, None) for _ in range(100)) <= 2
    assert min(delay(1000, 61, None) for _ in range(100)) >= 5
    assert max(delay(10**9, 10**9, None) for _ in range(100)) <= 10
    assert delay(1, 0, 3.0) == 3
    assert delay(1, 0, 1e9) == 60


def test_without_a_transport_everything_waits_on_disk_for_sync(backend: Backend, opened: Any, folder: Path) -> None:
    stream = opened(None)
    stream.layout(layout())
    emit(stream, range(1, 51))
    assert not stream.flush(5)
    ledger = stream.close()
    assert ledger.balanced
    assert ledger.spooled == ledger.produced == Count(50, points(range(1, 51)))
    sent = sync(folder, HttpTransport(backend.url), "offline", 1)
    assert sent.inherited == sent.acknowledged == ledger.spooled
    assert sent.balanced
    assert backend.store.of("offline").steps() == list(range(1, 51))
    assert sync(folder, HttpTransport(backend.url), "offline", 1).inherited == Count()


def test_sync_of_what_is_no_spool_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no spool"):
        sync(tmp_path / "typo", Refusing(lambda: Transient("no")), "run", 1)


def test_a_second_stream_goes_on_where_the_first_stopped(backend: Backend, opened: Any) -> None:
    first = opened(None)
    first.layout(layout())
    emit(first, range(1, 11))
    first.close()
    second = opened(backend, "continued")
    second.layout(layout())
    emit(second, range(11, 21))
    ledger = second.close()
    assert ledger.inherited.frames == ledger.produced.frames == 10
    assert ledger.acknowledged.frames == 20
    assert ledger.balanced
    store = backend.store.of("continued")
    assert store.steps() == list(range(1, 21))
    assert len(store.producers()) == 1


def test_a_full_spool_drops_frames_by_count_and_keeps_layouts_and_events(
    backend: Backend, opened: Any, folder: Path
) -> None:
    stream = opened(None, limit_bytes=20_000)
    stream.layout(layout(width=500))
    for step in range(1, 100):
        stream.emit(frame(step, width=500))
        if not step % 5:
            stream.flush(5)
    stream.event("finished", 99, {})
    ledger = stream.close()
    assert ledger.balanced
    assert ledger.dropped.keys() == {"spool_full"}
    assert ledger.spooled.frames > 3
    sync(folder, HttpTransport(backend.url), "full", 1)
    store = backend.store.of("full")
    steps = store.steps()
    assert len(steps) == ledger.spooled.frames
    assert steps == sorted(set(steps))
    told = store.events()
    assert [event.kind for event in told if event.kind != "loss_ledger"] == ["finished"]
    losses = [event for event in told if event.kind == "loss_ledger"][-1]
    assert losses.data["dropped"]["spool_full"]["frames"] == ledger.dropped["spool_full"].frames


def test_emit_waits_for_nothing_while_the_backend_hangs(opened: Any) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=16) as silent:
        stream = opened(f"http://127.0.0.1:{silent.getsockname()[1]}")
        stream.layout(layout())
        frames = [frame(step) for step in range(1, 3001)]
        waits = []
        for made in frames:
            started = time.perf_counter()
            stream.emit(made)
            waits.append(time.perf_counter() - started)
            if made.step % 100 == 0:
                time.sleep(0.005)
        waits.sort()
        assert waits[len(waits) // 2] < 0.0005
        assert waits[int(len(waits) * 0.99)] < 0.05
        started = time.monotonic()
        ledger = stream.close(0.3)
        assert time.monotonic() - started < 5
        assert ledger.balanced
        assert ledger.spooled.frames + ledger.lost.frames == 3000


def test_when_fetching_is_slower_than_training_frames_are_dropped_and_counted(opened: Any) -> None:
    release = threading.Event()

    def slow() -> Any:
        release.wait(10)
        return np.zeros(4, np.float32)

    stream = opened(None)
    stream.layout(layout())
    stream.emit(frame(1, fetch=slow))
    started = time.monotonic()
    emit(stream, range(2, 5001))
    assert time.monotonic() - started < 2
    release.set()
    ledger = stream.close()
    assert ledger.balanced
    assert ledger.dropped["queue_full"].frames >= 5000 - 2048 - 2
    assert ledger.spooled.frames == 5000 - ledger.dropped["queue_full"].frames


def test_after_close_nothing_is_taken_and_nothing_raises(backend: Backend, opened: Any) -> None:
    stream = opened(backend, "closed")
    stream.layout(layout())
    ledger = stream.close()
    stream.emit(frame(1))
    stream.layout(layout())
    stream.event("log", 1, {})
    assert not stream.flush(0.1)
    assert stream.close() == ledger
    assert stream.ledger.dropped == {"closed": Count(1, points(range(1, 2)))}
    assert stream.ledger.balanced


def test_closing_does_not_wait_for_a_backend_that_is_away(opened: Any, absent_backend: Backend) -> None:
    stream = opened(absent_backend)
    stream.layout(layout())
    emit(stream, range(1, 11))
    started = time.monotonic()
    ledger = stream.close(0.5)
    assert time.monotonic() - started < 3
    assert ledger.spooled.frames == 10
    assert ledger.balanced


def test_a_failure_nobody_thought_of_is_tried_again(backend: Backend, opened: Any) -> None:
    real = HttpTransport(backend.url)

    class Flaky(Refusing):
        failures = 2

        def send(self, run: str, record: Any) -> Acknowledgement:
            if self.failures:
                self.failures -= 1
                raise ZeroDivisionError
            return real.send(run, record)

    stream = opened(None, "flaky", transport=Flaky(ValueError))
    stream.layout(layout())
    emit(stream, range(1, 4))
    assert stream.flush(10)
    whole(stream.close(), range(1, 4))
    real.close()


def test_an_answer_to_another_message_is_not_taken_for_this_one(
    backend: Backend, opened: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    wrong = Acknowledgement(status="stored", sequence=99).model_dump_json()
    backend.answers({"status": 200, "body": wrong, "media_type": "application/json"})
    stream = opened(backend, "mixed")
    stream.layout(layout())
    emit(stream, range(1, 4))
    assert stream.flush(10)
    whole(stream.close(), range(1, 4))
    assert "99 was acknowledged" in caplog.text


def test_records_damaged_on_disk_are_counted_as_dropped_and_the_rest_arrives(
    backend: Backend, opened: Any, folder: Path
) -> None:
    stream = opened(None)
    stream.layout(layout())
    for start in (1, 11, 21):
        emit(stream, range(start, start + 10))
        stream.flush(5)
    stream.close()
    (file,) = folder.glob("*.spool")
    data = bytearray(file.read_bytes())
    data[-5] ^= 4
    file.write_bytes(data)
    again = opened(backend, "damaged")
    again.layout(layout())
    emit(again, range(31, 41))
    ledger = again.close()
    assert backend.store.of("damaged").steps() == [*range(1, 21), *range(31, 41)]
    assert ledger.damaged == 1
    assert ledger.inherited.frames == 20
    assert ledger.balanced
    assert len(backend.store.of("damaged").producers()) == 1

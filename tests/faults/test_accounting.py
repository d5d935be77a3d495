"""That the accounting finds what is wrong: each way in which a frame may be lost, doubled or changed, on purpose."""

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pyarrow
import pytest

from app.storage import blocks
from gyrostat.stream.segments import Kind
from gyrostat.stream.spool import Spool
from tests.faults import measured, stored
from tests.faults.accounting import ABSENT, Account, account, alerts, exported, settled
from tests.faults.journal import Acknowledged, Closed, Declared, Emitted, Entry, Journal, Told, read
from tests.faults.stored import Raised, Spooled, Stored

NAMES = ["a", "b", "c"]


def emitted(step: int) -> Emitted:
    vector = measured.values(1, step, 3, flood=True)
    values = {measured.LOSS: vector[:1].tobytes(), measured.NORM: vector[1:].tobytes()}
    return Emitted(step, 1e9 + step, step / 7, 1, values)


def life(first: int, last: int, *, closed: bool = True, **dropped: int) -> list[Entry]:
    steps = range(first, last + 1)
    entries: list[Entry] = [Declared(1, NAMES), *map(emitted, steps), Told(first)]
    entries += [Acknowledged(2, "stored", [step], []) for step in steps if step < last]
    return [*entries, Closed(True, len(steps), dropped, {}, 0)] if closed else entries


def kept(steps: range, events: tuple[int, ...] = (1,)) -> Stored:
    found = Stored(rows=defaultdict(lambda: defaultdict(list)), events=list(events), producers=["1-ab"])
    for step in steps:
        frame = emitted(step)
        seconds = {"progress.epoch": np.float32(frame.epoch).tobytes(), "progress.seconds": b"\0\0\0\0"}
        for metric, bits in (frame.values | seconds).items():
            found.rows[metric][step].append(bits)
    found.counts = {metric: len(rows) for metric, rows in found.rows.items()}
    return found


def books(
    lives: list[list[Entry]], there: Stored, left: Spooled | None = None, forced: set[str] | None = None
) -> Account:
    return account(lives, there, left or Spooled(), forced=forced or set())


def test_sound_books_balance() -> None:
    made = books([life(1, 9)], kept(range(1, 10)))
    assert made.wrong == []
    assert (made.produced, made.stored, made.spooled, made.acknowledged, made.values) == (9, 9, 0, 8, 36)


def test_what_a_kill_costs_is_the_newest_frames_alone() -> None:
    lives = [life(1, 9, closed=False), life(10, 12)]
    there = kept(range(1, 13), (1, 10))
    for metric in there.rows:
        del there.rows[metric][9]
        there.counts[metric] -= 1
    made = books(lives, there, forced={"killed"})
    assert made.wrong == []
    assert made.dropped == {"killed": 1}
    assert "did not end its journal" in books(lives, there).wrong[0]


def test_what_a_full_spool_costs_is_what_its_ledger_says() -> None:
    there = kept(range(1, 8))
    lives = [[entry for entry in life(1, 9, spool_full=2) if getattr(entry, "steps", [0]) != [8]]]
    assert books(lives, there, forced={"spool_full"}).wrong == []
    assert "dropped or rejected for ['spool_full']" in books(lives, there).wrong[-1]


def test_frames_in_the_spool_are_not_lost() -> None:
    made = books([life(1, 9)], kept(range(1, 9)), Spooled({8, 9}, set(), 2))
    assert made.wrong == []
    assert (made.stored, made.spooled) == (8, 1)


def _lose(there: Stored) -> None:
    for metric in there.rows:
        del there.rows[metric][4]
        there.counts[metric] -= 1


def _lose_a_part(there: Stored) -> None:
    del there.rows[measured.NORM][4]
    there.counts[measured.NORM] -= 1


def _double(there: Stored) -> None:
    there.rows[measured.LOSS][4] *= 2
    there.counts[measured.LOSS] += 1


def _change(there: Stored) -> None:
    bits = there.rows[measured.NORM][4][0]
    there.rows[measured.NORM][4] = [bits[:-4] + bytes([bits[-4] ^ 1]) + bits[-3:]]


def _change_the_epoch(there: Stored) -> None:
    there.rows["progress.epoch"][4] = [np.float32(0.5).tobytes()]


def _invent(there: Stored) -> None:
    there.rows[measured.LOSS][40] = [b"\0\0\0\0"]
    there.counts[measured.LOSS] += 1


def _miscount(there: Stored) -> None:
    there.counts[measured.LOSS] += 1


def _lose_an_event(there: Stored) -> None:
    there.events.clear()


def _double_an_event(there: Stored) -> None:
    there.events.append(1)


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        (_lose, "acknowledged and are missing"),
        (_lose_a_part, "stored in part"),
        (_double, "more than once"),
        (_change, "other bits"),
        (_change_the_epoch, "other bits"),
        (_invent, "nobody emitted"),
        (_miscount, "its catalogue says"),
        (_lose_an_event, "events [1] are lost"),
        (_double_an_event, "events [1] are stored more than once"),
    ],
)
def test_every_harm_is_found(harm: Callable[[Stored], None], found: str) -> None:
    there = kept(range(1, 10))
    harm(there)
    for forced in (set(), {"killed", "spool_full", "disk_error"}):
        assert any(found in wrong for wrong in books([life(1, 9)], there, forced=forced).wrong)
    if harm is _lose:
        killed = [life(1, 9, closed=False)]
        assert any("are lost though later ones" in wrong for wrong in books(killed, there, forced={"killed"}).wrong)


def test_gaps_and_alerts_raised_twice_are_found() -> None:
    there = kept(range(1, 3))
    assert settled(there) == alerts(there) == []
    there.missing, there.reopened = {"1-ab": [[3, 4]]}, ["non_finite"]
    there.alerts = 2 * [Raised("loss_spike", "open", 1, 2, None)] + 2 * [Raised("divergence", "resolved", 1, 2, 3)]
    assert len(settled(there)) == 1
    assert len(alerts(there)) == 2


def test_an_export_that_differs_by_a_bit_a_row_or_a_repeat_is_found() -> None:
    lives, there = [life(1, 9)], kept(range(1, 10))
    rows = []
    for step in range(1, 10):
        for metric, bits in emitted(step).values.items():
            words = np.frombuffer(bits, "<u4")
            names = [""] if metric == measured.LOSS else NAMES
            rows += [(step, metric, name, word) for name, word in zip(names, words, strict=True) if word != ABSENT]

    def table(changed: list[tuple[int, str, str, np.uint32]]) -> pyarrow.Table:
        steps, metrics, names, words = zip(*changed, strict=True)
        values = np.array(words, "<u4").view("<f4")
        return pyarrow.table({"step": steps, "metric": metrics, "name": names, "value": values})

    assert exported(lives, there, table(rows)) == []
    assert exported(lives, there, table(rows[1:]))
    assert exported(lives, there, table([*rows, rows[0]]))
    step, metric, name, word = rows[0]
    assert exported(lives, there, table([(step, metric, name, np.uint32(int(word) ^ 1)), *rows[1:]]))


@pytest.mark.parametrize("width", [1, 37])
def test_blocks_are_read_as_documented(width: int) -> None:
    steps = np.array([3, 4, 9, 1000, 1001], dtype=np.int64)
    values = np.stack([measured.values(5, int(step) * 5, width - 1, flood=True) for step in steps])
    found_steps, found = stored.rows_of(blocks.encode(steps, values))
    np.testing.assert_array_equal(found_steps, steps)
    np.testing.assert_array_equal(found.view("<u4"), values.view("<u4"))
    body = bytearray(blocks.encode(steps, values))
    body[-1] ^= 1
    with pytest.raises(ValueError, match="damaged"):
        stored.rows_of(bytes(body))


def test_spools_are_read_as_documented(tmp_path: Path) -> None:
    spool = Spool(tmp_path, segment_bytes=100)
    for number in range(1, 6):
        steps = np.arange(10 * number, 10 * number + 3, dtype="<i8").tobytes()
        spool.append(Kind.FRAMES, lambda sequence, steps=steps: msgspec.msgpack.encode({"steps": steps}))
    events = {"events": [{"kind": "log", "data": {"number": 7}}, {"kind": "started", "data": {}}]}
    spool.append(Kind.EVENTS, lambda sequence: msgspec.json.encode(events))
    for record in spool.unsent():
        if record.sequence == 2:
            spool.settle(2)
    spool.close()
    found = stored.spooled(tmp_path)
    assert found.steps == {30, 31, 32, 40, 41, 42, 50, 51, 52}
    assert (found.events, found.records) == ({7}, 4)
    newest = max(tmp_path.glob("*.spool"))
    newest.write_bytes(newest.read_bytes()[:-1])
    assert stored.spooled(tmp_path).events == set()


def test_a_journal_that_was_cut_off_is_read_up_to_there(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.note(emitted(1), Told(1))
    journal.note(emitted(2))
    whole = (tmp_path / "journal").read_bytes()
    for end in range(len(whole)):
        (tmp_path / "cut").write_bytes(whole[:end])
        assert read(tmp_path / "cut") == read(tmp_path / "journal")[: len(read(tmp_path / "cut"))]
    assert read(tmp_path / "journal") == [emitted(1), Told(1), emitted(2)]
    assert len(read(tmp_path / "cut")) == 2

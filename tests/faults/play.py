"""Plays a schedule, and then accounts for every frame: before and after what was left in the spools is sent."""

import io
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet

from tests.databases import PostgresServer
from tests.faults import accounting
from tests.faults.accounting import KILLED, Account
from tests.faults.inflict import STRANGER, inflict
from tests.faults.schedule import Schedule
from tests.faults.stage import Stage
from tests.faults.stored import Spooled, Stored, spooled
from tests.faults.undisturbed import Undisturbed

CALM = {200, 201, 429, 503, 507}
"""Statuses that sound messages are answered with."""
REASONS = {"ample": set(), "small": {"spool_full"}, "full_disk": {"disk_error"}}


@dataclass(frozen=True)
class Outcome:
    """What came of a schedule: its books, what happened in it, and how long it took."""

    schedule: Schedule
    account: Account
    counts: Counter[str]
    seconds: float


def play(schedule: Schedule, folder: Path, postgres: PostgresServer | None) -> Outcome:
    """Plays it in `folder`, which is left as it is; whatever is not as promised is in the account's `wrong`."""
    began = time.monotonic()
    with Stage(schedule, folder, postgres) as stage:
        stage.proxy.weather = schedule.weather
        for actor in stage.actors:
            actor.start(schedule.seed)
        for fault in schedule.faults:
            stage.wait_for_progress(fault.at)
            inflict(stage, fault)
        stage.wait_for_progress(1.0)
        stage.heal()
        halfway = _accounts(stage)
        stage.wrong += [f"before the rest was sent: {found}" for made in halfway for found in made.wrong]
        stage.counts["frames left in spools"] += sum(made.spooled for made in halfway)
        if any(spooled(actor.spool).records for actor in stage.actors):
            stage.drain()
        total = Account()
        for made in _accounts(stage, settled=True):
            total.add(made)
        total.wrong += _exports(stage) + _alerts(stage) + stage.wrong + _statuses(stage)
        _stop(stage)
        reader = stage.reader()
        total.wrong += reader.check()
        if sorted(name for name, _ in reader.runs()) != sorted(actor.name for actor in stage.actors):
            total.wrong.append(f"{len(reader.runs())} runs were made for {len(stage.actors)} producers")
        reader.close()
        counts = stage.counts
        counts.update({f"fate {fate}": times for fate, times in stage.proxy.fates.items()})
        counts.update({f"status {status}": times for status, times in stage.proxy.statuses.items()})
    return Outcome(schedule, total, counts, time.monotonic() - began)


def _accounts(stage: Stage, *, settled: bool = False) -> list[Account]:
    reader = stage.reader()
    made = []
    for actor in stage.actors:
        run = dict(reader.runs()).get(actor.name)
        stored = reader.of_run(run) if run else Stored()
        left = spooled(actor.spool)
        forced = REASONS[actor.producing.spool] | ({KILLED} if actor.killed else set())
        one = accounting.account(actor.entries(), stored, left, forced=forced)
        one.wrong += accounting.alerts(stored)
        if STRANGER in stored.producers:
            one.wrong.append("a message that was refused has left a trace")
        if settled:
            one.wrong += accounting.settled(stored) + _unsent(left)
        one.wrong = [f"producer {actor.number}: {found}" for found in one.wrong]
        made.append(one)
    reader.close()
    return made


def _unsent(left: Spooled) -> list[str]:
    return [f"{left.records} messages are left in the spool"] if left.records else []


def _exports(stage: Stage) -> list[str]:
    wrong = []
    reader = stage.reader()
    for actor in stage.actors:
        if (run := dict(reader.runs()).get(actor.name)) is None:
            continue
        answer = stage.services[-1].http.get(f"/v1/runs/{run}/export", params={"format": "parquet"}, timeout=120)
        if answer.status_code != 200:
            wrong.append(
                f"the export of producer {actor.number} was answered {answer.status_code}: {answer.text[:300]}"
            )
            continue
        table = pyarrow.parquet.read_table(io.BytesIO(answer.content))
        differing = accounting.exported(actor.entries(), reader.of_run(run), table)
        wrong += [f"producer {actor.number}: {found}" for found in differing]
    reader.close()
    return wrong


def _alerts(stage: Stage) -> list[str]:
    """Alerts that are not those of a run without faults; a shuffled one is judged in another order."""
    wrong = []
    reader, undisturbed = stage.reader(), Undisturbed(stage.folder)
    for actor in stage.actors:
        run = dict(reader.runs()).get(actor.name)
        if run is None or actor.producing.shuffled:
            continue
        stored = reader.of_run(run)
        expected = undisturbed.alerts(*accounting.frames_stored(actor.entries(), stored))
        stage.counts["alerts"] += len(expected)
        if stored.alerts != expected:
            wrong.append(f"producer {actor.number}: its alerts are {stored.alerts}, without faults {expected}")
    undisturbed.close()
    reader.close()
    return wrong


def _statuses(stage: Stage) -> list[str]:
    answered = stage.proxy.statuses.items()
    return [f"{times} messages were answered {status}" for status, times in answered if status not in CALM]


def _stop(stage: Stage) -> None:
    """By a kill or by the signal that asks for it, by turns; the database must be sound after both."""
    for number, service in enumerate(stage.services):
        if (stage.schedule.seed + number) % 2:
            service.kill_backend()
        else:
            assert service.backend is not None
            service.backend.terminate()
            service.backend.wait(60)

"""What each kind of fault does to a stage. Each leaves everything running again."""

import contextlib
import signal
import time
from collections.abc import Callable

import httpx
import numpy as np
import psycopg
from alembic.script import ScriptDirectory

from app.storage import migrate
from app.storage.database import Database
from gyrostat.wire import codec
from gyrostat.wire.frame import Batch, Column
from tests.end_to_end.service import Service, eventually
from tests.faults import disks
from tests.faults.schedule import Fault
from tests.faults.stage import WITHIN, Stage

STRANGER = "stranger"
"""Producer of messages that must be refused: nothing of it may be found afterwards."""
MIGRATION_LOCK = 7_239_114_902


def inflict(stage: Stage, fault: Fault) -> None:
    """Does it."""
    stage.counts[fault.kind] += 1
    _FAULTS[fault.kind](stage, fault)


def _backend_killed(stage: Stage, fault: Fault) -> None:
    service = _one(stage, fault)
    service.kill_backend()
    time.sleep(fault.amount)
    stage.restart(service)


def _in_commit(stage: Stage, fault: Fault) -> None:
    """While a batch that has just arrived is being judged and committed: that takes some milliseconds."""
    service = _one(stage, fault)
    if stage.proxy.wait_forwarded(3.0):
        stage.counts["kills in a commit"] += 1
        time.sleep(0.02 * fault.amount**2)
    service.kill_backend()
    stage.restart(service)


def _in_merge(stage: Stage, fault: Fault) -> None:
    """While small blocks are being merged: once there are fewer, the next group is being worked on."""
    service = _one(stage, fault)
    reader = stage.reader()
    deadline, before = time.monotonic() + 4.0, 0
    while time.monotonic() < deadline:
        now = reader.num_blocks()
        if now < before:
            stage.counts["kills in a merge"] += 1
            time.sleep(0.01 * fault.amount)
            break
        before = now
        time.sleep(0.002)
    service.kill_backend()
    reader.close()
    stage.restart(service)


def _in_migration(stage: Stage, fault: Fault) -> None:
    """Goes back to older tables, with the data, and kills the backend while it brings them up to date again."""
    for service in stage.services:
        service.kill_backend()
    revisions = [script.revision for script in ScriptDirectory.from_config(migrate.configuration()).walk_revisions()]
    older = revisions[1:]
    database = Database(stage.url)
    database.downgrade(older[fault.target % len(older)])
    try:
        for number in range(1, 4):
            at = database.current()
            stage.services[0].launch_backend()
            if not _wait_for_migration(stage):
                break
            time.sleep(0.03 * fault.amount / number)
            stage.services[0].kill_backend()
            stage.counts["kills in a migration"] += database.current() == at
    finally:
        database.close()
    backend = stage.services[0].backend
    assert backend is not None
    if backend.poll() is None:
        stage.services[0].kill_backend()
    for service in stage.services:
        stage.restart(service)


def _wait_for_migration(stage: Stage) -> bool:
    """Whether the backend that is starting is changing tables now."""
    deadline = time.monotonic() + WITHIN
    if stage.postgres is None:
        log = stage.services[0].folder / "gyrostat.sqlite-wal"
        before = log.stat().st_size if log.exists() else 0
        while time.monotonic() < deadline and not stage.services[0].is_ready():
            with contextlib.suppress(FileNotFoundError):
                if log.stat().st_size > before:
                    return True
            time.sleep(0.001)
        return False
    with psycopg.connect(stage.url, autocommit=True) as connection:
        query = "select 1 from pg_locks where locktype = 'advisory' and (classid::bigint << 32) + objid::bigint = %s"
        while time.monotonic() < deadline and not stage.services[0].is_ready():
            if connection.execute(query, [MIGRATION_LOCK]).fetchone():
                return True
            time.sleep(0.001)
    return False


def _backend_stopped(stage: Stage, fault: Fault) -> None:
    service = _one(stage, fault)
    assert service.backend is not None
    service.backend.terminate()
    if (status := service.backend.wait(WITHIN)) not in (0, -signal.SIGTERM):
        stage.wrong.append(f"a backend that was told to end did so with status {status}")
    time.sleep(fault.amount)
    stage.restart(service)


def _producer_killed(stage: Stage, fault: Fault) -> None:
    able = [actor for actor in stage.actors if actor.producing.spool == "ample"]
    if not able:  # the ledger of another, which says how much did not fit, would be gone
        return
    actor = able[fault.target % len(able)]
    if actor.kill():
        time.sleep(0.3 * fault.amount)
        actor.start(stage.schedule.seed)


def _network_down(stage: Stage, fault: Fault) -> None:
    stage.proxy.go_down()
    time.sleep(2.0 * fault.amount)
    stage.proxy.come_up()


def _network_flapping(stage: Stage, fault: Fault) -> None:
    for _ in range(6):
        stage.proxy.go_down()
        time.sleep(0.2 * fault.amount)
        stage.proxy.come_up()
        time.sleep(0.2 * (1 - fault.amount))


def _database_full(stage: Stage, fault: Fault) -> None:
    if stage.disk is None:
        stage.counts["database_full, not possible here"] += 1
        return
    disks.fill(stage.disk)
    time.sleep(0.5 + 1.5 * fault.amount)
    disks.free(stage.disk)


def _spool_disk_full(stage: Stage, fault: Fault) -> None:
    stuffed = [actor.disk for actor in stage.actors if actor.disk is not None]
    for actor in stage.actors:
        if actor.disk is not None:
            # where no spool can be made, a training says so and does not begin
            eventually((actor.spool / "producer").exists, within=WITHIN)
    for disk in stuffed:
        disks.fill(disk)
    time.sleep(fault.amount if stuffed else 0)
    for disk in stuffed:
        disks.free(disk)
    stage.counts["spool_disk_full, not possible here"] += not stuffed


def _clock_stepped(stage: Stage, fault: Fault) -> None:
    step = (3600.0, -3600.0, 259_200.0, -259_200.0, 30.0)[fault.target % 5]
    for service in stage.services:
        fresh = service.folder / "clock.new"
        fresh.write_text(str(step))
        fresh.replace(service.folder / "clock")


def _garbage_sent(stage: Stage, fault: Fault) -> None:
    """Messages cut off, and names that no database takes: refused, each with a reason, and without a trace."""
    run = next((actor.run for actor in stage.actors if actor.run), None)
    if run is None:
        return
    column = Column(metric="loss.train", rows=np.arange(1, dtype=np.uint32), values=np.ones((1, 1), np.float32))
    batch = Batch(
        producer=STRANGER, sequence=1, attempt=1, layout=1, steps=np.array([10**6]), times=np.array([1e9]),
        epochs=np.zeros(1), columns=(column,),
    )  # fmt: skip
    whole = codec.encode_msgpack(batch)
    head = {"producer": STRANGER, "sequence": 1, "attempt": 1}
    nul = {"version": 9, "axes": {"parameter": ["a\0b"]}, "metrics": []}
    sent = [
        ("frames", {"content": whole[: int(fault.amount * len(whole))], "headers": {"Content-Type": codec.MSGPACK}}),
        ("layout", {"json": {**head, "layout": nul}}),
        ("events", {"json": {**head, "events": [{"kind": "log", "at": 1.0, "step": 1, "data": {"text": "\0"}}]}}),
    ]
    for route, content in sent:
        try:
            answer = stage.services[0].http.post(f"/v1/runs/{run}/{route}", **content)  # type: ignore[arg-type]
        except httpx.TransportError:
            return
        if not 400 <= answer.status_code < 500 and answer.status_code not in (503, 507):
            stage.wrong.append(f"garbage to {route} was answered {answer.status_code}: {answer.text[:200]}")


def _connections_cut(stage: Stage, fault: Fault) -> None:
    for _ in range(1 + fault.target % 4):
        stage.counts["connections ended"] += stage.terminate_connections()
        time.sleep(0.1 * fault.amount)


def _database_killed(stage: Stage, fault: Fault) -> None:
    assert stage.postgres is not None
    stage.postgres.kill()
    time.sleep(fault.amount)
    stage.postgres.start()


def _database_restarted(stage: Stage, fault: Fault) -> None:
    assert stage.postgres is not None
    stage.postgres.stop()
    time.sleep(fault.amount)
    stage.postgres.start()


def _one(stage: Stage, fault: Fault) -> Service:
    return stage.services[fault.target % len(stage.services)]


_FAULTS: dict[str, Callable[[Stage, Fault], None]] = {
    "backend_killed": _backend_killed,
    "backend_killed_in_commit": _in_commit,
    "backend_killed_in_merge": _in_merge,
    "backend_killed_in_migration": _in_migration,
    "backend_stopped": _backend_stopped,
    "producer_killed": _producer_killed,
    "network_down": _network_down,
    "network_flapping": _network_flapping,
    "database_full": _database_full,
    "spool_disk_full": _spool_disk_full,
    "clock_stepped": _clock_stepped,
    "garbage_sent": _garbage_sent,
    "connections_cut": _connections_cut,
    "database_killed": _database_killed,
    "database_restarted": _database_restarted,
}

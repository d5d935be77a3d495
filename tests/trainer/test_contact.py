"""A worker stays registered, heard and fed whatever becomes of the backend."""

import socket
import threading
import time

import pytest

from gyrostat.wire.messages import Assignment, Command, Registration, RunningReport
from tests.trainer.small_backend import SmallBackend
from trainer.backend import Backend, Forgotten, Refused, Unreachable
from trainer.contact import Contact, drained


def eventually(what, within=10.0):
    deadline = time.monotonic() + within
    while not (answer := what()):
        assert time.monotonic() < deadline, f"not within {within:g} s"
        time.sleep(0.01)
    return answer


@pytest.fixture
def backend():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    small = SmallBackend(port)
    yield small
    small.stop()


@pytest.fixture
def leaving():
    return threading.Event()


@pytest.fixture
def contact_with(backend, leaving):
    made = []

    def make(slots=1):
        registration = Registration(
            name="one", host="h", pid=1, device="cpu", slots=slots, datasets=["digits"], version="0"
        )
        made.append(Contact(Backend(backend.url), registration, leaving))
        return made[-1]

    yield make
    leaving.set()
    backend.stop()
    for contact in made:
        contact.end(timeout=10)


def assignment(run):
    return Assignment(run=run, attempt=1, spec={}, lease_seconds=5.0)


def test_it_waits_for_a_backend_that_is_not_there_yet(backend, contact_with):
    contact = contact_with()
    begun = threading.Thread(target=contact.begin)
    begun.start()
    time.sleep(0.3)
    assert begun.is_alive()
    backend.start()
    begun.join(5)
    assert [known.name for known in backend.workers.values()] == ["one"]


def test_told_to_leave_while_it_waits_it_leaves(contact_with, leaving):
    contact = contact_with()
    threading.Timer(0.2, leaving.set).start()
    assert contact.begin() is False


def test_a_forgotten_worker_registers_again_and_goes_on_claiming(backend, contact_with):
    backend.start()
    contact = contact_with()
    assert contact.begin()
    contact.start()
    eventually(lambda: backend.heartbeats)
    backend.forget_workers()
    eventually(lambda: backend.registrations == 2 and backend.workers)
    backend.queue.append(assignment("r1"))
    eventually(lambda: not contact.claimed.empty())
    assert backend.registrations == 2, "heartbeats and claims both noticed; one registration is enough"


def test_it_claims_no_more_runs_than_it_has_slots(backend, contact_with):
    backend.queue = [assignment(f"r{n}") for n in range(3)]
    backend.start()
    contact = contact_with(slots=2)
    assert contact.begin()
    contact.start()
    eventually(lambda: contact.claimed.qsize() == 2)
    time.sleep(0.2)
    assert [one.run for one in drained(contact.claimed)] == ["r0", "r1"]
    contact.free_slot()
    assert eventually(lambda: [one.run for one in drained(contact.claimed)]) == ["r2"]


def test_heartbeats_tell_what_runs_and_what_was_carried_out_and_bring_commands(backend, contact_with):
    backend.start()
    backend.commands[7] = Command(id=7, run="r1", attempt=1, kind="stop")
    contact = contact_with()
    contact.reports = [RunningReport(run="r1", attempt=2, step=30)]
    assert contact.begin()
    contact.start()
    answer = eventually(lambda: next(drained(contact.answers), None))
    assert [command.id for command in answer.commands] == [7]
    assert backend.heartbeats[0].running == contact.reports
    contact.carried_out([7])
    eventually(lambda: backend.done)
    time.sleep(0.5)
    assert backend.done == [7], "told once"


def test_what_was_carried_out_is_told_once_the_backend_is_back(backend, contact_with):
    backend.start()
    contact = contact_with()
    assert contact.begin()
    contact.start()
    eventually(lambda: backend.heartbeats)
    backend.stop()
    contact.carried_out([3])
    time.sleep(0.4)
    backend.start()
    eventually(lambda: backend.done == [3])
    backend.queue.append(assignment("r1"))
    eventually(lambda: not contact.claimed.empty())


def test_failures_are_told_apart_by_what_can_be_done(backend):
    client, elsewhere = Backend(backend.url), Backend(backend.url + "/other")
    registration = Registration(name="one", host="h", pid=1, device="cpu", version="0")
    with pytest.raises(Unreachable, match="does not answer"):
        client.register(registration)
    backend.start()
    with pytest.raises(Forgotten, match="no such worker"):
        client.claim("nobody", wait_seconds=1)
    with pytest.raises(Unreachable, match="404"):
        elsewhere.register(registration)
    backend.token = "secret"
    with pytest.raises(Refused, match="401"):
        client.register(registration)
    trusted = Backend(backend.url, "secret")
    assert trusted.register(registration).id == "w1"
    with pytest.raises(ValueError, match="address"):
        Backend("ftp://x")
    for one in (client, elsewhere, trusted):
        one.close()

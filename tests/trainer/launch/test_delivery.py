"""What the backend refuses is only removed where it is sure that nobody wants it."""

import pytest

from gyrostat.stream.spool import Spool
from gyrostat.stream.stream import Stream
from gyrostat.wire.messages import Assignment
from tests.gyrostat.backend import Backend
from trainer.launch.base import Job
from trainer.launch.delivery import REJECTED, Delivery


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    backend = Backend(tmp_path_factory.mktemp("backend"))
    backend.start()
    yield backend
    backend.kill()


def left(tmp_path, backend, run):
    """The job of a training that is over, with one event in its spool."""
    assignment = Assignment(run=run, attempt=1, spec={}, lease_seconds=5.0)
    job = Job.of(assignment, server=backend.url, data=tmp_path, data_root=None, device="cpu")
    stream = Stream(spool=Spool(job.spool), transport=None, run=run, attempt=1)
    stream.event("finished", 7, {})
    stream.close()
    return job


def sent(tmp_path, backend):
    delivery = Delivery(tmp_path / "spool", server=backend.url, token="")
    delivery.start()
    delivery.wait(20)


def test_what_a_run_left_that_the_backend_does_not_know_is_kept_aside_and_can_be_sent_later(tmp_path, backend):
    for _ in range(2):
        job = left(tmp_path, backend, "unknown")
        backend.answers({"status": 404, "type": "urn:gyrostat:problem:not-found"})
        sent(tmp_path, backend)
        assert not job.spool.parent.exists()
    aside = tmp_path / "spool" / REJECTED
    assert len(list(aside.iterdir())) == 2
    spool = Spool(aside / "unknown-1")
    assert list(spool.unsent())
    spool.close()
    sent(tmp_path, backend)
    assert len(list(aside.iterdir())) == 2, "they are not sent by themselves"


def test_what_a_newer_attempt_has_overtaken_is_removed(tmp_path, backend):
    job = left(tmp_path, backend, "overtaken")
    backend.answers({"status": 409, "type": "urn:gyrostat:problem:attempt-superseded"})
    sent(tmp_path, backend)
    assert not job.spool.exists()
    assert not (tmp_path / "spool" / REJECTED).exists()

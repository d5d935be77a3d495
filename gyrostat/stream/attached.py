"""Runs that register themselves: their folder says what run it is of, and whoever sends first has the run made.

The folder of an attached training is its spool, with a file `run.json`: what to ask the backend for, under an
idempotency key made once, and the run's id as soon as it is known. Registering is the sending thread's work, so
that a backend that is away holds nothing up; whoever sends what is in the folder later, sends it to the same run.
"""

import json
import logging
import secrets
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from gyrostat.stream.ledger import Ledger
from gyrostat.stream.segments import Kind, Record
from gyrostat.stream.spool import Spool, replace_file
from gyrostat.stream.stream import Stream
from gyrostat.stream.transport import HttpTransport, Permanent, Transient
from gyrostat.wire import codec
from gyrostat.wire.frame import MAX_STEP
from gyrostat.wire.layout import Wire
from gyrostat.wire.messages import Acknowledgement

logger = logging.getLogger(__name__)

FOLDER = "gyrostat-runs"
"""Where attached trainings are, unless they say otherwise."""
FILE = "run.json"

_LINE = Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")
_Word = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")]
ATTEMPT = 1
"""Of what is in a folder: each is one attempt. Which one of the run's, its backend tells (see `AttachedTransport`)."""


class Request(Wire):
    """Asks the backend to make an attached run."""

    attached: Literal[True] = True
    resume: bool | _Word = False
    from_step: int = Field(default=0, ge=0, le=MAX_STEP)
    name: Annotated[str, _LINE] | None = None
    project: _Word = "default"
    tags: list[_Word] = Field(default_factory=list, max_length=50)
    notes: str = Field(default="", max_length=20_000, pattern=r"^[^\x00]*$")


@dataclass(frozen=True, kw_only=True)
class Attached:
    """What run the measurements in `folder` are of.

    Attributes:
        request: body of the `POST /v1/runs` that makes it. key: idempotency key of that request.
        server: backend that was to be told; empty where none was.
        run: its id, once a backend has made it. attempt: which of the run's attempts the folder is.
    """

    folder: Path
    request: dict[str, Any]
    key: str
    server: str
    run: str | None = None
    attempt: int = ATTEMPT

    @classmethod
    def made(cls, folder: Path, request: dict[str, Any], *, server: str) -> Self:
        """Makes the folder, and writes down what run it is of.

        Raises:
            OSError: it cannot be written, or is there already.
        """
        folder.mkdir(parents=True)
        fresh = cls(folder=folder, request=request, key=secrets.token_hex(16), server=server)
        fresh._write()
        return fresh

    @classmethod
    def read(cls, folder: Path) -> Self:
        """What is written down in the folder.

        Raises:
            FileNotFoundError: nothing is. ValueError: it cannot be read.
        """
        path = folder / FILE
        if not path.is_file():
            raise FileNotFoundError(
                f"{folder} holds no {FILE}: it is none of an attached training; give one that gyrostat.attach made"
            )
        try:
            return cls(folder=folder, **json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path} does not say what run it is of: {error}") from error

    def registered(self, run: str, attempt: int) -> Self:
        """The same, once the backend has made the run; written down, so that it need not be asked for again.

        On a full disk it is not, as sending is what makes room there: the key brings the same run again.
        """
        known = replace(self, run=run, attempt=attempt)
        try:
            known._write()
        except OSError as error:
            logger.warning("cannot note in %s that its run is %s: %s", self.folder, run, error)
        return known

    def _write(self) -> None:
        content = {name: value for name, value in asdict(self).items() if name != "folder"}
        replace_file(self.folder / FILE, json.dumps(content, indent=2) + "\n", durable=True)


class AttachedTransport:
    """Sends to the run of a folder, and makes that run first where it is not known yet; see `Transport`.

    What attempt a resumed run is at is not known when its messages are written, so they get its number here.
    """

    def __init__(self, attached: Attached, inner: HttpTransport) -> None:
        self.attached = attached
        self._inner = inner

    def send(self, run: str, record: Record) -> Acknowledgement:
        """Posts one record to the folder's run, whatever `run` is called here."""
        run = self.attached.run or self._registered()
        return self._inner.send(run, of_attempt(record, self.attached.attempt))

    def close(self) -> None:
        """Closes the connections; a later `send` opens new ones."""
        self._inner.close()

    def _registered(self) -> str:
        try:
            run, attempt = self._inner.register(self.attached.request, self.attached.key)
        except Permanent as error:
            # no refusal of the run may cost its measurements: they wait on disk for a backend that takes it
            raise Transient(f"the run cannot be registered: {error}") from error
        self.attached = self.attached.registered(run, attempt)
        return run


def of_attempt(record: Record, attempt: int) -> Record:
    """The same message as one of this attempt."""
    if attempt == ATTEMPT:
        return record
    if record.kind is Kind.FRAMES:
        batch = replace(codec.decode_msgpack(record.payload), attempt=attempt)
        return replace(record, payload=codec.encode_msgpack(batch))
    message = json.loads(record.payload) | {"attempt": attempt}
    return replace(record, payload=json.dumps(message).encode())


def stream_of(attached: Attached, *, token: str | None, **options: Any) -> Stream:
    """The stream into the folder, and from there to its server; `options` are those of `Stream`.

    Raises:
        SpoolInUse: another process writes or sends it. OSError: it cannot be read or written.
        ValueError: the server is no http address.
    """
    transport = _transport(attached, token)
    name = attached.run or attached.folder.name
    return Stream(spool=Spool(attached.folder), transport=transport, run=name, attempt=ATTEMPT, **options)


def _transport(attached: Attached, token: str | None) -> AttachedTransport | None:
    return AttachedTransport(attached, HttpTransport(attached.server, token=token)) if attached.server else None


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What became of a folder's measurements.

    Attributes:
        run: where they went; None while no backend has made the run.
        ledger: where every frame is.
        waiting: messages that are still to be sent.
        refusal: why the backend takes nothing more of the run; None while it does.
    """

    run: str | None
    ledger: Ledger
    waiting: int
    refusal: str | None


def folders(root: Path) -> list[Path]:
    """Folders of attached trainings: `root` itself, or those right in it, by name."""
    if (root / FILE).is_file():
        return [root]
    return sorted(path.parent for path in root.glob(f"*/{FILE}"))


def send_folder(folder: Path, *, server: str | None, token: str | None, timeout: float) -> Sent:
    """Sends what an ended training left in its folder, to `server` or the one written down there, within `timeout` s.

    What is not sent stays, and a later call sends it.

    Raises:
        SpoolInUse: the training has not ended. FileNotFoundError: the folder is none of a training.
        OSError: it cannot be read. ValueError: it cannot be understood, or there is no server.
    """
    attached = Attached.read(folder)
    attached = replace(attached, server=server or attached.server)
    if not attached.server:
        raise ValueError(f"{folder} names no server; give one, such as --server http://127.0.0.1:8000")
    transport = _transport(attached, token)
    spool = Spool(folder)
    stream = Stream(spool=spool, transport=transport, run=attached.run or folder.name, attempt=ATTEMPT)
    ledger = stream.close(timeout)
    return Sent(
        run=Attached.read(folder).run,
        ledger=ledger,
        waiting=spool.last_sequence - spool.settled,
        refusal=stream.superseded,
    )

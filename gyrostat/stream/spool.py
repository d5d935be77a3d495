"""Disk first: messages wait here, in order, until the backend has acknowledged them."""

import fcntl
import io
import logging
import os
import re
import secrets
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from gyrostat.stream.segments import Kind, Record, Segment, find_segments, read_record, recover, segment_path
from gyrostat.wire.frame import PRODUCER_PATTERN

logger = logging.getLogger(__name__)


class SpoolFull(Exception):
    """The spool has reached its limit; frames are refused until something has been acknowledged."""


class SpoolInUse(RuntimeError):
    """Another process is writing this spool."""


class Spool:
    """Append-only segment files under a directory, written by one process, read by the same or a later one.

    Records are numbered from 1 without gaps; a later process goes on where the last one stopped. A torn tail and
    flipped bits are cut back to the sound records before them and counted in `damaged`. One thread appends, one other
    thread reads and settles. A record is read only once it is on the disk itself, so that no power failure can make
    this side forget, and number anew, what the backend has already stored.

    Args:
        folder: made where it is missing.
        limit_bytes: frames are refused beyond it; layouts and events, which are few and small, never are.
        segment_bytes: a new file is begun at this size (at an eighth of the limit, where that is less).

    Raises:
        SpoolInUse: another process has it open.
        OSError: the folder cannot be made, read or locked.
    """

    def __init__(self, folder: Path, *, limit_bytes: int = 1 << 30, segment_bytes: int = 8 << 20) -> None:
        self.folder = folder
        self.damaged = 0
        self._limit = limit_bytes
        self._segment_bytes = max(1, min(segment_bytes, limit_bytes // 8))
        self._lock = threading.Lock()
        self._active: tuple[Segment, io.FileIO] | None = None
        self._position: tuple[Segment, int, int] | None = None  # segment, sequence and end of the record last read
        self._closed = False
        folder.mkdir(parents=True, exist_ok=True)
        self._guard = _Guard(folder)
        self._settled = self._read_cursor()
        self._segments = find_segments(folder)
        self._next = self._recover() + 1

    def _recover(self) -> int:
        lost = 0
        if self._segments:
            before, newest = self._segments[-1].size, self._segments[-1]
            lost = recover(newest, self._settled)
            self.damaged += newest.size != before
        elif not self._settled:
            # Nothing tells how far an earlier process has counted, so its name must not be used again.
            (self.folder / "producer").unlink(missing_ok=True)
        reached = max(self._settled, self._segments[-1].last + lost if self._segments else 0)
        for segment in self._segments[:-1]:
            segment.sent_to = segment.size if segment.last <= self._settled else 0
        for segment in self._segments:
            if not segment.size:
                segment.path.unlink(missing_ok=True)  # its number, and so its name, may be needed again
        self._delete([segment for segment in self._segments if segment.is_settled])
        return reached

    @property
    def last_sequence(self) -> int:
        """Number of the newest record ever appended; 0 for none."""
        return self._next - 1

    @property
    def settled(self) -> int:
        """Everything up to this number is acknowledged, refused or lost to damage: there is nothing to wait for."""
        with self._lock:
            return self._settled if self._has_unsent() else max(self._settled, self._next - 1)

    @property
    def size(self) -> int:
        """Bytes on disk."""
        with self._lock:
            return sum(segment.size for segment in self._segments)

    def producer(self, attempt: int) -> str:
        """Who numbers these records; made once for a spool, so that its numbers stay comparable over restarts."""
        path = self.folder / "producer"
        if path.exists() and re.fullmatch(PRODUCER_PATTERN, name := path.read_text(errors="replace").strip()):
            return name
        name = f"{attempt}-{secrets.token_hex(6)}"
        replace_file(path, name + "\n", durable=True)
        return name

    def append(self, kind: Kind, payload_for: Callable[[int], bytes]) -> int:
        """Writes one record, and returns the sequence number that `payload_for` was given.

        Raises:
            SpoolFull: the limit is reached and `kind` is frames.
            OSError: the disk is full or failing; the spool is as it was before, and a later call may succeed.
        """
        sequence = self._next
        record = Record(kind, sequence, payload_for(sequence))
        with self._lock:
            if self._closed:
                raise OSError("the spool is closed")
            if kind is Kind.FRAMES and sum(s.size for s in self._segments) + record.size > self._limit:
                raise SpoolFull(f"{self.folder} holds {self._limit} bytes; the backend must take some first")
            segment, file = self._writable(sequence)
            try:
                _write_all(file, record.packed())
            except OSError:
                self._undo(segment, file)
                raise
            segment.size += record.size
            segment.last = sequence
            self._next += 1
        return sequence

    def unsent(self) -> Iterator[Record]:
        """The records that are not settled, oldest first, up to the newest at the time it is reached.

        Raises:
            OSError: the disk cannot be read.
        """
        segment: Segment | None = None
        file: BinaryIO | None = None
        offset = 0
        try:
            while True:
                with self._lock:
                    following = self._at_or_after(segment, offset)
                if following is None:
                    return
                if following is not segment:
                    if file is not None:
                        file.close()
                    segment, offset = following, following.sent_to
                    file = _open_or_none(segment.path)
                record = None if file is None else read_record(file, offset, segment.size)
                if record is None:
                    self._cut(segment, offset)
                    continue
                offset += record.size
                if record.sequence <= self._settled:
                    segment.sent_to = max(segment.sent_to, offset)
                    continue
                self._make_durable(segment, offset)
                self._position = (segment, record.sequence, offset)
                yield record
        finally:
            if file is not None:
                file.close()

    def settle(self, sequence: int) -> None:
        """Nothing up to `sequence` needs to be sent again; files that hold nothing else are deleted."""
        with self._lock:
            if self._closed or sequence <= self._settled:
                return
            self._settled = sequence
            if self._position is not None and self._position[1] == sequence:
                self._position[0].sent_to = self._position[2]
            done = [s for s in self._segments if s.is_settled and (self._active is None or s is not self._active[0])]
        self._delete(done)

    def close(self) -> None:
        """Leaves a spool that a later process can go on with."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._retire()
        self._delete([segment for segment in self._segments if segment.is_settled])
        self._guard.close()

    def _has_unsent(self) -> bool:
        return any(not segment.is_settled for segment in self._segments)

    def _at_or_after(self, segment: Segment | None, offset: int) -> Segment | None:
        if segment is not None and offset < segment.size:
            return segment
        after = -1 if segment is None else segment.first
        return next((s for s in self._segments if s.first > after and not s.is_settled), None)

    def _writable(self, sequence: int) -> tuple[Segment, io.FileIO]:
        if self._active is not None and self._active[0].size >= self._segment_bytes:
            self._retire()
        if self._active is None:
            path = segment_path(self.folder, sequence)
            file = io.FileIO(path, "x")
            self._active = Segment(path, sequence, sequence - 1), file
            self._segments.append(self._active[0])
            _sync_folder(self.folder)
        return self._active

    def _undo(self, segment: Segment, file: io.FileIO) -> None:
        try:
            file.truncate(segment.size)
            file.seek(segment.size)
        except OSError:
            # What is there cannot be known now, so neither this file nor the number is used again.
            logger.warning("cannot cut %s back after a failed write; going on in a new file", segment.path)
            self._retire()
            self._next += 1

    def _retire(self) -> None:
        if self._active is None:
            return
        segment, file = self._active
        self._active = None
        try:
            os.fsync(file.fileno())
            segment.synced = segment.size
        except OSError as error:
            logger.warning("cannot make %s durable: %s", segment.path, error)
        file.close()

    def _make_durable(self, segment: Segment, end: int) -> None:
        with self._lock:
            if segment.synced >= end or self._active is None or self._active[0] is not segment:
                return
            size, descriptor = segment.size, os.dup(self._active[1].fileno())
        try:
            os.fsync(descriptor)
            segment.synced = size
        except OSError as error:
            logger.warning("cannot make %s durable: %s", segment.path, error)
        finally:
            os.close(descriptor)

    def _cut(self, segment: Segment, offset: int) -> None:
        with self._lock:
            logger.warning("%s is damaged at byte %d; what follows in it is lost", segment.path, offset)
            self.damaged += 1
            segment.size = offset
            if self._active is not None and self._active[0] is segment:
                self._retire()

    def _delete(self, segments: list[Segment]) -> None:
        # The cursor goes first: numbers must never start anew because a file is gone and the cursor does not know.
        try:
            replace_file(self.folder / "cursor", _sealed(self._settled), durable=bool(segments))
        except OSError as error:
            logger.warning("cannot note in %s what is acknowledged: %s", self.folder, error)
            return
        with self._lock:
            self._segments = [segment for segment in self._segments if segment not in segments]
        for segment in segments:
            try:
                segment.path.unlink(missing_ok=True)
            except OSError as error:
                logger.warning("cannot delete %s, which is acknowledged: %s", segment.path, error)

    def _read_cursor(self) -> int:
        path = self.folder / "cursor"
        if not path.exists():
            return 0
        number = path.read_text(errors="replace").partition(" ")[0]
        if number.isdecimal() and len(number) < 20 and path.read_text() == _sealed(int(number)):
            return int(number)
        self.damaged += 1
        return 0


def _sealed(number: int) -> str:
    return f"{number} {zlib.crc32(str(number).encode()):08x}\n"


_open_here: set[Path] = set()


class _Guard:
    """Holds a spool for one owner."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        message = f"{folder} is being written by another process or stream; wait for its end, or take another folder"
        if self._folder in _open_here:  # record locks do not keep a process from itself
            raise SpoolInUse(message)
        self._file = (folder / "lock").open("ab")
        try:
            # Unlike flock, a record lock is not kept alive by data-loading processes forked from this one.
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            if isinstance(error, BlockingIOError | PermissionError):
                raise SpoolInUse(message) from error
            raise
        _open_here.add(self._folder)

    def close(self) -> None:
        _open_here.discard(self._folder)
        self._file.close()


def _open_or_none(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None


def _write_all(file: io.FileIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) or 0 :]


def replace_file(path: Path, text: str, *, durable: bool) -> None:
    """Writes a small file whole or not at all; `durable` waits until it is on the disk itself."""
    fresh = path.with_suffix(".new")
    with fresh.open("w") as file:
        file.write(text)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    fresh.replace(path)
    if durable:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

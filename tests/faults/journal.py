"""A producer's own record of what it emits and of what was acknowledged: on the disk before anything else happens.

A file of entries, each its length (u32, little-endian) and a msgpack document. It is the first of the three places
that are compared: nothing of Gyrostat writes or reads it.
"""

import os
import struct
import threading
from pathlib import Path

import msgspec

_LENGTH = struct.Struct("<I")


class Declared(msgspec.Struct, tag=True):
    """A layout: the names of the one axis, by which the values of `version` go."""

    version: int
    names: list[str]


class Emitted(msgspec.Struct, tag=True):
    """A frame that is about to be emitted: the float32 bits of each of its metrics."""

    step: int
    time: float
    epoch: float
    version: int
    values: dict[str, bytes]


class Told(msgspec.Struct, tag=True):
    """An event that is about to be told; `number` tells it from all others of the producer."""

    number: int


class Acknowledged(msgspec.Struct, tag=True):
    """An answer that came: which frames or events it was about."""

    sequence: int
    status: str
    steps: list[int]
    events: list[int]


class Refused(msgspec.Struct, tag=True):
    """The backend said that it will never take a message."""

    sequence: int
    reason: str


class Closed(msgspec.Struct, tag=True):
    """The producer ended by itself; what its ledger says."""

    balanced: bool
    produced: int
    dropped: dict[str, int]
    rejected: dict[str, int]
    dropped_messages: int


Entry = Declared | Emitted | Told | Acknowledged | Refused | Closed


class Journal:
    """Written by one incarnation of a producer, from any of its threads.

    Raises:
        FileExistsError: another incarnation has written it.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND)
        self._lock = threading.Lock()

    def note(self, *entries: Entry) -> None:
        """Writes entries down, and returns when they are on the disk."""
        packed = [msgspec.msgpack.encode(entry) for entry in entries]
        data = memoryview(b"".join(_LENGTH.pack(len(entry)) + entry for entry in packed))
        with self._lock:
            while data:
                data = data[os.write(self._file, data) :]
            os.fsync(self._file)


def read(path: Path) -> list[Entry]:
    """What is in it; an entry that a kill has cut off was never acted upon, and is left out."""
    return read_from(path, 0)[0]


def read_from(path: Path, offset: int) -> tuple[list[Entry], int]:
    """What is in it from a byte on, and the byte to go on from."""
    if not path.exists():
        return [], offset
    found: list[Entry] = []
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read()
    start, decoder = 0, msgspec.msgpack.Decoder(Entry)
    while len(data) - start >= _LENGTH.size:
        (length,) = _LENGTH.unpack_from(data, start)
        end = start + _LENGTH.size + length
        if end > len(data):
            break
        found.append(decoder.decode(data[start + _LENGTH.size : end]))
        start = end
    return found, offset + start

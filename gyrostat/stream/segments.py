"""The files of a spool: records one after another, each with its length and checksum.

A record is `[length u32][crc32 u32][kind u8][sequence u64][payload]`, little-endian; the checksum covers length, kind,
sequence and payload, so that a cut or changed record is told from a sound one wherever the damage is.
"""

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

_HEAD = struct.Struct("<II")
_BODY = struct.Struct("<BQ")
HEADER_BYTES = _HEAD.size + _BODY.size
SUFFIX = ".spool"


class Kind(IntEnum):
    """What a record's payload is: a JSON layout message, a msgpack batch, or a JSON events message."""

    LAYOUT = 1
    FRAMES = 2
    EVENTS = 3


@dataclass(frozen=True, eq=False)
class Record:
    """One message, ready to be sent; `payload` already holds `sequence`."""

    kind: Kind
    sequence: int
    payload: bytes

    @property
    def size(self) -> int:
        """Bytes that it takes in a file."""
        return HEADER_BYTES + len(self.payload)

    def packed(self) -> bytes:
        """Its bytes in a file."""
        body = _BODY.pack(self.kind, self.sequence)
        return _HEAD.pack(len(self.payload), _checksum(body, self.payload)) + body + self.payload


def _checksum(body: bytes, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(body, len(payload) & 0xFFFF_FFFF))


def read_record(file: BinaryIO, offset: int, end: int) -> Record | None:
    """The record at `offset` of a file whose sound part is at most `end` bytes; None where it is damaged or cut."""
    if end - offset < HEADER_BYTES:
        return None
    file.seek(offset)
    header = file.read(HEADER_BYTES)
    if len(header) < HEADER_BYTES:
        return None
    length, checksum = _HEAD.unpack_from(header)
    if length > end - offset - HEADER_BYTES:
        return None
    body, payload = header[_HEAD.size :], file.read(length)
    kind, sequence = _BODY.unpack(body)
    if len(payload) < length or _checksum(body, payload) != checksum or kind not in iter(Kind):
        return None
    return Record(Kind(kind), sequence, payload)


@dataclass(eq=False)
class Segment:
    """One file of a spool.

    Attributes:
        first, last: sequence numbers of its first record and its newest one (`first - 1` while it is empty).
        size: bytes of its sound records. synced: bytes known to be on the disk itself.
        sent_to: bytes of its leading records that are settled.
    """

    path: Path
    first: int
    last: int
    size: int = 0
    synced: int = 0
    sent_to: int = 0

    @property
    def is_settled(self) -> bool:
        """Whether nothing in it is still to be sent."""
        return self.sent_to >= self.size


def segment_path(folder: Path, first: int) -> Path:
    """The file of the segment whose first record has the number `first`; names sort in the order of writing."""
    return folder / f"{first:020d}{SUFFIX}"


def find_segments(folder: Path) -> list[Segment]:
    """The segments in `folder`, in order; `last` is known from the following one's name, sizes from the files."""
    found = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        if path.stem.isdigit():
            first = int(path.stem)
            found.append(Segment(path, first, first - 1, size=path.stat().st_size))
    for segment, following in pairwise(found):
        segment.last = following.first - 1
        segment.synced = segment.size
    return found


def recover(segment: Segment, settled: int) -> int:
    """Finds the sound prefix of a segment that may have been cut while it was written.

    Sets `last`, `size` and `sent_to`, and cuts the file to the sound prefix.

    Returns:
        Upper bound of the records lost to damage other than a torn tail: those may have been sent before.
    """
    on_disk, offset = segment.size, 0
    with segment.path.open("r+b") as file:
        while (record := read_record(file, offset, on_disk)) is not None:
            offset += record.size
            segment.last = record.sequence
            if record.sequence <= settled:
                segment.sent_to = offset
        lost = 0 if offset == on_disk or _is_torn(file, offset, on_disk) else -((offset - on_disk) // HEADER_BYTES)
        file.truncate(offset)
    segment.size = segment.synced = offset
    return lost


def _is_torn(file: BinaryIO, offset: int, end: int) -> bool:
    # Torn: the last record was not written to its end. A record is sent only once it is on the disk whole.
    if end - offset < HEADER_BYTES:
        return True
    file.seek(offset)
    length, _ = _HEAD.unpack(file.read(_HEAD.size))
    return bool(length > end - offset - HEADER_BYTES)

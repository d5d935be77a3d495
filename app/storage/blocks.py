"""A block as bytes: steps and a steps x names matrix of float32, losslessly compressed and checked when read.

The format, for readers with numpy and zstandard alone, is in docs/storage.md. Values are kept bit for bit, so a NaN's
payload (absent or not) survives. Along each column the 32-bit patterns are replaced by their differences, which makes
slowly changing series small; then equal bytes of all words are put side by side for zstd. Rows that have just arrived
are stored as they came: they are merged, and compressed, soon.
"""

import struct
import threading
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import zstandard

from app.series import PLANES, Rows
from gyrostat.wire.values import Float32Array

RAW, LEVEL, ARRIVED = 0, 1, 2
VERSIONS = {RAW: 1, LEVEL: 1, ARRIVED: 2}
"""Version of the format that brought each kind of block."""
MAX_VALUES = 1 << 24
"""Values in one plane of a block; more is damage or an attack."""

_MAGIC = b"GYRB"
_HEADER = struct.Struct("<4sBBHII")
_CRC = struct.Struct("<I")
_RAW_FRAMES = ("steps", "values")
_STEP_FRAMES = ("first", "last", "counts", "child", "offset")
_LEVEL_FRAMES = (*_STEP_FRAMES, *PLANES)
_ARRIVED_BYTE = bytes([ARRIVED])
_WORD = 4
"""Bytes of a value in a plane."""
_local = threading.local()


Columns = npt.NDArray[np.int64]
"""Which columns are read, in this order."""


class DamagedBlock(Exception):
    """The bytes are not a block, or not the ones that were written."""


@dataclass(frozen=True, eq=False, kw_only=True)
class LevelBlock:
    """Rows of a coarser level, and where the finer rows of each begin: the block's id and the row in it."""

    rows: Rows
    child: npt.NDArray[np.int64]
    offset: npt.NDArray[np.uint32]


@dataclass(frozen=True, eq=False, kw_only=True)
class PackedLevel:
    """A level block but for `child`: those ids are known only once the blocks below it are stored."""

    shape: tuple[int, ...]
    before: list[bytes]
    after: list[bytes]

    def body(self, child: npt.NDArray[np.int64]) -> bytes:
        """The whole block."""
        return _assemble(LEVEL, self.shape, [*self.before, _pack_steps(child), *self.after])


def encode(steps: npt.NDArray[np.int64], values: Float32Array) -> bytes:
    """A level-0 block of `values` (rows, width) at `steps` (rows,)."""
    _check_size(values)
    return _assemble(RAW, values.shape, [_pack_steps(steps), _pack_words(values)])


def encode_arrived(steps: npt.NDArray[np.int64], values: Float32Array) -> bytes:
    """A level-0 block whose rows are kept as they came: many times as fast, for rows that are merged soon."""
    _check_size(values)
    return _assemble(ARRIVED, values.shape, [_plain(steps, "<i8"), _plain(values, "<f4")])


def arrived(body: bytes) -> bool:
    """Whether these are rows kept as they came."""
    return body[5:6] == _ARRIVED_BYTE


def decode(body: bytes, columns: Columns | None = None) -> tuple[npt.NDArray[np.int64], Float32Array]:
    """Steps and values of a level-0 block, of all its columns or of some.

    Raises:
        DamagedBlock: they cannot be what was written.
    """
    kind = ARRIVED if arrived(body) else RAW
    (rows, width), (steps, values) = _take_apart(body, kind, _RAW_FRAMES)
    if kind == RAW:
        return _unpack_steps(steps, rows), _unpack_words(values, rows, width, columns).view("<f4")
    if len(steps) != 8 * rows or len(values) != 4 * rows * width:
        raise DamagedBlock(f"the block's frames do not hold {rows} rows of {width}")
    plain = np.frombuffer(values, "<f4").reshape(rows, width)
    return np.frombuffer(steps, "<i8"), plain if columns is None else plain[:, columns]


def encode_level(block: LevelBlock) -> bytes:
    """A block of a coarser level."""
    return pack_level(block).body(block.child)


def pack_level(block: LevelBlock) -> PackedLevel:
    """All of `encode_level` that can be done before `block.child` is known."""
    rows = block.rows
    shape = rows.planes["final"].shape
    for name in PLANES:
        plane = rows.planes[name]
        if plane.itemsize != _WORD or plane.shape != shape:  # else only a reader would find out
            raise ValueError(f"plane {name} is {plane.dtype} {plane.shape}; {_WORD} bytes each and {shape} belong")
    before = [_pack_steps(rows.first), _pack_steps(rows.last), _pack_steps(rows.counts.astype(np.int64))]
    planes = [_pack_words(rows.planes[plane]) for plane in PLANES]
    after = [_pack_steps(block.offset.astype(np.int64)), *planes]
    return PackedLevel(shape=shape, before=before, after=after)


def decode_level(body: bytes, wanted: Collection[str] = PLANES, columns: Columns | None = None) -> LevelBlock:
    """The rows of a coarser level, with the planes wanted, of all columns or of some.

    Raises:
        DamagedBlock: they cannot be what was written.
    """
    (num_rows, width), frames = _take_apart(body, LEVEL, _LEVEL_FRAMES)
    first, last, counts, child, offset = (_unpack_steps(frame, num_rows) for frame in frames[: len(_STEP_FRAMES)])
    planes: dict[str, npt.NDArray[Any]] = {}
    for name, frame in zip(PLANES, frames[len(_STEP_FRAMES) :], strict=True):
        if name in wanted:
            words = _unpack_words(frame, num_rows, width, columns)
            planes[name] = words if name in ("nonfinite", "finite") else words.view("<f4")
    rows = Rows(first=first, last=last, counts=counts.astype(np.uint32), planes=planes)
    return LevelBlock(rows=rows, child=child, offset=offset.astype(np.uint32))


def _check_size(values: Float32Array) -> None:
    if not 0 < values.size <= MAX_VALUES:
        raise ValueError(f"a block holds 1..{MAX_VALUES} values, got {values.shape[0]} rows of {values.shape[1]}")


def _plain(array: npt.NDArray[Any], kind: str) -> memoryview:
    return np.ascontiguousarray(array, dtype=kind).reshape(-1).view(np.uint8).data


def _assemble(kind: int, shape: tuple[int, ...], frames: Sequence[bytes | memoryview]) -> bytes:
    rows, width = shape
    head = _HEADER.pack(_MAGIC, VERSIONS[kind], kind, len(frames), rows, width)
    rest = [struct.pack(f"<{len(frames)}I", *map(len, frames)), *frames]
    crc = zlib.crc32(head)
    for part in rest:
        crc = zlib.crc32(part, crc)
    return b"".join([head, _CRC.pack(crc), *rest])


def _take_apart(body: bytes, kind: int, names: tuple[str, ...]) -> tuple[tuple[int, int], list[bytes]]:
    start = _HEADER.size + _CRC.size
    if len(body) < start or body[:4] != _MAGIC:
        raise DamagedBlock("these bytes are not a block")
    _, version, found, num_frames, rows, width = _HEADER.unpack_from(body)
    (crc,) = _CRC.unpack_from(body, _HEADER.size)
    if version > max(VERSIONS.values()):
        raise DamagedBlock(
            f"the block has format version {version}; this program reads {max(VERSIONS.values())}: update it"
        )
    if zlib.crc32(memoryview(body)[start:], zlib.crc32(body[: _HEADER.size])) != crc:
        raise DamagedBlock("the block's checksum is wrong: its bytes changed after they were written")
    if found != kind or version != VERSIONS[kind] or num_frames != len(names) or not 0 < rows * width <= MAX_VALUES:
        raise DamagedBlock(f"the block is of kind {found} with {num_frames} frames of {rows} x {width}")
    lengths = struct.unpack_from(f"<{num_frames}I", body, start) if len(body) >= start + 4 * num_frames else ()
    start += 4 * num_frames
    if not lengths or sum(lengths) != len(body) - start:
        raise DamagedBlock("the block's frames do not fill it")
    ends = np.cumsum(lengths)
    return (rows, width), [body[start + end - size : start + end] for end, size in zip(ends, lengths, strict=True)]


def _pack_steps(steps: npt.NDArray[np.int64]) -> bytes:
    return _compress(np.diff(steps.astype("<i8"), prepend=np.int64(0)), 8)


def _unpack_steps(frame: bytes, rows: int) -> npt.NDArray[np.int64]:
    steps: npt.NDArray[np.int64] = np.cumsum(_words(_decompressed(frame, rows, 8)).view("<i8"), dtype=np.int64)
    return steps


def _pack_words(plane: npt.NDArray[Any]) -> bytes:
    # zigzag of the difference modulo 2^32 between the bit patterns of a column's neighbours; in place, because fresh
    # memory costs more than the arithmetic
    words = np.array(plane.T, order="C").view("<u4")
    change = words.copy()
    change[:, 1:] -= words[:, :-1]
    sign = np.right_shift(change.view("<i4"), np.int32(31), out=words.view("<i4"))
    change <<= np.uint32(1)
    change ^= sign.view("<u4")
    return _compress(change, 4)


def _unpack_words(frame: bytes, rows: int, width: int, columns: Columns | None = None) -> npt.NDArray[np.uint32]:
    shuffled = _decompressed(frame, rows * width, 4).reshape(4, width, rows)
    if not shuffled.any():  # as counts of what is not finite mostly are
        return np.zeros((rows, width if columns is None else len(columns)), dtype=np.uint32)
    change = _words(shuffled if columns is None else shuffled[:, columns]).view("<u4").reshape(-1, rows)
    sign = change & np.uint32(1)
    np.negative(sign, out=sign)
    change >>= np.uint32(1)
    change ^= sign
    return np.ascontiguousarray(np.cumsum(change, axis=1, dtype=np.uint32, out=sign).T)


def _compress(words: npt.NDArray[Any], size: int) -> bytes:
    if not hasattr(_local, "compressor"):
        _local.compressor = zstandard.ZstdCompressor(level=1)
    shuffled = np.ascontiguousarray(words).view(np.uint8).reshape(-1, size).T
    packed: bytes = _local.compressor.compress(np.ascontiguousarray(shuffled).data)
    return packed


def _decompressed(frame: bytes, count: int, size: int) -> npt.NDArray[np.uint8]:
    """The bytes of `count` words, all first ones, then all second ones ...: (size, count)."""
    try:
        # the frame's own claim is checked first, because the decompressor would allocate as much as it claims
        claimed = zstandard.get_frame_parameters(frame).content_size
        if claimed != count * size:
            raise DamagedBlock(f"a frame claims {claimed} bytes where {count * size} belong")
        if not hasattr(_local, "decompressor"):
            _local.decompressor = zstandard.ZstdDecompressor()
        plain = _local.decompressor.decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise DamagedBlock(f"a frame cannot be decompressed: {error}") from error
    return np.frombuffer(plain, dtype=np.uint8).reshape(size, count)


def _words(shuffled: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The bytes (size, ...) put together again, word after word."""
    words = np.empty((shuffled[0].size, len(shuffled)), dtype=np.uint8)
    for place, column in enumerate(shuffled):
        words[:, place] = column.ravel()  # several times as fast as a copy of the transposed array
    return words

"""NumPy arrays of the user's own."""

import math
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy
import torch
from numpy.typing import NDArray

from gyrostat.spec.files import Npz
from trainer.data.own_files import bounded, data_root_present, own_file
from trainer.data.samples import DataError, Labelled
from trainer.data.sources import PRESENCE, SOURCES

PRESENCE.implements(Npz)(data_root_present)


@SOURCES.implements(Npz)
def npz(settings: Npz, data_root: Path | None) -> Labelled:
    """Two arrays of a file; grey images (N, H, W) get their channel axis. Pickled objects are never loaded."""
    path = own_file(settings.path, data_root)
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = [_array(archive, name, settings.path) for name in (settings.inputs, settings.targets)]
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{settings.path!r} cannot be read as .npz ({error}); save it anew with numpy.savez") from None
    inputs, targets = arrays
    if inputs.ndim not in (2, 3, 4) or len(inputs) != len(targets):
        raise DataError(
            f"{settings.path!r}: inputs {settings.inputs!r} have shape {inputs.shape} and targets "
            f"{settings.targets!r} {targets.shape}; give (N, columns), (N, H, W) or (N, C, H, W), and as many targets"
        )
    inputs = inputs[:, None] if inputs.ndim == 3 else inputs
    return Labelled(_tensor(inputs, settings.inputs), _tensor(targets, settings.targets), outputs=0)


def _array(archive: zipfile.ZipFile, name: str, path: str) -> NDArray[Any]:
    """One array; its size is checked before anything of it is held, since a few bytes may claim to be terabytes."""
    try:
        member = archive.getinfo(f"{name}.npy")
    except KeyError:
        known = ", ".join(repr(each.removesuffix(".npy")) for each in archive.namelist()[:20])
        raise DataError(f"{path!r} has no array {name!r}, but {known}; name one of them") from None
    bounded(member.file_size, path)
    with archive.open(member) as file:
        try:
            shape, dtype = _header(file)
        except ValueError as error:
            raise DataError(f"array {name!r} of {path!r} is damaged ({error}); save it anew") from None
    if dtype.hasobject or dtype.kind not in "biuf":
        raise DataError(
            f"array {name!r} of {path!r} holds {dtype}, and only numbers are read (no pickled objects); convert it"
        )
    if math.prod(shape) * dtype.itemsize > member.file_size:
        raise DataError(f"array {name!r} of {path!r} is shorter than its header says; save it anew")
    bounded(4 * math.prod(shape), path)
    with archive.open(member) as file:
        try:
            array: NDArray[Any] = numpy.lib.format.read_array(file, allow_pickle=False)
        except ValueError as error:
            raise DataError(f"array {name!r} of {path!r} is damaged ({error}); save it anew") from None
    return array


def _header(file: Any) -> tuple[tuple[int, ...], numpy.dtype[Any]]:
    stream: BinaryIO = file
    version = numpy.lib.format.read_magic(stream)
    read = numpy.lib.format.read_array_header_1_0 if version == (1, 0) else numpy.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    return shape, dtype


def _tensor(array: NDArray[Any], name: str) -> torch.Tensor:
    """Floats as float32 or float64, whole numbers and truth values as int64 (inputs as float32, to be small)."""
    if array.dtype.kind == "f":
        wanted = array.dtype if array.dtype.itemsize in (4, 8) else numpy.dtype(numpy.float32)
        return torch.from_numpy(array.astype(wanted.newbyteorder("=")))
    if array.dtype.kind == "u" and array.dtype.itemsize == 8 and array.size and array.max() > 2**63 - 1:
        raise DataError(f"array {name!r} holds whole numbers beyond 2^63; convert it to floats")
    if array.dtype == numpy.uint8 and array.ndim > 1:
        return torch.from_numpy(numpy.ascontiguousarray(array))
    return torch.from_numpy(array.astype(numpy.int64))

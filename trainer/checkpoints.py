"""Checkpoints on disk: written whole or not at all, verified when read, never unpickling code.

`<root>/<run>/<step>/` holds `model.safetensors` (parameters and buffers; a tensor with two names is written once and
the other names are in its metadata), `state.pt` (optimizer, random numbers, probes; read with `weights_only`) and
`manifest.json` (validation loss, size and SHA-256 of both). A checkpoint is written under a temporary name, synced and
renamed, so a reader finds all of it or nothing.
"""

import hashlib
import json
import logging
import math
import os
import pickle
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gyrostat.spec.systems import Checkpoints
from trainer.errors import CheckpointDamaged, CheckpointError, CheckpointMissing

MODEL, STATE, MANIFEST = "model.safetensors", "state.pt", "manifest.json"
FORMAT = 1
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_UNFINISHED = ".unfinished-"

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A checkpoint that is on disk.

    Attributes:
        validation_loss: None where its step was not validated, or not finite.
        regular: False where it was written only because its validation loss was the lowest.
    """

    run: str
    step: int
    validation_loss: float | None
    regular: bool
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint that was read.

    Attributes:
        model: parameter and buffer name -> tensor on the CPU, tied ones under each of their names.
        state: what the loop wrote beside the model.
    """

    run: str
    step: int
    model: dict[str, Tensor]
    state: dict[str, Any]


class CheckpointStore:
    """The checkpoints of all runs under one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._protected: dict[str, frozenset[int]] = {}

    def folder(self, run: str) -> Path:
        """Where the checkpoints of `run` are.

        Raises:
            CheckpointError: `run` is no id: only letters, digits, `_` and `-`, so that no name leads out of the root.
        """
        if not _RUN.fullmatch(run):
            raise CheckpointError(f"a run's id has 1-128 letters, digits, '_' or '-', got {run!r}; nothing was touched")
        return self.root / run

    def protect(self, run: str, steps: Collection[int]) -> None:
        """From now on keeps these checkpoints of `run`, and no others but those that `save` keeps.

        Other runs still have to start from them. May be called by another thread than the one that saves.
        """
        self._protected[run] = frozenset(steps)

    def take_over(self, run: str, step: int) -> None:
        """Removes what an earlier attempt left half-written, or wrote after `step`, from where this one goes on."""
        folder = self.folder(run)
        for path in sorted(folder.glob(f"{_UNFINISHED}*")):
            shutil.rmtree(path, ignore_errors=True)
        for later in self._steps(run):
            if later > step:
                self._remove(folder / str(later))

    def save(
        self,
        run: str,
        step: int,
        *,
        model: Mapping[str, Tensor],
        state: Mapping[str, Any],
        validation_loss: float | None,
        keep: Checkpoints,
        regular: bool = True,
    ) -> Saved:
        """Writes a checkpoint durably, replacing one of the same step, then removes those that `keep` does not keep.

        Kept are the newest regular ones, the best of all, and what is protected; `regular` tells this one's sort.

        Raises:
            OSError: the disk is full or fails. What was there before stays.
        """
        folder = self.folder(run)
        folder.mkdir(parents=True, exist_ok=True)
        # 1. Everything goes under a name that no reader looks at ...
        unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder))
        try:
            _write_model(unfinished / MODEL, model)
            torch.save(dict(state), unfinished / STATE)
            loss = validation_loss if validation_loss is not None and math.isfinite(validation_loss) else None
            _write_manifest(unfinished, run=run, step=step, validation_loss=loss, regular=regular)
            # 2. ... reaches the disk, names included, before ...
            for path in (*unfinished.iterdir(), unfinished):
                _sync(path)
            # 3. ... the one rename that makes it visible.
            self._remove(folder / str(step))
            unfinished.rename(folder / str(step))
            _sync(folder)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        saved = self._saved(run, step)
        self._prune(run, keep)
        return saved

    def listed(self, run: str) -> list[Saved]:
        """What is there of `run`, by rising step; one whose manifest cannot be read is left out, and logged."""
        return list(self._readable(run))

    def load(self, run: str, step: int) -> Checkpoint:
        """Reads and verifies one checkpoint.

        Raises:
            CheckpointMissing: it is not there; says which are.
            CheckpointDamaged: a file is missing, cut short or changed, or holds more than tensors and plain values.
        """
        folder = self.folder(run) / str(step)
        if not folder.is_dir():
            there = ", ".join(map(str, self._steps(run))) or "none"
            raise CheckpointMissing(f"run {run} has no checkpoint of step {step} in {self.root}; there are: {there}")
        _verify(folder)
        try:
            model = _read_model(folder / MODEL)
            state = torch.load(folder / STATE, map_location="cpu", weights_only=True)
        except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
            raise CheckpointDamaged(f"checkpoint {folder} cannot be read: {error}") from error
        return Checkpoint(run=run, step=step, model=model, state=state)

    def load_newest(self, run: str, *, at_most: int | None = None) -> tuple[Checkpoint | None, list[str]]:
        """The newest sound checkpoint up to step `at_most`, and what was wrong with each newer one that is not."""
        complaints: list[str] = []
        for step in reversed(self._steps(run)):
            if at_most is None or step <= at_most:
                try:
                    return self.load(run, step), complaints
                except CheckpointError as error:
                    complaints.append(str(error))
        return None, complaints

    def _steps(self, run: str) -> list[int]:
        folder = self.folder(run)
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        return sorted(int(name) for name in names if name.isascii() and name.isdecimal())

    def _saved(self, run: str, step: int) -> Saved:
        folder = self.folder(run) / str(step)
        manifest = _read_manifest(folder)
        return Saved(
            run=run,
            step=step,
            validation_loss=manifest["validation_loss"],
            regular=manifest["regular"],
            size_bytes=sum(file["size"] for file in manifest["files"].values()),
        )

    def _readable(self, run: str) -> Iterator[Saved]:
        for step in self._steps(run):
            try:
                yield self._saved(run, step)
            except CheckpointError as error:
                log.warning("%s", error)

    def _prune(self, run: str, keep: Checkpoints) -> None:
        saved = self.listed(run)
        kept = {one.step for one in [one for one in saved if one.regular][-keep.keep :]}
        if keep.best and (best := best_of(saved)) is not None:
            kept.add(best.step)
        kept |= self._protected.get(run, frozenset())
        for step in self._steps(run):
            if step not in kept:
                self._remove(self.folder(run) / str(step))

    def _remove(self, checkpoint: Path) -> None:
        # first out of sight in one rename, so that no reader meets a half-removed one
        doomed = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=checkpoint.parent)) if checkpoint.exists() else None
        if doomed is not None:
            with suppress(FileNotFoundError):
                checkpoint.rename(doomed / checkpoint.name)
            shutil.rmtree(doomed, ignore_errors=True)


def best_of(saved: list[Saved]) -> Saved | None:
    """The one with the lowest validation loss, the earliest of equals; None where none has one."""
    validated = [one for one in saved if one.validation_loss is not None]
    return min(validated, key=lambda one: (one.validation_loss, one.step), default=None)


def _write_model(path: Path, model: Mapping[str, Tensor]) -> None:
    tensors: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    first_name: dict[tuple[Any, ...], str] = {}
    for name, tensor in model.items():
        # the same memory under two names is a tied weight
        identity = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype) if tensor.numel() else (name,)
        if identity in first_name:
            aliases[name] = first_name[identity]
        else:
            first_name[identity] = name
            # a copy, since safetensors refuses views that share memory otherwise
            tensors[name] = tensor.detach().to("cpu", copy=True).contiguous()
    save_file(tensors, path, metadata={"aliases": json.dumps(aliases)})


def _read_model(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt", device="cpu") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        aliases: dict[str, str] = json.loads((file.metadata() or {}).get("aliases", "{}"))
    return tensors | {name: tensors[kept] for name, kept in aliases.items()}


def _write_manifest(folder: Path, *, run: str, step: int, validation_loss: float | None, regular: bool) -> None:
    files = {
        name: {"size": (folder / name).stat().st_size, "sha256": _digest(folder / name)} for name in (MODEL, STATE)
    }
    manifest = {
        "format": FORMAT,
        "run": run,
        "step": step,
        "validation_loss": validation_loss,
        "regular": regular,
        "files": files,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1))


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        if manifest["format"] != FORMAT:
            raise CheckpointDamaged(
                f"checkpoint {folder} has format {manifest['format']!r}; this version reads {FORMAT}"
            )
        # what else is read of it has the right shape
        _ = [(file["size"] + 0, file["sha256"]) for file in manifest["files"].values()]
        _ = manifest["validation_loss"], manifest["regular"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointDamaged(f"checkpoint {folder} has no readable manifest: {error!r}") from error
    checked: dict[str, Any] = manifest
    return checked


def _verify(folder: Path) -> None:
    files = _read_manifest(folder)["files"]
    for name in (MODEL, STATE):
        try:
            found = _digest(folder / name)
        except OSError as error:
            raise CheckpointDamaged(f"checkpoint {folder} lacks {name}: {error}") from error
        if found != files.get(name, {}).get("sha256"):
            raise CheckpointDamaged(f"checkpoint {folder}: {name} is not what was written (its SHA-256 differs)")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

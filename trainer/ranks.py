"""The processes that train one run together: what they tell one another, and whether they are still in step.

Rank 0 leads: it alone validates, probes, writes checkpoints, and hears what is asked of the run. All ranks make the
same decisions from the same numbers, so that none waits for one that has gone another way.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gyrostat.spec.systems import Ddp
from trainer.errors import DeviceError, RanksDiffer
from trainer.models.synchronized import Switch, synchronize

PATIENCE = timedelta(hours=12)
"""How long a rank waits for the others: rank 0 may validate for long. One that dies is noticed at once."""

PARAMETER_GAP, GRADIENT_GAP = "rank.parameter_digest_gap", "rank.gradient_digest_gap"


class Ranks:
    """This process among all ranks of a training, each with an equal share of every batch.

    Attributes:
        rank, size: of this process, from 0; of all.
    """

    def __init__(self, rank: int = 0, size: int = 1, *, group: dist.ProcessGroup | None = None) -> None:
        self.rank, self.size, self._group = rank, size, group
        self._switch = Switch()

    @property
    def leading(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def share(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """This rank's part of a whole batch, whose samples `size` divides."""
        return batch if self.size == 1 else tuple(tensor.tensor_split(self.size)[self.rank] for tensor in batch)

    def threads(self, of_all: int) -> int:
        """This rank's part of the CPU threads that all ranks have together."""
        return max(1, of_all // self.size)

    def synchronize(self, settings: Ddp | None, model: nn.Module) -> None:
        """Joins the statistics of batch normalization where the spec wants it; before an optimizer or probe sees it."""
        if settings is not None and settings.sync_batch_norm and self.size > 1:
            synchronize(model, self._switch)

    @contextmanager
    def training_pass(self) -> Iterator[None]:
        """Around forward and backward passes that all ranks make."""
        self._switch.on = True
        try:
            yield
        finally:
            self._switch.on = False

    def led(self, numbers: Sequence[float]) -> list[float]:
        """Rank 0's `numbers`, on every rank; all pass as many."""
        if self.size == 1:
            return list(numbers)
        told = torch.tensor(numbers, dtype=torch.float64)
        dist.broadcast(told, 0, group=self._group)
        return told.tolist()

    def mean(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Each 0-dim tensor's mean over all ranks, which pass the same names."""
        if self.size == 1:
            return values
        total = torch.stack([value.detach().float() for value in values.values()])
        dist.all_reduce(total)
        return dict(zip(values, (total / self.size).unbind(), strict=True))

    def gathered(self, state: Any) -> list[Any]:
        """The `state` of every rank in their order, on rank 0; elsewhere an empty list. Tensors and plain values."""
        if self.size == 1:
            return [state]
        states: list[Any] | None = [None] * self.size if self.leading else None
        dist.gather_object(state, states, dst=0, group=self._group)
        return states or []

    def rows(self, row: Tensor) -> Tensor:
        """(size, len(row)) the rows of all ranks, on the CPU."""
        if self.size == 1:
            return row.cpu().unsqueeze(0)
        rows = [torch.empty_like(row, device="cpu") for _ in range(self.size)]
        dist.all_gather(rows, row.cpu(), group=self._group)
        return torch.stack(rows)

    def check_same(self, model: nn.Module) -> None:
        """Makes sure that all ranks begin with the same weights.

        Raises:
            RanksDiffer: names those that do not.
        """
        gaps = relative_gaps(self.rows(Sketch()(list(model.parameters()))))
        if different := [str(rank) for rank, gap in enumerate(gaps.tolist()) if gap]:
            raise RanksDiffer(
                f"the weights of rank {', '.join(different)} differ from those of rank 0 before the first step; "
                "the model must follow from the spec and its seed alone"
            )


ALONE = Ranks()
"""A training in one process."""


@contextmanager
def joined(rank: int, size: int, *, device: torch.device, store: Path) -> Iterator[Ranks]:
    """Meets the other ranks of this machine through the file `store`; leaves them at the end, if it is a good one.

    CPU tensors travel by gloo, those of CUDA devices by nccl.

    Raises:
        DeviceError: there are fewer CUDA devices than ranks.
    """
    check_devices(device, size)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    meeting = dist.FileStore(str(store), size)  # type: ignore[attr-defined]
    dist.init_process_group(backend, store=meeting, rank=rank, world_size=size, timeout=PATIENCE)
    yield Ranks(rank, size, group=dist.new_group(backend="gloo", timeout=PATIENCE))
    # not after an error: other ranks may be waiting in it, and the process ends anyway
    dist.destroy_process_group()


def check_devices(device: torch.device, size: int) -> None:
    """Makes sure that each rank has a device of its own; a CPU is shared.

    Raises:
        DeviceError: there are too few.
    """
    if device.type == "cuda" and (there := torch.cuda.device_count()) < size:
        raise DeviceError(
            f"distributed.ranks is {size}, but this machine has {there} CUDA device{'' if there == 1 else 's'}; "
            f"use at most {there} ranks, or a worker with --device cpu"
        )


class Sketch:
    """A short linear digest of many tensors whose difference estimates theirs: E‖s(x) − s(y)‖² = ‖x − y‖².

    Each element goes with a fixed random sign into one of `width` float64 sums. Sketches of equal tensors are equal bit
    for bit; those of different ones differ.

    Source: Charikar, Chen and Farach-Colton 2002 (Count Sketch), section 3.
    """

    def __init__(self, width: int = 64) -> None:
        self._width = width
        self._signs: dict[tuple[int, int], Tensor] = {}

    @torch.no_grad()
    def __call__(self, tensors: Sequence[Tensor]) -> Tensor:
        """(width,) float64, on the CPU."""
        sums = [self._of(tensor.detach().flatten(), number) for number, tensor in enumerate(tensors) if tensor.numel()]
        if not sums:
            return torch.zeros(self._width, dtype=torch.float64)
        return torch.stack(sums).sum(0).cpu()

    def _of(self, flat: Tensor, number: int) -> Tensor:
        signed = flat.to(torch.float64) * self._sign(len(flat), number).to(flat.device)
        return nn.functional.pad(signed, (0, -len(flat) % self._width)).view(-1, self._width).sum(0)

    def _sign(self, length: int, number: int) -> Tensor:
        if (number, length) not in self._signs:
            drawn = torch.randint(2, (length,), dtype=torch.int8, generator=torch.Generator().manual_seed(number))
            self._signs[number, length] = 2 * drawn - 1
        return self._signs[number, length]


def relative_gaps(sketches: Tensor) -> Tensor:
    """(R,) each row's ‖sᵣ − s₀‖ / ‖s₀‖ for `sketches` (R, width).

    0 where the rows are equal, be their numbers finite or not; infinite where they differ and that is no number.
    """
    first = sketches[0]
    gaps = (sketches - first).norm(dim=1) / first.norm()
    same = ((sketches == first) | (sketches.isnan() & first.isnan())).all(dim=1)
    return torch.where(same, 0.0, gaps.nan_to_num(nan=torch.inf, posinf=torch.inf))


class Comparison:
    """Whether the ranks are in step: every so many steps, their weights and reduced gradients against rank 0's.

    Attributes:
        metrics: names of what `compared` answers; none where there is one rank.
    """

    def __init__(self, settings: Ddp | None, ranks: Ranks, model: nn.Module) -> None:
        self._ranks, self._parameters = ranks, list(model.parameters())
        self._every = None if settings is None or ranks.size == 1 else settings.digest_every
        self.metrics = () if self._every is None else (PARAMETER_GAP, GRADIENT_GAP)
        self._sketch = Sketch()
        self._gradient: Tensor | None = None

    def note_gradient(self, step: int) -> None:
        """Gradients are final: unscaled, of all micro-batches and ranks, not yet clipped."""
        if self._every is not None and step % self._every == 0:
            gradients = [p.grad if p.grad is not None else p.new_zeros(0) for p in self._parameters]
            self._gradient = self._sketch(gradients)

    def compared(self) -> dict[str, Tensor]:
        """After the update of a step whose gradient was noted: (ranks,) by metric. At other steps nothing."""
        if self._gradient is None:
            return {}
        weights = self._sketch(self._parameters)
        rows = self._ranks.rows(torch.cat([weights, self._gradient]))
        self._gradient = None
        of_weights, of_gradients = rows.tensor_split(2, dim=1)
        return {PARAMETER_GAP: relative_gaps(of_weights), GRADIENT_GAP: relative_gaps(of_gradients)}

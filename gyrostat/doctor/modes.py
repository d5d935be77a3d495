"""The ways to train that are tried."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True)
class Mode:
    """A way to train.

    Attributes:
        autocast: number format of the forward passes; None: the parameters' own.
        micro_batches: how many make a step.
        ranks: processes that share a batch.
        error: relative error that the number formats allow.
    """

    name: str
    autocast: torch.dtype | None = None
    micro_batches: int = 1
    ranks: int = 1
    error: float = 1e-4

    @property
    def scales(self) -> bool:
        """Whether the loss is scaled."""
        return self.autocast == torch.float16

    @contextmanager
    def numbers(self) -> Iterator[None]:
        """What a forward pass is made in."""
        with torch.autocast("cpu", dtype=self.autocast) if self.autocast else nullcontext():
            yield


MODES = {
    mode.name: mode
    for mode in (
        Mode(name="fp32"),
        Mode(name="bf16", autocast=torch.bfloat16, error=0.02),
        Mode(name="fp16", autocast=torch.float16, error=0.01),
        Mode(name="accumulation", micro_batches=2),
        Mode(name="ddp", ranks=2),
    )
}

"""Stages of a step in which no graph is recorded."""

from types import TracebackType

import torch


class Ungraded:
    """A context manager as `torch.no_grad()`, which takes several times as long: after a pass all caches are cold."""

    def __init__(self) -> None:
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(torch.is_grad_enabled())
        torch._C._set_grad_enabled(False)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        torch._C._set_grad_enabled(self._before.pop())

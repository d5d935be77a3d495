"""Several optimizers of different parameters that are one to whoever uses them."""

from collections.abc import Callable, Sequence
from typing import Any

from torch.optim import Optimizer

from gyrostat.probes.second_moment import Divisor, divisors


class Together(Optimizer):
    """Steps each of `parts`; its param groups are theirs, one after the other, and its state is that of all.

    A group's settings may be changed here or in the part: it is the same dict. So is the state.

    Attributes:
        kind: names of the parts, so that a state is not taken for one of other parts.
    """

    def __init__(self, parts: Sequence[Optimizer]) -> None:
        self.parts = tuple(parts)
        super().__init__([group for part in parts for group in part.param_groups], {})
        for part in parts:
            self.state.update(part.state)
        self._share()

    @property
    def kind(self) -> str:
        """Its name with those of its parts."""
        return f"{type(self).__name__}({', '.join(type(part).__name__ for part in self.parts)})"

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step of each part. A closure, which would be evaluated once for each, is refused.

        Raises:
            ValueError: a closure was given.
        """
        if closure is not None:
            raise ValueError("several optimizers cannot share a closure; compute the gradients before step()")
        for part in self.parts:
            part.step()

    def divisors(self) -> list[Divisor]:
        """Those of all parts."""
        return [divisor for part in self.parts for divisor in divisors(part)]

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._share()

    def _share(self) -> None:
        """Gives the parts the groups and the state that are held here, which loading a state replaces."""
        start = 0
        for part in self.parts:
            stop = start + len(part.param_groups)
            part.param_groups = self.param_groups[start:stop]
            part.state = self.state
            if isinstance(part, Together):
                part._share()
            start = stop

"""Norms of the parameters, formed once for all probes that need them between two steps."""

from collections.abc import Callable

from torch import Tensor


class Sizes:
    """What one probe found after a step, for those that ask before the next one."""

    def __init__(self) -> None:
        self._norms: Tensor | None = None
        self._hold: Callable[[], bool] = bool

    def note(self, norms: Tensor, hold: Callable[[], bool]) -> None:
        """`norms`: ‖w‖₂ of all parameters as they are now, (n,); as long as they `hold`, of those with a gradient."""
        self._norms, self._hold = norms, hold

    def known(self) -> Tensor | None:
        """As they were noted, where they hold."""
        return self._norms if self._norms is not None and self._hold() else None

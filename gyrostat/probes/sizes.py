"""Norms of the parameters, formed once for all probes that need them between two steps."""

from collections.abc import Callable, Sequence

from torch import Tensor


class Sizes:
    """What one probe found after a step, for those that ask before the next one.

    Args:
        parameters: all, in the order of `Network.parameters`.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self._parameters = parameters
        self._norms: Tensor | None = None
        self._holds: Callable[[], bool] = bool
        self._versions: list[int] = []

    def note(self, norms: Tensor, holds: Callable[[], bool]) -> None:
        """`norms`: ‖w‖₂ of all parameters as they are now, (n,); not to be changed afterwards.

        `holds` looks at the parameters themselves: what is written through `.data` leaves no trace in versions.
        """
        self._norms, self._holds, self._versions = norms, holds, self._now()

    def known(self) -> Tensor | None:
        """As they were noted, where nothing was written to any parameter since."""
        if self._norms is None or self._versions != self._now() or not self._holds():
            return None
        return self._norms

    def _now(self) -> list[int]:
        return [parameter._version for parameter in self._parameters]

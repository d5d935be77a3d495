"""Norms of the parameters, formed once for all probes that need them between two steps."""

from collections.abc import Sequence

from torch import Tensor


class Sizes:
    """What one probe found after a step, for those that ask before the next one.

    Args:
        parameters: all, in the order of `Network.parameters`.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self._parameters = parameters
        self._norms: Tensor | None = None
        self._versions: list[int] = []

    def note(self, norms: Tensor) -> None:
        """`norms`: ‖w‖₂ of all parameters as they are now, (n,); not to be changed afterwards."""
        self._norms, self._versions = norms, self._now()

    def known(self) -> Tensor | None:
        """As they were noted, where nothing was written to any parameter since."""
        return self._norms if self._norms is not None and self._versions == self._now() else None

    def _now(self) -> list[int]:
        return [parameter._version for parameter in self._parameters]

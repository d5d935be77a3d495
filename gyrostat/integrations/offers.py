"""Numbers that a framework offers, of which some cannot be logged."""

import logging
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from gyrostat.watching import Watch

logger = logging.getLogger(__name__)


class Offers:
    """Logs what it is offered; what cannot be logged is named once, and left out: it is not its user's mistake."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._refused: set[str] = set()

    def log(self, offered: Mapping[str, Any]) -> None:
        """Logs the numbers, and tensors of one element, in `offered`."""
        for name, value in offered.items():
            if name in self._refused or not isinstance(value, int | float | Tensor):
                continue
            try:
                self._watch.log({name: value})
            except ValueError as error:
                self._refused.add(name)
                logger.warning("left out: %s", error)

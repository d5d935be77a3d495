"""Shares of a budget, and what is saved up of them."""

import math
from collections.abc import Mapping
from typing import TypeVar

Key = TypeVar("Key")

_LONGEST_WAIT = 64
"""Steps."""


def fair_shares(needs: Mapping[Key, float], total: float) -> dict[Key, float]:
    """Max-min fair division: in rising order of need, each gets what it needs or an equal share of what is left."""
    shares: dict[Key, float] = {}
    left = max(0.0, total)
    for position, key in enumerate(sorted(needs, key=needs.__getitem__)):
        shares[key] = min(needs[key], left / (len(needs) - position))
        left -= shares[key]
    return shares


class Account:
    """Seconds saved up for one purpose; gains `rate` a step."""

    __slots__ = ("balance", "due_at", "rate", "settled")

    def __init__(self) -> None:
        self.balance, self.rate = 0.0, 0.0
        self.settled, self.due_at = 0, 0

    def settle(self, count: int, most: float) -> float:
        """The balance after step number `count` of the process."""
        self.balance = min(most, self.balance + self.rate * (count - self.settled))
        self.settled = count
        return self.balance

    def wait(self, missing: float) -> int:
        """Steps until so many seconds more may be there, or until a look is worth its while all the same."""
        # a rounding error must not cost a step
        return max(1, math.ceil(min(_LONGEST_WAIT, missing / self.rate) - 1e-6)) if self.rate > 0 else _LONGEST_WAIT

"""What a check says, and what several checks compute."""

import math
from dataclasses import dataclass

SATURATING = ("tanh", "sigmoid")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing wrong with a spec, or one thing to think about.

    Attributes:
        path: dotted, of the field. value: what was got. message: what is wrong. mend: what to do.
    """

    path: str
    value: object
    message: str
    mend: str


def nearest_divisor(number: int, to: int) -> int:
    """The divisor of `number` nearest to `to`, the smaller of two."""
    small = [divisor for divisor in range(1, math.isqrt(number) + 1) if number % divisor == 0]
    return min(
        (divisor for low in small for divisor in (low, number // low)), key=lambda divisor: (abs(divisor - to), divisor)
    )

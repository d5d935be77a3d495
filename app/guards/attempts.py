"""Slows down who tries tokens: some wrong ones at once, then one every few seconds, counted for each address.

The memory is bounded: of the addresses that were not heard of for longest nothing is kept.
"""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

from app.errors import TooMany

AT_ONCE = 10
SECONDS_EACH = 6.0
MAX_ADDRESSES = 10_000


class FailedAttempts:
    """Wrong tokens by address. Called by the event loop's thread alone."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._trusted: OrderedDict[str, None] = OrderedDict()

    def count(self, address: str) -> None:
        """Counts a wrong token.

        Raises:
            TooMany: there were too many before.
        """
        self.check(address)
        key = network(address)
        self._left[key] = (self._allowance(key) - 1.0, self._clock())
        self._left.move_to_end(key)
        if len(self._left) > MAX_ADDRESSES:
            self._left.popitem(last=False)

    def check(self, address: str) -> None:
        """Refuses an address that has tried too many.

        Raises:
            TooMany: it has.
        """
        allowance = self._allowance(network(address))
        if allowance < 1.0:
            raise TooMany(
                "too many wrong tokens came from this address; wait, and send the right one",
                retry_after=(1.0 - allowance) * SECONDS_EACH,
            )

    def trust(self, address: str) -> None:
        """Notes that the right token came from there."""
        key = network(address)
        self._trusted[key] = None
        self._trusted.move_to_end(key)
        if len(self._trusted) > MAX_ADDRESSES:
            self._trusted.popitem(last=False)

    def trusts(self, address: str) -> bool:
        """Whether the right token came from there before, so that no one's wrong ones shut its owner out."""
        return network(address) in self._trusted

    def _allowance(self, key: str) -> float:
        if key not in self._left:
            return float(AT_ONCE)
        left, at = self._left[key]
        return min(float(AT_ONCE), left + (self._clock() - at) / SECONDS_EACH)


def network(address: str) -> str:
    """What one party is likely to hold of addresses: an IPv4 address, 64 bits of an IPv6 one."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))

"""Which hosts the service may send to: those whose every address is public, and those that the operator allows.

A name is resolved here and nowhere else, each time before something is sent, and the connection goes to an address that
was checked: a name whose answer changes between check and connection (DNS rebinding) leads nowhere.
"""

import ipaddress
import re
import socket
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from app.settings import HOST

Address = IPv4Address | IPv6Address
Resolver = Callable[[str, int], Sequence[str]]
"""The addresses of a host, as text; raises `OSError` where there is none."""

# https://www.iana.org/assignments/iana-ipv4-special-registry and -ipv6-special-registry. Spelled out, since what Python
# calls global differs between its releases, and has multicast and addresses that stand for IPv4 ones among it.
_NOT_PUBLIC_4 = tuple(
    (IPv4Network(network), what)
    for network, what in (
        ("0.0.0.0/8", "no address of a host"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "inside a provider's network"),
        ("127.0.0.0/8", "this machine itself"),
        ("168.63.129.16/32", "a cloud's own service"),
        ("169.254.0.0/16", "link-local, where clouds tell machines their secrets"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "for documentation"),
        ("192.88.99.0/24", "reserved"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "for benchmarks of networks"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)
_PUBLIC_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(
    (IPv6Network(network), what)
    for network, what in (
        ("2001::/23", "for protocols (Teredo among them)"),
        ("2001:db8::/32", "for documentation"),
        ("2002::/16", "6to4, which stands for an IPv4 address"),
        ("3fff::/20", "for documentation"),
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")
"""Stands for the IPv4 address in its last 32 bits, and is how a network without IPv4 reaches public hosts."""

_LIKE_A_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")
LOWEST_FREE_PORT = 1024
"""From here on a port belongs to nobody in particular."""


class Refused(Exception):
    """Nothing is sent there, now or later; the text says why."""


class NotAllowed(Refused):
    """Nothing is sent there unless the operator allows it."""


class Unresolved(Exception):
    """The name has no address at the moment; the text says so."""


@dataclass(frozen=True)
class Destination:
    """Where to connect to. `is_allowed`: by the operator, whether or not it is public."""

    host: str
    port: int
    addresses: tuple[str, ...]
    is_allowed: bool


def system_addresses(host: str, port: int) -> Sequence[str]:
    """What the system resolves the name to."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class AddressGuard:
    """Checks hosts.

    Args:
        allow: hosts and networks that are allowed although they are not public.
    """

    def __init__(self, allow: Collection[str] = (), resolve: Resolver = system_addresses) -> None:
        self._networks: list[IPv4Network | IPv6Network] = []
        self._hosts: set[str] = set()
        for entry in allow:
            try:
                self._networks.append(ipaddress.ip_network(entry))
            except ValueError:
                self._hosts.add(entry.lower().rstrip("."))
        self._resolve = resolve

    def check(self, host: str, port: int, usual_ports: Collection[int]) -> Destination:
        """Resolves the host, and checks every address it has.

        Ports below 1024 other than the usual ones are for destinations that the operator allows.

        Raises:
            Refused: it is no host. NotAllowed: it leads to what is not public.
            Unresolved: it leads nowhere at the moment.
        """
        if not 0 < port < 65536:
            raise Refused(f"{port} is no port; use one from 1 to 65535")
        name = host.lower().removesuffix(".")
        literal = _literal(name)
        addresses = [literal] if literal is not None else self._resolved(name, port)
        is_allowed = name in self._hosts
        if not is_allowed:
            private = [each for each in addresses if not any(each in network for network in self._networks)]
            is_allowed = not private
            for each in private:
                if (what := why_not_public(each)) is not None:
                    leads = "is" if literal is not None else f"leads to {each}, which is"
                    raise NotAllowed(f"{name} {leads} {what}")
        if not is_allowed and port < LOWEST_FREE_PORT and port not in usual_ports:
            usual = ", ".join(str(each) for each in sorted(usual_ports))
            raise NotAllowed(f"port {port} belongs to another service; {usual} and those from 1024 on can be used")
        return Destination(name, port, tuple(dict.fromkeys(str(each) for each in addresses)), is_allowed)

    def _resolved(self, name: str, port: int) -> list[Address]:
        try:
            found = self._resolve(name, port)
        except OSError as error:
            raise Unresolved(f"{name} cannot be resolved ({error.strerror or error})") from error
        if not found:
            raise Unresolved(f"{name} has no address")
        addresses = [_parsed(text) for text in found]
        if any(each is None for each in addresses):
            raise Refused(f"{name} leads to an address that is good on one link only")
        return [each for each in addresses if each is not None]


def why_not_public(address: Address) -> str | None:
    """What an address is that not everybody reaches as the same host; None where it is public."""
    if isinstance(address, IPv4Address):
        return next((what for network, what in _NOT_PUBLIC_4 if address in network), None)
    if address in _NAT64:
        inner = why_not_public(IPv4Address(int(address) & 0xFFFFFFFF))
        return None if inner is None else f"an address for one that is {inner}"
    if address not in _PUBLIC_6:
        return "no public IPv6 address"
    return next((what for network, what in _NOT_PUBLIC_6 if address in network), None)


def _literal(name: str) -> Address | None:
    """The address that `name` is; None where it is a name.

    Raises:
        Refused: it is neither, or an address in a form that programs read differently.
    """
    if ":" in name:
        address = _parsed(name)
        if address is None:
            raise Refused(f"{name!r} is no IPv6 address of any network")
        return address
    if _LIKE_A_NUMBER.fullmatch(name.rpartition(".")[2]):
        try:
            return IPv4Address(name)
        except ValueError:
            raise Refused(f"{name!r} is no IPv4 address of four decimal numbers") from None
    if not HOST.fullmatch(name):
        raise Refused(f"{name!r} is no name of a host")
    return None


def _parsed(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return None if isinstance(address, IPv6Address) and address.scope_id else address

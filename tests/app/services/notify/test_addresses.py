"""Where may be sent to: each class of address, each odd way to write one, and names that lead there."""

import socket
from collections.abc import Sequence
from ipaddress import ip_address

import pytest

from app.services.notify.addresses import AddressGuard, Refused, Unresolved, why_not_public

PORTS = (80, 443)
NOT_PUBLIC = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255",
    "192.168.0.1", "192.168.255.255", "169.254.169.254", "169.254.0.1", "100.64.0.1", "100.127.255.255",
    "100.100.100.200", "192.0.0.1", "192.0.0.192", "192.0.2.1", "198.51.100.7", "203.0.113.9", "198.18.0.1",
    "198.19.255.255", "192.88.99.1", "168.63.129.16", "224.0.0.1", "224.0.1.1", "239.255.255.250", "240.0.0.1",
    "255.255.255.255",
    "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "::8.8.8.8", "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2002:808:808::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1", "2001:10::1", "2001:2::1", "3fff::1", "5f00::1", "100::1",
    "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1", "ff0e::1", "4000::1",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.1",
    "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0",
    "223.255.255.255", "2606:4700:4700::1111", "2a00:1450:4001:82a::200e", "2001:4860:4860::8888", "2001:200::1",
    "64:ff9b::808:808",
]  # fmt: skip


def nobody(host: str, port: int) -> Sequence[str]:
    raise AssertionError(f"{host} was asked for")


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_is_not_public_is_refused_as_it_stands_and_behind_a_name(address: str) -> None:
    assert why_not_public(ip_address(address)) is not None
    with pytest.raises(Refused):
        AddressGuard((), nobody).check(address, 443, PORTS)
    with pytest.raises(Refused, match="leads to"):
        AddressGuard((), lambda host, port: [address]).check("innocent.example.org", 443, PORTS)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_taken(address: str) -> None:
    assert why_not_public(ip_address(address)) is None
    found = AddressGuard((), nobody).check(address, 443, PORTS)
    assert (found.addresses, found.is_allowed) == ((str(ip_address(address)),), False)


@pytest.mark.parametrize(
    "written",
    [
        "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001", "127.1", "127.0.1", "0", "1.1.1.1.1",
        "127.0.0.256", "0x08080808", "08.8.8.8", "134744072", "8.8.8.8.", "foo.0x1",
    ],
)  # fmt: skip
def test_odd_ways_to_write_an_ipv4_address_are_refused_whatever_it_is(written: str) -> None:
    guard = AddressGuard((), nobody)
    if written == "8.8.8.8.":
        assert guard.check(written, 443, PORTS).host == "8.8.8.8", "the dot that ends a name is none of it"
        return
    with pytest.raises(Refused, match="IPv4"):
        guard.check(written, 443, PORTS)


@pytest.mark.parametrize(
    "name",
    ["", ".", "a..b", "-a.org", "a b", "a%2eb", "a/b", "a@b", "höst", "a" * 64 + ".org", "[::1]", "a\x00b", "ⓔ.org"],
)
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(Refused):
        AddressGuard((), nobody).check(name, 443, PORTS)


@pytest.mark.parametrize("zoned", ["fe80::1%eth0", "fe80::1%1", "2606:4700::1%eth0"])
def test_an_address_of_one_link_is_refused(zoned: str) -> None:
    with pytest.raises(Refused):
        AddressGuard((), nobody).check(zoned, 443, PORTS)
    with pytest.raises(Refused, match="one link"):
        AddressGuard((), lambda host, port: ["1.1.1.1", zoned]).check("x.example.org", 443, PORTS)


@pytest.mark.parametrize("hidden", ["10.0.0.1", "::1", "64:ff9b::a00:1"])
def test_one_private_address_among_public_ones_is_enough(hidden: str) -> None:
    guard = AddressGuard((), lambda host, port: ["1.1.1.1", "2606:4700:4700::1111", hidden])
    with pytest.raises(Refused, match="leads to"):
        guard.check("x.example.org", 443, PORTS)


def test_a_name_is_asked_for_at_each_check_and_its_answer_is_what_is_given() -> None:
    answers = [["1.1.1.1", "1.1.1.1", "8.8.8.8"], ["127.0.0.1"]]
    guard = AddressGuard((), lambda host, port: answers.pop(0))
    assert guard.check("Rebinding.Example.ORG.", 443, PORTS).addresses == ("1.1.1.1", "8.8.8.8")
    with pytest.raises(Refused, match=r"rebinding\.example\.org leads to 127\.0\.0\.1, which is this machine itself"):
        guard.check("rebinding.example.org", 443, PORTS)


def test_a_name_without_an_address_may_have_one_later() -> None:
    def fails(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(Unresolved, match="Name or service not known"):
        AddressGuard((), fails).check("x.example.org", 443, PORTS)
    with pytest.raises(Unresolved, match="no address"):
        AddressGuard((), lambda host, port: []).check("x.example.org", 443, PORTS)


def test_the_system_s_own_name_of_itself_is_refused() -> None:
    with pytest.raises(Refused, match="localhost leads to"):
        AddressGuard().check("localhost", 443, PORTS)


def test_the_operator_allows_hosts_and_networks_and_nothing_beside_them() -> None:
    guard = AddressGuard(["Hooks.Internal", "10.1.0.0/16", "fd00::/8", "192.168.7.7"], lambda host, port: ["10.0.0.1"])
    assert guard.check("hooks.internal", 25, PORTS).is_allowed
    assert guard.check("10.1.2.3", 6379, PORTS).is_allowed
    assert guard.check("fd12::1", 443, PORTS).is_allowed
    assert guard.check("192.168.7.7", 443, PORTS).is_allowed
    assert not guard.check("8.8.8.8", 443, PORTS).is_allowed
    for other in (
        "evil-hooks.internal",
        "hooks.internal.example.org",
        "10.2.0.1",
        "192.168.7.8",
        "::ffff:10.1.2.3",
        "x",
    ):
        with pytest.raises(Refused):
            guard.check(other, 443, PORTS)


def test_an_allowed_network_allows_no_name_that_also_leads_elsewhere() -> None:
    guard = AddressGuard(["10.1.0.0/16"], lambda host, port: ["10.1.0.1", "10.2.0.1"])
    with pytest.raises(Refused, match=r"10\.2\.0\.1"):
        guard.check("x.example.org", 443, PORTS)
    mixed = AddressGuard(["10.1.0.0/16"], lambda host, port: ["10.1.0.1", "8.8.8.8"])
    assert not mixed.check("x.example.org", 443, PORTS).is_allowed, "a part of it is public, so encryption is needed"


@pytest.mark.parametrize(
    ("port", "taken"), [(443, True), (80, True), (22, False), (25, False), (1023, False), (8443, True)]
)
def test_ports_of_other_services_are_for_allowed_hosts(port: int, taken: bool) -> None:
    guard = AddressGuard((), nobody)
    if taken:
        assert guard.check("8.8.8.8", port, PORTS).port == port
    else:
        with pytest.raises(Refused, match=f"port {port}"):
            guard.check("8.8.8.8", port, PORTS)

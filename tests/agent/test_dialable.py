"""What an agent announces of its node's addresses: nothing that only this host could dial, or that it has lost."""

from __future__ import annotations

import ipaddress

import pytest
from gossipcontrol.agent.dialable import REMEMBERED, DialableAddresses, IpAddress, ip_of, is_on_host


@pytest.mark.parametrize(
    ("address", "ip"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:4433", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]:4433", "2001:db8::1"),
        ("[::ffff:127.0.0.1]:4433", "127.0.0.1"),
        ("quic://127.0.0.1:4433/path", "127.0.0.1"),
        ("/ip4/127.0.0.1/udp/4433/quic-v1", "127.0.0.1"),
        ("/ip6/::1/tcp/1", "::1"),
        ("localhost:4433", "127.0.0.1"),
        ("node.example:4433", None),
        ("/dns4/node.example/tcp/1", None),
        ("relay-7", None),
        ("", None),
    ],
)
def test_the_ip_of_every_notation(address: str, ip: str | None) -> None:
    assert ip_of(address) == (ipaddress.ip_address(ip) if ip else None)


def test_loopback_and_unspecified_addresses_are_never_announced() -> None:
    dialable = DialableAddresses(lambda ip: True)
    assert dialable.of(["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "0.0.0.0:1", "[::]:1", "localhost:1"]) == ()


def test_an_address_that_the_host_has_lost_is_left_out_until_it_is_back() -> None:
    on_host: set[IpAddress] = {ipaddress.ip_address("10.77.0.2")}
    dialable = DialableAddresses(on_host.__contains__)
    node = ["10.77.0.2:5", "198.51.100.7:4433", "relay-7"]
    assert dialable.of(node) == tuple(node), "the router's address and the node's own notation pass"
    on_host.clear()
    assert dialable.of(node) == ("198.51.100.7:4433", "relay-7")
    on_host.add(ipaddress.ip_address("10.77.0.2"))
    assert dialable.of(node) == tuple(node)


def test_a_bounded_number_of_addresses_is_remembered() -> None:
    on_host = {ipaddress.ip_address("10.0.0.1") + number for number in range(REMEMBERED + 1)}
    dialable = DialableAddresses(on_host.__contains__)
    addresses = [f"{ip}:1" for ip in sorted(on_host, key=int)]
    assert dialable.of(addresses) == tuple(addresses)
    on_host.clear()
    assert dialable.of(addresses) == (addresses[0],)


@pytest.mark.not_on_windows("Wine lets any address be bound, which Windows refuses")
def test_the_system_says_what_is_on_the_host() -> None:
    assert is_on_host(ipaddress.ip_address("127.0.0.1"))
    assert not is_on_host(ipaddress.ip_address("192.0.2.1"))

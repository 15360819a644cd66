"""Which addresses of a node its own stream vouches for."""

from __future__ import annotations

import pytest
from gossipcontrol.server.wire.source import GIVEN, vouch

PUBLIC, OTHER, PRIVATE, RELAY = "8.8.4.4:1", "9.9.9.9:1", "192.168.1.5:1", "https://relay.example/"


@pytest.mark.parametrize(
    "peer", ["", "unix:", "unix:/run/x.sock", "ipv4:127.0.0.1:4711", "ipv6:[::1]:4711", "ipv6:%5B::1%5D:4711"]
)
def test_over_a_socket_and_loopback_nothing_can_be_compared(peer: str) -> None:
    assert vouch((PUBLIC, PRIVATE, RELAY), peer) == ((PUBLIC, PRIVATE, RELAY), (), False)


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        ("8.8.4.4:1", "ipv4:8.8.4.4:4711"),
        ("8.8.4.4", "ipv4:8.8.4.4:4711"),
        ("[2a00::5]:1", "ipv6:%5B2a00::5%5D:4711"),
        ("2a00::5", "ipv6:[2a00:0::5]:4711"),
        ("8.8.4.4:1", "ipv6:[::ffff:8.8.4.4]:4711"),
        ("192.168.1.5:1", "ipv4:192.168.1.5:4711"),
    ],
)
def test_a_node_that_comes_from_one_of_its_addresses_has_them_all(address: str, peer: str) -> None:
    assert vouch((OTHER, address), peer) == ((OTHER, address), (), True)


def test_addresses_of_somebody_else_are_doubtful() -> None:
    assert vouch((PUBLIC, OTHER), "ipv4:8.8.8.8:1") == ((PUBLIC, OTHER), (PUBLIC, OTHER), False)
    assert vouch((PUBLIC, PRIVATE), "ipv4:192.168.1.6:1").doubtful == (PUBLIC, PRIVATE)


def test_relays_and_what_stands_behind_a_router_pass() -> None:
    assert vouch((RELAY, "node.example:1"), "ipv4:8.8.8.8:1").doubtful == ()
    assert vouch((PRIVATE, PUBLIC, RELAY), "ipv4:8.8.8.8:1").doubtful == (PUBLIC,), "its router's peers reach it there"


def test_few_are_given_and_a_relay_is_among_them() -> None:
    many = [f"8.8.4.{number}:1" for number in range(9)]
    assert vouch(many, "").addresses == tuple(many[:GIVEN])
    assert vouch([*many, RELAY], "").addresses == (*many[: GIVEN - 1], RELAY)
    assert vouch([RELAY, *many], "").addresses == (RELAY, *many[: GIVEN - 1])
    assert vouch((), "ipv4:8.8.8.8:1") == ((), (), False)

"""Which addresses of peers are looked up."""

from __future__ import annotations

import pytest
from gossipcontrol.watch.source import MOST_PEERS, peer_addresses


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("10.0.0.7:4433", "10.0.0.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]:4433", "2001:db8::7"),
        ("[::ffff:10.0.0.7]:4433", "10.0.0.7"),
    ],
)
def test_a_peer_is_looked_up_without_its_port(peer: str, address: str) -> None:
    assert peer_addresses(lambda: [peer, peer]) == (address,)


@pytest.mark.parametrize("peer", ["127.0.0.1:1", "[::1]:1", "0.0.0.0:1", "224.0.0.251", "fe80::1", "a name:1", "", "["])
def test_what_is_no_peer_elsewhere_is_left_out(peer: str) -> None:
    assert peer_addresses(lambda: [peer]) == ()


def test_only_the_first_few_are_looked_up() -> None:
    many = [f"10.0.0.{number}:1" for number in range(1, 100)]
    assert peer_addresses(lambda: many) == tuple(f"10.0.0.{number}" for number in range(1, MOST_PEERS + 1))

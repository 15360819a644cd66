"""Where a node can be dialled, as the kernel says, with the port that its endpoint is bound to."""

from __future__ import annotations

import ipaddress

from gossipcontrol.iroh.host_addresses import bound_ports, source_addresses, with_ports


def test_the_port_is_that_of_an_address_of_this_host_and_not_a_routers() -> None:
    assert bound_ports(["192.0.2.7:4433", "127.0.0.1:5"]) == {4: 5}
    assert bound_ports(["192.0.2.7:4433", "relay", "127.0.0.1"]) == {}


def test_every_source_of_a_known_port_is_an_address() -> None:
    sources = [ipaddress.ip_address(one) for one in ("10.0.0.1", "2001:db8::1")]
    assert with_ports(sources, {4: 5, 6: 7}) == ["10.0.0.1:5", "[2001:db8::1]:7"]
    assert with_ports(sources, {4: 5}) == ["10.0.0.1:5"]


def test_the_way_to_peers_is_asked_too_and_loopback_is_no_source() -> None:
    towards_peers = source_addresses(["127.0.0.1:5", "relay", "192.0.2.9:1"])
    assert set(source_addresses()) <= set(towards_peers)
    assert not any(ip.is_loopback for ip in towards_peers)

"""Routing messages of macOS and the BSDs, built from the layouts, and broken in every way."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from gossipcontrol.watch.change import DEFAULT_V4, DEFAULT_V6, Neighbor, Route
from gossipcontrol.watch.fingerprint import take_fingerprint
from gossipcontrol.watch.route_layout import (
    IFF_UP,
    LAYOUTS,
    MACOS,
    OPENBSD,
    RTF_HOST,
    RTF_LLINFO,
    RTF_REJECT,
    RTF_UP,
    RTM_ADD,
    RTM_CHANGE,
    RTM_DELETE,
    Layout,
)
from gossipcontrol.watch.route_message import Heard, MalformedError, hear, records
from gossipcontrol.watch.route_table import take_snapshot
from gossipcontrol.watch.scope import Filter
from hypothesis import given
from hypothesis import strategies as st

from tests.watch.route_builder import (
    address_message,
    laptop,
    link_message,
    neighbor_message,
    route_message,
)

every_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=[one.system for one in LAYOUTS])
FILTER = Filter.default()


@every_layout
def test_a_laptop_is_seen_as_it_is(layout: Layout) -> None:
    kernel = laptop(layout)
    kernel.hardware = [(4, "192.168.1.1", "02:00:00:00:00:01"), (4, "192.168.1.9", "02:00:00:00:00:09")]
    snapshot = take_snapshot(kernel, layout, {4: 3}, ("192.168.1.7", "198.51.100.7"))
    assert [(one.name, one.carrier, one.loopback, one.losses) for one in snapshot.links] == [
        ("lo0", True, True, 0),
        ("en0", True, False, 3),
        ("utun0", True, False, 0),
    ]
    assert [(one.address, one.prefix, one.usable) for one in snapshot.addresses] == [
        ("127.0.0.1", 8, False),
        ("192.168.1.20", 24, True),
        ("fe80::1c", 64, False),
        ("2001:db8:1::20", 64, True),
    ]
    assert snapshot.routes == (
        Route(DEFAULT_V4, 4, "192.168.1.1", "192.168.1.20"),
        Route(DEFAULT_V6, 4, "fe80::1", "2001:db8:1::20"),
        Route("192.168.1.7", 4, "", "192.168.1.20"),
        Route("198.51.100.7", 4, "192.168.1.1", "192.168.1.20"),
    )
    assert snapshot.neighbors == (Neighbor(4, "192.168.1.1", "02:00:00:00:00:01"),)
    seen = take_fingerprint(snapshot, FILTER)
    assert seen.describe() == "en0 via 192.168.1.1, en0 via fe80::1; 192.168.1.20, 2001:db8:1::/64"
    assert seen.routers == {("en0", "192.168.1.1"): "02:00:00:00:00:01"}


@every_layout
def test_a_link_without_a_carrier_carries_nothing(layout: Layout) -> None:
    kernel = laptop(layout)
    kernel.interfaces[4] = ("en0", IFF_UP)
    seen = take_fingerprint(take_snapshot(kernel, layout, {}, ()), FILTER)
    assert not seen.reachable


def test_the_second_way_of_macos_counts_below_a_vpn() -> None:
    """A route that is scoped to its interface is the way of Wi-Fi beside Ethernet, or below a VPN."""
    kernel = laptop(MACOS)
    scoped = kernel.route(4, "0.0.0.0/0", "192.168.1.1", flags=RTF_UP | MACOS.scoped)
    kernel.table = [kernel.route(9, "0.0.0.0/0"), scoped, kernel.route(4, "192.168.1.0/24")]
    kernel.addresses.append((9, "10.8.0.2", 32))
    snapshot = take_snapshot(kernel, MACOS, {}, ())
    assert snapshot.routes == (
        Route(DEFAULT_V4, 9, "", "10.8.0.2"),
        Route(DEFAULT_V4, 4, "192.168.1.1", "192.168.1.20", used=False),
    )
    assert take_fingerprint(snapshot, FILTER).describe().startswith("en0 via 192.168.1.1; 192.168.1.20")


@every_layout
def test_halves_and_the_longest_prefix_win(layout: Layout) -> None:
    kernel = laptop(layout)
    kernel.table += [kernel.route(4, "192.0.0.0/3", "192.168.1.254"), kernel.route(4, "198.51.100.7", "192.168.1.253")]
    routes = take_snapshot(kernel, layout, {}, ("198.51.100.7", "198.51.100.8")).routes
    assert {one.destination: one.gateway for one in routes if one.used} == {
        DEFAULT_V4: "192.168.1.254",
        DEFAULT_V6: "fe80::1",
        "198.51.100.7": "192.168.1.253",
        "198.51.100.8": "192.168.1.254",
    }


@every_layout
def test_a_route_that_rejects_is_no_way(layout: Layout) -> None:
    kernel = laptop(layout)
    kernel.table = [kernel.route(4, "0.0.0.0/0", "192.168.1.1", flags=RTF_UP | RTF_REJECT)]
    assert take_snapshot(kernel, layout, {}, ("198.51.100.7",)).routes == ()


def test_the_lowest_priority_wins_on_openbsd_and_equal_ones_share() -> None:
    kernel = laptop(OPENBSD)
    kernel.interfaces[5] = ("em0", kernel.interfaces[4][1])
    kernel.addresses.append((5, "10.0.0.2", 24))
    kind = OPENBSD.listed_route
    kernel.table = [
        route_message(OPENBSD, kind, 4, "0.0.0.0/0", "192.168.1.1", priority=12),
        route_message(OPENBSD, kind, 5, "0.0.0.0/0", "10.0.0.1", priority=8),
    ]
    used = [one.index for one in take_snapshot(kernel, OPENBSD, {}, ()).routes if one.used]
    assert used == [5]
    kernel.table[0] = route_message(OPENBSD, kind, 4, "0.0.0.0/0", "192.168.1.1", priority=8)
    used = [one.index for one in take_snapshot(kernel, OPENBSD, {}, ()).routes if one.used]
    assert used == [4, 5]


@every_layout
def test_a_privacy_address_changes_nothing(layout: Layout) -> None:
    kernel = laptop(layout)
    kernel.addresses.append((4, "fd00::20", 64))
    before = take_fingerprint(take_snapshot(kernel, layout, {}, ()), FILTER)
    kernel.addresses = [one for one in kernel.addresses if not one[1].startswith("2001")]
    kernel.addresses += [(4, "2001:db8:1::abcd", 64)]
    after = take_fingerprint(take_snapshot(kernel, layout, {}, ()), FILTER)
    assert after.changes_since(before) == ()
    assert before.ways[DEFAULT_V6] == {("en0", "fe80::1", "2001:db8:1::/64")}


def _route(
    kind: int, network: str, gateway: str = "192.168.1.1", index: int = 4, flags: int = RTF_UP
) -> Callable[[Layout], bytes]:
    return lambda layout: route_message(layout, kind, index, network, gateway, flags=flags)


HEARD: dict[str, tuple[Callable[[Layout], bytes], Heard]] = {
    "a default route comes": (_route(RTM_ADD, "0.0.0.0/0"), Heard(True)),
    "a default route changes": (_route(RTM_CHANGE, "0.0.0.0/0"), Heard(True)),
    "a default route goes": (_route(RTM_DELETE, "0.0.0.0/0"), Heard(True, (4,))),
    "a default route of IPv6 goes": (_route(RTM_DELETE, "::/0", "fe80::1"), Heard(True, (4,))),
    "a route to a host goes": (_route(RTM_DELETE, "198.51.100.7"), Heard(True)),
    "half of a default route goes": (_route(RTM_DELETE, "0.0.0.0/1"), Heard(True)),
    "a neighbor is resolved": (_route(RTM_ADD, "192.168.1.9", "", 4, RTF_UP | RTF_HOST | RTF_LLINFO), Heard()),
    "a neighbor is forgotten": (_route(RTM_DELETE, "192.168.1.9", "", 4, RTF_UP | RTF_HOST | RTF_LLINFO), Heard()),
    "a route of the link": (_route(RTM_ADD, "fe80::/64", ""), Heard()),
    "a multicast route": (_route(RTM_ADD, "224.0.0.0/4", ""), Heard()),
    "an address comes": (lambda layout: address_message(layout, 4, "10.0.0.9", 24), Heard(True)),
    "an address goes": (lambda layout: address_message(layout, 4, "10.0.0.9", 24, lost=True), Heard(True, (4,))),
    "a privacy address goes": (lambda layout: address_message(layout, 4, "2001:db8::9", 64, lost=True), Heard(True)),
    "a link-local address": (lambda layout: address_message(layout, 4, "fe80::9", 64), Heard()),
    "an address of a tunnel": (lambda layout: address_message(layout, 9, "10.8.0.2", 32, lost=True), Heard()),
    "a link is up": (lambda layout: link_message(layout, 4), Heard(True)),
    "a link is down": (lambda layout: link_message(layout, 4, flags=IFF_UP), Heard(True, (4,))),
    "a tunnel is up": (lambda layout: link_message(layout, 9), Heard()),
    "a lookup failed": (lambda layout: route_message(layout, 7, 4, "198.51.100.7"), Heard()),
    "another asks": (lambda layout: neighbor_message(layout, 4, "192.168.1.1", "02:00:00:00:00:01"), Heard()),
}


@every_layout
@pytest.mark.parametrize("what", HEARD)
def test_what_wakes_and_what_is_a_loss(layout: Layout, what: str) -> None:
    """tailscale/tailscale#19324: macOS 26.4 tells of every failed lookup; only the types that are listed may wake."""
    built, expected = HEARD[what]
    assert hear(built(layout), layout, frozenset({9})) == expected
    assert hear(built(layout) * 3, layout, frozenset({9})) == Heard(expected.woken, expected.lost * 3)


def test_a_buffer_that_ran_over_wakes() -> None:
    desync = bytes([8, 0, 5, 0x10, 8, 0, 0, 0])
    assert hear(desync, OPENBSD, frozenset()) == Heard(True)
    assert hear(desync, MACOS, frozenset()) == Heard()


@every_layout
def test_another_version_is_passed_over(layout: Layout) -> None:
    foreign = bytearray(route_message(layout, RTM_DELETE, 4, "0.0.0.0/0", "192.168.1.1"))
    foreign[2] += 1
    assert hear(bytes(foreign), layout, frozenset()) == Heard()
    assert hear(bytes(foreign) + link_message(layout, 4), layout, frozenset()) == Heard(True)


@every_layout
@given(data=st.binary(max_size=600))
def test_any_bytes_are_read_or_refused(layout: Layout, data: bytes) -> None:
    try:
        heard = hear(data, layout, frozenset())
    except MalformedError:
        return
    assert isinstance(heard.woken, bool)


@every_layout
@given(data=st.data())
def test_messages_that_are_cut_or_have_wrong_bytes(layout: Layout, data: st.DataObject) -> None:
    kernel = laptop(layout)
    kernel.hardware = [(4, "192.168.1.1", "02:00:00:00:00:01")]
    lists = [bytearray(kernel.links()), bytearray(kernel.routes()), bytearray(kernel.neighbors())]
    chosen = data.draw(st.sampled_from(lists))
    for _ in range(data.draw(st.integers(1, 4))):
        chosen[data.draw(st.integers(0, len(chosen) - 1))] = data.draw(st.integers(0, 255))
    del chosen[data.draw(st.integers(0, len(chosen))) :]
    links, routes, neighbors = (bytes(one) for one in lists)
    kernel.links = lambda: links  # type: ignore[method-assign]
    kernel.routes = lambda: routes  # type: ignore[method-assign]
    kernel.neighbors = lambda: neighbors  # type: ignore[method-assign]
    try:
        snapshot = take_snapshot(kernel, layout, {}, ("198.51.100.7",))
    except MalformedError:
        return
    take_fingerprint(snapshot, FILTER)


@every_layout
def test_every_message_is_read_whole(layout: Layout) -> None:
    kernel = laptop(layout)
    assert len(list(records(kernel.links(), layout))) == 7
    with pytest.raises(MalformedError):
        list(records(kernel.links()[:-1], layout))

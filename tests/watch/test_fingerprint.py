from __future__ import annotations

from dataclasses import replace

import pytest
from gossipcontrol.watch.change import Address, Link, Route, Snapshot
from gossipcontrol.watch.fingerprint import Filter, Fingerprint, take_fingerprint
from hypothesis import given
from hypothesis import strategies as st

V4, V6 = 2, 10
HOME = Snapshot(
    (Link(1, "lo", True), Link(2, "eth0", True)),
    (Address(1, "127.0.0.1", 8, False), Address(2, "10.0.0.2", 24, True)),
    (Route(2, V4, "10.0.0.1"),),
)
DEFAULT = Filter.default()


def taken(snapshot: Snapshot, chosen: Filter = DEFAULT) -> Fingerprint:
    return take_fingerprint(snapshot, chosen)


def adding(
    *, links: tuple[Link, ...] = (), addresses: tuple[Address, ...] = (), routes: tuple[Route, ...] = ()
) -> Snapshot:
    return Snapshot(HOME.links + links, HOME.addresses + addresses, HOME.routes + routes)


def with_link(name: str, address: str, *gateways: str) -> Snapshot:
    return adding(
        links=(Link(9, name, True, losses=5),),
        addresses=(Address(9, address, 24, True),),
        routes=tuple(Route(9, V4, gateway) for gateway in gateways),
    )


IPV6 = adding(addresses=(Address(2, "2001:db8:0:1::2", 64, True),))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (HOME, adding(links=(Link(9, "docker0", True), Link(10, "veth12ab", True)))),
        (HOME, with_link("tun0", "10.8.0.2", "10.8.0.1")),
        (HOME, with_link("wg0", "10.9.0.2", "")),
        (HOME, with_link("eth1", "192.168.5.2")),
        (HOME, adding(links=(Link(9, "eth1", False, losses=7),))),
        (HOME, adding(addresses=(Address(2, "fe80::1", 64, False),))),
        (IPV6, replace(IPV6, addresses=(*IPV6.addresses, Address(2, "2001:db8:0:1:abcd::9", 64, True)))),
        (HOME, adding(addresses=(Address(2, "10.0.0.3", 24, False),))),
    ],
    ids=("containers", "VPN", "WireGuard", "no route", "never had a carrier", "link-local", "privacy", "tentative"),
)  # fmt: skip
def test_what_does_not_matter(before: Snapshot, after: Snapshot) -> None:
    assert taken(before) == taken(after)


@pytest.mark.parametrize(
    "after",
    [
        replace(HOME, links=(Link(2, "eth0", False),)),
        replace(HOME, links=(Link(2, "eth0", True, losses=1),)),
        replace(HOME, routes=()),
        replace(HOME, routes=(Route(2, V4, "10.0.0.254"),)),
        replace(HOME, addresses=(Address(2, "10.0.0.3", 24, True),)),
        replace(HOME, addresses=()),
        IPV6,
    ],
    ids=("carrier", "flap", "route", "gateway", "address", "no address", "IPv6"),
)
def test_what_matters(after: Snapshot) -> None:
    assert taken(HOME) != taken(after)


def test_another_prefix_of_ipv6_matters() -> None:
    moved = adding(addresses=(Address(2, "2001:db8:0:2::2", 64, True),))
    assert taken(IPV6) != taken(moved)


@pytest.mark.parametrize("snapshot", [replace(HOME, links=()), replace(HOME, addresses=()), replace(HOME, routes=())])
def test_a_default_route_needs_link_address_and_route(snapshot: Snapshot) -> None:
    assert taken(HOME).has_default_route
    assert not taken(snapshot).has_default_route
    assert taken(snapshot) == Fingerprint()


def test_include_wins_over_the_default_list_and_ignore_adds_to_it() -> None:
    chosen = Filter.default(include=("tun0",), ignore=("eth*",))
    assert [name for name in ("tun0", "tun1", "eth0", "wlan0", "lo") if chosen.counts(name)] == ["tun0", "wlan0"]


@pytest.mark.parametrize(
    "name", ["lo", "docker0", "veth1", "br-0a1b", "cni0", "flannel.1", "cali12", "tun0", "tap0", "wg0", "zt7"]
)  # fmt: skip
def test_ignored_by_default(name: str) -> None:
    assert not DEFAULT.counts(name)


@pytest.mark.parametrize("name", ["eth0", "enp3s0", "wlan0", "wlp2s0", "wwan0", "br0", "bond0", "usb0"])
def test_watched_by_default(name: str) -> None:
    assert DEFAULT.counts(name)


def test_a_flap_is_told_from_the_count_of_losses_only_of_links_that_were_a_default_route_both_times() -> None:
    flapped = replace(HOME, links=(Link(2, "eth0", True, losses=1),))
    second = with_link("wlan0", "10.1.0.2", "")
    assert taken(flapped).flapped_since(taken(HOME))
    assert not taken(HOME).flapped_since(taken(HOME))
    assert not taken(second).flapped_since(taken(HOME))
    assert not taken(HOME).flapped_since(Fingerprint())


def test_it_is_told_in_words() -> None:
    assert taken(HOME).describe() == "eth0 via 10.0.0.1; 10.0.0.2"
    assert Fingerprint().describe() == "no default route"


links = st.builds(
    Link, st.integers(1, 6), st.sampled_from(("lo", "eth0", "wlan0", "tun0", "veth1")), st.booleans(), st.integers(0, 3)
)
addresses = st.builds(Address, st.integers(1, 6), st.ip_addresses().map(str), st.sampled_from((24, 64)), st.booleans())
routes = st.builds(Route, st.integers(1, 6), st.sampled_from((V4, V6)), st.sampled_from(("", "10.0.0.1", "fe80::1")))
snapshots = st.builds(Snapshot, *(st.lists(kind, max_size=6).map(tuple) for kind in (links, addresses, routes)))


@given(snapshots)
def test_the_order_of_the_kernel_never_matters(snapshot: Snapshot) -> None:
    shuffled = replace(snapshot, addresses=snapshot.addresses[::-1], routes=snapshot.routes[::-1])
    assert taken(snapshot) == taken(shuffled)


@given(snapshots, snapshots)
def test_ignored_interfaces_never_matter(snapshot: Snapshot, other: Snapshot) -> None:
    ignored = tuple(replace(link, index=link.index + 100, name="veth9") for link in other.links)
    more = Snapshot(
        snapshot.links + ignored,
        snapshot.addresses + tuple(replace(one, index=one.index + 100) for one in other.addresses),
        snapshot.routes + tuple(replace(one, index=one.index + 100) for one in other.routes),
    )
    assert taken(snapshot) == taken(more)


@given(snapshots)
def test_addresses_are_always_those_of_the_default_routes(snapshot: Snapshot) -> None:
    fingerprint = taken(snapshot)
    assert {name for name, _ in fingerprint.routes} == {name for name, _ in fingerprint.addresses}

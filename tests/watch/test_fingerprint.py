from __future__ import annotations

from dataclasses import replace

import pytest
from gossipcontrol.watch.change import DEFAULT_V4, DEFAULT_V6, Address, Link, Route, Snapshot
from gossipcontrol.watch.fingerprint import Fingerprint, take_fingerprint
from gossipcontrol.watch.scope import Filter
from hypothesis import given
from hypothesis import strategies as st

LO, ETH0 = Link(1, "lo", True, loopback=True), Link(2, "eth0", True)
LO_ADDRESS, OWN = Address(1, "127.0.0.1", 8, False), Address(2, "10.0.0.2", 24, True)
WAY = Route(DEFAULT_V4, 2, "10.0.0.1", "10.0.0.2")
HOME = Snapshot((LO, ETH0), (LO_ADDRESS, OWN), (WAY,))
LAN = replace(HOME, routes=())
DEFAULT = Filter.default()
UNDER_VPN = replace(WAY, used=False)


def taken(snapshot: Snapshot, chosen: Filter = DEFAULT) -> Fingerprint:
    return take_fingerprint(snapshot, chosen)


def adding(
    *, links: tuple[Link, ...] = (), addresses: tuple[Address, ...] = (), routes: tuple[Route, ...] = ()
) -> Snapshot:
    return Snapshot(HOME.links + links, HOME.addresses + addresses, HOME.routes + routes)


def vpn(name: str, *under: Route) -> Snapshot:
    """A tunnel that takes the default route; ``under`` it are the routes of other interfaces."""
    way = Route(DEFAULT_V4, 9, "", "10.8.0.2")
    return Snapshot(
        (*HOME.links, Link(9, name, True, losses=5)),
        (*HOME.addresses, Address(9, "10.8.0.2", 24, True)),
        (way, *under),
    )


def sole(name: str, master: int = 0) -> Snapshot:
    """A host with one interface of this name."""
    return replace(HOME, links=(LO, replace(ETH0, name=name, master=master)))


IPV6 = adding(
    addresses=(Address(2, "2001:db8:0:1::2", 64, True),),
    routes=(Route(DEFAULT_V6, 2, "fe80::1", "2001:db8:0:1::2"),),
)
PRIVACY = Address(2, "2001:db8:0:1:abcd::9", 64, True)
DEPRECATED = replace(
    IPV6, addresses=(LO_ADDRESS, OWN, Address(2, "2001:db8:0:1::2", 64, True, preferred=False))
)  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (HOME, adding(links=(Link(9, "docker0", True), Link(10, "veth12ab", True)))),
        (HOME, adding(links=(Link(9, "docker0", True),), addresses=(Address(9, "172.17.0.1", 16, True),))),
        (HOME, vpn("tun0", UNDER_VPN)),
        (HOME, vpn("wg0", UNDER_VPN)),
        (HOME, adding(links=(Link(9, "eth1", True),))),
        (HOME, adding(links=(Link(9, "eth1", False, losses=7),), addresses=(Address(9, "10.1.0.2", 24, True),))),
        (HOME, adding(addresses=(Address(2, "fe80::1", 64, False),))),
        (IPV6, replace(IPV6, addresses=(*IPV6.addresses, PRIVACY))),
        (IPV6, replace(IPV6, routes=(WAY, Route(DEFAULT_V6, 2, "fe80::1", PRIVACY.address)))),
        (IPV6, replace(DEPRECATED, addresses=(*DEPRECATED.addresses, PRIVACY))),
        (IPV6, DEPRECATED),
        (HOME, adding(addresses=(Address(2, "10.0.0.3", 24, False),))),
        (HOME, adding(routes=(Route(DEFAULT_V6, 2, "fe80::1", "fe80::2"),))),
    ],
    ids=(
        "containers", "a container network with an address", "VPN", "WireGuard", "no address", "never had a carrier",
        "link-local", "privacy", "privacy as the source", "the older address deprecated", "the only one deprecated",
        "tentative", "IPv6 that packets cannot leave by",
    ),
)  # fmt: skip
def test_what_does_not_matter(before: Snapshot, after: Snapshot) -> None:
    assert taken(after).changes_since(taken(before)) == ()


PEER = replace(HOME, peers=("10.0.0.7",), routes=(WAY, Route("10.0.0.7", 2, "", "10.0.0.2")))


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        (HOME, replace(HOME, links=(LO, replace(ETH0, carrier=False))), ("default v4", "addresses")),
        (HOME, replace(HOME, links=(LO, replace(ETH0, losses=1))), ("carrier",)),
        (HOME, LAN, ("default v4",)),
        (HOME, replace(HOME, routes=(replace(WAY, gateway="10.0.0.254"),)), ("default v4",)),
        (HOME, replace(HOME, routes=(replace(WAY, source="10.9.0.9"),)), ("default v4",)),
        (HOME, adding(routes=(replace(WAY, gateway="10.0.0.3"),)), ("default v4",)),
        (HOME, replace(HOME, addresses=(LO_ADDRESS, Address(2, "10.0.0.3", 24, True))), ("addresses",)),
        (HOME, IPV6, ("default v6", "addresses")),
        (LAN, adding(addresses=(Address(2, "192.168.5.2", 24, True),)), ("default v4", "addresses")),
        (IPV6, replace(IPV6, addresses=(*IPV6.addresses, Address(2, "2001:db8:0:2::2", 64, True))), ("addresses",)),
        (HOME, vpn("tun0"), ("default v4", "addresses")),
        (HOME, vpn("corp0", UNDER_VPN), ("default v4", "addresses")),
        (PEER, replace(PEER, routes=(WAY, Route("10.0.0.7", 2, "10.0.0.1", "10.0.0.2"))), ("peer 10.0.0.7",)),
        (PEER, replace(PEER, routes=(WAY,)), ("peer 10.0.0.7",)),
    ],
    ids=(
        "carrier", "flap", "the router is gone", "gateway", "source", "a second hop", "address", "IPv6",
        "a router in the LAN", "another prefix", "a VPN that replaces the route", "a VPN of an unknown name",
        "the way to a peer", "a peer that is cut off",
    ),
)  # fmt: skip
def test_what_matters_and_what_it_is_called(before: Snapshot, after: Snapshot, changes: tuple[str, ...]) -> None:
    assert taken(after).changes_since(taken(before)) == changes


def test_that_a_peer_becomes_known_or_goes_behind_a_vpn_is_no_change() -> None:
    hidden = replace(vpn("tun0", UNDER_VPN), peers=PEER.peers)
    hidden = replace(hidden, routes=(*hidden.routes, Route("10.0.0.7", 9, "", "10.8.0.2")))
    assert taken(PEER).changes_since(taken(HOME)) == ()
    assert taken(hidden).changes_since(taken(PEER)) == ()
    assert taken(PEER).identity == taken(HOME).identity


UNNUMBERED = Snapshot(
    (LO, ETH0), (LO_ADDRESS, Address(1, "10.255.0.7", 32, True)), (Route(DEFAULT_V4, 2, "fe80::1", "10.255.0.7"),)
)
BRIDGE = Snapshot(
    (LO, replace(ETH0, master=5), Link(5, "br-lan", True, kind="bridge")), (Address(5, "10.0.0.2", 24, True),)
)


@pytest.mark.parametrize(
    "snapshot",
    [
        HOME,
        LAN,
        replace(LAN, addresses=(Address(2, "169.254.7.7", 16, True),)),
        replace(DEPRECATED, routes=(), addresses=DEPRECATED.addresses[2:]),
        UNNUMBERED,
        replace(UNNUMBERED, routes=()),
        vpn("tun0"),
        *(sole(name) for name in ("tap0", "br-lan", "wg0", "ppp0", "veth0", "tun0", "docker0")),
        *(replace(sole(name), routes=()) for name in ("tap0", "ppp0")),
        BRIDGE,
        adding(links=(Link(9, "ppp0", True),), routes=(Route(DEFAULT_V6, 9, "", "2001:db8::1"),)),
        Snapshot((LO, replace(ETH0, carrier=False), Link(9, "ppp0", True)), (Address(9, "100.64.0.2", 32, True),),
                 (Route(DEFAULT_V4, 9, "", "100.64.0.2"),)),
    ],
)  # fmt: skip
def test_peers_may_be_reached(snapshot: Snapshot) -> None:
    assert taken(snapshot).reachable


@pytest.mark.parametrize(
    "snapshot",
    [
        Snapshot(),
        replace(HOME, links=(LO,)),
        replace(HOME, links=(LO, replace(ETH0, carrier=False))),
        replace(LAN, addresses=(LO_ADDRESS,)),
        replace(LAN, addresses=(replace(OWN, usable=False),)),
        Snapshot((LO, replace(ETH0, carrier=False), Link(9, "docker0", True)), (Address(9, "172.17.0.1", 16, True),)),
    ],
    ids=("nothing", "no link", "no carrier", "no address", "no usable address", "containers only"),
)
def test_no_peer_can_be_reached(snapshot: Snapshot) -> None:
    fingerprint = taken(snapshot)
    assert not fingerprint.reachable
    assert fingerprint.describe() == "no network"


def test_a_cable_of_a_bridge_that_was_lost_is_seen_but_not_a_guest_or_a_port_of_a_bond() -> None:
    def flapped(port: str, kind: str) -> tuple[str, ...]:
        master = Link(5, "br0", True, kind=kind)
        before = Snapshot((master, Link(7, port, True, master=5)), (Address(5, "10.0.0.2", 24, True),))
        after = replace(before, links=(master, Link(7, port, True, losses=1, master=5)))
        return taken(after).changes_since(taken(before))

    assert flapped("eth0", "bridge") == ("carrier",)
    assert flapped("vnet3", "bridge") == ()
    assert flapped("eth0", "bond") == ()


def test_it_is_told_in_words() -> None:
    assert taken(HOME).describe() == "eth0 via 10.0.0.1; 10.0.0.2"
    assert taken(LAN).describe() == "no default route; 10.0.0.2"
    assert taken(UNNUMBERED).describe() == "eth0 via fe80::1; 10.255.0.7"


names = ("lo", "eth0", "wlan0", "tun0", "veth1")
links = st.builds(Link, st.integers(1, 6), st.sampled_from(names), st.booleans(), st.integers(0, 3))
addresses = st.builds(
    Address, st.integers(1, 6), st.ip_addresses().map(str), st.sampled_from((24, 64)), st.booleans(), st.booleans()
)
routes = st.builds(
    Route,
    st.sampled_from((DEFAULT_V4, DEFAULT_V6)),
    st.integers(1, 6),
    st.sampled_from(("", "10.0.0.1", "fe80::1")),
    st.sampled_from(("", "10.0.0.2", "2001:db8::2")),
    st.booleans(),
)
snapshots = st.builds(Snapshot, *(st.lists(kind, max_size=6).map(tuple) for kind in (links, addresses, routes)))


@given(snapshots)
def test_the_order_of_the_kernel_never_matters(snapshot: Snapshot) -> None:
    shuffled = replace(snapshot, addresses=snapshot.addresses[::-1], routes=snapshot.routes[::-1])
    assert taken(snapshot) == taken(shuffled)


@given(snapshots, snapshots)
def test_ignored_interfaces_beside_others_never_matter(snapshot: Snapshot, other: Snapshot) -> None:
    """Unless a default route leads through them; and loopback addresses stand in for missing ones."""
    snapshot = replace(snapshot, links=(*snapshot.links, Link(50, "eth9", True)))
    snapshot = replace(snapshot, addresses=(*snapshot.addresses, Address(50, "10.50.0.1", 24, True)))
    ignored = tuple(replace(link, index=link.index + 100, name="veth9") for link in other.links)
    more = replace(
        snapshot,
        links=snapshot.links + ignored,
        addresses=snapshot.addresses + tuple(replace(one, index=one.index + 100) for one in other.addresses),
    )
    assert taken(snapshot) == taken(more)


@given(snapshots)
def test_who_has_a_default_route_can_always_be_reached(snapshot: Snapshot) -> None:
    fingerprint = taken(snapshot)
    assert fingerprint.reachable or not fingerprint.defaults
    assert fingerprint.changes_since(fingerprint) == ()

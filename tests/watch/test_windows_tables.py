"""What the tables of Windows say, read from bytes that are laid out as there."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from gossipcontrol.watch import windows_layout as layout
from gossipcontrol.watch.change import DEFAULT_V4, DEFAULT_V6, Address, Link, Route
from gossipcontrol.watch.fingerprint import Fingerprint, take_fingerprint
from gossipcontrol.watch.scope import Filter
from gossipcontrol.watch.windows_tables import Tables, lost_interface, read_tables
from hypothesis import given
from hypothesis import strategies as st

from tests.watch.windows_rows import WIFI, address, interface, link, luid, neighbor, route, tables

LOOPBACK_LINK = link(1, "Loopback Pseudo-Interface 1", kind=layout.LOOPBACK, flags=0)
LOOPBACK_ADDRESS = address(1, "127.0.0.1", 8)
HOME = tables(
    [LOOPBACK_LINK, link(7, "WLAN", kind=WIFI)],
    [LOOPBACK_ADDRESS, address(7, "192.168.1.20"), address(7, "fe80::1", 64), address(7, "2001:db8::20", 64)],
    [
        route(7, "0.0.0.0/0", "192.168.1.1"), route(7, "192.168.1.0/24", "0.0.0.0"), route(1, "127.0.0.0/8", "0.0.0.0"),
        route(7, "::/0", "fe80::ff"), route(7, "2001:db8::/64", "::"),
    ],
)  # fmt: skip


def seen(read: Tables, *, include: tuple[str, ...] = ()) -> Fingerprint:
    """The fingerprint with the default filter."""
    chosen = Filter.default(include=include)
    return take_fingerprint(read_tables(read, {}, chosen), chosen)


def test_a_host_at_home() -> None:
    snapshot = read_tables(HOME, {luid(7): 3}, Filter.default(), ("192.168.1.9", "198.51.100.7", "2001:db8::9"))
    assert snapshot.links == (
        Link(1, "Loopback Pseudo-Interface 1", True, loopback=True, kind="loopback", software=True),
        Link(7, "WLAN", True, losses=3),
    )
    assert snapshot.addresses == (
        Address(1, "127.0.0.1", 8, usable=False),
        Address(7, "192.168.1.20", 24, usable=True),
        Address(7, "fe80::1", 64, usable=False),
        Address(7, "2001:db8::20", 64, usable=True),
    )
    assert snapshot.routes == (
        Route(DEFAULT_V4, 7, "192.168.1.1", "192.168.1.20"),
        Route(DEFAULT_V6, 7, "fe80::ff", "2001:db8::20"),
        Route("192.168.1.9", 7, "", "192.168.1.20"),
        Route("198.51.100.7", 7, "192.168.1.1", "192.168.1.20"),
        Route("2001:db8::9", 7, "", "2001:db8::20"),
    )
    assert seen(HOME).describe() == "WLAN via 192.168.1.1, WLAN via fe80::ff; 192.168.1.20, 2001:db8::/64"


@pytest.mark.parametrize(
    ("up", "media", "carrier"), [(True, 1, True), (True, 0, True), (True, 2, False), (False, 1, False)]
)
def test_a_carrier_is_an_interface_that_is_up_and_not_unplugged(up: bool, media: int, carrier: bool) -> None:
    read = tables(
        [link(7, "Ethernet", up=up, media=media)], [address(7, "10.0.0.2")], [route(7, "0.0.0.0/0", "10.0.0.1")]
    )
    assert seen(read).reachable is carrier


@pytest.mark.parametrize(
    ("state", "skipped", "usable"), [(4, 0, True), (3, 0, True), (4, 1, False), (1, 0, False), (2, 0, False)]
)
def test_an_address_is_usable_once_it_is_known_to_be_the_hosts_own(state: int, skipped: int, usable: bool) -> None:
    read = tables([link(7, "Ethernet")], [address(7, "10.0.0.2", state=state, skipped=skipped)], [])
    assert read_tables(read, {}, Filter.default()).addresses[0].usable is usable


def test_an_address_that_a_host_gave_itself_for_want_of_a_lease_reaches_nobody() -> None:
    assert not seen(tables([link(7, "Ethernet")], [address(7, "169.254.3.4", 16)], [])).reachable


def test_of_two_ways_the_one_with_the_smaller_sum_of_metrics_is_taken() -> None:
    links = [link(7, "WLAN", kind=WIFI), link(8, "Ethernet")]
    addresses = [address(7, "192.168.1.20"), address(8, "10.0.0.2")]
    routes = [route(7, "0.0.0.0/0", "192.168.1.1", 0), route(8, "0.0.0.0/0", "10.0.0.1", 5)]

    def taken(*metrics: bytes) -> str:
        [(name, _, _)] = seen(tables(links, addresses, routes, metrics)).ways[DEFAULT_V4]
        return name

    assert taken() == "WLAN"
    assert taken(interface(7, 50), interface(8, 25)) == "Ethernet"
    assert taken(interface(7, 50, layout.AF_INET6), interface(8, 25, layout.AF_INET6)) == "WLAN"


def test_the_longest_prefix_wins_whatever_its_metric() -> None:
    halves = [route(9, "0.0.0.0/1", "", 900), route(9, "128.0.0.0/1", "", 900)]
    links = [link(7, "WLAN", kind=WIFI), link(9, "Firm", kind=layout.VIRTUAL, flags=0)]
    addresses = [address(7, "192.168.1.20"), address(9, "10.8.0.2")]
    read = tables(links, addresses, [route(7, "0.0.0.0/0", "192.168.1.1"), *halves])
    snapshot = read_tables(read, {}, Filter.default(), ("198.51.100.7",))
    assert [one for one in snapshot.routes if one.destination == DEFAULT_V4] == [
        Route(DEFAULT_V4, 9, "", "10.8.0.2"),
        Route(DEFAULT_V4, 7, "192.168.1.1", "192.168.1.20", used=False),
    ]
    assert Route("198.51.100.7", 9, "", "10.8.0.2") in snapshot.routes
    # The tunnel is no way of its own: below it packets leave by the wireless network, as before.
    assert seen(read).ways == seen(tables(links, addresses, [route(7, "0.0.0.0/0", "192.168.1.1")])).ways


def test_software_interfaces_do_not_count_beside_hardware_whatever_they_are_called() -> None:
    links = [
        link(7, "Ethernet"), link(9, "vEthernet (WSL)", flags=0), link(10, "Ethernet 3", kind=layout.VIRTUAL, flags=0),
        link(11, "Teredo", kind=layout.TUNNEL, flags=0), link(12, "Firm", kind=layout.PPP, flags=0), LOOPBACK_LINK,
    ]  # fmt: skip
    addresses = [address(7, "10.0.0.2"), *(address(index, f"10.9.{index}.1") for index in (9, 10, 11, 12))]
    read = tables(links, addresses, [route(7, "0.0.0.0/0", "10.0.0.1")])
    found = seen(read)
    assert found.addresses == {("Ethernet", "10.0.0.2")}
    assert found.scope.ignored == {
        "Loopback Pseudo-Interface 1": "loopback", "vEthernet (WSL)": "software", "Ethernet 3": "virtual",
        "Teredo": "tunnel", "Firm": "ppp",
    }  # fmt: skip
    assert seen(read, include=("vEthernet*",)).addresses == {("Ethernet", "10.0.0.2"), ("vEthernet (WSL)", "10.9.9.1")}


def test_the_switch_of_a_host_with_virtual_machines_counts_because_it_is_the_only_way_out() -> None:
    links = [link(7, "Ethernet"), link(9, "vEthernet (External)", flags=0)]
    found = seen(tables(links, [address(9, "10.0.0.2")], [route(9, "0.0.0.0/0", "10.0.0.1")]))
    assert found.describe() == "vEthernet (External) via 10.0.0.1; 10.0.0.2"


def test_drivers_in_the_stack_of_an_interface_are_no_interfaces() -> None:
    name = "Ethernet-WFP Native MAC Layer LightWeight Filter-0000"
    read = tables([link(7, "Ethernet"), link(8, name, flags=layout.HARDWARE | layout.FILTER)], [], [])
    assert [one.name for one in read_tables(read, {}, Filter.default()).links] == ["Ethernet"]


def test_the_source_is_a_preferred_address_in_the_gateways_network() -> None:
    addresses = [
        address(7, "10.0.0.9", state=layout.DEPRECATED), address(7, "172.16.0.2"), address(7, "10.0.0.2"),
        address(7, "2001:db8::9", 64, state=layout.DEPRECATED), address(7, "2001:db8::2", 64),
    ]  # fmt: skip
    read = tables([link(7, "Ethernet")], addresses, [route(7, "0.0.0.0/0", "10.0.0.1"), route(7, "::/0", "fe80::ff")])
    assert [one.source for one in read_tables(read, {}, Filter.default()).routes] == ["10.0.0.2", "2001:db8::2"]


def test_a_route_without_an_address_to_leave_from_is_no_way() -> None:
    assert not seen(tables([link(7, "Ethernet")], [], [route(7, "0.0.0.0/0", "10.0.0.1")])).defaults


MAC, OTHER = b"\x02\x00\x00\x00\x00\x01", b"\x02\x00\x00\x00\x00\x02"


def at_home(*neighbors: bytes) -> Tables:
    """The host with these neighbours."""
    links, addresses = [link(7, "WLAN", kind=WIFI)], [address(7, "192.168.1.20")]
    return tables(links, addresses, [route(7, "0.0.0.0/0", "192.168.1.1")], (), neighbors)


def test_a_network_of_the_same_addresses_is_told_by_its_gateways_hardware() -> None:
    one, other = (seen(at_home(neighbor(7, "192.168.1.1", mac))) for mac in (MAC, OTHER))
    assert other.changes_since(one)
    for unknown in (
        at_home(), at_home(neighbor(7, "192.168.1.1", OTHER, state=1)), at_home(neighbor(7, "192.168.1.1", bytes(6))),
        at_home(neighbor(7, "192.168.1.9", OTHER)), at_home(neighbor(8, "192.168.1.1", OTHER)),
        at_home(neighbor(7, "192.168.1.1", b"")),
    ):  # fmt: skip
        assert not seen(unknown).changes_since(one), "what is not known is no change"
    [found] = read_tables(at_home(neighbor(7, "192.168.1.1", MAC)), {}, Filter.default()).neighbors
    assert (found.index, found.address, found.hardware) == (7, "192.168.1.1", "02:00:00:00:00:01")


def test_what_is_lost_is_an_ipv4_address_or_a_default_route() -> None:
    gone, default = address(7, "10.0.0.2"), route(7, "0.0.0.0/0", "10.0.0.1")
    assert lost_interface(layout.ADDRESS, gone, layout.DELETE) == luid(7)
    assert lost_interface(layout.ROUTE, default, layout.DELETE) == luid(7)
    assert lost_interface(layout.ROUTE, route(7, "::/0", "fe80::1"), layout.DELETE) == luid(7)
    for table, row, kind in (
        (layout.ADDRESS, gone, layout.ADD), (layout.ADDRESS, gone, 0), (layout.ROUTE, default, layout.ADD),
        (layout.ADDRESS, address(7, "2001:db8::5", 64), layout.DELETE),  # a privacy address whose time is over
        (layout.ROUTE, route(7, "10.0.0.0/8", ""), layout.DELETE), (layout.ADDRESS, b"", layout.INITIAL),
        (layout.INTERFACE, interface(7, 5), layout.DELETE), (layout.ROUTE, default[:-1], layout.DELETE),
    ):  # fmt: skip
        assert lost_interface(table, row, kind) is None


def test_a_whole_row_is_given_back_as_it_was_packed() -> None:
    values: dict[str, int | bytes] = {
        "luid": 2**63,
        "index": 4_000_000_000,
        "destination": bytes(range(28)),
        "prefix": 255,
    }
    packed = layout.ROUTE.pack(**values)
    [row] = layout.ROUTE.rows(packed)
    assert len(packed) == layout.ROUTE.size
    assert {name: row[name] for name in values} == values
    with pytest.raises(ValueError, match="has no name"):
        layout.ROUTE.pack(name=1)


@given(st.tuples(*(st.binary(max_size=size) for size in (3000, 400, 600, 400, 300))))
def test_no_bytes_stop_it(rows: tuple[bytes, ...]) -> None:
    take_fingerprint(read_tables(Tables(*rows), {}, Filter.default()), Filter.default())


ips = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
indexes = st.integers(1, 3)
flags = st.sampled_from([0, layout.HARDWARE, layout.FILTER | layout.HARDWARE])
some_links = st.lists(st.builds(link, indexes, st.text(max_size=20), up=st.booleans(), flags=flags), max_size=4)
some_addresses = st.lists(st.builds(address, indexes, ips, st.integers(0, 32), state=st.integers(0, 5)), max_size=6)


@st.composite
def some_routes(draw: st.DrawFn) -> list[bytes]:
    found: list[bytes] = []
    for _ in range(draw(st.integers(0, 8))):
        where, gateway = draw(ips), draw(st.one_of(st.just(""), ips))
        found.append(route(draw(indexes), f"{where}/{draw(st.integers(0, 140))}", gateway, draw(st.integers(0, 9))))
    return found


@given(some_links, some_addresses, some_routes(), ips)
def test_a_way_leads_over_an_interface_that_is_up_and_has_the_longest_prefix(
    links: list[bytes], addresses: list[bytes], routes: list[bytes], peer: str
) -> None:
    """Compared with the rule itself, said in another way: of textual networks, with Python's own."""
    snapshot = read_tables(tables(links, addresses, routes), {}, Filter.default(), (peer,))
    take_fingerprint(snapshot, Filter.default())
    up = {one.index for one in snapshot.links if one.carrier}
    bits = ip_address(peer).max_prefixlen
    number = f"{int(ip_address(peer)):0{bits}b}"
    lengths = [0]
    for row in layout.ROUTE.rows(b"".join(routes)):
        raw, prefix = row["destination"], row["prefix"]
        assert isinstance(raw, bytes)
        assert isinstance(prefix, int)
        packed = raw[4:8] if raw[0] == layout.AF_INET else raw[8:24]
        if len(packed) * 8 == bits and prefix <= bits and row["index"] in up:
            text = f"{int.from_bytes(packed, 'big'):0{bits}b}"
            lengths += [prefix + 1] if text[:prefix] == number[:prefix] else []
    taken = [one for one in snapshot.routes if one.destination == peer]
    assert bool(taken) == (max(lengths) > 0)
    assert {one.index for one in taken} <= up

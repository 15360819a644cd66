"""Routing messages of macOS and the BSDs as values. Pure: bytes come in, of any content."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Set
from dataclasses import dataclass, replace
from ipaddress import ip_address

from gossipcontrol.watch.change import Address, Link, Neighbor
from gossipcontrol.watch.route_layout import (
    AF_INET,
    AF_LINK,
    IFF_LOOPBACK,
    IFF_RUNNING,
    IFF_UP,
    RTA_DST,
    RTA_GATEWAY,
    RTA_IFA,
    RTA_IFP,
    RTA_NETMASK,
    RTF_BLACKHOLE,
    RTF_HOST,
    RTF_LLINFO,
    RTF_REJECT,
    RTF_UP,
    RTM_ADD,
    RTM_CHANGE,
    RTM_DELETE,
    RTM_GET,
    Header,
    Layout,
)

_START = struct.Struct("=HBB")
_U16, _U32 = struct.Struct("=H"), struct.Struct("=I")
MOST_ADDRESSES = 16
"""Most socket addresses after one header: RTAX_MAX of OpenBSD is 15."""


class MalformedError(ValueError):
    """A message that does not keep to the layout."""


@dataclass(frozen=True, slots=True)
class Record:
    """One message, its header read."""

    kind: int
    index: int
    flags: int
    priority: int
    state: int
    """Of a link; -1 where the system says nothing."""
    parts: tuple[bytes, ...]
    """The socket addresses by their position; empty where there is none."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A route of the table."""

    version: int
    network: int
    prefix: int
    index: int
    gateway: str
    """Empty where the destination is on the link."""
    source: str
    """The address that packets leave from, where the system says it."""
    scoped: bool
    """Only for those who ask for its interface."""
    rejects: bool
    priority: int

    def covers(self, destination: int, bits: int) -> bool:
        """Whether an address of so many bits is in the network."""
        return destination >> (bits - self.prefix) == self.network >> (bits - self.prefix)


@dataclass(frozen=True, slots=True)
class Heard:
    """What messages say before anything is looked at."""

    woken: bool = False
    """The network may have changed."""
    lost: tuple[int, ...] = ()
    """Index of an interface for each address, default route or carrier that it lost."""


def records(data: bytes, layout: Layout) -> Iterator[Record]:
    """The messages in ``data`` of the types that matter; raises MalformedError."""
    headers = _headers(layout)
    offset = 0
    while offset < len(data):
        if offset + _START.size > len(data):
            raise MalformedError("a message that is shorter than its header")
        length, version, kind = _START.unpack_from(data, offset)
        if length < _START.size or offset + length > len(data):
            raise MalformedError("a message whose length is not that of its bytes")
        if version == layout.version:  # of another version nothing is known but the length
            if kind in layout.others:
                yield Record(kind, 0, 0, 0, -1, ())
            elif kind in headers:
                yield _record(kind, data[offset : offset + length], headers[kind], layout)
        offset += length


def _headers(layout: Layout) -> dict[int, Header]:
    listed = replace(layout.link, size=layout.listed_size or layout.link.size)
    links = {layout.listed_link: listed, layout.link_changed: layout.link}
    routes = dict.fromkeys((RTM_ADD, RTM_DELETE, RTM_CHANGE, RTM_GET, layout.listed_route), layout.route)
    return routes | links | dict.fromkeys((layout.new_address, layout.lost_address), layout.address)


def _record(kind: int, message: bytes, header: Header, layout: Layout) -> Record:
    size = header.size
    if layout.header_length >= 0 and len(message) >= layout.header_length + 2:
        size = _U16.unpack_from(message, layout.header_length)[0]
    if size > len(message) or size < max(header.index + 2, header.flags + 4, header.addrs + 4):
        raise MalformedError("a message that is shorter than its header")
    is_link = kind in (layout.link_changed, layout.listed_link)
    state = message[layout.link_state] if is_link and 0 <= layout.link_state < size else -1
    return Record(
        kind,
        _U16.unpack_from(message, header.index)[0],
        _U32.unpack_from(message, header.flags)[0],
        message[layout.priority] if header is layout.route and layout.priority >= 0 else 0,
        state,
        _parts(message[size:], _U32.unpack_from(message, header.addrs)[0], layout.alignment),
    )


def _parts(data: bytes, present: int, alignment: int) -> tuple[bytes, ...]:
    found: list[bytes] = []
    offset = 0
    for position in range(MOST_ADDRESSES):
        length = data[offset] if present >> position & 1 and offset < len(data) else 0
        if offset + length > len(data):
            raise MalformedError("a socket address that is longer than its message")
        found.append(data[offset : offset + length])
        if present >> position & 1:
            offset += max(alignment, -(-length // alignment) * alignment)
    return tuple(found)


def ip_of(part: bytes, layout: Layout) -> str:
    """The IP address in a socket address; empty where there is none. The scope in a link-local one is left out."""
    family = part[1] if len(part) > 1 else 0
    if family == AF_INET and len(part) >= 8:
        return socket.inet_ntop(socket.AF_INET, part[4:8])
    if family == layout.inet6 and len(part) >= 24:
        address = part[8:24]
        if address[0] == 0xFE and address[1] & 0xC0 == 0x80:
            # The kernel keeps the interface in the second 16 bits, and lets it be seen here.
            address = address[:2] + b"\0\0" + address[4:]
        return socket.inet_ntop(socket.AF_INET6, address)
    return ""


def prefix_of(mask: bytes, version: int) -> int:
    """The length of a prefix; a mask is cut after its last byte that is not 0, its family may be anything."""
    start, size = (4, 4) if version == 4 else (8, 16)
    return sum(byte.bit_count() for byte in mask[start : start + size])


def link_of(record: Record, layout: Layout) -> Link | None:
    """The interface that a message lists; None without a name."""
    part = record.parts[RTA_IFP]
    if len(part) < 8 or part[1] != AF_LINK or not part[5] or len(part) < 8 + part[5]:
        return None
    name = part[8 : 8 + part[5]].decode(errors="replace")
    return Link(record.index, name, has_carrier(record, layout), loopback=bool(record.flags & IFF_LOOPBACK))


def has_carrier(record: Record, layout: Layout) -> bool:
    """Whether a link is up, running and, where the system says it, has a carrier."""
    running = record.flags & (IFF_UP | IFF_RUNNING) == IFF_UP | IFF_RUNNING
    return running and record.state not in layout.no_carrier


def address_of(record: Record, layout: Layout) -> Address | None:
    """The address that a message lists; None for one that is not of IP."""
    text = ip_of(record.parts[RTA_IFA], layout)
    if not text:
        return None
    own = ip_address(text)
    prefix = prefix_of(record.parts[RTA_NETMASK], own.version)
    usable = not (own.is_loopback or own.is_multicast or own.is_unspecified)
    return Address(record.index, text, prefix, usable and not (own.version == 6 and own.is_link_local))


def entry_of(record: Record, layout: Layout) -> Entry | None:
    """The route that a message lists; None for one that is no way out."""
    if not record.flags & RTF_UP or record.flags & (layout.skipped | RTF_LLINFO):
        return None
    destination = ip_of(record.parts[RTA_DST], layout)
    if not destination:
        return None
    network = ip_address(destination)
    mask = record.parts[RTA_NETMASK]
    is_host = bool(record.flags & RTF_HOST)
    return Entry(
        network.version,
        int(network),
        network.max_prefixlen if is_host else prefix_of(mask, network.version),
        record.index,
        ip_of(record.parts[RTA_GATEWAY], layout),
        ip_of(record.parts[RTA_IFA], layout),
        bool(record.flags & layout.scoped),
        bool(record.flags & (RTF_REJECT | RTF_BLACKHOLE)),
        record.priority,
    )


def neighbor_of(record: Record, layout: Layout) -> Neighbor | None:
    """The neighbor that a message lists, if its hardware address is known."""
    address, link = ip_of(record.parts[RTA_DST], layout), record.parts[RTA_GATEWAY]
    if not address or len(link) < 8 or link[1] != AF_LINK or link[6] != 6 or len(link) < 8 + link[5] + 6:
        return None
    hardware = link[8 + link[5] : 8 + link[5] + 6]
    return Neighbor(record.index, address, hardware.hex(":"))


def hear(data: bytes, layout: Layout, uncounted: Set[int]) -> Heard:
    """What messages of the kernel say; raises MalformedError. ``uncounted``: indexes of links that do not count.

    Only types that are listed here wake: macOS 26.4 floods its listeners with others (tailscale/tailscale#19324).
    """
    woken, lost = False, list[int]()
    for record in records(data, layout):
        if record.kind in (RTM_ADD, RTM_DELETE, RTM_CHANGE):
            if not _is_way(record, layout):
                continue
            woken = True
            entry = entry_of(record, layout)
            if record.kind == RTM_DELETE and entry is not None and entry.prefix == 0 and not entry.scoped:
                lost.append(record.index)
        elif record.kind == layout.link_changed:
            woken |= record.index not in uncounted
            if not has_carrier(record, layout):
                lost.append(record.index)
        elif record.kind in (layout.new_address, layout.lost_address):
            address = address_of(record, layout)
            if address is None or not address.usable or record.index in uncounted:
                continue
            woken = True
            # Of IPv6, privacy addresses go every day, and others of the same network stay.
            if record.kind == layout.lost_address and ":" not in address.address:
                lost.append(record.index)
        else:
            woken |= record.kind in layout.others
    return Heard(woken, tuple(lost))


def _is_way(record: Record, layout: Layout) -> bool:
    """Whether a route may lead to peers: not a neighbor that came or went, not one of the link itself."""
    if record.flags & (layout.skipped | RTF_LLINFO):
        return False
    destination = ip_of(record.parts[RTA_DST], layout)
    return bool(destination) and not (ip_address(destination).is_link_local or ip_address(destination).is_multicast)

"""Messages of rtnetlink as bytes: what the watcher asks, and what it reads of the answers.

Constants and layouts: linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h, linux/neighbour.h.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from gossipcontrol.watch.change import Address, Link, Neighbor

RTM_NEWLINK, RTM_GETLINK, RTM_NEWADDR, RTM_GETADDR, RTM_NEWROUTE, RTM_GETROUTE = 16, 18, 20, 22, 24, 26
RTM_NEWNEIGH, RTM_GETNEIGH = 28, 30
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_DUMP_INTR, NLM_F_DUMP = 0x1, 0x10, 0x300
IFF_UP, IFF_LOOPBACK, IFF_LOWER_UP = 0x1, 0x8, 0x10000
IFLA_IFNAME, IFLA_MASTER, IFLA_LINKINFO, IFLA_EXT_MASK, IFLA_CARRIER, IFLA_CARRIER_DOWN_COUNT = 3, 10, 18, 29, 33, 48
IFLA_INFO_KIND = 1
IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS = 1, 2, 8
IFA_F_DADFAILED, IFA_F_DEPRECATED, IFA_F_TENTATIVE = 0x08, 0x20, 0x40
SCOPE_GLOBAL, SCOPE_HOST = 0, 254
RTA_DST, RTA_SRC, RTA_OIF, RTA_GATEWAY, RTA_PREFSRC, RTA_MULTIPATH, RTA_VIA = 1, 2, 4, 5, 7, 9, 18
RTM_F_FIB_MATCH = 0x2000
NDA_DST, NDA_LLADDR = 1, 2
NUD_VALID = 0x02 | 0x04 | 0x08 | 0x10 | 0x80
"""Reachable, stale, delayed, probed, permanent: an entry that failed or is incomplete says nothing."""
RTN_UNICAST = 1
NO_SOURCE = ("::", "::1")
"""What the kernel answers as the source where no IPv6 address would do: there is none, or it is still tentative."""
SKIP_STATISTICS = 0x8
"""RTEXT_FILTER_SKIP_STATS: without them a link is a third as long."""
HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_NEIGHBOR = struct.Struct("=BxxxiHBB")
_HOP = struct.Struct("=HBBi")
_U32 = struct.Struct("=I")
_FAMILY = struct.Struct("=H")

Hop: TypeAlias = tuple[int, str]
"""Index of the interface, and the gateway; empty where the destination is on the link."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """A question: by which way packets to an address leave, perhaps by one interface only."""

    family: int
    destination: str
    index: int = 0
    """Of the interface; 0: any."""
    source: str = ""
    """Where packets come from, for rules that look at it; IPv4 only, for IPv6 then does not keep to the interface."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the kernel answers: all hops of the route, and the address that packets leave from."""

    hops: tuple[Hop, ...] = ()
    source: str = ""


def aligned(size: int) -> int:
    """The size with what fills it up to the next message or attribute."""
    return (size + 3) & ~3


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value


def _attributes(payload: memoryview, offset: int) -> dict[int, memoryview]:
    """The attributes after a header of so many bytes, by type."""
    found: dict[int, memoryview] = {}
    end = len(payload)
    while offset + 4 <= end:
        size, kind = _ATTRIBUTE.unpack_from(payload, offset)
        if size < 4:
            break
        found[kind & 0x3FFF] = payload[offset + 4 : offset + size]
        offset += (size + 3) & ~3
    return found


def _number(value: memoryview | None) -> int:
    return _U32.unpack(value)[0] if value is not None and len(value) == 4 else 0


def _string(value: memoryview | None) -> str:
    return bytes(value).rstrip(b"\0").decode(errors="replace") if value is not None else ""


def parse_link(payload: memoryview) -> Link:
    """An interface of RTM_NEWLINK."""
    _, _, index, flags, _ = _LINK.unpack_from(payload)
    found = _attributes(payload, _LINK.size)
    carrier = found.get(IFLA_CARRIER)
    return Link(
        index,
        _string(found.get(IFLA_IFNAME)),
        # A lost carrier leaves IFF_UP set.
        bool(flags & IFF_UP) and (bool(flags & IFF_LOWER_UP) if carrier is None else bool(carrier[0])),
        _number(found.get(IFLA_CARRIER_DOWN_COUNT)),
        _number(found.get(IFLA_MASTER)),
        bool(flags & IFF_LOOPBACK),
        _string(_attributes(found[IFLA_LINKINFO], 0).get(IFLA_INFO_KIND)) if IFLA_LINKINFO in found else "",
    )


def parse_address(payload: memoryview) -> Address:
    """An address of RTM_NEWADDR."""
    family, prefix, flags, scope, index = _ADDRESS.unpack_from(payload)
    found = _attributes(payload, _ADDRESS.size)
    flags = _number(found[IFA_FLAGS]) if IFA_FLAGS in found else flags
    # IPv4 addresses of scope "link" are those of 169.254.0.0/16: peers in the same LAN can be reached from them.
    in_scope = scope < SCOPE_HOST if family == socket.AF_INET else scope == SCOPE_GLOBAL
    return Address(
        index,
        socket.inet_ntop(family, found.get(IFA_LOCAL) or found[IFA_ADDRESS]),
        prefix,
        in_scope and not flags & (IFA_F_DADFAILED | IFA_F_TENTATIVE),
        not flags & IFA_F_DEPRECATED,
    )


def link_request() -> bytes:
    """The body of a request for all interfaces."""
    return _LINK.pack(0, 0, 0, 0, 0) + _attribute(IFLA_EXT_MASK, _U32.pack(SKIP_STATISTICS))


def address_request() -> bytes:
    """The body of a request for all addresses."""
    return _ADDRESS.pack(0, 0, 0, 0, 0)


def lookup_request(sequence: int, question: Lookup, flags: int) -> bytes:
    """A whole message that asks for a route."""
    destination = socket.inet_pton(question.family, question.destination)
    source = socket.inet_pton(question.family, question.source) if question.source else b""
    body = _ROUTE.pack(question.family, 8 * len(destination), 8 * len(source), 0, 0, 0, 0, 0, flags)
    body += _attribute(RTA_DST, destination)
    if source:
        body += _attribute(RTA_SRC, source)
    if question.index:
        body += _attribute(RTA_OIF, _U32.pack(question.index))
    return HEADER.pack(HEADER.size + len(body), RTM_GETROUTE, NLM_F_REQUEST, sequence, 0) + body


def parse_route(payload: memoryview) -> Answer:
    """The answer of RTM_NEWROUTE."""
    family, _, _, _, _, _, _, kind, _ = _ROUTE.unpack_from(payload)
    if kind != RTN_UNICAST:  # unreachable, prohibited, the host's own address
        return Answer()
    found = _attributes(payload, _ROUTE.size)
    source = _text(family, found.get(RTA_PREFSRC))
    if source in NO_SOURCE:
        source = ""
    if RTA_MULTIPATH in found:
        return Answer(tuple(_hops(family, found[RTA_MULTIPATH])), source)
    if RTA_OIF not in found:
        return Answer((), source)
    return Answer(((_number(found[RTA_OIF]), _gateway(family, found)),), source)


def _hops(family: int, value: memoryview) -> Iterator[Hop]:
    offset = 0
    while offset + _HOP.size <= len(value):
        size, _, _, index = _HOP.unpack_from(value, offset)
        if size < _HOP.size:
            return
        yield index, _gateway(family, _attributes(value[offset : offset + size], _HOP.size))
        offset += aligned(size)


def _gateway(family: int, found: dict[int, memoryview]) -> str:
    """The gateway, which may be of the other family (RFC 5549); empty where there is none."""
    if RTA_VIA in found:
        via = found[RTA_VIA]
        return _text(_FAMILY.unpack_from(via)[0], via[_FAMILY.size :])
    return _text(family, found.get(RTA_GATEWAY))


def _text(family: int, value: memoryview | None) -> str:
    return socket.inet_ntop(family, value) if value is not None else ""


def combine(question: Lookup, used: Answer, route: Answer) -> Answer:
    """One answer of two. By one interface only the route itself counts: the kernel else assumes what is on the link."""
    if question.index:
        hops = tuple(hop for hop in route.hops if hop[0] == question.index)
        return Answer(hops, route.source or used.source or question.source) if hops else Answer()
    return Answer(route.hops or used.hops, used.source) if used.hops else Answer()


def neighbor_request(sequence: int, index: int, address: str) -> bytes:
    """A whole message that asks for one host on a link."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    body = _NEIGHBOR.pack(family, index, 0, 0, 0) + _attribute(NDA_DST, socket.inet_pton(family, address))
    return HEADER.pack(HEADER.size + len(body), RTM_GETNEIGH, NLM_F_REQUEST, sequence, 0) + body


def parse_neighbor(payload: memoryview) -> Neighbor | None:
    """A host on a link, of RTM_NEWNEIGH; None while its hardware address is not known or not trusted."""
    family, index, state, _, _ = _NEIGHBOR.unpack_from(payload)
    found = _attributes(payload, _NEIGHBOR.size)
    if family not in (socket.AF_INET, socket.AF_INET6) or not state & NUD_VALID:
        return None
    if NDA_DST not in found or len(found.get(NDA_LLADDR, b"")) != 6:
        return None
    return Neighbor(index, socket.inet_ntop(family, found[NDA_DST]), bytes(found[NDA_LLADDR]).hex(":"))

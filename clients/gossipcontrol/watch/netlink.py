"""The few rtnetlink requests that the watcher needs, as bytes: links, addresses, route lookups, and a wake-up.

The kernel answers within the call that sends the request, so nothing here waits for anything but the kernel's own
locks. Constants and layouts: linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

from gossipcontrol.watch.change import Address, Link

NETLINK_ROUTE = 0
SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NETLINK_NO_ENOBUFS = 270, 1, 5
GROUPS = (1, 5, 7, 8, 9, 11, 19, 32)
"""Links; IPv4 addresses, routes, rules; IPv6 addresses, routes, rules; nexthop objects.

Links too: on an IPv4-only host a lost carrier is announced to that group alone.
"""
EVENT_BUFFER = 4096
"""Bytes of unread messages that the kernel keeps; in a storm it drops the rest, which costs nothing here."""
MOST_READ = 256
"""Most messages read in one go; what is left wakes the reader again."""

RTM_NEWLINK, RTM_GETLINK, RTM_NEWADDR, RTM_GETADDR, RTM_NEWROUTE, RTM_GETROUTE = 16, 18, 20, 22, 24, 26
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
RTN_UNICAST = 1
SKIP_STATISTICS = 0x8
"""RTEXT_FILTER_SKIP_STATS: without them a link is a third as long."""
AT_ONCE = 8
"""Most questions in one call: the answers to all of them must fit into the socket's buffer."""
ANSWER_BYTES = 64 * 1024
TIMEOUT = 5.0
"""Seconds after which a kernel that holds its locks for long counts as not answering."""
TRIES = 10
"""Most further tries of a listing while the network moves under it."""

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
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


@dataclass(frozen=True, slots=True)
class Answer:
    """What the kernel answers: all hops of the route, and the address that packets leave from."""

    hops: tuple[Hop, ...] = ()
    source: str = ""


class EventSocket:
    """Becomes readable when links, addresses, routes or rules change. What the messages say is thrown away."""

    def __init__(self) -> None:
        self._socket = _open()
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, EVENT_BUFFER)
            self._socket.setsockopt(SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)
            for group in GROUPS:
                self._join(group)
        except BaseException:
            self._socket.close()
            raise
        self._buffer = bytearray(64)

    def _join(self, group: int) -> None:
        try:
            self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
        except OSError:
            if group == GROUPS[0]:
                raise
            # A kernel without IPv6, or without nexthop objects, has no such changes either.

    def fileno(self) -> int:
        """To wait on."""
        return self._socket.fileno()

    def drain(self) -> None:
        """Throw the waiting messages away: what they announce is in any snapshot that is taken afterwards."""
        try:
            for _ in range(MOST_READ):
                self._socket.recv_into(self._buffer)
        except BlockingIOError:
            return

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


class Rtnetlink:
    """Asks the kernel. Every method raises OSError when it does not answer, or refuses."""

    def __init__(self) -> None:
        self._socket = _open()
        self._socket.settimeout(TIMEOUT)
        self._sequence = 0
        self._buffer = bytearray(ANSWER_BYTES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()

    def links(self) -> tuple[Link, ...]:
        """All interfaces."""
        body = _LINK.pack(0, 0, 0, 0, 0) + _attribute(IFLA_EXT_MASK, _U32.pack(SKIP_STATISTICS))
        return tuple(_link(payload) for payload in self._dump(RTM_GETLINK, body, RTM_NEWLINK))

    def addresses(self) -> tuple[Address, ...]:
        """The addresses of all interfaces."""
        body = _ADDRESS.pack(0, 0, 0, 0, 0)
        return tuple(_address(payload) for payload in self._dump(RTM_GETADDR, body, RTM_NEWADDR))

    def look_up(self, questions: Sequence[Lookup]) -> list[Answer]:
        """The answers in the same order, all in one call; an answer without hops: no route.

        Each is asked twice, for what a packet would do (its source address) and for the route itself (all its hops,
        and no redirect or other exception that a single connection has learned).
        """
        return [
            answer
            for start in range(0, len(questions), AT_ONCE)
            for answer in self._look_up(questions[start : start + AT_ONCE])
        ]

    def _look_up(self, questions: Sequence[Lookup]) -> list[Answer]:
        first = self._sequence + 1
        self._sequence += 2 * len(questions)
        requests = [(first + number, question) for number, question in enumerate(questions)]
        matches = [(first + len(questions) + number, question) for number, question in enumerate(questions)]
        self._socket.send(
            b"".join(_lookup(sequence, question, 0) for sequence, question in requests)
            + b"".join(_lookup(sequence, question, RTM_F_FIB_MATCH) for sequence, question in matches)
        )
        answers = self._answers(first, self._sequence)
        found: list[Answer] = []
        for (plain, question), (match, _) in zip(requests, matches, strict=True):
            used, route = answers.get(plain, Answer()), answers.get(match, Answer())
            found.append(_combine(question, used, route))
        return found

    def _answers(self, first: int, last: int) -> dict[int, Answer]:
        """The routes among the answers to these sequence numbers."""
        answers: dict[int, Answer] = {}
        missing = set(range(first, last + 1))
        while missing:
            for kind, _, sequence, payload in self._receive():
                if sequence in missing:
                    missing.discard(sequence)
                    if kind == RTM_NEWROUTE:
                        answers[sequence] = _route(payload)
        return answers

    def _dump(self, request: int, body: bytes, wanted: int) -> list[memoryview]:
        """What the kernel lists; once more when something changed between two parts of its answer."""
        payloads, interrupted = self._dump_once(request, body, wanted)
        for _ in range(TRIES):
            if not interrupted:
                break
            payloads, interrupted = self._dump_once(request, body, wanted)
        return payloads

    def _dump_once(self, request: int, body: bytes, wanted: int) -> tuple[list[memoryview], bool]:
        self._sequence += 1
        header = _HEADER.pack(_HEADER.size + len(body), request, NLM_F_REQUEST | NLM_F_DUMP, self._sequence, 0)
        self._socket.send(header + body)
        payloads: list[memoryview] = []
        interrupted = False
        while True:
            for kind, flags, sequence, payload in self._receive():
                if sequence != self._sequence:
                    continue
                interrupted |= bool(flags & NLM_F_DUMP_INTR)
                if kind == wanted:
                    payloads.append(payload)
                elif kind == NLMSG_DONE:
                    return payloads, interrupted
                elif kind == NLMSG_ERROR:
                    raise OSError(-struct.unpack_from("=i", payload)[0], "rtnetlink refuses to list")

    def _receive(self) -> Iterator[tuple[int, int, int, memoryview]]:
        """The messages of one datagram: type, flags, sequence number, payload."""
        length = self._socket.recv_into(self._buffer)
        data = memoryview(bytes(memoryview(self._buffer)[:length]))
        offset = 0
        while offset + _HEADER.size <= length:
            size, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
            if size < _HEADER.size:
                raise OSError("rtnetlink: a message that is shorter than its header")
            yield kind, flags, sequence, data[offset + _HEADER.size : offset + size]
            offset += _aligned(size)


def _open() -> socket.socket:
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE)
    made.bind((0, 0))
    return made


def _aligned(size: int) -> int:
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


def _link(payload: memoryview) -> Link:
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


def _address(payload: memoryview) -> Address:
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


def _lookup(sequence: int, question: Lookup, flags: int) -> bytes:
    destination = socket.inet_pton(question.family, question.destination)
    body = _ROUTE.pack(question.family, 8 * len(destination), 0, 0, 0, 0, 0, 0, flags) + _attribute(
        RTA_DST, destination
    )
    if question.index:
        body += _attribute(RTA_OIF, _U32.pack(question.index))
    return _HEADER.pack(_HEADER.size + len(body), RTM_GETROUTE, NLM_F_REQUEST, sequence, 0) + body


def _route(payload: memoryview) -> Answer:
    family, _, _, _, _, _, _, kind, _ = _ROUTE.unpack_from(payload)
    if kind != RTN_UNICAST:  # unreachable, prohibited, the host's own address
        return Answer()
    found = _attributes(payload, _ROUTE.size)
    source = _text(family, found.get(RTA_PREFSRC))
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
        offset += _aligned(size)


def _gateway(family: int, found: dict[int, memoryview]) -> str:
    """The gateway, which may be of the other family (RFC 5549); empty where there is none."""
    if RTA_VIA in found:
        via = found[RTA_VIA]
        return _text(_FAMILY.unpack_from(via)[0], via[_FAMILY.size :])
    return _text(family, found.get(RTA_GATEWAY))


def _text(family: int, value: memoryview | None) -> str:
    return socket.inet_ntop(family, value) if value is not None else ""


def _combine(question: Lookup, used: Answer, route: Answer) -> Answer:
    """One answer of two. By one interface only the route itself counts: the kernel else assumes what is on the link."""
    if question.index:
        hops = tuple(hop for hop in route.hops if hop[0] == question.index)
        return Answer(hops, route.source or used.source) if hops else Answer()
    return Answer(route.hops or used.hops, used.source) if used.hops else Answer()

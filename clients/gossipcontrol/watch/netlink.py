"""The few rtnetlink requests that the watcher needs: links, addresses, route lookups, gateways, and wake-ups.

The kernel answers within the call that sends the request, so nothing here waits for anything but the kernel's own
locks.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Self

from gossipcontrol.watch.change import Address, Link, Neighbor
from gossipcontrol.watch.netlink_message import (
    HEADER,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    RTM_F_FIB_MATCH,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWROUTE,
    Answer,
    Lookup,
    address_request,
    aligned,
    combine,
    link_request,
    lookup_request,
    neighbor_request,
    parse_address,
    parse_link,
    parse_neighbor,
    parse_route,
)  # fmt: skip

AF_NETLINK: int = getattr(socket, "AF_NETLINK", 16)
NETLINK_ROUTE = 0
SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NETLINK_NO_ENOBUFS = 270, 1, 5
GROUPS = (1, 5, 7, 8, 9, 11, 19, 32)
"""Links; IPv4 addresses, routes, rules; IPv6 addresses, routes, rules; nexthop objects.

Links too: on an IPv4-only host a lost carrier is announced to that group alone.
"""
NEIGHBORS = 3
"""The group of hosts on the links."""
EVENT_BUFFER = 4096
"""Bytes of unread messages that the kernel keeps; in a storm it drops the rest, which costs nothing here."""
MOST_READ = 256
"""Most messages read in one go; what is left wakes the reader again."""

AT_ONCE = 4
"""Most questions in one call: the answers to all of them must fit into the socket's buffer."""
ANSWER_BYTES = 64 * 1024
TIMEOUT = 5.0
"""Seconds after which a kernel that holds its locks for long counts as not answering."""
TRIES = 10
"""Most further tries of a listing while the network moves under it."""


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


class NeighborSocket:
    """Becomes readable when a host on a link answers for the first time, anew, or no more."""

    def __init__(self) -> None:
        self._socket = _open()
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * EVENT_BUFFER)
            self._socket.setsockopt(SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)
            self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NEIGHBORS)
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """To wait on."""
        return self._socket.fileno()

    def read(self) -> list[Neighbor]:
        """The hosts that waiting messages tell of; what a full buffer lost is in the next snapshot."""
        found: list[Neighbor] = []
        try:
            for _ in range(MOST_READ // 4):
                for kind, _, _, payload in _messages(self._socket.recv(EVENT_BUFFER)):
                    if kind == RTM_NEWNEIGH and (neighbor := parse_neighbor(payload)):
                        found.append(neighbor)
        except BlockingIOError:
            pass
        return found

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
        return tuple(parse_link(payload) for payload in self._dump(RTM_GETLINK, link_request(), RTM_NEWLINK))

    def addresses(self) -> tuple[Address, ...]:
        """The addresses of all interfaces."""
        return tuple(parse_address(payload) for payload in self._dump(RTM_GETADDR, address_request(), RTM_NEWADDR))

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
            b"".join(lookup_request(sequence, question, 0) for sequence, question in requests)
            + b"".join(lookup_request(sequence, question, RTM_F_FIB_MATCH) for sequence, question in matches)
        )
        answers = self._answers(first, self._sequence)
        found: list[Answer] = []
        for (plain, question), (match, _) in zip(requests, matches, strict=True):
            used, route = (parse_route(answers[one]) if one in answers else Answer() for one in (plain, match))
            found.append(combine(question, used, route))
        return found

    def neighbors(self, wanted: Sequence[tuple[int, str]]) -> tuple[Neighbor, ...]:
        """Those of these hosts, each by interface and address, whose hardware addresses are known."""
        found: list[Neighbor | None] = []
        for start in range(0, len(wanted), AT_ONCE):
            part = wanted[start : start + AT_ONCE]
            first = self._sequence + 1
            self._sequence += len(part)
            self._socket.send(b"".join(neighbor_request(first + at, *one) for at, one in enumerate(part)))
            found += [parse_neighbor(one) for one in self._answers(first, self._sequence, RTM_NEWNEIGH).values()]
        return tuple(one for one in found if one is not None)

    def _answers(self, first: int, last: int, wanted: int = RTM_NEWROUTE) -> dict[int, memoryview]:
        """The messages of a type among the answers to these sequence numbers."""
        answers: dict[int, memoryview] = {}
        missing = set(range(first, last + 1))
        while missing:
            for kind, _, sequence, payload in self._receive():
                if sequence in missing:
                    missing.discard(sequence)
                    if kind == wanted:
                        answers[sequence] = payload
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
        header = HEADER.pack(HEADER.size + len(body), request, NLM_F_REQUEST | NLM_F_DUMP, self._sequence, 0)
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
        """The messages of one datagram."""
        length = self._socket.recv_into(self._buffer)
        return _messages(bytes(memoryview(self._buffer)[:length]))


def _messages(datagram: bytes) -> Iterator[tuple[int, int, int, memoryview]]:
    """The messages of one datagram: type, flags, sequence number, payload."""
    data = memoryview(datagram)
    offset = 0
    while offset + HEADER.size <= len(data):
        size, kind, flags, sequence, _ = HEADER.unpack_from(data, offset)
        if size < HEADER.size:
            raise OSError("rtnetlink: a message that is shorter than its header")
        yield kind, flags, sequence, data[offset + HEADER.size : offset + size]
        offset += aligned(size)


def _open() -> socket.socket:
    made = socket.socket(AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE)
    made.bind((0, 0))
    return made

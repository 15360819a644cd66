"""Nodes with real streams over a Unix socket, so light that tens of thousands of them fit one process.

Each reports its stores, of which 20 nodes share each, and answers every command at once.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from gossipcontrol.v1 import attach_pb2

from bench.attached_agents import METHOD, carried_out, groups, observed
from bench.memory import resident
from tests.kit.http2_client import Http2Client, header_block

AT_ONCE = 200
"""Nodes that register at once, and reports that wait for their answers."""


class Stream:
    """One node's."""

    def __init__(self, node: int, client: Http2Client, number: int) -> None:
        self.node = node
        self.client = client
        self.number = number
        self.versions: dict[str, int] = {}
        """Of the view of each store."""

    def send(self, frame: attach_pb2.AttachRequest) -> None:
        """Send a frame."""
        self.client.send(self.number, frame.SerializeToString())


class Fleet:
    """``nodes`` nodes in ``stores`` stores each, over one connection for each ``sharing`` nodes."""

    def __init__(self, nodes: int, stores: int, sharing: int) -> None:
        self.shared = groups(nodes, stores)
        self.streams: dict[int, Stream] = {}
        self.registered = self.answered = 0
        self.refused = ""
        """Why the last call was that was refused."""
        self._sharing = sharing
        self._place: dict[int, int] = {}
        """The connection of each node."""
        self._clients: list[Http2Client] = []
        self._by_number: list[dict[int, Stream]] = []
        """By connection and number of the call."""
        self._news = asyncio.Event()

    async def connect(self, path: Path, nodes: Iterable[int]) -> None:
        """Open the connections of these nodes."""
        loop = asyncio.get_running_loop()
        for at, node in enumerate(nodes):
            if at % self._sharing:
                self._place[node] = len(self._clients) - 1
                continue
            number = self._place[node] = len(self._clients)
            make = partial(
                Http2Client,
                partial(self._on_message, number),
                partial(self._on_end, number),
                self._on_headers,
                on_lost=lambda: None,
            )
            _, client = await loop.create_unix_connection(make, str(path))
            self._clients.append(client)
            self._by_number.append({})

    def open(self, nodes: Iterable[int]) -> None:
        """Open a stream for each, of which nothing is sent yet."""
        headers = header_block(METHOD)
        for node in nodes:
            place = self._place[node]
            client = self._clients[place]
            self.streams[node] = stream = Stream(node, client, client.open(headers))
            self._by_number[place][stream.number] = stream

    async def register(self, nodes: Iterable[int]) -> None:
        """Register each node, some hundreds at once."""
        expected = self.registered
        for node in nodes:
            register = attach_pb2.Register(node_id=f"a{node}", host_id=f"h{node}", store_ids=list(self.shared[node]))
            self.streams[node].send(attach_pb2.AttachRequest(register=register))
            expected += 1
            await self.until(partial(self._has_registered, expected - AT_ONCE))
        await self.until(partial(self._has_registered, expected))

    async def report(self, nodes: Iterable[int]) -> None:
        """Have each report each of its stores, as fast as they are answered."""
        expected = self.answered
        for node in nodes:
            stream = self.streams[node]
            for store_id, others in self.shared[node].items():
                report = observed(store_id, others, stream.versions.get(store_id, 0))
                stream.send(attach_pb2.AttachRequest(liveness=report))
            expected += len(self.shared[node])
            await self.until(partial(self._has_answered, expected - AT_ONCE))
        await self.until(partial(self._has_answered, expected))

    async def until(self, is_met: Callable[[], bool], within: float = 300.0) -> None:
        """Wait for messages until a condition holds."""
        async with asyncio.timeout(within):
            while not is_met():
                if self.refused:
                    raise RuntimeError(f"a call was refused: {self.refused}")
                self._news.clear()
                await self._news.wait()

    def _has_registered(self, count: int) -> bool:
        return self.registered >= count

    def _has_answered(self, count: int) -> bool:
        return self.answered >= count

    def _on_message(self, connection: int, call: int, message: bytes) -> None:
        stream = self._by_number[connection].get(call)
        if stream is None:
            return
        frame = attach_pb2.AttachResponse.FromString(message)
        match frame.WhichOneof("frame"):
            case "ack":
                self.answered += 1
                stream.versions[frame.ack.view.store_id] = frame.ack.view.version
            case "registered":
                self.registered += 1
            case "rejoin":
                stream.send(carried_out(frame.rejoin))
            case _:
                pass
        self._news.set()

    def _on_headers(self, _call: int, headers: dict[str, bytes]) -> None:
        if headers.get("grpc-status", b"0") != b"0":
            self.refused = headers.get("grpc-message", b"").decode(errors="replace")
            self._news.set()

    def _on_end(self, connection: int, call: int) -> None:
        self._by_number[connection].pop(call, None)
        self._news.set()


async def settled(pid: int, within: float = 20.0) -> int:
    """Resident memory once it has not changed by more than 100 kB for half a second."""
    before, still = resident(pid), 0
    for _ in itertools.repeat(None, int(within / 0.1)):
        await asyncio.sleep(0.1)
        now = resident(pid)
        still = still + 1 if abs(now - before) < 100_000 else 0
        before = now if not still else before
        if still >= 5:
            break
    return resident(pid)

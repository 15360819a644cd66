"""Lattice daemons as their sockets show them, with their faults, in a network that can be cut.

Seen with real daemons (iroh-gossip 0.97): a dial that fails makes a node deaf to that peer until the peer dials in or
the daemon is restarted; ReconnectPeers and Sync answer OK whatever comes of them, also for stores that do not exist;
ListPeers of such a store is UNIMPLEMENTED; the authority of the socket's path is refused. What arrives before its
predecessor or a dependency floats, as most does in the minute after a heal: it is there, and not applied.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeAlias
from urllib.parse import quote

import grpc
from gossipcontrol.lattice import daemon_pb2 as pb
from gossipcontrol.lattice import daemon_pb2_grpc

from tests.kit.local_server import LocalServer

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
ZERO = bytes(32)


def store(number: int) -> str:
    """The id of a store."""
    return str(uuid.UUID(int=number))


@dataclass
class FakeIntention:
    """One intention."""

    hash: bytes
    author: bytes
    store_prev: bytes
    dependencies: tuple[bytes, ...] = ()
    is_acknowledgement: bool = False


@dataclass
class FakeStore:
    """One store of one daemon."""

    parent: str | None = None
    archived: bool = False
    statuses: dict[bytes, str] = field(default_factory=dict[bytes, str])
    """Peers by key."""
    tips: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    """Author -> its newest intention that is applied."""
    applied: set[bytes] = field(default_factory=set[bytes])
    floating: dict[bytes, FakeIntention] = field(default_factory=dict[bytes, "FakeIntention"])
    """Those that wait for others, in the order in which they arrived."""
    held: dict[bytes, int] = field(default_factory=dict[bytes, int])
    """Observer -> how many of this node's writes it holds."""
    writes: int = 0


class FakeNetwork:
    """Which daemons reach each other."""

    def __init__(self, *, is_cured: bool = False) -> None:
        self.is_cured = is_cured
        """Whether the daemons dial anew what they once dialled in vain, as none does yet."""
        self.daemons: dict[bytes, FakeDaemon] = {}
        self._cut: set[bytes] = set()

    def reaches(self, one: FakeDaemon, key: bytes) -> bool:
        """Whether a dial would succeed."""
        other = self.daemons.get(key)
        return other is not None and other.runs and one.key != key and not {one.key, key} & self._cut

    def cut(self, daemon: FakeDaemon, *, long: bool) -> None:
        """Cut a daemon off, until its peers noticed; for so long that its loops and theirs dialled in vain."""
        self._cut.add(daemon.key)
        for other in self.daemons.values():
            if daemon.key in other.seen_at or other.key in daemon.seen_at:
                other.drop(daemon.key)
                daemon.drop(other.key)
        for one in self.daemons.values() if long else ():
            if not one.seen_at:  # the loop that rejoins begins when the last neighbour is lost
                one.dial_all()

    def heal(self, daemon: FakeDaemon) -> None:
        """Let it be reached again."""
        self._cut.discard(daemon.key)


class FakeDaemon(daemon_pb2_grpc.NodeServiceServicer, daemon_pb2_grpc.StoreServiceServicer):
    """One daemon: what it has, whom it is connected with, and its socket."""

    def __init__(self, name: str, network: FakeNetwork, directory: Path) -> None:
        self.key = hashlib.sha256(name.encode()).digest()
        self.network = network
        self.socket = directory / f"{name}.sock"
        self.stores: dict[str, FakeStore] = {}
        self.intentions: dict[bytes, FakeIntention] = {}
        self.seen_at: dict[bytes, float] = {}
        """Peers that it is connected with -> when each gave a sign of life."""
        self.poisoned: set[bytes] = set()
        """Peers that it dialled in vain."""
        self.names_floating_tips = False
        """Whether a tip may float: what is written of the daemon does not say."""
        self.calls: list[str] = []
        self.refused = 0
        """Connections whose authority is the path of the socket."""
        self.runs = False
        self.events: list[asyncio.Queue[pb.NodeEvent]] = []
        self._inner = directory / f"{name}.inner"
        self._stack = AsyncExitStack()
        network.daemons[self.key] = self

    @property
    def node_id(self) -> str:
        """Its key in hexadecimal digits."""
        return self.key.hex()

    # Its life.

    async def start(self) -> None:
        """Listen; the failed dials of an earlier life are forgotten."""
        self.poisoned.clear()
        server = grpc.aio.server()
        daemon_pb2_grpc.add_NodeServiceServicer_to_server(self, server)
        daemon_pb2_grpc.add_StoreServiceServicer_to_server(self, server)
        server.add_insecure_port(f"unix:{self._inner}")
        await server.start()
        self._stack.push_async_callback(server.stop, None)
        await self._stack.enter_async_context(LocalServer(self._check, self.socket))
        self.runs = True
        self.dial_all()

    async def stop(self) -> None:
        """Stop at once."""
        self.runs = False
        for other in self.network.daemons.values():
            other.drop(self.key)
        self.seen_at.clear()
        await self._stack.aclose()
        self._stack = AsyncExitStack()

    async def _check(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass a connection on, unless its first call names the socket's path as its authority."""
        inner_reader, inner_writer = await asyncio.open_unix_connection(self._inner)

        async def back() -> None:
            while data := await inner_reader.read(65536):
                writer.write(data)
                await writer.drain()

        returning = asyncio.create_task(back())
        try:
            while data := await reader.read(65536):
                if quote(str(self.socket).lstrip("/"), safe="").encode() in data:
                    self.refused += 1
                    return
                inner_writer.write(data)
                await inner_writer.drain()
        finally:
            returning.cancel()
            inner_writer.transport.abort()
            await asyncio.gather(returning, inner_writer.wait_closed(), return_exceptions=True)

    # Its overlay.

    def add_store(self, store_id: str, *peers: FakeDaemon, parent: str | None = None, archived: bool = False) -> None:
        """Give it a store with these members, itself among them."""
        statuses = {one.key: "active" for one in (self, *peers)}
        self.stores[store_id] = FakeStore(parent, archived, statuses)

    def announce(self, store_id: str) -> None:
        """Say that a store came up."""
        for queue in self.events:
            queue.put_nowait(pb.NodeEvent(store_ready=pb.StoreReady(store_id=uuid.UUID(store_id).bytes)))

    def dial_all(self) -> None:
        """Dial every peer of every store, as the daemon does by itself when it has lost all."""
        for store_id in self.stores:
            self._dial_peers(store_id)

    def drop(self, key: bytes) -> None:
        """Its connection with a peer is lost."""
        self.seen_at.pop(key, None)

    def _dial_peers(self, store_id: str) -> None:
        for key in self.stores[store_id].statuses if store_id in self.stores else ():
            if key == self.key or key in self.seen_at:
                continue
            if key in self.poisoned and not self.network.is_cured:
                continue
            if not self.network.reaches(self, key):
                self.poisoned.add(key)
                continue
            other = self.network.daemons[key]
            self.seen_at[key] = other.seen_at[self.key] = time.monotonic()
            self.poisoned.discard(key)
            other.poisoned.discard(self.key)

    # Its data.

    def write(
        self, store_id: str, author: bytes = b"", *dependencies: bytes, is_acknowledgement: bool = False
    ) -> bytes:
        """An intention of an author, its own key by default; returns its hash."""
        author = author or self.key
        there = self.stores[store_id]
        digest = hashlib.sha256(f"{store_id} {author.hex()} {len(self.intentions)}".encode()).digest()
        previous = there.tips.get(author, ZERO)
        self.receive(store_id, FakeIntention(digest, author, previous, dependencies, is_acknowledgement))
        there.writes += author == self.key and not is_acknowledgement
        return digest

    def receive(self, store_id: str, one: FakeIntention) -> None:
        """An intention arrives, by gossip or by a sync: it is applied once all that it names is, with what waited."""
        there = self.stores[store_id]
        self.intentions[one.hash] = there.floating[one.hash] = one
        while ready := [each for each in there.floating.values() if there.applied.issuperset(_named(each))]:
            for each in ready:
                del there.floating[each.hash]
                there.applied.add(each.hash)
                there.tips[each.author] = each.hash

    # Its services.

    async def GetStatus(self, request: pb.Empty, context: Context) -> pb.NodeStatus:
        return pb.NodeStatus(public_key=self.key, display_name="fake")

    async def Subscribe(
        self,
        request: pb.Empty,
        context: Context,
    ) -> AsyncIterator[pb.NodeEvent]:
        queue: asyncio.Queue[pb.NodeEvent] = asyncio.Queue()
        self.events.append(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self.events.remove(queue)

    async def List(self, request: pb.ListStoreRequest, context: Context) -> pb.StoreList:
        parent = str(uuid.UUID(bytes=request.parent_id)) if request.HasField("parent_id") else None
        return pb.StoreList(
            items=[
                pb.StoreRef(id=uuid.UUID(store_id).bytes, archived=one.archived)
                for store_id, one in self.stores.items()
                if one.parent == parent
            ]
        )

    async def ListPeers(self, request: pb.StoreId, context: Context) -> pb.PeerList:
        there = self.stores.get(self._called("ListPeers", request.store_id))
        if there is None:
            await _abort(context, grpc.StatusCode.UNIMPLEMENTED, "Peer manager not found for store")
        now = time.monotonic()
        return pb.PeerList(
            items=[
                pb.PeerInfo(
                    public_key=key, status=status, online=key == self.key or key in self.seen_at,
                    last_seen_ms=int((now - self.seen_at[key]) * 1000) if key in self.seen_at else 0,
                )
                for key, status in there.statuses.items()
            ]
        )  # fmt: skip

    async def ReconnectPeers(self, request: pb.StoreId, context: Context) -> pb.Empty:
        asyncio.get_running_loop().call_soon(self._dial_peers, self._called("ReconnectPeers", request.store_id))
        return pb.Empty()

    async def Sync(self, request: pb.StoreId, context: Context) -> pb.Empty:
        there = self.stores.get(self._called("Sync", request.store_id))
        for key in there.statuses if there is not None else ():
            if key in self.seen_at and self.network.reaches(self, key):
                self.seen_at[key] = time.monotonic()
        return pb.Empty()

    async def GetAuthorTips(self, request: pb.StoreId, context: Context) -> pb.AuthorTips:
        there = self.stores.get(self._called("GetAuthorTips", request.store_id))
        if there is None:
            await _abort(context, grpc.StatusCode.NOT_FOUND, "Store not found")
        newest = {one.author: one.hash for one in there.floating.values()} if self.names_floating_tips else {}
        tips = {**there.tips, **newest}
        return pb.AuthorTips(items=[pb.AuthorState(public_key=key, hash=tip) for key, tip in tips.items()])

    async def FloatingIntentions(self, request: pb.StoreId, context: Context) -> pb.FloatingIntentionList:
        there = self.stores.get(self._called("FloatingIntentions", request.store_id))
        if there is None:
            await _abort(context, grpc.StatusCode.NOT_FOUND, "Store not found")
        return pb.FloatingIntentionList(
            items=[pb.FloatingIntention(intention=_message(one)) for one in there.floating.values()]
        )

    async def GetAuthorStateObservations(
        self,
        request: pb.StoreId,
        context: Context,
    ) -> pb.AuthorStateObservations:
        there = self.stores.get(self._called("GetAuthorStateObservations", request.store_id))
        if there is None:
            await _abort(context, grpc.StatusCode.NOT_FOUND, "Store not found")
        seen = {self.key: there.writes, **there.held}
        return pb.AuthorStateObservations(
            items=[pb.Observation(observer=one, observed_author=self.key, seen=count) for one, count in seen.items()],
            author_totals=[pb.AuthorTotal(author=self.key, count=there.writes)],
        )

    async def GetIntention(
        self,
        request: pb.GetIntentionRequest,
        context: Context,
    ) -> pb.GetIntentionResponse:
        self._called("GetIntention", request.store_id)
        found = self.intentions.get(request.hash_prefix)
        if found is None:
            await _abort(context, grpc.StatusCode.NOT_FOUND, "Intention not found")
        return pb.GetIntentionResponse(intention=_message(found))

    def _called(self, call: str, store_id: bytes) -> str:
        self.calls.append(call)
        return str(uuid.UUID(bytes=store_id))


def _named(one: FakeIntention) -> set[bytes]:
    return {*one.dependencies, one.store_prev} - {ZERO}


def _message(one: FakeIntention) -> pb.Intention:
    empty = pb.Operation(list=pb.OperationList())
    text = pb.Operation(list=pb.OperationList(items=[pb.Operation()]))
    return pb.Intention(
        hash=one.hash, author=one.author, store_prev=one.store_prev,
        condition=pb.Condition(v1=pb.CausalDeps(hashes=one.dependencies)),
        ops=[empty] if one.is_acknowledgement else [text],
    )  # fmt: skip


async def _abort(context: Context, code: grpc.StatusCode, text: str) -> NoReturn:
    await context.abort(code, text)
    raise AssertionError("abort returned")


@asynccontextmanager
async def daemons(directory: Path, *names: str, is_cured: bool = False) -> AsyncGenerator[list[FakeDaemon]]:
    """Daemons with the store 1 in common, connected with each other."""
    network = FakeNetwork(is_cured=is_cured)
    made = [FakeDaemon(name, network, directory) for name in names]
    async with AsyncExitStack() as stack:
        for one in made:
            one.add_store(store(1), *(other for other in made if other is not one))
            stack.push_async_callback(one.stop)
            await one.start()
        for one in made:
            one.poisoned.clear()
        made[-1].dial_all()
        for one in made:
            one.dial_all()
        yield made

"""The agent: keeps a node attached to the service, reports what it hears, carries out rejoins."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections import deque
from collections.abc import Callable
from importlib.metadata import version
from typing import TypeAlias

import grpc
from gossipcontrol.agent.event import AgentEvent, NeighborEvent
from gossipcontrol.agent.node import Node
from gossipcontrol.agent.presence_cache import PresenceCache
from gossipcontrol.agent.rejoin_executor import RejoinExecutor
from gossipcontrol.agent.report_builder import ReportBuilder
from gossipcontrol.agent.sync_executor import SyncExecutor
from gossipcontrol.client.address import default_address
from gossipcontrol.client.channel import is_serving, open_channel
from gossipcontrol.client.clock import boottime
from gossipcontrol.client.presence import Peer, PeerChange
from gossipcontrol.client.race import run_until_first
from gossipcontrol.client.retry import reconnect_wait
from gossipcontrol.v1 import attach_pb2, gossip_control_pb2_grpc
from gossipcontrol.v1.decision_pb2 import Cause, Rung

Call: TypeAlias = "grpc.aio.StreamStreamCall[attach_pb2.AttachRequest, attach_pb2.AttachResponse]"

CONNECT_TIMEOUT = 5.0
"""Seconds within which an opened stream must be answered."""
PROBE_TIMEOUT = 1.0
"""Seconds within which a stream must prove after a kick that it lives."""
STEADY = 10.0
"""Seconds after which a stream counts as having worked: one that ends sooner makes the next wait longer."""
GOODBYE_TIMEOUT = 1.0
"""Seconds that the service has to take a goodbye."""
EVENTS = 1000
"""Most neighbour events that wait for the stream; the oldest go first, a report makes up for them."""


class Agent:
    """Speaks for one node.

    The app calls ``sent``, ``received``, ``neighbor_up``, ``neighbor_down`` and ``unsynced_writes``; it counts, takes
    ages and reports. An id that is empty, longer than 128 bytes or no UTF-8, or what is no count, raises ValueError and
    changes nothing.
    All of them, and ``rest``, ``wake`` and ``kick``, must be called in the event loop of ``run``.
    """

    def __init__(
        self,
        node: Node,
        address: str | None = None,
        *,
        host_id: str = "",
        on_event: Callable[[AgentEvent], None] = lambda event: None,
        on_peer: Callable[[str, PeerChange], None] = lambda store_id, change: None,
    ) -> None:
        self._node = node
        self._address = address or default_address()
        self._host_id = host_id
        self._on_event = on_event
        self._incarnation = uuid.uuid4().hex
        self._tally = ReportBuilder()
        self._views = PresenceCache(on_peer)
        self._wanted = asyncio.Event()
        self._kicked = asyncio.Event()
        self._desk = RejoinExecutor(node, self._wanted.set)
        self._syncs = SyncExecutor(node, self._wanted.set)
        self._neighbor_events: deque[NeighborEvent] = deque(maxlen=EVENTS)
        self._due: set[str] = set()
        """Stores whose report must not wait for its interval."""
        self._awaiting_proof: set[str] = set()
        self._interval = 10.0
        self._leaving = False
        self._resting = False
        self._announcing = False
        self._attached_at = 0.0
        self._told = ""
        """Why it is not attached, as last told."""
        self.attached = asyncio.Event()
        """Set while the service has the node registered."""

    # What the app tells.

    def sent(self, store_id: str) -> None:
        """The node broadcast a message."""
        self._tally.sent(store_id)

    def received(self, store_id: str, author_id: str, *, direct: bool) -> None:
        """The node received a message of this author; ``direct`` when the author itself delivered it."""
        self._tally.received(store_id, author_id, direct=direct)
        if store_id in self._awaiting_proof:
            self._awaiting_proof.discard(store_id)
            self._report_soon(store_id)

    def neighbor_up(self, store_id: str, peer_id: str) -> None:
        """A neighbour came up."""
        if self._tally.neighbor_up(store_id, peer_id):
            self._tell_neighbor(store_id, peer_id, up=True)

    def neighbor_down(self, store_id: str, peer_id: str) -> None:
        """A neighbour went down."""
        if self._tally.neighbor_down(store_id, peer_id):
            self._tell_neighbor(store_id, peer_id, up=False)

    def unsynced_writes(self, store_id: str, count: int) -> None:
        """So many local writes are not yet known to be held elsewhere."""
        self._tally.unsynced_writes(store_id, count)

    def peers(self, store_id: str) -> list[Peer]:
        """The peers of a store, as the service last saw them; ``on_peer`` is told when one changes."""
        return self._views.peers(store_id)

    def rest(self) -> None:
        """The node's silence is no failure from now on: it has no way out, or its host is about to sleep.

        The service is told, and nothing else is reported until ``wake`` or a rejoin.
        """
        if not self._resting:
            self._resting = True
            self._report_all()

    def wake(self) -> None:
        """The node speaks again."""
        if self._resting:
            self._resting = False
            self._report_all()

    def kick(self) -> None:
        """The network changed: connect at once if there is no stream, or see whether the stream still lives."""
        self._kicked.set()

    def announce(self) -> None:
        """The node's stores, addresses or capabilities changed: register it anew."""
        self._announcing = True
        self._wanted.set()

    # The stream.

    async def run(self) -> None:
        """Stay attached until cancelled or ``leave`` is called."""
        failures = 0
        while not self._leaving:
            self._kicked.clear()
            reason = "left"
            try:
                await self._attach_once()
            except (grpc.aio.AioRpcError, TimeoutError, ConnectionError, asyncio.InvalidStateError) as error:
                reason = _reason(error)
            # Two agents of one node take the stream from each other: without this they would do so without end.
            steady = self.attached.is_set() and time.monotonic() - self._attached_at >= STEADY
            failures = 0 if steady else failures + 1
            self._detached(reason)
            if not self._leaving:
                await self._pause(reconnect_wait(max(1, failures)))

    async def leave(self) -> None:
        """Say goodbye on the stream, if there is one; ``run`` then returns."""
        self._leaving = True
        self._wanted.set()
        self._kicked.set()
        await self._desk.close()
        await self._syncs.close()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._kicked.wait()

    def _detached(self, reason: str) -> None:
        if self.attached.is_set():
            self.attached.clear()
            self._on_event(AgentEvent("detached", reason))
        elif reason != self._told and not self._leaving:
            self._told = reason
            self._on_event(AgentEvent("unattached", reason))

    async def _attach_once(self) -> None:
        """One stream from its start to its end; raises what ended it."""
        channel = open_channel(self._address)
        try:
            stub: gossip_control_pb2_grpc.GossipControlAsyncStub
            stub = gossip_control_pb2_grpc.GossipControlStub(channel)
            call = stub.Attach()
            async with asyncio.timeout(CONNECT_TIMEOUT):
                # A kick says that the way has changed: what hangs on the old one is not worth waiting for.
                await run_until_first(self._register(call), self._kicked.wait())
            if not self.attached.is_set():
                raise ConnectionError("the network changed while connecting")
            await run_until_first(self._read(call), self._write(call), self._probe(channel))
        finally:
            await channel.close()

    async def _register(self, call: Call) -> None:
        await call.write(attach_pb2.AttachRequest(register=self._registration()))
        first = await call.read()
        if not isinstance(first, attach_pb2.AttachResponse):
            raise ConnectionError(await _end(call))
        self._registered(first.registered)

    async def _read(self, call: Call) -> None:
        while isinstance(frame := await call.read(), attach_pb2.AttachResponse):
            match frame.WhichOneof("frame"):
                case "rejoin":
                    self._take(frame.rejoin)
                case "sync":
                    self._syncs.take(frame.sync)
                case "ack":
                    self._interval = max(0.1, frame.ack.next_report_ms / 1000)
                    self._views.take(frame.ack.view)
                case _:
                    pass
        if not self._leaving:
            raise ConnectionError(await _end(call))

    async def _write(self, call: Call) -> None:
        """Send what is wanted as it comes, and every store's report once per interval, however much else is sent."""
        self._due.update(self._node.stores())
        reported_at = time.monotonic()
        while True:
            self._wanted.clear()
            if self._announcing:
                self._announcing = False
                await call.write(attach_pb2.AttachRequest(register=self._registration()))
            await self._deliver(call)
            while self._neighbor_events:
                event = self._neighbor_events.popleft()
                await call.write(attach_pb2.AttachRequest(neighbor=event.message(boottime())))
            while self._due:
                report = self._views.name(self._tally.report(self._due.pop()))
                report.going_to_sleep = self._resting
                await call.write(attach_pb2.AttachRequest(liveness=report))
            if self._leaving:
                await call.write(attach_pb2.AttachRequest(goodbye=attach_pb2.Goodbye(reason="stopping")))
                await call.done_writing()
                # A channel that is closed at once takes the goodbye with it.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(GOODBYE_TIMEOUT):
                        await call.code()
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(reported_at + self._interval - time.monotonic()):
                    await self._wanted.wait()
            if (now := time.monotonic()) >= reported_at + self._interval:
                self._due.update(() if self._resting else self._node.stores())
                reported_at = now

    async def _deliver(self, call: Call) -> None:
        """Send the results of commands; what a broken stream did not take, the next one is offered."""
        for key, result in list(self._desk.undelivered.items()):
            await call.write(attach_pb2.AttachRequest(rejoin_result=result))
            self._desk.undelivered.pop(key, None)
            self._on_event(AgentEvent("result", result.error or "ok", rejoin_id=result.rejoin_id))
        while (synced := self._syncs.next_result()) is not None:
            await call.write(attach_pb2.AttachRequest(sync_result=synced))
            self._syncs.delivered(synced)
            self._on_event(AgentEvent("sync", synced.error or "ok", synced.store_id, peer_id=synced.peer_id))

    async def _probe(self, channel: grpc.aio.Channel) -> None:
        """After a kick, raise unless the service answers on this connection: its address may be gone."""
        while True:
            await self._kicked.wait()
            self._kicked.clear()
            if not self._leaving:
                await is_serving(channel, PROBE_TIMEOUT)

    def _registration(self) -> attach_pb2.Register:
        return attach_pb2.Register(
            node_id=self._node.node_id,
            store_ids=self._node.stores(),
            host_id=self._host_id,
            capabilities=self._node.capabilities,
            addresses=self._node.addresses(),
            incarnation=self._incarnation,
            agent=f"gossipcontrol-agent/{version('gossipcontrol')}",
        )

    def _registered(self, registered: attach_pb2.Registered) -> None:
        self._interval = max(0.1, registered.next_report_ms / 1000)
        self._neighbor_events.clear()
        self._attached_at, self._told = time.monotonic(), ""
        self.attached.set()
        self._on_event(AgentEvent("attached", f"session {registered.session_id}, {registered.unparked} unparked"))

    def _take(self, command: attach_pb2.RejoinCommand) -> None:
        causes = ", ".join(Cause.Name(cause).removeprefix("CAUSE_").lower() for cause in command.causes)
        rung = Rung.Name(command.rung).removeprefix("RUNG_").lower()
        self._on_event(AgentEvent("command", f"{rung} because of {causes}", command.store_id, command.rejoin_id))
        self.wake()
        self._awaiting_proof.add(command.store_id)
        self._desk.take(command)

    def _tell_neighbor(self, store_id: str, peer_id: str, *, up: bool) -> None:
        self._neighbor_events.append(NeighborEvent(store_id, peer_id, up, boottime()))
        self._wanted.set()

    def _report_all(self) -> None:
        self._due.update(self._node.stores())
        self._wanted.set()

    def _report_soon(self, store_id: str) -> None:
        self._due.add(store_id)
        self._wanted.set()


async def _end(call: Call) -> str:
    return f"{(await call.code()).name}: {await call.details() or 'the stream ended'}"


def _reason(error: BaseException) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return str(error) or f"no answer within {CONNECT_TIMEOUT:g} s"

"""A node that does as it is told, and a way to the service that can be cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress

from gossipcontrol.agent import Agent, AgentEvent, BootstrapPeer, Capability, Rung

from tests.kit.local_server import LocalServer


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class FakeNode:
    """Records its rejoins and syncs; ``failure`` is raised by each, ``held`` makes each wait."""

    def __init__(self, node_id: str = "n", *store_ids: str) -> None:
        self.node_id = node_id
        self.capabilities: Sequence[Capability] = ()
        self.rejoins: list[tuple[str, Rung, list[str]]] = []
        self.syncs: list[tuple[str, str, list[str]]] = []
        self.failure: Exception | None = None
        self.held: asyncio.Event | None = None
        self._stores = list(store_ids or ("a",))

    def stores(self) -> Sequence[str]:
        return self._stores

    def addresses(self) -> Sequence[str]:
        return ("192.0.2.1:4",)

    async def rejoin(self, store_id: str, bootstrap: Sequence[BootstrapPeer], rung: Rung) -> None:
        self.rejoins.append((store_id, rung, [peer.peer_id for peer in bootstrap]))
        await self._do()

    async def sync_with_peer(self, store_id: str, peer_id: str, addresses: Sequence[str]) -> None:
        self.syncs.append((store_id, peer_id, list(addresses)))
        await self._do()

    async def _do(self) -> None:
        if self.held is not None:
            await self.held.wait()
        if self.failure is not None:
            raise self.failure


class Proxy:
    """TCP to the service; ``dead`` swallows every byte, ``cut`` ends every connection, ``delay`` is each way's."""

    def __init__(self, target: str) -> None:
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self._server = LocalServer(self._serve)
        self.dead = False
        self.delay = 0.0
        """Seconds that each way takes."""
        self.connections = 0

    @property
    def address(self) -> str:
        """Where it listens."""
        return self._server.address

    def cut(self) -> None:
        """End every connection."""
        self._server.cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        far_reader, far_writer = await asyncio.open_connection(self._host, self._port)
        try:
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        finally:
            far_writer.transport.abort()
            with suppress(OSError):
                await far_writer.wait_closed()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        dead = self.dead
        while data := await reader.read(65536):
            # A connection made while the way is dead stays dead; so does one that was made before.
            dead = dead or self.dead
            if not dead:
                await asyncio.sleep(self.delay)
                writer.write(data)
                await writer.drain()
        writer.close()

    @staticmethod
    @asynccontextmanager
    async def to(target: str) -> AsyncGenerator[Proxy]:
        """A proxy to this address."""
        proxy = Proxy(target)
        async with proxy._server:
            yield proxy


class Watched:
    """An agent that runs, and what it told."""

    def __init__(self, node: FakeNode, address: str, host_id: str = "") -> None:
        self.events: list[AgentEvent] = []
        self.agent = Agent(node, address, host_id=host_id, on_event=self.events.append)

    def told(self, what: str) -> list[AgentEvent]:
        """The events of one kind."""
        return [event for event in self.events if event.what == what]


@asynccontextmanager
async def running(node: FakeNode, address: str, host_id: str = "") -> AsyncGenerator[Watched]:
    """An agent from its start until it is cancelled."""
    watched = Watched(node, address, host_id)
    task = asyncio.create_task(watched.agent.run())
    try:
        yield watched
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

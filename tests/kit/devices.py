"""Two devices: plain iroh-gossip nodes on hosts of their own, each with an agent, a watcher and a restart command.

The service is elsewhere: the first device reaches it only while its link is up.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from tests.kit.cluster import STORE, Cluster, contact
from tests.kit.local_server import LocalServer
from tests.kit.network import Network
from tests.kit.plain_node import PROGRAM
from tests.kit.process import Process, agent, service, watcher

START_TIME = 60.0
"""Seconds within which a process starts: an iroh node alone searches 3 s for a relay."""
SOCKET = "gossipcontrol.sock"


class Devices(Cluster):
    """The second device joins through the first."""

    def __init__(self, directory: Path, *, heartbeat: float = 0.5) -> None:
        super().__init__(directory, control=True)
        self.network = Network(2)
        self._heartbeat = heartbeat
        self._is_cut = False
        self._way: LocalServer

    async def cut(self) -> None:
        """Take the link of the first down."""
        self._is_cut = True
        self._way.cut()
        await self.hosts[0].link_down()

    async def restore(self) -> None:
        """Bring it up."""
        await self.hosts[0].link_up()
        self._is_cut = False

    async def restart(self, node_id: str) -> None:
        """What the supervisor does that the restart command asks: kill a node, and start it again."""
        node = self.nodes[self.ids.index(node_id)]
        await node.stop(signal.SIGKILL)
        await node.start()

    async def _start(self) -> None:
        enter = self._stack.enter_async_context
        await enter(self.network)
        self.service = await enter(service(None, self.directory))
        await self.service.wait_for("serving", START_TIME)
        beyond = self.directory / "beyond"
        beyond.mkdir()
        self._way = await enter(LocalServer(self._pass_on, beyond / SOCKET))
        peer = ""
        for number, directory in enumerate((beyond, self.directory)):
            node = await enter(self._node(number, directory, peer))
            self.nodes.append(node)
            peer = contact(await node.wait_for("node", START_TIME), self.hosts[number])
            self.ids.append(peer.partition("@")[0])
            self.watchers.append(await enter(watcher(self.hosts[number], directory)))
        await asyncio.gather(*(one.wait_for("watching", START_TIME) for one in self.watchers))
        await asyncio.gather(*(one.wait_for("attached", START_TIME) for one in self.nodes))
        await self.until_all_heard(0.0, START_TIME)

    def _node(self, number: int, directory: Path, peer: str) -> Process:
        flags = ["--heartbeat", str(self._heartbeat), "--key-file", str(self.directory / f"{number}.key")]
        flags += ["--restart-command", "true", *(("--peer", peer) if peer else ())]
        return agent(self.hosts[number], STORE, *flags, directory=directory, name=f"node {number + 1}", program=PROGRAM)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass a connection on to the service, unless the way is cut."""
        if self._is_cut:
            return
        far_reader, far_writer = await asyncio.open_unix_connection(self.directory / SOCKET)

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                target.write(data)
                await target.drain()

        both = [asyncio.create_task(copy(reader, far_writer)), asyncio.create_task(copy(far_reader, writer))]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in both:
                one.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            far_writer.transport.abort()

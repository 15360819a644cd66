"""A swarm as a user has it: real iroh-gossip nodes on hosts of their own, of which only the first has GossipControl."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from tests.kit.cluster import STORE, Cluster, contact
from tests.kit.network import Host, Network
from tests.kit.process import PYTHON_NODE, Process, agent, service, watcher

START_TIME = 60.0
"""Seconds within which a process starts: an iroh node alone searches 3 s for a relay."""


class Swarm(Cluster):
    """Nodes that are neighbours. The first host has a service and a watcher, and its node an agent; the others none.

    With ``control=False`` the first node is bare like the others. ``program`` is the node.
    """

    def __init__(
        self,
        directory: Path,
        *,
        hosts: int = 3,
        control: bool = True,
        heartbeat: float = 0.5,
        metrics: str = "",
        program: Sequence[str] = PYTHON_NODE,
    ) -> None:
        super().__init__(directory, control=control)
        self.network = Network(hosts)
        self._heartbeat = heartbeat
        self._metrics = metrics
        self._program = program

    @property
    def host(self) -> Host:
        """The first host."""
        return self.network.hosts[0]

    @property
    def node(self) -> Process:
        """The first node."""
        return self.nodes[0]

    @property
    def watcher(self) -> Process:
        """The watcher of the first host."""
        return self.watchers[0]

    @property
    def others(self) -> list[Process]:
        """All nodes but the first."""
        return self.nodes[1:]

    async def _start(self) -> None:
        enter = self._stack.enter_async_context
        await enter(self.network)
        if self.controlled:
            self.service = await enter(service(None, self.directory, metrics_address=self._metrics))
            await self.service.wait_for("serving", START_TIME)
            self.watchers = [await enter(watcher(self.host, self.directory))]
            await self.watcher.wait_for("watching", START_TIME)
        # The last node first: each further node joins through those that run already.
        started: list[tuple[Process, str]] = []
        for number, host in reversed(list(enumerate(self.network.hosts))):
            peers = [flag for _, peer in started for flag in ("--peer", peer)]
            directory = self.directory if self.controlled and number == 0 else None
            name = f"node {number + 1}"
            flags = ("--heartbeat", str(self._heartbeat), *peers)
            node = await enter(agent(host, STORE, *flags, directory=directory, name=name, program=self._program))
            started.append((node, contact(await node.wait_for("node", START_TIME), host)))
        self.nodes = [node for node, _ in reversed(started)]
        self.ids = [peer.partition("@")[0] for _, peer in reversed(started)]
        await asyncio.gather(*(node.wait_for("up", START_TIME) for node in self.nodes))
        await self.node.wait_for("heard", START_TIME, peer=self.ids[-1])
        if self.controlled:
            await self.node.wait_for("attached", START_TIME)

    async def wait_for_loss(self, timeout: float) -> None:
        """Wait until every other node has dropped the first one from its view, after the transport's idle timeout."""
        await asyncio.gather(*(node.wait_for("down", timeout, peer=self.ids[0]) for node in self.others))

    async def wait_for_beats(self, count: int, timeout: float) -> None:
        """Wait until the first node has received so many further messages of the last one."""
        peer = self.ids[-1]
        for _ in range(count):
            heard = self.node.all("heard", peer=peer)
            await self.node.wait_for("heard", timeout, peer=peer, after=float(heard[-1]["ts"]) if heard else 0.0)

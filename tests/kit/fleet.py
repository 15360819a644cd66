"""A fleet: real iroh-gossip nodes, each on a host of its own, all attached to one service, or none of them.

The hosts are on one bridge, or on two with a cable between them. The service listens on a Unix socket, which crosses
network namespaces, so the agents stay attached whatever happens between their nodes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from tests.kit.cluster import STORE, Cluster, contact
from tests.kit.neighbor_graph import NeighborGraph
from tests.kit.network import Network
from tests.kit.process import PYTHON_NODE, Line, Process, agent, service, watcher

START_TIME = 90.0
"""Seconds within which every process starts, also on a busy machine."""
SILENT_HEARTBEAT = 3600.0
"""Seconds between two messages of a silent node."""


class Fleet(Cluster):
    """``near`` hosts on the first bridge, ``beyond`` on the second.

    Of the nodes, counted from 0, those in ``bare`` have no agent, and those in ``silent`` broadcast once only. With
    ``control=False`` there is no service and no agent. With ``watched=True`` every host has a watcher, and the agents
    follow their hosts' networks. ``program`` is the node.
    """

    def __init__(
        self,
        directory: Path,
        *,
        near: int,
        beyond: int = 0,
        control: bool = True,
        bare: Collection[int] = (),
        silent: Collection[int] = (),
        heartbeat: float = 0.5,
        size: int = 0,
        watched: bool = False,
        settings: Mapping[str, str] | None = None,
        program: Sequence[str] = PYTHON_NODE,
    ) -> None:
        super().__init__(directory, control=control)
        self.network = Network(near + beyond, beyond)
        self.graph = NeighborGraph()
        self._near = near
        self._bare = frozenset(bare if control else range(near + beyond))
        self._silent = frozenset(silent)
        self._heartbeat = heartbeat
        self._flags = ("--size", str(size), "--watch" if watched else "--no-watch")
        self._watched = watched
        self._settings = settings or {}
        self._program = program
        self._changed = asyncio.Condition()
        self._changed_at = 0.0
        self._notices: set[asyncio.Task[None]] = set()
        self._id_of: dict[Process, str] = {}

    @property
    def bare_nodes(self) -> list[Process]:
        """The nodes without an agent."""
        return [node for number, node in enumerate(self.nodes) if number in self._bare]

    @property
    def sides(self) -> tuple[list[str], list[str]]:
        """The ids of the nodes on the first bridge, and of those on the second."""
        return self.ids[: self._near], self.ids[self._near :]

    async def _start(self) -> None:
        enter = self._stack.enter_async_context
        await enter(self.network)
        if self.controlled:
            self.service = await enter(service(None, self.directory, log_to=None, **self._settings))
            await self.service.wait_for("serving", START_TIME)
        # The others join through the first node, and start side by side, since each waits 3 s for a relay.
        first = await self._start_node(0)
        others = await asyncio.gather(*(self._start_node(one, first) for one in range(1, len(self.hosts))))
        self.ids = [peer.partition("@")[0] for peer in (first, *others)]
        await self.until_components(1, START_TIME)
        attached = [node for number, node in enumerate(self.nodes) if number not in self._bare]
        await asyncio.gather(*(node.wait_for("attached", START_TIME) for node in attached))
        for host in self.hosts if self._watched else ():
            self.watchers.append(one := await enter(watcher(host, self.directory)))
            await one.wait_for("watching", START_TIME)

    async def _start_node(self, number: int, *peers: str) -> str:
        """Start one node; returns its id and address."""
        host = self.hosts[number]
        heartbeat = SILENT_HEARTBEAT if number in self._silent else self._heartbeat
        flags = ["--heartbeat", str(heartbeat), *self._flags, *(flag for peer in peers for flag in ("--peer", peer))]
        directory = None if number in self._bare else self.directory
        name = f"node {number + 1}"
        node = agent(host, STORE, *flags, directory=directory, name=name, program=self._program, on_line=self._on_line)
        self.nodes.insert(number, node)
        await self._stack.enter_async_context(node)
        return contact(await node.wait_for("node", START_TIME), host)

    def _on_line(self, node: Process, line: Line) -> None:
        if line["event"] == "node":
            self._id_of[node] = str(line["node"])
        elif node in self._id_of and self.graph.record(self._id_of[node], line):
            self._changed_at = float(line["ts"])
            task = asyncio.get_running_loop().create_task(self._notify())
            self._notices.add(task)
            task.add_done_callback(self._notices.discard)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def until_components(self, count: int, timeout: float, node_ids: Collection[str] = ()) -> float:
        """Wait until these nodes (all by default) form so many components; returns since when (wall clock).

        Raises TimeoutError with the components at the deadline.
        """
        try:
            async with asyncio.timeout(timeout), self._changed:
                while len(self.graph.components(node_ids or self.ids)) != count or not self.ids:
                    await self._changed.wait()
                return self._changed_at
        except TimeoutError:
            sizes = sorted(map(len, self.graph.components(node_ids or self.ids)), reverse=True)
            raise TimeoutError(
                f"{len(node_ids or self.ids)} nodes did not form {count} component(s) in {timeout:g} s; "
                f"they form components of {sizes} nodes"
            ) from None

    def lines(self, event: str, since: float, until: float = float("inf")) -> list[Line]:
        """The lines of all nodes with this event in a time (wall clock)."""
        return [line for node in self.nodes for line in node.all(event, after=since) if line["ts"] <= until]

    async def cut_for(self, seconds: float) -> tuple[float, float, int]:
        """Cut the cable for so long; returns when it was cut, when it was put back, and how many components then."""
        cut_at = time.time()
        await self.network.cut()
        await asyncio.sleep(seconds)  # the cut is the stimulus, and its length part of it
        components = len(self.graph.components(self.ids))
        healed_at = time.time()
        await self.network.heal()
        return cut_at, healed_at, components

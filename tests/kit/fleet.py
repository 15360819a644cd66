"""A fleet: iroh-gossip nodes on hosts of their own, every one of them attached to one service, or none.

The hosts are on one bridge, or on two with a cable between them. The service listens on a Unix socket, which crosses
network namespaces, so that the agents stay attached whatever happens between their nodes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from pathlib import Path

from tests.kit.cluster import STORE, Cluster, contact
from tests.kit.network import Host, Network
from tests.kit.process import Process, Said, agent, service, watcher

START_TIME = 90.0
"""Seconds within which all must have started, on a machine that is busy with other things too."""
SELDOM = 3600.0
"""Seconds between two messages of a silent node."""


class Overlay:
    """Who says to be whose neighbour, as the nodes tell it."""

    def __init__(self) -> None:
        self._neighbors: dict[str, set[str]] = {}
        self.ever: set[frozenset[str]] = set()
        """Every pair of which one was ever the other's neighbour."""

    def take(self, node_id: str, said: Said) -> bool:
        """Take one line of a node; returns whether its neighbours changed."""
        if said["event"] not in ("up", "down"):
            return False
        mine, peer = self._neighbors.setdefault(node_id, set()), str(said["peer"])
        if said["event"] == "down":
            mine.discard(peer)
        else:
            mine.add(peer)
            self.ever.add(frozenset((node_id, peer)))
        return True

    def neighbors(self, node_id: str) -> frozenset[str]:
        """Of one node."""
        return frozenset(self._neighbors.get(node_id, ()))

    def components(self, node_ids: Collection[str]) -> list[set[str]]:
        """The parts into which these nodes fall; two hold together when both say so."""
        left, found = set(node_ids), list[set[str]]()
        while left:
            part, edge = set[str](), {left.pop()}
            while edge:
                part.add(node_id := edge.pop())
                mutual = {peer for peer in self.neighbors(node_id) & left if node_id in self.neighbors(peer)}
                left -= mutual
                edge |= mutual
            found.append(part)
        return found


class Fleet(Cluster):
    """``near`` hosts on the first bridge, ``beyond`` on the second.

    Of the nodes, counted from 0, those in ``bare`` have no agent, and those in ``silent`` say one thing and no more.
    ``watched``: every host has a watcher, and the agents follow their hosts' networks.
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
    ) -> None:
        super().__init__(directory)
        self.network = Network(near + beyond, beyond)
        self.controlled = control
        self.overlay = Overlay()
        self._near = near
        self._bare = frozenset(bare if control else range(near + beyond))
        self._silent = frozenset(silent)
        self._heartbeat = heartbeat
        self._flags = ("--size", str(size), "--watch" if watched else "--no-watch")
        self._watched = watched
        self.watchers: list[Process] = []
        self._settings = settings or {}
        self._moved = asyncio.Condition()
        self._moved_at = 0.0
        self._notices: set[asyncio.Task[None]] = set()
        self._id_of: dict[Process, str] = {}

    @property
    def hosts(self) -> list[Host]:
        """In the order of the nodes."""
        return self.network.hosts

    @property
    def processes(self) -> list[Process]:
        """All that runs."""
        return [*self.nodes, *self.watchers, *([self.service] if self.controlled else [])]

    @property
    def sides(self) -> tuple[list[str], list[str]]:
        """The ids on the first bridge, and those on the second."""
        return self.ids[: self._near], self.ids[self._near :]

    async def _start(self) -> None:
        enter = self._stack.enter_async_context
        await enter(self.network)
        if self.controlled:
            self.service = await enter(service(None, self.directory, log_to=None, **self._settings))
            await self.service.wait_for("serving", START_TIME)
        # The first node alone: all others join through it, side by side, since each waits 3 s for a relay.
        first = await self._start_node(0)
        others = await asyncio.gather(*(self._start_node(one, first) for one in range(1, len(self.hosts))))
        self.ids = [peer.partition("@")[0] for peer in (first, *others)]
        await self.until_parts(1, START_TIME)
        attached = [node for number, node in enumerate(self.nodes) if number not in self._bare]
        await asyncio.gather(*(node.wait_for("attached", START_TIME) for node in attached))
        for host in self.hosts if self._watched else ():
            self.watchers.append(one := await enter(watcher(host, self.directory)))
            await one.wait_for("watching", START_TIME)

    async def _start_node(self, number: int, *peers: str) -> str:
        """Start one node; returns its id and address."""
        host = self.hosts[number]
        heartbeat = SELDOM if number in self._silent else self._heartbeat
        flags = ["--heartbeat", str(heartbeat), *self._flags, *(flag for peer in peers for flag in ("--peer", peer))]
        directory = None if number in self._bare else self.directory
        node = agent(host, STORE, *flags, directory=directory, name=f"node {number + 1}", on_line=self._heard)
        self.nodes.insert(number, node)
        await self._stack.enter_async_context(node)
        said = await node.wait_for("node", START_TIME)
        return contact(said, host)

    def _heard(self, node: Process, said: Said) -> None:
        if said["event"] == "node":
            self._id_of[node] = str(said["node"])
        elif node in self._id_of and self.overlay.take(self._id_of[node], said):
            self._moved_at = float(said["ts"])
            task = asyncio.get_running_loop().create_task(self._notice())
            self._notices.add(task)
            task.add_done_callback(self._notices.discard)

    async def _notice(self) -> None:
        async with self._moved:
            self._moved.notify_all()

    async def until_parts(self, count: int, timeout: float, node_ids: Collection[str] = ()) -> float:
        """Wait until these nodes (all) hold together in so many parts; returns when that came about (wall clock)."""
        async with asyncio.timeout(timeout), self._moved:
            while len(self.overlay.components(node_ids or self.ids)) != count or not self.ids:
                await self._moved.wait()
            return self._moved_at

    def said(self, event: str, since: float, until: float = float("inf")) -> list[Said]:
        """What all nodes said of one kind in a time."""
        return [said for node in self.nodes for said in node.all(event, after=since) if said["ts"] <= until]

    async def cut_for(self, seconds: float) -> tuple[float, float, int]:
        """Cut the cable for so long; returns when it was cut and when it healed (wall clock), and the parts then."""
        cut_at = time.time()
        await self.network.cut()
        await asyncio.sleep(seconds)
        parts = len(self.overlay.components(self.ids))
        healed_at = time.time()
        await self.network.heal()
        return cut_at, healed_at, parts

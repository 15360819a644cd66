"""A fleet of real nodes and what its service reports: presence as it changes, rejoins, metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from gossipcontrol.client import Cause, Client, PeerState, RejoinRecord
from prometheus_client.parser import text_string_to_metric_families

from tests.kit.cluster import STORE
from tests.kit.fleet import Fleet
from tests.kit.http import fetch
from tests.kit.ports import free_ports
from tests.kit.process import PYTHON_NODE
from tests.kit.until import until

SOON = 60.0
"""Seconds within which everything happens that has no bound of its own; a quiet machine takes a fraction of it."""
QUERY_PAUSE = 0.1
"""Seconds between two questions to the service; each costs it and the test milliseconds of processor time."""


class ObservedFleet:
    """A fleet whose presence is followed; ``history`` holds each change and its instant (monotonic)."""

    def __init__(self, fleet: Fleet, client: Client, metrics_port: int) -> None:
        self.fleet = fleet
        self.client = client
        self.history: list[tuple[float, str, PeerState]] = []
        self._metrics_port = metrics_port
        self._states: dict[str, PeerState] = {}

    @property
    def page(self) -> str:
        """The address of the service's status page."""
        return f"http://127.0.0.1:{self._metrics_port}/"

    def state(self, node_id: str) -> PeerState | None:
        """The presence of a node now; None: the service has not reported any."""
        return self._states.get(node_id)

    def states_since(self, node_ids: Collection[str], since: float) -> set[PeerState]:
        """Every state that any of these nodes changed to since an instant (monotonic)."""
        return {state for at, node_id, state in self.history if node_id in node_ids and at > since}

    async def until_state(self, state: PeerState, *node_ids: str, within: float = SOON) -> None:
        """Wait until all these nodes are in a state."""
        what = f"{len(node_ids)} node(s) are {state}"
        await until(lambda: all(self.state(one) == state for one in node_ids), what, within)

    async def until_all_online(self) -> None:
        """Wait until every node of the fleet is online."""
        await self.until_state(PeerState.ONLINE, *self.fleet.ids)

    async def until_heard(self, count: int, *peer_ids: str, within: float = SOON) -> None:
        """Wait until every node with an agent has received so many messages of each of these peers."""
        waits = [
            node.wait_for("heard", within, count=count, peer=peer_id)
            for node, node_id in zip(self.fleet.nodes, self.fleet.ids, strict=True)
            for peer_id in peer_ids
            if peer_id != node_id and node not in self.fleet.bare_nodes
        ]
        await asyncio.gather(*waits)

    async def rejoins(self, *causes: Cause, node_id: str = "") -> list[RejoinRecord]:
        """Rejoins with any of these causes, newest first; of one node, or of all."""
        listed = [one async for one in self.client.list_rejoins()]
        return [
            one
            for one in listed
            if node_id in ("", one.node_id) and any(trigger.cause in causes for trigger in one.triggers)
        ]

    async def until_rejoin(self, cause: Cause, node_id: str = "", within: float = SOON) -> RejoinRecord:
        """Wait for a rejoin with this cause; returns the newest."""

        async def has_come() -> bool:
            return bool(await self.rejoins(cause, node_id=node_id))

        await until(has_come, f"a rejoin with {cause} of {node_id or 'any node'}", within, QUERY_PAUSE)
        return (await self.rejoins(cause, node_id=node_id))[0]

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples with these labels."""
        page = await asyncio.to_thread(self._page)
        return sum(
            sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    async def until_metric(self, name: str, wanted: float, within: float = SOON, **labels: str) -> None:
        """Wait until a metric has this value."""

        async def has_it() -> bool:
            return await self.metric(name, **labels) == wanted

        await until(has_it, f"the metric {name} {labels} is {wanted:g}", within, QUERY_PAUSE)

    def _page(self) -> str:
        return fetch(f"{self.page}metrics", 5)

    async def watch(self) -> None:
        """Follow presence until cancelled."""
        async for update in self.client.watch_peers(STORE):
            for peer in update.view.peers:
                if self._states.get(peer.peer_id) != peer.state:
                    self._states[peer.peer_id] = peer.state
                    self.history.append((time.monotonic(), peer.peer_id, peer.state))


@asynccontextmanager
async def observed(
    directory: Path,
    *,
    near: int,
    beyond: int = 0,
    bare: Collection[int] = (),
    silent: Collection[int] = (),
    size: int = 0,
    program: Sequence[str] = PYTHON_NODE,
    **liveness: float,
) -> AsyncGenerator[ObservedFleet]:
    """A fleet whose service has these liveness parameters, once every node is online."""
    (port,) = free_ports(1)
    settings = {f"liveness_{name}": str(value) for name, value in liveness.items()}
    settings["metrics_address"] = f"127.0.0.1:{port}"
    fleet = Fleet(
        directory, near=near, beyond=beyond, bare=bare, silent=silent, size=size, settings=settings, program=program
    )
    async with fleet, Client(fleet.address) as client:
        made = ObservedFleet(fleet, client, port)
        watching = asyncio.create_task(made.watch())
        try:
            await made.until_all_online()
            yield made
            if watching.done():
                watching.result()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

"""The reference node in Python beside its agent, and their output."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import click
from gossipcontrol.agent.agent import Agent
from gossipcontrol.agent.outage_guard import OutageGuard
from gossipcontrol.cli.agent_output import AgentOutput
from gossipcontrol.cli.line_throttle import LineThrottle
from gossipcontrol.client.race import run_until_first
from gossipcontrol.iroh.node import IrohNode
from gossipcontrol.iroh.sync import reason
from gossipcontrol.iroh.topic import GossipEvent
from gossipcontrol.system.stop import until_stopped
from gossipcontrol.watch.host import host_id as own_host_id
from gossipcontrol.watch.scope import Filter
from gossipcontrol.watch.watcher import make_watcher
from iroh import IrohError

GOODBYE_TIME = 1.0
"""Seconds that the goodbye may take at a stop."""
HEARD_EVERY = 10.0
"""Seconds between two lines about messages of one peer, in the output for people."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the command that the node needs."""

    stores: tuple[str, ...]
    peers: tuple[str, ...]
    address: str
    """Of the service; empty: the node runs without it."""
    key: bytes | None
    host_id: str
    name: str
    heartbeat: float
    size: int
    watch: bool
    filter: Filter
    restart_command: tuple[str, ...]
    as_json: bool


class _PausingNode:
    """A node that pauses its agent while it is suspended, so that the service does not take it for isolated."""

    def __init__(self, node: IrohNode, agent: Agent) -> None:
        self._node = node
        self._agent = agent

    async def suspend(self) -> None:
        """Leave every topic, then report that the silence is no failure."""
        await self._node.suspend()
        self._agent.pause()

    async def resume(self) -> None:
        """Report again, then join every topic."""
        self._agent.resume()
        await self._node.resume()


class Run(AgentOutput):
    """The node, its agent and their output."""

    def __init__(self, options: Options) -> None:
        super().__init__(as_json=options.as_json)
        self._options = options
        self._agent: Agent | None = None
        self._heard_lines = LineThrottle(HEARD_EVERY)

    async def run(self) -> None:
        """Run the node until a signal comes; raises BadParameter for a wrong peer."""
        # The command prints the agent's events itself; what the node raises is still logged.
        logging.getLogger("gossipcontrol.agent").setLevel(logging.ERROR)
        node = await IrohNode.start(self._gossip, self._options.key)
        try:
            await self._begin(node)
            await self._serve(node)
        finally:
            await node.close()

    async def _begin(self, node: IrohNode) -> None:
        """Learn the peers and join the stores; raises BadParameter for a wrong peer."""
        options = self._options
        for peer in options.peers:
            peer_id, _, where = peer.partition("@")
            try:
                await node.know(peer_id, [where] if where else [])
            except IrohError as error:
                raise click.BadParameter(f"{peer!r}: {reason(error)}", param_hint="--peer") from error
        if options.address:
            host_id = options.host_id or own_host_id()
            self._agent = Agent(
                node, options.address, host_id=host_id, name=options.name, on_event=self.agent_event,
                on_peer=self.peer_changed, restart_command=options.restart_command,
            )  # fmt: skip
        self.say("node", f"node {node.node_id} at {', '.join(node.addresses())}", node=node.node_id,
                  addresses=list(node.addresses()))  # fmt: skip
        for store_id in options.stores:
            await node.join(store_id)

    async def _serve(self, node: IrohNode) -> None:
        """Beat, stay attached and watch until a signal comes; raises what any of them raises."""
        works: list[Coroutine[Any, Any, Any]] = [self._beat(node), self._until_stopped()]
        if self._agent is not None:
            works.append(self._agent.run())
            if self._options.watch:
                works.append(self._watch(node, self._agent))
        await run_until_first(*works)

    async def _until_stopped(self) -> None:
        await until_stopped()
        if self._agent is not None:
            await self._agent.leave()
            # The agent's run ends with its goodbye, and all the rest with it.
            await asyncio.sleep(GOODBYE_TIME)

    async def _beat(self, node: IrohNode) -> None:
        while True:
            for store_id in self._options.stores:
                await node.broadcast(store_id, self._options.size)
                if self._agent is not None:
                    self._agent.sent(store_id)
                    self._agent.unsynced_writes(store_id, node.unsynced_writes(store_id))
            await asyncio.sleep(self._options.heartbeat)

    async def _watch(self, node: IrohNode, agent: Agent) -> None:
        """Follow the host's network: reconnect when it changes, suspend the node while no peer can be reached."""
        with (
            contextlib.closing(OutageGuard(_PausingNode(node, agent))) as guard,
            contextlib.ExitStack() as reconnecting,
        ):

            def lost() -> None:
                guard.lost()
                self.say("lost", "network lost; waiting for it to come back")

            watcher = make_watcher(self._options.filter, peers=node.peer_addresses)
            async for change in watcher.changes(on_lost=lost, on_back=guard.back):
                agent.network_changed()
                reconnecting.close()
                reconnecting.callback(asyncio.create_task(node.reconnect()).cancel)
                self.say("network", f"{change.kind.label}: {change.detail}", generation=change.generation)

    def _gossip(self, event: GossipEvent) -> None:
        agent, store = self._agent, event.store_id
        peer = event.peer_id[:10]
        match event.what:
            case "up":
                if agent is not None:
                    agent.neighbor_up(store, event.peer_id)
                self.say("up", f"{store}: neighbour {peer} is up", store=store, peer=event.peer_id)
            case "down":
                if agent is not None:
                    agent.neighbor_down(store, event.peer_id)
                self.say("down", f"{store}: neighbour {peer} is down", store=store, peer=event.peer_id)
            case "heard":
                if agent is not None:
                    agent.received(store, event.peer_id, direct=event.direct)
                if self._options.as_json or self._heard_lines.allows(store, event.peer_id):
                    self.say("heard", f"{store}: heard {peer}", store=store, peer=event.peer_id, direct=event.direct)
            case "synced":
                self.say("synced", f"{store}: synced with {peer}, {event.detail}", store=store, peer=event.peer_id)
            case _:
                self.say("error", f"{store}: {event.detail}", store=store, detail=event.detail)

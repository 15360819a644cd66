"""Runs an agent beside a daemon of another program, and prints what happens."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import click
from gossipcontrol.agent.agent import Agent
from gossipcontrol.agent.daemon import DaemonGoneError, DaemonNode, PresentLife
from gossipcontrol.agent.outage_guard import OutageGuard
from gossipcontrol.agent.report_builder import check_id, check_name
from gossipcontrol.cli.address_help import ADDRESS_HELP
from gossipcontrol.cli.agent_output import AgentOutput
from gossipcontrol.cli.restart_option import restart_option
from gossipcontrol.client.address import check_addresses, default_address
from gossipcontrol.client.errors import AddressError
from gossipcontrol.client.race import run_until_first
from gossipcontrol.client.retry import reconnect_wait
from gossipcontrol.system.stop import until_stopped
from gossipcontrol.watch.host import host_id as own_host_id
from gossipcontrol.watch.scope import Filter
from gossipcontrol.watch.watcher import make_watcher

GOODBYE_TIME = 2.0
"""Seconds that the goodbye may take when the daemon leaves its overlay."""
STEADY = 10.0
"""Seconds after which a life of the daemon counts as one: a shorter one makes the next wait longer."""


@dataclass(frozen=True, slots=True)
class DaemonOptions:
    """What the commands of such agents have in common."""

    address: str
    host_id: str
    name: str
    watch: bool
    filter: Filter
    restart_command: tuple[str, ...]
    as_json: bool


def daemon_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command these options; it receives them as the argument ``options``."""

    def run(
        address: str | None, host_id: str, name: str, watch: bool, include: tuple[str, ...], ignore: tuple[str, ...],
        restart_command: tuple[str, ...], as_json: bool, **own: Any,
    ) -> None:  # fmt: skip
        try:
            service = check_addresses(address) if address else default_address()
        except AddressError as error:
            raise click.UsageError(str(error)) from error
        try:
            check_name(name or "unnamed")
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--name") from None
        check_option(host_id or "unnamed", "--host-id")
        chosen = Filter.default(include=include, ignore=ignore)
        common = DaemonOptions(service, host_id or own_host_id(), name, watch, chosen, restart_command, as_json)
        command(common, **own)

    options = (
        click.option("--address", metavar="ADDRESS", help=ADDRESS_HELP),
        click.option("--host-id", default="", help="Host the node runs on; default: this machine's."),
        click.option("--name", default="", help="What people call the node, such as kitchen-laptop."),
        click.option("--watch/--no-watch", default=True, help="Reconnect to the service when the network changes."),
        click.option("--include", multiple=True, help="Interfaces to watch that are ignored by default; a pattern."),
        click.option("--ignore", multiple=True, help="Further interfaces to ignore; a pattern."),
        restart_option,
        click.option("--json", "as_json", is_flag=True, help="One JSON object per line."),
    )
    for option in reversed(options):
        run = option(run)
    run.__doc__ = command.__doc__
    return run


def check_option(value: str, option: str) -> str:
    """An id that an option gives; raises BadParameter."""
    try:
        check_id(value, "the id")
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from None
    return value


class _SpeakingAgent(Agent):
    """An agent of one node, over all lives of its daemon, that prints when a neighbour comes or goes."""

    def __init__(self, node: DaemonNode, run: DaemonRun, options: DaemonOptions) -> None:
        self.present = PresentLife(node)
        super().__init__(
            self.present, options.address, host_id=options.host_id, name=options.name,
            on_event=run.agent_event, on_peer=run.peer_changed, restart_command=options.restart_command,
        )  # fmt: skip
        self._run = run
        self._up: set[tuple[str, str]] = set()

    def neighbor_up(self, store_id: str, peer_id: str) -> None:
        """A neighbour came up."""
        super().neighbor_up(store_id, peer_id)
        if (store_id, peer_id) not in self._up:
            self._up.add((store_id, peer_id))
            self._run.say("up", f"{store_id}: neighbour {peer_id[:10]} is up", store=store_id, peer=peer_id)

    def neighbor_down(self, store_id: str, peer_id: str) -> None:
        """A neighbour went down."""
        super().neighbor_down(store_id, peer_id)
        if (store_id, peer_id) in self._up:
            self._up.discard((store_id, peer_id))
            self._run.say("down", f"{store_id}: neighbour {peer_id[:10]} is down", store=store_id, peer=peer_id)

    def end_life(self) -> None:
        """The daemon is gone: it has no neighbours, and its node is attached no more."""
        for store_id, peer_id in sorted(self._up):
            self.neighbor_down(store_id, peer_id)
        self.attached.clear()


class DaemonRun(AgentOutput):
    """Connects to the daemon whenever it is there, and attaches its node for as long as it lives.

    The node is attached only while its daemon can be reached: what is not asked, nobody can say. A stop of this
    program is no goodbye, because the daemon goes on.
    """

    def __init__(self, options: DaemonOptions, what: str, connect: Callable[[], Awaitable[DaemonNode]]) -> None:
        super().__init__(as_json=options.as_json)
        self._options = options
        self._what = what
        """The daemon, and where it is: ``Serf at 127.0.0.1:7373``."""
        self._connect = connect
        self._agent: _SpeakingAgent | None = None
        self._node: DaemonNode | None = None
        self._reason = ""
        """Why there is no daemon, as last printed."""

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT."""
        # The command prints the agent's events itself; what the node raises is still logged.
        logging.getLogger("gossipcontrol.agent").setLevel(logging.ERROR)
        works = [self._serve(), until_stopped()]
        if self._options.watch:
            works.append(self._watch())
        await run_until_first(*works)

    async def _serve(self) -> None:
        failures = 0
        while True:
            began_at = time.monotonic()
            try:
                await self._live()
            except DaemonGoneError as error:
                self._say_gone(str(error))
            failures = 0 if time.monotonic() - began_at >= STEADY else failures + 1
            await asyncio.sleep(reconnect_wait(max(1, failures)))

    async def _live(self) -> None:
        """One life of the daemon; returns when it left its overlay; raises DaemonGoneError."""
        node = await self._connect()
        try:
            agent = self._agent_of(node)
            await node.begin(agent)
            self._reason = ""
            self.say("node", f"{self._what} is node {node.node_id}", node=node.node_id, stores=list(node.stores()))
            self._node = node
            attached = asyncio.create_task(agent.run())
            try:
                await node.run(agent)
                self.say("left", f"{self._what} left")
                self._agent = None
                await agent.leave()
                await asyncio.wait([attached], timeout=GOODBYE_TIME)
            finally:
                self._node = None
                attached.cancel()
                await asyncio.gather(attached, return_exceptions=True)
                agent.end_life()
        finally:
            await node.close()

    def _agent_of(self, node: DaemonNode) -> _SpeakingAgent:
        """The agent of this node: the one of its daemon's last life, if there was one."""
        if self._agent is None or self._agent.present.node_id != node.node_id:
            self._agent = _SpeakingAgent(node, self, self._options)
        self._agent.present.life = node
        return self._agent

    def _say_gone(self, reason: str) -> None:
        if reason != self._reason:
            self._reason = reason
            self.say("gone", f"cannot use {self._what}: {reason}; will retry", detail=reason)

    async def _watch(self) -> None:
        """Follow the host's network: reconnect when it changes, pause the agent while no peer can be reached."""
        with contextlib.closing(OutageGuard(self)) as guard:

            def lost() -> None:
                guard.lost()
                self.say("lost", "network lost; waiting for it to come back")

            watcher = make_watcher(self._options.filter, peers=self._peer_addresses)
            async for change in watcher.changes(on_lost=lost, on_back=guard.back):
                if self._agent is not None:
                    self._agent.network_changed()
                self.say("network", f"{change.kind.label}: {change.detail}", generation=change.generation)

    def _peer_addresses(self) -> list[str]:
        return [] if self._node is None else self._node.peer_addresses()

    async def suspend(self) -> None:
        """The host has no network: the node's silence is no failure."""
        if self._agent is not None:
            self._agent.pause()

    async def resume(self) -> None:
        """The network is back."""
        if self._agent is not None:
            self._agent.resume()

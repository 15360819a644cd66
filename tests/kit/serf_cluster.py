"""A cluster of real Serf agents on hosts of their own; the first host has GossipControl."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from tests.kit.network import Host, Network, what_is_missing
from tests.kit.process import CLIENT, Process, service, watcher
from tests.kit.started import Started
from tests.kit.until import until

STORE = "fleet"
START_TIME = 60.0
"""Seconds within which everything starts."""


def what_serf_needs() -> str:
    """What this machine lacks to run such a cluster, and what to do about it; empty when it lacks nothing."""
    if missing := what_is_missing():
        return missing
    return "" if shutil.which("serf") else "the program serf is missing: apt-get install serf"


class SerfCluster(Started):
    """Serf agents, with a service, a watcher and an agent of ours on the first host where ``control``."""

    def __init__(self, directory: Path, *, hosts: int = 3, control: bool = True, flags: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.network = Network(hosts)
        self.directory = directory
        self.controlled = control
        self._flags = flags

    @property
    def host(self) -> Host:
        """The first host."""
        return self.network.hosts[0]

    async def _start(self) -> None:
        enter = self._stack.enter_async_context
        await enter(self.network)
        self.agents = [await enter(self._serf(host)) for host in self.network.hosts]
        self.last = self.agents[-1]
        for agent in self.agents:
            await agent.wait_for_text(f"EventMemberJoin: {self.host.namespace}", START_TIME)
        for host in self.network.hosts:
            await self.agents[0].wait_for_text(f"EventMemberJoin: {host.namespace}", START_TIME)
        if self.controlled:
            self.service = await enter(service(None, self.directory))
            await self.service.wait_for("serving", START_TIME)
            self.watcher = await enter(watcher(self.host, self.directory))
            self.node = await enter(self._agent())
            await self.watcher.wait_for("watching", START_TIME)
            await self.node.wait_for("attached", START_TIME)

    async def wait_until_alive(self, within: float = START_TIME) -> None:
        """Wait until the first member and the last one list all as alive; Serf's events come a second later."""
        everybody = {host.namespace for host in self.network.hosts}

        async def are_alive() -> bool:
            shown = [await self._members(host) for host in (self.network.hosts[-1], self.host)]
            alive = [{line.split()[0] for line in text.splitlines() if "alive" in line.split()} for text in shown]
            return alive == [everybody, everybody]

        await until(are_alive, "all members are alive", within, pause=0.02)

    async def _members(self, host: Host) -> str:
        command = ("ip", "netns", "exec", host.namespace, "serf", "members")
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        return (await process.communicate())[0].decode()

    def _serf(self, host: Host) -> Process:
        joins = [f"-retry-join={other.address}" for other in self.network.hosts if other is not host]
        return Process(
            f"serf {host.number}", "serf", "agent", f"-node={host.namespace}", f"-bind={host.address}",
            "-retry-interval=1s", *joins, *self._flags, host=host,
        )  # fmt: skip

    def _agent(self) -> Process:
        address = f"unix:{self.directory / 'gossipcontrol.sock'}"
        command = (*CLIENT, "agent", "serf", "--json", "--store", STORE, "--host-id", self.host.namespace)
        environment = {"RUNTIME_DIRECTORY": str(self.directory)}
        return Process("agent", *command, "--address", address, host=self.host, environment=environment)

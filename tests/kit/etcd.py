"""Real servers of etcd on free ports, with short elections; what they store ends with them."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import urllib.request
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from gossipcontrol.etcd.v3 import etcd_pb2
from gossipcontrol.server.state.etcd_client import EtcdAccess, EtcdClient
from gossipcontrol.server.state.ledger import Late

from tests.kit.network import Host
from tests.kit.ports import free_ports
from tests.kit.until import until

ETCD = shutil.which("etcd")
needs_etcd = pytest.mark.skipif(ETCD is None, reason="needs etcd: apt-get install etcd-server")


@dataclass
class Etcd:
    """A running cluster."""

    endpoints: list[str]
    processes: list[asyncio.subprocess.Process]
    commands: list[list[str]]
    access: EtcdAccess
    """With which it is asked whether it is ready."""

    async def kill(self, number: int) -> None:
        """Kill a member as by a power cut."""
        self.processes[number].kill()
        await self.processes[number].wait()

    async def start(self, number: int) -> None:
        """Start a member (again)."""
        self.processes[number] = await _spawn(self.commands[number])

    async def operate(self, path: str, token: str = "", **fields: Any) -> dict[str, Any]:
        """A call of the first member's HTTP gateway, as an operator's tool makes it."""

        def post() -> dict[str, Any]:
            headers = {"Authorization": token} if token else {}
            url = f"http://{self.endpoints[0]}/v3/{path}"
            request = urllib.request.Request(url, json.dumps(fields).encode(), headers)
            with urllib.request.urlopen(request, timeout=10) as answer:
                found: dict[str, Any] = json.load(answer)
                return found

        return await asyncio.to_thread(post)

    def leader(self) -> int:
        """Number of the member that leads."""
        for number, endpoint in enumerate(self.endpoints):
            if self.processes[number].returncode is None:
                with urllib.request.urlopen(f"http://{endpoint}/metrics", timeout=5) as answer:
                    if b"\netcd_server_is_leader 1\n" in answer.read():
                        return number
        raise AssertionError("no member of etcd leads")

    async def until_ready(self) -> None:
        """Wait until a majority answers."""
        client = EtcdClient(self.access)

        async def answers() -> bool:
            try:
                await client.range(etcd_pb2.RangeRequest(key=b"ready"))
            except Late:
                return False
            return True

        try:
            await until(answers, "etcd answers")
        finally:
            await client.close()


@asynccontextmanager
async def running_etcd(
    directory: Path,
    members: int = 1,
    *flags: str,
    access: Callable[[list[str]], EtcdAccess] | None = None,
    hosts: Sequence[Host] = (),
) -> AsyncGenerator[Etcd]:
    """Run so many members, with TLS if ``access`` makes that of a client, on hosts if any; kill them at the end."""
    scheme = "https" if access else "http"
    ports = free_ports(2 * members)
    clients, peers = ports[:members], ports[members:]
    within = [["ip", "netns", "exec", host.namespace] for host in hosts] or [[]] * members
    places = [host.address for host in hosts] or ["127.0.0.1"] * members
    cluster = ",".join(f"m{number}=http://{places[number]}:{port}" for number, port in enumerate(peers))
    commands = [
        [
            *within[number], ETCD or "etcd", "--name", f"m{number}", "--data-dir", str(directory / f"etcd{number}"),
            "--listen-client-urls", f"{scheme}://{places[number]}:{client}",
            "--advertise-client-urls", f"{scheme}://{places[number]}:{client}",
            "--listen-peer-urls", f"http://{places[number]}:{peer}", "--initial-advertise-peer-urls",
            f"http://{places[number]}:{peer}", "--initial-cluster", cluster, "--log-level", "error", *flags,
        ]
        for number, (client, peer) in enumerate(zip(clients, peers, strict=True))
    ]  # fmt: skip
    endpoints = [f"{place}:{port}" for place, port in zip(places, clients, strict=True)]
    asked_with = access(endpoints) if access else EtcdAccess(endpoints=endpoints)
    etcd = Etcd(endpoints, [await _spawn(command) for command in commands], commands, asked_with)
    try:
        await etcd.until_ready()
        yield etcd
    finally:
        for process in etcd.processes:
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
            await process.wait()


async def _spawn(command: list[str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )

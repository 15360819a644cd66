"""One way to open a channel, which no proxy of the environment bends."""

from __future__ import annotations

import ast
import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from gossipcontrol.agent import Agent
from gossipcontrol.client import Client, SyncClient, UnreachableError
from gossipcontrol.client.address import is_local

from tests.agent.fake import FakeNode, Proxy
from tests.kit.local_server import LocalServer
from tests.kit.service_lab import Service
from tests.kit.until import DEADLINE

TOP = Path(__file__).parents[2]
VARIABLES = ("http_proxy", "https_proxy", "grpc_proxy")


class HttpProxy:
    """A proxy that keeps what it was asked for, and refuses it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.came = asyncio.Event()
        self.address = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append((await reader.readline()).decode().strip())
        self.came.set()
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
        writer.close()


@pytest.fixture
async def proxy(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[HttpProxy]:
    """A proxy that every variable names, with no exception for this host."""
    proxy = HttpProxy()
    async with LocalServer(proxy.handle) as server:
        proxy.address = f"http://{server.address}"
        for name in VARIABLES:
            monkeypatch.setenv(name, proxy.address)
        for name in ("no_proxy", "no_grpc_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        yield proxy


async def test_a_proxy_of_the_environment_is_not_asked_for_this_host(service: Service, proxy: HttpProxy) -> None:
    """grpc/grpc#29718, grpc/grpc#11751, grpc/grpc-node#1453: with http_proxy set, loopback could not be reached."""
    port = service.app.tcp_port
    for address in (service.address, f"127.0.0.1:{port}", f"localhost:{port}"):
        async with Client(address) as client:
            assert await client.serving()
        with SyncClient(address) as blocking:
            assert await asyncio.to_thread(blocking.serving)
    async with Agent(FakeNode("n", "a"), service.tcp) as agent, asyncio.timeout(DEADLINE):
        await agent.attached.wait()
    assert proxy.asked == []


async def test_commands_ask_no_proxy_either(service: Service, proxy: HttpProxy) -> None:
    command = (sys.executable, "-m", "gossipcontrol.cli", "status", "--address", service.tcp)
    process = await asyncio.create_subprocess_exec(
        *command, env=dict(os.environ), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert (process.returncode, proxy.asked) == (0, []), output


async def test_a_service_elsewhere_is_reached_through_a_proxy_only_when_ours_is_set(
    proxy: HttpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Client("service.invalid:7420", timeout=0.3) as client:
        with pytest.raises(UnreachableError):
            await client.serving()
    assert proxy.asked == []
    monkeypatch.setenv("GOSSIPCONTROL_PROXY", proxy.address)
    async with Client("service.invalid:7420", timeout=DEADLINE) as client:
        asking = asyncio.ensure_future(client.serving())
        async with asyncio.timeout(DEADLINE):
            await proxy.came.wait()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    assert proxy.asked[0] == "CONNECT service.invalid:7420 HTTP/1.1"


async def test_a_long_way_costs_one_connection(service: Service) -> None:
    """An attempt to connect had 0.1 s: over a long way, or on a busy host, one after another was given up."""
    async with Proxy.to(service.tcp) as far:
        far.delay = 0.15
        async with Client(far.address) as client:
            assert await client.serving()
        assert far.connections == 1


@pytest.mark.parametrize("address", ["unix:/x", "127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "localhost:1"])
def test_what_is_of_this_host(address: str) -> None:
    assert is_local(address)


@pytest.mark.parametrize("address", ["10.0.0.1:1", "example.org:1", "[2001:db8::1]:1"])
def test_what_is_not(address: str) -> None:
    assert not is_local(address)


TO_OTHERS = {
    "clients/gossipcontrol/lattice/calls.py", "server/gossipcontrol/server/state/etcd_client.py",
    "tests/lattice/test_node.py", "tests/server/rpc/test_hostile.py",
}  # fmt: skip
"""Channels to a Lattice daemon and to etcd, and one of an enemy."""


@pytest.mark.parametrize("folder", ["clients", "server", "tests", "examples", "dev"])
def test_channels_are_made_in_one_place(folder: str) -> None:
    makers = {"insecure_channel", "secure_channel"}
    found = {
        path.relative_to(TOP).as_posix()
        for path in (TOP / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in makers
    }
    assert found <= {"clients/gossipcontrol/client/channel.py"} | TO_OTHERS

"""Why no call gets through, where no certificate is needed to see it; a hub's refusals are in tests/server/access."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from gossipcontrol.client import Credentials
from gossipcontrol.client.refusal import why_unserved
from gossipcontrol.client.servers import Server

from tests.kit.local_server import LocalServer
from tests.kit.service_lab import Service
from tests.kit.until import until


async def why(address: str, shown: Credentials | None = None) -> str:
    return await asyncio.to_thread(why_unserved, Server(address), shown)


async def test_a_service_without_tls_is_told_from_one_with_it(service: Service) -> None:
    assert await why(service.tcp) == ""
    assert await why(f"tls:{service.tcp}") == "what listens there does not speak TLS; leave out tls:"


async def test_what_speaks_first_is_sent_nothing() -> None:
    heard: list[bytes] = []

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"settings")
        heard.append(await reader.read())

    async with LocalServer(speak) as server:
        assert await why(server.address) == ""
        await until(lambda: heard == [b""], "the connection has ended")


async def test_what_is_mute_or_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gossipcontrol.system.handshake.LOOK_TIME", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        assert [await why(one) for one in (address, f"tls:{address}")] == ["", ""]
    assert await why(f"tls:{address}") == "", "nobody listens, which is seen elsewhere"

    async def end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        writer.close()

    async with LocalServer(end) as server:
        assert "ends within the handshake" in await why(f"tls:{server.address}")


async def test_files_that_broke_meanwhile_are_named(service: Service, tmp_path: Path) -> None:
    shown = Credentials(authority=str(tmp_path / "gone.crt"))
    assert await why(f"tls:{service.tcp}", shown) == f"{shown.authority}: cannot be read: No such file or directory"


async def test_through_a_proxy_nothing_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        raise AssertionError(f"{address} is not reached directly")

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setenv("GOSSIPCONTROL_PROXY", "http://127.0.0.1:1")
    assert await why("tls:hub.invalid:7443") == ""

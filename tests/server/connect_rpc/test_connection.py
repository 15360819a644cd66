"""The bounds of connections."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import suppress
from http.client import RemoteDisconnected
from typing import Any, cast

import pytest
from gossipcontrol.server.connect_rpc import connection
from gossipcontrol.server.connect_rpc.connection import HEADER_BYTES
from uvicorn.protocols.http.h11_impl import RequestResponseCycle

from tests.kit.service_lab import Service
from tests.kit.until import DEADLINE, until
from tests.kit.web_client import SERVICE, call

Ends = list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    opened: Ends = []
    yield opened
    for _, writer in opened:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def connect(port: int, ends: Ends, data: bytes = b"") -> asyncio.StreamReader:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    ends.append((reader, writer))
    writer.write(data)
    return reader


async def at_end(reader: asyncio.StreamReader) -> bytes:
    """What comes until the service ends the connection."""
    async with asyncio.timeout(DEADLINE):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


async def test_connections_without_a_request_are_ended(port: int, ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slowloris: neither nothing nor half a header keeps one."""
    monkeypatch.setattr(connection, "IDLE_TIME", 0.2)
    silent = await connect(port, ends)
    slow = await connect(port, ends, b"POST / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
    assert await at_end(silent) == b""
    assert await at_end(slow) == b""


async def test_a_connection_may_be_used_again_and_is_ended_when_it_is_not(
    port: int, ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "IDLE_TIME", 0.3)
    head = f"POST {SERVICE}ListStores HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    reader = await connect(port, ends, f"{head}Content-Length: 2\r\n\r\n{{}}".encode() * 2)
    assert (await at_end(reader)).count(b"HTTP/1.1 200 OK") == 2


async def test_one_more_connection_ends_the_one_idle_for_longest(
    port: int, ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HTTP_CONNECTIONS", 3)
    idle = [await connect(port, ends) for _ in range(3)]
    assert (await call(port, "ListStores")).status == 200
    assert await at_end(idle[0]) == b""
    assert [reader.at_eof() for reader in idle] == [True, False, False]


def in_use(service: Service) -> int:
    """Connections with a request under way."""
    web = service.app._connects[0]  # pyright: ignore[reportPrivateUsage]
    assert web is not None
    open_ones: set[Any] = web._state.connections  # pyright: ignore[reportPrivateUsage]
    return sum(not one.is_idle for one in open_ones)


async def test_one_more_is_refused_while_all_are_in_use(
    service: Service, port: int, ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HTTP_CONNECTIONS", 2)
    head = f"POST {SERVICE}ListStores HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    busy = [await connect(port, ends, f"{head}Content-Length: 2\r\n\r\n".encode()) for _ in range(2)]
    await until(lambda: in_use(service) == 2, "both requests have begun")
    with pytest.raises((ConnectionError, RemoteDisconnected)):
        await call(port, "ListStores")
    for (_, writer), reader in zip(ends, busy, strict=True):
        writer.write(b"{}")
        async with asyncio.timeout(DEADLINE):
            assert b" 200 " in await reader.readline()


@pytest.mark.usefixtures("uncollected")
async def test_a_connection_that_ended_leaves_nothing_that_only_a_collector_finds(port: int) -> None:
    for _ in range(5):
        await call(port, "ListStores")

    def nothing_is_left() -> bool:
        found = cast("list[object]", gc.get_objects())
        return not any(isinstance(one, connection.Connection | RequestResponseCycle) for one in found)

    await until(nothing_is_left, "nothing is left of the connections")


async def test_long_headers_are_refused(port: int, ends: Ends) -> None:
    reader = await connect(port, ends, b"POST / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 2 * HEADER_BYTES)
    assert (await at_end(reader)).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" * 4 + b"\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
)
async def test_what_is_no_http_is_refused(port: int, ends: Ends, data: bytes) -> None:
    assert b"200" not in (await at_end(await connect(port, ends, data)))[:40]
    assert (await call(port, "ListStores")).status == 200

"""Addresses of services on this machine: a Unix socket in a test's directory, or a port where there are none."""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from gossipcontrol.server.config import Config, Listen

from tests.kit.ports import free_ports


@functools.cache
def _port(path: Path) -> int:
    """The port that stands for this path."""
    return free_ports(1)[0]


def local_address(path: Path) -> str:
    """The Unix socket of this path, which may not be there; on Windows always the same free loopback port."""
    return f"127.0.0.1:{_port(path)}" if sys.platform == "win32" else f"unix:{path}"


def listen_on(path: Path, tcp: str = "") -> Listen:
    """Listen on that address, and, where it is a Unix socket, on this port too."""
    if sys.platform == "win32":
        return Listen(socket="", tcp=local_address(path))
    return Listen(socket=str(path), tcp=tcp)


def address_of(settings: Config) -> str:
    """Where a service with these settings will be."""
    return f"unix:{settings.listen.socket}" if settings.listen.socket else settings.listen.tcp


if sys.platform == "win32":

    async def start_local_server(
        serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], path: Path
    ) -> asyncio.Server:
        """Serve connections to this local address."""
        return await asyncio.start_server(serve, "127.0.0.1", _port(path))

    async def connect_locally(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to this local address."""
        return await asyncio.open_connection("127.0.0.1", _port(path))

else:

    async def start_local_server(
        serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], path: Path
    ) -> asyncio.Server:
        """Serve connections to this local address."""
        return await asyncio.start_unix_server(serve, path)

    async def connect_locally(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to this local address."""
        return await asyncio.open_unix_connection(path)

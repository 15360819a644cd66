"""The IP addresses of a server's name."""

from __future__ import annotations

import asyncio
import socket

from gossipcontrol.client.channel import proxy_for
from gossipcontrol.client.servers import Server, Servers

LOOKUP_TIME = 2.0
"""Seconds that looking up a name may take; then its server is asked by name again."""


async def look_up(servers: Servers) -> None:
    """Look up the name of a server, if one must be."""
    if (server := servers.unknown) is None:
        return
    servers.unknown = None  # calls side by side look it up once
    try:
        async with asyncio.timeout(LOOKUP_TIME):
            ips = await asyncio.to_thread(_addresses, server)
    except TimeoutError:
        ips = []
    servers.learn(server, ips)


def look_up_blocking(servers: Servers) -> None:
    """The same, blocking."""
    if (server := servers.unknown) is not None:
        servers.learn(server, _addresses(server))


def _addresses(server: Server) -> list[str]:
    """In the system's order; none if it has none, or where a proxy looks up names."""
    if proxy_for(server.address):
        return []
    try:
        found = socket.getaddrinfo(server.host, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [str(address[0]) for *_, address in found]

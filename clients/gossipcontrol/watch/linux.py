"""Linux: rtnetlink shows that something changed, a fresh snapshot shows what."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncGenerator
from typing import Any

from gossipcontrol.watch.change import Address, Link, Route, Snapshot
from pyroute2 import AsyncIPRoute
from pyroute2.netlink import rtnl
from pyroute2.netlink.exceptions import NetlinkDumpInterrupted, NetlinkError

# LINK too: on an IPv4-only host a lost carrier is announced to that group alone.
GROUPS = (
    rtnl.RTMGRP_LINK
    | rtnl.RTMGRP_IPV4_IFADDR
    | rtnl.RTMGRP_IPV6_IFADDR
    | rtnl.RTMGRP_IPV4_ROUTE
    | rtnl.RTMGRP_IPV6_ROUTE
)
IFF_UP, IFF_LOWER_UP = 0x1, 0x10000
IFA_F_DADFAILED, IFA_F_DEPRECATED, IFA_F_TENTATIVE = 0x08, 0x20, 0x40
SCOPE_GLOBAL = 0
RTN_UNICAST = 1
TRIES = 10
"""Most tries of a snapshot while the network moves under it."""


class RtnetlinkSource:
    """A message is a wake-up only: link down, for example, removes IPv4 routes without a message.

    That a carrier went and came back is read from the kernel's count of losses, not from messages: those may be lost.
    """

    name = "rtnetlink"

    def __init__(self) -> None:
        self._woken = asyncio.Event()

    async def watch(self) -> AsyncGenerator[Snapshot, None]:
        """The state now, then at every message of the kernel."""
        async with AsyncIPRoute() as events, AsyncIPRoute() as queries:
            await events.bind(groups=GROUPS)  # pyright: ignore[reportUnknownMemberType]
            listener = asyncio.create_task(self._listen(events))
            listener.add_done_callback(lambda task: self._woken.set())
            try:
                while not listener.done():
                    self._woken.clear()
                    yield await _steady_snapshot(queries)
                    await self._woken.wait()
                await listener
            finally:
                listener.cancel()

    async def _listen(self, events: Any) -> None:
        while True:
            try:
                async for _ in events.get():
                    pass
            except OSError as error:
                # Messages were lost; what matters is in the next snapshot.
                if error.errno != errno.ENOBUFS:
                    raise
            self._woken.set()


def _has_carrier(link: Any) -> bool:
    flags = link["flags"]
    carrier = link.get("carrier")
    return bool(flags & IFF_UP and (flags & IFF_LOWER_UP if carrier is None else carrier))


async def _steady_snapshot(queries: Any) -> Snapshot:
    """A snapshot; raises OSError."""
    try:
        for _ in range(TRIES):
            # Interrupted: something changed between two parts of the kernel's answer.
            with contextlib.suppress(NetlinkDumpInterrupted):
                return await _snapshot(queries)
        return await _snapshot(queries)
    except NetlinkError as error:
        raise OSError(f"rtnetlink: {error}") from error


async def _snapshot(queries: Any) -> Snapshot:
    links = [
        Link(one["index"], str(one.get("ifname")), _has_carrier(one), int(one.get("carrier_down_count") or 0))
        async for one in await queries.link("dump")
    ]
    addresses = [
        Address(
            one["index"],
            str(one.get("local") or one.get("address")),
            one["prefixlen"],
            one["scope"] == SCOPE_GLOBAL and not _flags(one) & (IFA_F_DADFAILED | IFA_F_TENTATIVE | IFA_F_DEPRECATED),
        )
        async for one in await queries.addr("dump")
    ]
    routes: list[Route] = []
    for family in (socket.AF_INET, socket.AF_INET6):
        async for one in await queries.route("dump", family=family, table=254):
            if one["dst_len"] == 0 and one["type"] == RTN_UNICAST:
                routes += _default_routes(one, family)
    return Snapshot(tuple(links), tuple(addresses), tuple(routes))


def _flags(address: Any) -> int:
    flags = address.get("flags")
    return int(address["flags"] if flags is None else flags)


def _default_routes(route: Any, family: int) -> list[Route]:
    """One route, or one for each hop of a multipath route."""
    hops = route.get("multipath")
    if hops:
        return [Route(hop["oif"], family, str(hop.get("gateway") or "")) for hop in hops]
    return [Route(route.get("oif"), family, str(route.get("gateway") or ""))]

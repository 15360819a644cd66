"""Rows of Windows' tables, built from the layouts."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from gossipcontrol.watch import windows_layout as layout
from gossipcontrol.watch.windows_tables import Tables

ETHERNET, WIFI = 6, 71
"""IF_TYPE_ETHERNET_CSMACD, IF_TYPE_IEEE80211."""


def socket_address(address: str) -> bytes:
    """A SOCKADDR_INET; empty text is one without a family."""
    if not address:
        return bytes(28)
    packed = ip_address(address).packed
    if len(packed) == 4:
        return layout.AF_INET.to_bytes(4, "little") + packed + bytes(20)
    return layout.AF_INET6.to_bytes(8, "little") + packed + bytes(4)


def luid(index: int) -> int:
    """The name of an interface that stays, unlike its index."""
    return 0x6000000000000 + index


def link(
    index: int, name: str, *, up: bool = True, media: int = 1, kind: int = ETHERNET, flags: int = layout.HARDWARE
) -> bytes:
    """A row of GetIfTable2."""
    return layout.LINK.pack(
        luid=luid(index), index=index, alias=name.encode("utf-16-le"), type=kind, flags=flags,
        status=layout.IF_UP if up else 2, media=media,
    )  # fmt: skip


def address(index: int, text: str, prefix: int = 24, *, state: int = layout.PREFERRED, skipped: int = 0) -> bytes:
    """A row of GetUnicastIpAddressTable."""
    return layout.ADDRESS.pack(
        address=socket_address(text), luid=luid(index), index=index, prefix=prefix, skipped=skipped, state=state
    )


def route(index: int, network: str, gateway: str, metric: int = 0) -> bytes:
    """A row of GetIpForwardTable2."""
    destination, _, prefix = network.partition("/")
    return layout.ROUTE.pack(
        luid=luid(index), index=index, destination=socket_address(destination), prefix=int(prefix),
        gateway=socket_address(gateway), metric=metric,
    )  # fmt: skip


def interface(index: int, metric: int, family: int = layout.AF_INET) -> bytes:
    """A row of GetIpInterfaceTable."""
    return layout.INTERFACE.pack(family=family, luid=luid(index), index=index, metric=metric, connected=1)


def neighbor(index: int, text: str, hardware: bytes, *, state: int = 5) -> bytes:
    """A row of GetIpNetTable2, by default reachable."""
    return layout.NEIGHBOR.pack(
        address=socket_address(text), index=index, hardware=hardware, length=len(hardware), state=state
    )


def tables(
    links: Sequence[bytes],
    addresses: Sequence[bytes],
    routes: Sequence[bytes],
    interfaces: Sequence[bytes] = (),
    neighbors: Sequence[bytes] = (),
) -> Tables:
    """All tables."""
    return Tables(*(b"".join(rows) for rows in (links, addresses, routes, interfaces, neighbors)))

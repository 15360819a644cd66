"""Routing messages of macOS and the BSDs, built from the layouts; and a kernel that lists what it was given."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from gossipcontrol.watch.route_layout import (
    AF_INET,
    AF_LINK,
    IFF_RUNNING,
    IFF_UP,
    RTA_DST,
    RTA_GATEWAY,
    RTA_IFA,
    RTA_IFP,
    RTA_NETMASK,
    RTF_HOST,
    RTF_LLINFO,
    RTF_UP,
    Header,
    Layout,
)

RUNNING = IFF_UP | IFF_RUNNING
STATE_UP = {"freebsd": 2, "openbsd": 4, "netbsd": 2}
STATE_DOWN = {"freebsd": 1, "openbsd": 2, "netbsd": 1}


def ip_part(text: str, layout: Layout, scope: int = 0) -> bytes:
    """A socket address of IP; with the scope of a link-local one in it, as the kernel keeps it."""
    packed = ip_address(text).packed
    if len(packed) == 4:
        return struct.pack("=BBH4s8x", 16, AF_INET, 0, packed)
    if scope:
        packed = packed[:2] + scope.to_bytes(2, "big") + packed[4:]
    return struct.pack("=BBHI16sI", 28, layout.inet6, 0, 0, packed, 0)


def mask_part(prefix: int, version: int, layout: Layout) -> bytes:
    """A netmask as kernels cut it: nothing after the last byte that is not 0."""
    size, start = (4, 4) if version == 4 else (16, 8)
    bits = (((1 << prefix) - 1) << (8 * size - prefix)).to_bytes(size, "big").rstrip(b"\0")
    return bytes([start + len(bits), 0xFF]) + bytes(start - 2) + bits if bits else b""


def link_part(index: int, name: str = "", hardware: str = "") -> bytes:
    data = name.encode() + bytes.fromhex(hardware.replace(":", ""))
    length = max(20, 8 + len(data))
    head = struct.pack("=BBHBBBB", length, AF_LINK, index, 6, len(name.encode()), len(data) - len(name.encode()), 0)
    return (head + data).ljust(length, b"\0")


def message(
    layout: Layout, kind: int, header: Header, index: int, flags: int, parts: Mapping[int, bytes], **fields: int
) -> bytes:
    """One message; ``fields``: bytes of the header by their offset, ``at10=8``."""
    head = bytearray(header.size)
    struct.pack_into("=I", head, header.addrs, sum(1 << position for position in parts))
    struct.pack_into("=I", head, header.flags, flags)
    struct.pack_into("=H", head, header.index, index)
    if layout.header_length >= 0:
        struct.pack_into("=H", head, layout.header_length, header.size)
    for name, value in fields.items():
        head[int(name.removeprefix("at"))] = value
    body = b"".join(_padded(parts[position], layout.alignment) for position in sorted(parts))
    struct.pack_into("=HBB", head, 0, len(head) + len(body), layout.version, kind)
    return bytes(head) + body


def _padded(part: bytes, alignment: int) -> bytes:
    return part.ljust(max(alignment, -(-len(part) // alignment) * alignment), b"\0")


def link_message(layout: Layout, index: int, name: str = "", flags: int = RUNNING, *, listed: bool = False) -> bytes:
    """RTM_IFINFO, or what a list has in its place. The state is that of a carrier where the flags say running."""
    kind = layout.listed_link if listed else layout.link_changed
    size = layout.listed_size if listed and layout.listed_size else layout.link.size
    header = Header(size, layout.link.index, layout.link.flags, layout.link.addrs)
    states = STATE_UP if flags & IFF_RUNNING else STATE_DOWN
    fields = {f"at{layout.link_state}": states[layout.system]} if layout.link_state >= 0 else {}
    return message(layout, kind, header, index, flags, {RTA_IFP: link_part(index, name)}, **fields)


def address_message(layout: Layout, index: int, own: str, prefix: int, *, lost: bool = False) -> bytes:
    kind = layout.lost_address if lost else layout.new_address
    version = ip_address(own).version
    parts = {
        RTA_NETMASK: mask_part(prefix, version, layout),
        RTA_IFP: link_part(index),
        RTA_IFA: ip_part(own, layout, index if own.startswith("fe80") else 0),
    }
    return message(layout, kind, layout.address, index, 0, parts)


def route_message(
    layout: Layout,
    kind: int,
    index: int,
    network: str,
    gateway: str = "",
    *,
    flags: int = RTF_UP,
    source: str = "",
    priority: int = 8,
) -> bytes:
    own, _, length = network.partition("/")
    version = ip_address(own).version
    parts = {
        RTA_DST: ip_part(own, layout),
        RTA_GATEWAY: ip_part(gateway, layout, index if gateway.startswith("fe80") else 0)
        if gateway
        else link_part(index),
    }
    if length:
        parts[RTA_NETMASK] = mask_part(int(length), version, layout)
    else:
        flags |= RTF_HOST
    if source:
        parts[RTA_IFA] = ip_part(source, layout)
    fields = {f"at{layout.priority}": priority} if layout.priority >= 0 else {}
    return message(layout, kind, layout.route, index, flags, parts, **fields)


def neighbor_message(layout: Layout, index: int, address: str, hardware: str) -> bytes:
    """As NET_RT_FLAGS lists it: RTM_GET, the hardware address as the gateway."""
    parts = {RTA_DST: ip_part(address, layout, index), RTA_GATEWAY: link_part(index, "", hardware)}
    return message(layout, 4, layout.route, index, RTF_UP | RTF_HOST | RTF_LLINFO, parts)


@dataclass
class Kernel:
    """The lists of a kernel; change it, then send what a kernel would tell."""

    layout: Layout
    interfaces: dict[int, tuple[str, int]] = field(default_factory=dict[int, tuple[str, int]])
    """Name and flags by index."""
    addresses: list[tuple[int, str, int]] = field(default_factory=list[tuple[int, str, int]])
    table: list[bytes] = field(default_factory=list[bytes])
    hardware: list[tuple[int, str, str]] = field(default_factory=list[tuple[int, str, str]])
    reads: int = 0
    failure: OSError | None = None

    def links(self) -> bytes:
        self.reads += 1
        if self.failure:
            raise self.failure
        return b"".join(
            link_message(self.layout, index, name, flags, listed=True)
            + b"".join(address_message(self.layout, *one) for one in self.addresses if one[0] == index)
            for index, (name, flags) in self.interfaces.items()
        )

    def routes(self) -> bytes:
        return b"".join(self.table)

    def neighbors(self) -> bytes:
        return b"".join(neighbor_message(self.layout, *one) for one in self.hardware)

    def route(self, index: int, network: str, gateway: str = "", *, flags: int = RTF_UP, source: str = "") -> bytes:
        """A route for the table."""
        return route_message(self.layout, self.layout.listed_route, index, network, gateway, flags=flags, source=source)


def laptop(layout: Layout) -> Kernel:
    """Wi-Fi with a default route of each family, loopback, and a tunnel that does not count."""
    kernel = Kernel(
        layout,
        {1: ("lo0", RUNNING | 0x8), 4: ("en0", RUNNING), 9: ("utun0", RUNNING)},
        [(1, "127.0.0.1", 8), (4, "192.168.1.20", 24), (4, "fe80::1c", 64), (4, "2001:db8:1::20", 64)],
    )
    kernel.table = [
        kernel.route(4, "0.0.0.0/0", "192.168.1.1"),
        kernel.route(4, "::/0", "fe80::1"),
        kernel.route(4, "192.168.1.0/24"),
        kernel.route(1, "127.0.0.0/8"),
    ]
    return kernel


def dgram_pair() -> Sequence[socket.socket]:
    """A pair in place of a routing socket: both keep messages apart."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)

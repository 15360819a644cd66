"""How macOS and the BSDs lay out routing messages, as data; 64-bit systems only.

Constants and layouts: net/route.h, net/if.h, net/if_dl.h, netinet/in.h, sys/sysctl.h and sys/socket.h of each system.
"""

from __future__ import annotations

from dataclasses import dataclass

RTM_ADD, RTM_DELETE, RTM_CHANGE, RTM_GET = 1, 2, 3, 4
RTA_DST, RTA_GATEWAY, RTA_NETMASK, RTA_IFP, RTA_IFA = 0, 1, 2, 4, 5
"""Positions of the socket addresses that follow a header: RTAX_* in the headers."""
RTF_UP, RTF_HOST, RTF_REJECT, RTF_LLINFO, RTF_BLACKHOLE = 0x1, 0x4, 0x8, 0x400, 0x1000
IFF_UP, IFF_LOOPBACK, IFF_RUNNING = 0x1, 0x8, 0x40
CTL_NET, NET_RT_DUMP, NET_RT_FLAGS = 4, 1, 2
AF_INET, AF_LINK = 2, 18
RTF_IFSCOPE = 0x1000000
"""macOS: a route for those alone who ask for its interface; another bit elsewhere, or none."""


@dataclass(frozen=True, slots=True)
class Header:
    """Where the fields of a message are, in bytes."""

    size: int
    index: int
    flags: int
    addrs: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The routing messages of one system."""

    system: str
    """As ``sys.platform`` starts."""
    version: int
    route: Header
    link: Header
    address: Header
    """Its flags are not read."""
    alignment: int
    """Of the socket addresses after a header; one of length 0 takes as much."""
    inet6: int
    """AF_INET6."""
    protocol: int
    """PF_ROUTE."""
    list_links: int
    """The question for links and addresses: NET_RT_IFLIST, or NET_RT_IFLIST2."""
    list_routes: int
    new_address: int
    lost_address: int
    link_changed: int
    listed_link: int
    """Type of a link in a list; ``link_changed`` but for macOS."""
    listed_route: int
    skipped: int
    """Flags of routes that are no way out: cloned for a host, local, of broadcasts and multicasts."""
    others: frozenset[int] = frozenset()
    """Further types that only wake: an interface came or went, the kernel's buffer ran over."""
    scoped: int = 0
    """The flag RTF_IFSCOPE where there is one."""
    listed_size: int = 0
    """Of the header of a listed link, whose fields are where those of a changed one are; 0: as that."""
    header_length: int = -1
    """Offset of the length of the header, where messages carry it."""
    priority: int = -1
    """Offset of a route's priority, where the lowest wins among equal destinations."""
    link_state: int = -1
    """Offset of the link's state, where there is one; else only IFF_RUNNING tells."""
    no_carrier: frozenset[int] = frozenset()
    """States of a link without a carrier."""


MACOS = Layout(
    "darwin", 5, Header(92, 4, 8, 12), Header(112, 12, 8, 4), Header(20, 12, 8, 4), alignment=4, inet6=30,
    protocol=17, list_links=6, list_routes=7, new_address=0xC, lost_address=0xD, link_changed=0xE, listed_link=0x12,
    listed_route=0x14, skipped=0xE20000, scoped=RTF_IFSCOPE, listed_size=160,
)  # fmt: skip
FREEBSD = Layout(
    "freebsd", 5, Header(152, 4, 8, 12), Header(168, 12, 8, 4), Header(20, 12, 8, 4), alignment=8, inet6=28,
    protocol=17, list_links=3, list_routes=1, new_address=0xC, lost_address=0xD, link_changed=0xE, listed_link=0xE,
    listed_route=RTM_GET, skipped=0xE00000, others=frozenset({0x11}), link_state=20, no_carrier=frozenset({1}),
)  # fmt: skip
OPENBSD = Layout(
    "openbsd", 5, Header(96, 6, 16, 12), Header(168, 6, 16, 12), Header(24, 6, 16, 12), alignment=8, inet6=24,
    protocol=17, list_links=3, list_routes=1, new_address=0xC, lost_address=0xD, link_changed=0xE, listed_link=0xE,
    listed_route=RTM_GET, skipped=0x630200, others=frozenset({0xF, 0x10, 0x14}), header_length=4, priority=10,
    link_state=27, no_carrier=frozenset({2, 3}),
)  # fmt: skip
NETBSD = Layout(
    "netbsd", 4, Header(120, 4, 8, 12), Header(152, 12, 8, 4), Header(32, 4, 8, 12), alignment=8, inet6=24,
    protocol=34, list_links=6, list_routes=1, new_address=0x16, lost_address=0x17, link_changed=0x14,
    listed_link=0x14, listed_route=RTM_GET, skipped=0xC0000, others=frozenset({0x10, 0x18}), link_state=20,
    no_carrier=frozenset({1}),
)  # fmt: skip
LAYOUTS = (MACOS, FREEBSD, OPENBSD, NETBSD)


def layout_of(platform: str) -> Layout | None:
    """The layout for a value of ``sys.platform``, as ``freebsd14``; None for other systems."""
    return next((one for one in LAYOUTS if platform.startswith(one.system)), None)

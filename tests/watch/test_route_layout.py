"""The layouts of routing messages, compared with each system's own headers."""

from __future__ import annotations

import pytest
from gossipcontrol.watch import route_layout
from gossipcontrol.watch.route_layout import FREEBSD, MACOS, NETBSD, OPENBSD, Header, Layout, layout_of

from tests.kit import headers

pytestmark = pytest.mark.skipif(bool(headers.what_is_missing()), reason=headers.what_is_missing() or "nothing missing")

INCLUDES = (
    "sys/types.h", "sys/time.h", "sys/socket.h", "net/if.h", "net/route.h", "net/if_dl.h", "sys/sysctl.h",
    "netinet/in.h",
)  # fmt: skip
SYSTEMS = {
    "macOS": (headers.MACOS, MACOS),
    "macOS, Intel": (headers.MACOS_INTEL, MACOS),
    "FreeBSD": (headers.FREEBSD, FREEBSD),
    "OpenBSD": (headers.OPENBSD, OPENBSD),
    "NetBSD": (headers.NETBSD, NETBSD),
}
SKIPPED = {
    "darwin": "RTF_LOCAL | RTF_BROADCAST | RTF_MULTICAST | RTF_WASCLONED",
    "freebsd": "RTF_LOCAL | RTF_BROADCAST | RTF_MULTICAST",
    "openbsd": "RTF_LOCAL | RTF_BROADCAST | RTF_MULTICAST | RTF_CLONED | RTF_CACHED",
    "netbsd": "RTF_LOCAL | RTF_BROADCAST",
}
OTHERS = {
    "darwin": (),
    "freebsd": ("RTM_IFANNOUNCE",),
    "openbsd": ("RTM_IFANNOUNCE", "RTM_DESYNC", "RTM_CHGADDRATTR"),
    "netbsd": ("RTM_IFANNOUNCE", "RTM_CHGADDR"),
}
NO_CARRIER = {
    "freebsd": ("LINK_STATE_DOWN",),
    "openbsd": ("LINK_STATE_DOWN", "LINK_STATE_KALIVE_DOWN"),
    "netbsd": ("LINK_STATE_DOWN",),
}


def _header(struct: str, prefix: str, header: Header) -> dict[str, int]:
    return {
        f"sizeof(struct {struct})": header.size,
        f"offset(struct {struct}, {prefix}_index)": header.index,
        f"offset(struct {struct}, {prefix}_flags)": header.flags,
        f"offset(struct {struct}, {prefix}_addrs)": header.addrs,
    }


def claims(layout: Layout) -> dict[str, int]:
    """What the code takes for granted, by the expression of C that says it."""
    said = _header("rt_msghdr", "rtm", layout.route)
    said |= _header("if_msghdr", "ifm", layout.link) | _header("ifa_msghdr", "ifam", layout.address)
    names = ["CTL_NET", "NET_RT_DUMP", "NET_RT_FLAGS", "AF_INET", "AF_LINK", "RTF_UP", "RTF_HOST", "RTF_REJECT"]
    names += ["RTF_BLACKHOLE", "IFF_UP", "IFF_LOOPBACK", "IFF_RUNNING", "RTM_ADD", "RTM_DELETE", "RTM_CHANGE"]
    said |= {name: getattr(route_layout, name) for name in (*names, "RTM_GET")}
    said |= {f"RTAX_{one}": getattr(route_layout, f"RTA_{one}") for one in ("DST", "GATEWAY", "NETMASK", "IFP", "IFA")}
    said["RTF_LLDATA" if layout is NETBSD else "RTF_LLINFO"] = route_layout.RTF_LLINFO
    said |= {"RTM_VERSION": layout.version, "AF_INET6": layout.inet6, "PF_ROUTE": layout.protocol}
    said |= {"RTM_NEWADDR": layout.new_address, "RTM_DELADDR": layout.lost_address, "RTM_IFINFO": layout.link_changed}
    said |= {SKIPPED[layout.system]: layout.skipped}
    said |= {f"offset(struct sockaddr_dl, sdl_{name})": at for name, at in (("nlen", 5), ("alen", 6), ("data", 8))}
    said |= {"offset(struct sockaddr_in, sin_addr)": 4, "offset(struct sockaddr_in6, sin6_addr)": 8}
    if layout is MACOS:
        said |= _header("if_msghdr2", "ifm", Header(layout.listed_size, 12, 8, 4))
        said |= _header("rt_msghdr2", "rtm", layout.route)
        said |= {"RTM_IFINFO2": layout.listed_link, "RTM_GET2": layout.listed_route, "RTF_IFSCOPE": layout.scoped}
        return said | {"NET_RT_IFLIST2": layout.list_links, "NET_RT_DUMP2": layout.list_routes}
    said |= {"NET_RT_IFLIST": layout.list_links, "NET_RT_DUMP ": layout.list_routes}
    said |= {"offset(struct if_msghdr, ifm_data.ifi_link_state)": layout.link_state}
    if layout is OPENBSD:
        said |= {f"offset(struct {one})": 4 for one in ("rt_msghdr, rtm_hdrlen", "if_msghdr, ifm_hdrlen")}
        said |= {"offset(struct rt_msghdr, rtm_priority)": layout.priority}
    return said


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_layout_is_that_of_the_headers(name: str) -> None:
    system, layout = SYSTEMS[name]
    said = claims(layout)
    assert len(said) > 40
    assert headers.evaluate(system, INCLUDES, list(said)) == said
    kinds, states = OTHERS[layout.system], NO_CARRIER.get(layout.system, ())
    known = headers.evaluate(system, INCLUDES, [*kinds, *states])
    assert layout.others == {known[one] for one in kinds}
    assert layout.no_carrier == {known[one] for one in states}


def test_a_wrong_value_would_be_seen() -> None:
    assert headers.evaluate(headers.MACOS, INCLUDES, ["RTM_IFINFO"]) != {"RTM_IFINFO": 0x14}
    with pytest.raises(ValueError, match="RTM_NO_SUCH_THING"):
        headers.evaluate(headers.MACOS, INCLUDES, ["RTM_NO_SUCH_THING"])


@pytest.mark.parametrize(
    ("platform", "layout"),
    [("darwin", MACOS), ("freebsd14", FREEBSD), ("openbsd7", OPENBSD), ("netbsd10", NETBSD), ("linux", None)],
)
def test_the_layout_of_a_platform(platform: str, layout: Layout | None) -> None:
    assert layout_of(platform) is layout

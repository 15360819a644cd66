"""The members of a Serf cluster, as one of its agents sees them."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from gossipcontrol.agent.report_builder import ID_BYTES
from gossipcontrol.serf.wire import Map, number, part, text

ALIVE, LEAVING, LEFT, FAILED = "alive", "leaving", "left", "failed"


@dataclass(frozen=True, slots=True)
class Member:
    """One member."""

    name: str
    """Its id: unique within the cluster."""
    status: str
    address: str
    """``ip:port``, ``[ip]:port``, or empty when Serf named none."""
    tags: Mapping[str, str] = field(default_factory=dict[str, str])


def members(body: Map) -> dict[str, Member]:
    """The members by name. A name that is no id of the service, longer than 128 bytes, is left out."""
    found: object = body.get(b"Members")
    known = [_member(part(entry)) for entry in cast("list[object]", found)] if isinstance(found, list) else []
    return {one.name: one for one in known if 0 < len(one.name.encode()) <= ID_BYTES}


def _member(entry: Map) -> Member:
    return Member(
        name=text(entry.get(b"Name")),
        status=text(entry.get(b"Status")),
        address=_address(entry.get(b"Addr"), number(entry.get(b"Port"))),
        tags={text(key): text(value) for key, value in part(entry.get(b"Tags")).items()},
    )


def _address(raw: object, port: int) -> str:
    if not isinstance(raw, bytes) or len(raw) not in (4, 16) or not 0 < port < 1 << 16:
        return ""
    ip = ipaddress.ip_address(raw)
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        return f"{ip.ipv4_mapped}:{port}"
    return f"{ip}:{port}" if ip.version == 4 else f"[{ip}]:{port}"


def is_joinable(address: str) -> bool:
    """Whether Serf may dial it: an IP address with a port. A name is none: to resolve one in vain takes 10 s."""
    host, _, port = address.rpartition(":")
    try:
        ipaddress.ip_address(host[1:-1] if host.startswith("[") else host)
    except ValueError:
        return False
    return port.isdecimal() and 0 < int(port[:6]) < 1 << 16

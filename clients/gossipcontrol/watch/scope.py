"""Which interfaces count, and why the others do not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Self

from gossipcontrol.watch.change import DEFAULT_V4, DEFAULT_V6, Link, Route, Snapshot

IGNORED = (
    "lo", "docker*", "veth*", "br-*", "cni*", "flannel*", "cali*", "cilium*", "lxc*", "lxd*", "virbr*", "vnet*",
    "podman*", "kube-*", "tun*", "tap*", "wg*", "tailscale*", "utun*", "ipsec*", "ppp*", "zt*", "nebula*", "dummy*",
    "awdl*", "llw*", "gif*", "anpi*", "ap[0-9]*", "feth*", "vmenet*", "stf*", "p2p0", "p2p-*", "bridge1[0-9][0-9]",
    "clat*",
)  # fmt: skip
"""Interfaces of containers and tunnels: they come and go without changing how peers are reached."""
LOOPBACK = "loopback"
SUMMARY = 70
"""Characters of the summary, so that it fits beside a time of day in 80 columns."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which interfaces count by name: those that match ``include``, and all others that do not match ``ignore``."""

    include: tuple[str, ...] = ()
    ignore: tuple[str, ...] = IGNORED

    @classmethod
    def default(cls, *, include: tuple[str, ...] = (), ignore: tuple[str, ...] = ()) -> Self:
        """The default list with further patterns."""
        return cls(include, IGNORED + ignore)

    def counts(self, name: str) -> bool:
        """Whether an interface of this name counts."""
        return not self.ignored_by(name)

    def ignored_by(self, name: str) -> str:
        """The pattern that makes an interface of this name ignored; empty when it counts."""
        if self._includes(name):
            return ""
        return next((pattern for pattern in self.ignore if fnmatchcase(name, pattern)), "")

    def ignores(self, link: Link) -> str:
        """Why an interface does not count, in words; empty when it does."""
        if pattern := self.ignored_by(link.name):
            return f"named {pattern}"
        return (link.kind or "software") if link.software and not self._includes(link.name) else ""

    def _includes(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self.include)


@dataclass(frozen=True, slots=True)
class Scope:
    """What a filter means on a host, decided from all of its interfaces."""

    watched: Mapping[str, str] = field(default_factory=dict[str, str])
    """Name of each interface that counts, and why if its name is an ignored one; else empty."""
    ignored: Mapping[str, str] = field(default_factory=dict[str, str])
    """Name of each interface that does not count, and why."""

    def summary(self, width: int = SUMMARY) -> str:
        """In words, not longer than ``width``."""
        watched = [f"{name} ({why})" if why else name for name, why in self.watched.items()]
        ignored = [_group(names, why) for why, names in _by_reason(self.ignored).items()]
        start = _fit("watching ", watched or ["no interface"], width - len("; ignoring 999 more"))
        return _fit(f"{start}; ignoring ", ignored or ["none"], width)


def _by_reason(ignored: Mapping[str, str]) -> dict[str, list[str]]:
    """The names for each reason; the loopback interface, of which everybody knows, comes last."""
    found: dict[str, list[str]] = {}
    for name, why in sorted(ignored.items(), key=lambda item: item[1] == LOOPBACK):
        found.setdefault(why, []).append(name)
    return found


def _group(names: list[str], why: str) -> str:
    return f"{names[0]} ({why})" if len(names) == 1 else f"{len(names)} {why}"


def _fit(start: str, names: list[str], width: int) -> str:
    """The start and as many names as fit; how many are left out is added."""
    for shown in range(len(names), 0, -1):
        left = len(names) - shown
        text = start + ", ".join(names[:shown]) + (f", {left} more" if left else "")
        if len(text) <= width:
            return text
    return f"{start}{len(names)} more" if len(names) > 1 else (start + names[0])[:width]


def choose_links(snapshot: Snapshot, chosen: Filter) -> tuple[dict[int, Link], Scope]:
    """The links that count, by index, and why. A name is only the first word; what the host is like is the last.

    An ignored name counts all the same on a bridge with a port that counts, where there is nothing else than ignored
    names, and where the kernel's only way out leads through it.
    """
    real = [link for link in snapshot.links if not _is_loopback(link)]
    counted = {link.index: link for link in real if not chosen.ignores(link)}
    why = dict.fromkeys(counted, "")
    masters = {link.master for link in counted.values() if link.master}
    _add(counted, why, (link for link in real if link.index in masters), "its port counts")
    if not counted:
        _add(counted, why, real, "there is nothing else")
    only = only_ways(snapshot, counted)
    _add(counted, why, (link for link in real if link.index in only and link.carrier), "the only way out")
    return counted, _scope(snapshot, chosen, why)


def only_ways(snapshot: Snapshot, counted: Mapping[int, Link]) -> set[int]:
    """Indexes of links that do not count by name, but carry a default route that no link that counts has."""
    found: set[int] = set()
    for destination in (DEFAULT_V4, DEFAULT_V6):
        routes = [route for route in snapshot.routes if route.destination == destination]
        if not any(_works(route, counted) for route in routes):
            found |= {route.index for route in routes if route.used and route.source}
    return found


def _works(route: Route, counted: Mapping[int, Link]) -> bool:
    return bool(route.source) and route.index in counted and counted[route.index].carrier


def _is_loopback(link: Link) -> bool:
    return link.loopback or link.name == "lo"


def _add(counted: dict[int, Link], why: dict[int, str], links: Iterable[Link], reason: str) -> None:
    for link in links:
        if link.index not in counted:
            counted[link.index], why[link.index] = link, reason


def _scope(snapshot: Snapshot, chosen: Filter, why: Mapping[int, str]) -> Scope:
    ordered = sorted(snapshot.links, key=lambda link: (not link.carrier, link.index))
    return Scope(
        {link.name: why[link.index] for link in ordered if link.index in why},
        {
            link.name: LOOPBACK if _is_loopback(link) else chosen.ignores(link)
            for link in ordered
            if link.index not in why
        },
    )

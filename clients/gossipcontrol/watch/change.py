"""What a watcher sees, and what it reports."""

from __future__ import annotations

from dataclasses import dataclass

from gossipcontrol.client.enumeration import ChangeKind

__all__ = ["Address", "Change", "ChangeKind", "Link", "Route", "Snapshot"]


@dataclass(frozen=True, slots=True)
class Change:
    """One event of the host that must be reported."""

    kind: ChangeKind
    generation: int
    """The host's counter; 0 for an announced sleep, which is not counted."""
    detail: str
    seen_at: float
    """Seconds, on a clock that goes on during sleep (``boottime``)."""


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface."""

    index: int
    name: str
    carrier: bool
    """Up, and with a carrier."""
    losses: int = 0
    """How often it has lost its carrier, as the kernel counts."""


@dataclass(frozen=True, slots=True)
class Address:
    """An address of an interface."""

    index: int
    address: str
    prefix: int
    usable: bool
    """Global scope, neither tentative nor failed."""


@dataclass(frozen=True, slots=True)
class Route:
    """A default route."""

    index: int
    family: int
    gateway: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The network at one moment."""

    links: tuple[Link, ...] = ()
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()

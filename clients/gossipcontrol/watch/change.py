"""What a watcher sees, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class ChangeKind(Enum):
    """What happened to the host."""

    CHANGED = "network change"
    RESUMED = "resume"
    SLEEPING = "sleep"


@dataclass(frozen=True, slots=True)
class Change:
    """One event of the host, worth telling."""

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

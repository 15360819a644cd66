"""What a watcher sees, and what it reports."""

from __future__ import annotations

from dataclasses import dataclass

from gossipcontrol.client.enumeration import ChangeKind

__all__ = ["DEFAULT_V4", "DEFAULT_V6", "Address", "Change", "ChangeKind", "Link", "Neighbor", "Route", "Snapshot"]

DEFAULT_V4, DEFAULT_V6 = "default v4", "default v6"
"""The destinations that stand for everything outside the host's own networks."""


@dataclass(frozen=True, slots=True)
class Change:
    """One event of the host that must be reported."""

    kind: ChangeKind
    generation: int
    """The host's counter; 0 for an announced sleep, which is not counted."""
    detail: str
    seen_at: float
    """Seconds, on a clock that goes on during sleep (``boottime``)."""
    slept: float = 0.0
    """Of a resume: seconds that the host slept; 0 where its clocks do not tell."""


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface."""

    index: int
    name: str
    carrier: bool
    """Up, and with a carrier."""
    losses: int = 0
    """How often it has lost its carrier, as the kernel counts."""
    master: int = 0
    """Index of the bridge, bond or VRF that it is a port of; 0: none."""
    loopback: bool = False
    kind: str = ""
    """Of a virtual interface, as the system calls it: ``bridge``, ``veth``, ``wireguard``; empty for hardware."""
    software: bool = False
    """Ignored as an ignored name is, where the names of interfaces are the user's and say nothing (Windows)."""


@dataclass(frozen=True, slots=True)
class Address:
    """An address of an interface."""

    index: int
    address: str
    prefix: int
    usable: bool
    """Neither tentative nor failed, and of a scope in which peers can be reached."""
    preferred: bool = True
    """Not deprecated: a deprecated address still works, but new connections avoid it."""


@dataclass(frozen=True, slots=True)
class Route:
    """One hop by which packets to a destination leave the host, as the system answers when it is asked."""

    destination: str
    """``DEFAULT_V4``, ``DEFAULT_V6``, or the address of a peer."""
    index: int
    """Of the interface."""
    gateway: str
    """Empty where the destination is on the link."""
    source: str
    """The address that packets leave from; empty where there is none."""
    used: bool = True
    """False: packets take another way now, but this interface has one too."""


@dataclass(frozen=True, slots=True)
class Neighbor:
    """A host on a link whose hardware address is known, and was found valid when it was last used."""

    index: int
    """Of the interface."""
    address: str
    hardware: str
    """Its MAC address."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The network at one moment."""

    links: tuple[Link, ...] = ()
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    peers: tuple[str, ...] = ()
    """The peers' addresses that were asked about; one that is in no route cannot be reached."""
    neighbors: tuple[Neighbor, ...] = ()
    """The gateways among them; one that has not been used for long is not there."""

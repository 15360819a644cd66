"""What an agent needs of the node beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from gossipcontrol.client.enumeration import Capability, Rung


@dataclass(frozen=True, slots=True)
class BootstrapPeer:
    """A peer that may be dialled: a hint of the service."""

    peer_id: str
    addresses: tuple[str, ...] = ()
    """Where its agent said that it can be dialled, in the node's own notation."""


class RejoinFailedError(Exception):
    """The node could not carry out a rejoin; ``permanent`` when trying again is pointless."""

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


class SyncFailedError(Exception):
    """The node could not sync with the peer that was named."""


class Node(Protocol):
    """A P2P process, as its agent sees it."""

    node_id: str
    """Opaque, at most 128 bytes; usually a hex public key."""
    capabilities: Sequence[Capability]
    """What it can do beyond joining a store's topic again; the agent registers all of it."""

    def stores(self) -> Sequence[str]:
        """The ids of its stores."""
        ...

    def addresses(self) -> Sequence[str]:
        """Where peers may dial it, in its own notation; may be empty.

        The agent calls this with every report, and often after a change of the network; what it announces leaves out
        loopback, and addresses that the host has lost.
        """
        ...

    async def rejoin(self, store_id: str, bootstrap: Sequence[BootstrapPeer], rung: Rung) -> None:
        """Carry out a rejoin through these peers and those it knows itself; raises RejoinFailedError.

        It need not wait for a neighbour: the agent reports neighbours and messages as they come. A rung that it does
        not know, of a newer service, is a permanent failure.
        """
        ...

    async def sync_with_peer(self, store_id: str, peer_id: str, addresses: Sequence[str]) -> None:
        """Dial this peer itself, not through the overlay, and bring the store in sync; raises SyncFailedError.

        Only asked of a node with ``Capability.SYNC_WITH_PEER``: for pairs that never become neighbours, and to find out
        whether the other side of a partition can be reached. A sync is no message of the overlay: ``Agent.received``
        is not called for it, or a node whose broadcasts go nowhere would look well. It may be cancelled at any time.
        """
        ...


@runtime_checkable
class AddressReader(Protocol):
    """A node that must be asked to look where it can be dialled now."""

    async def refresh_addresses(self) -> object:
        """Read its own addresses, so that ``addresses`` names them; a local call, within a second."""
        ...

"""A node that is another program's daemon: the agent beside it asks it over an interface of the daemon's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from gossipcontrol.agent.node import BootstrapPeer, Node
from gossipcontrol.client.enumeration import Capability, Rung

if TYPE_CHECKING:
    from gossipcontrol.agent.agent import Agent


class DaemonGoneError(Exception):
    """The daemon cannot be reached, or refuses what is asked; the message says why. It may come back."""


class DaemonNode(Node, Protocol):
    """One life of the daemon: it ends with the first connection that breaks."""

    async def begin(self, agent: Agent) -> None:
        """Report what is there before the agent attaches, so that nothing of it looks new; raises DaemonGoneError."""
        ...

    async def run(self, agent: Agent) -> None:
        """Report what changes until the daemon leaves its overlay for good; raises DaemonGoneError when it is gone."""
        ...

    def peer_addresses(self) -> list[str]:
        """Where its peers are, ``ip:port``, for the watcher; may be empty."""
        ...

    async def close(self) -> None:
        """Close what it opened."""
        ...


class PresentLife:
    """The node of the daemon's present life, for an agent that goes on with the next one."""

    def __init__(self, node: DaemonNode) -> None:
        self.life = node
        self.node_id = node.node_id
        self.capabilities: Sequence[Capability] = node.capabilities

    def stores(self) -> Sequence[str]:
        """The ids of its stores."""
        return self.life.stores()

    def addresses(self) -> Sequence[str]:
        """Where peers may dial it."""
        return self.life.addresses()

    async def rejoin(self, store_id: str, bootstrap: Sequence[BootstrapPeer], rung: Rung) -> None:
        """Carry out a rejoin; raises RejoinFailedError."""
        await self.life.rejoin(store_id, bootstrap, rung)

    async def sync_with_peer(self, store_id: str, peer_id: str, addresses: Sequence[str]) -> None:
        """Bring a store in sync with a peer; raises SyncFailedError."""
        await self.life.sync_with_peer(store_id, peer_id, addresses)

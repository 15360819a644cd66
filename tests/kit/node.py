"""A node that does what it is told and hears nobody: for load, where the overlay is not what is measured."""

from __future__ import annotations

from collections.abc import Sequence

from gossipcontrol.agent import BootstrapPeer, Capability, Rung


class SilentNode:
    """Carries out every rejoin at once, without any effect."""

    capabilities: Sequence[Capability] = ()

    def __init__(self, stores: Sequence[str], node_id: str = "silent") -> None:
        self.node_id = node_id
        self._stores = stores

    def stores(self) -> Sequence[str]:
        """The ids of its stores."""
        return self._stores

    def addresses(self) -> Sequence[str]:
        """None: nobody dials it."""
        return ()

    async def rejoin(self, store_id: str, bootstrap: Sequence[BootstrapPeer], rung: Rung) -> None:
        """Nothing."""
        del store_id, bootstrap, rung

    async def sync_with_peer(self, store_id: str, peer_id: str, addresses: Sequence[str]) -> None:
        """Nothing."""
        del store_id, peer_id, addresses

"""A node without an overlay, for measurements of the service alone."""

from __future__ import annotations

from collections.abc import Sequence

from gossipcontrol.agent import BootstrapPeer, Capability, Rung


class SilentNode:
    """Accepts every command at once, and does nothing."""

    capabilities: Sequence[Capability] = ()

    def __init__(self, stores: Sequence[str], node_id: str = "silent") -> None:
        self.node_id = node_id
        self._stores = stores

    def stores(self) -> Sequence[str]:
        """The ids of its stores."""
        return self._stores

    def addresses(self) -> Sequence[str]:
        """No addresses: nobody dials it."""
        return ()

    async def rejoin(self, store_id: str, bootstrap: Sequence[BootstrapPeer], rung: Rung) -> None:
        """Succeed."""
        del store_id, bootstrap, rung

    async def sync_with_peer(self, store_id: str, peer_id: str, addresses: Sequence[str]) -> None:
        """Succeed."""
        del store_id, peer_id, addresses

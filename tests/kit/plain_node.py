"""An iroh-gossip node as apps have it: a rejoin only subscribes again.

It neither has its peers knock nor moves to another endpoint, and cannot sync with a peer. So a peer that it dialled in
vain stays lost, until that peer dials in or the process is restarted (iroh-gossip issue 71, pull request 159).
"""

from __future__ import annotations

from collections.abc import Sequence

from gossipcontrol.agent import BootstrapPeer, Capability, RejoinFailedError, Rung
from gossipcontrol.iroh.node import IrohNode


class PlainNode(IrohNode):
    """What iroh-gossip does by itself, and no more."""

    capabilities: Sequence[Capability] = ()

    async def rejoin(self, store_id: str, bootstrap: Sequence[BootstrapPeer], rung: Rung) -> None:
        """Subscribe again through these peers."""
        if rung != Rung.REJOIN:
            raise RejoinFailedError(f"the node cannot carry out the rung {rung}", permanent=True)
        for peer in bootstrap:
            await self.know(peer.peer_id, peer.addresses)
        await self._membership.join_again(self._membership.topics[store_id], [peer.peer_id for peer in bootstrap])

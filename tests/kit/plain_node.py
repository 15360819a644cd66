"""An iroh-gossip node as apps have it: a rejoin only subscribes again, and so it does by itself while it is alone.

It neither has its peers knock nor moves to another endpoint, and cannot sync with a peer. So a peer that it dialled in
vain stays lost, until that peer dials in or the process is restarted (iroh-gossip issue 71, pull request 159).
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence

from gossipcontrol.agent import BootstrapPeer, Capability, RejoinFailedError, Rung
from gossipcontrol.cli import iroh_run
from gossipcontrol.cli.main import main
from gossipcontrol.iroh.node import IrohNode

PROGRAM = (sys.executable, "-m", "tests.kit.plain_node", "agent", "iroh", "--engine", "python", "--no-watch")
"""The command of the reference node, with this one instead; it does not follow the host's network either."""
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds from the loss of the last neighbour to the first join, each further one after twice as long, and the most."""


class PlainNode(IrohNode):
    """What iroh-gossip does by itself, and no more. One that broadcasts has Lattice's loop besides."""

    capabilities: Sequence[Capability] = ()
    _wait = FIRST_WAIT
    _joins_at = math.inf
    """When it joins next, if it has no neighbour then."""

    async def broadcast(self, store_id: str, size: int = 0) -> None:
        """Broadcast a heartbeat; without neighbours, join all known peers now and then."""
        topic, now = self._membership.topics[store_id], time.monotonic()
        if topic.neighbors:
            self._wait, self._joins_at = FIRST_WAIT, now + FIRST_WAIT
        elif now >= self._joins_at:
            self._wait = min(LONGEST_WAIT, 2 * self._wait)
            self._joins_at = now + self._wait
            await self._membership.join_again(topic, ())
        await super().broadcast(store_id, size)

    async def rejoin(self, store_id: str, bootstrap: Sequence[BootstrapPeer], rung: Rung) -> None:
        """Subscribe again through these peers."""
        if rung != Rung.REJOIN:
            raise RejoinFailedError(f"the node cannot carry out the rung {rung}", permanent=True)
        for peer in bootstrap:
            await self.know(peer.peer_id, peer.addresses)
        await self._membership.join_again(self._membership.topics[store_id], [peer.peer_id for peer in bootstrap])


if __name__ == "__main__":
    iroh_run.IrohNode = PlainNode  # type: ignore[attr-defined] # the command runs this one
    main()

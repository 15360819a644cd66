"""An agent for a node of your own. The service: GOSSIPCONTROL_ADDRESS, else the one of this machine."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from gossipcontrol.agent import Agent, BootstrapPeer, Capability, Rung, SyncFailedError


class MyNode:
    """Stands for a P2P node: replace each method by a call of yours."""

    node_id = "my-node"
    capabilities: Sequence[Capability] = ()

    def stores(self) -> Sequence[str]:
        """The ids of its stores."""
        return ["notes"]

    def addresses(self) -> Sequence[str]:
        """Where peers may dial it."""
        return ["192.0.2.1:4433"]

    async def rejoin(self, store_id: str, bootstrap: Sequence[BootstrapPeer], rung: Rung) -> None:
        """Join the store's topic again."""
        print(f"{rung} {store_id} through {[peer.peer_id for peer in bootstrap]}", flush=True)

    async def sync_with_peer(self, store_id: str, peer_id: str, addresses: Sequence[str]) -> None:
        """Only called with ``Capability.SYNC_WITH_PEER``."""
        raise SyncFailedError("not supported")


async def main() -> None:
    """Attach, report what the node hears, and carry out rejoins until Ctrl-C."""
    async with Agent(MyNode(), on_event=lambda event: print(event.what, event.detail, flush=True)) as agent:
        await agent.attached.wait()
        agent.neighbor_up("notes", "peer-1")  # call these where your node learns of it
        agent.received("notes", "peer-1", direct=True)
        agent.record_write("notes")  # a local write; once another node holds it: mark_synced
        agent.sent("notes")
        agent.mark_synced("notes")
        await asyncio.Event().wait()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())

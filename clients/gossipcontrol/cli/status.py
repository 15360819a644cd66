"""What the service knows in a few numbers, and whether they are all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gossipcontrol.client.client import Client
from gossipcontrol.v1 import decision_pb2, gossip_control_pb2

HOUR_MS = 3_600_000
MOST_REJOINS = 1000
"""Most rejoins that are counted."""


@dataclass(frozen=True, slots=True)
class Status:
    """The service at one moment."""

    serving: bool
    stores: int
    nodes: int
    attached: int
    all_nodes: bool
    """Whether there are no more nodes: the service lists 100 of a store, and counts the others without their ids."""
    rejoins: Sequence[decision_pb2.Rejoin]
    """Those of the last hour, newest first."""
    all_rejoins: bool


async def read_status(client: Client) -> Status:
    """Ask the service; raises ClientError."""
    serving = await client.serving()
    stores = [store async for store in client.list_stores()]
    listed = {node.node_id: node.attached for store in stores for node in store.nodes}
    request = gossip_control_pb2.ListRejoinsRequest(max_age_ms=HOUR_MS, page_size=MOST_REJOINS)
    rejoins = [rejoin async for rejoin in client.list_rejoins(request, most=MOST_REJOINS + 1)]
    return Status(
        serving=serving,
        stores=len(stores),
        nodes=max(len(listed), *(store.node_count for store in stores), 0),
        attached=max(sum(listed.values()), *(store.attached_count for store in stores), 0),
        # What is not listed may be the same nodes in every store, or others in each.
        all_nodes=len(stores) == 1 or all(store.node_count == len(store.nodes) for store in stores),
        rejoins=rejoins[:MOST_REJOINS],
        all_rejoins=len(rejoins) <= MOST_REJOINS,
    )

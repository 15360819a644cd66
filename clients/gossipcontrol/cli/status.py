"""What the service knows in a few numbers, and whether they are complete."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gossipcontrol.cli.trouble import Trouble, find_troubles
from gossipcontrol.client.client import Client
from gossipcontrol.client.decision import RejoinRecord
from gossipcontrol.client.store import Store

HOUR = 3600.0
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
    rejoins: Sequence[RejoinRecord]
    """Those of the last hour, newest first."""
    all_rejoins: bool
    warnings: Sequence[str] = ()
    """What is wrong with the fleet as a whole."""
    troubles: Sequence[Trouble] = ()
    """All that is wrong, and then what may pass."""
    listed: Sequence[Store] = ()
    """The stores."""


async def read_status(client: Client) -> Status:
    """Ask the service; raises ClientError."""
    serving = await client.serving()
    stores = [store async for store in client.list_stores()]
    listed = {node.node_id: node.attached for store in stores for node in store.nodes}
    rejoins = [rejoin async for rejoin in client.list_rejoins(max_age=HOUR, limit=MOST_REJOINS + 1)]
    warnings = await client.warnings()
    return Status(
        serving=serving,
        stores=len(stores),
        nodes=max(len(listed), *(store.node_count for store in stores), 0),
        attached=max(sum(listed.values()), *(store.attached_count for store in stores), 0),
        # The nodes that are not listed may be the same in every store, or different ones.
        all_nodes=len(stores) == 1 or all(store.node_count == len(store.nodes) for store in stores),
        rejoins=rejoins[:MOST_REJOINS],
        all_rejoins=len(rejoins) <= MOST_REJOINS,
        warnings=warnings,
        troubles=find_troubles(stores, rejoins, warnings),
        listed=stores,
    )

"""What liveness needs to know of agents; the registry of deciding knows it, and nobody keeps a copy."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol


class Roster(Protocol):
    """Which nodes are attached, with which stores, and what they can do."""

    def can_sync(self, node_id: str) -> bool | None:
        """Whether the node's agent can sync with a peer on request; None: no agent is attached."""
        ...

    def store_ids(self, node_id: str) -> Collection[str]:
        """The stores of a node, attached or not; none when the node is not known."""
        ...


class EmptyRoster:
    """Nobody is attached: reports come from nodes without agents only."""

    def can_sync(self, node_id: str) -> bool | None:
        """None."""
        del node_id
        return None

    def store_ids(self, node_id: str) -> Collection[str]:
        """None."""
        del node_id
        return ()

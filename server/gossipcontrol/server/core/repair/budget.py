"""Rate limit of direct syncs per node, over all its stores."""

from __future__ import annotations


class Budget:
    """At most ``rate`` syncs per second and node, without bursts; only nodes that synced recently are stored."""

    def __init__(self, rate: float) -> None:
        self._step = 1.0 / rate
        self._free_at: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._free_at)

    def free_at(self, node_id: str) -> float:
        """When the node may sync again; minus infinity if it has not synced recently."""
        return self._free_at.get(node_id, float("-inf"))

    def try_spend(self, node_id: str, now: float) -> bool:
        """Spend one sync of the node's budget if it has one."""
        if self.free_at(node_id) > now:
            return False
        self._free_at.pop(node_id, None)
        self._free_at[node_id] = now + self._step
        return True

    def prune(self, now: float) -> None:
        """Drop nodes with a full budget; the least recent come first."""
        while self._free_at:
            node_id, free_at = next(iter(self._free_at.items()))
            if free_at > now:
                return
            del self._free_at[node_id]

"""How often each node may be asked for a direct sync, over all its stores."""

from __future__ import annotations


class Budget:
    """At most ``rate`` per second and node, one at a time; only nodes that used theirs of late are remembered."""

    def __init__(self, rate: float) -> None:
        self._step = 1.0 / rate
        self._free_at: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._free_at)

    def free_at(self, node_id: str) -> float:
        """When the node may be asked again; minus infinity for one that was not asked of late."""
        return self._free_at.get(node_id, float("-inf"))

    def try_spend(self, node_id: str, now: float) -> bool:
        """Ask the node now, if its budget allows."""
        if self.free_at(node_id) > now:
            return False
        self._free_at.pop(node_id, None)
        self._free_at[node_id] = now + self._step
        return True

    def prune(self, now: float) -> None:
        """Drop the nodes whose budget is whole again; those asked longest ago come first."""
        while self._free_at:
            node_id, free_at = next(iter(self._free_at.items()))
            if free_at > now:
                return
            del self._free_at[node_id]

"""The conditions of a store's nodes: when each becomes a trigger, and how often again while it lasts."""

from __future__ import annotations

from dataclasses import dataclass

from gossipcontrol.server.core.decision import Cause
from gossipcontrol.server.core.event import NEVER

Key = tuple[str, Cause]
"""Node and cause."""
ROTS = frozenset({Cause.OUTBOUND_ROT, Cause.INBOUND_ROT})
MAX_DOUBLINGS = 60
"""Bounds the exponent; after this many doublings the interval has reached any cap."""


@dataclass(slots=True, eq=False)
class Condition:
    """Something wrong with one node in one store."""

    since: float
    active: bool = True
    triggers: int = 0
    """Triggers sent since it became active."""
    triggered_at: float = NEVER
    seen_at: float = NEVER
    """When it was last confirmed."""


class ConditionTracker:
    """The conditions of one store. The interval between triggers doubles up to ``cap``; it restarts once one clears.

    Rot shows, and its end shows, only over a window, so its first interval is at least that long.
    """

    __slots__ = ("_cap", "_conditions", "_interval", "_window")

    def __init__(self, interval: float, cap: float, window: float) -> None:
        self._interval = interval
        self._window = max(interval, window)
        self._cap = max(cap, self._window)
        self._conditions: dict[Key, Condition] = {}

    def __len__(self) -> int:
        return len(self._conditions)

    def mark_active(self, node_id: str, cause: Cause, now: float, hold: float = 0.0) -> bool:
        """Confirm a condition; return whether it has been active for ``hold`` seconds and a trigger is due."""
        condition = self._conditions.get((node_id, cause))
        if condition is None:
            condition = self._conditions[node_id, cause] = Condition(now)
        elif not condition.active:
            condition.active, condition.since, condition.triggers = True, now, 0
        condition.seen_at = now
        first = self._window if cause in ROTS else self._interval
        wait = min(self._cap, first * 2.0 ** (condition.triggers - 1)) if condition.triggers else self._interval
        return now - condition.since >= hold and now - condition.triggered_at >= wait

    def record_trigger(self, node_id: str, cause: Cause, now: float) -> None:
        """Record that a trigger is sent now."""
        condition = self._conditions[node_id, cause]
        condition.triggers = min(condition.triggers + 1, MAX_DOUBLINGS)
        condition.triggered_at = now

    def clear(self, node_id: str, cause: Cause) -> bool:
        """Mark a condition as ended; return whether it was active and had become a trigger."""
        condition = self._conditions.get((node_id, cause))
        if condition is None or not condition.active:
            return False
        condition.active = False
        if not condition.triggers:
            del self._conditions[node_id, cause]
        return condition.triggers > 0

    def prune(self, now: float) -> None:
        """Drop cleared conditions, but keep recent ones: if one returns at once, its interval still applies."""
        due = [key for key, it in self._conditions.items() if not it.active and now - it.triggered_at >= self._interval]
        for key in due:
            del self._conditions[key]

    def causes_of(self, node_id: str) -> list[Cause]:
        """The active causes of a node."""
        return [cause for (one, cause), it in self._conditions.items() if one == node_id and it.active]

    def by_node(self, most: int) -> dict[str, list[Cause]]:
        """The active causes of the first ``most`` nodes that have any."""
        found: dict[str, list[Cause]] = {}
        for (one, cause), it in self._conditions.items():
            if it.active and (one in found or len(found) < most):
                found.setdefault(one, []).append(cause)
        return found

    def nodes_with(self, cause: Cause) -> list[str]:
        """The nodes with this condition."""
        return [one for (one, kind), it in self._conditions.items() if kind is cause and it.active]

    def stale_nodes(self, cause: Cause, before: float) -> list[str]:
        """The nodes whose condition was last confirmed before that instant."""
        return [one for one in self.nodes_with(cause) if self._conditions[one, cause].seen_at < before]

    def nodes(self) -> set[str]:
        """The nodes with any active condition."""
        return {one for (one, _), it in self._conditions.items() if it.active}

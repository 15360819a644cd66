"""When a suspicion that stands becomes a trigger again: at once, then ever more seldom."""

from __future__ import annotations

from dataclasses import dataclass

from gossipcontrol.server.core.decision import Cause
from gossipcontrol.server.core.event import NEVER

Key = tuple[str, Cause]
"""The node, and of what it is suspected."""
ROTS = frozenset({Cause.OUTBOUND_ROT, Cause.INBOUND_ROT})
MAX_DOUBLINGS = 60
"""Beyond these the interval is at any cap."""


@dataclass(slots=True, eq=False)
class Condition:
    """One suspicion of a node in a store."""

    since: float
    active: bool = True
    triggers: int = 0
    """How many it led to while it stands."""
    triggered_at: float = NEVER
    seen_at: float = NEVER
    """When it was last found to stand."""


class ConditionTracker:
    """Those of one store. The interval doubles from its first length to ``cap``, and begins anew when it has cleared.

    Rot shows, or shows to be mended, over a window only: so long is its first interval at least.
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
        """It stands now; whether it has for ``hold`` seconds, and a trigger is due."""
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
        """It becomes a trigger now."""
        condition = self._conditions[node_id, cause]
        condition.triggers = min(condition.triggers + 1, MAX_DOUBLINGS)
        condition.triggered_at = now

    def clear(self, node_id: str, cause: Cause) -> bool:
        """It stands no longer; whether it did and had become a trigger."""
        condition = self._conditions.get((node_id, cause))
        if condition is None or not condition.active:
            return False
        condition.active = False
        if not condition.triggers:
            del self._conditions[node_id, cause]
        return condition.triggers > 0

    def prune(self, now: float) -> None:
        """Drop those that cleared; but one that comes back at once must wait for its turn, and so is remembered."""
        due = [key for key, it in self._conditions.items() if not it.active and now - it.triggered_at >= self._interval]
        for key in due:
            del self._conditions[key]

    def causes_of(self, node_id: str) -> list[Cause]:
        """What a node is suspected of."""
        return [cause for (one, cause), it in self._conditions.items() if one == node_id and it.active]

    def nodes_with(self, cause: Cause) -> list[str]:
        """The nodes that are suspected of this."""
        return [one for (one, kind), it in self._conditions.items() if kind is cause and it.active]

    def stale_nodes(self, cause: Cause, before: float) -> list[str]:
        """The nodes that are suspected of this, but were last found so before that instant."""
        return [one for one in self.nodes_with(cause) if self._conditions[one, cause].seen_at < before]

    def nodes(self) -> set[str]:
        """The nodes that are suspected of anything."""
        return {one for (one, _), it in self._conditions.items() if it.active}

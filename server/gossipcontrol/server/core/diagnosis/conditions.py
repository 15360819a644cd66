"""When a suspicion that stands becomes a trigger again: at once, then ever more seldom."""

from __future__ import annotations

from dataclasses import dataclass

from gossipcontrol.server.core.decision import Cause
from gossipcontrol.server.core.event import NEVER

Key = tuple[str, Cause]
"""The node, and of what it is suspected."""
ROTS = frozenset({Cause.OUTBOUND_ROT, Cause.INBOUND_ROT})
MOST_DOUBLINGS = 60
"""Beyond these the interval is at any cap."""


@dataclass(slots=True, eq=False)
class Condition:
    """One suspicion of a node in a store."""

    since: float
    stands: bool = True
    triggers: int = 0
    """How many it led to while it stands."""
    triggered_at: float = NEVER
    seen_at: float = NEVER
    """When it was last found to stand."""


class ConditionTracker:
    """Those of one store. The interval doubles from its first length to ``cap``, and begins anew when it has cleared.

    Rot shows, or shows to be mended, over a window only: so long is its first interval at least.
    """

    __slots__ = ("_cap", "_interval", "_known", "_window")

    def __init__(self, interval: float, cap: float, window: float) -> None:
        self._interval = interval
        self._window = max(interval, window)
        self._cap = max(cap, self._window)
        self._known: dict[Key, Condition] = {}

    def __len__(self) -> int:
        return len(self._known)

    def stands(self, node_id: str, cause: Cause, now: float, hold: float = 0.0) -> bool:
        """It stands now; whether it has for ``hold`` seconds, and a trigger is due."""
        suspicion = self._known.get((node_id, cause))
        if suspicion is None:
            suspicion = self._known[node_id, cause] = Condition(now)
        elif not suspicion.stands:
            suspicion.stands, suspicion.since, suspicion.triggers = True, now, 0
        suspicion.seen_at = now
        first = self._window if cause in ROTS else self._interval
        wait = min(self._cap, first * 2.0 ** (suspicion.triggers - 1)) if suspicion.triggers else self._interval
        return now - suspicion.since >= hold and now - suspicion.triggered_at >= wait

    def trigger(self, node_id: str, cause: Cause, now: float) -> None:
        """It becomes a trigger now."""
        suspicion = self._known[node_id, cause]
        suspicion.triggers = min(suspicion.triggers + 1, MOST_DOUBLINGS)
        suspicion.triggered_at = now

    def clear(self, node_id: str, cause: Cause) -> bool:
        """It stands no longer; whether it did and had become a trigger."""
        suspicion = self._known.get((node_id, cause))
        if suspicion is None or not suspicion.stands:
            return False
        suspicion.stands = False
        if not suspicion.triggers:
            del self._known[node_id, cause]
        return suspicion.triggers > 0

    def forget(self, now: float) -> None:
        """Drop those that cleared; but one that comes back at once must wait for its turn, and so is remembered."""
        due = [key for key, it in self._known.items() if not it.stands and now - it.triggered_at >= self._interval]
        for key in due:
            del self._known[key]

    def of(self, node_id: str) -> list[Cause]:
        """What a node is suspected of."""
        return [cause for (one, cause), it in self._known.items() if one == node_id and it.stands]

    def suspected(self, cause: Cause) -> list[str]:
        """The nodes that are suspected of this."""
        return [one for (one, kind), it in self._known.items() if kind is cause and it.stands]

    def faded(self, cause: Cause, before: float) -> list[str]:
        """The nodes that are suspected of this, but were last found so before that instant."""
        return [one for one in self.suspected(cause) if self._known[one, cause].seen_at < before]

    def nodes(self) -> set[str]:
        """The nodes that are suspected of anything."""
        return {one for (one, _), it in self._known.items() if it.stands}

"""The ladder where rot stands: a rung per trigger, and proof only by the end of the suspicion."""

from __future__ import annotations

from collections.abc import Callable

from gossipcontrol.server.core.deciding.ladder import next_rung
from gossipcontrol.server.core.deciding.registry import Slot
from gossipcontrol.server.core.deciding.rejoin import Rejoin
from gossipcontrol.server.core.deciding.timer import Timers
from gossipcontrol.server.core.decision import Cause, Outcome, Rung
from gossipcontrol.server.core.effect import Effect

CLEARED = "the end of what was suspected"
CUT_MEMORY = 30.0
"""Seconds for which a rung that did not unite a partition counts: a store may stay cut for hours while sides within it
come together and fall apart, and the path's return must not find the ladder climbed."""
UNHEALED = "the suspicion ended, but nothing shows that it healed"

End = Callable[[Rejoin, Outcome, str, float, list[Effect]], None]


class Probation:
    """Rejoins because of rot are on trial from their proof time on, one per slot.

    Whether one helped shows only in reports to come. So it ends when the suspicion does (verified, if it healed), or
    with the next trigger because of rot (unverified; that one tries the next rung), or when it has lasted too long.
    """

    def __init__(self, time: float, timers: Timers, end: End) -> None:
        self._time = time
        self._timers = timers
        self._end = end

    def begin(self, slot: Slot, rejoin: Rejoin, now: float, effects: list[Effect]) -> bool:
        """Give a rejoin that starts its rung; returns whether none above the last one is left."""
        self.end(slot, f"what was suspected still stands; {rejoin.rejoin_id} follows", now, effects)
        cuts_only = rejoin.all_causes() == (Cause.PARTITION,)
        if slot.last_start_at + (CUT_MEMORY if cuts_only else self._time) <= now:
            slot.tried = None
        above = Rung.REJOIN if slot.tried is None else next_rung(slot.tried, slot.node.capabilities)
        rejoin.rung = slot.tried = above or slot.tried or Rung.REJOIN
        return above is None

    def hold(self, slot: Slot, rejoin: Rejoin, now: float) -> None:
        """Its proof time is over, and nothing shows yet."""
        self._timers.set(rejoin, now + self._time)
        slot.on_trial = rejoin
        rejoin.detail = "carried out; on trial until the suspicion ends or triggers again"

    def end(self, slot: Slot, detail: str, now: float, effects: list[Effect]) -> None:
        """End what is on trial: it did not show that it helped."""
        rejoin = slot.on_trial
        if rejoin is not None:
            slot.on_trial = None
            self._end(rejoin, Outcome.UNVERIFIED, detail, now, effects)

    def forget(self, slot: Slot, detail: str, now: float, effects: list[Effect]) -> None:
        """Nothing is known of rot any longer: the next begins at the lowest rung."""
        self.end(slot, detail, now, effects)
        if slot.standing:
            slot.standing = frozenset()
            self.heal(slot)

    @staticmethod
    def heal(slot: Slot) -> None:
        """Nothing is wrong: the next rot begins at the lowest rung, and is a new episode."""
        slot.tried, slot.restart_advised = None, False

"""The ladder while rot stands: a rung per trigger, and proof only by the end of the suspicion."""

from __future__ import annotations

from gossipcontrol.server.core.deciding.ladder import next_rung
from gossipcontrol.server.core.deciding.lifecycle import Lifecycle, Move
from gossipcontrol.server.core.deciding.registry import Slot
from gossipcontrol.server.core.deciding.rejoin import Rejoin
from gossipcontrol.server.core.decision import Cause, Rung

CUT_MEMORY = 30.0
"""Seconds for which a rung that did not unite a partition counts: a store may stay cut for hours while sides within it
come together and fall apart, and the path's return must not find the ladder climbed."""


class Probation:
    """A rejoin because of rot awaits recovery from its proof time on; one per slot does.

    Whether it helped shows only in later reports. So it ends when the suspicion does (verified, if the node recovered),
    with the next trigger because of rot (unverified; that one tries the next rung), or after ``time`` seconds.
    """

    def __init__(self, time: float, lifecycle: Lifecycle) -> None:
        self._time = time
        self._lifecycle = lifecycle

    def begin(self, slot: Slot, rejoin: Rejoin, now: float) -> bool:
        """Give a rejoin that starts its rung; returns whether no rung above the last one is left."""
        self.give_up(slot, f"what was suspected still stands; {rejoin.rejoin_id} follows", now)
        if rejoin.rejoin_only:
            return False
        cuts_only = rejoin.all_causes() == (Cause.PARTITION,)
        if slot.last_start_at + (CUT_MEMORY if cuts_only else self._time) <= now:
            slot.highest_rung = None
        above = Rung.REJOIN if slot.highest_rung is None else next_rung(slot.highest_rung, slot.node.capabilities)
        rejoin.rung = slot.highest_rung = above or slot.highest_rung or Rung.REJOIN
        return above is None

    def hold(self, rejoin: Rejoin, now: float) -> None:
        """Its proof time is over, and nothing shows yet."""
        self._lifecycle.hold(rejoin, now + self._time)
        rejoin.detail = "carried out; waiting until the suspicion ends or triggers again"

    def give_up(self, slot: Slot, detail: str, now: float) -> None:
        """End what awaits recovery: it did not show that it helped."""
        if slot.awaiting_recovery is not None:
            self._lifecycle.end(slot.awaiting_recovery, Move.GIVE_UP, detail, now)

    def forget(self, slot: Slot, detail: str, now: float) -> None:
        """Nothing is known of rot any longer: the next begins at the lowest rung."""
        self.give_up(slot, detail, now)
        if slot.active_rot:
            slot.active_rot = frozenset()
            self.reset(slot)

    @staticmethod
    def reset(slot: Slot) -> None:
        """Nothing is wrong: the next rot begins at the lowest rung, and is a new episode."""
        slot.highest_rung, slot.restart_advised = None, False

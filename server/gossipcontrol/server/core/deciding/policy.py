"""The rule of one (node, store): whether a trigger starts a rejoin, shares one, waits, is parked or is skipped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gossipcontrol.server.core.deciding.admission import DryLane, Lane
from gossipcontrol.server.core.deciding.history import History
from gossipcontrol.server.core.deciding.ladder import higher
from gossipcontrol.server.core.deciding.lifecycle import Move
from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.core.deciding.record import UNSEEN, Seen
from gossipcontrol.server.core.deciding.recorded_reads import RecordedReads
from gossipcontrol.server.core.deciding.registry import Slot
from gossipcontrol.server.core.deciding.rejoin import BRIDGE, Rejoin, State, Trigger
from gossipcontrol.server.core.deciding.scheduler import AWAY, Scheduler
from gossipcontrol.server.core.decision import MOVES, Cause, Decision, DecisionKind, Rule


class Policy:
    """``evaluate`` is the rule of one slot, and the only one; ``decide`` carries it out through the scheduler."""

    def __init__(self, parameters: Parameters, history: History, reads: RecordedReads, scheduler: Scheduler) -> None:
        self._parameters = parameters
        self._history = history
        self._reads = reads
        self._scheduler = scheduler
        self._lifecycle = scheduler.lifecycle
        self.reserved = 0
        """Places that triggers need which are decided in slices."""

    def evaluate(self, slot: Slot, trigger: Trigger, seen: Seen, lane: Lane) -> tuple[DecisionKind, Rule, float]:
        """For real or dry: nothing changes but what is taken from the lane."""
        now, rejoin = trigger.arrived_at, slot.waiting
        if trigger.cause.is_refutable and self._scheduler.is_fresh(seen.alive_at, now):
            return DecisionKind.SKIPPED, Rule.FRESH_NEIGHBORS, now
        if rejoin is not None:
            return self._evaluate_waiting(slot, rejoin, now)
        window_ends_at = slot.last_start_at + self._parameters.window
        if not slot.node.reachable:
            return DecisionKind.PARKED, Rule.NOT_ATTACHED, now + self._parameters.park_time
        if window_ends_at > now or slot.running is not None:
            # One that still runs is due by now, and ends before this one starts: what is due is done in its order.
            return DecisionKind.SCHEDULED, Rule.WINDOW, max(window_ends_at, now)
        if lane.take(now):
            return DecisionKind.STARTED, Rule.LEADING_EDGE, now
        return DecisionKind.SCHEDULED, Rule.GLOBAL_LIMIT, lane.estimate(now)

    def _evaluate_waiting(self, slot: Slot, rejoin: Rejoin, now: float) -> tuple[DecisionKind, Rule, float]:
        rule = rejoin.rule
        if rule is Rule.NOT_ATTACHED:
            return DecisionKind.PARKED, rule, now + self._parameters.park_time
        if rejoin.queued:
            return DecisionKind.COALESCED, rule, max(now, rejoin.expected_at)
        at = now if rejoin.deadline is None else rejoin.deadline
        if rule is Rule.BACKOFF:
            # A retry backs off, but a new trigger need wait no longer than the window.
            at = min(at, max(now, slot.last_start_at + self._parameters.window))
        return DecisionKind.COALESCED, rule, at

    def see(self, slot: Slot, alive_at: float) -> Seen:
        """What a decision about the slot sees now."""
        waiting_id = slot.waiting.rejoin_id if slot.waiting else ""
        return Seen(slot.node.reachable, slot.last_start_at, alive_at, waiting_id, self._lifecycle.waiting)

    def decide(self, slot: Slot, trigger: Trigger) -> Decision:
        """Leading edge now; every further trigger shares one trailing run."""
        seen = self.see(slot, self._reads.instant(slot.alive_at))
        kind, rule, at = self.evaluate(slot, trigger, seen, self._scheduler.admission)
        if kind is DecisionKind.SKIPPED:
            return self._refute(slot, trigger, seen)
        if trigger.cause.is_proved_by_recovery:
            slot.active_rot |= {trigger.cause}
        if trigger.cause in MOVES:
            slot.restart_advised = False  # whatever was in vain before may work now
        rejoin = slot.waiting
        if rejoin is not None:
            return self._coalesce(rejoin, trigger, kind, rule, at, seen)
        now = trigger.arrived_at
        rejoin = self._history.new(slot.node.node_id, slot.store.store_id, trigger)
        if kind is DecisionKind.STARTED:
            self._scheduler.start(rejoin, now)
        elif rule is Rule.WINDOW:
            self._lifecycle.wait(rejoin, Move.DELAY, rule, at)
        elif kind is DecisionKind.PARKED:
            self._lifecycle.park(rejoin, Move.PARK, at)
            if slot.node.attached:
                rejoin.detail = AWAY
        else:
            self._lifecycle.queue(rejoin, now)
        self._history.add_trigger(rejoin, trigger, kind, rule, seen)
        return Decision(rejoin.node_id, rejoin.store_id, kind, rule, rejoin.rejoin_id, at)

    def _refute(self, slot: Slot, trigger: Trigger, seen: Seen) -> Decision:
        """Skip a suspicion; those of one window share a record."""
        earlier, now = self._history.get(slot.skipped_id), trigger.arrived_at
        if earlier is None or earlier.requested_at + self._parameters.window <= now:
            skipped = self._history.new(slot.node.node_id, slot.store.store_id, trigger)
            slot.skipped_id = skipped.rejoin_id
            return self.skip(skipped, trigger, Rule.FRESH_NEIGHBORS, seen)
        kind, rule = DecisionKind.SKIPPED, Rule.FRESH_NEIGHBORS
        self._history.add_trigger(earlier, trigger, kind, rule, seen)
        return Decision(earlier.node_id, earlier.store_id, kind, rule, "", now)

    def _coalesce(
        self, rejoin: Rejoin, trigger: Trigger, kind: DecisionKind, rule: Rule, at: float, seen: Seen
    ) -> Decision:
        if rejoin.uncovered_at is None:
            rejoin.uncovered_at = trigger.arrived_at
        if trigger.cause is Cause.ASKED:
            rejoin.bridge = tuple(dict.fromkeys([*trigger.bridge, *rejoin.bridge]))[:BRIDGE]
        elif trigger.bridge:
            rejoin.bridge = trigger.bridge
        if rejoin.rejoin_only:
            rejoin.rejoin_only = trigger.rejoin_only
        rejoin.first_rung = higher(rejoin.first_rung, trigger.first_rung)
        if trigger.cause.urgency < rejoin.urgency:
            self._scheduler.press(rejoin, trigger.cause.urgency)
        if rule is Rule.BACKOFF:
            self._scheduler.end_backoff(rejoin, at)
        self._history.add_trigger(rejoin, trigger, kind, rule, seen)
        decision = rejoin.decision
        if decision is None or decision.start_at != at or decision.rule is not rule:
            decision = Decision(rejoin.node_id, rejoin.store_id, kind, rule, rejoin.rejoin_id, at)
            rejoin.decision = decision
        return decision

    def park_unknown(self, rejoin: Rejoin, trigger: Trigger, rule: Rule) -> Decision:
        """Park a trigger of a host or node of which no store is known yet."""
        expires_at = trigger.arrived_at + self._parameters.park_time
        if rejoin.state is not State.PARKED:
            self._lifecycle.park(rejoin, Move.PARK, expires_at, rule)
        self._history.add_trigger(rejoin, trigger, DecisionKind.PARKED, rule)
        return Decision(rejoin.node_id, "", DecisionKind.PARKED, rule, rejoin.rejoin_id, expires_at)

    def skip(self, rejoin: Rejoin, trigger: Trigger, rule: Rule, seen: Seen = UNSEEN) -> Decision:
        """Record a trigger for which nothing runs."""
        self._history.add_trigger(rejoin, trigger, DecisionKind.SKIPPED, rule, seen)
        self._lifecycle.skip(rejoin, trigger.arrived_at)
        return Decision(rejoin.node_id, rejoin.store_id, DecisionKind.SKIPPED, rule, "", trigger.arrived_at)

    # Room, before anything is decided.

    def dry_lane(self) -> DryLane:
        """Admission to try things out on."""
        return self._scheduler.admission.dry()

    def free_places(self) -> int:
        """Free places in the queue."""
        lifecycle = self._lifecycle
        return self._parameters.queue_limit - lifecycle.waiting - lifecycle.parked - self.reserved

    def needing_no_place(self, slots: Iterable[Slot], now: float) -> Iterator[Slot]:
        """Those of which a trigger would start at once, or share a rejoin that waits; there may be very many."""
        if len(self._scheduler.admission):
            return (slot for slot in slots if slot.waiting is not None)
        window = self._parameters.window
        return (
            slot
            for slot in slots
            if slot.waiting is not None
            or (slot.node.reachable and slot.running is None and slot.last_start_at + window <= now)
        )

    def retry_in(self, now: float) -> float:
        """Seconds until a full queue has room: a hundred starts at the global rate, else the next that falls due."""
        if len(self._scheduler.admission):
            return max(1.0, 100.0 / self._parameters.rate)
        deadline = self._lifecycle.next_deadline()
        return 1.0 if deadline is None else max(1.0, deadline - now)

"""Monitors one store: its reports, its nodes' conditions, its partition and its pairs, and when to evaluate them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable
from itertools import repeat
from typing import Protocol

from gossipcontrol.server.core.decision import Cause
from gossipcontrol.server.core.diagnosis.conditions import ConditionTracker
from gossipcontrol.server.core.diagnosis.isolation import isolation_evidence, stuck_writes_evidence
from gossipcontrol.server.core.diagnosis.links import Links
from gossipcontrol.server.core.diagnosis.reports import OBSERVERS_PER_PART, StoreReports
from gossipcontrol.server.core.diagnosis.rot import HOLD_SHARE, Rot, Verdict, reset_marks_across_sides
from gossipcontrol.server.core.diagnosis.rot_budget import RotBudget
from gossipcontrol.server.core.event import NEVER, LivenessReported, NeighborChanged, SuspicionEnded, SyncFinished
from gossipcontrol.server.core.finding import EVIDENCE, Finding, NodeSuspected
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.presence.record import PeerState
from gossipcontrol.server.core.repair.budget import Budget
from gossipcontrol.server.core.repair.pair_sync import PairSyncScheduler
from gossipcontrol.server.core.repair.partition_repair import PartitionRepair
from gossipcontrol.server.core.repair.silence import MAX_CANDIDATES, SilenceRepair

MIN_EVALUATION_GAP = 1.0
"""Least seconds between two evaluations of a store."""
ROT_CHECK_SHARE = 0.1
"""Time between two comparisons of counts, as a share of the window."""
REPORTED_SHARE = 0.5
"""Share of its nodes that must have reported again before a store is evaluated, which costs about its size."""
MAX_EVALUATION_DELAY = 10.0
"""Seconds after which fewer reports are enough."""
IDLE_EVALUATION_GAP = 60.0
"""Seconds between two evaluations of a store without reports."""
GAP_PER_PART = 0.001
"""Seconds between two evaluations for each part of 0.1 ms of the last one: a store takes at most a tenth of a core."""
PARTS_PER_EVENT = 8
"""What one event that was held back costs in parts of 0.1 ms."""

_MAY_ANSWER = frozenset({PeerState.ONLINE, PeerState.SUSPECT, PeerState.OFFLINE})
"""A peer that left or sleeps is not waited for."""


class PresenceAccess(Protocol):
    """What diagnosis needs of presence."""

    def state(self, store_id: str, peer_id: str) -> PeerState | None:
        """The presence of a peer; None when it is unknown."""
        ...

    def online(self, store_id: str) -> Collection[str]:
        """The peers that are online."""
        ...

    def silent_peers(self, store_id: str, most: int) -> list[str]:
        """Peers that were once heard and are suspected or offline, those heard last first."""
        ...

    def set_mute(self, store_id: str, peer_id: str, mute: bool, now: float) -> None:
        """Set whether a peer's broadcasts reach nobody."""
        ...

    def set_outvoted(self, store_id: str, peer_id: str, identity: str, since: float | None, now: float) -> None:
        """Set since when two must hear a mute peer for it to be alive (None: one); ``identity`` is its own."""
        ...


class StoreMonitor:
    """Everything that is monitored about one store."""

    __slots__ = (
        "_compared_at",
        "_evaluate_at",
        "_evaluated_at",
        "_gap",
        "_mute_since",
        "_new_reports",
        "_outvoted",
        "_outvoted_since",
        "_parameters",
        "_presence",
        "_rot_budget",
        "_rot_triggers",
        "attached",
        "capable",
        "conditions",
        "held",
        "is_advancing",
        "pair_sync",
        "repair",
        "reports",
        "silence",
        "store_id",
    )

    def __init__(
        self,
        store_id: str,
        parameters: LivenessParameters,
        presence: PresenceAccess,
        budget: Budget,
        rot_budget: RotBudget,
    ) -> None:
        self.store_id = store_id
        self.attached: dict[str, str] = {}
        """Nodes of the store with an attached agent -> the incarnation in which each attached."""
        self.capable: dict[str, None] = {}
        """Attached nodes that can sync with a peer."""
        self.reports = StoreReports(store_id, parameters)
        self.conditions = ConditionTracker(
            parameters.suspicion_interval, parameters.suspicion_cap, parameters.rot_window
        )
        self.repair = PartitionRepair(store_id, parameters, self.conditions)
        self.silence = SilenceRepair(store_id, parameters)
        self.pair_sync = PairSyncScheduler(store_id, parameters, budget)
        self._parameters = parameters
        self._presence = presence
        self._rot_budget = rot_budget
        self._rot_triggers: deque[float] = deque()
        """When nodes last had triggers because of rot."""
        self._mute_since: dict[str, float] = {}
        """Mute nodes -> since when they have been mute; restarts while the store is partitioned."""
        self._outvoted_since: dict[str, float] = {}
        """Those of them that several on their side miss, though one may claim to hear them -> since when."""
        self._outvoted: set[str] = set()
        """Those of which presence knows that."""
        self._new_reports = 0
        """Reports since the last evaluation."""
        self._evaluated_at = NEVER
        self._gap = MIN_EVALUATION_GAP
        """Least seconds until the next evaluation; grows with what the last one cost."""
        self._compared_at = NEVER
        self._evaluate_at = math.inf
        self.held: deque[Callable[[], list[Finding]]] = deque()
        """What happened while ``advance`` was paused, in order; it sees the store as of one instant."""
        self.is_advancing = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left to monitor."""
        return not self.reports.observers and not self.attached

    def next_at(self) -> float:
        """When ``advance`` is due."""
        check_at = self.pair_sync.check_at
        due_at = min(self._evaluate_at, self.repair.next_at(), self.silence.next_at())
        return due_at if check_at is None else min(due_at, check_at)

    # Events.

    def on_report(self, event: LivenessReported, now: float) -> list[Finding]:
        """Record a node's report."""
        if event.going_to_sleep:
            return self.forget_node(event.node_id)
        observer = self.reports.record(event, now, attached=event.node_id in self.attached)
        if observer is None:
            return []
        if event.node_id in self.pair_sync.pairs:
            self._record_meetings(event, now)
        self._new_reports += 1
        if self._new_reports >= REPORTED_SHARE * len(self.reports.observers):
            self._evaluate_at = min(self._evaluate_at, max(now, self._evaluated_at + self._gap))
        else:
            self._evaluate_at = min(self._evaluate_at, now + MAX_EVALUATION_DELAY)
        found = self.silence.on_heard(event.node_id, event.heard, event.neighbors)
        evidence = stuck_writes_evidence(observer, event, self._parameters, now)
        return found + self._update_condition(event.node_id, Cause.SUSPICION, evidence, now)

    def on_neighbor_changed(self, event: NeighborChanged, now: float) -> list[Finding]:
        """Record that a neighbour came or went."""
        found: list[Finding] = []
        if self.reports.record_neighbor(event, now):
            if event.up:
                self.pair_sync.record_meetings(event.node_id, (event.peer_id,), now)
                found = self.silence.on_heard(event.node_id, {}, {event.peer_id: event.changed_at})
            self._evaluate_at = min(self._evaluate_at, max(now, self._evaluated_at + self._gap))
        return found

    def on_sync_finished(self, event: SyncFinished, now: float) -> list[Finding]:
        """Record the result of a direct sync."""
        node_id, peer_id = event.node_id, event.peer_id
        self.pair_sync.record_result(node_id, peer_id, event.ok, now)
        if not event.ok:
            return []
        lists = self._lists(node_id, peer_id)
        found = self.silence.on_reached(node_id, peer_id, now, alone=self._is_alone(node_id), lists=lists)
        return found + self.repair.on_reached(node_id, peer_id, self.attached, self._lists, now)

    def attach(self, node_id: str, can_sync: bool, now: float, incarnation: str = "") -> None:
        """Record that a node of this store has an attached agent."""
        self.attached[node_id] = incarnation
        if can_sync and node_id not in self.capable:
            self.capable[node_id] = None
            self.pair_sync.resume(node_id, now)
        elif not can_sync:
            self.capable.pop(node_id, None)
        self._evaluate_at = min(self._evaluate_at, now + MAX_EVALUATION_DELAY)

    def detach(self, node_id: str) -> list[Finding]:
        """Record that a node's agent is gone."""
        self.attached.pop(node_id, None)
        self.capable.pop(node_id, None)
        self.pair_sync.remove(node_id)
        return self.forget_node(node_id)

    def forget_node(self, node_id: str) -> list[Finding]:
        """Forget a node's reports and end its conditions."""
        self.reports.forget_node(node_id)
        return self._end_all(node_id)

    # Time.

    def advance(self, room: int, now: float) -> Generator[list[Finding]]:
        """Do what is due, with a pause after each part of about 0.1 ms; ``room`` is how many more pairs may be tracked.

        Nothing else may happen to the store in the pauses: it is held back, and follows at the end.
        """
        self.is_advancing = True
        yield from self._advance(room, now)
        while self.held:
            yield self.held.popleft()()
            yield from repeat([], PARTS_PER_EVENT)
        self.is_advancing = False

    def _advance(self, room: int, now: float) -> Generator[list[Finding]]:
        is_retry_due = self.repair.next_at() <= now and self._evaluated_at + self._gap <= now
        if self._evaluate_at <= now or is_retry_due:
            parts = 0
            for found in self._evaluate(now):
                parts += 1
                yield found
            self._gap = max(MIN_EVALUATION_GAP, parts * GAP_PER_PART)
            yield from _quiet(self._choose_members(room, now))
        yield self.repair.attempt(self.capable, now)
        yield self.silence.probe(self.capable, now)
        yield self.silence.rejoin_towards_unheard(now)
        check_at = self.pair_sync.check_at
        if check_at is not None and check_at <= now:
            yield from self.pair_sync.request_due(self.capable, self.repair.are_apart, now)

    def _evaluate(self, now: float) -> Generator[list[Finding]]:
        self._new_reports, self._evaluated_at, self._evaluate_at = 0, now, now + IDLE_EVALUATION_GAP
        yield from _quiet(self.reports.prune(now))
        links = Links(self.reports, self._parameters, self._state, now)
        yield from _quiet(links.build())
        yield from _quiet(self.reports.record_unnamed(links.fresh.values()))
        for node_id in sorted(self.conditions.nodes() - links.fresh.keys()):
            yield self._end_all(node_id)
        yield self.repair.update(links, self.capable, now)
        yield self._check_silence(links, now)
        yield from self._check_isolation(links, now)
        yield from _quiet(reset_marks_across_sides(self.reports, links))
        self._update_mutes(links, now)
        if len(links.fresh) > 1 and now - self._compared_at >= ROT_CHECK_SHARE * self._parameters.rot_window:
            self._compared_at = now
            yield from self._check_rot(links, now)
        for cause in (Cause.OUTBOUND_ROT, Cause.INBOUND_ROT):
            for node_id in self.conditions.stale_nodes(cause, now - 2 * self._parameters.rot_window):
                yield self._end_condition(node_id, cause, healed=False)
        self.conditions.prune(now)
        if len(self.conditions):
            self._evaluate_at = now + MAX_EVALUATION_DELAY

    def find_missing(self, now: float) -> set[tuple[str, str]]:
        """(observer, author) where the author broadcasts and the observer does not hear it; in one go."""
        links = Links(self.reports, self._parameters, self._state, now)
        for _ in links.build():
            pass
        return links.missing

    def close(self) -> list[Finding]:
        """End every condition: the store is forgotten."""
        return [one for node_id in sorted(self.conditions.nodes()) for one in self._end_all(node_id)]

    def clear_mutes(self, now: float) -> None:
        """Clear every mute mark in presence: no observer is left to renew them."""
        for node_id in self._mute_since:
            self._presence.set_mute(self.store_id, node_id, False, now)
        self._mute_since, self._outvoted_since, self._outvoted = {}, {}, set()

    def _check_silence(self, links: Links, now: float) -> list[Finding]:
        """The one node that reports no longer hears peers that it, or the store, once heard.

        Where several nodes report, a node that hears nobody is isolated, or on a side of a partition.
        """
        node_id = next(iter(links.fresh)) if len(links.fresh) == 1 else ""
        if node_id not in self.attached:
            self.silence.update("", (), now, is_total=False)
            return []
        is_total = node_id not in links.linked and not self._has_others_online(node_id)
        silent = [one for one in self._presence.silent_peers(self.store_id, MAX_CANDIDATES) if one != node_id]
        if not is_total:
            silent = [one for one in silent if self._state(one) is PeerState.OFFLINE]
        unheard = self.silence.unheard
        unheard.retain([one for one in unheard if self._state(one) in _MAY_ANSWER])
        self.silence.update(node_id, silent, now, is_total=is_total)
        return self.silence.rejoin_blindly({node_id: self._is_alone(node_id)}, self.capable, now)

    def _has_others_online(self, node_id: str) -> bool:
        """Whether any other peer is online by more than its answer to a probe."""
        online, unheard = self._presence.online(self.store_id), self.silence.unheard
        return any(one != node_id and one not in unheard for one in online)

    def _is_alone(self, node_id: str) -> bool:
        """Whether a node reports that it has no neighbours."""
        observer = self.reports.observers.get(node_id)
        return observer is not None and observer.lists_neighbors and not observer.neighbors

    def _lists(self, node_id: str, peer_id: str) -> bool:
        """Whether a node reports that a peer is its neighbour."""
        observer = self.reports.observers.get(node_id)
        return observer is not None and peer_id in observer.neighbors

    def _check_isolation(self, links: Links, now: float) -> Generator[list[Finding]]:
        hold = self._parameters.isolated_after
        suspected = self.conditions.nodes_with(Cause.ISOLATED)
        for node_id in sorted((links.fresh.keys() - links.linked).union(suspected)):
            has_others = len(links.fresh) > 1 or self._has_others_online(node_id)
            evidence = isolation_evidence(links, node_id) if has_others else ""
            yield self._update_condition(node_id, Cause.ISOLATED, evidence, now, hold)

    def _check_rot(self, links: Links, now: float) -> Generator[list[Finding]]:
        rot, hold = Rot(self.reports, links, self._parameters, now), HOLD_SHARE * self._parameters.rot_window
        yield from _quiet(rot.compare())
        yield from self._apply_verdicts(Cause.OUTBOUND_ROT, self._long_mute(links, hold, now), links, now)
        yield from self._apply_verdicts(Cause.OUTBOUND_ROT, self._drop_contradicted(rot.outbound), links, now, hold)
        yield from self._apply_verdicts(Cause.INBOUND_ROT, rot.inbound, links, now, hold)

    def _apply_verdicts(
        self, cause: Cause, verdicts: list[Verdict], links: Links, now: float, hold: float = 0.0
    ) -> Generator[list[Finding]]:
        for count, verdict in enumerate(verdicts):
            new = self._update_rot(verdict, cause, len(links.fresh), now, hold)
            if any(isinstance(one, NodeSuspected) for one in new):
                self._reset_marks(verdict.node_id, cause, links)
            if new or count % OBSERVERS_PER_PART == 0:
                yield new

    def _long_mute(self, links: Links, hold: float, now: float) -> list[Verdict]:
        """Nodes mute for ``hold`` seconds; this shows before the counts do, which cover a whole window."""
        return [
            Verdict(
                node_id,
                f"nobody who could tell has heard its broadcasts for {now - since:.0f} s and longer",
                node_id not in links.doubted,
            )
            for node_id, since in self._mute_since.items()
            if now - since >= hold
        ]

    def _drop_contradicted(self, verdicts: list[Verdict]) -> list[Verdict]:
        """Drop verdicts of health about nodes that are mute now, whatever was heard in the window."""
        return [one for one in verdicts if one.evidence or one.node_id not in self._mute_since]

    def _reset_marks(self, node_id: str, cause: Cause, links: Links) -> None:
        """Reset the counts behind a trigger, so that they cannot cause the next one."""
        if cause is Cause.OUTBOUND_ROT:
            self.reports.deliveries[node_id].reset_marks()
        else:
            for delivery in self.reports.deliveries.values():
                if delivery.has_observer(links.fresh[node_id].number):
                    delivery.reset_marks()

    def _update_condition(
        self, node_id: str, cause: Cause, evidence: str, now: float, hold: float = 0.0
    ) -> list[Finding]:
        """Confirm a condition with its evidence, or end it when there is none."""
        if not evidence:
            return self._end_condition(node_id, cause, healed=True)
        if not self.conditions.mark_active(node_id, cause, now, hold) or self.repair.explains(node_id):
            return []
        self.conditions.record_trigger(node_id, cause, now)
        return [NodeSuspected(node_id, self.store_id, cause, evidence[:EVIDENCE])]

    def _update_rot(self, verdict: Verdict, cause: Cause, nodes: int, now: float, hold: float) -> list[Finding]:
        """The same of rot; a trigger beyond the budget comes later, and one that is not sure allows a rejoin only."""
        node_id, evidence = verdict.node_id, verdict.evidence
        if not evidence:
            return self._end_condition(node_id, cause, healed=True)
        is_due = self.conditions.mark_active(node_id, cause, now, hold) and not self.repair.explains(node_id)
        if not is_due or not self._rot_budget.take(self._rot_triggers, nodes, now):
            return []
        self.conditions.record_trigger(node_id, cause, now)
        return [NodeSuspected(node_id, self.store_id, cause, evidence[:EVIDENCE], rejoin_only=not verdict.is_sure)]

    def _end_all(self, node_id: str) -> list[Finding]:
        """End all conditions of a node that no longer reports."""
        return [
            one
            for cause in self.conditions.causes_of(node_id)
            for one in self._end_condition(node_id, cause, healed=False)
        ]

    def _end_condition(self, node_id: str, cause: Cause, *, healed: bool) -> list[Finding]:
        """End a condition; only one that became a trigger yields a finding."""
        evidence = self.conditions.clear(node_id, cause)
        return [SuspicionEnded(node_id, self.store_id, cause, healed)] if evidence else []

    def _update_mutes(self, links: Links, now: float) -> None:
        """Update which nodes are mute, and tell presence."""
        for node_id in sorted(links.mute ^ self._mute_since.keys()):
            self._presence.set_mute(self.store_id, node_id, node_id in links.mute, now)
        known = self._mute_since if links.is_whole else {}
        self._mute_since = {node_id: known.get(node_id, now) for node_id in sorted(links.mute)}
        self._update_outvoted(links, now)

    def _update_outvoted(self, links: Links, now: float) -> None:
        """Tell presence of whom one claim to hear them proves nothing.

        That takes a window, for until a partition is found its smaller side looks like that to the other.
        """
        known, before = self._outvoted_since, self._outvoted
        self._outvoted_since = {node_id: known.get(node_id, now) for node_id in sorted(links.outvoted)}
        until = now - self._parameters.rot_window
        self._outvoted = {node_id for node_id, since in self._outvoted_since.items() if since <= until}
        for node_id in sorted(before ^ self._outvoted):
            is_new = node_id in self._outvoted
            own, since = (links.fresh[node_id].identity, self._outvoted_since[node_id]) if is_new else ("", None)
            self._presence.set_outvoted(self.store_id, node_id, own, since, now)

    def _choose_members(self, room: int, now: float) -> Generator[None]:
        online, pairs, state = self._presence.online(self.store_id), self.pair_sync.pairs, self._state
        return self.pair_sync.set_members(
            [
                node_id
                for node_id in self.attached
                if node_id in online or (node_id in pairs and state(node_id) is PeerState.SUSPECT)
            ],
            room,
            now,
        )

    def _record_meetings(self, event: LivenessReported, now: float) -> None:
        """Record pairs that sync by themselves: neighbours, and peers heard directly."""
        self.pair_sync.record_meetings(event.node_id, event.neighbors, now)
        for peer_id in event.direct:
            self.pair_sync.record_meetings(event.node_id, (peer_id,), event.heard[peer_id])

    def _state(self, peer_id: str) -> PeerState | None:
        return self._presence.state(self.store_id, peer_id)


def _quiet(parts: Iterable[None]) -> Generator[list[Finding]]:
    """Parts that find nothing."""
    for _ in parts:
        yield []

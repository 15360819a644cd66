"""Decides again on the triggers of a record, under another configuration.

The triggers come at their recorded instants, and the core sees what was seen then: whether an agent was attached, and
when a neighbour last gave a sign of life. Its rejoins fare as those nearest in time fared: liveness reports are not
recorded, so what a rejoin would have done to the overlay, and to later triggers, nobody knows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from gossipcontrol.server.core.deciding.record import UNSEEN, RejoinRecord
from gossipcontrol.server.core.decision import DecisionKind, Outcome
from gossipcontrol.server.core.effect import StartRejoin
from gossipcontrol.server.core.event import (
    NEVER,
    Event,
    NeighborChanged,
    NodeAttached,
    NodeDetached,
    RejoinFinished,
    RejoinRequested,
    ServiceStarted,
    SuspicionEnded,
)
from gossipcontrol.sim.record import Recorder
from gossipcontrol.sim.recorded import STARTED, Record, RecordedNode, RecordedTrigger
from gossipcontrol.sim.result import Result
from gossipcontrol.sim.timeline import Timeline
from gossipcontrol.sim.trial import Trial

CARRIED_OUT = 0.1
"""Seconds that an agent takes for a rejoin."""
LEAD = 1.0
"""Seconds by which the fleet is there before the first trigger."""
WITNESS = "a neighbour of then"
"""The peer whose signs of life the core is given."""


class Replay:
    """One record under one configuration."""

    def __init__(self, record: Record, trial: Trial) -> None:
        self._record = record
        self._label = trial.label
        self._began_at = record.triggers[0].trigger.arrived_at
        self._recorder = Recorder(trial.deciding, "replay", trial.liveness)
        self._recorder.core.deciding.ask_nobody()  # the record has the triggers of those that were asked
        self._timeline = Timeline(self._began_at - LEAD)
        self._nodes = {node.node_id: node for node in record.nodes}
        self._sessions: dict[str, str] = {}
        self._count = 0
        self._fates: defaultdict[tuple[str, str], list[RejoinRecord]] = defaultdict(list)
        for one in record.rejoins:
            if one.outcome in STARTED and one.started_at is not None:
                self._fates[one.node_id, one.store_id].append(one)

    def run(self) -> Result:
        """All triggers, and all that follows from them."""
        self._handle(ServiceStarted("replay"))
        for node in self._record.nodes:
            self._attach(node)
        for one in self._record.triggers:
            if one.trigger.kind is not DecisionKind.DUPLICATE:  # which no configuration changes
                self._at(one.trigger.arrived_at, self._trigger, one)
        for rejoin in self._record.rejoins:
            if rejoin.started_at is not None:
                self._at(rejoin.started_at, self._attach_named, rejoin.node_id)
        while True:
            next_at, deadline = self._timeline.next_at(), self._recorder.core.deciding.next_deadline()
            if next_at is None and (deadline is None or deadline > self._ends_at()):
                break
            if deadline is not None and (next_at is None or deadline <= next_at):
                self._timeline.now = max(self._timeline.now, deadline)
                self._follow(len(self._recorder.taken), serve_until=deadline)
            else:
                self._timeline.step()
        result = Result(self._label)
        result.count(self._recorder.taken, self._began_at)
        repeated = (one.trigger for one in self._record.triggers if one.trigger.kind is DecisionKind.DUPLICATE)
        result.decisions.update((one.kind, one.rule) for one in repeated)
        return result

    def _ends_at(self) -> float:
        """Until then, deadlines are served: what waits longer, waits."""
        return self._record.triggers[-1].trigger.arrived_at + self._record.written_with.deciding.park_time

    def _at(self, at: float, what: Callable[..., None], *details: object) -> None:
        self._timeline.plan(max(0.0, at - self._timeline.now), what, *details)

    def _handle(self, event: Event) -> None:
        before = len(self._recorder.taken)
        self._recorder.take(event, self._timeline.now)
        self._follow(before)

    def _follow(self, before: int, serve_until: float | None = None) -> None:
        """Carry out what the core wants since so many events were taken."""
        if serve_until is not None:
            self._recorder.serve(serve_until)
        for taken in self._recorder.taken[before:]:
            for effect in taken.effects:
                if isinstance(effect, StartRejoin):
                    self._carry_out(effect)

    # The fleet.

    def _attach(self, node: RecordedNode) -> None:
        if node.node_id not in self._sessions:
            self._count += 1
            session_id = self._sessions[node.node_id] = f"replay-{self._count}"
            self._handle(
                NodeAttached(node.node_id, session_id, node.store_ids, node.host_id, node.capabilities, name=node.name)
            )

    def _attach_named(self, node_id: str) -> None:
        if node_id in self._nodes:
            self._attach(self._nodes[node_id])

    def _trigger(self, one: RecordedTrigger) -> None:
        """Let the core see what was seen, then decide."""
        trigger, node_id = one.trigger, one.node_id
        if trigger.seen != UNSEEN:
            if trigger.seen.attached:
                self._attach_named(node_id)
            elif node_id in self._sessions:
                self._handle(NodeDetached(node_id, self._sessions.pop(node_id)))
            if trigger.seen.alive_at > NEVER and node_id in self._sessions:
                self._handle(NeighborChanged(node_id, one.store_id, WITNESS, True, trigger.seen.alive_at))
        # Without its request id: one request may have had several stores, and each of them is a trigger here.
        self._handle(RejoinRequested(node_id, (one.store_id,), trigger.cause, evidence=trigger.evidence))

    # Rejoins.

    def _carry_out(self, start: StartRejoin) -> None:
        fate = self._fate(start)
        failed = fate is not None and fate.outcome is Outcome.FAILED
        error = "as recorded" if failed else ""
        finished = RejoinFinished(start.rejoin_id, start.attempt, not failed, error)
        self._timeline.plan(CARRIED_OUT, self._handle, finished)
        if failed or (fate is not None and fate.outcome is Outcome.UNVERIFIED):
            return
        proof_time = fate.verified_after if fate is not None else None
        self._timeline.plan(max(CARRIED_OUT, proof_time or self._record.proof_time), self._prove, start)

    def _prove(self, start: StartRejoin) -> None:
        healed = [cause for cause in start.causes if cause.is_proved_by_recovery]
        for cause in healed:
            self._handle(SuspicionEnded(start.node_id, start.store_id, cause))
        if not healed and start.node_id in self._sessions:
            self._handle(NeighborChanged(start.node_id, start.store_id, WITNESS, True, self._timeline.now))

    def _fate(self, start: StartRejoin) -> RejoinRecord | None:
        """The recorded rejoin of the same node and store that started nearest in time."""
        found, now = self._fates.get((start.node_id, start.store_id), []), self._timeline.now
        return min(found, key=lambda one: abs((one.started_at or 0.0) - now), default=None)


def replay(record: Record, trial: Trial) -> Result:
    """What a configuration would have decided on the triggers of a record."""
    return Replay(record, trial).run()

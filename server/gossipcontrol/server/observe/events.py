"""What operators see of each effect and finding: a log line and a metric."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from gossipcontrol.server.core.decision import Cause, DecisionKind
from gossipcontrol.server.core.effect import (
    AcceptNode,
    AdviseRestart,
    AnnounceRejoin,
    AnnounceRestart,
    AnswerTrigger,
    AskPeer,
    Effect,
    ForgetSlots,
    RefuseNode,
    StartRejoin,
)
from gossipcontrol.server.core.event import SuspicionEnded
from gossipcontrol.server.core.finding import (
    CoreFinding,
    DeafnessChanged,
    IdShared,
    NodeSuspected,
    OverloadChanged,
    WritesUnshared,
)
from gossipcontrol.server.observe.calls import readable_peer
from gossipcontrol.server.observe.log import Logger
from gossipcontrol.server.observe.metrics import Metrics
from gossipcontrol.server.observe.metrics_presence import LivenessMetrics
from gossipcontrol.server.wire.reasons import explain_decision

LOGGED_DECISIONS = 20
"""Decisions of one trigger with a log line each; more share one line."""
LISTED = frozenset({AnswerTrigger, StartRejoin, AnnounceRejoin, AskPeer, AnnounceRestart})
"""Effects that a list of rejoins may show."""
_CAUSES = {one: one.name.lower() for one in Cause}
_KINDS = {one: one.name.lower() for one in DecisionKind}
SHARED_HINTS = {
    "node": "two agents attach with this node id in turn; give each node a key of its own",
    "host": "two machines report with this host id, as clones do; give each its own machine id, then restart",
}


class Origin(NamedTuple):
    """Whose call led to an answer."""

    request_id: str
    caller: str
    """The connection; empty: the service itself, which decides by what it diagnoses."""


NO_ORIGIN = Origin("", "")


class EventLog:
    """Tells of effects as they are performed, and of findings as they are made; it changes nothing.

    ``rejoins_changed`` is called for each effect that a list of rejoins may show.
    """

    def __init__(
        self,
        metrics: Metrics,
        liveness: LivenessMetrics,
        log: Logger,
        rejoins_changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._rejoins_changed = rejoins_changed
        self._metrics = metrics
        self._liveness = liveness
        self._log = log
        self._origins: dict[int, Origin] = {}
        """By the identity of an answer that has not left."""
        self._effects: dict[type[Any], Callable[[Any, float], None]] = {
            AnswerTrigger: self._answered,
            StartRejoin: self._started,
            AnnounceRejoin: self._announced,
            AskPeer: self._asked,
            AdviseRestart: self._advised,
            AnnounceRestart: self._restarted,
            AcceptNode: self._accepted,
            RefuseNode: self._refused,
            ForgetSlots: self._forgot,
        }
        self._findings: dict[type[Any], Callable[[Any], None]] = {
            NodeSuspected: self._suspected,
            SuspicionEnded: self._suspicion_ended,
            WritesUnshared: self._unshared,
            IdShared: self._shared,
            DeafnessChanged: self._deafness_changed,
            OverloadChanged: self._overload_changed,
        }

    def note_origin(self, answer: AnswerTrigger, request_id: str, peer: str) -> None:
        """Remember whose call led to an answer, until the answer is shown."""
        self._origins[id(answer)] = Origin(request_id, peer)

    def show_effect(self, effect: Effect, at: float) -> None:
        """Tell of an effect that the core wanted at this instant (service time)."""
        show = self._effects.get(type(effect))
        if show is not None:
            show(effect, at)
        if type(effect) in LISTED:
            self._rejoins_changed()

    def show_finding(self, finding: CoreFinding) -> None:
        """Tell of what was found."""
        show = self._findings.get(type(finding))
        if show is not None:
            show(finding)

    # Effects.

    def _answered(self, answer: AnswerTrigger, at: float) -> None:
        origin = self._origins.pop(id(answer), NO_ORIGIN)
        self._metrics.count_answer(answer)
        if answer.cause is None or answer.replayed or not self._log.is_enabled_for(logging.INFO):
            return
        cause, caller = _CAUSES[answer.cause], readable_peer(origin.caller)
        if len(answer.decisions) > LOGGED_DECISIONS or answer.is_rest or answer.total:
            self._summarize(answer, cause, origin.request_id, caller)
            return
        for decision in answer.decisions:
            self._log.info(
                "decided",
                cause=cause,
                node=decision.node_id,
                store=decision.store_id,
                decision=_KINDS[decision.kind],
                rejoin=decision.rejoin_id,
                reason=explain_decision(decision, at),
                request=origin.request_id,
                caller=caller,
            )

    def _summarize(self, answer: AnswerTrigger, cause: str, request_id: str, caller: str) -> None:
        """One line for a trigger that concerns many stores: their rejoins are listed by ``gossipcontrol rejoins``."""
        kinds = Counter(_KINDS[decision.kind] for decision in answer.decisions)
        first = next((one.rejoin_id for one in answer.decisions if one.rejoin_id), "")
        self._log.info(
            "decided",
            cause=cause,
            decisions=len(answer.decisions),
            first=first,
            **kinds,
            request=request_id,
            caller=caller,
        )

    def _started(self, start: StartRejoin, at: float) -> None:
        del at
        if not start.again:
            self._metrics.count_start(start)
        self._log.info(
            "rejoin sent again" if start.again else "rejoin started",
            rejoin=start.rejoin_id,
            node=start.node_id,
            store=start.store_id,
            attempt=start.attempt,
            rung=start.rung.name.lower(),
            causes=",".join(cause.name.lower() for cause in start.causes),
            bootstrap=len(start.bootstrap),
        )

    def _announced(self, announced: AnnounceRejoin, at: float) -> None:
        del at
        self._metrics.count_end(announced)
        self._log.info(
            "rejoin " + announced.outcome.name.lower(),
            rejoin=announced.rejoin_id,
            node=announced.node_id,
            store=announced.store_id,
            cause=announced.cause.name.lower(),
            attempts=announced.attempts,
            rung=announced.rung.name.lower(),
            seconds=announced.duration,
            detail=announced.detail,
        )

    def _asked(self, asked: AskPeer, at: float) -> None:
        self._metrics.count_asked(asked)
        decision = asked.decision
        self._log.info(
            "peer asked",
            node=decision.node_id,
            store=decision.store_id,
            towards=asked.asker_id,
            unproved=asked.rejoin_id,
            decision=decision.kind.name.lower(),
            rejoin=decision.rejoin_id,
            reason=explain_decision(decision, at),
        )

    def _advised(self, advice: AdviseRestart, at: float) -> None:
        del at
        self._metrics.count_advice()
        self._log.warning(
            "restart advised",
            rejoin=advice.rejoin_id,
            node=advice.node_id,
            store=advice.store_id,
            detail=advice.detail,
        )

    def _restarted(self, restart: AnnounceRestart, at: float) -> None:
        """Whether or not the command succeeded; what its node does afterwards is seen by others."""
        del at
        is_ok = restart.exit_code == 0
        self._metrics.count_restart(is_ok)
        log = self._log.info if is_ok else self._log.warning
        log(
            "restart command ended",
            rejoin=restart.rejoin_id,
            node=restart.node_id,
            store=restart.store_id,
            exit_code=restart.exit_code,
            seconds=restart.duration,
            error=restart.error,
        )

    def _accepted(self, accepted: AcceptNode, at: float) -> None:
        del at
        if not accepted.is_new:
            self._log.debug("node registered again", node=accepted.node_id, session=accepted.session_id)
            return
        self._log.info("node attached", node=accepted.node_id, session=accepted.session_id, unparked=accepted.unparked)

    def _refused(self, refused: RefuseNode, at: float) -> None:
        del at
        self._log.warning("node refused", reason=refused.reason)

    def _forgot(self, forgot: ForgetSlots, at: float) -> None:
        del at
        self._log.info("forgotten", nodes=forgot.node_count, stores=forgot.slot_count, reason=forgot.why)

    # Findings.

    def _suspected(self, found: NodeSuspected) -> None:
        """Whether or not an agent can act on it, it is told."""
        self._liveness.count_rot(found.cause)
        self._log.warning(
            "rot suspected",
            node=found.node_id,
            store=found.store_id,
            cause=found.cause.name.lower(),
            evidence=found.evidence,
            attached=found.triggers,
        )

    def _suspicion_ended(self, found: SuspicionEnded) -> None:
        self._log.info("suspicion cleared", node=found.node_id, store=found.store_id, cause=found.cause.name.lower())

    def _unshared(self, found: WritesUnshared) -> None:
        self._log.warning("writes not shared", node=found.node_id, store=found.store_id, evidence=found.evidence)

    def _shared(self, found: IdShared) -> None:
        self._liveness.count_shared(found.kind)
        self._log.warning(
            f"{found.kind} id used twice",
            **{found.kind: found.shared_id},
            hint=SHARED_HINTS[found.kind],
        )

    def _deafness_changed(self, found: DeafnessChanged) -> None:
        if found.since is None:
            self._log.info("nodes are heard again")
            return
        self._log.warning(
            "no node is heard",
            since=datetime.fromtimestamp(found.since, UTC).isoformat(timespec="seconds"),
            hint="all nodes fell silent at once, so the service may be cut off; nobody becomes offline meanwhile",
        )

    def _overload_changed(self, found: OverloadChanged) -> None:
        if found.since is None:
            self._log.info("enough nodes are heard")
            return
        self._log.warning(
            "few nodes are heard",
            since=datetime.fromtimestamp(found.since, UTC).isoformat(timespec="seconds"),
            hint="fewer than half of the nodes that reported do so now: the service may have more to do than it can; "
            "nobody becomes offline meanwhile",
        )

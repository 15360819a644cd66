"""From the core's values to protobuf messages."""

from __future__ import annotations

from collections.abc import Sequence
from math import isinf

from gossipcontrol.server.core.deciding.record import (
    UNSEEN,
    Explanation,
    Forecast,
    RejoinRecord,
    Restart,
    Seen,
    StoreRecord,
    TriggerRecord,
)
from gossipcontrol.server.core.decision import Decision, DecisionKind, Outcome
from gossipcontrol.server.core.effect import AcceptNode, AdviseRestart, AnswerTrigger, StartRejoin
from gossipcontrol.server.core.slices import Slices
from gossipcontrol.server.wire.reasons import (
    explain_decision,
    explain_past,
    explain_rejoin,
    explain_seen,
    explain_trigger,
)
from gossipcontrol.v1 import attach_pb2, decision_pb2, gossip_control_pb2

LISTED_DECISIONS = 1000
"""Most decisions listed in one answer."""


UINT32_MAX = 2**32 - 1
UINT64_MAX = 2**64 - 1


def age_ms(at: float, now: float) -> int:
    """The age of an instant in whole milliseconds, within what a uint64 holds."""
    age = (now - at) * 1000
    return int(age) if 0 <= age < UINT64_MAX else 0 if age < 0 else UINT64_MAX


def span_ms(seconds: float) -> int:
    """A time span in whole milliseconds, within what a uint32 holds: 49 days."""
    return int(min(max(0.0, seconds * 1000), UINT32_MAX))


def decision_message(decision: Decision, now: float) -> decision_pb2.Decision:
    """One decision."""
    return decision_pb2.Decision(
        node_id=decision.node_id,
        store_id=decision.store_id,
        kind=int(decision.kind),  # type: ignore[arg-type] # the numbers are the contract's
        rejoin_id=decision.rejoin_id,
        start_in_ms=span_ms(decision.start_at - now),
        message=explain_decision(decision, now),
        rule=int(decision.rule),  # type: ignore[arg-type]
    )


def _decision_messages(decisions: Sequence[Decision], now: float) -> Slices[list[decision_pb2.Decision]]:
    messages: list[decision_pb2.Decision] = []
    for decision in decisions[:LISTED_DECISIONS]:
        yield
        messages.append(decision_message(decision, now))
    return messages


def rejoin_response(answer: AnswerTrigger, now: float) -> Slices[gossip_control_pb2.RejoinResponse]:
    """The answer to Rejoin."""
    return gossip_control_pb2.RejoinResponse(
        decisions=(yield from _decision_messages(answer.decisions, now)),
        replayed=answer.replayed,
        decision_count=answer.total or len(answer.decisions),
    )


def change_response(answer: AnswerTrigger, now: float) -> Slices[gossip_control_pb2.ReportNetworkChangeResponse]:
    """The answer to ReportNetworkChange."""
    return gossip_control_pb2.ReportNetworkChangeResponse(
        decisions=(yield from _decision_messages(answer.decisions, now)),
        replayed=answer.replayed,
        decision_count=answer.total or len(answer.decisions),
    )


def registered(accepted: AcceptNode, next_report_ms: int, cell: str = "") -> attach_pb2.AttachResponse:
    """The answer to a Register frame."""
    return attach_pb2.AttachResponse(
        registered=attach_pb2.Registered(
            session_id=accepted.session_id, next_report_ms=next_report_ms, unparked=accepted.unparked, cell=cell
        )
    )


def rejoin_command(start: StartRejoin) -> attach_pb2.AttachResponse:
    """The command to carry out an attempt."""
    return attach_pb2.AttachResponse(
        rejoin=attach_pb2.RejoinCommand(
            rejoin_id=start.rejoin_id,
            attempt=start.attempt,
            store_id=start.store_id,
            rung=int(start.rung),  # type: ignore[arg-type]
            causes=[int(cause) for cause in start.causes],  # type: ignore[misc]
            bootstrap=[
                attach_pb2.BootstrapPeer(peer_id=peer.peer_id, addresses=peer.addresses) for peer in start.bootstrap
            ],
            deadline_ms=span_ms(start.timeout),
        )
    )


def restart_advice(advice: AdviseRestart) -> attach_pb2.AttachResponse:
    """What an agent is told of an advice: it may have a command of the operator."""
    return attach_pb2.AttachResponse(
        restart_advice=attach_pb2.RestartAdvice(
            rejoin_id=advice.rejoin_id, store_id=advice.store_id, reason=advice.detail
        )
    )


def rejoin_message(rejoin: RejoinRecord, now: float) -> decision_pb2.Rejoin:
    """One rejoin with its triggers."""
    return decision_pb2.Rejoin(
        rejoin_id=rejoin.rejoin_id,
        node_id=rejoin.node_id,
        store_id=rejoin.store_id,
        outcome=int(rejoin.outcome),  # type: ignore[arg-type]
        requested_age_ms=age_ms(rejoin.requested_at, now),
        started_age_ms=None if rejoin.started_at is None else age_ms(rejoin.started_at, now),
        ended_age_ms=None if rejoin.ended_at is None else age_ms(rejoin.ended_at, now),
        verified_after_ms=None if rejoin.verified_after is None else span_ms(rejoin.verified_after),
        attempts=rejoin.attempts,
        detail=explain_rejoin(rejoin, now),
        triggers=[_trigger_message(trigger, now) for trigger in rejoin.triggers],
        trigger_count=rejoin.trigger_count,
        rung=int(rejoin.rung),  # type: ignore[arg-type]
        bootstrap_peers=rejoin.bootstrap,
        restart=_restart_message(rejoin.restart, now),
    )


def _restart_message(restart: Restart | None, now: float) -> decision_pb2.RestartRecord | None:
    if restart is None:
        return None
    return decision_pb2.RestartRecord(
        age_ms=age_ms(restart.at, now),
        exit_code=restart.exit_code,
        duration_ms=span_ms(restart.duration),
        error=restart.error,
    )


def _trigger_message(trigger: TriggerRecord, now: float) -> decision_pb2.TriggerRecord:
    return decision_pb2.TriggerRecord(
        cause=int(trigger.cause),  # type: ignore[arg-type]
        kind=int(trigger.kind),  # type: ignore[arg-type]
        age_ms=age_ms(trigger.arrived_at, now),
        request_id=trigger.request_id,
        reason=explain_trigger(trigger),
        rule=int(trigger.rule),  # type: ignore[arg-type]
        seen=_seen_message(trigger.seen, trigger.arrived_at),
        evidence=trigger.evidence,
    )


def _seen_message(seen: Seen, at: float) -> decision_pb2.SeenState | None:
    if seen == UNSEEN:
        return None
    return decision_pb2.SeenState(
        attached=seen.attached,
        started_age_ms=None if isinf(seen.started_at) else age_ms(seen.started_at, at),
        neighbor_age_ms=None if isinf(seen.alive_at) else age_ms(seen.alive_at, at),
        waiting_rejoin_id=seen.waiting_id,
        waiting_count=seen.waiting,
    )


def forecast_response(forecast: Forecast, now: float) -> Slices[gossip_control_pb2.ExplainResponse]:
    """What would happen now."""
    response = gossip_control_pb2.ExplainResponse(
        decision_count=forecast.total or len(forecast.explanations),
        replayed=forecast.replayed,
        refused_retry_ms=None if forecast.retry_in is None else span_ms(forecast.retry_in),
    )
    for one in forecast.explanations[:LISTED_DECISIONS]:
        yield
        response.decisions.append(decision_message(one.decision, now))
        response.explanations.append(_explanation_message(one, now))
    return response


def _explanation_message(explained: Explanation, now: float) -> gossip_control_pb2.Explanation:
    decision, seen = explained.decision, explain_seen(explained.seen, explained.arrived_at)
    return gossip_control_pb2.Explanation(
        decision=decision_message(decision, now),
        cause=int(explained.cause),  # type: ignore[arg-type]
        age_ms=age_ms(explained.arrived_at, now),
        seen=_seen_message(explained.seen, explained.arrived_at),
        message="; ".join(filter(None, (explain_decision(decision, now), seen))),
    )


def past_response(
    rejoins: Sequence[RejoinRecord], request_id: str, now: float
) -> Slices[gossip_control_pb2.ExplainResponse]:
    """Why the triggers of these rejoins were decided as they were; with ``request_id`` only those of that call."""
    response = gossip_control_pb2.ExplainResponse()
    for rejoin in rejoins:
        yield
        response.rejoins.append(rejoin_message(rejoin, now))
        asked = [one for one in rejoin.triggers if not request_id or one.request_id == request_id]
        room = max(0, LISTED_DECISIONS - len(response.explanations))
        response.explanations.extend(_past_message(rejoin, trigger, now) for trigger in asked[:room])
        response.decision_count += len(asked)
    return response


def _past_message(rejoin: RejoinRecord, trigger: TriggerRecord, now: float) -> gossip_control_pb2.Explanation:
    waits = rejoin.outcome in (Outcome.WAITING, Outcome.PARKED)
    rejoin_id = "" if trigger.kind is DecisionKind.SKIPPED else rejoin.rejoin_id
    return gossip_control_pb2.Explanation(
        decision=decision_pb2.Decision(
            node_id=rejoin.node_id,
            store_id=rejoin.store_id,
            kind=int(trigger.kind),  # type: ignore[arg-type]
            rejoin_id=rejoin_id,
            start_in_ms=span_ms(rejoin.due_at - now) if waits else 0,
            message=explain_trigger(trigger),
            rule=int(trigger.rule),  # type: ignore[arg-type]
        ),
        cause=int(trigger.cause),  # type: ignore[arg-type]
        age_ms=age_ms(trigger.arrived_at, now),
        seen=_seen_message(trigger.seen, trigger.arrived_at),
        message=explain_past(rejoin, trigger, now),
        evidence=trigger.evidence,
    )


def store_message(store: StoreRecord, now: float) -> gossip_control_pb2.Store:
    """One store with its nodes."""
    return gossip_control_pb2.Store(
        store_id=store.store_id,
        nodes=[
            gossip_control_pb2.StoreNode(
                node_id=node.node_id,
                host_id=node.host_id,
                attached=node.attached,
                neighbors=node.neighbors,
                report_age_ms=None if node.reported_at is None else age_ms(node.reported_at, now),
                name=node.name,
            )
            for node in store.nodes
        ],
        node_count=store.node_count,
        peer_count=store.peer_count,
        rejoin_age_ms=None if store.rejoin_at is None else age_ms(store.rejoin_at, now),
        attached_count=store.attached,
        rejoins_running=store.running,
        rejoins_waiting=store.waiting,
    )

"""Decisions and reasons in words, for the person who asks why at three in the morning."""

from __future__ import annotations

from math import isinf

from gossipcontrol.server.core.deciding.record import UNSEEN, RejoinRecord, Seen, TriggerRecord
from gossipcontrol.server.core.decision import Decision, DecisionKind, Outcome, Rule

_REASONS = {
    Rule.LEADING_EDGE: "nothing started in this store within the window",
    Rule.WINDOW: "a rejoin of this store started less than a window ago",
    Rule.BACKOFF: "the last attempt failed, and the next backs off",
    Rule.GLOBAL_LIMIT: "the limit on rejoins of the whole service is reached, and it waits for its turn",
    Rule.NOT_ATTACHED: "no agent of the node is attached",
    Rule.UNKNOWN_NODE: "the node has never attached, and its stores are not known",
    Rule.UNKNOWN_HOST: "no node of the host has attached",
    Rule.UNKNOWN_STORE: "the node has not registered this store",
    Rule.KNOWN_GENERATION: "this network event was reported before",
    Rule.FRESH_NEIGHBORS: "the node has fresh neighbours in this store, and a rejoin would only feed churn",
}


def explain_decision(decision: Decision, now: float) -> str:
    """What was decided and why, with times relative to ``now``."""
    wait = f"{max(0.0, decision.start_at - now):.1f} s"
    reason = _REASONS[decision.rule]
    match decision.kind:
        case DecisionKind.STARTED:
            return f"starts now: {reason}"
        case DecisionKind.COALESCED:
            return f"joins rejoin {decision.rejoin_id}, which starts in {wait}: {reason}"
        case DecisionKind.SCHEDULED:
            return f"starts in {wait}: {reason}"
        case DecisionKind.DUPLICATE:
            return f"nothing new: {reason}" + (
                f", and led to rejoin {decision.rejoin_id}" if decision.rejoin_id else ""
            )
        case DecisionKind.PARKED:
            return f"starts as soon as an agent attaches, or expires in {wait}: {reason}"
        case DecisionKind.SKIPPED:
            return f"nothing will run: {reason}"


def explain_trigger(trigger: TriggerRecord) -> str:
    """Why a trigger was decided as it was."""
    decided = f"{trigger.kind.name.lower()}: {_REASONS[trigger.rule]}"
    evidence = f"evidence: {trigger.evidence}" if trigger.evidence else ""
    return "; ".join(filter(None, (decided, evidence, explain_seen(trigger.seen, trigger.arrived_at))))


def explain_seen(seen: Seen, at: float) -> str:
    """What a decision at an instant saw; empty when the node or store was not known."""
    if seen is UNSEEN:
        return ""
    started = "no start yet" if isinf(seen.started_at) else f"last start {at - seen.started_at:.1f} s before"
    alive = "no neighbour" if isinf(seen.alive_at) else f"a neighbour's sign of life {at - seen.alive_at:.1f} s before"
    waiting = f"{seen.waiting_id} waited" if seen.waiting_id else "no rejoin of it waited"
    attached = "an agent attached" if seen.attached else "no agent attached"
    return f"it saw {attached}, {started}, {alive}, {waiting}, {seen.waiting} waiting in all"


def explain_past(rejoin: RejoinRecord, trigger: TriggerRecord, now: float) -> str:
    """Why a trigger was decided as it was, and what became of the rejoin that it shares."""
    if trigger.kind is DecisionKind.SKIPPED:
        return explain_trigger(trigger)
    outcome = f"rejoin {rejoin.rejoin_id} is {rejoin.outcome.name.lower()}"
    detail = explain_rejoin(rejoin, now)
    return f"{explain_trigger(trigger)}; {outcome}" + (f": {detail}" if detail else "")


def explain_rejoin(rejoin: RejoinRecord, now: float) -> str:
    """What a rejoin waits for, or how it ended."""
    wait = f"{max(0.0, rejoin.due_at - now):.1f} s"
    match rejoin.outcome:
        case Outcome.WAITING:
            return f"{rejoin.detail}, in {wait}" if rejoin.detail else f"waits; due in {wait}"
        case Outcome.PARKED:
            return f"{rejoin.detail or 'no agent of the node is attached'}; expires in {wait}"
        case Outcome.RUNNING if rejoin.detail:
            return rejoin.detail
        case Outcome.RUNNING:
            return f"attempt {rejoin.attempts} runs; its proof must come within {wait}"
        case Outcome.SKIPPED if rejoin.triggers and not rejoin.detail:
            return f"nothing ran: {_REASONS[rejoin.triggers[-1].rule]}"
        case _:
            return rejoin.detail

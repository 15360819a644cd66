"""Decisions and their reasons in words, for the operator who asks why at three in the morning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isinf

from gossipcontrol.server.core.deciding.record import UNSEEN, RejoinRecord, Seen, TriggerRecord
from gossipcontrol.server.core.decision import Decision, DecisionKind, Outcome, Rule

RULES = {
    Rule.LEADING_EDGE: "this node has not rejoined this store within the window",
    Rule.WINDOW: "this node rejoined this store less than one window ago",
    Rule.BACKOFF: "the last attempt failed, and the next one waits for its backoff",
    Rule.GLOBAL_LIMIT: "the service has reached its global limit on rejoins, and this one waits for its turn",
    Rule.NOT_ATTACHED: "no agent of the node is attached",
    Rule.UNKNOWN_NODE: "the node has never attached, so its stores are not known",
    Rule.UNKNOWN_HOST: "no node of the host has ever attached",
    Rule.UNKNOWN_STORE: "the node has not registered this store",
    Rule.KNOWN_GENERATION: "this network event was reported before",
    Rule.FRESH_NEIGHBORS: "the node has fresh neighbours in this store, so a rejoin would only disturb them",
}
"""Why each rule decided as it did."""

WARNINGS = 20
"""Most warnings in one answer."""

ENDS = {
    Outcome.VERIFIED: "a neighbour or a message proved that it worked",
    Outcome.UNVERIFIED: "the agent carried it out, but no neighbour and no message proved that it worked",
    Outcome.FAILED: "every attempt failed, and the agent gave no reason",
    Outcome.EXPIRED: "no agent of the node attached within the park time",
    Outcome.SKIPPED: "it was not needed any more",
    Outcome.SPLIT: "a rejoin of each store that attached runs in its place",
}
"""How a rejoin ended, where nothing more precise is recorded."""


def explain_decision(decision: Decision, now: float) -> str:
    """What was decided and why, with times relative to ``now``."""
    fixed = _WITHOUT_TIME.get((decision.kind, decision.rule))
    if fixed is not None:
        return fixed
    wait = f"{max(0.0, decision.start_at - now):.1f} s"
    reason = RULES[decision.rule]
    match decision.kind:
        case DecisionKind.COALESCED:
            return f"shares rejoin {decision.rejoin_id}, which starts in {wait}: {reason}"
        case DecisionKind.SCHEDULED:
            return f"starts in {wait}: {reason}"
        case DecisionKind.DUPLICATE:
            led_to = f", and led to rejoin {decision.rejoin_id}" if decision.rejoin_id else ""
            return f"starts nothing new: {reason}{led_to}"
        case DecisionKind.PARKED:
            return f"starts as soon as an agent attaches, or expires in {wait}: {reason}"
        case _:
            raise AssertionError("what names neither a time nor a rejoin is said already")


_WITHOUT_TIME = {
    **{(DecisionKind.STARTED, rule): f"starts now: {reason}" for rule, reason in RULES.items()},
    **{(DecisionKind.SKIPPED, rule): f"starts nothing: {reason}" for rule, reason in RULES.items()},
}


def explain_trigger(trigger: TriggerRecord) -> str:
    """Why a trigger was decided as it was."""
    decided = f"{trigger.kind.name.lower()}: {RULES[trigger.rule]}"
    evidence = f"evidence: {trigger.evidence}" if trigger.evidence else ""
    asked_by = f"asked by {trigger.asked_by}" if trigger.asked_by else ""
    return "; ".join(filter(None, (decided, evidence, explain_seen(trigger.seen, trigger.arrived_at), asked_by)))


def explain_seen(seen: Seen, at: float) -> str:
    """What was known when a trigger was decided; empty when the node or store was not known."""
    if seen == UNSEEN:
        return ""
    attached = "an agent was attached" if seen.attached else "no agent was attached"
    started = (
        "no rejoin had started" if isinf(seen.started_at) else f"the last rejoin started {_ago(seen.started_at, at)}"
    )
    alive = "no neighbour was present" if isinf(seen.alive_at) else f"a neighbour was alive {_ago(seen.alive_at, at)}"
    waiting = f"rejoin {seen.waiting_id} waited" if seen.waiting_id else "no rejoin of this store waited"
    return f"at that time: {attached}, {started}, {alive}, {waiting}, {seen.waiting} waited in the whole service"


def explain_past(rejoin: RejoinRecord, trigger: TriggerRecord, now: float) -> str:
    """Why a trigger was decided as it was, and what became of its rejoin."""
    if trigger.kind is DecisionKind.SKIPPED:
        return explain_trigger(trigger)
    outcome = f"rejoin {rejoin.rejoin_id} is {rejoin.outcome.name.lower()}"
    return f"{explain_trigger(trigger)}; {outcome}: {explain_rejoin(rejoin, now)}"


def explain_rejoin(rejoin: RejoinRecord, now: float) -> str:
    """What a rejoin waits for, or how it ended."""
    wait = f"{max(0.0, rejoin.due_at - now):.1f} s"
    match rejoin.outcome:
        case Outcome.WAITING:
            return f"{rejoin.detail}; starts in {wait}" if rejoin.detail else f"starts in {wait}"
        case Outcome.PARKED:
            return f"{rejoin.detail or RULES[Rule.NOT_ATTACHED]}; expires in {wait}"
        case Outcome.RUNNING:
            return rejoin.detail or f"attempt {rejoin.attempts} is running; its proof is due within {wait}"
        case Outcome.SKIPPED if rejoin.triggers and not rejoin.detail:
            return f"nothing ran: {RULES[rejoin.triggers[-1].rule]}"
        case ended:
            return rejoin.detail or ENDS[ended]


def _ago(then: float, at: float) -> str:
    return f"{at - then:.1f} s earlier"


def explain_shared_ids(shared: Mapping[str, Sequence[str]]) -> list[str]:
    """A sentence for each id that two seem to use; at most ``WARNINGS``."""
    told = [
        *(f"node id {one} is used by two agents: give each node a key of its own" for one in shared["node"]),
        *(f"host id {one} is used by two machines: give each its own machine id" for one in shared["host"]),
    ]
    return told[:WARNINGS]


def explain_settling(left: float, returning: int) -> list[str]:
    """A sentence while presence is not known yet after the owner changed; ``left`` seconds at most."""
    if not left:
        return []
    agents = f"the agents of {returning} nodes have" if returning != 1 else "the agent of 1 node has"
    yet = f"{agents} yet to attach again, and " if returning else ""
    return [f"another replica has taken over: {yet}for up to {left:.0f} s peers that are online may be missing"]


def explain_deafness(since: float | None, now: float) -> list[str]:
    """A sentence if the service hears nobody since an instant (service time)."""
    if since is None:
        return []
    return [
        f"no node has been heard for {now - since:.0f} s: all fell silent at once, so the service may be cut off; "
        "nobody becomes offline meanwhile"
    ]


def explain_overload(since: float | None, now: float) -> list[str]:
    """A sentence if the service hears too few nodes since an instant (service time)."""
    if since is None:
        return []
    return [
        f"fewer than half of the nodes that reported have been heard for {now - since:.0f} s, so the service may have "
        "more to do than it can, and nobody becomes offline meanwhile: give its host more processor time, or mend the "
        "network of those that are not heard"
    ]

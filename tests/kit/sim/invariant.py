"""The invariants of deciding, checked on the events and effects of a run: coverage, spread, bound, idempotence, quiet.

Each check computes from the events and effects alone; none reads the state of the core.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence

from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.core.decision import Cause, Decision, DecisionKind, Outcome
from gossipcontrol.server.core.effect import AnnounceRejoin, AnswerTrigger, AskPeer, Effect, StartRejoin
from gossipcontrol.server.core.event import (
    LivenessReported,
    NeighborChanged,
    NetworkChanged,
    NodeAttached,
    NodeDetached,
    RejoinRequested,
    ServiceStarted,
)
from gossipcontrol.sim.record import Taken

SLACK = 1e-6
"""Seconds by which float rounding of instants may be off."""
GUESSES = frozenset({Cause.SUSPICION, Cause.ISOLATED})
"""Causes that rest on one node's own view; fresh neighbours refute them."""
EXCUSED = frozenset({Outcome.EXPIRED, Outcome.SKIPPED})
SlotId = tuple[str, str]


Interval = tuple[float, float]


def violations(parameters: Parameters, taken: Sequence[Taken], frozen: Sequence[Interval] = ()) -> list[str]:
    """Every violation, as a sentence that begins with the name of the invariant.

    ``frozen`` are the times (service time) in which the service stood still: nothing can start then.
    """
    checks = (_addressed, _spread, _bound, _idempotence, _quiet)
    found = list(_coverage(parameters, taken, frozen))
    return found + [text for check in checks for text in check(parameters, taken)]


def _starts(taken: Sequence[Taken]) -> Iterator[tuple[int, float, StartRejoin]]:
    for index, one in enumerate(taken):
        for effect in one.effects:
            if isinstance(effect, StartRejoin):
                yield index, one.at, effect


def _coverage(parameters: Parameters, taken: Sequence[Taken], frozen: Sequence[Interval]) -> Iterator[str]:
    """Every accepted trigger is covered in time while its node stays attached, or its rejoin ends with an event."""
    starts: defaultdict[SlotId, list[tuple[int, float]]] = defaultdict(list)
    nodes: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
    for index, at, start in _starts(taken):
        starts[start.node_id, start.store_id].append((index, at))
        nodes[start.node_id].append((index, at))
        nodes[""].append((index, at))
    ended = {
        effect.rejoin_id: effect.outcome
        for one in taken
        for effect in one.effects
        if isinstance(effect, AnnounceRejoin) and effect.outcome is not Outcome.WAITING
    }
    detached: defaultdict[str, list[float]] = defaultdict(list)
    restarted: list[float] = []
    for one in taken:
        if isinstance(one.event, NodeDetached):
            detached[one.event.node_id].append(one.at)
        elif isinstance(one.event, ServiceStarted):
            restarted.append(one.at)
    limit = parameters.window + len(starts) / parameters.rate + SLACK
    for index, one in enumerate(taken):
        for effect in one.effects:
            for decision in _decisions(effect):
                if decision.kind in (DecisionKind.DUPLICATE, DecisionKind.SKIPPED):
                    continue
                slot = (decision.node_id, decision.store_id)
                candidates = starts[slot] if decision.store_id else nodes[decision.node_id]
                place = bisect_right(candidates, (index - 1, math.inf))
                excused = ended.get(decision.rejoin_id) in EXCUSED
                if place == len(candidates):
                    if not excused:
                        yield f"coverage: {slot} triggered at {one.at:.3f} ({decision.rejoin_id}) never starts"
                    continue
                delay = candidates[place][1] - one.at
                delay -= sum(max(0.0, min(end, one.at + delay) - max(begin, one.at)) for begin, end in frozen)
                if decision.kind is DecisionKind.PARKED or excused or delay <= limit:
                    continue
                if not any(one.at <= at <= one.at + delay for at in (*detached[decision.node_id], *restarted)):
                    yield f"coverage: {slot} triggered at {one.at:.3f} starts {delay:.3f} s later, limit {limit:.3f}"


def _decisions(effect: Effect) -> Sequence[Decision]:
    """What was decided about triggers, from outside and of nodes that are asked to rejoin towards others."""
    if isinstance(effect, AskPeer):
        return [effect.decision]
    return effect.decisions if isinstance(effect, AnswerTrigger) and not effect.replayed else ()


def _addressed(parameters: Parameters, taken: Sequence[Taken]) -> Iterator[str]:
    """A start goes to the session that is attached, for nobody else can carry it out."""
    del parameters
    sessions: dict[str, str] = {}
    for one in taken:
        event = one.event
        if isinstance(event, NodeAttached):
            sessions[event.node_id] = event.session_id
        elif isinstance(event, ServiceStarted):
            sessions.clear()
        for effect in one.effects:
            if isinstance(effect, StartRejoin) and effect.session_id != sessions.get(effect.node_id):
                yield f"coverage: {effect.rejoin_id} starts at {one.at:.3f} on a session that is not attached"
        if isinstance(event, NodeDetached) and sessions.get(event.node_id) == event.session_id:
            del sessions[event.node_id]


def _spread(parameters: Parameters, taken: Sequence[Taken]) -> Iterator[str]:
    """A join names at most ``fanout`` peers, and a peer is named in at most ``spread`` joins per second."""
    named: defaultdict[str, list[float]] = defaultdict(list)
    for _, at, start in _starts(taken):
        if len(start.bootstrap) > parameters.fanout:
            yield f"spread: {start.rejoin_id} names {len(start.bootstrap)} peers"
        for peer in start.bootstrap:
            named[peer.peer_id].append(at)
    for peer_id, times in named.items():
        if _most(times, 1.0) > parameters.spread:
            yield f"spread: {peer_id} is named in {_most(times, 1.0)} joins within a second"


def _bound(parameters: Parameters, taken: Sequence[Taken]) -> Iterator[str]:
    """Starts of a slot and of the service stay within their bounds, in intervals of several lengths."""
    slots: defaultdict[SlotId, list[float]] = defaultdict(list)
    for _, at, start in _starts(taken):
        slots[start.node_id, start.store_id].append(at)
    everything = sorted(at for times in slots.values() for at in times)
    for length in (0.0, 1.0, parameters.window, 10.0, 3 * parameters.window, 100.0):
        allowed = 1 + math.ceil(length / parameters.window)
        for slot, times in slots.items():
            if _most(times, length) > allowed:
                yield f"bound: {slot} starts {_most(times, length)} times within {length:g} s"
        if _most(everything, length) > parameters.burst + parameters.rate * length + SLACK:
            yield f"bound: the service starts {_most(everything, length)} rejoins within {length:g} s"


def _idempotence(parameters: Parameters, taken: Sequence[Taken]) -> Iterator[str]:
    """A request id gets one answer, however often and in whatever order it comes."""
    answers: dict[str, tuple[float, AnswerTrigger]] = {}
    for one in taken:
        if not isinstance(one.event, RejoinRequested | NetworkChanged) or not one.event.request_id:
            continue
        for effect in one.effects:
            if isinstance(effect, AnswerTrigger):
                at, first = answers.setdefault(one.event.request_id, (one.at, effect))
                again = effect is not first and one.at - at < parameters.request_memory
                if again and not (effect.replayed and effect.decisions == first.decisions):
                    yield f"idempotence: request {one.event.request_id} is decided a second time at {one.at:.3f}"


def _quiet(parameters: Parameters, taken: Sequence[Taken]) -> Iterator[str]:
    """No rejoin starts without a trigger, or, with fresh neighbours, because of a refutable cause alone."""
    wanted: set[str] = set()
    everyone = False
    neighbors: defaultdict[SlotId, dict[str, float]] = defaultdict(dict)
    for one in taken:
        if isinstance(one.event, ServiceStarted):
            neighbors.clear()  # reports are not logged: after a restart no neighbour is known until a report comes
        _follow(neighbors, one)
        for effect in one.effects:
            wanted.update(decision.node_id for decision in _decisions(effect))
            everyone = everyone or any(not decision.node_id for decision in _decisions(effect))
        for effect in one.effects:
            if not isinstance(effect, StartRejoin):
                continue
            if not everyone and effect.node_id not in wanted:
                yield f"quiet: {effect.rejoin_id} starts at {one.at:.3f} without a trigger"
            alive_at = max(neighbors[effect.node_id, effect.store_id].values(), default=-math.inf)
            if set(effect.causes) <= GUESSES and alive_at > one.at - parameters.fresh:
                yield f"quiet: {effect.rejoin_id} starts at {one.at:.3f} in spite of fresh neighbours"


def _follow(neighbors: defaultdict[SlotId, dict[str, float]], one: Taken) -> None:
    event = one.event
    if isinstance(event, NeighborChanged):
        view = neighbors[event.node_id, event.store_id]
        if event.up:
            view[event.peer_id] = max(event.changed_at, view.get(event.peer_id, event.changed_at))
        else:
            view.pop(event.peer_id, None)
    elif isinstance(event, LivenessReported):
        view = dict(event.neighbors)
        for peer_id, heard_at in event.heard.items():
            if peer_id in view:
                view[peer_id] = max(view[peer_id], heard_at)
        neighbors[event.node_id, event.store_id] = view


def _most(times: Sequence[float], length: float) -> int:
    """The largest number of instants (in order) in any closed interval of that length."""
    return max((bisect_right(times, at + length - SLACK) - i for i, at in enumerate(times)), default=0)

"""The same events happen to a restored core: what it does, and what it answers afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gossipcontrol.server.core.core import Core
from gossipcontrol.server.core.deciding.engine import Engine
from gossipcontrol.server.core.decision import Capability, Cause
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
    RefuseReuse,
    RefuseState,
    RefuseTrigger,
    RefuseUnknown,
    StartRejoin,
)
from gossipcontrol.server.core.event import (
    NEVER,
    ChangeKind,
    DecidingEvent,
    LivenessReported,
    NeighborChanged,
    NetworkChanged,
    NodeAttached,
    NodeDetached,
    RejoinFinished,
    RejoinRequested,
    ServiceStarted,
    StartDelayed,
    SuspicionEnded,
    TimePassed,
)
from gossipcontrol.server.core.knowledge.event import IntentionsRecorded, KnowledgeEvent, Member, MembersChanged
from gossipcontrol.server.core.knowledge.intention import Intention
from gossipcontrol.server.core.knowledge.store import KnowledgeStore
from gossipcontrol.server.core.turn import Fact

from tests.state.written_before.questions import about_deciding, about_knowledge
from tests.state.written_before.written_state import NODES, NOW, STORES, request_id


def future(core: Core, now: float = NOW) -> dict[str, Any]:
    """What deciding and knowledge do with the same events, step by step, and their answers after the last.

    Deciding is driven without liveness, as the old code was: what liveness finds would lead to further triggers.
    """
    told = [(f"then {number}", one) for number, one in enumerate(_happenings(core.deciding, now))]
    recorded = [(f"recorded {number}", one) for number, one in enumerate(_recordings(core.knowledge, now))]
    later = [*about_deciding(core, now + 2000), *about_knowledge(core.knowledge, now + 2000)]
    return dict([*told, *recorded, *((f"{name}, later", one) for name, one in later)])


def _happenings(engine: Engine, now: float) -> Iterator[dict[str, Any]]:
    """The effects of each event. Commands are answered half a second later, in four ways by turns."""
    replies, starts = list[tuple[float, DecidingEvent]](), 0
    events = [(now + after, event) for after, event in _events(now)]
    while events or replies:
        at, event = min((*events[:1], *replies), key=lambda one: one[0])
        deadline = engine.next_deadline()
        if deadline is not None and deadline <= at:
            at, event = max(now, deadline), TimePassed()
        elif events and (at, event) == events[0]:
            del events[0]
        else:
            replies.remove((at, event))
        now = at
        turn = engine.handle(event, now)
        for effect in turn.effects:
            if isinstance(effect, StartRejoin):
                starts += 1
                replies += _replies(effect, starts % 4, now)
        yield {
            "at": now,
            "effects": [_shown(effect) for effect in turn.effects],
            "facts": len(turn.facts),
            "said": [list(read) for fact in turn.facts if isinstance(fact, Fact) for read in fact.reads],
            "next": engine.next_deadline(),
        }


def _replies(start: StartRejoin, turn: int, now: float) -> list[tuple[float, DecidingEvent]]:
    """Of four attempts, one succeeds with proof, one fails, one fails for now, and one gets no answer."""
    rejoin_id, attempt = start.rejoin_id, start.attempt
    if turn == 1:
        done = RejoinFinished(rejoin_id, attempt, True)
        life = LivenessReported(start.node_id, start.store_id, {"p": now + 1}, {"p": now + 1, "q": NEVER})
        return [(now + 0.5, done), (now + 1.25, life)]
    if turn == 2:
        return [(now + 0.5, RejoinFinished(rejoin_id, attempt, False, "no such topic"))]
    if turn == 3:
        return [(now + 0.5, RejoinFinished(rejoin_id, attempt, False, "no route", 2.5))]
    return []


def _events(now: float) -> Iterator[tuple[float, DecidingEvent]]:
    """What happens, in order, each so many seconds after now."""
    yield 0.0, RejoinRequested("n8", ("bulk2",))
    for after, number in ((0.0, 1), (0.0, 12), (0.25, 21)):
        yield after, RejoinRequested("n1", (), Cause.MANUAL, request_id(number))
    yield 0.25, NeighborChanged("n2", "notes", "p", True, now)
    yield 0.25, RejoinRequested("n2", ("notes",), Cause.SUSPICION)
    for node_id in ("x1", "x2", "x3", "x4", "x5"):
        yield 0.25, RejoinRequested(node_id)
    for generation in (5, 6):
        yield 0.5, NetworkChanged("h3", (), ChangeKind.RESUMED, "boot", generation)
        yield 0.5, NetworkChanged("", ("n1", "n5", "u4"), ChangeKind.FOREGROUND, "boot", generation)
    yield 1.0, NeighborChanged("n5", "mail", "p", True, now)
    yield 1.0, SuspicionEnded("n2", "notes", Cause.PARTITION, False)
    yield 1.5, StartDelayed("0b0b0b0b-74", 1)
    for node_id in NODES:
        yield 4.0, RejoinRequested(node_id, (), Cause.OUTBOUND_ROT, "", "nobody hears it", ("far1", "n2"))
    yield 9.0, SuspicionEnded("n1", "photos", Cause.OUTBOUND_ROT)
    yield 30.0, ServiceStarted("0c0c0c0c")
    for number, node_id in enumerate(NODES):
        stores = ("notes", "photos", "mail", "bulk1")[number % 3 :]
        host_id = ("h1", "h3", "hz", "")[number % 4]
        capabilities = frozenset({Capability.RESUBSCRIBE}) if number % 2 else frozenset[Capability]()
        yield 31.0, NodeAttached(node_id, f"late{number}", stores, host_id, capabilities, (f"{node_id}:7",))
    for number in range(8):
        after = 33.0 + number * 7
        for node_id in NODES[number % 2 :: 2]:
            cause = (Cause.MANUAL, Cause.SUSPICION, Cause.PARTITION, Cause.INBOUND_ROT)[number % 4]
            yield after, RejoinRequested(node_id, (), cause, request_id(100 + number))
        yield after + 2, NetworkChanged("h1", (), ChangeKind.SLEEPING, request_id=request_id(200 + number))
        yield after + 3, NodeDetached(NODES[number], f"late{number}", number % 2 == 0)
    yield 400.0, TimePassed()
    yield 900.0, RejoinRequested("n9", (), Cause.MANUAL, request_id(21))


def _shown(effect: Effect) -> dict[str, Any]:
    """An effect by its values alone."""
    match effect:
        case AnswerTrigger():
            decisions = [
                [one.node_id, one.store_id, int(one.kind), int(one.rule), one.rejoin_id, one.start_at]
                for one in effect.decisions
            ]
            cause = None if effect.cause is None else int(effect.cause)
            return {"effect": "answer", "cause": cause, "decisions": decisions, "again": effect.replayed}
        case RefuseReuse():
            return {"effect": "refuse reuse", "request": effect.request_id}
        case ForgetSlots() | RefuseUnknown() | RefuseState() | AskPeer() | AnnounceRestart():
            raise AssertionError(f"an old file leads to {effect}")
        case RefuseTrigger():
            return {"effect": "refuse", "retry": effect.retry_in}
        case RefuseNode():
            return {"effect": "refuse node", "reason": effect.reason}
        case AcceptNode():
            return {"effect": "accept", "node": [effect.node_id, effect.session_id], "parked": effect.unparked}
        case StartRejoin():
            return {
                "effect": "start",
                "rejoin": [effect.rejoin_id, effect.node_id, effect.store_id, effect.session_id, effect.attempt],
                "step": [int(effect.rung), [int(cause) for cause in effect.causes]],
                "peers": [[peer.peer_id, list(peer.addresses)] for peer in effect.bootstrap],
                "times": [effect.timeout, effect.delay],
            }
        case AnnounceRejoin():
            return {
                "effect": "announce",
                "rejoin": [effect.rejoin_id, effect.node_id, effect.store_id],
                "ended": [int(effect.cause), int(effect.outcome), int(effect.rung), effect.attempts],
                "told": [effect.duration, effect.detail],
            }
        case AdviseRestart():
            return {
                "effect": "advise",
                "rejoin": [effect.rejoin_id, effect.node_id, effect.store_id],
                "told": effect.detail,
            }


def _recordings(store: KnowledgeStore, now: float) -> Iterator[list[Any]]:
    """The outcomes of further events of knowledge."""
    for number, event in enumerate(_knowledge_events()):
        outcome = store.handle(event, now + number)
        recorded = outcome.recorded
        counts = [recorded.new, recorded.known, recorded.invalid, recorded.refused]
        yield [event.store_id, counts, outcome.full, outcome.fact is not None, outcome.room]


def _knowledge_events() -> Iterator[KnowledgeEvent]:
    for store_id in STORES:
        name = store_id.encode()
        missing = [b"%s-h%d" % (name, number) for number in range(150)]
        # Some of these float already, or floating ones wait for them; all name intentions that may be forgotten.
        again = tuple(Intention(f"p{number % 5}", one, b"") for number, one in enumerate(missing))
        for start in range(0, 150, 30):
            yield IntentionsRecorded(store_id, again[start : start + 30], "one", 900 + start)
        before: tuple[bytes, ...] = ()
        for number in range(6):
            made = tuple(b"%s-a%d-%d" % (name, author, number) for author in range(5))
            links = before or (b"",) * 5
            batch = tuple(
                Intention(f"p{author}", made[author], links[author], before, author == 4, "9000") for author in range(5)
            )
            yield IntentionsRecorded(store_id, batch, "six", number + 1)
            before = made
        yield MembersChanged(store_id, (Member("p9", "0007"), Member("m1")), ("p0", "m2"))
        yield IntentionsRecorded(store_id, (Intention("p1", name + b"-last", b"", (name + b"-a0-5",)),))

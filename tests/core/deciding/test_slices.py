"""A trigger that concerns very many stores is decided slice by slice, and no turn of the event loop is long."""

from __future__ import annotations

import dataclasses
import gc
import json
import sys
from collections.abc import Callable, Sequence

import pytest
from gossipcontrol.server.core.codec import encode, resolve
from gossipcontrol.server.core.core import DEPARTURES, Core, CoreParameters
from gossipcontrol.server.core.deciding.admission import FairQueue
from gossipcontrol.server.core.deciding.explain import EXPLAINED
from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.core.deciding.rejoin import Rejoin
from gossipcontrol.server.core.deciding.turn_size import FORMER, UNBOUNDED, TurnSizes
from gossipcontrol.server.core.decision import Cause, DecisionKind
from gossipcontrol.server.core.effect import AnswerTrigger, Effect, StartRejoin
from gossipcontrol.server.core.event import (
    ChangeKind,
    Event,
    NetworkChanged,
    NodeAttached,
    NodeDetached,
    RejoinRequested,
    TimePassed,
)  # fmt: skip
from gossipcontrol.server.core.finding import PresenceChanged
from gossipcontrol.server.core.liveness import ARRIVALS
from gossipcontrol.server.core.presence.record import PeerState
from gossipcontrol.server.core.slices import finish as finish_slices
from gossipcontrol.server.core.turn import Turn
from gossipcontrol.server.state.journal import Loaded
from gossipcontrol.server.state.recovery import SIZES, recover, take_snapshot, written_with
from hypothesis import example, given
from hypothesis import strategies as st

from tests.core.deciding.test_replay import LoggingLab, restored, shown
from tests.kit.core_lab import Lab

NODES, STORES = 9, 500
ALL = NODES * STORES


def crowded(lab: Lab) -> None:
    """One host with many nodes, each with many stores."""
    for number in range(NODES):
        lab.handle(NodeAttached(f"n{number}", "s", tuple(f"s{store}" for store in range(STORES)), host_id="h"))
    finish(lab)


def finish(lab: Lab) -> list[Turn]:
    """Let the turns follow in which the rest of it all is done."""
    turns = list[Turn]()
    while (deadline := lab.core.next_deadline()) is not None and deadline <= lab.now:
        turns.append(lab.turn(TimePassed()))
    return turns


def decided(effects: Sequence[Effect]) -> int:
    return sum(len(one.decisions) for one in effects if isinstance(one, AnswerTrigger))


def started(effects: Sequence[Effect]) -> int:
    return sum(isinstance(one, StartRejoin) for one in effects)


def test_a_change_of_a_crowded_host_is_answered_at_once_and_decided_in_slices() -> None:
    lab = Lab(Parameters(rate=1e6, burst=10**6))
    crowded(lab)
    first = lab.handle(NetworkChanged("h", boot_id="b", generation=1, request_id="q"))
    (answer,) = [one for one in first if isinstance(one, AnswerTrigger)]
    assert answer.total == ALL
    effects = [first, *(turn.effects for turn in finish(lab))]
    turns = list(map(decided, effects))
    assert sum(turns) == ALL
    assert max(turns) <= TurnSizes().decisions, "also where one node has more stores"
    assert max(map(started, effects)) <= TurnSizes().trigger_starts
    assert len({(start.node_id, start.store_id) for _, start in lab.starts}) == ALL, "every store is covered"


def test_a_crash_between_two_slices_loses_nothing() -> None:
    lab = LoggingLab(Parameters(rate=1e6, burst=10**6))
    crowded(lab)
    lab.handle(NetworkChanged("h", boot_id="b", generation=1))
    lab.handle(TimePassed())
    lab.handle(RejoinRequested("n0", ("s1",)))
    assert shown(restored(lab.parameters, None, lab.log)) == shown(lab.core)
    again = restored(lab.parameters, json.dumps(lab.core.save()), ())
    started = {(start.node_id, start.store_id) for _, start in lab.starts}
    while (deadline := again.deciding.next_deadline()) is not None and deadline <= again.decided_at:
        effects = again.handle(TimePassed(), lab.now).effects
        started |= {(one.node_id, one.store_id) for one in effects if isinstance(one, StartRejoin)}
    assert len(started) == ALL


def test_what_is_left_keeps_its_places_in_the_queue() -> None:
    lab = Lab(Parameters(queue_limit=ALL, rate=0.001, burst=1))
    crowded(lab)
    lab.handle(NetworkChanged("h", boot_id="b", generation=1))
    assert decided(lab.handle(RejoinRequested("other", tuple(f"x{number}" for number in range(500))))) == 0
    finish(lab)
    assert lab.core.counts().queued <= ALL


def test_an_explanation_of_a_crowded_host_is_bounded_and_counts_all() -> None:
    lab = Lab()
    crowded(lab)
    forecast = lab.core.foretell(NetworkChanged("h", boot_id="b", generation=1), lab.now)
    assert (len(forecast.explanations), forecast.total) == (EXPLAINED, ALL)


@pytest.mark.parametrize("kind", [ChangeKind.SLEEPING, ChangeKind.RESUMED])
def test_a_crowded_host_falls_asleep_and_wakes_in_slices(kind: ChangeKind) -> None:
    lab = Lab(Parameters(rate=1e6, burst=10**6))
    crowded(lab)
    turns = [lab.turn(NetworkChanged("h", kind=ChangeKind.SLEEPING, boot_id="b", generation=1))]
    turns += finish(lab)
    told = [{one.store_id for one in turn.findings if isinstance(one, PresenceChanged)} for turn in turns]
    assert max(map(len, told)) <= DEPARTURES, "also of one node with many stores"
    if kind is ChangeKind.RESUMED:
        lab.handle(NetworkChanged("h", kind=kind, boot_id="b", generation=2))
        finish(lab)
    wanted = PeerState.ASLEEP if kind is ChangeKind.SLEEPING else PeerState.ONLINE
    states = {peer.state for store in range(STORES) for peer in lab.core.liveness.peers(f"s{store}")}
    assert states == {wanted}


def test_a_node_with_many_stores_reaches_presence_in_slices() -> None:
    lab = Lab()
    stores = tuple(f"s{number}" for number in range(3 * ARRIVALS))
    turns = [lab.turn(NodeAttached("n", "s", stores)), *finish(lab)]
    told = [{one.store_id for one in turn.findings if isinstance(one, PresenceChanged)} for turn in turns]
    assert max(map(len, told)) <= ARRIVALS
    assert {store_id for one in told for store_id in one} == set(stores)
    assert lab.turn(NodeAttached("n", "s", stores)).findings == [], "nothing new"


@pytest.mark.parametrize("leaves", [NodeDetached("n", "s", left=True), NetworkChanged("h", kind=ChangeKind.SLEEPING)])
def test_a_node_that_goes_before_presence_knows_all_its_stores_is_nowhere_online(leaves: Event) -> None:
    lab = Lab()
    stores = tuple(f"s{number}" for number in range(3 * ARRIVALS))
    lab.handle(NodeAttached("n", "s", stores, host_id="h"))
    lab.handle(leaves)
    finish(lab)
    states = {peer.state for store_id in stores for peer in lab.core.liveness.peers(store_id)}
    assert states == {PeerState.LEFT if isinstance(leaves, NodeDetached) else PeerState.ASLEEP}


def test_a_node_with_many_stores_takes_over_in_slices_what_its_host_waited_for() -> None:
    lab = LoggingLab(Parameters(rate=1e6, burst=10**6))
    stores = tuple(f"s{number}" for number in range(2 * TurnSizes().decisions + 1))
    lab.handle(NetworkChanged("h", boot_id="b", generation=1))
    first = lab.turn(NodeAttached("n", "s", stores, host_id="h"))
    assert 0 < started(first.effects) <= TurnSizes().trigger_starts
    assert lab.core.counts().queued + started(first.effects) == TurnSizes().decisions
    again = restored(lab.parameters, json.dumps(lab.core.save()), ())
    turns = finish(lab)
    assert max(started(turn.effects) for turn in turns) <= TurnSizes().trigger_starts
    assert {start.store_id for _, start in lab.starts} == set(stores)
    assert shown(restored(lab.parameters, None, lab.log)) == shown(lab.core), "a replay decides the same slices"
    while (deadline := again.deciding.next_deadline()) is not None and deadline <= again.decided_at:
        again.handle(TimePassed(), lab.now)
    assert again.counts() == dataclasses.replace(lab.core.counts(), peers=0), "a snapshot between them loses none"


def test_no_trigger_begins_more_attempts_at_once_than_one_turn_may() -> None:
    lab, stores = Lab(), tuple(f"s{number}" for number in range(100))
    lab.handle(NodeAttached("n", "s", stores))
    finish(lab)
    foretold = lab.core.foretell(RejoinRequested("n"), lab.now)
    answer = lab.answer(RejoinRequested("n"))
    kinds = [one.kind for one in answer.decisions]
    assert kinds.count(DecisionKind.STARTED) == TurnSizes().trigger_starts
    assert {one.start_at for one in answer.decisions} == {lab.now}, "the limiter would allow all"
    assert [one.decision.kind for one in foretold.explanations] == kinds
    finish(lab)
    assert {at for at, _ in lab.starts} == {lab.now}
    assert len(lab.starts) == len(stores)


def test_a_log_without_a_mark_is_replayed_with_the_sizes_of_earlier_versions() -> None:
    lab = LoggingLab(Parameters(rate=1e6, burst=10**6), sizes=FORMER)
    crowded(lab)
    before = lab.core.capture()
    snapshot = {"parameters": encode(lab.parameters), "core": json.loads(json.dumps(resolve(before)))}
    first = lab.handle(NetworkChanged("h", boot_id="b", generation=1))
    assert decided(first) == started(first) == 2 * STORES, "as earlier versions did"
    core = recover(Loaded(snapshot, lab.log[NODES:]), CoreParameters(deciding=lab.parameters))
    assert core.save() == lab.core.save()
    assert core.parameters.sizes == TurnSizes(), "and it goes on with the present ones"
    marked = resolve(take_snapshot(core))
    assert written_with(Loaded(marked), CoreParameters()).sizes == TurnSizes()
    effects = core.handle(TimePassed(), lab.now).effects
    assert decided(effects) == TurnSizes().decisions


def left(lab: Lab) -> None:
    """The limiter has 30 nodes of two stores wait; all but the last leave."""
    for number in range(30):
        lab.attach(node_id := f"n{number:02}", "a", "b", host_id=node_id)
        lab.handle(NetworkChanged(node_id, boot_id="b", generation=1))
    finish(lab)
    for number in range(29):
        lab.handle(NodeDetached(f"n{number:02}", "s", left=True))
    assert lab.core.counts().queued == 2
    lab.starts.clear()


def test_what_left_the_queue_is_passed_over_little_by_little() -> None:
    """After 50,000 of 100,000 had gone, the next one that waited cost 23 ms."""
    lab = LoggingLab(Parameters(rate=1.0, burst=1), sizes=dataclasses.replace(TurnSizes(), passed=7))
    left(lab)
    before, slices = json.dumps(lab.core.save()), lab.core.capture_slices()
    next(slices)
    lab.now += 1.0
    turns = finish(lab)
    assert json.dumps(resolve(finish_slices(slices))) == before, "a snapshot under way has those that are passed over"
    assert [start.node_id for _, start in lab.starts] == ["n29"]
    assert [started(turn.effects) for turn in turns] == [0] * (57 // 7) + [1]
    again = Core(lab.core.parameters, id_prefix="t")
    for fact in lab.log:
        again.replay(fact)
    assert shown(again) == shown(lab.core)


def test_a_mark_from_before_that_is_replayed_without_that_bound() -> None:
    lab = Lab()
    mark = encode(TurnSizes())
    del mark["passed"]
    snapshot = {"parameters": encode(lab.parameters) | {SIZES: mark}, "core": lab.core.save()}
    assert written_with(Loaded(snapshot), CoreParameters()).sizes == dataclasses.replace(TurnSizes(), passed=UNBOUNDED)


STEPS = st.lists(st.tuples(st.sampled_from(["push", "push", "remove", "pop"]), st.integers(0, 11)), max_size=60)
"""What is done with one of twelve rejoins of four nodes."""


def some_rejoins() -> list[Rejoin]:
    """Of node n0 there are r0, r4 and r8, the first the most urgent; and so on."""
    return [Rejoin(n, f"r{n}", f"n{n % 4}", "a", Cause.MANUAL, 0.0, None, urgency=n // 4) for n in range(12)]


def test_one_that_left_the_queue_and_came_back_has_its_new_place() -> None:
    queue, (first, second, *_) = FairQueue(), some_rejoins()[::4]
    second.urgency = first.urgency
    queue.push(first)
    queue.remove(first)
    queue.push(second)
    queue.push(first)
    assert [queue.pop(), queue.pop()] == [second, first]
    assert queue.length == 0


@example([("push", 0), ("remove", 0), ("push", 1), ("pop", 0), ("push", 0)], 1)
@given(STEPS, st.integers(1, 4))
def test_what_is_passed_over_changes_no_order(steps: list[tuple[str, int]], most: int) -> None:
    """A queue that drops a few entries at a time gives the same rejoins as one that drops all it meets."""

    def drive(pop: Callable[[FairQueue], Rejoin]) -> list[str]:
        queue, popped, rejoins = FairQueue(), list[str](), some_rejoins()
        for step, number in [*steps, *[("pop", 0)] * 12]:
            if step == "push":
                queue.push(rejoins[number])
            elif step == "remove":
                queue.remove(rejoins[number])
            elif queue.length:
                popped.append(pop(queue).rejoin_id)
        return popped

    def pop_slowly(queue: FairQueue) -> Rejoin:
        while queue.pass_over(most) == most:
            pass
        return queue.pop()

    assert drive(pop_slowly) == drive(FairQueue.pop)


def test_the_first_slice_of_a_snapshot_makes_nothing_for_each_of_what_waits() -> None:
    """It copied the queue of each node and looked up each request id and network event: 55 ms with 200,000 slots."""
    lab, names = Lab(Parameters(rate=1.0, burst=1)), ("s", "t")
    for number in range(600):
        lab.handle(NodeAttached(f"n{number}", "s", names, host_id=f"h{number}"))
        lab.handle(NetworkChanged(f"h{number}", boot_id="b", generation=1))
        lab.handle(RejoinRequested(f"n{number}", names[:1], request_id=f"r{number}"))
    assert lab.core.counts().queued >= 2 * 600 - 1
    gc.disable()
    try:
        before, slices = sys.getallocatedblocks(), lab.core.capture_slices()
        next(slices)
        first = sys.getallocatedblocks() - before
        slices.close()
    finally:
        gc.enable()
    assert first < 200

"""The invariants of deciding, against random schedules: coverage, bound, idempotence, quiet."""

from __future__ import annotations

import json
import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence

from gossipcontrol.server.core.core import Core, CoreParameters
from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.core.deciding.rejoin import ENDED
from gossipcontrol.server.core.decision import Capability, Cause, DecisionKind, Outcome
from gossipcontrol.server.core.effect import AcceptNode, AnswerTrigger, RefuseTrigger
from gossipcontrol.server.core.event import (
    LivenessReported,
    NeighborChanged,
    NetworkChanged,
    NodeAttached,
    OwnerChanged,
    RejoinRequested,
    StartDelayed,
    SuspicionEnded,
)
from gossipcontrol.server.core.finding import NodeSuspected
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kit.core_lab import Lab

NODES = ("n1", "n2", "n3")
STORES = ("a", "b")
HOSTS = {"n1": "h1", "n2": "h1", "n3": "h2"}
ROT = (Cause.OUTBOUND_ROT, Cause.INBOUND_ROT, Cause.PARTITION)
SLACK = 1e-6
"""Seconds by which float rounding of instants may be off."""

Action = tuple[str, float, str, int]
"""What happens, after how many seconds, to which node, and a number that varies it."""

actions = st.lists(
    st.tuples(
        st.sampled_from((
            "rejoin", "change", "named", "rot", "cleared", "attach", "detach", "meet", "part", "hear", "delayed",
            "done", "failed", "gave up", "owner changed",
        )),
        st.one_of(st.just(0.0), st.floats(0.001, 2.0), st.floats(2.0, 30.0)),
        st.sampled_from(NODES),
        st.integers(0, 5),
    ),
    max_size=60,
)  # fmt: skip
parameters = st.builds(
    Parameters,
    rate=st.sampled_from((0.5, 2.0, 200.0)),
    burst=st.sampled_from((1, 2, 400)),
    park_time=st.sampled_from((5.0, 600.0)),
)


class Schedule:
    """Runs actions and remembers every trigger that was accepted."""

    def __init__(self, chosen: Parameters) -> None:
        self.lab = Lab(chosen)
        self.sessions: dict[str, int] = dict.fromkeys(NODES, 0)
        self.accepted: list[tuple[float, str, str, str]] = []
        """Arrival, node, store, rejoin."""

    def run(self, chosen: Sequence[Action]) -> None:
        for what, wait, node_id, number in chosen:
            self.lab.advance(wait)
            getattr(self, what.replace(" ", "_"))(node_id, number)

    def trigger(self, event: NetworkChanged | RejoinRequested) -> None:
        answer = self.lab.answer(event)
        for decision in answer.decisions:
            if decision.kind not in (DecisionKind.DUPLICATE, DecisionKind.SKIPPED) and not answer.replayed:
                self.accepted.append((self.lab.now, decision.node_id, decision.store_id, decision.rejoin_id))

    def rejoin(self, node_id: str, number: int) -> None:
        causes = (Cause.MANUAL, Cause.SUSPICION, Cause.ISOLATED)
        stores = ((), ("a",), ("a", "b"))[number % 3]
        self.trigger(RejoinRequested(node_id, stores, causes[number % 3], f"{node_id} {number}" if number > 3 else ""))

    def change(self, node_id: str, number: int) -> None:
        self.trigger(NetworkChanged(HOSTS[node_id], boot_id="b", generation=number))

    def named(self, node_id: str, number: int) -> None:
        self.trigger(NetworkChanged("", (node_id,), boot_id="b", generation=number))

    def rot(self, node_id: str, number: int) -> None:
        self.trigger(RejoinRequested(node_id, (STORES[number % 2],), ROT[number % 3]))

    def cleared(self, node_id: str, number: int) -> None:
        self.lab.handle(SuspicionEnded(node_id, STORES[number % 2], ROT[number % 3], healed=number % 4 > 0))

    def attach(self, node_id: str, number: int) -> None:
        self.sessions[node_id] += 1
        capabilities = frozenset({Capability.RESUBSCRIBE}) if number % 2 else frozenset[Capability]()
        session = f"s{self.sessions[node_id]}"
        self.lab.handle(NodeAttached(node_id, session, STORES, HOSTS[node_id], capabilities))

    def detach(self, node_id: str, number: int) -> None:
        del number
        self.lab.detach(node_id, f"s{self.sessions[node_id]}")

    def meet(self, node_id: str, number: int) -> None:
        self.lab.neighbor_up(f"p{number}", node_id, STORES[number % 2], ago=number * 0.3)

    def part(self, node_id: str, number: int) -> None:
        self.lab.handle(NeighborChanged(node_id, STORES[number % 2], f"p{number}", False, self.lab.now))

    def hear(self, node_id: str, number: int) -> None:
        heard = {f"p{number}": self.lab.now - number * 0.3}
        self.lab.handle(LivenessReported(node_id, STORES[number % 2], heard))

    def delayed(self, node_id: str, number: int) -> None:
        del node_id
        for _, start in self.lab.starts[-1 - number :][:1]:
            self.lab.handle(StartDelayed(start.rejoin_id, start.attempt))

    def done(self, node_id: str, number: int) -> None:
        del node_id
        if self.lab.starts:
            self.lab.finish(-1 - number % len(self.lab.starts))

    def failed(self, node_id: str, number: int) -> None:
        del node_id
        if self.lab.starts:
            self.lab.finish(-1 - number % len(self.lab.starts), error="no route", retry_in=number * 2.0)

    def gave_up(self, node_id: str, number: int) -> None:
        del node_id
        if self.lab.starts:
            self.lab.finish(-1 - number % len(self.lab.starts), error="no route")

    def owner_changed(self, node_id: str, number: int) -> None:
        del node_id
        self.lab.handle(OwnerChanged(f"r{number}", number))


class Crowded(Schedule):
    """The same where books are full: a trigger may be refused, and a change names two nodes."""

    def trigger(self, event: NetworkChanged | RejoinRequested) -> None:
        effects = self.lab.handle(event)
        assert sum(isinstance(effect, AnswerTrigger | RefuseTrigger) for effect in effects) == 1

    def named(self, node_id: str, number: int) -> None:
        other = NODES[(NODES.index(node_id) + 1 + number % 2) % len(NODES)]
        self.trigger(NetworkChanged("", (node_id, other), boot_id="b", generation=number))


def most_within(times: list[float], length: float) -> int:
    """The largest number of instants in any closed interval of that length."""
    return max((bisect_right(times, at + length - SLACK) - i for i, at in enumerate(times)), default=0)


@given(parameters, actions)
@settings(max_examples=400, deadline=None)
def test_every_accepted_trigger_is_covered_or_ends_with_an_event(chosen: Parameters, schedule: list[Action]) -> None:
    run = Schedule(chosen)
    run.run(schedule)
    for node_id in NODES:
        run.attach(node_id, 0)
    run.lab.advance(chosen.park_time + chosen.trial_time + chosen.window + 200 / chosen.rate)
    ended = {a.rejoin_id: a.outcome for _, a in run.lab.announcements}
    for arrived_at, node_id, store_id, rejoin_id in run.accepted:
        covered = [
            at
            for at, start in run.lab.starts
            if at >= arrived_at and node_id in ("", start.node_id) and store_id in ("", start.store_id)
        ]
        excused = ended.get(rejoin_id) in (Outcome.EXPIRED, Outcome.SKIPPED)
        assert covered or excused, (arrived_at, node_id, store_id, rejoin_id)
    counts = run.lab.core.counts()
    assert (counts.queued, counts.parked, counts.running) == (0, 0, 0)


@given(parameters, actions)
@settings(max_examples=300, deadline=None)
def test_each_rejoin_ends_once_and_the_gauges_count_what_there_is(chosen: Parameters, schedule: list[Action]) -> None:
    run = Schedule(chosen)
    for action in schedule:
        run.run([action])
        core, counts = run.lab.core, run.lab.core.counts()
        outcomes = Counter(rejoin.outcome for rejoin in core.catalog.rejoins())
        running = sum(store.running for store in core.catalog.stores())
        assert (counts.queued, counts.parked, counts.running) == (
            outcomes[Outcome.WAITING], outcomes[Outcome.PARKED], running,
        )  # fmt: skip
    ends = Counter(announced.rejoin_id for _, announced in run.lab.announcements if announced.outcome in ENDED)
    assert set(ends.values()) <= {1}
    attempts = [(start.rejoin_id, start.attempt) for _, start in run.lab.starts]
    assert len(set(attempts)) == len(attempts)
    assert {(start.rejoin_id, start.attempt) for _, start in run.lab.repeats} <= set(attempts)


@given(st.integers(1, 3), st.integers(1, 6), st.integers(1, 2), actions)
@settings(max_examples=200, deadline=None)
def test_full_books_refuse_what_they_cannot_hold_and_answer_the_rest(
    nodes: int, places: int, stores: int, schedule: list[Action]
) -> None:
    run = Crowded(Parameters(node_limit=nodes, queue_limit=places, stores_per_node=stores, history_limit=5))
    for action in schedule:
        run.run([action])
        counts = run.lab.core.counts()
        assert counts.nodes <= nodes
        # One trigger that waited for an unknown node becomes one for each of its stores.
        assert counts.queued <= max(places, nodes * stores)


@given(st.integers(1, 3), actions)
@settings(max_examples=200, deadline=None)
def test_a_new_node_finds_a_place_exactly_where_one_is_free_or_idle(nodes: int, schedule: list[Action]) -> None:
    chosen = Parameters(node_limit=nodes, park_time=20.0)
    run = Crowded(chosen)
    run.run(schedule)
    core = run.lab.core
    serving = {node.node_id for store in core.catalog.stores() for node in store.nodes if node.attached}
    waited_for = {rejoin.node_id for rejoin in core.catalog.rejoins() if rejoin.outcome is Outcome.PARKED} - {""}
    has_place = len(serving | waited_for) < nodes
    again = Core(CoreParameters(deciding=chosen))
    again.load(json.loads(json.dumps(core.save())))
    for one in (again, core):
        accepted = any(
            isinstance(effect, AcceptNode) for effect in one.handle(NodeAttached("new", "s", ()), run.lab.now).effects
        )
        assert accepted is has_place


@given(parameters, st.lists(st.tuples(st.floats(0, 10), st.sampled_from(NODES), st.integers(0, 5)), max_size=60))
@settings(max_examples=300, deadline=None)
def test_an_attached_node_waits_no_longer_than_the_window_and_the_global_delay(
    chosen: Parameters, triggers: list[tuple[float, str, int]]
) -> None:
    run = Schedule(chosen)
    for node_id in NODES:
        run.attach(node_id, 0)
    for wait, node_id, number in triggers:
        run.lab.advance(wait)
        run.rejoin(node_id, number)
    run.lab.advance(chosen.window + 200 / chosen.rate)
    queued = len(NODES) * len(STORES)
    limit = chosen.window + queued / chosen.rate + SLACK
    for arrived_at, node_id, store_id, _ in run.accepted:
        starts = run.lab.start_times(node_id, store_id)
        first = starts[bisect_left(starts, arrived_at)]
        assert first - arrived_at <= limit


@given(parameters, actions)
@settings(max_examples=300, deadline=None)
def test_starts_stay_within_their_bounds(chosen: Parameters, schedule: list[Action]) -> None:
    run = Schedule(chosen)
    for node_id in NODES:
        run.attach(node_id, 1)
    run.run(schedule)
    run.lab.advance(300)
    for length in (0.0, 1.0, chosen.window, 10.0, 3 * chosen.window, 100.0):
        for node_id in NODES:
            for store_id in STORES:
                starts = run.lab.start_times(node_id, store_id)
                assert most_within(starts, length) <= 1 + math.ceil(length / chosen.window)
        everything = [at for at, _ in run.lab.starts]
        assert most_within(everything, length) <= chosen.burst + chosen.rate * length + SLACK


@given(parameters, actions)
@settings(max_examples=200, deadline=None)
def test_replaying_requests_with_their_ids_changes_nothing(chosen: Parameters, schedule: list[Action]) -> None:
    run = Schedule(chosen)
    for node_id in NODES:
        run.attach(node_id, 0)
    answers: list[tuple[NetworkChanged | RejoinRequested, AnswerTrigger]] = []
    for number, (_, wait, node_id, _) in enumerate(schedule[:20]):
        run.lab.advance(min(wait, 5.0))
        event: NetworkChanged | RejoinRequested = RejoinRequested(node_id, request_id=f"id{number}")
        if number % 2:
            event = NetworkChanged(HOSTS[node_id], request_id=f"id{number}")
        answers.append((event, run.lab.answer(event)))
    before = (run.lab.core.counts(), list(run.lab.core.catalog.rejoins()), len(run.lab.starts))
    for event, answer in answers:
        again = run.lab.answer(event)
        assert (again.replayed, again.decisions, again.cause) == (True, answer.decisions, answer.cause)
    assert (run.lab.core.counts(), list(run.lab.core.catalog.rejoins()), len(run.lab.starts)) == before


@given(st.lists(st.tuples(st.sampled_from(("meet", "part", "hear", "attach", "detach")), st.floats(0, 5),
                          st.sampled_from(NODES), st.integers(0, 5)), max_size=80))  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_without_triggers_only_what_the_service_found_starts(schedule: list[Action]) -> None:
    run = Schedule(Parameters())
    run.run(schedule)
    run.lab.advance(1000)
    suspected = [finding for finding in run.lab.findings if isinstance(finding, NodeSuspected) and finding.triggers]
    found = {(finding.node_id, finding.store_id, finding.cause) for finding in suspected}
    for _, start in run.lab.starts:
        own = {cause for cause in start.causes if cause is not Cause.ASKED}
        assert {(start.node_id, start.store_id, cause) for cause in own} <= found
        assert found or not start.causes, "nobody is asked for another unless that one's rejoin was in vain"
    assert run.lab.core.deciding.next_deadline() is None


@given(parameters, actions)
@settings(max_examples=100, deadline=None)
def test_the_same_events_give_the_same_effects(chosen: Parameters, schedule: list[Action]) -> None:
    first, second = Schedule(chosen), Schedule(chosen)
    first.run(schedule)
    second.run(schedule)
    assert first.lab.starts == second.lab.starts
    assert first.lab.announcements == second.lab.announcements
    assert list(first.lab.core.catalog.rejoins()) == list(second.lab.core.catalog.rejoins())

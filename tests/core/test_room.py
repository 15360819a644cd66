"""The memory budget: strangers have a small share and are forgotten first; known nodes always have room."""

from __future__ import annotations

from gossipcontrol.server.core.core import Core, CoreParameters
from gossipcontrol.server.core.effect import AcceptNode, AnswerTrigger, Effect, RefuseNode, RefuseTrigger
from gossipcontrol.server.core.event import (
    ChangeKind,
    Event,
    LivenessReported,
    NetworkChanged,
    NodeAttached,
    NodeDetached,
    RejoinFinished,
    RejoinRequested,
    TimePassed,
)
from gossipcontrol.server.core.knowledge.event import IntentionsRecorded
from gossipcontrol.server.core.knowledge.intention import Intention
from gossipcontrol.server.core.memory import NAME
from gossipcontrol.server.core.room import (
    FEW_NEIGHBORS,
    NO_ROOM,
    NO_ROOM_FOR_STRANGERS,
    QUIET,
    QUIET_NODE,
    STRANGER_SHARE,
    Room,
)
from gossipcontrol.server.core.turn import Fact
from hypothesis import example, given, settings
from hypothesis import strategies as st

LIMIT = 1_000_000


class Lab:
    def __init__(self, limit: int = LIMIT) -> None:
        self.core = Core(CoreParameters(memory=limit))
        self.registry = self.core.deciding.registry
        self.facts: list[Fact] = []

    def handle(self, event: Event, now: float) -> list[Effect]:
        turn = self.core.handle(event, now)
        self.facts += [fact for fact in turn.facts if isinstance(fact, Fact)]
        return turn.effects

    def refused(self, event: Event, now: float) -> RefuseNode | RefuseTrigger | None:
        return next((one for one in self.handle(event, now) if isinstance(one, (RefuseNode, RefuseTrigger))), None)

    def fill_with_strangers(self, now: float) -> RefuseNode | RefuseTrigger:
        for number in range(100):
            refused = self.refused(LivenessReported(f"stranger{number}", f"s{number}"), now)
            if refused is not None:
                return refused
        raise AssertionError("the strangers' share is never used up")

    def fill_with_known(self, now: float) -> RefuseNode | RefuseTrigger:
        for number in range(1000):
            refused = self.refused(NodeAttached(f"known{number}", "s", ("a",)), now)
            if refused is not None:
                return refused
        raise AssertionError("the budget is never used up")


def test_strangers_take_no_more_than_their_share_and_are_told_when_there_is_room() -> None:
    lab = Lab()
    refused = lab.fill_with_strangers(10.0)
    assert isinstance(refused, RefuseNode)
    assert (refused.reason, refused.retry_in) == (NO_ROOM_FOR_STRANGERS, QUIET)
    assert Room(lab.core.memory, lab.registry).strange_bytes() <= STRANGER_SHARE * LIMIT
    known = len(lab.registry.nodes)
    late = 10.0 + refused.retry_in
    assert lab.refused(LivenessReported("stranger0", "s0"), late - 1) is None, "what is known costs nothing"
    assert lab.refused(LivenessReported("newcomer", "own"), late) is None
    assert "stranger1" not in lab.registry.nodes, "the one that reported least recently"
    assert "stranger0" in lab.registry.nodes
    assert len(lab.registry.nodes) == known


def test_strangers_cannot_keep_registrations_and_triggers_of_known_nodes_out() -> None:
    lab = Lab()
    lab.fill_with_strangers(10.0)
    assert isinstance(lab.refused(RejoinRequested("unknown", tuple(map(str, range(100)))), 10.0), RefuseTrigger)
    assert any(isinstance(one, AcceptNode) for one in lab.handle(NodeAttached("n", "s", ("a",)), 10.0))
    assert any(isinstance(one, AnswerTrigger) for one in lab.handle(RejoinRequested("n"), 10.0))


def test_a_stranger_cannot_name_more_and_more_peers_of_a_store_that_is_large() -> None:
    lab = Lab()
    lab.handle(NodeAttached("n", "s", ("a",)), 1.0)
    lab.handle(LivenessReported("n", "a", heard={f"peer{number}": 1.0 for number in range(200)}), 1.0)
    lab.handle(LivenessReported("stranger", "a"), 1.0)
    before = lab.core.memory.used()
    for number in range(10):
        names = {f"invented{number}-{one}": 1.0 for one in range(100)}
        lab.handle(LivenessReported("stranger", "a", heard=names), 2.0)
    assert lab.core.memory.used() - before <= STRANGER_SHARE * LIMIT


def test_strangers_are_forgotten_first_when_known_nodes_need_the_room() -> None:
    lab = Lab()
    lab.fill_with_strangers(10.0)
    strangers = len(lab.registry.strangers)
    refused = lab.fill_with_known(10.0)
    assert isinstance(refused, RefuseNode)
    assert refused.reason == NO_ROOM
    assert strangers
    assert not lab.registry.strangers
    assert lab.core.memory.used() <= LIMIT


def test_known_nodes_that_are_long_gone_make_room_too() -> None:
    lab = Lab()
    lab.fill_with_known(10.0)
    for number in range(20):
        lab.handle(NodeDetached(f"known{number}", "s"), 20.0)
    refused = lab.refused(NodeAttached("newcomer", "s", ("a",)), 30.0)
    assert refused is not None
    assert refused.retry_in == QUIET_NODE - 10
    assert lab.refused(NodeAttached("newcomer", "s", ("a",)), 30.0 + refused.retry_in) is None
    assert "known0" not in lab.registry.nodes


def test_reports_of_known_nodes_are_taken_without_the_names_that_have_no_room() -> None:
    lab = Lab()
    lab.fill_with_known(10.0)
    names = {f"peer{number}": 9.0 for number in range(500)}
    before = lab.core.memory.by_book()
    assert lab.refused(LivenessReported("known0", "a", heard=names, neighbors=names), 11.0) is None
    after = lab.core.memory.by_book()
    assert after["peers"] == before["peers"]
    assert after["neighbors"] - before["neighbors"] == FEW_NEIGHBORS * NAME


def test_intentions_take_no_more_than_half() -> None:
    lab = Lab()
    before = 0
    for number in range(100_000):
        one = Intention("author", f"h{number}".encode(), f"h{number - 1}".encode() if number else b"")
        outcome = lab.core.handle(IntentionsRecorded("s", (one,)), 1.0).outcome
        assert outcome is not None
        if outcome.full:
            assert outcome.full == NO_ROOM
            break
        before = lab.core.knowledge.used_bytes
    assert LIMIT / 2 < lab.core.knowledge.used_bytes < 0.6 * LIMIT
    assert lab.core.knowledge.used_bytes == before


def test_a_replay_without_a_limit_gives_the_same_nodes() -> None:
    """What was refused is not logged, and what was forgotten for others is."""
    lab = Lab()
    lab.fill_with_strangers(10.0)
    lab.handle(LivenessReported("newcomer", "own"), 10.0 + QUIET)
    lab.fill_with_known(100.0)
    replayed = Core(CoreParameters())
    for fact in lab.facts:
        replayed.replay(fact)
    assert list(replayed.deciding.registry.nodes) == list(lab.registry.nodes)


STEP = st.tuples(st.sampled_from("rabfd"), st.integers(0, 8), st.integers(0, 3), st.integers(0, 5))


@settings(max_examples=150)
@given(st.lists(STEP, max_size=60))
def test_the_counts_of_what_strangers_named_are_those_of_the_books(steps: list[tuple[str, int, int, int]]) -> None:
    lab = Lab(150_000)
    now = 10.0
    for kind, node, store, names in steps:
        now += 20.0
        node_id, store_id = f"n{node}", f"s{store}"
        peers = {f"p{number}": now for number in range(names)}
        if kind == "r":
            lab.handle(LivenessReported(node_id, store_id, heard=peers, neighbors=peers), now)
        elif kind == "a":
            lab.handle(NodeAttached(node_id, "s", (store_id,)), now)
        elif kind == "d":
            lab.handle(NodeDetached(node_id, "s"), now)
        else:
            lab.handle(RejoinRequested(node_id, (store_id,)), now)
    registry = lab.registry
    strangers = [node for node in registry.nodes.values() if not node.registered]
    assert set(registry.strangers) == {node.node_id for node in strangers}
    assert registry.strange_slots == sum(len(node.slots) for node in strangers)
    assert registry.strange_names == sum(node.names for node in strangers)
    strange = [one for one in registry.stores.values() if not any(slot.node.registered for slot in one.slots.values())]
    assert registry.strange_stores == sum(one.is_strange for one in registry.stores.values())
    assert registry.strange_stores <= len(strange), "a store that a known node left counts as known"
    slots = [slot for node in registry.nodes.values() for slot in node.slots.values()]
    assert registry.neighbors == sum(len(slot.neighbors) for slot in slots)
    assert lab.core.memory.used() <= 150_000


HOST_EVENTS = st.tuples(st.sampled_from("rrrhhnwadftk"), st.integers(0, 5), st.integers(0, 3), st.integers(0, 30))


@settings(max_examples=60, deadline=None)
@given(st.lists(HOST_EVENTS, max_size=40), st.sampled_from([150_000, 400_000, 10**9]))
@example([("r", 0, 0, 0), ("a", 0, 0, 23), ("a", 1, 0, 23), ("r", 0, 0, 5)], 400_000)  # peers are asked with the last
def test_the_budget_never_takes_the_books_for_emptier_than_they_are(
    steps: list[tuple[str, int, int, int]], limit: int
) -> None:
    """Between two sums it adds what each trigger may fill; other events have the books summed."""
    lab, now = Lab(limit), 1000.0
    for number, (kind, node, host, names) in enumerate(steps):
        now += names
        node_id, host_id, stores = f"n{node}", f"h{host}", tuple(f"s{one}" for one in range(names))
        peers = {f"p{one}": now for one in range(names)}
        events: dict[str, Event] = {
            "r": RejoinRequested(node_id, stores[:2], request_id=f"{number}"),
            "h": NetworkChanged(host_id, (), tuple(ChangeKind)[names % 4], "b", number + 1, f"{number}"),
            "n": NetworkChanged("", (node_id, f"n{host}"), generation=number + 1, request_id=f"{number}"),
            "w": LivenessReported(node_id, "s1", heard=peers, neighbors=peers),
            "a": NodeAttached(node_id, "s", stores, host_id),
            "d": NodeDetached(node_id, "s"),
            "f": RejoinFinished(f"-{names}", 1, True),
            "t": TimePassed(),
            "k": IntentionsRecorded("s1", (Intention(f"a{names}", f"{number}".encode() * 8),)),
        }
        lab.handle(events[kind], now)
        assert lab.core.memory.is_above(lab.core.memory.used() - 1)


def test_the_budget_counts_the_slices_of_a_large_trigger() -> None:
    lab, stores = Lab(10**9), tuple(f"s{number}" for number in range(990))
    for number in range(6):
        lab.handle(NodeAttached(f"n{number}", "s", stores, "h"), 1.0)
    lab.handle(NodeAttached("o", "s", ("s1",), "o"), 1.0)
    lab.handle(RejoinRequested("o", request_id="q"), 1.5)
    lab.handle(NetworkChanged("h", (), ChangeKind.CHANGED, "b", 1, "c"), 2.0)
    assert lab.core.memory.is_above(lab.core.memory.used() - 1)
    for number in range(200):  # a repeated request changes nothing, but what is due goes on
        before = lab.core.counts().queued
        lab.handle(RejoinRequested("o", request_id="q"), 2.0 + number)
        assert lab.core.memory.is_above(lab.core.memory.used() - 1)
        if lab.core.counts().queued > before + 200:
            return
    raise AssertionError("no slice was decided with a request")


def test_the_budget_sees_what_changes_outside_the_core() -> None:
    lab, streams = Lab(), [0]
    lab.core.memory.add("streams", lambda: streams[0], outside=True)
    lab.handle(NodeAttached("n", "s", ("a",)), 1.0)
    assert not lab.refused(RejoinRequested("n"), 2.0)
    streams[0] = LIMIT
    assert lab.refused(RejoinRequested("n"), 3.0)

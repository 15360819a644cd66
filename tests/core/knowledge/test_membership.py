"""Changes of members, the time for which a removed one still counts, and the way back."""

from __future__ import annotations

import pytest
from gossipcontrol.server.core.knowledge.answer import positions
from gossipcontrol.server.core.knowledge.codec import read_event, write_event
from gossipcontrol.server.core.knowledge.event import IntentionsRecorded, KnowledgeEvent, Member, MembersChanged
from gossipcontrol.server.core.knowledge.intention import Intention
from gossipcontrol.server.core.knowledge.membership import UNDO_LIMIT, UNDO_PEERS, Undone
from gossipcontrol.server.core.knowledge.parameter import KnowledgeParameters
from gossipcontrol.server.core.knowledge.store import KnowledgeStore
from gossipcontrol.server.core.knowledge.tracker import Tracker

ALICE = (Intention("alice", b"a1"), Intention("alice", b"a2", b"a1"), Intention("alice", b"a3", b"a2"))
MADE = (*ALICE, Intention("bob", b"b1", b"", (b"a1",)), Intention("carol", b"c1", b"", (b"a3",)))


def stable(tracker: Tracker) -> list[bytes]:
    return [place.hash for place in positions(tracker, tracker.frontier())]


def started(parameters: KnowledgeParameters | None = None) -> tuple[KnowledgeStore, Tracker]:
    store = KnowledgeStore(parameters)
    store.handle(IntentionsRecorded("s", MADE), 1.0)
    tracker = store.tracker("s")
    assert tracker is not None
    assert stable(tracker) == [b"a1"]
    return store, tracker


def change(store: KnowledgeStore, now: float, *added: Member, removed: tuple[str, ...] = (), hold: float = 0.0) -> None:
    assert not store.handle(MembersChanged("s", added, removed, hold), now).full


def undo(store: KnowledgeStore, now: float) -> Undone:
    undone = store.handle(MembersChanged("s", undo=True), now).undone
    assert undone is not None
    return undone


def test_a_removal_that_is_undone_in_time_never_lets_the_frontier_rise() -> None:
    store, tracker = started()
    change(store, 10.0, removed=("bob",), hold=60.0)
    for now in (11.0, 40.0, 69.9):
        store.handle(IntentionsRecorded("s", ()), now)
        assert stable(tracker) == [b"a1"]
        assert tracker.active("bob")
    assert store.next_departure() == 70.0
    assert undo(store, 69.9) == Undone(("bob",), has_risen=False)
    store.handle(IntentionsRecorded("s", ()), 1000.0)
    assert (stable(tracker), store.next_departure()) == ([b"a1"], None)


def test_a_removal_counts_once_its_time_is_over_and_the_undo_says_what_it_cannot_repair() -> None:
    store, tracker = started()
    change(store, 10.0, removed=("bob",), hold=60.0)
    assert store.departing(69.0) == []
    assert store.departing(70.0) == ["s"]
    outcome = store.handle(IntentionsRecorded("s", ()), 70.0)
    assert outcome.fact is not None, "a replay must let go of it at the same instant"
    assert (stable(tracker), tracker.active("bob")) == ([b"a3"], False)
    assert undo(store, 80.0) == Undone(("bob",), has_risen=True)
    assert stable(tracker) == [b"a1"]


def test_without_a_hold_a_removal_counts_at_once() -> None:
    store, tracker = started()
    change(store, 10.0, removed=("bob",))
    assert stable(tracker) == [b"a3"]
    assert undo(store, 11.0).has_risen
    assert stable(tracker) == [b"a1"]


def test_changes_are_undone_one_by_one_and_a_call_made_again_is_none() -> None:
    store, tracker = started()
    for _ in range(2):
        change(store, 10.0, Member("silent"))
        change(store, 11.0, removed=("carol",), hold=60.0)
        change(store, 12.0, Member("bob", "2"))
    change(store, 13.0, removed=("carol",), hold=600.0)
    assert store.next_departure() == 71.0, "the first removal counts, however often it is said"
    assert stable(tracker) == []
    assert [undo(store, 14.0).peer_ids for _ in range(4)] == [("bob",), ("carol",), ("silent",), ()]
    assert stable(tracker) == [b"a1"]
    assert tracker.peers() == ["alice", "bob", "carol"]


def test_an_incarnation_that_no_later_one_exceeds_is_undone_or_lowered() -> None:
    """A15 (3): the knowledge of a peer was nothing for ever."""
    store, tracker = started()
    change(store, 10.0, Member("bob", "~~~~"))
    assert (tracker.vector("bob"), stable(tracker)) == (0, [])
    assert not undo(store, 11.0).has_risen
    assert stable(tracker) == [b"a1"]
    store.handle(IntentionsRecorded("s", (Intention("bob", b"lie", b"", (), False, "~~~~"),)), 12.0)
    assert stable(tracker) == []
    change(store, 13.0, Member("bob", "1"))
    assert stable(tracker) == [], "a lower one changes nothing unless it is to"
    change(store, 14.0, Member("bob", lower=True))
    assert (stable(tracker), tracker.incarnation_label("bob")) == ([b"a1"], "")
    store.handle(IntentionsRecorded("s", (Intention("bob", b"more", b"lie", (), False, "~~~~"),)), 15.0)
    assert stable(tracker) == [b"a1"], "what is voided stays so"
    store.handle(IntentionsRecorded("s", (Intention("bob", b"new", b"", (), False, "2"),)), 16.0)
    assert (stable(tracker), tracker.incarnation_label("bob")) == ([], "2")
    assert undo(store, 17.0) == Undone(("bob",), has_risen=True)
    assert tracker.incarnation_label("bob") == "~~~~"
    change(store, 18.0, Member("bob", lower=True))
    change(store, 19.0, Member("bob", "~~~~"))
    assert tracker.incarnation_label("bob") == "~~~~", "an admin may announce it all the same"


def test_what_can_be_undone_is_bounded() -> None:
    store, tracker = started()
    for number in range(UNDO_LIMIT + 5):
        change(store, 10.0, Member(f"p{number}"))
    assert len(tracker.membership.changes) == UNDO_LIMIT
    for _ in range(UNDO_LIMIT):
        assert undo(store, 11.0).peer_ids
    assert undo(store, 11.0) == Undone()
    assert len(tracker.peers()) == 3 + 5
    for number in range(8):
        change(store, 12.0, *(Member(f"q{number}-{one}") for one in range(1000)))
    assert sum(map(len, tracker.membership.changes)) <= UNDO_PEERS


def test_members_that_leave_are_bounded_too() -> None:
    store, _ = started(KnowledgeParameters(member_limit=2))
    change(store, 10.0, removed=("x", "y"), hold=60.0)
    assert store.handle(MembersChanged("s", (), ("z",), 60.0), 11.0).recorded.refused == 1


@pytest.mark.parametrize("cut", [1, 3, 5])
def test_a_restored_store_goes_on_in_the_same_way(cut: int) -> None:
    events: list[KnowledgeEvent] = [
        MembersChanged("s", (Member("silent"), Member("bob", "7")), (), 0.0),
        MembersChanged("s", (), ("carol", "silent"), 5.0),
        MembersChanged("s", (Member("bob", "", lower=True),), ("alice",), 50.0),
        IntentionsRecorded("s", ()),
        MembersChanged("s", undo=True),
        MembersChanged("s", undo=True),
    ]
    store, again = started()[0], KnowledgeStore()
    for number, event in enumerate(events[:cut]):
        store.handle(event, 10.0 + 3 * number)
    again.load((), {"s": b"".join(store.capture("s").parts())})
    for number, event in enumerate(events[cut:], cut):
        outcome = store.handle(event, 10.0 + 3 * number)
        assert outcome.fact is not None
        read, room = read_event("s", write_event(outcome.fact, outcome.room))
        assert read == event
        again.handle(read, 10.0 + 3 * number, room or None)
        assert b"".join(again.capture("s").parts()) == b"".join(store.capture("s").parts())
        assert stable(again.tracker("s") or Tracker()) == stable(store.tracker("s") or Tracker())

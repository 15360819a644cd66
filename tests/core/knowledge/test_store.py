"""The knowledge of several stores: common limits, and remembered senders."""

from __future__ import annotations

import itertools

from gossipcontrol.server.core.knowledge.event import IntentionsRecorded, Member, MembersChanged
from gossipcontrol.server.core.knowledge.intention import Intention
from gossipcontrol.server.core.knowledge.parameter import KnowledgeParameters
from gossipcontrol.server.core.knowledge.store import KnowledgeStore
from gossipcontrol.server.core.knowledge.tracker import Recorded


def saved(knowledge: KnowledgeStore) -> tuple[list[tuple[str, int]], dict[str, bytes]]:
    return knowledge.senders(), {
        store_id: b"".join(knowledge.capture(store_id).parts()) for store_id in knowledge.store_ids()
    }


def chain(number: int, author: str = "a") -> tuple[Intention, ...]:
    names = [b"", *(b"%s%d" % (author.encode(), count) for count in range(number))]
    return tuple(Intention(author, name, prev) for prev, name in itertools.pairwise(names))


def test_what_is_retained_is_bounded_over_all_stores() -> None:
    knowledge = KnowledgeStore(KnowledgeParameters(intention_limit=10, keep=1, forget_every=1))
    for store in "st":
        knowledge.handle(MembersChanged(store, (Member("silent"),)), 1.0)
    assert knowledge.handle(IntentionsRecorded("s", chain(8)), 1.0).recorded == Recorded(new=8)
    outcome = knowledge.handle(IntentionsRecorded("t", chain(8, "b")), 1.0)
    assert outcome.recorded == Recorded(new=7, refused=1), "two are placed, one is refused, five float for want of it"
    assert "no room" in outcome.full
    restored = KnowledgeStore(knowledge.parameters)
    restored.load(*saved(knowledge))
    # Without the silent peer everything becomes stable and is forgotten, so there is room.
    for each in (knowledge, restored):
        assert each.handle(IntentionsRecorded("u", chain(1, "c")), 1.0).full
        each.handle(MembersChanged("s", (), ("silent",)), 1.0)
        assert each.handle(IntentionsRecorded("u", chain(5, "c")), 1.0).recorded == Recorded(new=5)


def test_a_batch_counts_as_recorded_only_when_all_of_it_found_room() -> None:
    knowledge = KnowledgeStore(KnowledgeParameters(intention_limit=3))
    knowledge.handle(IntentionsRecorded("s", chain(2), "log", 1), 1.0)
    knowledge.handle(IntentionsRecorded("s", chain(4), "log", 2), 1.0)
    assert knowledge.last_sequence("log") == 1


def test_the_highest_sequence_of_the_newest_senders_is_remembered() -> None:
    knowledge = KnowledgeStore(KnowledgeParameters(sender_limit=2))
    for sender, sequence in (("one", 5), ("two", 1), ("one", 3), ("three", 9)):
        knowledge.handle(IntentionsRecorded("s", (), sender, sequence), 1.0)
    assert [knowledge.last_sequence(sender) for sender in ("one", "two", "three")] == [5, 0, 9]


def test_stores_are_bounded_and_a_query_creates_none() -> None:
    knowledge = KnowledgeStore(KnowledgeParameters(store_limit=1))
    assert knowledge.tracker("s") is None
    knowledge.handle(IntentionsRecorded("s", chain(1)), 1.0)
    assert knowledge.handle(IntentionsRecorded("t", chain(1)), 1.0).full == "1 stores are tracked already"
    assert knowledge.store_ids() == ["s"]


def test_members_are_bounded() -> None:
    knowledge = KnowledgeStore(KnowledgeParameters(member_limit=2))
    assert not knowledge.handle(MembersChanged("s", (Member("a"),), ("b",)), 1.0).full
    assert knowledge.handle(MembersChanged("s", (Member("c"),), ("d",)), 1.0).recorded.refused == 2
    assert not knowledge.handle(MembersChanged("s", (Member("a", "2"),), ("b",)), 1.0).full

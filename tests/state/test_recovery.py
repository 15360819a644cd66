"""Snapshots of stores and the log after them give the same book, whenever the snapshots were taken."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from gossipcontrol.server.core.knowledge.answer import holders, knowledge, lags
from gossipcontrol.server.core.knowledge.codec import write_event
from gossipcontrol.server.core.knowledge.event import IntentionsRecorded, KnowledgeEvent, Member, MembersChanged
from gossipcontrol.server.core.knowledge.intention import Intention
from gossipcontrol.server.core.knowledge.parameter import KnowledgeParameters
from gossipcontrol.server.core.knowledge.store import KnowledgeStore
from gossipcontrol.server.state.entry import KnowledgeEntry
from gossipcontrol.server.state.journal import LoadedKnowledge, StateError
from gossipcontrol.server.state.recovery import recover_book, take_book
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.knowledge.graphs import Shape, arrive, grow
from tests.core.knowledge.test_forgetting import rounds
from tests.core.knowledge.test_store import chain

STORES = ("s0", "s1", "s2")
NARROW = KnowledgeParameters(
    store_limit=2, chain_limit=40, branch_limit=6, member_limit=6, intention_limit=120, recent=3, floating_limit=25,
    keep=5, forget_every=5, name_limit=20, sender_limit=2,
)  # fmt: skip
"""Everything is full all the time: what is refused and forgotten must be so again."""


def happen(rng: random.Random, number: int) -> list[KnowledgeEvent]:
    """Batches of several senders for several stores, some of them twice, and changes of members between."""
    arriving: dict[str, list[Intention]] = {}
    for store_id in STORES:
        shape = Shape(rng.choice((3, 8)), number, forks=0.03, losses=0.01, missing=0.01)
        arriving[store_id] = arrive(grow(shape, rng), shape, rng, rng.choice((0.0, 0.05, 0.3)))
    events: list[KnowledgeEvent] = []
    for sequence, start in enumerate(range(0, number, 10), 1):
        for store_id in STORES:
            batch = tuple(arriving[store_id][start : start + 10])
            sender = rng.choice(("", "one", "two", "three"))
            events += [IntentionsRecorded(store_id, batch, sender, sequence if sender else 0)] * rng.choice((1, 1, 2))
            if rng.random() < 0.3:
                peer, other = f"p{rng.randrange(8)}", f"q{rng.randrange(8)}"
                added = tuple(Member(one, rng.choice(("", "0001"))) for one in rng.sample((peer, other), 1))
                removed = tuple({peer, other} - {one.peer_id for one in added})
                events.append(MembersChanged(store_id, added, removed if rng.random() < 0.5 else ()))
    return events


class Disk:
    """What a file would hold: a log, and a snapshot per store."""

    def __init__(self) -> None:
        self.kept = LoadedKnowledge()
        self._number = 0

    def log(self, fact: KnowledgeEvent, room: int, now: float) -> None:
        self._number += 1
        entry = KnowledgeEntry(now, fact.store_id, type(fact).__name__, write_event(fact, room))
        self.kept = replace(self.kept, entries=[*self.kept.entries, (self._number, entry)])

    def snapshot(self, book: KnowledgeStore, store_ids: list[str], now: float) -> None:
        self._number += 1
        taken = take_book(book, store_ids, now)
        stores = {**self.kept.stores, **{name: b"".join(one.parts()) for name, one in taken.stores.items()}}
        left = [(number, one) for number, one in self.kept.entries if one.store_id not in taken.stores]
        self.kept = LoadedKnowledge(taken.shared, self._number, stores, left)


def shown(book: KnowledgeStore) -> dict[str, object]:
    """Every answer about every store (of many intentions, the holders of some), and every byte of the state."""
    found: dict[str, object] = {"senders": book.senders()}
    for store_id in sorted(book.store_ids()):
        tracker = book.tracker(store_id)
        assert tracker is not None
        peers, names = tracker.peers(), sorted(tracker.graph.positions)
        found[store_id] = (
            [knowledge(tracker, peer) for peer in peers],
            list(lags(tracker, peers)),
            tracker.frontier(),
            [holders(tracker, name) for name in names[:: max(1, len(names) // 100)]],
            list(book.unshared(store_id, 1e9)),
            book.counts(store_id),
            b"".join(book.capture(store_id).parts()),
        )
    return found


@given(st.integers(0, 1 << 30), st.sampled_from((NARROW, KnowledgeParameters(), replace(NARROW, keep=50, recent=30))))
@settings(max_examples=80, deadline=None)
def test_snapshots_and_the_log_after_them_give_the_same_book(seed: int, parameters: KnowledgeParameters) -> None:
    rng = random.Random(seed)
    book, disk = KnowledgeStore(parameters), Disk()
    disk.snapshot(book, [], 0.0)
    events = happen(rng, 120)
    cut = rng.randrange(len(events))
    for number, event in enumerate(events[:cut]):
        outcome = book.handle(event, number * 1.5)
        if outcome.fact is not None:
            disk.log(outcome.fact, outcome.room, number * 1.5)
        if rng.random() < 0.05 and book.store_ids():
            disk.snapshot(book, [rng.choice(book.store_ids())], number * 1.5)
    again, anew = recover_book(disk.kept, parameters)
    assert not anew
    assert shown(again) == shown(book)
    for number, event in enumerate(events[cut:], cut):
        assert again.handle(event, number * 1.5) == book.handle(event, number * 1.5)
    assert shown(again) == shown(book)


def keep(book: KnowledgeStore, disk: Disk, *events: KnowledgeEvent) -> None:
    for event in events:
        outcome = book.handle(event, 1.0)
        assert outcome.fact is not None
        disk.log(outcome.fact, outcome.room, 1.0)


def test_what_found_no_room_finds_none_in_a_replay_though_another_store_has_made_some() -> None:
    parameters = KnowledgeParameters(intention_limit=10, keep=1, forget_every=1)
    book, disk = KnowledgeStore(parameters), Disk()
    disk.snapshot(book, [], 0.0)
    keep(book, disk, MembersChanged("t", (Member("silent"),)), IntentionsRecorded("t", chain(8)))
    keep(book, disk, IntentionsRecorded("s", chain(5, "b")), MembersChanged("t", (), ("silent",)))
    disk.snapshot(book, ["t"], 1.0)
    again, _ = recover_book(disk.kept, parameters)
    assert book.counts("s").recorded == 2
    assert shown(again) == shown(book)


def test_what_was_known_when_an_intention_began_to_float_and_was_forgotten_then_is_missing_now() -> None:
    parameters = KnowledgeParameters(keep=1, forget_every=1, name_limit=5, recent=3)
    book, disk = KnowledgeStore(parameters), Disk()
    disk.snapshot(book, [], 0.0)
    made = tuple(rounds(3, 60))
    floating = Intention("q", b"floats", b"", (made[2].hash, b"late"))
    keep(book, disk, IntentionsRecorded("s", (*made[:3], floating)), IntentionsRecorded("s", made[3:]))
    disk.snapshot(book, ["s"], 1.0)
    again, _ = recover_book(disk.kept, parameters)
    assert shown(again) == shown(book)
    for each in (book, again):
        tracker = each.tracker("s")
        assert tracker is not None
        assert made[2].hash not in tracker.graph.positions
        each.handle(IntentionsRecorded("s", (Intention("p", b"late"),)), 2.0)
        assert tracker.floating.intentions() == [floating]
    assert shown(again) == shown(book)


def test_what_changes_nothing_leaves_no_fact_and_a_repeated_batch_a_small_one() -> None:
    book = KnowledgeStore(replace(NARROW, store_limit=1))
    (batch, *_) = (one for one in happen(random.Random(1), 20) if isinstance(one, IntentionsRecorded))
    plain = replace(batch, sender_id="", sequence=0)
    assert book.handle(plain, 1.0).fact == plain
    assert book.handle(plain, 2.0).fact is None
    numbered = replace(batch, sender_id="one", sequence=7)
    assert book.handle(numbered, 3.0).fact == IntentionsRecorded(batch.store_id, (), "one", 7)
    assert book.handle(replace(plain, store_id="other"), 4.0).fact is None, "refused: there is no room for a store"


def test_other_parameters_take_over_and_ask_for_a_snapshot_of_everything() -> None:
    book, disk = KnowledgeStore(NARROW), Disk()
    disk.snapshot(book, [], 0.0)
    for event in happen(random.Random(2), 60):
        outcome = book.handle(event, 1.0)
        if outcome.fact is not None:
            disk.log(outcome.fact, outcome.room, 1.0)
    wider = replace(NARROW, store_limit=10, intention_limit=1000)
    again, anew = recover_book(disk.kept, wider)
    assert anew
    assert again.parameters == wider
    assert shown(again) == shown(book)


def test_a_new_book_is_to_be_kept() -> None:
    book, anew = recover_book(LoadedKnowledge(), NARROW)
    assert (book.store_ids(), anew) == ([], True)


@pytest.mark.parametrize("body", [b"", b"\x05\x00\x00\x00{}", b"\x02\x00\x00\x00{}", b"\x00" * 40])
def test_what_cannot_be_read_is_refused_with_what_to_do(body: bytes) -> None:
    kept = LoadedKnowledge(entries=[(1, KnowledgeEntry(1.0, "s", "IntentionsRecorded", body))])
    with pytest.raises(StateError, match="Move it away"):
        recover_book(kept, NARROW)
    with pytest.raises(StateError, match="Move it away"):
        recover_book(LoadedKnowledge(stores={"s": body}), NARROW)


def test_what_was_pending_when_the_service_was_killed_goes_on_in_the_same_way() -> None:
    parameters = KnowledgeParameters(recent=1, keep=100, forget_every=100)
    book, disk = KnowledgeStore(parameters), Disk()
    disk.snapshot(book, [], 0.0)
    keep(book, disk, MembersChanged("s", (Member("silent"),)))
    late = chain(6000)
    for start in range(1, 6000, 1000):
        keep(book, disk, IntentionsRecorded("s", late[start : start + 1000]))
    keep(book, disk, IntentionsRecorded("s", late[:1]))
    assert book.is_pending("s")
    for _ in range(5):
        keep(book, disk, IntentionsRecorded("s", ()))
    repeated = IntentionsRecorded("s", late[:1])
    keep(book, disk, repeated)
    assert book.is_pending("s"), "also a batch that is known already goes on with what is pending, and must be kept"
    again, _ = recover_book(disk.kept, parameters)
    assert shown(again) == shown(book)
    disk.snapshot(book, ["s"], 1.0)
    while book.is_pending("s"):
        keep(book, disk, IntentionsRecorded("s", ()))
    keep(book, disk, MembersChanged("s", (), ("silent",)))
    assert book.is_pending("s")
    again, _ = recover_book(disk.kept, parameters)
    assert shown(again) == shown(book)
    while book.is_pending("s"):
        for each in (book, again):
            each.handle(IntentionsRecorded("s", ()), 1.0)
    assert shown(again) == shown(book)
    assert book.counts("s").floating == 0
    assert book.counts("s").retained < 100

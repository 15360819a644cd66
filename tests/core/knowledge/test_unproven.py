"""Whose word counts: an intention proves what its author knew once its author is known to have made it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from gossipcontrol.server.core.knowledge.answer import holders
from gossipcontrol.server.core.knowledge.codec import read_event, write_event
from gossipcontrol.server.core.knowledge.event import IntentionsRecorded
from gossipcontrol.server.core.knowledge.intention import Intention
from gossipcontrol.server.core.knowledge.parameter import KnowledgeParameters
from gossipcontrol.server.core.knowledge.store import KnowledgeStore, Outcome
from gossipcontrol.server.core.knowledge.tracker import Recorded, Tracker

ALICE = (Intention("alice", b"a1"), Intention("alice", b"a2", b"a1"), Intention("alice", b"a3", b"a2"))
BOB = Intention("bob", b"b1", b"", (b"a3",))
FORGED = BOB._replace(acknowledgement=True, hash=b"forged")


def say(tracker: Tracker, identity: str, *intentions: Intention) -> Recorded:
    """What an identity says, of which its own is what it authored."""
    authored = bytes(one.author_id == identity for one in intentions)
    return tracker.record(intentions, 1.0, identity, authored)


def test_the_authors_own_word_proves_and_that_of_another_does_not() -> None:
    tracker = Tracker()
    assert say(tracker, "alice", *ALICE) == Recorded(new=3)
    assert say(tracker, "mallory", FORGED) == Recorded(new=1, unproven=1)
    assert (tracker.peers(), len(tracker.unproven), len(tracker.floating)) == (["alice"], 1, 0)
    assert say(tracker, "bob", BOB) == Recorded(new=1)
    assert holders(tracker, b"a3") == ["alice", "bob"]
    assert tracker.graph.forks == set(), "the forged beginning takes no place"


def test_two_others_vouch_and_one_who_says_it_twice_is_one() -> None:
    tracker = Tracker()
    say(tracker, "alice", *ALICE)
    assert say(tracker, "carol", BOB) == Recorded(new=1, unproven=1)
    assert say(tracker, "carol", BOB) == Recorded(known=1)
    assert holders(tracker, b"a3") == ["alice"]
    assert say(tracker, "dave", BOB) == Recorded(new=1)
    assert holders(tracker, b"a3") == ["alice", "bob"]
    assert len(tracker.unproven) == 0
    assert say(tracker, "bob", BOB) == Recorded(known=1)


def test_words_that_differ_in_anything_do_not_count_together() -> None:
    tracker = Tracker()
    say(tracker, "alice", *ALICE)
    others = (
        BOB._replace(dependencies=(b"a2",)), BOB._replace(store_prev=b"b0"), BOB._replace(acknowledgement=True),
        BOB._replace(incarnation="2"), BOB._replace(author_id="eve"),
    )  # fmt: skip
    for number, one in enumerate(others):
        assert say(tracker, f"liar{number}", one).unproven == 1
    assert say(tracker, "carol", BOB).unproven == 1
    assert tracker.peers() == ["alice"]
    assert say(tracker, "bob", BOB).new == 1
    assert len(tracker.unproven) == 0, "what was said of the same hash beside it is settled too"
    assert holders(tracker, b"a3") == ["alice", "bob"]


def test_who_may_speak_for_all_settles_what_waits() -> None:
    tracker = Tracker()
    say(tracker, "mallory", FORGED, BOB)
    tracker.record([*ALICE, BOB], 1.0)
    assert holders(tracker, b"a3") == ["alice", "bob"]
    assert len(tracker.unproven) == 1


def test_what_depends_on_something_unproven_floats_until_it_is_proven() -> None:
    tracker = Tracker()
    assert say(tracker, "bob", BOB) == Recorded(new=1)
    assert say(tracker, "bob", *ALICE) == Recorded(new=3, unproven=3)
    assert (tracker.peers(), len(tracker.floating)) == ([], 1)
    say(tracker, "alice", *ALICE)
    assert holders(tracker, b"a3") == ["alice", "bob"]
    assert (len(tracker.floating), len(tracker.unproven)) == (0, 0)


def test_with_witnesses_the_authors_word_alone_does_not_prove() -> None:
    tracker = Tracker(KnowledgeParameters(witnesses=2))
    assert say(tracker, "alice", ALICE[0]).unproven == 1
    assert say(tracker, "alice", ALICE[0]).known == 1
    assert tracker.peers() == []
    assert say(tracker, "bob", ALICE[0]) == Recorded(new=1)
    assert tracker.peers() == ["alice"]


def test_a_hash_that_is_claimed_by_another_author_is_its_authors_once_a_witness_says_so() -> None:
    tracker = Tracker(KnowledgeParameters(witnesses=2))
    for one in ALICE:
        say(tracker, "alice", one)
        say(tracker, "carol", one)
    stolen = Intention("mallory", b"b1", b"", (b"a3",))
    say(tracker, "mallory", stolen)
    real = Intention("bob", b"b1", b"", (b"a1",))
    say(tracker, "bob", real)
    assert say(tracker, "carol", real) == Recorded(new=1)
    assert holders(tracker, b"a3") == ["alice"]
    assert holders(tracker, b"a1") == ["alice", "bob"]


def test_forged_beginnings_of_another_do_not_count_against_its_limits() -> None:
    tracker = Tracker(KnowledgeParameters(branch_limit=2, chain_limit=5))
    for number in range(100):
        say(tracker, "mallory", Intention("bob", b"forged%d" % number, b"", (), False, f"{number}"))
    assert len(tracker.graph.chains) == 0
    assert say(tracker, "bob", Intention("bob", b"b1")) == Recorded(new=1)
    assert say(tracker, "bob", Intention("bob", b"b2", b"b1", (), False, "200")) == Recorded(new=1)
    assert len(tracker.graph.chains) == 2


def test_an_identity_brings_in_a_bounded_number_of_authors() -> None:
    tracker = Tracker(KnowledgeParameters(authors_per_identity=3))

    def own(identity: str, *names: str) -> Recorded:
        made = [Intention(name, name.encode()) for name in names]
        return tracker.record(made, 1.0, identity, bytes([1] * len(made)))

    assert own("mallory", "x0", "x1", "x2", "x3", "x4") == Recorded(new=3, excess=2)
    assert own("mallory", "x5") == Recorded(excess=1)
    assert tracker.record([Intention("x0", b"more", b"x0")], 1.0, "mallory", b"\1") == Recorded(new=1)
    assert own("bob", "bob") == Recorded(new=1)
    assert own("mallory", "bob") == Recorded(known=1)
    tracker.record([Intention(f"y{number}", b"y%d" % number) for number in range(9)], 1.0)
    assert tracker.peers() == ["bob", "x0", "x1", "x2", *(f"y{number}" for number in range(9))]


def test_the_error_names_the_limit_and_the_identity() -> None:
    store = KnowledgeStore(KnowledgeParameters(authors_per_identity=1))
    made = tuple(Intention(name, name.encode()) for name in ("x", "y"))
    outcome = store.handle(IntentionsRecorded("s", made, "log", 1, "mallory", b"\1\1"), 1.0)
    assert outcome.full == "mallory has brought 1 authors into store s: authors_per_identity"
    assert store.last_sequence("log", "mallory") == 0


def test_an_identity_that_vouches_for_much_loses_its_own_oldest_words_only() -> None:
    tracker = Tracker(KnowledgeParameters(unproven_limit=10, floating_limit=25))
    say(tracker, "carol", BOB)
    for number in range(50):
        say(tracker, "mallory", Intention("bob", b"m%d" % number))
        say(tracker, "mallet", Intention("bob", b"n%d" % number, b"", (b"a1",)))
    assert tracker.unproven.named <= 25
    say(tracker, "dave", *ALICE)
    say(tracker, "alice", *ALICE)
    assert say(tracker, "dave", BOB) == Recorded(new=1), "carol's word is still there"


def test_all_together_are_bounded_by_what_the_most_talkative_say() -> None:
    tracker = Tracker(KnowledgeParameters(unproven_limit=100, floating_limit=30))
    say(tracker, "carol", BOB)
    for number in range(10):
        for liar in range(5):
            say(tracker, f"liar{liar}", Intention("bob", b"%d-%d" % (liar, number)))
    assert tracker.unproven.named == 30
    assert {voucher.identity for voucher in tracker.unproven.vouchers()} >= {"carol", "liar0", "liar4"}


def test_each_identity_has_senders_of_its_own() -> None:
    store = KnowledgeStore(KnowledgeParameters(sender_limit=3))

    def send(identity: str, sender_id: str, sequence: int) -> Outcome:
        return store.handle(IntentionsRecorded("s", (), sender_id, sequence, identity), 1.0)

    send("", "log", 5)
    send("bob", "log", 3)
    send("mallory", "log", 2**64 - 1)
    assert [store.last_sequence("log", who) for who in ("", "bob", "mallory", "carol")] == [5, 3, 2**64 - 1, 0]
    for number in range(10):
        send("mallory", f"log{number}", 1)
    assert [store.last_sequence("log", who) for who in ("", "bob")] == [5, 3]
    assert len(store.senders()) == 3


@pytest.mark.parametrize("witnesses", [1, 2])
def test_a_restored_store_goes_on_in_the_same_way(witnesses: int) -> None:
    parameters = KnowledgeParameters(unproven_limit=8, authors_per_identity=2, witnesses=witnesses)
    store = KnowledgeStore(parameters)
    made = [Intention(f"p{number % 5}", b"%d" % number, b"", (b"%d" % (number // 2),)) for number in range(60)]

    def happen(each: KnowledgeStore, start: int, stop: int) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for number in range(start, stop):
            identity = f"p{number * 7 % 6}"
            batch = tuple(made[number // 3 : number // 3 + 3])
            authored = bytes(one.author_id == identity for one in batch)
            outcomes.append(each.handle(IntentionsRecorded("s", batch, "log", number + 1, identity, authored), number))
        return outcomes

    happen(store, 0, 90)
    body = b"".join(store.capture("s").parts())
    again = KnowledgeStore(parameters)
    again.load(store.senders(), {"s": body})
    assert b"".join(again.capture("s").parts()) == body
    assert happen(again, 90, 170) == happen(store, 90, 170)
    assert b"".join(again.capture("s").parts()) == b"".join(store.capture("s").parts())


def test_the_log_keeps_whose_word_it_was() -> None:
    event = IntentionsRecorded("s", (BOB, *ALICE), "log", 7, "carol", b"\0\1\0\1")
    assert read_event("s", write_event(event, 9)) == (event, 9)
    plain = replace(event, identity="", authored=b"")
    assert b"identity" not in write_event(plain, 9)
    assert read_event("s", write_event(plain, 9)) == (plain, 9)

"""Forgetting and snapshots: memory is bounded, and no answer above the stable part changes."""

from __future__ import annotations

import random

import pytest
from gossipcontrol.server.core.knowledge.answer import holders, lags, unshared
from gossipcontrol.server.core.knowledge.event import IntentionsRecorded, Member, MembersChanged
from gossipcontrol.server.core.knowledge.intention import Intention
from gossipcontrol.server.core.knowledge.parameter import KnowledgeParameters
from gossipcontrol.server.core.knowledge.snapshot import Capture
from gossipcontrol.server.core.knowledge.store import KnowledgeStore
from gossipcontrol.server.core.knowledge.tracker import Recorded, Tracker
from gossipcontrol.server.core.knowledge.vector import counts, join
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.knowledge.compare import heads
from tests.core.knowledge.graphs import Shape, arrive, grow
from tests.core.knowledge.test_store import saved

FORGETFUL = KnowledgeParameters(keep=1, forget_every=1, recent=3)


def rounds(authors: int, number: int) -> list[Intention]:
    """Each author writes in turn and depends on the last intention, so all see everything."""
    made: list[Intention] = []
    last: dict[str, bytes] = {}
    for count in range(number):
        author = f"p{count % authors}"
        seen = (made[-1].hash,) if made else ()
        made.append(Intention(author, b"%d" % count, last.get(author, b""), seen))
        last[author] = made[-1].hash
    return made


@pytest.mark.parametrize("seed", range(12))
def test_answers_above_what_was_stable_stay_the_same(seed: int) -> None:
    rng = random.Random(seed)
    shape = Shape(rng.choice((2, 5, 20)), 600, reach=rng.choice((5, 100)), forks=0.01, losses=0.003)
    forgetful, full = Tracker(FORGETFUL), Tracker()
    made = grow(shape, rng)
    tops: list[int] = []
    for one in arrive(made, shape, rng, 0.05):
        forgetful.record([one], 1.0)
        full.record([one], 1.0)
        # Membership moves the frontier, and so what may be forgotten.
        peer = f"p{rng.randrange(shape.authors)}"
        gone = rng.random() < 0.05
        for tracker in (forgetful, full):
            tracker.change_members([] if gone else [Member(peer)], [peer] if gone else [])
        tops = [max(0, *pair) for pair in zip([*tops, *[0] * 600], horizon(full), strict=False)]
        check_above(forgetful, full, tops)
    assert forgetful.graph.retained < full.graph.retained
    assert forgetful.graph.forks == full.graph.forks


def horizon(tracker: Tracker) -> list[int]:
    return list(counts(tracker.frontier(), len(tracker.graph.chains)))


def check_above(forgetful: Tracker, full: Tracker, tops: list[int]) -> None:
    lanes = len(full.graph.chains)
    for peer in full.peers():
        pairs = zip(counts(forgetful.vector(peer), lanes), counts(full.vector(peer), lanes), tops, strict=False)
        for got, wanted, top in pairs:
            assert got == wanted or got < wanted <= top, "equal, or both at or below what was stable once"


def test_a_lively_store_keeps_little() -> None:
    tracker = Tracker(FORGETFUL)
    for one in rounds(5, 3000):
        tracker.record([one], 1.0)
    assert tracker.graph.retained < 50
    assert tracker.graph.order == 3000
    stable = {("p0", 600, b"2995", ""), *((f"p{number}", 599, b"%d" % (2990 + number), "") for number in range(1, 5))}
    assert heads(tracker, tracker.frontier()) == stable, "what p0 had seen when it wrote last"


def test_what_is_forgotten_is_recognised_for_a_while() -> None:
    made = rounds(3, 300)
    tracker = Tracker(KnowledgeParameters(keep=1, forget_every=1, name_limit=50, recent=1))
    for one in made:
        tracker.record([one], 1.0)
    assert tracker.record(made[-40:], 1.0) == Recorded(known=40)
    assert holders(tracker, made[-40].hash) == ["p0", "p1", "p2"]
    assert holders(tracker, made[0].hash) is None
    assert tracker.record([made[0]], 1.0) == Recorded(known=1), "a beginning that is too old is no fork"
    assert not tracker.graph.forks
    newcomer = Intention("new", b"n", b"", (made[-40].hash,))
    tracker.record([newcomer], 1.0)
    assert holders(tracker, made[-40].hash) == ["new", "p0", "p1", "p2"]


def test_a_branch_off_a_forgotten_position_is_inserted() -> None:
    made = rounds(3, 300)
    tracker, full = Tracker(FORGETFUL), Tracker()
    branch = Intention("p1", b"back", made[100].hash, (), False, "2")
    for one in (*made, branch):
        tracker.record([one], 1.0)
        full.record([one], 1.0)
    assert heads(tracker, tracker.vector("p1")) >= {("p1", 35, b"back", "2")}
    assert tracker.graph.forks == full.graph.forks == set()


def test_lag_after_forgetting_counts_content_only() -> None:
    made = [one._replace(acknowledgement=number % 3 == 0) for number, one in enumerate(rounds(4, 400))]
    forgetful, full = Tracker(FORGETFUL), Tracker()
    for one in made:
        forgetful.record([one], 1.0)
        full.record([one], 1.0)
        # A peer that holds nothing also lacks the forgotten intentions, except acknowledgements.
        forgetful.change_members([], ["gone"])
        full.change_members([], ["gone"])
    assert list(lags(forgetful, full.peers())) == list(lags(full, full.peers()))


def test_the_age_of_unshared_writes_survives_forgetting() -> None:
    forgetful, full = Tracker(FORGETFUL), Tracker()
    made = rounds(3, 90)
    made += [Intention("p0", b"alone%d" % count, b"alone%d" % (count - 1)) for count in range(20)]
    made[90] = made[90]._replace(store_prev=made[87].hash)
    for number, one in enumerate(made):
        forgetful.record([one], number * 4.0)
        full.record([one], number * 4.0)
        for since in (number * 4.0, number * 4.0 - 30):
            assert list(unshared(forgetful, "s", since)) == list(unshared(full, "s", since))
    assert forgetful.graph.retained < 40


def events(seed: int) -> list[IntentionsRecorded | MembersChanged]:
    rng = random.Random(seed)
    shape = Shape(6, 400, forks=0.02, losses=0.005, missing=0.002)
    made = arrive(grow(shape, rng), shape, rng, 0.1)
    batches: list[IntentionsRecorded | MembersChanged] = []
    for sequence, start in enumerate(range(0, len(made), 20), 1):
        store = f"s{sequence % 2}"
        batches.append(IntentionsRecorded(store, tuple(made[start : start + 20]), "sender", sequence))
        if rng.random() < 0.3:
            batches.append(MembersChanged(store, (Member("p1", "0001"), Member("x")), (f"p{rng.randrange(6)}",)))
    return batches


@given(st.integers(0, 1000), st.integers(0, 25))
@settings(max_examples=25, deadline=None)
def test_a_snapshot_restores_everything_that_later_events_depend_on(seed: int, taken: int) -> None:
    parameters = KnowledgeParameters(keep=5, forget_every=5, name_limit=40, floating_limit=50)
    knowledge = KnowledgeStore(parameters)
    happened = events(seed)
    for event in happened[:taken]:
        knowledge.handle(event, 1.0)
    twin = KnowledgeStore(parameters)
    twin.load(*saved(knowledge))
    assert saved(twin) == saved(knowledge)
    for event in happened[taken:]:
        assert knowledge.handle(event, 2.0).recorded == twin.handle(event, 2.0).recorded
        for store in ("s0", "s1"):
            check_twins(knowledge.tracker(store), twin.tracker(store))
    assert saved(twin) == saved(knowledge)
    assert twin.last_sequence("sender") == knowledge.last_sequence("sender")
    assert twin.store_ids() == knowledge.store_ids()
    for store in knowledge.store_ids():
        assert list(twin.unshared(store, 1000.0)) == list(knowledge.unshared(store, 1000.0))
        assert twin.counts(store) == knowledge.counts(store)


def check_twins(one: Tracker | None, other: Tracker | None) -> None:
    assert (one is None) == (other is None)
    if one and other:
        assert one.peers() == other.peers()
        for peer in one.peers():
            assert one.vector(peer) == other.vector(peer)
        assert one.frontier() == other.frontier()
        assert one.graph.forks == other.graph.forks


def test_a_capture_is_unaffected_by_later_recording_and_forgetting() -> None:
    knowledge = KnowledgeStore(KnowledgeParameters(keep=20, forget_every=20, recent=3))
    taken: list[tuple[Capture, bytes]] = []
    for number, one in enumerate(rounds(3, 300)):
        written = one._replace(acknowledgement=number % 4 == 0)
        knowledge.handle(IntentionsRecorded("s", (written,)), number * 4.0)
        taken.append((knowledge.capture("s"), saved(knowledge)[1]["s"]))
    assert knowledge.counts("s").retained < 60
    for capture, body in taken:
        assert b"".join(capture.parts()) == body


def test_what_is_forgotten_is_recognised_after_a_restore() -> None:
    made = tuple(rounds(3, 300))
    knowledge, twin = KnowledgeStore(FORGETFUL), KnowledgeStore(FORGETFUL)
    for one in made:
        knowledge.handle(IntentionsRecorded("s", (one,)), 1.0)
    twin.load(*saved(knowledge))
    newcomer = Intention("new", b"n", b"", (made[150].hash,))
    for each in (knowledge, twin):
        assert each.handle(IntentionsRecorded("s", made), 1.0).recorded == Recorded(known=300)
        each.handle(IntentionsRecorded("s", (newcomer,)), 1.0)
    tracker, other = knowledge.tracker("s"), twin.tracker("s")
    assert tracker is not None
    assert other is not None
    assert holders(other, made[150].hash) == ["new", "p0", "p1", "p2"]
    assert holders(other, made[153].hash) == ["p0", "p1", "p2"]
    check_twins(tracker, other)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [(b'"version":"1-', b'"version":"0-', "a frame of version 0-"), (b"p1", b"p", "."), (b"", b"", "longer")],
)
def test_a_damaged_snapshot_is_refused(old: bytes, new: bytes, what: str) -> None:
    knowledge = KnowledgeStore()
    knowledge.handle(IntentionsRecorded("s", tuple(rounds(3, 9))), 1.0)
    body = saved(knowledge)[1]["s"]
    with pytest.raises((ValueError, KeyError, IndexError, TypeError), match=what):
        KnowledgeStore().load((), {"s": body.replace(old, new) if old else body + b"x"})
    with pytest.raises((ValueError, KeyError, IndexError, TypeError)):
        KnowledgeStore().load((), {"s": body[: len(body) // 2]})


def test_vectors_join_lane_by_lane() -> None:
    guard = int.from_bytes(b"\x00\x00\x00\x80" * 3, "little")
    one, other = 5 | 2**31 - 1 << 32 | 0 << 64, 7 | 3 << 32 | 1 << 64
    assert list(counts(join(one, other, guard), 3)) == [7, 2**31 - 1, 1]

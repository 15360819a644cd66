"""What recording costs, counted in places walked and intentions placed: never more than the bytes that were sent allow.

The public report that showed the fault: one intention of 116 bytes that named 20 old ones blocked the service for 5 s,
and every restart did so again.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator

import pytest
from gossipcontrol.server.core.knowledge import tracker as tracker_module
from gossipcontrol.server.core.knowledge.answer import holders
from gossipcontrol.server.core.knowledge.chain import POSITION_MASK, WALK_LIMIT
from gossipcontrol.server.core.knowledge.event import IntentionsRecorded, Member, MembersChanged
from gossipcontrol.server.core.knowledge.forgetting import FORGET_WORK
from gossipcontrol.server.core.knowledge.intention import Intention
from gossipcontrol.server.core.knowledge.parameter import KnowledgeParameters
from gossipcontrol.server.core.knowledge.store import KnowledgeStore
from gossipcontrol.server.core.knowledge.tracker import EVENT_WORK, NAME_WORK, Recorded, Tracker
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.knowledge.compare import check_same, settle
from tests.core.knowledge.graphs import Shape, arrive, grow
from tests.core.knowledge.oracle import Oracle
from tests.core.knowledge.test_store import saved

LEAST_MESSAGE = 12
"""Bytes of the smallest batch: store, author and hash of one byte each, with their tags and lengths."""
PLACES_PER_BYTE = EVENT_WORK / LEAST_MESSAGE + NAME_WORK
NO_CACHE = KnowledgeParameters(recent=1, keep=10_000_000, branch_limit=1000, floating_limit=10_000_000)
"""Nothing is cached, so that every dependency that is not a chain's last is walked."""


def size(batch: list[Intention]) -> int:
    """Bytes of the batch as a protobuf message, rounded down."""
    names = sum(len(one.hash) + len(one.store_prev) + sum(len(each) + 2 for each in one.dependencies) for one in batch)
    return LEAST_MESSAGE + names + sum(len(one.author_id) + 4 for one in batch)


def woven(authors: int, levels: int) -> Iterator[Intention]:
    """In each level every author names the last intention of two others, so a walk spreads over all of them."""
    last = [b""] * authors
    for level in range(levels):
        before = list(last)
        for author in range(authors):
            name = b"%d.%d" % (level, author)
            seen = tuple(before[(author + step) % authors] for step in (1, 7)) if level else ()
            yield Intention(f"p{author}", name, before[author], seen)
            last[author] = name


def gossiped(authors: int, number: int) -> Iterator[Intention]:
    """Random authors, each naming three intentions of the last few hundred."""
    rng, made, last = random.Random(2), list[bytes](), dict[int, bytes]()
    for count in range(number):
        author, name = rng.randrange(authors), b"g%d" % count
        yield Intention(
            f"p{author}", name, last.get(author, b""), tuple({*rng.choices(made[-300:] or [b""], k=3)} - {b""})
        )
        last[author] = name
        made.append(name)


def lagging(authors: int, number: int) -> Iterator[Intention]:
    """As above; one more author names what is as old as can be, for it hears everything last."""
    made = list(gossiped(authors, number))
    prev = b""
    for count, one in enumerate(made):
        yield one
        if count % 20 == 19:
            name = b"l%d" % count
            yield Intention("laggard", name, prev, tuple(each.hash for each in made[count // 2 : count // 2 + 20]))
            prev = name


GRAPHS = {
    "woven, 30 authors": lambda: woven(30, 80),
    "woven, 150 authors": lambda: woven(150, 25),
    "200 authors with three dependencies": lambda: gossiped(200, 5000),
    "two authors": lambda: gossiped(2, 2000),
    "a laggard": lambda: lagging(60, 3000),
}


def record(tracker: Tracker, batch: list[Intention]) -> Recorded:
    """Record a batch, and fail if it walks more than its bytes allow."""
    before = tracker.graph.walked
    found = tracker.record(batch, 1.0)
    assert tracker.graph.walked - before <= PLACES_PER_BYTE * size(batch)
    return found


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
@pytest.mark.parametrize("recent", [1, 8192])
@pytest.mark.parametrize("batch", [1, 50])
def test_a_batch_walks_at_most_so_many_places_per_byte(
    graph: Callable[[], Iterator[Intention]], recent: int, batch: int
) -> None:
    tracker = Tracker(KnowledgeParameters(recent=recent, keep=10_000_000))
    source = iter(graph())
    names: list[bytes] = []
    while some := list(itertools.islice(source, batch)):
        record(tracker, some)
        names += [one.hash for one in some]
    settle(tracker)
    rng = random.Random(1)
    for number in range(20):
        record(tracker, [Intention(f"q{number}", b"q%d" % number, b"", tuple(rng.sample(names, 20)))])
    settle(tracker)
    assert len(tracker.floating) == 0
    assert tracker.graph.order == len(names) + 20


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_a_walk_from_any_place_ends_within_its_weight(graph: Callable[[], Iterator[Intention]]) -> None:
    tracker = Tracker(NO_CACHE)
    for one in graph():
        tracker.record([one], 1.0)
    settle(tracker)
    graph_ = tracker.graph
    for position in list(graph_.positions.values())[::7]:
        weight = graph_.chains[position >> 32].weight(position & POSITION_MASK)
        before = graph_.walked
        graph_.vector(position)
        assert graph_.walked - before <= weight <= WALK_LIMIT


@given(st.integers(0, 1 << 30), st.sampled_from((1, 3, 40)), st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_any_graph_in_any_batches_walks_at_most_so_many_places_per_byte(seed: int, recent: int, step: int) -> None:
    rng = random.Random(seed)
    shape = Shape(rng.choice((2, 8, 30)), 300, merges=rng.choice((2, 6, 40)), reach=300, forks=0.02, losses=0.01)
    made = arrive(grow(shape, rng), shape, rng, rng.choice((0.0, 0.1, 1.0)))
    tracker, oracle = Tracker(KnowledgeParameters(recent=recent, branch_limit=1000)), Oracle()
    for start in range(0, len(made), step):
        record(tracker, made[start : start + step])
        oracle.record(made[start : start + step])
    check_same(tracker, oracle)


def test_an_intention_that_names_a_thousand_old_ones_is_placed_over_many_events() -> None:
    tracker = Tracker(NO_CACHE)
    made = list(woven(100, 40))
    for one in made:
        tracker.record([one], 1.0)
    settle(tracker)
    names = tuple(one.hash for one in made[:3000:3])  # the oldest first, so that each adds something
    assert record(tracker, [Intention("q", b"q1", b"", names), Intention("q", b"q2", b"q1")]) == Recorded(new=2)
    assert (len(tracker.floating), tracker.is_pending) == (2, True)
    assert tracker.record([Intention("q", b"q1", b"", names)], 1.0) == Recorded(known=1), "it is not taken twice"
    assert record(tracker, [Intention("r", b"r1")]) == Recorded(new=1), "others need not wait"
    assert tracker.graph.order == len(made) + 1
    settle(tracker)
    assert (len(tracker.floating), tracker.is_pending) == (0, False)
    assert all("q" in (holders(tracker, name) or ()) for name in names[::50])


def test_an_intention_that_releases_thousands_places_them_in_slices() -> None:
    tracker = Tracker(KnowledgeParameters())
    for start in range(1, 20_001, 1000):
        counts = range(start, start + 1000)
        tracker.record([Intention("a", b"a%d" % count, b"a%d" % (count - 1)) for count in counts], 1.0)
    tracker.record([Intention("b", b"b%d" % count, b"", (b"a0",), False, str(count)) for count in range(60)], 1.0)
    assert len(tracker.floating) == 20_060
    tracker.record([Intention("a", b"a0")], 1.0)
    assert 0 < tracker.graph.order <= EVENT_WORK + NAME_WORK
    slices = 0
    while tracker.is_pending:
        before = tracker.graph.order
        tracker.record((), 1.0)
        slices += 1
        assert 0 < tracker.graph.order - before <= EVENT_WORK
    assert (tracker.graph.order, len(tracker.floating)) == (20_061, 0)
    assert slices > 20


def test_what_thousands_made_stable_is_forgotten_in_slices() -> None:
    tracker = Tracker(KnowledgeParameters(keep=100, forget_every=100))
    tracker.change_members([Member("silent")], [])
    prev = b""
    for start in range(0, 30_000, 1000):
        names = [b"%d" % count for count in range(start, start + 1000)]
        pairs = itertools.pairwise([prev, *names])
        tracker.record([Intention("a", name, before) for before, name in pairs], 1.0)
        prev = names[-1]
    settle(tracker)
    assert tracker.graph.retained == 30_000
    tracker.change_members([], ["silent"])
    assert tracker.graph.retained >= 30_000 - FORGET_WORK
    slices = 0
    while tracker.is_pending:
        before = tracker.graph.retained
        tracker.record((), 1.0)
        assert before - tracker.graph.retained <= FORGET_WORK
        slices += 1
    assert tracker.graph.retained == 1
    assert slices >= 10


def events(seed: int) -> list[IntentionsRecorded | MembersChanged]:
    """Batches out of order, empty ones, and changes of members."""
    rng = random.Random(seed)
    shape = Shape(rng.choice((4, 12)), 300, merges=4, reach=300, forks=0.02, losses=0.005)
    made = arrive(grow(shape, rng), shape, rng, rng.choice((0.0, 0.2, 1.0)))
    found: list[IntentionsRecorded | MembersChanged] = []
    while made:
        step = rng.randint(0, 20)
        found.append(IntentionsRecorded("s", tuple(made[:step])))
        made = made[step:]
        if rng.random() < 0.1:
            gone = rng.random() < 0.5
            peer = f"p{rng.randrange(shape.authors + 2)}"
            found.append(MembersChanged("s", () if gone else (Member(peer),), (peer,) if gone else ()))
    return found


@given(st.integers(0, 1 << 30), st.integers(64, 90), st.integers(1, 40), st.data())
@settings(max_examples=60, deadline=None)
def test_what_is_pending_survives_a_snapshot_at_any_moment(
    seed: int, work: int, forget: int, data: st.DataObject
) -> None:
    parameters = KnowledgeParameters(recent=2, keep=10, forget_every=10, name_limit=60, branch_limit=1000)
    happened = events(seed)
    cut = data.draw(st.integers(0, len(happened)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracker_module, "EVENT_WORK", work)
        patch.setattr(tracker_module, "NAME_WORK", 0)
        patch.setattr("gossipcontrol.server.core.knowledge.forgetting.FORGET_WORK", forget)
        knowledge, twin = KnowledgeStore(parameters), KnowledgeStore(parameters)
        for event in happened[:cut]:
            knowledge.handle(event, 1.0)
        twin.load(*saved(knowledge))
        for event in [*happened[cut:], *[IntentionsRecorded("s", ())] * 20]:
            assert knowledge.handle(event, 2.0).recorded == twin.handle(event, 2.0).recorded
            assert saved(twin) == saved(knowledge)


def test_an_intention_whose_place_is_taken_while_it_waits_becomes_a_branch(monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = Tracker(NO_CACHE)
    made = list(woven(30, 40))
    for one in [*made, Intention("q", b"q1")]:
        tracker.record([one], 1.0)
    positions, chains = tracker.graph.positions, tracker.graph.chains
    places = [(one.hash, positions[one.hash]) for one in made[:900]]
    heavy = [name for name, place in places if chains[place >> 32].weight(place & POSITION_MASK) > WALK_LIMIT // 2]
    monkeypatch.setattr(tracker_module, "EVENT_WORK", WALK_LIMIT)
    monkeypatch.setattr(tracker_module, "NAME_WORK", 0)
    waits = Intention("q", b"q2", b"q1", (heavy[-1],))
    tracker.record([Intention("r", b"r1", b"", (heavy[0],)), waits, Intention("q", b"q2'", b"q1")], 1.0)
    assert tracker.floating.intentions() == [waits]
    settle(tracker)
    tracker.record([Intention("q", b"q3", b"q2"), Intention("late", b"late", b"", (b"q2",))], 1.0)
    settle(tracker)
    assert holders(tracker, b"q1") == ["late", "q"]
    assert holders(tracker, b"q2'") == ["q"]


@pytest.mark.parametrize("joins", ["by a call", "by writing", "in a new life"])
def test_a_peer_that_joins_while_the_frontier_is_gathered_holds_it_back(
    joins: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gossipcontrol.server.core.knowledge.forgetting.FORGET_WORK", 2)
    tracker = Tracker(KnowledgeParameters(keep=30, forget_every=30))
    for number in range(60):
        prev = b"%d" % (number - 4) if number >= 4 else b""
        seen = (b"%d" % (number - 1),) if number else ()
        tracker.record([Intention(f"p{number % 4}", b"%d" % number, prev, seen)], 1.0)
    assert tracker.forgetting is not None
    assert (tracker.forgetting.peers, tracker.forgetting.chains) == (2, -1)
    if joins == "by a call":
        tracker.change_members([Member("p9")], [])
    else:
        author, label = ("p9", "") if joins == "by writing" else ("p0", "2")
        tracker.record([Intention(author, b"new", b"", (), False, label)], 1.0)
    settle(tracker)
    assert tracker.graph.retained >= 60, "the one that joined holds nothing, so nothing is stable"


def test_one_intention_of_many_dependencies_goes_on_with_later_events() -> None:
    """At 1,900 chains one intention that named 1,024 others used to take 15 to 33 ms in one go."""
    tracker = Tracker(NO_CACHE)
    made = list(woven(1100, 3))
    for start in range(0, len(made), 100):
        tracker.record(made[start : start + 100], 1.0)
    settle(tracker)
    names = [b"1.%d" % author for author in range(1024)]
    walked = tracker.graph.walked
    tracker.record([Intention("late", b"late", b"", tuple(names))], 2.0)
    most = EVENT_WORK + NAME_WORK * tracker_module.PAID_NAMES // tracker.graph.price
    assert tracker.is_pending
    assert tracker.graph.walked - walked <= most
    settle(tracker)
    assert b"late" in tracker.graph.positions

"""The tracker against the oracle: random graphs, in random orders, after every step."""

from __future__ import annotations

import random

import pytest
from gossipcontrol.server.core.knowledge.event import Member
from gossipcontrol.server.core.knowledge.intention import Intention
from gossipcontrol.server.core.knowledge.parameter import KnowledgeParameters
from gossipcontrol.server.core.knowledge.tracker import Tracker
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.knowledge.compare import check_same
from tests.core.knowledge.graphs import Shape, arrive, grow
from tests.core.knowledge.oracle import Oracle

links = st.lists(
    st.tuples(
        st.integers(0, 3),  # author
        st.integers(0, 9),  # predecessor: 0 to 5 its newest, 6 to 9 another one or none
        st.lists(st.integers(0, 200), max_size=3),  # dependencies
        st.booleans(),  # acknowledgement
        st.integers(0, 9),  # 9: it has lost its data
    ),
    max_size=25,
)


def build(chosen: list[tuple[int, int, list[int], bool, int]]) -> list[Intention]:
    made: list[Intention] = []
    chains: dict[int, list[bytes]] = {}
    incarnations: dict[int, int] = {}
    for author, back, names, ack, luck in chosen:
        chain = chains.setdefault(author, [b""])
        prev = chain[-1] if back < 6 else chain[(back * 7) % len(chain)]
        incarnations[author] = incarnations.get(author, 0) + (luck == 9)
        dependencies = tuple(made[name % len(made)].hash for name in names) if made else ()
        made.append(Intention(f"p{author}", b"%d" % len(made), prev, dependencies, ack, str(incarnations[author])))
        chain.append(made[-1].hash)
    return made


@given(links, st.randoms(use_true_random=False), st.integers(0, 3))
@settings(max_examples=150, deadline=None)
def test_any_graph_in_any_order_gives_the_oracles_answers_after_every_step(
    chosen: list[tuple[int, int, list[int], bool, int]], rng: random.Random, absent: int
) -> None:
    arriving = build(chosen)
    rng.shuffle(arriving)
    tracker, oracle = Tracker(KnowledgeParameters(recent=1 + absent % 2 * 9)), Oracle()
    for one in arriving[absent:]:
        tracker.record([one, one], 1.0)
        oracle.record([one])
        check_same(tracker, oracle)


@given(links, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_membership_changes_anywhere_between(
    chosen: list[tuple[int, int, list[int], bool, int]], rng: random.Random
) -> None:
    tracker, oracle = Tracker(), Oracle()
    for one in build(chosen):
        tracker.record([one], 1.0)
        oracle.record([one])
        peer = f"p{rng.randrange(5)}"
        match rng.randrange(4):
            case 0:
                tracker.change_members((), (peer,))
                oracle.removed.add(peer)
            case 1:
                incarnation = str(rng.randrange(3))
                tracker.change_members((Member(peer, incarnation),), ())
                oracle.removed.discard(peer)
                oracle.added[peer] = max(oracle.added.get(peer, ""), incarnation)
            case _:
                pass
        check_same(tracker, oracle)


SHAPES = {
    "one chain": Shape(1, 300, merges=0),
    "two authors in turn": Shape(2, 400, merges=1, reach=2),
    "diamonds": Shape(4, 400, merges=2, reach=4),
    "wide merges": Shape(30, 400, merges=25),
    "forks": Shape(6, 400, forks=0.05),
    "many forks": Shape(5, 250, forks=0.4),
    "lost data": Shape(6, 400, losses=0.03),
    "forks and lost data": Shape(8, 400, forks=0.05, losses=0.03),
    "missing pieces": Shape(8, 400, missing=0.003),
    "deep reaches": Shape(5, 600, reach=600),
    "300 wide": Shape(150, 400, merges=300, reach=400),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("disorder", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("recent", [1, 8192])
def test_shapes_in_orders(shape: Shape, disorder: float, recent: int) -> None:
    rng = random.Random(f"{shape}{disorder}")
    tracker, oracle = Tracker(KnowledgeParameters(recent=recent, branch_limit=1000)), Oracle()
    arriving = arrive(grow(shape, rng), shape, rng, disorder)
    step = max(1, len(arriving) // 5)
    for start in range(0, len(arriving), step):
        tracker.record(arriving[start : start + step], 1.0)
        oracle.record(arriving[start : start + step])
        check_same(tracker, oracle)


def test_an_intention_may_name_a_thousand_others() -> None:
    made = [Intention(f"p{number}", b"%d" % number) for number in range(1000)]
    made.append(Intention("all", b"all1", b"", tuple(one.hash for one in made)))
    made += [Intention("all", b"all2", b"all1"), Intention("late", b"late1", b"", (b"all1",))]
    tracker, oracle = Tracker(KnowledgeParameters(recent=1)), Oracle()
    tracker.record(made, 1.0)
    oracle.record(made)
    check_same(tracker, oracle)


def test_five_thousand_intentions_of_a_hundred_authors() -> None:
    """``test_ancestry.py`` has larger graphs, compared after every step; this oracle is too slow for that."""
    rng = random.Random(7)
    shape = Shape(100, 5000, merges=3, reach=1500, forks=0.0005, losses=0.0005)
    tracker, oracle = Tracker(KnowledgeParameters(recent=2000)), Oracle()
    arriving = arrive(grow(shape, rng), shape, rng, 0.3)
    tracker.record(arriving, 1.0)
    oracle.record(arriving)
    check_same(tracker, oracle)
    assert len(tracker.floating) == 0

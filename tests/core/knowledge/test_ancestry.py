"""The tracker against the second oracle after every step, on graphs of up to 10,000 intentions by 2 to 200 authors."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest
from gossipcontrol.server.core.knowledge.answer import at_risk, behind_by_author, lags
from gossipcontrol.server.core.knowledge.chain import POSITION_MASK
from gossipcontrol.server.core.knowledge.event import Member
from gossipcontrol.server.core.knowledge.intention import Intention
from gossipcontrol.server.core.knowledge.parameter import KnowledgeParameters
from gossipcontrol.server.core.knowledge.tracker import Tracker
from gossipcontrol.server.core.knowledge.vector import counts
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.knowledge.ancestry import Ancestry
from tests.core.knowledge.compare import settle
from tests.core.knowledge.graphs import Shape, arrive, grow
from tests.core.knowledge.oracle import Oracle, View
from tests.core.knowledge.test_oracle import build, links

WIDE = KnowledgeParameters(keep=1_000_000, branch_limit=1000, floating_limit=10_000_000)


@given(links, st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_both_oracles_agree_after_every_step(
    chosen: list[tuple[int, int, list[int], bool, int]], rng: random.Random
) -> None:
    oracle, ancestry = Oracle(), Ancestry()
    arriving = build(chosen)
    rng.shuffle(arriving)
    for one in arriving:
        oracle.record([one])
        ancestry.record(one)
        if rng.random() < 0.2:
            peer, incarnation = f"p{rng.randrange(5)}", str(rng.randrange(3))
            for each in (oracle, ancestry):
                each.added[peer] = max(each.added.get(peer, ""), incarnation)
                (each.removed.add if incarnation == "0" else each.removed.discard)(peer)
        agree(View(oracle), ancestry)


def agree(view: View, ancestry: Ancestry) -> None:
    assert ancestry.peers() == view.peers
    assert ancestry.active() == view.active
    assert set(ancestry.index) == set(view.all)
    assert set(ancestry.floating) == view.floating
    for peer in view.peers:
        assert ancestry.hashes(ancestry.bound(peer)) == view.held[peer]
        assert ancestry.behind(ancestry.bound(peer)) == view.behind(view.held[peer])
    assert ancestry.hashes(ancestry.frontier()) == view.frontier()
    assert ancestry.at_risk() == view.at_risk()


class Pair:
    """A tracker and an oracle with the same input."""

    def __init__(self, parameters: KnowledgeParameters) -> None:
        self.tracker, self.ancestry = Tracker(parameters), Ancestry()
        self._prefixes: defaultdict[int, list[int]] = defaultdict(lambda: [0])
        """Chain number -> count -> the oracle's set of intentions up to there."""
        self._equal: dict[tuple[str, str], tuple[int, int]] = {}
        """(author, incarnation) -> the two bounds last found equal; the same two objects are not compared again."""

    def record(self, one: Intention) -> None:
        self.tracker.record([one], 1.0)
        settle(self.tracker)
        placed = self.ancestry.record(one)
        positions = sorted((self.tracker.graph.positions[each.hash], self.ancestry.index[each.hash]) for each in placed)
        for position, number in positions:
            prefixes = self._prefixes[position >> 32]
            assert len(prefixes) == position & POSITION_MASK
            prefixes.append(prefixes[-1] | 1 << number)

    def change(self, peer: str, incarnation: str, *, gone: bool) -> None:
        added = [] if gone else [Member(peer, incarnation)]
        self.tracker.change_members(added, [peer] if gone else [])
        if gone:
            self.ancestry.removed.add(peer)
        else:
            self.ancestry.removed.discard(peer)
            self.ancestry.added[peer] = max(self.ancestry.added.get(peer, ""), incarnation)

    def held(self, vector: int) -> int:
        """A vector of the tracker as a set of the oracle."""
        found = 0
        for chain, count in enumerate(counts(vector, len(self.tracker.graph.chains))):
            found |= self._prefixes[chain][count]
        return found

    def compare_bounds(self) -> list[str]:
        """Compare what every incarnation of every peer holds; return the authors whose bounds changed."""
        changed: list[str] = []
        assert self.tracker.graph.incarnations.keys() == self.ancestry.held.keys()
        for author, incarnations in self.tracker.graph.incarnations.items():
            held = self.ancestry.held[author]
            assert incarnations.keys() == held.keys()
            for label, incarnation in incarnations.items():
                earlier = self._equal.get((author, label))
                if earlier is None or earlier[0] is not incarnation.vector or earlier[1] is not held[label]:
                    assert self.held(incarnation.vector) == held[label], author
                    self._equal[author, label] = (incarnation.vector, held[label])
                    changed.append(author)
        assert len(self.tracker.floating) == len(self.ancestry.floating)
        return changed

    def compare_frontier(self) -> None:
        """Compare which incarnation counts for each peer, and what all active ones hold."""
        assert self.tracker.peers() == self.ancestry.peers()
        for peer in self.tracker.peers():
            assert self.held(self.tracker.vector(peer)) == self.ancestry.bound(peer)
        active = [peer for peer in self.tracker.peers() if self.tracker.active(peer)]
        assert active == self.ancestry.active()
        assert self.held(self.tracker.frontier()) == self.ancestry.frontier()

    def compare_lags(self, peers: list[str]) -> None:
        for lag in lags(self.tracker, peers):
            assert dict(lag.authors) == self.ancestry.behind(self.ancestry.bound(lag.peer_id))

    def compare_all(self) -> None:
        self.compare_lags(self.tracker.peers())
        assert at_risk(self.tracker) == self.ancestry.at_risk()
        stable = behind_by_author(self.tracker, self.tracker.frontier())
        assert stable == self.ancestry.behind(self.ancestry.frontier())
        assert {one.hash for one in self.tracker.floating.intentions()} == set(self.ancestry.floating)


SHAPES = {
    "2 authors in turn": (Shape(2, 10_000, merges=1, reach=4), 0.0),
    "2 authors in any order": (Shape(2, 1000, merges=2), 1.0),
    "20 authors who fork and lose data": (Shape(20, 10_000, forks=0.002, losses=0.001, reach=200), 0.01),
    "20 authors with missing pieces": (Shape(20, 2000, missing=0.001), 0.02),
    "60 authors, wide merges": (Shape(60, 4000, merges=40, reach=300), 0.005),
    "200 authors": (Shape(200, 10_000, merges=3, reach=1500, forks=0.0005, losses=0.0005), 0.003),
    "200 authors in any order": (Shape(200, 1500, merges=2, reach=400), 1.0),
}
"""Each with how late intentions arrive."""


@pytest.mark.parametrize(("shape", "disorder"), SHAPES.values(), ids=SHAPES)
def test_the_bounds_of_all_peers_are_right_after_every_step(shape: Shape, disorder: float) -> None:
    rng = random.Random(f"{shape}{disorder}")
    pair = Pair(WIDE)
    for step, one in enumerate(arrive(grow(shape, rng), shape, rng, disorder), 1):
        pair.record(one)
        if rng.random() < 0.002:
            pair.change(f"p{rng.randrange(shape.authors + 2)}", "", gone=rng.random() < 0.5)
        changed = pair.compare_bounds()
        if step % max(1, shape.authors // 4) == 0:
            pair.compare_frontier()
            pair.compare_lags(changed[:2])
        if step % 1000 == 0:
            pair.compare_all()
    pair.compare_frontier()
    pair.compare_all()

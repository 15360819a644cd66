"""A second oracle, fast enough to compare after every step: each intention keeps the set of all that it reaches.

It shares no idea with the tracker either: no chains, counts or vectors, only sets, with one bit of an integer per
intention. The first oracle, which walks the whole graph each time, checks it on small graphs.
"""

from __future__ import annotations

from gossipcontrol.server.core.knowledge.intention import Intention

from tests.core.knowledge.oracle import named, owns


class Ancestry:
    """The sets, updated intention by intention."""

    def __init__(self) -> None:
        self.index: dict[bytes, int] = {}
        """Hash -> number of a resolved intention."""
        self.resolved: list[Intention] = []
        self.reach: list[int] = []
        """Number -> what the intention reaches, itself included."""
        self.floating: dict[bytes, Intention] = {}
        self.contents = 0
        """The intentions that carry content."""
        self.by_author: dict[str, int] = {}
        self.held: dict[str, dict[str, int]] = {}
        """Author -> incarnation -> the union of what its intentions reach."""
        self.added: dict[str, str] = {}
        self.removed: set[str] = set()

    def record(self, one: Intention) -> list[Intention]:
        """Record an intention; return those that this resolves."""
        if one.hash in self.index or one.hash in self.floating:
            return []
        self.floating[one.hash] = one
        placed: list[Intention] = []
        todo = [one]
        while todo:
            next_ = todo.pop()
            if next_.hash not in self.floating or not all(name in self.index for name in named(next_)):
                continue
            del self.floating[next_.hash]
            if next_.store_prev and not owns(next_, self.resolved[self.index[next_.store_prev]]):
                continue
            self._place(next_)
            placed.append(next_)
            todo += self._waiting_for(next_.hash)
        return placed

    def _place(self, one: Intention) -> None:
        number = self.index[one.hash] = len(self.resolved)
        self.resolved.append(one)
        reach = 1 << number
        self.contents |= 0 if one.acknowledgement else reach
        self.by_author[one.author_id] = self.by_author.get(one.author_id, 0) | reach
        for name in named(one):
            reach |= self.reach[self.index[name]]
        self.reach.append(reach)
        incarnations = self.held.setdefault(one.author_id, {})
        incarnations[one.incarnation] = incarnations.get(one.incarnation, 0) | reach

    def _waiting_for(self, name: bytes) -> list[Intention]:
        return [one for one in self.floating.values() if name in named(one)]

    # Answers.

    def peers(self) -> list[str]:
        return sorted({*self.held, *self.added, *self.removed})

    def active(self) -> list[str]:
        return [peer for peer in self.peers() if peer not in self.removed]

    def bound(self, peer: str) -> int:
        """What a peer provably holds in its newest incarnation."""
        incarnations = self.held.get(peer, {})
        return incarnations.get(max([self.added.get(peer, ""), *incarnations]), 0)

    def frontier(self) -> int:
        bounds = [self.bound(peer) for peer in self.active()]
        stable = bounds[0] if bounds else 0
        for bound in bounds:
            stable &= bound
        return stable

    def behind(self, held: int) -> dict[str, int]:
        missing = self.contents & ~held
        counted = {author: (missing & mine).bit_count() for author, mine in self.by_author.items()}
        return {author: number for author, number in counted.items() if number}

    def at_risk(self) -> int:
        once = twice = 0
        for peer in self.active():
            bound = self.bound(peer)
            twice |= once & bound
            once |= bound
        return (self.contents & ~twice).bit_count()

    def hashes(self, held: int) -> set[bytes]:
        """A set of numbers, as hashes."""
        return {name for name, number in self.index.items() if held >> number & 1}

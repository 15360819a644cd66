"""The tracker of one store: records intentions in any order, and changes of membership."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from gossipcontrol.server.core.knowledge.chain import NO_PARENT, POSITION_MASK, Incarnation
from gossipcontrol.server.core.knowledge.event import Member
from gossipcontrol.server.core.knowledge.floating import Floating
from gossipcontrol.server.core.knowledge.graph import Graph
from gossipcontrol.server.core.knowledge.intention import Intention
from gossipcontrol.server.core.knowledge.parameter import KnowledgeParameters
from gossipcontrol.server.core.knowledge.vector import counts, meet


class Recorded(NamedTuple):
    """The counts of a batch."""

    new: int = 0
    """Accepted, floating ones included."""
    known: int = 0
    """Already recorded."""
    invalid: int = 0
    """Refused: the predecessor is another author's."""
    refused: int = 0
    """Refused: no room for another intention or chain."""


class Tracker:
    """Knowledge of one store. The same intentions give the same answers, whatever their order."""

    def __init__(self, parameters: KnowledgeParameters | None = None) -> None:
        self._parameters = parameters = parameters or KnowledgeParameters()
        self.graph = Graph(parameters.recent)
        self.floating = Floating(parameters.floating_limit)
        self.added: dict[str, str] = {}
        """Peers added by name -> the lowest incarnation each may be in."""
        self.removed: set[str] = set()
        self.room = parameters.intention_limit
        """Most intentions retained in this store."""
        self.forget_at = parameters.keep
        """Retained intentions at which forgetting is tried next."""

    # Events.

    def record(self, intentions: Iterable[Intention], now: float) -> Recorded:
        """Record intentions at service time ``now``."""
        position_of, floating = self.graph.positions, self.floating.waiting
        find = position_of.get
        tally = [0, 0, 0, 0]
        for one in intentions:
            if one.hash in position_of or one.hash in floating:
                tally[KNOWN] += 1
                continue
            parent = find(one.store_prev) if one.store_prev else NO_PARENT
            positions: list[int] = []
            for name in one.dependencies:
                if (position := find(name)) is not None:
                    positions.append(position)
            if parent is None or len(positions) < len(one.dependencies):
                self.suspend(one)
                tally[NEW] += 1
                continue
            fate = self._insert(one, parent, positions, now)
            tally[fate] += 1
            if fate == NEW and floating:
                self._release(one.hash, now, tally)
        if self.graph.retained >= self.forget_at:
            self._forget()
        return Recorded(*tally)

    def change_members(self, added: Iterable[Member], removed: Iterable[str]) -> int:
        """Add and remove peers; return how many could not be remembered."""
        refused = 0
        for member in added:
            self.removed.discard(member.peer_id)
            known = self.added.get(member.peer_id)
            if known is None and len(self.added) + len(self.removed) >= self._parameters.member_limit:
                refused += 1
            else:
                self.added[member.peer_id] = max(known or "", member.incarnation)
        for peer_id in removed:
            if peer_id not in self.removed and len(self.added) + len(self.removed) >= self._parameters.member_limit:
                refused += 1
            else:
                self.removed.add(peer_id)
        if self.graph.retained > self._parameters.keep:
            self._forget()
        return refused

    def suspend(self, one: Intention) -> None:
        """Let an intention float until all that it names is known."""
        names = (one.store_prev, *one.dependencies)
        self.floating.add(one, {name for name in names if name and name not in self.graph.positions})

    def _insert(self, one: Intention, parent: int, positions: list[int], now: float) -> int:
        """Insert an intention whose names are all known; return which field of ``Recorded`` to count."""
        graph = self.graph
        if graph.retained >= self.room:
            return REFUSED
        if parent != NO_PARENT:
            chain = graph.chains[parent >> 32]
            incarnation = chain.incarnation
            if incarnation.author_id != one.author_id:
                return INVALID
            if (parent & POSITION_MASK) == chain.length and incarnation.label == one.incarnation:
                graph.extend(chain, chain.tip, one, positions, now)
                return NEW
            positions = [parent, *positions]
        elif graph.is_forgotten_start(one):
            return KNOWN
        if len(graph.chains) >= self._parameters.chain_limit or not graph.may_branch(
            one, self._parameters.branch_limit
        ):
            return REFUSED
        graph.extend(graph.open(one, parent), 0, one, positions, now)
        return NEW

    def _release(self, name: bytes, now: float, tally: list[int]) -> None:
        """Insert what floated for want of this intention, and in turn what floated for want of those."""
        names, find, release = [name], self.graph.positions.get, self.floating.release
        while names:
            for one in release(names.pop()):
                parent = find(one.store_prev) if one.store_prev else NO_PARENT
                positions = [position for name in one.dependencies if (position := find(name)) is not None]
                if parent is None or len(positions) < len(one.dependencies):
                    # What it names was known when it was recorded, and was forgotten while it floated.
                    self.suspend(one)
                    continue
                fate = self._insert(one, parent, positions, now)
                if fate == NEW:
                    names.append(one.hash)
                else:
                    tally[fate] += 1

    def _forget(self) -> None:
        graph, parameters = self.graph, self._parameters
        if graph.retained > parameters.keep:
            graph.forget(counts(self.frontier(), len(graph.chains)), parameters.name_limit)
        self.forget_at = max(
            parameters.keep,
            graph.retained + parameters.forget_every,
        )

    # Peers and their incarnations.

    def peers(self) -> list[str]:
        """Every peer that authored, or was added or removed, ordered by id."""
        return sorted({*self.graph.incarnations, *self.added, *self.removed})

    def active(self, peer_id: str) -> bool:
        """Whether a peer counts for the stability frontier."""
        return peer_id not in self.removed and (peer_id in self.graph.incarnations or peer_id in self.added)

    def incarnation_label(self, peer_id: str) -> str:
        """The label of a peer's newest incarnation."""
        return max(self.added.get(peer_id, ""), *self.graph.incarnations.get(peer_id, ()), "")

    def newest_incarnation(self, peer_id: str) -> Incarnation | None:
        """A peer's newest incarnation; None when it has proved nothing in it."""
        incarnations = self.graph.incarnations.get(peer_id)
        return incarnations.get(self.incarnation_label(peer_id)) if incarnations else None

    def vector(self, peer_id: str) -> int:
        """What a peer provably holds in its newest incarnation."""
        incarnation = self.newest_incarnation(peer_id)
        return incarnation.vector if incarnation else 0

    def frontier(self) -> int:
        """The stability frontier: what all active peers provably hold; 0 when there are none."""
        vectors = [self.vector(peer_id) for peer_id in self.peers() if self.active(peer_id)]
        if not vectors:
            return 0
        stable = vectors[0]
        for vector in vectors[1:]:
            stable = meet(stable, vector, self.graph.guard)
        return stable


NEW, KNOWN, INVALID, REFUSED = range(4)
"""Fields of ``Recorded``."""

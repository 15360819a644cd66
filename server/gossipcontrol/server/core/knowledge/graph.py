"""The graph of one store's intentions: chains, and the version vector of every position in them.

A *position* is an integer: the chain's number in the upper bits, the count within the chain in the lower 32.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush

from gossipcontrol.server.core.knowledge.chain import CUT_SPACING, NO_PARENT, POSITION_MASK, Chain, Incarnation
from gossipcontrol.server.core.knowledge.intention import Intention
from gossipcontrol.server.core.knowledge.level import LEVEL_SPACING, Levels
from gossipcontrol.server.core.knowledge.vector import LANE, LANE_MASK, guards, join

LANES_PER_PRICE = 512
"""Counts of a vector that make a walked place cost as much again, up to a limit: an event can afford any one walk."""
LONGEST_PRICE = 4
Joined = tuple[int, list[int], int]
"""Vectors of positions, joined as far as a budget went; the positions that added to them; how many were joined."""


class Graph:
    """Grows by one intention at a time, after its predecessor and dependencies."""

    def __init__(self, recent: int) -> None:
        self._recent = recent
        self.chains: list[Chain] = []
        self.positions: dict[bytes, int] = {}
        """Hash -> position; forgotten intentions are included while their hashes are recognised."""
        self.incarnations: dict[str, dict[str, Incarnation]] = {}
        """Author -> incarnation label -> incarnation."""
        self.by_parent: dict[tuple[str, int], list[Chain]] = {}
        """(Author, position) -> the author's chains that branch off there."""
        self.branches_off: list[Chain] = []
        """Chains that branch off another chain."""
        self.forks: set[tuple[str, str, bytes]] = set()
        """(Author, incarnation, hash of the predecessor) with several successors in that incarnation."""
        self.guard = 0
        self.stride = 8
        """Intentions between two cuts of a chain."""
        self.levels = Levels()
        self.budget = 0
        """Places that may still be walked for the event that is being handled."""
        self.walked = 0
        """Places that walks ever visited, for tests and measurements; not part of the state."""
        self.order = 0
        """Number of intentions ever added."""
        self._cache: dict[int, int] = {}
        """Vectors of recently used positions: dependencies are usually recent."""
        self._cached: deque[int] = deque()
        self._cache_size = 0
        self.retained = 0
        self.names: deque[tuple[int, bytes]] = deque()
        """Positions and hashes of forgotten intentions that are still recognised; the first forgotten comes first."""

    def vector(self, position: int) -> int:
        """The vector of everything that the intention at a position reaches, itself included."""
        vector = self.kept_vector(position)
        if vector is None:
            chain, count = self.chains[position >> 32], position & POSITION_MASK
            if count < chain.first:
                # Forgotten: everything it reaches is stable, so its own chain is all that matters.
                return count << chain.shift
            vector = self._compute(position)
            self._remember(position, vector)
        return vector

    def kept_vector(self, position: int) -> int | None:
        """The vector of a position; None when it must be computed."""
        vector = self._cache.get(position)
        return self.chains[position >> 32].kept_vector(position & POSITION_MASK) if vector is None else vector

    def _compute(self, position: int) -> int:
        """Walk down from a position, newest first, joining kept vectors: they cover most of the ancestry."""
        chains = self.chains
        vector = 0
        tops: dict[int, int] = {}
        passed: set[int] = set()
        heap = [(0, position)]
        while heap:
            position = heappop(heap)[1]
            self.walked += 1
            chain, count = chains[position >> 32], position & POSITION_MASK
            if (vector >> chain.shift & LANE_MASK) >= count or position in passed:
                continue
            passed.add(position)
            kept = self.kept_vector(position)
            if kept is not None:
                vector = join(vector, kept, self.guard)
                continue
            tops[chain.number] = max(count, tops.get(chain.number, 0))
            if count > chain.first:
                heappush(heap, (-chain.estimate_order(count - 1), position - 1))
            if count >= chain.first:
                for below in chain.dependencies_of(count):
                    other = chains[below >> 32]
                    if (vector >> other.shift & LANE_MASK) < (below & POSITION_MASK) and below not in passed:
                        heappush(heap, (-other.estimate_order(below & POSITION_MASK), below))
        return join(vector, sum(count << number * LANE for number, count in tops.items()), self.guard)

    def _remember(self, position: int, vector: int) -> None:
        self._cache[position] = vector
        self._cached.append(position)
        while len(self._cached) > self._cache_size:
            del self._cache[self._cached.popleft()]

    @property
    def cached_count(self) -> int:
        """Number of cached vectors."""
        return len(self._cached)

    def cached(self) -> dict[int, int]:
        """The cached vectors by position, the oldest first.

        They are part of the state: recomputed after something was forgotten, they would lack it.
        """
        return {position: self._cache[position] for position in self._cached}

    def recall_vectors(self, vectors: Iterable[tuple[int, int]]) -> None:
        """Cache these vectors, as restored from a snapshot."""
        for position, vector in vectors:
            self._remember(position, vector)

    def join_positions(self, vector: int, kept: list[int], start: int, positions: Sequence[int]) -> Joined:
        """Join the vectors of positions from number ``start`` on, as far as the budget goes."""
        guard, cache = self.guard, self._cache
        for position in positions[start:] if start else positions:
            if (vector >> (position >> 32) * LANE & LANE_MASK) < (position & POSITION_MASK):
                reached = cache.get(position) or self._afford(position)
                if reached is None:
                    return vector, kept, positions.index(position)
                kept.append(position)
                # ``join``, inlined.
                greater = ((vector | guard) - reached) & guard
                vector = reached ^ ((vector ^ reached) & (greater - (greater >> 31)))
        return vector, kept, len(positions)

    @property
    def price(self) -> int:
        """Work that a walked place counts as."""
        return min(LONGEST_PRICE, 1 + len(self.chains) // LANES_PER_PRICE)

    def _afford(self, position: int) -> int | None:
        """The vector of a position that is not cached, if the budget reaches that far."""
        weight = self.chains[position >> 32].weight(position & POSITION_MASK)
        price = weight * self.price
        if price > self.budget:
            return None
        self.budget -= price
        return self.vector(position)

    def extend(self, chain: Chain, vector: int, one: Intention, kept: Sequence[int], now: float) -> None:
        """Append an intention to a chain; ``vector`` is what its predecessor and its dependencies reach."""
        instant, chains = int(now), self.chains
        weight = chain.weights[-1] if chain.length else 0
        for position in kept:
            below, count = chains[position >> 32], position & POSITION_MASK
            weight += below.weights[count - below.first] if count >= below.first else 1
        vector += 1 << chain.shift
        order = self.order = self.order + 1
        self.retained += 1
        if order % LEVEL_SPACING == 0:
            self.levels.add(order, (each.length for each in chains))
        chain.append(one.hash, vector, kept, weight, one.acknowledgement, order, self.stride, instant)
        self.positions[one.hash] = position = chain.number << 32 | chain.length
        # ``_remember``, inlined.
        cache, cached = self._cache, self._cached
        cache[position] = vector
        cached.append(position)
        while len(cached) > self._cache_size:
            del cache[cached.popleft()]
        incarnation = chain.incarnation
        # An incarnation with a single chain reaches all that it reached before, so nothing needs joining.
        several = len(incarnation.chains) > 1
        incarnation.vector = join(incarnation.vector, vector, self.guard) if several else vector
        incarnation.proved_at = now

    def open(self, one: Intention, parent: int) -> Chain:
        """Begin a chain: of a new author, a new incarnation, or a branch of a fork."""
        incarnations = self.incarnations.setdefault(one.author_id, {})
        incarnation = incarnations.get(one.incarnation)
        if incarnation is None:
            incarnation = incarnations[one.incarnation] = Incarnation(one.author_id, one.incarnation)
        siblings = self.by_parent.get((one.author_id, parent), ())
        offset = 0
        twins = any(chain.incarnation is incarnation for chain in siblings)
        if parent != NO_PARENT:
            trunk = self.chains[parent >> 32]
            offset = trunk.offset + (parent & POSITION_MASK)
            # Within its own incarnation it would have continued the trunk, had no other intention done so.
            twins = twins or trunk.incarnation is incarnation
        if twins:
            self.forks.add((one.author_id, one.incarnation, one.store_prev))
        chain = Chain(len(self.chains), incarnation, parent, offset, self.levels)
        self.adopt(chain)
        return chain

    def adopt(self, chain: Chain) -> None:
        """Add a chain with all that it holds."""
        self.chains.append(chain)
        chain.incarnation.chains.append(chain)
        self.by_parent.setdefault((chain.incarnation.author_id, chain.parent), []).append(chain)
        if chain.parent != NO_PARENT:
            self.branches_off.append(chain)
        self.retained += len(chain.hashes)
        self.positions.update(zip(chain.hashes, itertools.count(chain.number << 32 | chain.first), strict=False))
        self._size()

    def recall_names(self, names: Iterable[tuple[int, bytes]]) -> None:
        """Recognise these forgotten intentions, as restored from a snapshot."""
        for position, name in names:
            self.names.append((position, name))
            self.positions[name] = position

    def is_forgotten_start(self, one: Intention) -> bool:
        """Whether a first intention may be one that was forgotten so long ago that its hash is no longer recognised."""
        chains = self.by_parent.get((one.author_id, NO_PARENT), ())
        return any(chain.named_from > 1 and chain.incarnation.label == one.incarnation for chain in chains)

    def may_branch(self, one: Intention, limit: int) -> bool:
        """Whether the author of an intention has fewer chains than ``limit``."""
        return sum(len(incarnation.chains) for incarnation in self.incarnations.get(one.author_id, {}).values()) < limit

    def _size(self) -> None:
        """Set stride and size of the cache: at most 35 MB of vectors."""
        number = len(self.chains)
        self.guard = guards(number)
        self.stride = max(8, min(CUT_SPACING, number // 2))
        self._cache_size = min(self._recent, 8_000_000 // number)

    def forget(self, number: int, stable_at: int, most: int, name_limit: int) -> tuple[int, bool]:
        """Forget about ``most`` intentions of a chain below a count; go on recognising ``name_limit`` hashes.

        Returns how many were forgotten, and whether no more can be.
        """
        chain = self.chains[number]
        stable_at = min(stable_at, chain.length)
        until = min(stable_at, chain.first + max(most, CUT_SPACING))
        vector = chain.tip if until == chain.length else self._cache.get(number << 32 | until)
        first, vector = chain.cut(until) if vector is None else (until, vector)
        if first <= chain.first:
            return 0, True
        before = chain.first
        hashes = chain.forget(first, vector)
        self.retained -= len(hashes)
        self.names.extend(enumerate(hashes, number << 32 | before))
        while len(self.names) > name_limit:
            position, name = self.names.popleft()
            del self.positions[name]
            self.chains[position >> 32].named_from = (position & POSITION_MASK) + 1
        return len(hashes), until == stable_at

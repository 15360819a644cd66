"""The tracker of one store: records intentions in any order, and changes of membership."""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from gossipcontrol.server.core.knowledge.chain import NO_PARENT, POSITION_MASK, Incarnation
from gossipcontrol.server.core.knowledge.event import Member
from gossipcontrol.server.core.knowledge.floating import Floating
from gossipcontrol.server.core.knowledge.forgetting import Forgetting
from gossipcontrol.server.core.knowledge.graph import Graph, Joined
from gossipcontrol.server.core.knowledge.intention import Intention
from gossipcontrol.server.core.knowledge.membership import Membership, Undone
from gossipcontrol.server.core.knowledge.parameter import KnowledgeParameters
from gossipcontrol.server.core.knowledge.unproven import Unproven, Verdict
from gossipcontrol.server.core.knowledge.vector import meet
from gossipcontrol.server.core.memory import CHAIN, HASH, INTENTION, LANE_BYTES, TRACKER, VECTOR

EVENT_WORK = 512
"""Work that every event may do beside placing its own intentions: places walked, floating intentions placed."""
NAME_WORK = 3
"""Work that each intention of an event, and each dependency it names, adds to that."""
PAID_NAMES = 1024
"""Names beyond which further ones add none, by the price of a place: one intention can name as many."""


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
    unproven: int = 0
    """Of the new: those that wait for a proof that their author made them."""
    excess: int = 0
    """Refused: their authors are more than one identity may bring in."""


class Tentative(NamedTuple):
    """An intention whose dependencies cost more than one event may spend: as far as they are joined."""

    hash: bytes
    branches: bool
    """Whether it begins a chain, so that its predecessor is joined like a dependency."""
    joined: Joined


class Tracker:
    """Knowledge of one store. The same intentions give the same answers, whatever their order.

    An event does a bounded amount of work (``EVENT_WORK``, ``NAME_WORK``). What exceeds it is *pending*: it goes on
    with the next event, and an empty batch is one. So what is placed when depends on events only, as a replay needs.
    """

    def __init__(self, parameters: KnowledgeParameters | None = None) -> None:
        self._parameters = parameters = parameters or KnowledgeParameters()
        self.graph = Graph(parameters.recent)
        self.floating = Floating(parameters.floating_limit)
        self.unproven = Unproven(parameters)
        self.brought_in: dict[str, str] = {}
        """Author -> the identity that proved its first intention; those that came without an identity are not in it."""
        self._brought: dict[str, int] = {}
        """Identity -> how many authors it brought in."""
        self.membership = Membership(parameters.member_limit)
        self.room = parameters.intention_limit
        """Most intentions retained in this store."""
        self.forget_at = parameters.keep
        """Retained intentions at which forgetting is tried next."""
        self.version = 0
        """Changes with every event; not part of the state."""
        self.ready: deque[bytes] = deque()
        """Hashes of floating intentions that miss nothing, and wait for their turn."""
        self.tentative: Tentative | None = None
        """How far the first of those is joined."""
        self._come: list[bytes] = []
        """Hashes that have come and are waited for; the last goes first."""
        self._waiters: tuple[bytes, Iterator[bytes]] | None = None
        """The one of them that is under way, with those who still wait for it."""
        self.forgetting: Forgetting | None = None
        self._roster: list[str] = []
        self.newest: dict[str, Incarnation | None] = {}
        """Peer -> its newest incarnation; None when it has proved nothing in it."""

    # Events.

    def record(
        self, intentions: Sequence[Intention], now: float, identity: str = "", authored: bytes = b""
    ) -> Recorded:
        """Record intentions at service time ``now``, and go on with what is pending.

        With an identity only what is proven takes its place: ``authored`` says which are their author's own word.
        """
        graph, floating = self.graph, self.floating
        position_of, waiting, wanted = graph.positions, floating.waiting, floating.wanted
        find = position_of.get
        names = len(intentions) + sum([len(one.dependencies) for one in intentions])
        graph.budget = EVENT_WORK + NAME_WORK * min(names, PAID_NAMES // graph.price)
        self.version += 1
        tally = [0, 0, 0, 0, 0, 0]
        if identity:
            intentions = self._prove(intentions, identity, authored, tally)
        elif self.unproven:
            for one in intentions:
                self.unproven.settle(one.hash)
        for one in intentions:
            if one.hash in position_of or one.hash in waiting:
                tally[KNOWN] += 1
                continue
            parent = find(one.store_prev) if one.store_prev else NO_PARENT
            positions: list[int] = []
            for name in one.dependencies:
                if (position := find(name)) is not None:
                    positions.append(position)
            if parent is None or len(positions) < len(one.dependencies):
                self._suspend(one)
                tally[NEW] += 1
                continue
            fate = self._insert(one, parent, positions, now)
            if fate == POSTPONED:
                floating.add(one, set())
                self.ready.append(one.hash)
                fate = NEW
            elif fate == NEW and one.hash in wanted:
                self._come.append(one.hash)
                self._release(now, tally)
            tally[fate] += 1
        if self.ready or self._come or self._waiters:
            self._release(now, tally)
        if self.forgetting or graph.retained >= self.forget_at:
            self._forget()
        return Recorded(*tally)

    def _prove(
        self, intentions: Sequence[Intention], identity: str, authored: bytes, tally: list[int]
    ) -> list[Intention]:
        """Take an identity's word; returns what is proven now."""
        proven: list[Intention] = []
        names: set[bytes] = set()
        for one, is_author in zip(intentions, authored, strict=True):
            if self.knows(one.hash) or one.hash in names:
                tally[KNOWN] += 1
                continue
            verdict = self.unproven.vouch(one, identity, bool(is_author))
            if verdict is Verdict.WAITING:
                tally[NEW] += 1
                tally[UNPROVEN] += 1
            elif verdict is Verdict.AGAIN:
                tally[KNOWN] += 1
            elif self._brings_in(one.author_id, identity):
                proven.append(one)
                names.add(one.hash)
            else:
                tally[EXCESS] += 1
        return proven

    def _brings_in(self, author_id: str, identity: str) -> bool:
        """Count an author for the identity that proved its first intention; False: the identity has too many."""
        if author_id in self.graph.incarnations or author_id in self.brought_in:
            return True
        if self._brought.get(identity, 0) >= self._parameters.authors_per_identity:
            return False
        self.bring_in(author_id, identity)
        return True

    def bring_in(self, author_id: str, identity: str) -> None:
        """Count an author for this identity."""
        self.brought_in[author_id] = identity
        self._brought[identity] = self._brought.get(identity, 0) + 1

    def knows(self, name: bytes) -> bool:
        """Whether an intention has its place, or floats."""
        return name in self.graph.positions or name in self.floating.waiting

    @property
    def used_bytes(self) -> int:
        """What it takes, at most: vectors are as long as there are chains."""
        graph = self.graph
        chains, retained = len(graph.chains), graph.retained
        vectors = chains + graph.cached_count + retained // graph.stride
        hashes = self.floating.named + self.unproven.named + len(graph.names)
        hashes += self.membership.size + len(self.brought_in)
        fixed = TRACKER + chains * CHAIN + retained * INTENTION + hashes * HASH
        return fixed + vectors * (VECTOR + LANE_BYTES * chains)

    def change_members(
        self, added: Sequence[Member], removed: Sequence[str], now: float = 0.0, hold: float = 0.0
    ) -> int:
        """Add and remove peers; return how many could not be remembered. The removed count for ``hold`` seconds yet."""
        self.version += 1
        labels = {one.peer_id: self._labels(one.peer_id) for one in added if one.lower}
        refused = self.membership.change(added, removed, labels, now + hold if hold > 0 else None)
        for peer_id in (*(one.peer_id for one in added), *removed):
            self._renew(peer_id)
        self._forget_more()
        return refused

    def undo_members(self) -> Undone:
        """Have the peers of the newest change stand as before it."""
        self.version += 1
        undone = self.membership.undo()
        for peer_id in undone.peer_ids:
            self._renew(peer_id)
        self._forget_more()
        return undone

    def depart(self, now: float) -> None:
        """Those who were removed and whose time is over count no longer."""
        for peer_id in self.membership.depart(now):
            self._renew(peer_id)
        self._forget_more()

    def _forget_more(self) -> None:
        """Members have changed, so more may be stable."""
        if self.graph.retained > self._parameters.keep:
            if self.forgetting:
                self.forgetting.again = True
            self._forget()

    @property
    def is_pending(self) -> bool:
        """Whether the next event, be it an empty one, goes on with something."""
        return bool(self.ready or self._come or self._waiters or self.forgetting)

    def come(self) -> tuple[list[bytes], bool]:
        """Hashes that have come and are waited for, the last goes first; and whether that one is under way."""
        return ([*self._come, self._waiters[0]], True) if self._waiters else (list(self._come), False)

    def _suspend(self, one: Intention) -> None:
        """Let an intention float until all that it names is known."""
        names = (one.store_prev, *one.dependencies)
        self.floating.add(one, {name for name in names if name and name not in self.graph.positions})

    def _insert(self, one: Intention, parent: int, positions: list[int], now: float) -> int:
        """Insert an intention whose names are all known; return which field of ``Recorded`` to count, or POSTPONED."""
        graph = self.graph
        if graph.retained >= self.room:
            return REFUSED
        if parent != NO_PARENT:
            chain = graph.chains[parent >> 32]
            incarnation = chain.incarnation
            if incarnation.author_id != one.author_id:
                return INVALID
            if (parent & POSITION_MASK) == chain.length and incarnation.label == one.incarnation:
                if not positions:
                    graph.extend(chain, chain.tip, one, positions, now)
                elif (joined := self._join(one, chain.tip, positions, branches=False)) is None:
                    return POSTPONED
                else:
                    graph.extend(chain, joined[0], one, joined[1], now)
                return NEW
            positions = [parent, *positions]
        elif graph.is_forgotten_start(one):
            return KNOWN
        if len(graph.chains) >= self._parameters.chain_limit or not graph.may_branch(
            one, self._parameters.branch_limit
        ):
            return REFUSED
        joined = self._join(one, 0, positions, branches=True)
        if joined is None:
            return POSTPONED
        graph.extend(graph.open(one, parent), joined[0], one, joined[1], now)
        self._renew(one.author_id)
        return NEW

    def _join(self, one: Intention, vector: int, positions: list[int], *, branches: bool) -> Joined | None:
        """Join what an intention names, going on where it was left; None if the budget does not reach."""
        tentative = self.tentative
        if tentative is not None and tentative.hash == one.hash and tentative.branches == branches:
            joined = self.graph.join_positions(*tentative.joined, positions)
        else:
            joined = self.graph.join_positions(vector, [], 0, positions)
        if joined[2] == len(positions):
            return joined
        # Only the first of those that are ready is tried again, so there is one such intention at most.
        if not self.ready or self.ready[0] == one.hash:
            self.tentative = Tentative(one.hash, branches, joined)
        return None

    def _release(self, now: float, tally: list[int]) -> None:
        """Place what is ready, and in turn what floated for want of it, as far as the budget goes."""
        graph, floating = self.graph, self.floating
        while graph.budget > 0:
            graph.budget -= 1
            if self.ready:
                waiting = floating.waiting.get(self.ready[0])
                if waiting is not None and not waiting[1]:
                    fate = self._place(waiting[0], now)
                    if fate == POSTPONED:
                        return
                    if fate != NEW:
                        tally[fate] += 1
                self.ready.popleft()
                self.tentative = None
            elif self._waiters:
                name, waiters = self._waiters
                waiter = next(waiters, None)
                if waiter is None:
                    self._waiters = None
                elif (one := floating.come(name, waiter)) is not None:
                    self.ready.append(one.hash)
            elif self._come:
                name = self._come.pop()
                self._waiters = name, floating.waiters(name)
            else:
                return

    def _place(self, one: Intention, now: float) -> int:
        """Insert a floating intention that misses nothing; NEW if it still floats, which was counted before."""
        find = self.graph.positions.get
        parent = find(one.store_prev) if one.store_prev else NO_PARENT
        positions = [position for name in one.dependencies if (position := find(name)) is not None]
        if parent is None or len(positions) < len(one.dependencies):
            # What it names was known when it was recorded, and was forgotten while it floated.
            self.floating.remove(one)
            self._suspend(one)
            return NEW
        fate = self._insert(one, parent, positions, now)
        self.graph.budget -= len(positions)
        if fate != POSTPONED:
            self.floating.remove(one)
        if fate == NEW and one.hash in self.floating.wanted:
            self._come.append(one.hash)
        return fate

    def _forget(self) -> None:
        """Begin or go on to forget what is stable, once more is retained than must be."""
        graph, parameters = self.graph, self._parameters
        if self.forgetting is None and graph.retained > parameters.keep:
            self.forgetting = Forgetting()
        if self.forgetting is not None:
            if not self.forgetting.step(graph, self.membership.added, self._held, parameters.name_limit):
                return
            self.forgetting = Forgetting() if self.forgetting.again and graph.retained > parameters.keep else None
        self.forget_at = max(
            parameters.keep,
            graph.retained + parameters.forget_every,
        )

    def _held(self, peer_id: str) -> int | None:
        return self.vector(peer_id) if self.active(peer_id) else None

    def _renew(self, peer_id: str) -> None:
        """A peer was added, or has begun an incarnation."""
        self._enlist(peer_id)
        if incarnations := self.graph.incarnations.get(peer_id):
            self.newest[peer_id] = incarnations.get(self.incarnation_label(peer_id))
        if self.forgetting and self.active(peer_id):
            self.forgetting.include(self.vector(peer_id), self.graph.guard)

    def _enlist(self, peer_id: str) -> None:
        members = self.membership
        is_peer = peer_id in members.added or peer_id in members.removed or peer_id in self.graph.incarnations
        if is_peer and peer_id not in self.newest:
            self.newest[peer_id] = None
            insort(self._roster, peer_id)
        elif not is_peer and peer_id in self.newest:
            del self.newest[peer_id]
            self._roster.remove(peer_id)

    def recall_peers(self) -> None:
        """Set what follows from a restored graph and restored members."""
        for peer_id in sorted({*self.graph.incarnations, *self.membership.added, *self.membership.removed}):
            self._renew(peer_id)

    def recall_pending(self, ready: Iterable[bytes], come: Sequence[bytes], *, begun: bool) -> None:
        """Set what was ready, and what had come; ``begun``: the last of these was under way."""
        self.ready, self._come = deque(ready), list(come)
        if begun:
            name = self._come.pop()
            self._waiters = name, self.floating.waiters(name)

    # Peers and their incarnations.

    def peers(self) -> list[str]:
        """Every peer that authored, or was added or removed, ordered by id."""
        return self._roster.copy()

    def is_peer(self, peer_id: str) -> bool:
        """Whether a peer authored, or was added or removed."""
        return peer_id in self.newest

    @property
    def active_count(self) -> int:
        """Number of peers that count for the stability frontier."""
        return len(self._roster) - len(self.membership.removed)

    def active(self, peer_id: str) -> bool:
        """Whether a peer counts for the stability frontier."""
        members = self.membership
        return peer_id not in members.removed and (peer_id in self.graph.incarnations or peer_id in members.added)

    def incarnation_label(self, peer_id: str) -> str:
        """The label of a peer's newest incarnation."""
        return max(self._labels(peer_id))

    def _labels(self, peer_id: str) -> list[str]:
        """The labels of a peer's incarnations that count."""
        members = self.membership
        labels = [members.added.get(peer_id, ""), *self.graph.incarnations.get(peer_id, ()), ""]
        voided = members.voided.get(peer_id)
        return [one for one in labels if one not in voided] or [""] if voided else labels

    def newest_incarnation(self, peer_id: str) -> Incarnation | None:
        """A peer's newest incarnation; None when it has proved nothing in it."""
        return self.newest.get(peer_id)

    def vector(self, peer_id: str) -> int:
        """What a peer provably holds in its newest incarnation."""
        incarnation = self.newest.get(peer_id)
        return incarnation.vector if incarnation else 0

    def frontier(self) -> int:
        """The stability frontier: what all active peers provably hold; 0 when there are none."""
        vectors = [self.vector(peer_id) for peer_id in self._roster if self.active(peer_id)]
        if not vectors:
            return 0
        stable = vectors[0]
        for vector in vectors[1:]:
            stable = meet(stable, vector, self.graph.guard)
        return stable


NEW, KNOWN, INVALID, REFUSED, UNPROVEN, EXCESS, POSTPONED = range(7)
"""Fields of ``Recorded``; and that the budget does not reach, so nothing has changed."""

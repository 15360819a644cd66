"""Soundness: in a simulated replication with known truth, the bound is never above what a peer really held."""

from __future__ import annotations

import random

import pytest
from gossipcontrol.server.core.knowledge.answer import holders
from gossipcontrol.server.core.knowledge.event import Member
from gossipcontrol.server.core.knowledge.intention import Intention
from gossipcontrol.server.core.knowledge.parameter import KnowledgeParameters
from gossipcontrol.server.core.knowledge.tracker import Tracker


class Replica:
    """A peer with its data; ``held`` is what it really held in each incarnation."""

    def __init__(self, peer_id: str) -> None:
        self.peer_id = peer_id
        self.newest_incarnation = 0
        self.store: dict[bytes, Intention] = {}
        self.held: dict[str, set[bytes]] = {"": set()}
        self.saved: dict[bytes, Intention] = {}
        """What is on its disk; a crash falls back to it."""

    @property
    def incarnation(self) -> str:
        return f"{self.newest_incarnation:06d}" if self.newest_incarnation else ""

    def take(self, one: Intention) -> None:
        self.store[one.hash] = one
        self.held[self.incarnation].add(one.hash)

    def own_last(self) -> bytes:
        """Its newest own intention that it still has; after a loss an old one, or none."""
        own = [one for one in self.store.values() if one.author_id == self.peer_id]
        return own[-1].hash if own else b""

    def lose(self, kept: dict[bytes, Intention]) -> None:
        self.newest_incarnation += 1
        self.store = dict(kept)
        self.held[self.incarnation] = set(kept)


class Swarm:
    """Replicas that write, sync in part, save, crash and lose data; their writes are recorded late, in any order."""

    def __init__(self, rng: random.Random, size: int, parameters: KnowledgeParameters) -> None:
        self.rng = rng
        self.peers = [Replica(f"p{number}") for number in range(size)]
        self.tracker = Tracker(parameters)
        self.underway: list[Intention] = []
        self.written = 0

    def step(self) -> None:
        peer, other = self.rng.sample(self.peers, 2)
        luck = self.rng.random()
        if luck < 0.35:
            self.write(peer)
        elif luck < 0.75:
            self.sync(peer, other)
        elif luck < 0.85:
            peer.saved = dict(peer.store)
        elif luck < 0.88:
            peer.lose(peer.saved if self.rng.random() < 0.5 else {})
            if self.rng.random() < 0.3:
                self.tracker.change_members([Member(peer.peer_id, peer.incarnation)], [])
        self.deliver()

    def write(self, peer: Replica) -> None:
        newest = list(peer.store)[-6:]
        seen = tuple(self.rng.sample(newest, min(len(newest), self.rng.randint(0, 3))))
        name = b"%d" % self.written
        self.written += 1
        ack = self.rng.random() < 0.3
        one = Intention(peer.peer_id, name, peer.own_last(), seen, ack, peer.incarnation)
        peer.take(one)
        self.underway.append(one)

    def sync(self, peer: Replica, other: Replica) -> None:
        """Copy part of the other's data, ancestors first; a sync may break off anywhere."""
        wanted = [one for name, one in other.store.items() if name not in peer.store]
        for one in wanted[: self.rng.randint(0, len(wanted))]:
            peer.take(one)

    def deliver(self) -> None:
        count = self.rng.choice((0, 0, 1, 2, 5))
        for _ in range(min(count, len(self.underway))):
            one = self.underway.pop(self.rng.randrange(max(0, len(self.underway) - 20), len(self.underway)))
            self.tracker.record([one], 1.0)

    def check(self) -> None:
        graph = self.tracker.graph
        known = [(name, position) for name, position in graph.positions.items()]
        for peer in self.peers:
            vector, held = self.tracker.vector(peer.peer_id), peer.held[self.tracker.incarnation_label(peer.peer_id)]
            for name, position in known:
                if vector >> (position >> 32) * 32 & 0xFFFFFFFF >= position & 0xFFFFFFFF:
                    assert name in held, f"{peer.peer_id} never held {name!r} in this incarnation"


@pytest.mark.parametrize("seed", range(16))
def test_the_bound_is_never_above_the_truth(seed: int) -> None:
    rng = random.Random(seed)
    forgetful = KnowledgeParameters(keep=20, forget_every=5)
    swarm = Swarm(rng, rng.choice((2, 4, 9)), forgetful if seed % 2 else KnowledgeParameters())
    for number in range(500):
        swarm.step()
        if number % 10 == 0:
            swarm.check()
    while swarm.underway:
        swarm.deliver()
    swarm.check()
    assert len(swarm.tracker.floating) == 0
    assert swarm.tracker.graph.order == swarm.written, "nothing was lost on the way"


def test_the_bound_reaches_the_truth_once_all_have_synced_and_acknowledged() -> None:
    swarm = Swarm(random.Random(1), 5, KnowledgeParameters())
    for _ in range(300):
        swarm.step()
    for peer in swarm.peers:
        for other in swarm.peers:
            for one in list(other.store.values()):
                peer.take(one)
    everything = set(swarm.peers[0].store)
    for peer in swarm.peers:
        name = b"last%s" % peer.peer_id.encode()
        swarm.underway.append(Intention(peer.peer_id, name, peer.own_last(), tuple(everything), True, peer.incarnation))
    while swarm.underway:
        swarm.deliver()
    for name in everything:
        assert holders(swarm.tracker, name) == [peer.peer_id for peer in swarm.peers]

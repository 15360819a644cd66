"""A lying minority: the frontier and honest peers' vectors never rise above the truth, and lose nothing by lies."""

from __future__ import annotations

import random
from collections.abc import Sequence

from gossipcontrol.server.core.knowledge.event import Member
from gossipcontrol.server.core.knowledge.intention import Intention
from gossipcontrol.server.core.knowledge.parameter import KnowledgeParameters
from gossipcontrol.server.core.knowledge.tracker import Tracker
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

HONEST = ("alice", "bob", "carol", "dave")


class Peer:
    """A peer with its data, which it takes over whole and ancestors first, as stores that apply causally do."""

    def __init__(self, peer_id: str) -> None:
        self.peer_id = peer_id
        self.held: dict[bytes, Intention] = {}
        self.last = b""

    def write(self, name: bytes, rng: random.Random) -> Intention:
        newest = list(self.held)[-5:]
        seen = tuple(rng.sample(newest, min(len(newest), rng.randint(0, 3))))
        one = Intention(self.peer_id, name, self.last, seen, rng.random() < 0.3)
        self.last = name
        self.held[name] = one
        return one


class Field:
    """Honest peers that write, sync and tell the service; and liars, who do so too, and tell it anything besides."""

    def __init__(self, rng: random.Random, liars: int, *, of_themselves: bool) -> None:
        self.rng = rng
        self.honest = [Peer(name) for name in HONEST]
        self.liars = [Peer(f"liar{number}") for number in range(liars)]
        self.of_themselves = of_themselves
        witnesses = liars + 1 if of_themselves else 1
        parameters = KnowledgeParameters(
            vouchers=liars + 1, witnesses=witnesses, branch_limit=2, chain_limit=len(HONEST) + liars,
            unproven_limit=200, floating_limit=2000,
        )  # fmt: skip
        self.tracker = Tracker(parameters)
        self.written: list[Intention] = []

    def step(self) -> None:
        luck = self.rng.random()
        peer, other = self.rng.sample([*self.honest, *self.liars], 2)
        if luck < 0.3:
            self.written.append(peer.write(b"%d" % len(self.written), self.rng))
        elif luck < 0.5:
            missing = [one for name, one in other.held.items() if name not in peer.held]
            peer.held |= {one.hash: one for one in missing[: self.rng.randint(0, len(missing))]}
        elif luck < 0.7:
            self.say(peer, self.rng.sample(list(peer.held.values()), len(peer.held) // 2))
        elif self.written:
            liar = self.rng.choice(self.liars)
            self.say(liar, [self.lie(liar) for _ in range(3)])

    def say(self, peer: Peer, intentions: Sequence[Intention]) -> None:
        """Tell the service, as this peer's identity."""
        self.tracker.record(intentions, 1.0, peer.peer_id, bytes(one.author_id == peer.peer_id for one in intentions))

    def lie(self, liar: Peer) -> Intention:
        """A real intention with something changed, or an invented one, that is to prove what nobody knows."""
        rng = self.rng
        one = rng.choice(self.written)
        everything = tuple(each.hash for each in self.written[-3:] if each.hash != one.hash)
        if one.author_id == liar.peer_id and not self.of_themselves:
            one = one._replace(author_id=rng.choice(HONEST))
        match rng.randrange(4):
            case 0:
                return one._replace(author_id=liar.peer_id if self.of_themselves else rng.choice(HONEST))
            case 1:
                invented = b"invented%d" % rng.randrange(10)
                return Intention(rng.choice(HONEST), invented, one.hash, everything, False, rng.choice(("", "2")))
            case 2 if self.of_themselves or one.author_id in HONEST:
                return one._replace(dependencies=everything)
            case _:
                return one._replace(author_id=rng.choice(HONEST), store_prev=b"", dependencies=everything)

    def check(self) -> None:
        frontier, shared = reached(self.tracker, self.tracker.frontier()), [set(self.tracker.graph.positions)]
        for peer in self.honest:
            proven = reached(self.tracker, self.tracker.vector(peer.peer_id))
            assert proven <= peer.held.keys(), f"{peer.peer_id} is said to hold what it has not"
            if self.tracker.active(peer.peer_id):
                shared.append(set(peer.held))
        assert all(frontier <= held for held in shared), "what is stable is held by every honest peer"

    def settle(self) -> None:
        """Everybody honest has everything and says so, while the liars go on."""
        for peer in self.honest:
            for other in (*self.honest, *self.liars):
                peer.held |= other.held
        for number, peer in enumerate(self.honest):
            everything = tuple(peer.held)[-8:]
            one = Intention(peer.peer_id, b"last%d" % number, peer.last, everything, True)
            peer.held[one.hash] = one
        for peer in self.honest:
            for other in self.honest:
                peer.held |= other.held
        for peer in self.honest:
            for one in peer.held.values():
                self.say(peer, [one])
                self.say(self.liars[0], [self.lie(self.liars[0])])


def reached(tracker: Tracker, vector: int) -> set[bytes]:
    """The hashes that a vector has."""
    positions = tracker.graph.positions.items()
    return {name for name, at in positions if vector >> (at >> 32) * 32 & 0xFFFFFFFF >= at & 0xFFFFFFFF}


@given(st.integers(0, 1 << 30), st.integers(1, 2), st.booleans())
@settings(max_examples=25, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
def test_lies_raise_nothing_and_take_nothing(seed: int, liars: int, of_themselves: bool) -> None:
    field = Field(random.Random(seed), liars, of_themselves=of_themselves)
    for number in range(80):
        field.step()
        if number % 8 == 0:
            field.check()
    field.settle()
    field.check()
    honest = Tracker()
    honest.record([one for peer in field.honest for one in peer.held.values()], 1.0)
    while field.tracker.is_pending:
        field.tracker.record((), 1.0)
    while honest.is_pending:
        honest.record((), 1.0)
    for name in HONEST:
        assert reached(field.tracker, field.tracker.vector(name)) == reached(honest, honest.vector(name))
    assert len(field.tracker.graph.chains) <= len(HONEST) + liars


def test_the_same_lies_do_harm_where_they_are_believed() -> None:
    """The property above can fail: over a listener without identities every word counts."""
    alice = (Intention("alice", b"a1"), Intention("alice", b"a2", b"a1"))
    tracker = Tracker()
    tracker.record([*alice, Intention("bob", b"b1", b"", (b"a1",))], 1.0)
    before = reached(tracker, tracker.frontier())
    forged = Intention("bob", b"forged", b"b1", (b"a2",))
    tracker.record([forged], 1.0, "mallory", b"\0")
    assert reached(tracker, tracker.frontier()) == before == {b"a1"}
    tracker.change_members([Member("alice")], [])
    tracker.record([forged], 1.0)
    assert reached(tracker, tracker.frontier()) == {b"a1", b"a2"}

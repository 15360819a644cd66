"""An oracle of knowledge that shares no idea with the tracker: it keeps a set of intentions and walks all of it."""

from __future__ import annotations

from collections.abc import Iterable

from gossipcontrol.server.core.knowledge.intention import Intention

Head = tuple[str, int, bytes, str]
"""Author, position, hash, incarnation."""


class Oracle:
    """Answers from first principles, at any cost."""

    def __init__(self) -> None:
        self.recorded: dict[bytes, Intention] = {}
        self.added: dict[str, str] = {}
        self.removed: set[str] = set()

    def record(self, intentions: Iterable[Intention]) -> None:
        for one in intentions:
            self.recorded.setdefault(one.hash, one)

    def resolve(self) -> dict[bytes, Intention]:
        """The intentions whose ancestors are all recorded, each after its ancestors."""
        resolved: dict[bytes, Intention] = {}
        waiting = dict(self.recorded)
        while True:
            ready = [one for one in waiting.values() if all(name in resolved for name in named(one))]
            ready = [one for one in ready if not one.store_prev or owns(one, resolved[one.store_prev])]
            if not ready:
                return resolved
            for one in ready:
                resolved[one.hash] = waiting.pop(one.hash)


def named(one: Intention) -> list[bytes]:
    return [name for name in (one.store_prev, *one.dependencies) if name]


def owns(one: Intention, prev: Intention) -> bool:
    return one.author_id == prev.author_id


class View:
    """The answers for what an oracle has recorded so far."""

    def __init__(self, oracle: Oracle) -> None:
        self.all = oracle.resolve()
        self.added, self.removed = oracle.added, oracle.removed
        stuck = [one for name, one in oracle.recorded.items() if name not in self.all]
        self.floating = {one.hash for one in stuck if not all(name in self.all for name in named(one))}
        self.depth: dict[bytes, int] = {}
        for name, one in self.all.items():
            self.depth[name] = 1 + (self.depth[one.store_prev] if one.store_prev else 0)
        self.peers = sorted({*(one.author_id for one in self.all.values()), *self.added, *self.removed})
        self.active = [peer for peer in self.peers if peer not in self.removed]
        self.held = {peer: self.reach(self.proofs(peer)) for peer in self.peers}

    def incarnation(self, peer: str) -> str:
        return max([self.added.get(peer, ""), *(one.incarnation for one in self.all.values() if one.author_id == peer)])

    def proofs(self, peer: str) -> list[bytes]:
        incarnation = self.incarnation(peer)
        return [one.hash for one in self.all.values() if one.author_id == peer and one.incarnation == incarnation]

    def reach(self, names: Iterable[bytes]) -> set[bytes]:
        todo, reached = list(names), set[bytes]()
        while todo:
            name = todo.pop()
            if name not in reached:
                reached.add(name)
                todo += named(self.all[name])
        return reached

    def heads(self, held: set[bytes]) -> set[Head]:
        continued = {self.all[name].store_prev for name in held}
        return {
            (self.all[name].author_id, self.depth[name], name, self.all[name].incarnation)
            for name in held
            if name not in continued
        }

    def frontier(self) -> set[bytes]:
        return set[bytes].intersection(*(self.held[peer] for peer in self.active)) if self.active else set()

    def contents(self) -> set[bytes]:
        return {name for name, one in self.all.items() if not one.acknowledgement}

    def behind(self, held: set[bytes]) -> dict[str, int]:
        behind: dict[str, int] = {}
        for name in self.contents() - held:
            author = self.all[name].author_id
            behind[author] = behind.get(author, 0) + 1
        return behind

    def holders(self, name: bytes) -> list[str]:
        return [peer for peer in self.peers if name in self.held[peer]]

    def at_risk(self) -> int:
        return sum(sum(name in self.held[peer] for peer in self.active) < 2 for name in self.contents())

    def unshared(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for peer in self.active if len(self.active) > 1 else ():
            for name in self.contents():
                one = self.all[name]
                mine = one.author_id == peer and one.incarnation == self.incarnation(peer)
                if mine and not any(name in self.held[other] for other in self.active if other != peer):
                    found[peer] = found.get(peer, 0) + 1
        return found

    def forks(self) -> set[tuple[str, str, bytes]]:
        seen: set[tuple[str, str, bytes]] = set()
        forked: set[tuple[str, str, bytes]] = set()
        for one in self.all.values():
            key = (one.author_id, one.incarnation, one.store_prev)
            (forked if key in seen else seen).add(key)
        return forked

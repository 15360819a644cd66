"""Whom a node should dial: fresh peers that it does not hear already, none of them too often."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import islice
from zlib import crc32

from gossipcontrol.server.core.codec import Plain
from gossipcontrol.server.core.deciding.registry import Node, Registry, Slot
from gossipcontrol.server.core.effect import BootstrapPeer
from gossipcontrol.server.core.event import NEVER

SECOND = 1.0
"""The interval over which the load of a peer is bounded."""
LOOK = 32
"""How many eligible peers are ranked: a start must cost the same in a store of any size."""
REACH = 256
"""How many peers are looked at to find those, where too few are online."""


class NamingRate:
    """How often each peer was named within the last second; nothing older is kept."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._named: OrderedDict[str, deque[float]] = OrderedDict()
        """Peer -> when it was named, at most ``most`` instants; the peer named longest ago first."""

    def __len__(self) -> int:
        return len(self._named)

    @property
    def instants(self) -> Mapping[str, Sequence[float]]:
        """When each peer was named of late."""
        return self._named

    def forget(self, now: float) -> None:
        """Drop what was named a second ago or longer."""
        while self._named and next(iter(self._named.values()))[-1] <= now - SECOND:
            self._named.popitem(last=False)

    def of(self, peer_id: str, now: float) -> int:
        """How often a peer was named within the last second; a look changes nothing, for replay does not look."""
        named = self._named.get(peer_id)
        if named is None:
            return 0
        return len(named) if named[0] > now - SECOND else sum(at > now - SECOND for at in named)

    def name(self, peer_id: str, now: float) -> None:
        """Count one more naming."""
        self._named.setdefault(peer_id, deque(maxlen=self._most)).append(now)
        self._named.move_to_end(peer_id)

    def save(self) -> Plain:
        """Each peer with its instants, in order."""
        return [[peer_id, list(named)] for peer_id, named in self._named.items()]

    def load(self, plain: Plain) -> None:
        """Take them over."""
        self._named = OrderedDict((peer_id, deque(named, maxlen=self._most)) for peer_id, named in plain)


def _is_limited(address: str) -> bool:
    """Whether an address is limited by itself; that of a relay, which many nodes have, is only with each node."""
    return "://" not in address


class Bootstrap:
    """Chooses bootstrap peers, and remembers whom it named."""

    def __init__(self, registry: Registry, fanout: int, spread: int, fresh: float) -> None:
        self._registry = registry
        self._fanout = fanout
        self._spread = spread
        self._fresh = fresh
        self._load = NamingRate(spread)

    def choose(
        self, slot: Slot, since: float, now: float, bridge: Sequence[str] = (), *, only_bridge: bool = False
    ) -> tuple[str, ...]:
        """At most ``fanout`` peers: of those online first those that speak themselves, then those that others hear.

        Among these, seldom named before often named, then by lot: how often one reports, or is heard, buys no place.
        Then the others, the fresher first. What only one identity names is for its own nodes: others could be sent
        anywhere.

        None that is known to be away: a dial in vain can make a node deaf to a peer for good.

        Before all, peers of the other side of a partition, but where there is room for more than one they leave room.
        With ``only_bridge`` nobody else is named, for a node that has neighbours would lose one to another.
        This looks at liveness and changes nothing; ``name`` takes the choice, also when a replay recalls it.
        Neighbours that gave a sign of life after ``since``, when the oldest trigger came, are present: not named.
        """
        far = [one for one in bridge if self._named(slot, one, since, now) is not None][: max(1, self._fanout - 1)]
        if only_bridge and far:
            return tuple(far)
        most, liveness, store_id = self._fanout - len(far), self._registry.liveness, slot.store.store_id
        identity, seed = slot.node.speaker or slot.node.node_id, crc32(f"{slot.node.node_id} {now!r}".encode())
        chosen: list[str] = []
        for speaking in (True, False):
            if len(chosen) < most:
                drawn = liveness.draw_online(store_id, identity, seed, speaking=speaking)
                chosen += self._least_named(slot, drawn, since, now, far)[: most - len(chosen)]
        if len(chosen) < most:
            chosen += self._freshest(slot, since, now, seed, {*far, *chosen})[: most - len(chosen)]
        return (*far, *chosen)

    def _least_named(
        self, slot: Slot, drawn: Iterator[str], since: float, now: float, far: Sequence[str]
    ) -> Sequence[str]:
        """Of the first ``LOOK`` drawn that may be named, those named least of late first, then in the order drawn."""
        load, instants, lately, spread = self._load, self._load.instants, now - SECOND, self._spread
        own_id, neighbors = slot.node.node_id, slot.neighbors
        nodes = self._registry.nodes if slot.node.speaker else None
        ranked: list[tuple[int, int, str]] = []
        for peer_id in drawn:
            # As in _named, written out: a start looks at many peers, and a trigger begins hundreds of starts.
            if peer_id == own_id or peer_id in far or (neighbors and neighbors.get(peer_id, NEVER) > since):
                continue
            times = instants.get(peer_id)
            named = 0 if times is None else len(times) if times[0] > lately else load.of(peer_id, now)
            if nodes is not None and (node := nodes.get(peer_id)) is not None and node.speaker:
                named = max(named, self._addresses_named(node, now))
            if named < spread:
                ranked.append((named, len(ranked), peer_id))
                if len(ranked) == LOOK:
                    break
        ranked.sort()
        return [peer_id for _, _, peer_id in ranked]

    def _freshest(self, slot: Slot, since: float, now: float, seed: int, known: Container[str]) -> Sequence[str]:
        """Of the ``LOOK`` heard last that may be named and are not ``known``: who is fresh before who is stale.

        Then those that speak themselves, then seldom named ones, then the fresher, in doubling steps, then by lot.
        """
        ranked: list[tuple[bool, bool, int, int, int, str]] = []
        identity = slot.node.speaker or slot.node.node_id
        for peer_id, heard_at, speaks in islice(
            self._registry.liveness.last_heard(slot.store.store_id, identity), REACH
        ):
            named = None if peer_id in known else self._named(slot, peer_id, since, now)
            if named is not None:
                age, lot = now - heard_at, crc32(peer_id.encode(), seed)
                ranked.append((age >= self._fresh, not speaks, named, int(age).bit_length(), lot, peer_id))
                if len(ranked) == LOOK:
                    break
        ranked.sort()
        return [one[-1] for one in ranked]

    def _named(self, slot: Slot, peer_id: str, since: float, now: float) -> int | None:
        """How often a peer was named of late; None when it must not be: itself, a present neighbour, or too often."""
        if peer_id == slot.node.node_id or slot.neighbors.get(peer_id, NEVER) > since:
            return None
        if self._registry.liveness.is_away(slot.store.store_id, peer_id):
            return None
        named, node = self._load.of(peer_id, now), self._registry.nodes.get(peer_id)
        if node is not None and node.speaker:
            named = max(named, self._addresses_named(node, now))
        return named if named < self._spread else None

    def _addresses_named(self, node: Node, now: float) -> int:
        """How often an address of a node was named of late, whichever nodes it was named with."""
        return max((self._load.of(one, now) for one in filter(_is_limited, node.addresses)), default=0)

    def name(self, peer_ids: Sequence[str], now: float) -> tuple[BootstrapPeer, ...]:
        """Count the peers as named now; with their confirmed addresses, or if no peer has any, with the last ones."""
        self._load.forget(now)
        nodes, given = [self._registry.nodes.get(peer_id) for peer_id in peer_ids], self._registry.given
        addresses = [given(node, node.confirmed_addresses) if node else () for node in nodes]
        if not any(addresses):
            addresses = [given(node, node.last_addresses(now)) if node else () for node in nodes]
        limited = dict.fromkeys(peer_ids)
        for node, where in zip(nodes, addresses, strict=True):
            if node is not None and node.speaker:
                limited.update(dict.fromkeys(filter(_is_limited, where)))
        for one in limited:
            self._load.name(one, now)
        return tuple(map(BootstrapPeer, peer_ids, addresses))

    def save(self) -> Plain:
        """Whom it named of late."""
        return self._load.save()

    def load(self, plain: Plain) -> None:
        """Take it over."""
        self._load.load(plain)

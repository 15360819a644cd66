"""The connections below an overlay: links that die late, and dials that poison, as in iroh-gossip 0.35 to 0.101.

A node whose dial of a peer has failed never dials that peer again, until the peer connects to it (docs/iroh.md). The
transport gives a silent peer up and dials it again before it calls the neighbour lost, so a link that was lost without
a path is poisoned at both ends. The times are those measured with 0.35.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from gossipcontrol.sim.overlay import Overlay
from gossipcontrol.sim.paths import Paths

LINK_LIFE = (48.0, 60.0)
"""Seconds without a path after which an end calls its neighbour lost; it has dialled it in vain by then."""
DIAL_TIME = 30.0
"""Seconds after which a dial fails; if a path appears before, it succeeds."""
DISTRUST = (5.0, 6.5)
"""Seconds after which a connection moves to an address that its node was told of."""
SHUFFLE = 60.0
"""Seconds between two times at which a node dials the peers that it knows and has no link to, unless they poison."""
SWEEP = 0.5
"""Seconds between two looks at all connections."""

Pair = tuple[str, str]


class Dialler:
    """Links and dials of one overlay. ``reaches``: packets pass between two; ``runs``: a node runs its overlay."""

    def __init__(
        self,
        overlay: Overlay,
        paths: Paths,
        chance: random.Random,
        reaches: Callable[[str, str], bool],
        runs: Callable[[str], bool],
        *,
        redials: bool = True,
        link_life: tuple[float, float] = LINK_LIFE,
        dial_time: float = DIAL_TIME,
    ) -> None:
        self._redials = redials
        """Whether a lost neighbour is dialled, by the transport before it calls it lost, and by shuffles: so with 0.35.
        With 0.97, a node that has other neighbours was not seen to dial a lost one."""
        self._link_life = link_life
        self._dial_time = dial_time
        self.poisoned: set[Pair] = set()
        """(node, peer): the node has dialled the peer in vain, and never dials it again by itself."""
        self._overlay = overlay
        self._paths = paths
        self._chance = chance
        self._reaches = reaches
        self._runs = runs
        self._dials: dict[Pair, float] = {}
        """Dials under way, and for how many seconds."""
        self._vain: dict[Pair, float] = {}
        """(node, neighbour) -> seconds for which the node has run without a path to it."""
        self._life: dict[Pair, float] = {}
        self._shuffles_in: dict[str, float] = {}
        self._stalled: set[frozenset[str]] = set()
        """Connections that pass nothing any more, although packets pass: both ends list each other until they end."""
        self._distrusted: dict[frozenset[str], float] = {}
        """Connections that lost both addresses -> seconds until they move to another."""

    def can_dial(self, node_id: str, peer_id: str) -> bool:
        """Whether a connection that a node opens would come up."""
        return self._reaches(node_id, peer_id) and self._paths.knows(node_id, peer_id)

    def carries(self, one: str, other: str) -> bool:
        """Whether the link between two neighbours passes messages."""
        if not self._is_mutual(one, other) or not self._works(one, other):
            return False
        # QUIC finds a path again a moment after it is back: here, with the next sweep.
        recovers = (one, other) in self._vain or (other, one) in self._vain
        return not recovers and not self._is_distrusted(frozenset((one, other)))

    def dial(self, node_id: str, peer_id: str) -> None:
        """Have a node's overlay dial a peer; nothing happens when it is poisoned, or believes it has a link."""
        if node_id != peer_id and (node_id, peer_id) not in self.poisoned and not self._lists(node_id, peer_id):
            self._dials.setdefault((node_id, peer_id), 0.0)
            self._try((node_id, peer_id))

    def knock(self, node_id: str, peer_id: str) -> bool:
        """Have a peer open a connection to a node that asked for it over a direct sync; False when that fails."""
        if not self.can_dial(node_id, peer_id):
            return False
        self._paths.meet(node_id, peer_id)
        if not self._lists(peer_id, node_id):
            self.poisoned.discard((node_id, peer_id))
        return True

    def poison(self, pair: Pair) -> None:
        """A dial failed."""
        self.poisoned.add(pair)

    def stall(self, node_id: str) -> None:
        """The connections of a node pass nothing any more; only a new one does."""
        self._stalled |= {frozenset((node_id, peer_id)) for peer_id in self._overlay.views[node_id]}

    def leave(self, node_id: str) -> None:
        """A node leaves its overlay: it lists nobody, and dials nobody. Its peers notice as they notice a loss."""
        self._dials = {pair: seconds for pair, seconds in self._dials.items() if pair[0] != node_id}
        for peer_id in list(self._overlay.views[node_id]):
            self._vain.pop((node_id, peer_id), None)
            self._overlay.drop(node_id, peer_id)

    def renew(self, node_id: str) -> None:
        """A node moves to a new endpoint, which knows nothing of failed dials."""
        self.leave(node_id)
        self.poisoned = {pair for pair in self.poisoned if pair[0] != node_id}

    def sweep(self) -> None:
        """Let ``SWEEP`` seconds pass for all connections."""
        self._distrusted = {link: left - SWEEP for link, left in self._distrusted.items()}
        for node_id, view in self._overlay.views.items():
            for peer_id in list(view) if self._runs(node_id) else ():
                self._age(node_id, peer_id)
            self._shuffle(node_id)
        for pair in list(self._dials):
            if pair not in self._dials or not self._runs(pair[0]):
                continue  # another connection has ended it, or its node stands still
            self._dials[pair] += SWEEP
            if not self._try(pair) and self._dials[pair] >= self._dial_time:
                del self._dials[pair]
                self.poison(pair)

    def _shuffle(self, node_id: str) -> None:
        if self._redials and self._runs(node_id):
            left = self._shuffles_in.setdefault(node_id, self._chance.uniform(0.0, SHUFFLE)) - SWEEP
            self._shuffles_in[node_id] = left if left > 0 else SHUFFLE
            for peer_id in self._paths.known(node_id) if left <= 0 else ():
                if not self._overlay.is_full(node_id):
                    self.dial(node_id, peer_id)

    def _age(self, node_id: str, peer_id: str) -> None:
        pair, link = (node_id, peer_id), frozenset((node_id, peer_id))
        if not self._is_mutual(node_id, peer_id):
            if self.can_dial(node_id, peer_id):
                self._connect(node_id, peer_id)
                return
        elif self._works(node_id, peer_id) and not self._is_distrusted(link):
            self._vain.pop(pair, None)
            self._distrusted.pop(link, None)
            self._paths.meet(node_id, peer_id)
            return
        if not self._knows_any(node_id, peer_id):
            self._distrusted.setdefault(link, self._chance.uniform(*DISTRUST))
        self._vain[pair] = self._vain.get(pair, 0.0) + SWEEP
        if self._vain[pair] >= self._life.setdefault(pair, self._chance.uniform(*self._link_life)):
            del self._vain[pair], self._life[pair]
            self._overlay.drop(node_id, peer_id)
            if self.can_dial(node_id, peer_id):
                self._connect(node_id, peer_id)
            elif self._redials:
                self.poison(pair)

    def _is_distrusted(self, link: frozenset[str]) -> bool:
        return self._distrusted.get(link, 0.0) > 0

    def _try(self, pair: Pair) -> bool:
        if self.can_dial(*pair):
            self._connect(*pair)
            return True
        return False

    def _connect(self, node_id: str, peer_id: str) -> None:
        """A connection of a node comes up at a peer, whose neighbours then learn of the node and dial it too."""
        self._dials.pop((node_id, peer_id), None)
        self._dials.pop((peer_id, node_id), None)
        self.poisoned -= {(node_id, peer_id), (peer_id, node_id)}
        self._distrusted.pop(frozenset((node_id, peer_id)), None)
        self._stalled.discard(frozenset((node_id, peer_id)))
        for pair in ((node_id, peer_id), (peer_id, node_id)):
            self._vain.pop(pair, None)
        self._paths.meet(node_id, peer_id)
        for one, other in ((node_id, peer_id), (peer_id, node_id)):
            if not self._lists(other, one):
                self._overlay.drop(one, other)  # its end of a connection that the other end has given up
        self._overlay.link(node_id, peer_id)
        for other in list(self._overlay.views[peer_id]):
            if other != node_id and self.carries(other, peer_id):
                self._paths.remember(other, node_id, [self._paths.address(node_id)])
                if not self._overlay.is_full(other):
                    self.dial(other, node_id)

    def _lists(self, node_id: str, peer_id: str) -> bool:
        return peer_id in self._overlay.views[node_id]

    def _is_mutual(self, one: str, other: str) -> bool:
        return self._lists(one, other) and self._lists(other, one)

    def _knows_any(self, one: str, other: str) -> bool:
        return self._paths.knows(one, other) or self._paths.knows(other, one)

    def _works(self, one: str, other: str) -> bool:
        return self._has_path(one, other) and frozenset((one, other)) not in self._stalled

    def _has_path(self, one: str, other: str) -> bool:
        return self._reaches(one, other) and self._knows_any(one, other)

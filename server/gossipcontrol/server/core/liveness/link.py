"""The fresh links of one store's reporting nodes, and the sides into which they fall."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from gossipcontrol.server.core.liveness.parameter import LivenessParameters
from gossipcontrol.server.core.liveness.record import PeerState
from gossipcontrol.server.core.liveness.testimony import Observer, Testimony

StateOf = Callable[[str], PeerState | None]
"""The presence of a peer."""

_AWAY = frozenset({PeerState.OFFLINE, PeerState.LEFT, PeerState.ASLEEP})


class Links:
    """Who is linked with whom now, as far as fresh reports say. Built anew for each look, at about a store's size."""

    def __init__(self, testimony: Testimony, parameters: LivenessParameters, state: StateOf, now: float) -> None:
        self.fresh: dict[str, Observer] = {
            node_id: observer for node_id, observer in testimony.observers.items() if observer.is_fresh(now)
        }
        self.reported: Mapping[int, float] = {one.number: one.reported_at for one in self.fresh.values()}
        self.by_number = {one.number: one for one in self.fresh.values()}
        self.missing: set[tuple[str, str]] = set()
        """(observer, author): the author speaks, and the observer does not hear it."""
        self.mute: set[str] = set()
        """Authors whose broadcasts nobody hears who could say so."""
        self.linked: set[str] = set()
        """Nodes with any fresh link."""
        self._parents: dict[str, str] = {}
        self._open: set[str] = set()
        """Nodes with a fresh link to a peer that does not report."""
        self._parameters = parameters
        self._hear(testimony, now)
        self._list(state)

    def side(self, node_id: str) -> str:
        """The name of the side that a node is on."""
        parents = self._parents
        root = node_id
        while (parent := parents.get(root, root)) != root:
            root = parent
        while (parent := parents.get(node_id, root)) != root:
            parents[node_id] = root
            node_id = parent
        return root

    def sides(self) -> list[list[str]]:
        """The reporting nodes, by side, largest first."""
        found: dict[str, list[str]] = {}
        for node_id in self.fresh:
            found.setdefault(self.side(node_id), []).append(node_id)
        return sorted(found.values(), key=lambda side: (-len(side), min(side)))

    def is_closed(self, side: list[str]) -> bool:
        """Whether nothing can connect this side unseen: no peer that does not report is linked with it."""
        return not any(node_id in self._open for node_id in side)

    def witnesses(self, side: list[str]) -> set[str]:
        """The nodes that say of this side and its outside that one does not hear the other."""
        root = self.side(side[0])
        return {one for one, other in self.missing if (self.side(one) == root) != (self.side(other) == root)}

    def _hear(self, testimony: Testimony, now: float) -> None:
        horizon = now - self._parameters.suspect_ceiling
        for author_id, voice in testimony.voices.items():
            author = self.fresh.get(author_id)
            asked = missing = 0
            for number, heard_at, missed in voice.hearings(self.reported):
                observer = self.by_number[number]
                asked += 1
                if author is not None and self._misses(heard_at, missed, now):
                    missing += 1
                    self.missing.add((observer.node_id, author_id))
                elif heard_at > max(horizon, _alone_since(observer), _alone_since(author)):
                    self._join(observer.node_id, author_id)
            if author is not None and asked and asked == missing and (asked > 1 or len(self.fresh) == 2):
                self.mute.add(author_id)

    def _misses(self, heard_at: float, missed: float, now: float) -> bool:
        return missed >= self._parameters.rot_messages and heard_at <= now - self._parameters.suspect_floor

    def _list(self, state: StateOf) -> None:
        missing = self.missing
        for node_id, observer in self.fresh.items():
            for peer_id in observer.neighbors:
                if (node_id, peer_id) in missing or (peer_id, node_id) in missing:
                    continue
                if peer_id in self.fresh or state(peer_id) not in _AWAY:
                    self._join(node_id, peer_id)

    def _join(self, node_id: str, peer_id: str) -> None:
        """A fresh link of a reporting node with any peer."""
        self.linked.add(node_id)
        self.linked.add(peer_id)
        if peer_id not in self.fresh:
            self._open.add(node_id)
        one, other = self.side(node_id), self.side(peer_id)
        if one != other:
            self._parents[one] = other


def _alone_since(observer: Observer | None) -> float:
    """Who has no neighbours is linked by nothing that was heard before it lost them."""
    return -math.inf if observer is None or observer.alone_since is None else observer.alone_since

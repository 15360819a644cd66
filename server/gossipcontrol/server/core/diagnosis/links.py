"""The fresh links of one store's reporting nodes, and the sides into which they fall."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gossipcontrol.server.core.diagnosis.reports import Observer, StoreReports
from gossipcontrol.server.core.event import NEVER
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.presence.record import PeerState

StateOf = Callable[[str], PeerState | None]
"""The presence of a peer."""

_AWAY = frozenset({PeerState.OFFLINE, PeerState.LEFT, PeerState.ASLEEP})


class Links:
    """Who is linked with whom now, as far as fresh reports say. Built anew for each look, at about a store's size."""

    def __init__(self, reports: StoreReports, parameters: LivenessParameters, state: StateOf, now: float) -> None:
        self.fresh: dict[str, Observer] = {
            node_id: observer for node_id, observer in reports.observers.items() if observer.is_fresh(now)
        }
        self.reported_at: Mapping[int, float] = {one.number: one.reported_at for one in self.fresh.values()}
        self.by_number = {one.number: one for one in self.fresh.values()}
        self.missing: set[tuple[str, str]] = set()
        """(observer, author): the author speaks, and the observer does not hear it."""
        self.mute: set[str] = set()
        """Authors whose broadcasts nobody hears who could say so."""
        self.linked: set[str] = set()
        """Nodes with any fresh link."""
        self._parents: dict[str, str] = {}
        self._open: set[str] = set()
        """Nodes that something may link unseen: a neighbour that does not report, or others than those they name."""
        self.is_whole = False
        """Whether every reporting node is linked with every other, over others or not."""
        self._parameters = parameters
        self._find_missing(reports, now)
        self._join_listed(reports, state)
        if not self._check_whole():
            self._join_heard(reports, now)
            self._check_whole()

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
        """Whether nothing can connect this side unseen: none of its neighbours is a peer that does not report."""
        return not any(node_id in self._open for node_id in side)

    def witnesses(self) -> dict[str, set[str]]:
        """Side -> the nodes that say of it and its outside that one does not hear the other."""
        found: dict[str, set[str]] = {}
        for one, other in self.missing:
            first, second = self.side(one), self.side(other)
            if first != second:
                found.setdefault(first, set()).add(one)
                found.setdefault(second, set()).add(one)
        return found

    def _find_missing(self, reports: StoreReports, now: float) -> None:
        least, before = self._parameters.rot_messages, now - self._parameters.suspect_floor
        deliveries, by_number = reports.deliveries, self.by_number
        for author_id, author in self.fresh.items():
            delivery = deliveries[author_id]
            if delivery.broadcast_at + reports.period(author) <= now:
                continue  # what was lost once is no proof for ever
            asked, missing = delivery.missing(self.reported_at, least, before)
            for number in missing:
                self.missing.add((by_number[number].node_id, author_id))
            if missing and asked == len(missing) and (asked > 1 or len(self.fresh) == 2):
                self.mute.add(author_id)

    def _check_whole(self) -> bool:
        """Whether the links so far join all; they all have links then."""
        roots = {self.side(node_id) for node_id in self.fresh}
        self.is_whole = len(roots) < 2 and self.linked >= self.fresh.keys()
        return self.is_whole

    def _join_heard(self, reports: StoreReports, now: float) -> None:
        """Who heard another of late is linked with it: looked at where neighbours alone do not join all.

        Not so who has no neighbours and is heard by nobody: what still reaches it comes over links of which only the
        other end knows.
        """
        horizon = now - self._parameters.suspect_ceiling
        for author_id, delivery in reports.deliveries.items():
            since = max(horizon, _alone_since(self.fresh.get(author_id)))
            for number, heard_at in delivery.last_heard(self.reported_at):
                observer = self.by_number[number]
                node_id, alone_since = observer.node_id, _alone_since(observer)
                if alone_since > NEVER and node_id in self.mute:
                    continue
                if heard_at > max(since, alone_since) and (node_id, author_id) not in self.missing:
                    self._join(node_id, author_id)

    def _join_listed(self, reports: StoreReports, state: StateOf) -> None:
        """Who lists another is linked with it, if that is there.

        A peer that never reported is OFFLINE by its silence alone. It proves no link, but may be one.
        """
        missing, reporters = self.missing, (reports.observers, reports.former)
        for node_id, observer in self.fresh.items():
            if not observer.lists_neighbors:
                self._open.add(node_id)
            for peer_id in observer.neighbors:
                if (node_id, peer_id) in missing or (peer_id, node_id) in missing:
                    continue
                if peer_id in self.fresh or (seen := state(peer_id)) not in _AWAY:
                    self._join(node_id, peer_id)
                elif seen is PeerState.OFFLINE and not any(peer_id in known for known in reporters):
                    self._open.add(node_id)

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
    return NEVER if observer is None or observer.alone_since is None else observer.alone_since

"""The fresh links of one store's reporting nodes, and the sides (connected components) they form."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gossipcontrol.server.core.diagnosis.reports import Observer, StoreReports
from gossipcontrol.server.core.event import NEVER
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.presence.record import AWAY, PeerState

StateOf = Callable[[str], PeerState | None]
"""Looks up the presence of a peer."""


class Links:
    """Who is linked with whom, by fresh reports. Rebuilt for each evaluation, at a cost of about the store's size."""

    def __init__(self, reports: StoreReports, parameters: LivenessParameters, state: StateOf, now: float) -> None:
        self.fresh: dict[str, Observer] = {
            node_id: observer for node_id, observer in reports.observers.items() if observer.is_fresh(now)
        }
        self.reported_at: Mapping[int, float] = {one.number: one.reported_at for one in self.fresh.values()}
        self.by_number = {one.number: one for one in self.fresh.values()}
        self.missing: set[tuple[str, str]] = set()
        """(observer, author): the author broadcasts, and the observer does not hear it."""
        self.mute: set[str] = set()
        """Authors whose broadcasts reach none of the observers that could tell."""
        self.linked: set[str] = set()
        """Nodes with any fresh link."""
        self._parents: dict[str, str] = {}
        self._open: set[str] = set()
        """Nodes that may have links we cannot see: to neighbours that do not report, or that they do not list."""
        self.is_whole = False
        """Whether all reporting nodes are linked, directly or through others."""
        self._parameters = parameters
        self._find_missing(reports, now)
        self._join_listed(reports, state)
        if not self._check_whole():
            self._join_heard(reports, now)
            self._check_whole()

    def side(self, node_id: str) -> str:
        """The root of a node's side, by union-find with path compression."""
        parents = self._parents
        root = node_id
        while (parent := parents.get(root, root)) != root:
            root = parent
        while (parent := parents.get(node_id, root)) != root:
            parents[node_id] = root
            node_id = parent
        return root

    def sides(self) -> list[list[str]]:
        """The reporting nodes by side, the largest side first."""
        found: dict[str, list[str]] = {}
        for node_id in self.fresh:
            found.setdefault(self.side(node_id), []).append(node_id)
        return sorted(found.values(), key=lambda side: (-len(side), min(side)))

    def is_closed(self, side: list[str]) -> bool:
        """Whether no unseen link can connect this side: none of its neighbours is a peer that does not report."""
        return not any(node_id in self._open for node_id in side)

    def witnesses(self) -> dict[str, set[str]]:
        """Side -> the nodes that testify to a link missing between it and the outside."""
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
                continue  # a loss proves nothing once the author falls silent
            asked, missing = delivery.missing(self.reported_at, least, before)
            for number in missing:
                self.missing.add((by_number[number].node_id, author_id))
            if missing and asked == len(missing) and (asked > 1 or len(self.fresh) == 2):
                self.mute.add(author_id)

    def _check_whole(self) -> bool:
        """Update and return ``is_whole``."""
        roots = {self.side(node_id) for node_id in self.fresh}
        self.is_whole = len(roots) < 2 and self.linked >= self.fresh.keys()
        return self.is_whole

    def _join_heard(self, reports: StoreReports, now: float) -> None:
        """Link observers with authors they heard recently; used where neighbour lists alone do not connect all.

        A mute node without neighbours is excluded: what reaches it comes over links that only the other end lists.
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
        """Link nodes with the neighbours they list, if those are present.

        A peer that never reported is OFFLINE by its silence alone: that proves no link, but there may be one.
        """
        missing, reporters = self.missing, (reports.observers, reports.former)
        for node_id, observer in self.fresh.items():
            if not observer.lists_neighbors:
                self._open.add(node_id)
            for peer_id in observer.neighbors:
                if (node_id, peer_id) in missing or (peer_id, node_id) in missing:
                    continue
                if peer_id in self.fresh or (seen := state(peer_id)) not in AWAY:
                    self._join(node_id, peer_id)
                elif seen is PeerState.OFFLINE and not any(peer_id in known for known in reporters):
                    self._open.add(node_id)

    def _join(self, node_id: str, peer_id: str) -> None:
        """Add a fresh link of a reporting node with any peer."""
        self.linked.add(node_id)
        self.linked.add(peer_id)
        if peer_id not in self.fresh:
            self._open.add(node_id)
        one, other = self.side(node_id), self.side(peer_id)
        if one != other:
            self._parents[one] = other


def _alone_since(observer: Observer | None) -> float:
    """Since when a node has no neighbours: messages heard before that prove no link now."""
    return NEVER if observer is None or observer.alone_since is None else observer.alone_since

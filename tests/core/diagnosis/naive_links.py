"""The links of one store the simple way: every listed neighbour is looked at by itself, whatever is known already."""

from __future__ import annotations

from gossipcontrol.server.core.diagnosis.reports import Observer
from gossipcontrol.server.core.event import NEVER
from gossipcontrol.server.core.presence.record import PeerState

from tests.kit.store_reports import Store

AWAY = (PeerState.OFFLINE, PeerState.LEFT, PeerState.ASLEEP)


class NaiveLinks:
    """As ``Links``, for comparison; what both find missing is the same code, and so is taken from there."""

    def __init__(self, store: Store, missing: set[tuple[str, str]], mute: set[str], now: float) -> None:
        self.fresh = {one: it for one, it in store.reports.observers.items() if it.is_fresh(now)}
        self.linked: set[str] = set()
        self.open: set[str] = set()
        self._edges: set[tuple[str, str]] = set()
        self._join_listed(store, missing)
        if not self.is_whole:
            self._join_heard(store, missing, mute, now)

    @property
    def is_whole(self) -> bool:
        return len(self.sides()) < 2 and self.linked >= self.fresh.keys()

    def sides(self) -> set[frozenset[str]]:
        """The fresh nodes of each connected component."""
        found, left = set[frozenset[str]](), set(self.fresh)
        while left:
            side, frontier = set[str](), {left.pop()}
            while frontier:
                side |= frontier
                near = {b for a, b in self._edges if a in frontier} | {a for a, b in self._edges if b in frontier}
                frontier = near - side
            found.add(frozenset(side & self.fresh.keys()))
            left -= side
        return found

    def _join(self, node_id: str, peer_id: str) -> None:
        self.linked |= {node_id, peer_id}
        self._edges.add((node_id, peer_id))
        if peer_id not in self.fresh:
            self.open.add(node_id)

    def _join_listed(self, store: Store, missing: set[tuple[str, str]]) -> None:
        reports = store.reports
        for node_id, observer in self.fresh.items():
            if not observer.lists_neighbors:
                self.open.add(node_id)
            for peer_id in observer.neighbors:
                if (node_id, peer_id) in missing or (peer_id, node_id) in missing:
                    continue
                state = store.state(peer_id)
                if peer_id in self.fresh or state not in AWAY:
                    self._join(node_id, peer_id)
                elif state is PeerState.OFFLINE and peer_id not in {*reports.observers, *reports.former}:
                    self.open.add(node_id)

    def _join_heard(self, store: Store, missing: set[tuple[str, str]], mute: set[str], now: float) -> None:
        by_number = {one.number: one for one in self.fresh.values()}
        for author_id, delivery in store.reports.deliveries.items():
            since = max(now - store.parameters.suspect_ceiling, _alone_since(self.fresh.get(author_id)))
            for number, heard_at in delivery.last_heard(by_number):
                observer = by_number[number]
                alone_since = _alone_since(observer)
                if alone_since > NEVER and observer.node_id in mute:
                    continue
                if heard_at > max(since, alone_since) and (observer.node_id, author_id) not in missing:
                    self._join(observer.node_id, author_id)


def _alone_since(observer: Observer | None) -> float:
    return NEVER if observer is None or observer.alone_since is None else observer.alone_since

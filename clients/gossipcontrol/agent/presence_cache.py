"""The presence of the node's stores, as every acknowledged report brings it."""

from __future__ import annotations

from collections.abc import Callable, Collection

from gossipcontrol.client.presence import Peer, PeerChange, Presence, StoreView
from gossipcontrol.v1 import liveness_pb2


class PresenceCache:
    """One view per store; ``on_change`` is called for every peer of a store that came, went or changed."""

    def __init__(self, on_change: Callable[[str, PeerChange], None]) -> None:
        self._on_change = on_change
        self._views: dict[str, Presence] = {}

    def add_version(self, report: liveness_pb2.LivenessReport) -> liveness_pb2.LivenessReport:
        """Name in a report the version that is held, so that the answer brings differences only."""
        view = self._views.get(report.store_id)
        report.known_version = view.version if view else 0
        return report

    def apply(self, view: StoreView) -> None:
        """Apply the service's answer."""
        held = self._views.setdefault(view.store_id, Presence())
        for change in held.apply(view):
            self._on_change(view.store_id, change)

    def keep(self, store_ids: Collection[str]) -> None:
        """Forget the views of all other stores."""
        for store_id in self._views.keys() - set(store_ids):
            del self._views[store_id]

    def peers(self, store_id: str) -> list[Peer]:
        """The peers of a store by id; none before the first answer."""
        view = self._views.get(store_id)
        return view.peers() if view else []

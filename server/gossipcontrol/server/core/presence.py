"""Who was heard in a store, and when: fused over all observers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from gossipcontrol.server.core.record import PeerRecord


@dataclass(slots=True, eq=False)
class Sighting:
    """One peer of a store."""

    heard_at: float | None = None
    observers: set[str] = field(default_factory=set[str])
    """The nodes that have heard it; itself excepted."""


class Sightings:
    """The peers of a store, in the order in which they were last heard."""

    def __init__(self) -> None:
        self._peers: OrderedDict[str, Sighting] = OrderedDict()

    def __len__(self) -> int:
        return len(self._peers)

    def hear(self, peer_id: str, observer_id: str, heard_at: float | None) -> None:
        """Take one observation; ``heard_at`` None names a peer that was never heard."""
        sighting = self._peers.get(peer_id)
        if sighting is None:
            sighting = self._peers[peer_id] = Sighting()
        if heard_at is None:
            return
        if observer_id != peer_id:
            sighting.observers.add(observer_id)
        if sighting.heard_at is None or heard_at > sighting.heard_at:
            sighting.heard_at = heard_at
            self._peers.move_to_end(peer_id)

    def forget(self, limit: int, before: float) -> int:
        """Drop the peers longest unheard beyond ``limit``, and those unheard since ``before``; returns how many."""
        count = len(self._peers)
        while self._peers:
            sighting = next(iter(self._peers.values()))
            if len(self._peers) <= limit and (sighting.heard_at is None or sighting.heard_at >= before):
                break
            self._peers.popitem(last=False)
        return count - len(self._peers)

    def has_others(self, node_id: str) -> bool:
        """Whether any peer but this one was ever named."""
        return len(self._peers) > (node_id in self._peers)

    def last_heard(self) -> Iterator[tuple[str, float]]:
        """Peers that were heard, and when; those reported last come first."""
        for peer_id, sighting in reversed(self._peers.items()):
            if sighting.heard_at is not None:
                yield peer_id, sighting.heard_at

    def records(self) -> Iterator[PeerRecord]:
        """The peers by id."""
        for peer_id in sorted(self._peers):
            sighting = self._peers[peer_id]
            yield PeerRecord(peer_id, sighting.heard_at, len(sighting.observers))

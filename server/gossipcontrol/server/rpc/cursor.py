"""One subscriber's position in the presence of a store, and the update that it gets next."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from gossipcontrol.server.core.liveness import Liveness
from gossipcontrol.server.core.presence.record import PeerRecord

UPDATE_PEERS = 1000
"""Most peers in one update."""
CHANGE_BATCH = 32
"""Changes read from the log at a time."""

Changes = dict[str, PeerRecord | None]
"""New records by peer; None: the peer was removed."""


@dataclass(frozen=True, slots=True)
class PresenceUpdate:
    """A snapshot, a further part of one, or changes."""

    version: int
    peers: tuple[PeerRecord, ...]
    removed: tuple[str, ...] = ()
    delta: bool = True
    """False for the first part of a snapshot, which replaces everything that the subscriber has."""
    complete: bool = True
    """Whether the subscriber now has everything up to the version; False while parts of a snapshot follow."""
    lagged: bool = False
    """Whether changes were lost, which is why a snapshot follows."""


class PresenceCursor:
    """Stores a position only, no unread updates: a slow subscriber costs as much as a fast one.

    While a snapshot is sent in parts, changes of peers behind the last part arrive with a later part, and changes of
    peers before it are sent between the parts. The subscriber always holds the state of one version, as far as it got.
    """

    def __init__(self, liveness: Liveness, store_id: str, version: int | None = None, *, lagged: bool = False) -> None:
        self._liveness = liveness
        self._store_id = store_id
        self._version = version
        """Everything up to it was sent; None: nothing was."""
        self._last_peer: str | None = None
        """The last peer of the last part of a snapshot; None: the snapshot is complete."""
        self._lagged = lagged
        self._sent_empty = False
        """Whether all that was sent is that the store has no peers."""

    def next_update(self) -> PresenceUpdate | None:
        """The next update; None when nothing changed."""
        if self._version is None:
            return self._begin(lagged=self._lagged)
        collected: Changes = {}
        # An update names a peer once, so of a peer that changed often the later changes are left for the next update.
        while changes := self._liveness.changes(self._store_id, self._version, CHANGE_BATCH):
            if not self._collect(changes, collected):
                break
        if changes is None:
            return self._begin(lagged=True)
        if collected:
            return self._changed(collected)
        return self._next_part() if self._last_peer is not None else None

    def _collect(self, changes: list[tuple[int, PeerRecord | None, str]], collected: Changes) -> bool:
        """Add changes up to the limits of one update; returns whether all fitted."""
        for version, peer, peer_id in changes:
            if self._last_peer is None or peer_id <= self._last_peer:
                if peer_id in collected or len(collected) >= UPDATE_PEERS:
                    return False
                collected[peer_id] = peer
            self._version = version
        return True

    def _begin(self, *, lagged: bool) -> PresenceUpdate | None:
        self._version = self._liveness.version(self._store_id)
        # Only the first part, because building all of a large store would hold up everybody else.
        peers = tuple(islice(self._liveness.peers(self._store_id), UPDATE_PEERS + 1))
        # The version of an unknown store grows with all others; to a subscriber of an empty store nothing changed.
        was_empty, self._sent_empty = self._sent_empty, not peers
        if was_empty and self._sent_empty:
            return None
        return self._part(peers, delta=False, lagged=lagged and not was_empty)

    def _next_part(self) -> PresenceUpdate:
        found = self._liveness.peers(self._store_id, self._last_peer or "")
        return self._part(tuple(islice(found, UPDATE_PEERS + 1)))

    def _part(self, peers: tuple[PeerRecord, ...], *, delta: bool = True, lagged: bool = False) -> PresenceUpdate:
        complete = len(peers) <= UPDATE_PEERS
        part = peers[:UPDATE_PEERS]
        self._last_peer = None if complete else part[-1].peer_id
        assert self._version is not None
        return PresenceUpdate(self._version, part, delta=delta, complete=complete, lagged=lagged)

    def _changed(self, collected: Changes) -> PresenceUpdate:
        assert self._version is not None
        self._sent_empty = False
        return PresenceUpdate(
            self._version,
            tuple(peer for peer in collected.values() if peer is not None),
            tuple(peer_id for peer_id, peer in collected.items() if peer is None),
            complete=self._last_peer is None,
        )

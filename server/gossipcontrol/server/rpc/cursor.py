"""One reader's place in the presence of a store: what it is to be told next. Pure: it is told when it asks."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from gossipcontrol.server.core.liveness import Liveness
from gossipcontrol.server.core.presence.record import PeerRecord

PART = 1000
"""Most peers told at once."""
BATCH = 32
"""Changes that are looked at together."""


@dataclass(frozen=True, slots=True)
class PresenceUpdate:
    """What a reader is told: a snapshot, a further part of one, or changes."""

    version: int
    peers: tuple[PeerRecord, ...]
    removed: tuple[str, ...] = ()
    delta: bool = True
    """False at the beginning of a snapshot, which replaces whatever the reader had."""
    whole: bool = True
    """Whether the reader now has everything up to the version; False while parts of a snapshot are to follow."""
    lagged: bool = False


class PresenceCursor:
    """Keeps its place only, and nothing that it has not read: a slow one costs what a quick one does.

    While a snapshot is told in parts, what changes behind the part told last is told in its turn, and what changes
    before it between the parts; so the reader always has the state of one version, as far as it has come.
    """

    def __init__(self, liveness: Liveness, store_id: str, version: int | None = None, *, lagged: bool = False) -> None:
        self._liveness = liveness
        self._store_id = store_id
        self._version = version
        """Everything up to it was told; None: nothing was."""
        self._after: str | None = None
        """The last peer of the part of a snapshot that was told last; None: the snapshot was told whole."""
        self._lagged = lagged
        self._blank = False
        """Whether all it was told is that there are no peers."""

    def next(self) -> PresenceUpdate | None:
        """The next step; None when there is nothing to tell."""
        if self._version is None:
            return self._begin(lagged=self._lagged)
        told: dict[str, PeerRecord | None] = {}
        # A batch at a time: of a peer that changed often, one change is told per step, and the rest is not looked at.
        while changes := self._liveness.changes(self._store_id, self._version, BATCH):
            if not self._collect(changes, told):
                break
        if changes is None:
            return self._begin(lagged=True)
        if told:
            return self._changed(told)
        return self._next_part() if self._after is not None else None

    def _collect(self, changes: list[tuple[int, PeerRecord | None, str]], told: dict[str, PeerRecord | None]) -> bool:
        """Add what one step may tell, which names a peer once; returns whether it may tell more."""
        for version, peer, peer_id in changes:
            if self._after is None or peer_id <= self._after:
                if peer_id in told or len(told) >= PART:
                    return False
                told[peer_id] = peer
            self._version = version
        return True

    def _begin(self, *, lagged: bool) -> PresenceUpdate | None:
        view = self._liveness.view(self._store_id)
        self._version = view.version
        # The version of a store that is not known follows that of all others: to this reader nothing has happened.
        was_blank, self._blank = self._blank, not view.peers
        if was_blank and self._blank:
            return None
        return self._part(view.peers[: PART + 1], delta=False, lagged=lagged and not was_blank)

    def _next_part(self) -> PresenceUpdate:
        found = self._liveness.peers(self._store_id, self._after or "")
        return self._part(tuple(islice(found, PART + 1)))

    def _part(self, peers: tuple[PeerRecord, ...], *, delta: bool = True, lagged: bool = False) -> PresenceUpdate:
        whole = len(peers) <= PART
        part = peers[:PART]
        self._after = None if whole else part[-1].peer_id
        assert self._version is not None
        return PresenceUpdate(self._version, part, delta=delta, whole=whole, lagged=lagged)

    def _changed(self, told: dict[str, PeerRecord | None]) -> PresenceUpdate:
        assert self._version is not None
        self._blank = False
        return PresenceUpdate(
            self._version,
            tuple(peer for peer in told.values() if peer is not None),
            tuple(peer_id for peer_id, peer in told.items() if peer is None),
            whole=self._after is None,
        )

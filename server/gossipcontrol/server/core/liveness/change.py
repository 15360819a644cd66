"""The changes of a store's presence, in order: what deltas and watchers are served from."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from gossipcontrol.server.core.liveness.record import PeerState

Change = tuple[int, str, PeerState | None]
"""Version, peer, and its new state; None when it was forgotten."""


class ChangeLog:
    """The last ``limit`` changes. Versions count from 1 and have no gaps."""

    def __init__(self, limit: int) -> None:
        self._changes: deque[Change] = deque(maxlen=limit)
        self.version = 0

    def add(self, peer_id: str, state: PeerState | None) -> None:
        """One more change."""
        self.version += 1
        self._changes.append((self.version, peer_id, state))

    def reaches(self, version: int) -> bool:
        """Whether every change after this version is still kept."""
        return self.version - len(self._changes) <= version <= self.version

    def since(self, version: int) -> Iterator[Change]:
        """The changes after this version, oldest first; ``reaches`` must hold."""
        count = self.version - version
        return iter(list(self._changes)[len(self._changes) - count :]) if count else iter(())

"""The changes of a store's presence, in order: what deltas and watchers are served from."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice

from gossipcontrol.server.core.liveness.record import PeerState

Change = tuple[int, str, PeerState | None]
"""Version, peer, and its new state; None when it was forgotten."""


class ChangeLog:
    """The last ``limit`` changes. Versions have no gaps, so a change need not hold its own."""

    def __init__(self, limit: int, version: int = 0) -> None:
        self._peers: deque[str] = deque(maxlen=limit)
        self._states: deque[PeerState | None] = deque(maxlen=limit)
        self.version = version
        """That of the newest change, or that with which the log began."""

    def add(self, peer_id: str, state: PeerState | None) -> None:
        """One more change."""
        self.version += 1
        self._peers.append(peer_id)
        self._states.append(state)

    def reaches(self, version: int) -> bool:
        """Whether every change after this version is still kept."""
        return self.version - len(self._peers) <= version <= self.version

    def since(self, version: int) -> Iterator[Change]:
        """The changes after this version, oldest first; ``reaches`` must hold."""
        first = len(self._peers) - (self.version - version)
        peers, states = islice(self._peers, first, None), islice(self._states, first, None)
        return zip(range(version + 1, self.version + 1), peers, states, strict=True)

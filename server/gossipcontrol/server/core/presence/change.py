"""The ordered changes of a store's presence, from which deltas and watch streams are served."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from gossipcontrol.server.core.presence.record import PeerState

Change = tuple[int, str, PeerState | None]
"""Version, peer id, and its new state; None when the peer was forgotten."""
STATE_OF_CODE: tuple[PeerState | None, ...] = (None, *PeerState)
TRIM_SLACK = 64
"""Changes kept beyond the limit, so that trimming happens in batches."""


class ChangeLog:
    """The last ``limit`` changes. Versions are consecutive, so a change does not store its own."""

    __slots__ = ("_limit", "_peers", "_states", "version")

    def __init__(self, limit: int, version: int = 0) -> None:
        self._limit = limit
        self._peers: list[str] = []
        self._states = bytearray()
        self.version = version
        """Version of the newest change, or the one the log started at."""

    def __len__(self) -> int:
        return len(self._peers)

    def add(self, peer_id: str, state: PeerState | None) -> int:
        """Append a change; returns how many more are kept now."""
        before = len(self._peers)
        self.version += 1
        self._peers.append(peer_id)
        self._states.append(state or 0)
        if len(self._peers) > self._limit + TRIM_SLACK:
            del self._peers[: -self._limit]
            del self._states[: -self._limit]
        return len(self._peers) - before

    def covers(self, version: int) -> bool:
        """Whether every change after this version is still kept."""
        return self.version - min(len(self._peers), self._limit) <= version <= self.version

    def since(self, version: int) -> Iterator[Change]:
        """The changes after this version, oldest first; ``covers`` must hold."""
        first = len(self._peers) - (self.version - version)
        for offset, peer_id in enumerate(islice(self._peers, first, None)):
            yield version + 1 + offset, peer_id, STATE_OF_CODE[self._states[first + offset]]

"""Syncs that nodes were asked for: only their results count, for anybody can say that he reached anybody."""

from __future__ import annotations

from collections import OrderedDict

from gossipcontrol.server.core.event import SyncFinished

ANSWER_TIME = 30.0
"""Seconds within which a result counts."""
ASKED = 65_536
"""Most syncs that are remembered; the one asked for first is forgotten first."""
Key = tuple[str, str, str]
"""The node that is asked, the store, the peer."""


class AskedSyncs:
    """What was asked of whom, and under which number. Soft state: a new run of the service asks again."""

    def __init__(self) -> None:
        self._asked: OrderedDict[Key, tuple[int, float]] = OrderedDict()
        self._nonces = 0
        self.refused = 0
        """Results that nobody had asked for."""

    def __len__(self) -> int:
        return len(self._asked)

    def ask(self, node_id: str, store_id: str, peer_id: str, now: float) -> int:
        """Remember a request; returns its number, which the result is to carry."""
        self._nonces += 1
        self._put((node_id, store_id, peer_id), self._nonces, now)
        return self._nonces

    def renew(self, node_id: str, store_id: str, peer_id: str, nonce: int, now: float) -> None:
        """A request that waited leaves only now."""
        self._put((node_id, store_id, peer_id), nonce, now)

    def take(self, event: SyncFinished, now: float) -> bool:
        """Whether a result answers a request; it does so once. Agents of earlier versions give no number (0)."""
        key = (event.node_id, event.store_id, event.peer_id)
        nonce, at = self._asked.get(key, (0, now))
        if not nonce or at + ANSWER_TIME < now or event.nonce not in (0, nonce):
            self.refused += 1
            return False
        del self._asked[key]
        return True

    def _put(self, key: Key, nonce: int, now: float) -> None:
        asked = self._asked
        asked[key] = (nonce, now)
        asked.move_to_end(key)
        while len(asked) > ASKED or next(iter(asked.values()))[1] + ANSWER_TIME < now:
            asked.popitem(last=False)

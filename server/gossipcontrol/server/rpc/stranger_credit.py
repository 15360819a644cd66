"""What one connection may have the service remember of nodes that never registered: in proportion to what it sends."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from gossipcontrol.server.errors import Overloaded
from gossipcontrol.server.runtime.turns import LOCAL_PEER

FACTOR = 10
"""Bytes of memory per byte of a request that names something new."""
FREE = 64_000
"""Bytes that a connection may take beyond that, and gains again within ``REGAINED`` seconds: about eight new nodes."""
REGAINED = 60.0
CREDIT_RETRY = 2.0
"""Seconds until a retry; each try is itself paid for, so a small report needs a few."""
NO_CREDIT = "this connection names more unknown nodes and peers than it has sent bytes for"
MAX_CONNECTIONS = 4096
"""Most connections with an account; the one used longest ago is forgotten."""


class StrangerCredit:
    """Accounts of bytes by connection; ``clock`` counts seconds. Who shares the Unix socket cannot be told apart."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._accounts = OrderedDict[str, tuple[float, float]]()
        """Connection -> what it may still take, and when that was so; the one used longest ago first."""

    def __len__(self) -> int:
        return len(self._accounts)

    def earn(self, peer: str, sent: int) -> None:
        """A connection sent a request of so many bytes, which names something new."""
        if not _is_local(peer):
            self._set(peer, self._left(peer) + FACTOR * sent)

    def spend(self, peer: str, cost: int) -> None:
        """Take so many bytes for a connection.

        Raises Overloaded when it has not sent enough for it.
        """
        if _is_local(peer):
            return
        left = self._left(peer)
        if cost > left:
            raise Overloaded(NO_CREDIT, CREDIT_RETRY)
        self._set(peer, left - cost)

    def _left(self, peer: str) -> float:
        left, at = self._accounts.get(peer, (FREE, 0.0))
        if left >= FREE:
            return left
        return min(FREE, left + (self._clock() - at) * FREE / REGAINED)

    def _set(self, peer: str, left: float) -> None:
        self._accounts[peer] = left, self._clock()
        self._accounts.move_to_end(peer)
        if len(self._accounts) > MAX_CONNECTIONS:
            self._accounts.popitem(last=False)


def _is_local(peer: str) -> bool:
    return peer.startswith(LOCAL_PEER) or not peer

"""Peers that a probe reached and that stay unheard: there is a path, but the overlay does not use it.

A peer that answers direct syncs but takes no part in the store any more looks the same, so each rejoin because of one
peer waits twice as long as the one before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping

from gossipcontrol.server.core.event import NEVER

HOLD = 5.0
"""Seconds for which a reached peer may stay unheard: an overlay that works carries a message and a report by then."""
MAX_PEERS = 256
"""Most peers that are remembered; the one reached first is forgotten first."""
MAX_AT_ONCE = 8
"""Most peers that one rejoin is directed at."""
Backoff = Callable[[str, int], float]
"""(peer, rejoins so far) -> seconds until the next one."""


class UnheardPeer:
    """A reached peer."""

    __slots__ = ("due_at", "reached_at", "rejoins", "retry_at")

    def __init__(self, reached_at: float) -> None:
        self.reached_at = reached_at
        """When it was first reached."""
        self.due_at = math.inf
        """When the next rejoin because of it is due; infinite until a probe reaches it again."""
        self.rejoins = 0
        self.retry_at = NEVER
        """No further rejoin because of it before."""


class UnheardPeers:
    """The reached peers of one store that the node that reached them does not hear."""

    __slots__ = ("_backoff", "_peers")

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._peers: dict[str, UnheardPeer] = {}

    def __contains__(self, peer_id: object) -> bool:
        return peer_id in self._peers

    def __len__(self) -> int:
        return len(self._peers)

    def __iter__(self) -> Iterator[str]:
        return iter(self._peers)

    def next_at(self) -> float:
        """When the next rejoin is due."""
        return min((one.due_at for one in self._peers.values()), default=math.inf)

    def to_probe(self, now: float) -> list[str]:
        """The peers whose backoff is over: a probe shows whether there still is a path."""
        return [peer_id for peer_id, one in self._peers.items() if one.due_at == math.inf and one.retry_at <= now]

    def add(self, peer_id: str, now: float) -> None:
        """Record that a probe reached a peer; a rejoin is due once it stayed unheard, and its backoff is over."""
        peer = self._peers.setdefault(peer_id, UnheardPeer(now))
        if peer.due_at == math.inf:
            peer.due_at = max(peer.reached_at + HOLD, peer.retry_at, now)
        if len(self._peers) > MAX_PEERS:
            del self._peers[next(iter(self._peers))]

    def take(self, peer_id: str, now: float) -> bool:
        """Whether no backoff of a peer forbids a rejoin because of it; if so, it counts as tried."""
        peer = self._peers.setdefault(peer_id, UnheardPeer(now))
        if peer.retry_at > now:
            return False
        peer.retry_at = now + self._backoff(peer_id, peer.rejoins)
        peer.rejoins += 1
        peer.due_at = math.inf
        return True

    def take_due(self, now: float) -> tuple[str, ...]:
        """The peers at which a rejoin is to be directed now, those tried least first."""
        due = [peer_id for peer_id, one in self._peers.items() if one.due_at <= now]
        chosen = sorted(due, key=lambda peer_id: self._peers[peer_id].rejoins)[:MAX_AT_ONCE]
        return tuple(peer_id for peer_id in chosen if self.take(peer_id, now))

    def on_heard(self, heard: Mapping[str, float], neighbors: Mapping[str, float]) -> bool:
        """Forget the peers heard, or linked, since they were reached; return whether one of them caused a rejoin."""
        back = [
            one
            for one, peer in self._peers.items()
            if max(heard.get(one, NEVER), neighbors.get(one, NEVER)) > peer.reached_at
        ]
        tried = [one for one in back if self._peers[one].rejoins]
        self._peers = {one: peer for one, peer in self._peers.items() if one not in back}
        return bool(tried)

    def retain(self, peer_ids: Collection[str]) -> None:
        """Forget all other peers."""
        self._peers = {one: peer for one, peer in self._peers.items() if one in peer_ids}

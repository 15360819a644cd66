"""Counts what a node sends and hears, and builds liveness reports from it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from gossipcontrol.client.clock import boottime
from gossipcontrol.v1 import liveness_pb2

PEERS = 1000
"""Most peers remembered in one store; the one unheard for longest is dropped first."""
NAME_BYTES = 64
"""Most bytes of a node's name that the service accepts."""
ID_BYTES = 128
"""Most bytes of an id that the service accepts; for a longer one it would refuse the report and end the stream."""
OLDEST_MS = 30 * 24 * 3600 * 1000
"""Highest age that the service accepts; a neighbour of many days must not make it refuse the report."""


@dataclass(slots=True, eq=False)
class _Peer:
    heard_at: float
    count: int
    direct: bool


@dataclass(slots=True, eq=False)
class _Store:
    peers: OrderedDict[str, _Peer] = field(default_factory=OrderedDict[str, _Peer])
    neighbors: dict[str, float] = field(default_factory=dict[str, float])
    broadcasts: int = 0
    unsynced_writes: int = 0


class ReportBuilder:
    """Pure but for its clock. Ages are computed when a report is built.

    A wrong id raises ValueError and changes nothing: no report may hold it.
    """

    def __init__(self, clock: Callable[[], float] = boottime) -> None:
        self._clock = clock
        self._stores: dict[str, _Store] = {}

    def sent(self, store_id: str) -> None:
        """The node broadcast a message."""
        self._store(store_id).broadcasts += 1

    def received(self, store_id: str, author_id: str, *, direct: bool) -> None:
        """The node received a message of this author; ``direct`` when the author itself delivered it."""
        check_id(author_id, "author_id")
        self._heard(store_id, author_id, self._clock(), direct).count += 1

    def heard(self, store_id: str, peer_id: str, at: float, *, direct: bool) -> bool:
        """The node had a sign of life of this peer then, and counts none; returns whether it is newer than known."""
        check_id(peer_id, "peer_id")
        peer = self._store(store_id).peers.get(peer_id)
        if peer is not None and at <= peer.heard_at:
            return False
        self._heard(store_id, peer_id, at, direct)
        return True

    def _heard(self, store_id: str, peer_id: str, at: float, direct: bool) -> _Peer:
        peers = self._store(store_id).peers
        peer = peers.get(peer_id)
        if peer is None:
            peer = peers[peer_id] = _Peer(at, 0, direct)
            if len(peers) > PEERS:
                peers.popitem(last=False)
        else:
            peer.heard_at, peer.direct = at, direct
            peers.move_to_end(peer_id)
        return peer

    def neighbor_up(self, store_id: str, peer_id: str) -> bool:
        """A neighbour came up; returns whether it was not one before."""
        check_id(peer_id, "peer_id")
        neighbors = self._store(store_id).neighbors
        if peer_id in neighbors or len(neighbors) >= PEERS:
            return False
        neighbors[peer_id] = self._clock()
        return True

    def neighbor_down(self, store_id: str, peer_id: str) -> bool:
        """A neighbour went down; returns whether it was one before."""
        check_id(peer_id, "peer_id")
        return self._store(store_id).neighbors.pop(peer_id, None) is not None

    def neighbors(self, store_id: str) -> list[str]:
        """The neighbours now."""
        return list(self._store(store_id).neighbors)

    def unsynced_writes(self, store_id: str, count: int) -> None:
        """So many local writes are not yet known to be held elsewhere; raises ValueError for a wrong count."""
        if not 0 <= count < 1 << 64:
            raise ValueError(f"count must be 0 to {(1 << 64) - 1}, is {count}")
        self._store(store_id).unsynced_writes = count

    def record_write(self, store_id: str) -> None:
        """One more local write that no other node is known to hold."""
        self._store(store_id).unsynced_writes += 1

    def mark_synced(self, store_id: str) -> None:
        """Another node holds every local write."""
        self._store(store_id).unsynced_writes = 0

    def report(self, store_id: str) -> liveness_pb2.LivenessReport:
        """What the node knows of a store now."""
        store, now = self._stores.get(store_id, _Store()), self._clock()
        peers = store.peers.values()
        is_counted = any(peer.count for peer in peers)
        return liveness_pb2.LivenessReport(
            store_id=store_id,
            heard=liveness_pb2.PeersHeard(
                peer_ids=store.peers,
                heard_ages_ms=[age_ms(peer.heard_at, now) for peer in peers],
                heard_counts=[peer.count for peer in peers] if is_counted else (),
                direct=[index for index, peer in enumerate(peers) if peer.direct],
            ),
            neighbors=[
                liveness_pb2.Neighbor(peer_id=peer_id, up_age_ms=age_ms(up_at, now))
                for peer_id, up_at in store.neighbors.items()
            ],
            broadcast_count=store.broadcasts,
            unsynced_writes=store.unsynced_writes,
        )

    def _store(self, store_id: str) -> _Store:
        check_id(store_id, "store_id")
        return self._stores.setdefault(store_id, _Store())


def check_id(value: str, name: str) -> None:
    """Raise ValueError, naming the argument, unless this is an id: 1 to 128 bytes of UTF-8."""
    _check_text(value, name, ID_BYTES)


def check_name(value: str) -> None:
    """Raise ValueError unless this may name a node: 1 to 64 bytes of UTF-8."""
    _check_text(value, "name", NAME_BYTES)


def _check_text(value: str, name: str, most: int) -> None:
    try:
        size = len(value) if value.isascii() else len(value.encode())
    except UnicodeEncodeError:
        raise ValueError(f"{name} cannot be encoded in UTF-8: {value[:most]!r}") from None
    if not 0 < size <= most:
        raise ValueError(f"{name} must have 1 to {most} bytes in UTF-8, has {size}")


def age_ms(at: float, now: float) -> int:
    """The age of an instant in milliseconds, at most what the service accepts."""
    return min(OLDEST_MS, max(0, int((now - at) * 1000)))

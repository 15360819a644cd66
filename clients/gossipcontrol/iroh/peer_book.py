"""The peers that a node may dial, and where; bounded, the one unnamed for longest is dropped first."""

from __future__ import annotations

from collections.abc import Sequence

PEERS = 1000
"""Most peers remembered."""
ADDRESSES = 16
"""Most addresses remembered of one peer."""


class PeerBook:
    """Peers with the addresses that were given for them, ``ip:port``; with none, discovery may find them."""

    def __init__(self) -> None:
        self._addresses: dict[str, tuple[str, ...]] = {}

    def remember(self, peer_id: str, addresses: Sequence[str] = ()) -> None:
        """Name a peer, with further addresses; the newest come first."""
        known = self._addresses.pop(peer_id, ())
        self._addresses[peer_id] = tuple(dict.fromkeys([*addresses, *known]))[:ADDRESSES]
        if len(self._addresses) > PEERS:
            del self._addresses[next(iter(self._addresses))]

    def learn(self, peer_id: str, addresses: Sequence[str]) -> None:
        """Put addresses that are known to work before those that were given, of a peer that is remembered."""
        if peer_id in self._addresses:
            self._addresses[peer_id] = tuple(dict.fromkeys([*addresses, *self._addresses[peer_id]]))[:ADDRESSES]

    def addresses(self, peer_id: str) -> tuple[str, ...]:
        """Where a peer can be dialled, as far as is known."""
        return self._addresses.get(peer_id, ())

    def addressed(self) -> list[tuple[str, tuple[str, ...]]]:
        """All peers of which an address is known, with their addresses, as they are now."""
        return [(peer_id, addresses) for peer_id, addresses in self._addresses.items() if addresses]

    def newest(self) -> list[str]:
        """The newest address of each peer of which one is known, the peers named last first."""
        return [addresses[0] for addresses in reversed(self._addresses.values()) if addresses]

    def first(self, hints: Sequence[str], count: int, *, but: str) -> list[str]:
        """So many peers to join through: the hints, then those named last; never ``but``, the node itself."""
        peers = dict.fromkeys([*hints, *reversed(self._addresses)])
        return [peer_id for peer_id in peers if peer_id != but][:count]

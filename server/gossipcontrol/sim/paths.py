"""Where nodes can be dialled, and what each knows of that: addresses change with a node's site, books follow late."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

KEPT = 16
"""Most addresses that a node remembers of one peer; the newest come first."""


class Paths:
    """The true address of each node, the books of all, and which subnets have a router between them."""

    def __init__(self, node_ids: Iterable[str]) -> None:
        self._subnets = dict.fromkeys(node_ids, "lan")
        self._books: dict[tuple[str, str], tuple[str, ...]] = {}
        """(node, peer) -> the peer's addresses as the node knows them."""
        self._unrouted: set[frozenset[str]] = set()

    def address(self, node_id: str) -> str:
        """Where a node can be dialled now."""
        return f"{self._subnets[node_id]}/{node_id}"

    def move(self, node_id: str, subnet: str, *, is_routed: bool) -> None:
        """Give a node an address in another subnet, which may have no router to the one that it leaves."""
        if not is_routed:
            self._unrouted.add(frozenset((self._subnets[node_id], subnet)))
        self._subnets[node_id] = subnet

    def are_routed(self, one: str, other: str) -> bool:
        """Whether packets find a way between the subnets of two nodes."""
        return frozenset((self._subnets[one], self._subnets[other])) not in self._unrouted

    def remember(self, node_id: str, peer_id: str, addresses: Sequence[str]) -> None:
        """A node is told where a peer can be dialled."""
        known = self._books.get((node_id, peer_id), ())
        self._books[node_id, peer_id] = tuple(dict.fromkeys([*addresses, *known]))[:KEPT]

    def meet(self, one: str, other: str) -> None:
        """Two nodes exchange packets, so each sees where the other is."""
        for node_id, peer_id in ((one, other), (other, one)):
            address = self.address(peer_id)
            if self._books.get((node_id, peer_id), ())[:1] != (address,):
                self.remember(node_id, peer_id, [address])

    def knows(self, node_id: str, peer_id: str) -> bool:
        """Whether a dial of this peer goes where the peer is."""
        return self.address(peer_id) in self._books.get((node_id, peer_id), ())

    def known(self, node_id: str) -> list[str]:
        """The peers in a node's book."""
        return [peer_id for one, peer_id in self._books if one == node_id]

"""Which real nodes are neighbours, from the lines that they print."""

from __future__ import annotations

from collections.abc import Collection

from tests.kit.process import Line


class NeighborGraph:
    """Each node's neighbours, as the node itself reports them."""

    def __init__(self) -> None:
        self._neighbors: dict[str, set[str]] = {}
        self.ever: set[frozenset[str]] = set()
        """Every pair of which one ever reported the other."""

    def record(self, node_id: str, line: Line) -> bool:
        """Record one line of a node; returns whether it is about its neighbours."""
        if line["event"] not in ("up", "down"):
            return False
        neighbors, peer = self._neighbors.setdefault(node_id, set()), str(line["peer"])
        if line["event"] == "down":
            neighbors.discard(peer)
        else:
            neighbors.add(peer)
            self.ever.add(frozenset((node_id, peer)))
        return True

    def neighbors(self, node_id: str) -> frozenset[str]:
        """The neighbours of one node."""
        return frozenset(self._neighbors.get(node_id, ()))

    def components(self, node_ids: Collection[str]) -> list[set[str]]:
        """The connected components among these nodes; a link counts when both ends report it."""
        left, found = set(node_ids), list[set[str]]()
        while left:
            component, frontier = set[str](), {left.pop()}
            while frontier:
                component.add(node_id := frontier.pop())
                mutual = {peer for peer in self.neighbors(node_id) & left if node_id in self.neighbors(peer)}
                left -= mutual
                frontier |= mutual
            found.append(component)
        return found

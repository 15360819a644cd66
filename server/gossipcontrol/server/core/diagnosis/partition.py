"""Detects that a store's reporting nodes are partitioned, and into which sides."""

from __future__ import annotations

from gossipcontrol.server.core.diagnosis.links import Links
from gossipcontrol.server.core.presence.parameter import LivenessParameters

Side = list[str]
"""Nodes ordered by id."""


def split_sides(links: Links, parameters: LivenessParameters) -> list[Side]:
    """The sides of a store, the main one first; a single side unless a partition is proved.

    A side is proved if at least ``partition_reporters`` nodes report missing links across, or if no link, seen or
    unseen, can connect it. Nodes not proved to be apart belong to the main side.
    """
    main, *others = links.sides() or [[]]
    if not others or len(links.fresh) < parameters.partition_reporters:
        return [sorted(links.fresh)]
    witnesses = links.witnesses()
    apart: list[Side] = []
    rest = list(main)
    for side in others:
        if links.is_closed(side) or len(witnesses.get(links.side(side[0]), ())) >= parameters.partition_reporters:
            apart.append(sorted(side))
        else:
            rest += side
    return [sorted(rest), *apart]


class Partition:
    """A partition of one store; *confirmed* once it has lasted and every fresh report is newer than its first sign."""

    def __init__(self, now: float) -> None:
        self.since = now
        self.confirmed = False
        self.sides: list[Side] = []
        self.strange: frozenset[int] = frozenset()
        """The places of the sides that were never linked with others, as far as those others know."""
        self._side_of: dict[str, int] = {}

    def update(self, sides: list[Side], links: Links, hold: float, now: float) -> bool:
        """Set the current sides; return whether this confirms the partition."""
        self.sides = sides
        self.strange = frozenset(
            index for index, side in enumerate(sides) if index and not links.was_linked(_fresh(side, links))
        )
        self._side_of = {node_id: index for index, side in enumerate(sides) for node_id in side}
        if self.confirmed or now - self.since < hold:
            return False
        # Reports are taken at different times: one may list a link that a newer one of the other end has dropped.
        self.confirmed = all(observer.reported_at >= self.since for observer in links.fresh.values())
        return self.confirmed

    def are_apart(self, one: str, other: str) -> bool:
        """Whether two nodes are on different sides."""
        first, second = self._side_of.get(one), self._side_of.get(other)
        return first is not None and second is not None and first != second

    def is_main(self, node_id: str) -> bool:
        """Whether a node is on the main side."""
        return self._side_of.get(node_id) == 0

    def is_strange(self, node_id: str) -> bool:
        """Whether a node is on a side that was never linked with others: nobody is to act because of it but itself."""
        return self._side_of.get(node_id) in self.strange

    def side(self, node_id: str) -> Side:
        """The nodes on a node's side; empty when it is on none."""
        index = self._side_of.get(node_id)
        return [] if index is None else self.sides[index]

    def evidence(self, how: str) -> str:
        """The evidence: the sizes of the sides, and how they were found to reach each other."""
        sizes = " + ".join(str(len(side)) for side in self.sides[:6]) + (" + ..." if len(self.sides) > 6 else "")
        return f"falls into {sizes} nodes (seen by {len(self._side_of)}): {how}"


def _fresh(side: Side, links: Links) -> Side:
    return [node_id for node_id in side if node_id in links.fresh]

"""Whether a store's reporting nodes fall apart, and into which sides."""

from __future__ import annotations

from gossipcontrol.server.core.diagnosis.links import Links
from gossipcontrol.server.core.presence.parameter import LivenessParameters

Side = list[str]
"""Nodes by id."""


def split_sides(links: Links, parameters: LivenessParameters) -> list[Side]:
    """The sides into which a store falls, the main one first; one side at most when nothing proves a partition.

    A side is proved when so many nodes say that they do not hear across, or when nothing links it with the outside
    and nothing could unseen. What is not proved to be apart counts to the main side.
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
    """One store's falling apart. It *stands* once it has lasted and every word in it was renewed meanwhile."""

    def __init__(self, now: float) -> None:
        self.since = now
        self.confirmed = False
        self.sides: list[Side] = []
        self._side_of: dict[str, int] = {}

    def update(self, sides: list[Side], links: Links, hold: float, now: float) -> bool:
        """Take the sides as they are now; whether it begins to stand."""
        self.sides = sides
        self._side_of = {node_id: index for index, side in enumerate(sides) for node_id in side}
        if self.confirmed or now - self.since < hold:
            return False
        # Reports are of different moments: one may name a link that another's newer one has replaced.
        self.confirmed = all(observer.reported_at >= self.since for observer in links.fresh.values())
        return self.confirmed

    def are_apart(self, one: str, other: str) -> bool:
        """Whether two nodes are on different sides."""
        first, second = self._side_of.get(one), self._side_of.get(other)
        return first is not None and second is not None and first != second

    def is_main(self, node_id: str) -> bool:
        """Whether a node is on the main side."""
        return self._side_of.get(node_id) == 0

    def side(self, node_id: str) -> Side:
        """The nodes on a node's side; none when it is on no side."""
        index = self._side_of.get(node_id)
        return [] if index is None else self.sides[index]

    def evidence(self, how: str) -> str:
        """What was seen, and how it was found that the sides can reach each other."""
        sizes = " + ".join(str(len(side)) for side in self.sides[:6]) + (" + ..." if len(self.sides) > 6 else "")
        return f"falls into {sizes} nodes (seen by {len(self._side_of)}): {how}"

"""The neighbour graph of a store as its nodes reported it, with what is wrong in it: a bounded part of a large one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from typing import NamedTuple

from gossipcontrol.server.core.decision import Cause
from gossipcontrol.server.core.diagnosis.store_monitor import StoreMonitor

GRAPH_NODES = 150
"""Most nodes; those with something wrong come first."""
GRAPH_LINKS = 1500
"""Most links."""


class GraphNode(NamedTuple):
    """A node, and what stands about it."""

    node_id: str
    causes: tuple[Cause, ...]
    side: int
    """Number of its side of a partition; 0 without one."""
    reports: bool
    """Whether it reports itself; others only name it."""


class NeighborGraph(NamedTuple):
    """A store's nodes and links."""

    nodes: tuple[GraphNode, ...]
    links: tuple[tuple[str, str], ...]
    """Pairs of which at least one lists the other."""
    missing: tuple[tuple[str, str], ...]
    """(observer, author): the author broadcasts, and the observer does not hear it."""
    total: int
    """Number of nodes that report."""
    partitioned: bool


def neighbor_graph(monitor: StoreMonitor, now: float) -> NeighborGraph:
    """The graph now; what is missing is looked for only where all nodes fit."""
    observers, causes = monitor.reports.observers, monitor.conditions.by_node(GRAPH_NODES)
    sides = monitor.repair.sides if monitor.repair.confirmed else []
    side_of = {node_id: number for number, side in enumerate(sides) for node_id in islice(side, GRAPH_NODES)}
    # The small sides first: they are what somebody looks for.
    of_sides = (node_id for side in sorted(sides, key=len) for node_id in islice(side, GRAPH_NODES))
    wanted = chain(sorted(causes), of_sides, observers)
    chosen = dict.fromkeys(islice((one for one in wanted if one in observers), 3 * GRAPH_NODES))
    chosen = dict.fromkeys(islice(chosen, GRAPH_NODES))
    links = dict.fromkeys(islice(_links(monitor, chosen), GRAPH_LINKS))
    for other in islice((two for pair in links for two in pair if two not in chosen), GRAPH_NODES - len(chosen)):
        chosen[other] = None
    missing = monitor.find_missing(now) if len(observers) <= len(chosen) and not monitor.is_advancing else ()
    return NeighborGraph(
        tuple(GraphNode(one, tuple(causes.get(one, ())), side_of.get(one, 0), one in observers) for one in chosen),
        tuple(pair for pair in links if pair[0] in chosen and pair[1] in chosen),
        tuple(sorted(missing)[:GRAPH_LINKS]),
        len(observers),
        bool(sides),
    )


def _links(monitor: StoreMonitor, chosen: dict[str, None]) -> Iterator[tuple[str, str]]:
    room = len(monitor.reports.observers) <= len(chosen) < GRAPH_NODES
    for node_id in chosen:
        neighbors = monitor.reports.observers[node_id].neighbors
        for peer_id in neighbors if room else neighbors.keys() & chosen.keys():
            yield min(node_id, peer_id), max(node_id, peer_id)

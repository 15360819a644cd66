"""The neighbour graph of a store: what is wrong comes first, and a large store costs no more than its bounds."""

from __future__ import annotations

import gc
import time

from gossipcontrol.server.core.diagnosis.neighbor_graph import GRAPH_LINKS, GRAPH_NODES, NeighborGraph
from gossipcontrol.server.core.event import LivenessReported
from gossipcontrol.server.core.liveness import Liveness


def report(node_id: str, *neighbors: str) -> LivenessReported:
    return LivenessReported(
        node_id=node_id, store_id="a", heard=dict.fromkeys(neighbors, 1.0), neighbors=dict.fromkeys(neighbors, 0.0)
    )


def drawn(liveness: Liveness) -> tuple[NeighborGraph | None, float]:
    """The graph, and the CPU seconds that it took; without the collector, which looks at what all tests before made."""
    gc.disable()
    try:
        began_at = time.thread_time()
        graph = liveness.neighbor_graph("a", 1.0)
        took = time.thread_time() - began_at
    finally:
        gc.enable()
    print(f"{1000 * took:.1f} ms")
    return graph, took


def test_who_lists_whom_is_a_link_once() -> None:
    liveness = Liveness()
    for event in (report("x", "y", "z"), report("y", "x")):
        liveness.handle(event, 1.0)
    graph = liveness.neighbor_graph("a", 1.0)
    assert graph is not None
    assert set(graph.links) == {("x", "y"), ("x", "z")}
    assert {one.node_id: one.reports for one in graph.nodes} == {"x": True, "y": True, "z": False}
    assert (graph.total, graph.partitioned, graph.missing) == (2, False, ())
    assert liveness.neighbor_graph("b", 1.0) is None


def test_a_large_store_is_drawn_in_part_and_in_little_time() -> None:
    """A turn of the event loop has 5 ms; ten times as much is for a busy machine."""
    liveness = Liveness()
    names = [f"node-{number:04}" for number in range(2000)]
    for one in names:
        liveness.handle(report(one, *(other for other in names[:200] if other != one)), 1.0)
    graph, took = drawn(liveness)
    assert graph is not None
    assert (len(graph.nodes), graph.total) == (GRAPH_NODES, 2000)
    assert GRAPH_LINKS / 2 < len(graph.links) <= GRAPH_LINKS
    assert took < 0.05


def test_a_store_that_is_drawn_whole_takes_little_time() -> None:
    liveness = Liveness()
    names = [f"node-{number:04}" for number in range(GRAPH_NODES)]
    for one in names:
        liveness.handle(report(one, *(other for other in names if other != one)), 1.0)
    graph, took = drawn(liveness)
    assert graph is not None
    assert len(graph.nodes) == GRAPH_NODES
    assert took < 0.05

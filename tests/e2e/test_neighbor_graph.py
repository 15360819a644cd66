"""The graph of neighbours that the measurements and end-to-end tests rely on."""

from __future__ import annotations

from tests.kit.neighbor_graph import NeighborGraph


def record(graph: NeighborGraph, *lines: str) -> None:
    for line in lines:
        node_id, event, peer = line.split()
        assert graph.record(node_id, {"event": event, "peer": peer})


def components(graph: NeighborGraph, node_ids: str) -> list[str]:
    return sorted("".join(sorted(one)) for one in graph.components(node_ids))


def test_a_link_counts_when_both_ends_report_it() -> None:
    graph = NeighborGraph()
    assert components(graph, "abc") == ["a", "b", "c"]
    record(graph, "a up b")
    assert components(graph, "abc") == ["a", "b", "c"]
    record(graph, "b up a", "b up c", "c up b")
    assert components(graph, "abc") == ["abc"]
    assert components(graph, "ac") == ["a", "c"]
    record(graph, "b down c")
    assert components(graph, "abc") == ["ab", "c"]


def test_former_neighbours_stay_known() -> None:
    graph = NeighborGraph()
    record(graph, "a up b", "a down b")
    assert graph.neighbors("a") == frozenset()
    assert graph.ever == {frozenset("ab")}
    assert not graph.record("a", {"event": "heard", "peer": "c"})

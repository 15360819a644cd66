"""What proves a partition, and when it is confirmed."""

from __future__ import annotations

from gossipcontrol.server.core.diagnosis.partition import Partition, split_sides
from gossipcontrol.server.core.presence.parameter import LivenessParameters

from tests.kit.store_reports import PARAMETERS, Store, fall_apart


def test_sides_with_enough_missing_links_between_them_are_a_partition() -> None:
    store = Store()
    fall_apart(store)
    assert split_sides(store.links(30.0), PARAMETERS) == [["a", "b"], ["c", "d"]]
    many = LivenessParameters(partition_reporters=5)
    assert split_sides(store.links(30.0), many) == [["a", "b", "c", "d"]]


def test_missing_links_reported_by_one_node_prove_no_partition() -> None:
    store = Store()
    for second in range(0, 30, 2):
        count = 1 + second // 2
        store.say(float(second), "a", {"b": 1, "c": 1}, "b")  # broadcasts nothing itself
        store.say(float(second), "b", {"c": count}, "ac", count)
        store.say(float(second), "c", {"b": count}, "bx", count)
    links = store.links(30.0)
    assert "a" not in links.linked
    assert {one for one, _ in links.missing} == {"a"}
    assert len(split_sides(links, LivenessParameters(partition_reporters=4))) == 1


def test_a_side_may_be_connected_by_neighbours_that_do_not_report() -> None:
    store = Store()
    store.say(10.0, "a", neighbors="x")
    store.say(10.0, "b", neighbors="x")
    store.say(10.0, "c", neighbors="y")
    assert store.links(10.0).sides() == [["a", "b"], ["c"]]
    assert split_sides(store.links(10.0), PARAMETERS) == [["a", "b", "c"]]


def test_complete_neighbour_lists_prove_a_partition_without_messages() -> None:
    store = Store()
    for one, other in ("ab", "ba", "cd", "dc"):
        store.say(10.0, one, neighbors=other)
    assert split_sides(store.links(10.0), PARAMETERS) == [["a", "b"], ["c", "d"]]


def test_a_partition_is_confirmed_once_it_lasted_and_all_reports_are_newer() -> None:
    store = Store()
    fall_apart(store)
    links = store.links(30.0)
    partition = Partition(29.0)
    sides = split_sides(links, PARAMETERS)
    assert not partition.update(sides, links, 3.0, 30.0)
    assert not partition.update(sides, links, 3.0, 33.0)  # every report is older than the first sign
    fall_apart(store, start=30, until=32)
    links = store.links(33.0)
    assert partition.update(split_sides(links, PARAMETERS), links, 3.0, 33.0)
    assert not partition.update(split_sides(links, PARAMETERS), links, 3.0, 34.0)
    assert partition.confirmed
    assert partition.are_apart("a", "d")
    assert not partition.are_apart("a", "b")
    assert not partition.are_apart("a", "stranger")
    assert (partition.is_main("a"), partition.is_main("c"), partition.is_main("stranger")) == (True, False, False)
    assert partition.side("d") == ["c", "d"]
    assert partition.side("stranger") == []
    assert partition.evidence("b reached c") == "falls into 2 + 2 nodes (seen by 4): b reached c"

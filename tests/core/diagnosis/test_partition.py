"""What proves a partition, and when it is confirmed."""

from __future__ import annotations

from gossipcontrol.server.core.diagnosis.partition import Partition, split_sides
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.presence.record import PeerState

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


def feign(store: Store, until: int = 30, speakers: str = "fg") -> Partition:
    """Nodes f and g list only each other; a to e are linked, and never heard of them."""
    for second in range(0, until, 2):
        for node_id in "abcde":
            others = "abcde".replace(node_id, "")
            store.say(float(second), node_id, dict.fromkeys(others, second), others, second)
        for node_id, other, speaker in zip("fg", "gf", speakers, strict=True):
            store.say(float(second), node_id, {other: second}, other, second, speaker)
    links = store.links(float(until))
    partition = Partition(0.0)
    partition.update(split_sides(links, PARAMETERS), links, 3.0, float(until))
    return partition


def test_a_side_of_which_nobody_else_ever_heard_is_strange() -> None:
    """Two nodes that listed only each other were a partition for ever, and others were sent to dial them."""
    for speakers in ("fg", "ll"):
        partition = feign(Store(), speakers=speakers)
        assert partition.sides == [["a", "b", "c", "d", "e"], ["f", "g"]]
        assert partition.is_strange("f")
        assert not partition.is_strange("a")


def test_a_side_that_was_linked_once_is_not_strange() -> None:
    store = Store()
    for node_id in "ab":
        store.say(0.0, node_id, neighbors="f")
    store.say(0.0, "f", neighbors="ab")
    store.say(0.5, "a", neighbors="f")
    store.say(0.5, "b", neighbors="f")
    assert not feign(store).is_strange("f"), "two listed it"
    store = Store()
    for second in (-4.0, -2.0):
        store.say(second, "f", {}, "g", 1)
        for node_id in "ab":
            store.say(second, node_id, {"f": 1}, "ab".replace(node_id, ""), 1)
    assert not feign(store).is_strange("g"), "two heard a node of it"


def test_the_word_of_one_links_nobody_where_there_are_others() -> None:
    store = Store()
    for second in (0.0, 0.5):
        store.say(second, "f", neighbors="a")
        store.say(second, "a", neighbors="f")
    assert feign(store).is_strange("f")
    small = Store()
    for second in (0.0, 0.5):
        small.say(second, "a", neighbors="b")
        small.say(second, "b", neighbors="a")
    small.say(30.0, "a", neighbors="x")
    small.say(30.0, "b", neighbors="y")
    small.state = lambda peer_id: None if peer_id in "ab" else PeerState.LEFT
    links = small.links(30.0)
    assert links.was_linked(["b"]), "of two nodes each knows the other"


def test_the_main_side_is_that_of_most_identities() -> None:
    store = Store()
    for node_id in "ab":
        store.say(10.0, node_id, neighbors="ab".replace(node_id, ""))
    for node_id in "fghi":
        store.say(10.0, node_id, neighbors="fghi".replace(node_id, ""), speaker="l")
    assert store.links(10.0).sides() == [["a", "b"], ["f", "g", "h", "i"]]

"""Fresh links: neighbours without evidence against them, and authors heard recently."""

from __future__ import annotations

from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.presence.record import PeerState

from tests.kit.parts import finish
from tests.kit.store_reports import PARAMETERS, Store, fall_apart


def test_neighbours_are_linked_while_nothing_contradicts_it() -> None:
    store = Store()
    store.say(10.0, "a", neighbors="b")
    store.say(10.0, "b")
    store.say(10.0, "c")
    links = store.links(11.0)
    assert links.sides() == [["a", "b"], ["c"]]
    assert links.linked == {"a", "b"}
    assert not links.is_whole


def test_a_listed_neighbour_whose_messages_no_longer_come_is_no_link() -> None:
    store = Store()
    fall_apart(store)
    links = store.links(30.0)
    assert links.sides() == [["a", "b"], ["c", "d"]]
    assert {("b", "c"), ("c", "b"), ("a", "d"), ("d", "a")} <= links.missing
    assert links.witnesses() == {links.side(one): {"a", "b", "c", "d"} for one in "ac"}
    assert not links.mute


def test_an_author_that_fell_silent_is_not_missed() -> None:
    store = Store()
    fall_apart(store)  # the last broadcast is reported at 28
    for second in range(30, 60, 2):
        for one, neighbors in {"a": "b", "b": "ac", "c": "bd", "d": "c"}.items():
            store.say(float(second), one, {}, neighbors, 15)
        assert bool(store.links(second + 0.5).missing) is (second + 0.5 < 28 + PARAMETERS.rot_window)
    assert store.links(59.0).is_whole


def test_an_author_that_reports_rarely_is_not_silent_between_reports() -> None:
    store = Store(LivenessParameters(report_ceiling=60.0, suspect_ceiling=120.0))
    for second in range(0, 500, 50):
        for one, other in ("ab", "ba"):
            store.say(float(second), one, {other: 1}, other, 1 + second)
    assert store.links(490.0).missing == {("a", "b"), ("b", "a")}


def test_hearing_a_peer_is_a_link_even_if_it_is_not_listed() -> None:
    store = Store()
    store.say(10.0, "c", neighbors="x", sent=1)
    store.say(10.0, "a", {"c": 1}, "b")
    store.say(10.0, "b", neighbors="a")
    assert store.links(11.0).is_whole


def test_messages_heard_before_the_last_neighbour_was_lost_are_no_link() -> None:
    store = Store()
    store.say(10.0, "a", {"b": 3}, "b", 3)
    store.say(10.0, "b", {"a": 3}, "a", 3)
    store.say(12.0, "a", {"b": 3}, "", 3)
    store.say(12.0, "b", {"a": 3}, "", 3)
    assert not store.links(12.5).linked


def test_a_stale_report_does_not_count() -> None:
    store = Store()
    for second in (2, 4, 6):
        store.say(float(second), "a", neighbors="b")
        store.say(float(second), "b", neighbors="a")
    store.say(20.0, "a", neighbors="b")
    links = store.links(20.0)
    assert list(links.fresh) == ["a"]
    assert links.linked >= {"a"}  # b may be present: nothing says otherwise
    assert not links.is_closed(["a"])
    store.state = lambda peer_id: PeerState.OFFLINE
    assert not store.links(20.0).linked


def test_a_silent_peer_that_never_reported_may_still_link_its_neighbours() -> None:
    store = Store()
    states = {"x": PeerState.OFFLINE}
    store.state = states.get
    store.say(10.0, "a", neighbors="x")
    store.say(10.0, "b", neighbors="x")
    links = store.links(10.0)
    assert not links.linked
    assert not links.is_closed(["a"])
    for states["x"] in (PeerState.ASLEEP, PeerState.LEFT):
        assert store.links(10.0).is_closed(["a"])


def test_a_silent_peer_that_once_reported_links_nobody_for_as_long_as_it_is_listed() -> None:
    store = Store()
    store.state = lambda peer_id: PeerState.OFFLINE
    store.say(10.0, "x", neighbors="a")
    for second in range(10, 200, 2):
        store.say(float(second), "a", neighbors="x")
        finish(store.reports.prune(float(second)))
    assert "x" not in store.reports.observers
    assert store.links(199.0).is_closed(["a"])
    store.say(200.0, "a", neighbors="y")
    finish(store.reports.prune(200.0))
    assert [*store.reports.observers, *store.reports.former] == ["a"]


def test_an_author_that_no_capable_observer_hears_is_mute() -> None:
    store = Store()
    for second in range(0, 20, 2):
        count = 1 + second // 2
        store.say(float(second), "a", {"b": count, "c": count}, "bc", count)
        store.say(float(second), "b", {"a": 1, "c": count}, "ac", count)
        store.say(float(second), "c", {"a": 1, "b": count}, "ab", count)
    links = store.links(20.0)
    assert links.mute == {"a"}
    assert links.is_whole  # it hears the others


def test_a_mute_node_without_neighbours_is_not_linked_by_what_it_hears() -> None:
    store = Store()
    for second in range(0, 20, 2):
        count = 1 + second // 2
        store.say(float(second), "a", {"b": count, "c": count}, "" if second else "b", count)
        store.say(float(second), "b", {"a": 1, "c": count}, "ac", count)
        store.say(float(second), "c", {"a": 1, "b": count}, "ab", count)
    links = store.links(20.0)
    assert links.mute == {"a"}
    assert links.sides() == [["b", "c"], ["a"]]
    assert "a" not in links.linked


def test_a_node_without_neighbours_that_is_heard_is_linked_with_those_it_hears() -> None:
    store = Store()
    for second in range(0, 20, 2):
        count = 1 + second // 2
        store.say(float(second), "a", {"b": count, "c": count}, "" if second else "b", count)
        store.say(float(second), "b", {"a": count, "c": count}, "ac", count)
        store.say(float(second), "c", {"a": 1, "b": count}, "ab", count)
    assert store.links(20.0).is_whole


def test_one_of_several_observers_is_not_enough_to_call_a_peer_mute() -> None:
    store = Store()
    for second in range(0, 20, 2):
        count = 1 + second // 2
        store.say(float(second), "a", {"b": count}, "b", count)
        store.say(float(second), "b", {"a": 1}, "a", count)
    store.say(19.0, "c", {f"p{number}": 1 for number in range(1000)}, "b", 0)  # has no room to name a
    assert not store.links(20.0).mute


def test_a_meeting_clears_missing_links() -> None:
    store = Store()
    fall_apart(store)
    store.reports.observers["b"].neighbors.pop("c")
    from_b = store.reports.observers["b"]
    from_b.neighbors["c"] = 30.0
    store.reports._clear_missed_between(from_b, "c")  # pyright: ignore[reportPrivateUsage]
    assert store.links(30.0).is_whole

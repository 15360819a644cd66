"""What the nodes of a store last reported, and what of it is kept."""

from __future__ import annotations

from gossipcontrol.server.core.diagnosis.deliveries import SAMPLED_OBSERVERS
from gossipcontrol.server.core.diagnosis.reports import REPORT_PEERS
from gossipcontrol.server.core.event import NEIGHBORS, LivenessReported, NeighborChanged
from gossipcontrol.server.core.presence.parameter import LivenessParameters

from tests.kit.parts import finish
from tests.kit.store_reports import PARAMETERS, Store


def test_a_node_is_fresh_for_about_two_of_its_own_intervals() -> None:
    store = Store()
    for now in (0.0, 5.0, 10.0, 15.0, 20.0):
        store.say(now, "a")
    observer = store.reports.observers["a"]
    assert observer.is_fresh(31.0)
    assert not observer.is_fresh(32.0)


def test_one_long_pause_does_not_set_the_report_interval() -> None:
    store = Store()
    for now in (0.0, 2.0, 4.0, 50.0):
        store.say(now, "a")
    assert not store.reports.observers["a"].is_fresh(60.0)


def test_a_neighbour_that_comes_or_goes_between_reports_is_known_at_once() -> None:
    store = Store()
    store.say(10.0, "a", neighbors="b")
    observer = store.reports.observers["a"]
    assert store.reports.record_neighbor(NeighborChanged("a", "notes", "b", False, 11.0), 11.0)
    assert not store.reports.record_neighbor(NeighborChanged("a", "notes", "b", False, 11.0), 11.0)
    assert observer.alone_since is not None
    assert store.reports.record_neighbor(NeighborChanged("a", "notes", "c", True, 12.0), 12.0)
    assert list(observer.neighbors) == ["c"]
    assert not store.reports.record_neighbor(NeighborChanged("stranger", "notes", "c", True, 12.0), 12.0)


def test_no_more_neighbours_are_remembered_than_a_report_may_name() -> None:
    store = Store()
    store.say(10.0, "a")
    ups = [NeighborChanged("a", "notes", f"p{number}", True, 11.0) for number in range(NEIGHBORS + 1)]
    assert [event.peer_id for event in ups if not store.reports.record_neighbor(event, 11.0)] == [f"p{NEIGHBORS}"]
    assert store.reports.record_neighbor(NeighborChanged("a", "notes", "p0", False, 12.0), 12.0)
    assert store.reports.record_neighbor(ups[-1], 12.0)
    assert len(store.reports.observers["a"].neighbors) == NEIGHBORS


def test_the_neighbours_of_a_report_stay_as_it_named_them() -> None:
    store = Store()
    report = LivenessReported("a", "notes", neighbors={"b": 5.0})
    store.reports.record(report, 10.0)
    store.reports.record_neighbor(NeighborChanged("a", "notes", "b", False, 11.0), 11.0)
    assert report.neighbors == {"b": 5.0}


def test_an_observer_without_counts_still_reports_when_it_heard_each_peer() -> None:
    store = Store()
    store.say(8.0, "b")
    observer = store.reports.record(LivenessReported("a", "notes", {"b": 9.5}), 10.0)
    assert observer is not None
    assert list(store.reports.deliveries["b"].last_heard([observer.number])) == [(observer.number, 9.5)]


def test_no_more_reporters_are_remembered_than_the_limit() -> None:
    reports = Store(LivenessParameters(peers_per_store=2)).reports
    taken = [reports.record(LivenessReported(node_id, "notes"), 1.0) for node_id in "abc"]
    assert [observer is not None for observer in taken] == [True, True, False]


def test_a_large_store_keeps_a_bounded_sample_and_nothing_of_those_that_do_not_report() -> None:
    store = Store()
    everybody = {f"n{number}": 1 for number in range(100)}
    for node_id in list(everybody)[:40]:
        store.say(1.0, node_id, everybody)
    for node_id in list(everybody)[:40]:
        store.say(3.0, node_id, everybody)
    deliveries = store.reports.deliveries
    assert len(deliveries) == 40
    assert all(len(deliveries[f"n{number}"]) == SAMPLED_OBSERVERS for number in range(40))


def test_an_old_reporter_is_forgotten_with_all_that_only_it_reported() -> None:
    store = Store()
    for node_id in "abc":
        store.say(1.0, node_id, {"x": 1})
    store.say(100.0, "a", {"b": 1})
    finish(store.reports.prune(100.0))
    assert list(store.reports.observers) == ["a"]
    assert set(store.reports.deliveries) == {"a"}
    assert len(store.reports.deliveries["a"]) == 0


def test_a_complete_report_that_omits_an_author_proves_it_unheard() -> None:
    store = Store()
    store.say(1.0, "a", sent=1)
    store.say(1.0, "b")
    store.say(1.0, "c", {f"p{number}": 1 for number in range(REPORT_PEERS)})
    finish(store.reports.record_unnamed(store.reports.observers.values()))
    known = {node_id: observer.number for node_id, observer in store.reports.observers.items()}
    assert store.reports.deliveries["a"].has_observer(known["b"])
    assert not store.reports.deliveries["a"].has_observer(known["c"])


def test_marks_wait_where_reports_are_rare() -> None:
    store = Store()
    for now in (0.0, 4.0, 12.0, 28.0, 60.0, 90.0, 120.0):
        store.say(now, "a")
    period = store.reports.period(store.reports.observers["a"])
    assert period == 3 * PARAMETERS.report_ceiling > PARAMETERS.rot_window

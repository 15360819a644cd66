"""Nodes without a fresh link, and writes that do not get out."""

from __future__ import annotations

from gossipcontrol.server.core.diagnosis.isolation import isolation_evidence, stuck_writes_evidence
from gossipcontrol.server.core.diagnosis.partition import split_sides
from gossipcontrol.server.core.event import NEVER, LivenessReported
from gossipcontrol.server.core.presence.record import PeerState

from tests.kit.store_reports import PARAMETERS, Store, fall_apart


def test_the_evidence_says_whether_there_are_neighbours() -> None:
    store = Store()
    for second in range(0, 32, 2):
        fall_apart(store, second, second + 2)
        store.say(float(second), "lone", {"a": 1}, "a", 1 + second)
        store.say(float(second), "bare")
    links = store.links(31.0)
    assert isolation_evidence(links, "a") == ""
    assert isolation_evidence(links, "lone") == "none of 1 neighbours is heard, nor hears it"
    assert isolation_evidence(links, "bare") == "no neighbours"


def test_a_node_may_be_linked_by_a_silent_peer_that_never_reported() -> None:
    store = Store()
    store.state = lambda peer_id: PeerState.OFFLINE
    store.say(10.0, "a", neighbors="x")
    store.say(10.0, "b", neighbors="c")
    store.say(10.0, "c", neighbors="b")
    assert isolation_evidence(store.links(10.0), "a") == ""
    store.say(12.0, "x", neighbors="a")
    for second in (20.0, 21.0):
        store.say(second, "a", neighbors="x")
    assert isolation_evidence(store.links(21.0), "a") == "none of 1 neighbours is heard, nor hears it"


def test_writes_are_stuck_only_after_a_while_with_no_peer_heard() -> None:
    store = Store()

    def say(now: float, unsynced: int, heard_at: float) -> str:
        event = LivenessReported("a", "notes", {"p": heard_at, "a": now}, unsynced_writes=unsynced)
        observer = store.reports.record(event, now)
        assert observer is not None
        return stuck_writes_evidence(observer, event, PARAMETERS, now)

    assert say(0.0, 1, NEVER) == ""
    assert say(29.0, 1, NEVER) == ""
    assert say(31.0, 4, 30.0) == ""
    assert say(65.0, 4, 30.0) == "4 local writes unsynced for 65 s, and 0 other peers heard"
    assert say(66.0, 0, 30.0) == ""
    assert say(67.0, 1, 30.0) == ""


def test_an_empty_list_from_a_node_that_never_listed_neighbours_proves_nothing() -> None:
    store = Store()
    for now in (10.0, 12.0):
        store.reports.record(LivenessReported("a", "notes"), now, attached=False)
        store.reports.record(LivenessReported("b", "notes"), now, attached=False)
    links = store.links(12.0)
    assert [isolation_evidence(links, node_id) for node_id in "ab"] == ["", ""]
    assert split_sides(links, PARAMETERS) == [["a", "b"]]

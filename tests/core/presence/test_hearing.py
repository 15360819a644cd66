"""When all who reported fall silent at once, the service is deaf: that makes nobody offline.

A cut of a hub's uplink for two minutes called all of a thousand healthy nodes offline: see `bench/recover`.
"""

from __future__ import annotations

import pytest
from gossipcontrol.server.core.event import NodeAttached, NodeDetached, NodesSlept, TimePassed
from gossipcontrol.server.core.finding import DeafnessChanged
from gossipcontrol.server.core.presence import hearing
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.presence.record import PeerState

from tests.kit.liveness_lab import Lab

NODES = [f"n{number}" for number in range(10)]
ONLINE, SUSPECT, OFFLINE = PeerState.ONLINE, PeerState.SUSPECT, PeerState.OFFLINE


def report(lab: Lab, nodes: list[str], heard: list[str] | None = None, *, store_id: str = "a") -> None:
    """Some nodes report, 10 ms apart, that they heard some others just now."""
    for node_id in nodes:
        others: dict[str, float | None] = dict.fromkeys((one for one in (heard or nodes) if one != node_id), 0.5)
        lab.report(node_id, others, store_id=store_id)
        lab.advance(0.01)


def reporting(nodes: list[str], parameters: LivenessParameters | None = None) -> Lab:
    """Nodes that have reported each other for a minute."""
    lab = Lab(parameters or LivenessParameters())
    for _ in range(30):
        report(lab, nodes)
        lab.advance(2.0 - 0.01 * len(nodes))
    return lab


def states(lab: Lab) -> set[PeerState]:
    return {peer.state for peer in lab.liveness.peers("a")}


def deafness(lab: Lab) -> list[bool]:
    """Whether the service was deaf, change by change."""
    return [one.since is not None for one in lab.findings if isinstance(one, DeafnessChanged)]


@pytest.mark.parametrize("count", [2, 10])
@pytest.mark.parametrize("seconds", [61.0, 120.0, 600.0, 7200.0])
def test_that_the_service_hears_nobody_makes_nobody_offline(count: int, seconds: float) -> None:
    lab = reporting(NODES[:count])
    last_at = lab.now
    lab.advance(seconds)
    assert states(lab) == {SUSPECT}
    since = lab.liveness.deaf_since()
    assert since is not None
    assert last_at - 4 < since <= last_at
    for _ in range(30):
        report(lab, NODES[:count])
        assert OFFLINE not in states(lab)
        lab.advance(2.0)
    assert states(lab) == {ONLINE}
    assert lab.liveness.deaf_since() is None
    assert deafness(lab) == [True, False]


def test_many_nodes_that_report_rarely_fall_silent_at_once_as_well() -> None:
    """The interval counts that they were asked for: 20,000 nodes that reported every 10 s were all offline once."""
    lab = Lab(LivenessParameters(report_rate=1.0))
    for _ in range(10):
        for node_id in NODES:
            lab.advance(lab.liveness.next_report(lab.now) / len(NODES))
            report(lab, [node_id], NODES)
    assert lab.liveness.next_report(lab.now) == pytest.approx(len(NODES), abs=1.0)
    lab.advance(600.0)
    assert states(lab) == {SUSPECT}


@pytest.mark.parametrize(("before", "is_deaf"), [(5, True), (6, False)])
def test_half_of_those_that_reported_must_fall_silent_at_once(before: int, is_deaf: bool) -> None:
    """Some may have died just before the cut; where most had, the rest may have died like them."""
    lab = reporting(NODES)
    report(lab, NODES)
    lab.advance(1.9)
    for _ in range(2):
        report(lab, NODES[before:])
        lab.advance(2.0)
    report(lab, NODES[before:])  # the others reported 6 s ago: too early for at once, late enough to count
    lab.advance(300.0)
    assert (lab.liveness.deaf_since() is not None) is is_deaf


def test_those_that_died_long_before_the_cut_count_no_more() -> None:
    lab = reporting(NODES[:5])
    for _ in range(30):
        report(lab, [NODES[0], NODES[4]])
        lab.advance(2.0)
    lab.advance(300.0)
    assert lab.liveness.deaf_since() is not None


def test_of_many_reporters_those_that_reported_last_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hearing, "MAX_REMEMBERED", 1)
    lab = reporting(NODES[:2])
    lab.advance(300.0)
    assert lab.liveness.deaf_since() is None, "one cannot tell its own silence from the service's"


def test_streams_that_end_with_the_uplink_and_nodes_that_come_back_late_change_nothing() -> None:
    lab = reporting(NODES)
    for node_id in NODES:
        lab.handle(NodeDetached(node_id, "s"))
    lab.advance(300.0)
    lab.handle(NodeAttached(NODES[0], "t", ("a",)))
    assert deafness(lab) == [True, False]
    lab.advance(20.0)  # the others still wait before they try again
    report(lab, [NODES[0]])
    assert OFFLINE not in states(lab)


def test_one_that_does_not_come_back_is_offline_in_time() -> None:
    lab = reporting(NODES)
    lab.advance(300.0)
    for _ in range(32):
        report(lab, NODES[1:])
        lab.advance(2.0)
    assert lab.state(NODES[0]) is OFFLINE
    assert all(lab.state(one) is ONLINE for one in NODES[1:])


def test_who_was_offline_before_stays_so() -> None:
    lab = reporting(NODES)
    for _ in range(60):
        report(lab, NODES[1:])
        lab.advance(2.0)
    assert lab.state(NODES[0]) is OFFLINE
    lab.advance(300.0)
    assert lab.state(NODES[0]) is OFFLINE
    for mute in (True, False):  # it is looked at again
        lab.liveness.presence.set_mute("a", NODES[0], mute, lab.now)
    assert lab.state(NODES[0]) is OFFLINE
    report(lab, NODES[1:])
    assert lab.state(NODES[0]) is OFFLINE


def test_who_became_offline_before_it_was_seen_that_the_service_is_deaf_stays_so() -> None:
    lab = reporting(NODES)
    while lab.state(NODES[0]) is not SUSPECT:
        report(lab, NODES[1:])
        lab.advance(2.0)
    for _ in range(7):
        report(lab, NODES[1:])
        lab.advance(2.0)
    lab.advance(24.0)
    assert lab.liveness.deaf_since() is None
    assert lab.state(NODES[0]) is OFFLINE
    lab.advance(300.0)
    assert lab.liveness.deaf_since() is not None
    for mute in (True, False):  # it is looked at again
        lab.liveness.presence.set_mute("a", NODES[0], mute, lab.now)
    assert lab.state(NODES[0]) is OFFLINE


def test_a_deaf_service_that_stands_still_is_deaf_as_before() -> None:
    lab = reporting(NODES)
    lab.advance(300.0)
    lab.now += 100.0
    lab.handle(TimePassed())
    lab.advance(300.0)
    assert deafness(lab) == [True]


def test_a_single_reporter_that_falls_silent_is_offline_as_ever() -> None:
    lab = reporting(["n0"])
    report(lab, ["n0"], store_id="b")  # in how many stores does not matter
    lab.advance(70.0)
    assert states(lab) == {OFFLINE}


@pytest.mark.parametrize("gap", [1.0, 3.0, 10.0])
def test_nodes_that_die_one_after_another_are_offline(gap: float) -> None:
    lab = reporting(NODES)
    began, alive = lab.now, list(NODES)
    while alive:
        report(lab, alive)
        lab.advance(1.0)
        alive = NODES[int((lab.now - began) / gap) :]
    lab.advance(70.0)
    assert states(lab) == {OFFLINE}
    assert deafness(lab) == []


def test_nodes_that_announce_that_they_go_leave_no_deaf_service_behind() -> None:
    lab = reporting(NODES)
    lab.handle(NodesSlept(tuple(NODES[:5])))
    for node_id in NODES[5:]:
        lab.attach(node_id)
        lab.detach(node_id, left=True)
    lab.advance(300.0)
    assert deafness(lab) == []


def test_a_second_cut_soon_after_the_first_makes_nobody_offline() -> None:
    lab = reporting(NODES)
    for _ in range(5):
        lab.advance(100.0)
        assert OFFLINE not in states(lab)
        report(lab, NODES[:2], NODES[:2])
        assert OFFLINE not in states(lab)


def test_the_services_own_pause_is_no_deafness() -> None:
    lab = reporting(NODES)
    lab.now += 600.0
    lab.handle(TimePassed())
    assert states(lab) == {ONLINE}
    assert deafness(lab) == []


def test_a_deaf_service_forgets_peers_by_their_age() -> None:
    lab = reporting(NODES, LivenessParameters(peer_age=600.0))
    lab.advance(700.0)
    assert lab.liveness.peer_total == 0

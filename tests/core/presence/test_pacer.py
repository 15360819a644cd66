"""The report interval."""

from __future__ import annotations

import pytest
from gossipcontrol.server.core.event import NeighborChanged
from gossipcontrol.server.core.presence.pacer import ReportPacer
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.presence.record import PeerState

from tests.kit.liveness_lab import Lab


def test_few_reporters_report_as_often_as_wanted() -> None:
    lab = Lab()
    lab.report("n")
    assert lab.liveness.next_report(lab.now) == lab.parameters.report_interval


def test_the_interval_grows_with_the_reporters_up_to_the_ceiling_and_shrinks_again() -> None:
    lab = Lab(LivenessParameters(report_rate=10.0, report_ceiling=8.0))
    for _ in range(4):
        for number in range(50):
            lab.report(f"n{number}")
        lab.advance(5.0)
    assert lab.liveness.next_report(lab.now) == 5.0
    for number in range(1000):
        lab.report(f"n{number}")
    assert lab.liveness.next_report(lab.now) == 8.0
    for _ in range(4):
        lab.advance(10.0)
        lab.report("n")
    assert lab.liveness.next_report(lab.now) == 2.0


def test_attached_nodes_count_before_they_report_and_until_they_leave() -> None:
    """A hub that could serve a sixth of its agents counted only these, and asked all of them six times too often."""
    lab = Lab(LivenessParameters(report_rate=10.0))
    for number in range(20):
        lab.attach(f"n{number}", "a", "b", "c")
    assert lab.liveness.next_report(lab.now) == 6.0
    for number in range(20):
        lab.attach(f"n{number}", "a", session_id=f"another {number}")
    assert lab.liveness.next_report(lab.now) == 2.0, "with fewer stores, as they registered last"
    lab.attach("n0", *(f"store {number}" for number in range(61)), session_id="a third")
    assert lab.liveness.next_report(lab.now) == 8.0
    lab.detach("n0", session_id="a third")
    assert lab.liveness.next_report(lab.now) == 2.0


def test_a_node_that_reports_too_often_counts_once() -> None:
    lab = Lab(LivenessParameters(report_rate=1.0))
    for _ in range(100):
        lab.report("n")
    assert lab.liveness.next_report(lab.now) == 2.0


def test_a_node_with_other_events_before_its_report_counts_as_well() -> None:
    lab = Lab(LivenessParameters(report_rate=10.0))
    for number in range(50):
        lab.handle(NeighborChanged(f"n{number}", "a", "x", False, lab.now))
        lab.report(f"n{number}")
    assert lab.liveness.next_report(lab.now) == 5.0


def test_a_long_report_interval_causes_no_suspicion() -> None:
    lab = Lab(LivenessParameters(report_rate=0.01))
    lab.attach("n")
    lab.attach("m")
    for _ in range(40):
        lab.report("n", {"m": 0.5})
        lab.report("m", {"n": 0.5})
        lab.advance(lab.liveness.next_report(lab.now))
        lab.advance(1.0)  # on the way
        changed = {record.state for _, record, _ in lab.liveness.changes("a", 0) or () if record}
        assert changed == {PeerState.ONLINE}
    assert lab.liveness.next_report(lab.now) == lab.parameters.report_ceiling


def test_an_interval_that_makes_healthy_peers_look_silent_is_refused() -> None:
    with pytest.raises(ValueError, match="report_ceiling must not be greater than half of suspect_ceiling"):
        LivenessParameters(report_ceiling=15.1)
    LivenessParameters(report_ceiling=20.0, suspect_ceiling=40.0)


def loaded_pacer() -> ReportPacer:
    """A hundred reporters, of which the service wants ten reports a second: it asks for one in ten seconds each."""
    pacer = ReportPacer(LivenessParameters(report_interval=2.0, report_ceiling=15.0, report_rate=10.0))
    for _ in range(100):
        pacer.count_report(-1e9, 1000.0)
    assert pacer.next_report(1000.0) == 10.0
    return pacer


def test_the_interval_does_not_shrink_while_the_service_is_behind() -> None:
    """An overloaded service counts only the few whom it serves: by these it would ask for more."""
    pacer, now = loaded_pacer(), 1000.0
    while now < 1100.0:
        now += 1.0
        pacer.on_behind(now)
        if now % 20 == 0:
            pacer.count_report(now - 20.0, now)
        assert pacer.next_report(now) == 10.0
    for _ in range(200):
        now += 1.0
        pacer.count_report(now - 2.0, now)
    assert pacer.next_report(now) < 5.0, "once it is up to date, it counts as ever"


def test_the_interval_does_not_shrink_because_nobody_reported_during_a_pause() -> None:
    pacer = loaded_pacer()
    pacer.count_report(1000.0, 1016.0)  # the next epoch has just begun
    pacer.count_report(1016.0, 1600.0)
    assert pacer.next_report(1600.0) == 10.0


@pytest.mark.parametrize("seconds", [12.0, 16.0, 29.0, 31.0, 120.0, 600.0])
@pytest.mark.parametrize("counted", [0, 1, 50, 100])
def test_the_interval_does_not_shrink_while_nobody_reports(seconds: float, counted: int) -> None:
    """It is read by every look at a store: after 120 s of nothing 20,000 nodes were asked five times as often.

    Whatever part of the nodes had reported when it began; those that come first afterwards are asked as before, too.
    """
    pacer, began = loaded_pacer(), 1020.0
    for _ in range(100):
        pacer.count_report(1000.0, 1010.0)
    for _ in range(counted):
        pacer.count_report(1010.0, began)
    for second in range(int(seconds)):
        assert pacer.next_report(began + second) == 10.0
    for node in range(100):
        pacer.count_report(began if node < counted else 1010.0, began + seconds)
        assert pacer.next_report(began + seconds) == 10.0

"""The report interval."""

from __future__ import annotations

import pytest
from gossipcontrol.server.core.event import NeighborChanged
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
        lab.advance(20.0)
        lab.report("n")
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

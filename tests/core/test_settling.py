"""After the owner changed presence is not known: for one report interval nobody is said to be offline or missing."""

from __future__ import annotations

import pytest
from gossipcontrol.server.core.deciding.engine import RETURN_TIME
from gossipcontrol.server.core.event import LivenessReported, NodeDetached, OwnerChanged
from gossipcontrol.server.core.presence.record import PeerState

from tests.kit.core_lab import Lab


@pytest.fixture
def taken_over() -> Lab:
    """Nodes n and m of store a were attached to the former owner."""
    lab = Lab()
    lab.attach("n", "a")
    lab.attach("m", "a", "b", session_id="s2")
    lab.handle(OwnerChanged("r2", 2))
    return lab


def is_settling(lab: Lab, store_id: str = "a") -> bool:
    return lab.core.settling.is_settling(store_id, lab.now)


def test_a_store_is_settled_once_every_node_with_an_agent_has_reported_it(taken_over: Lab) -> None:
    lab = taken_over
    for node_id, store_ids, settled in (("n", ("a",), False), ("m", ("a", "b"), True)):
        lab.attach(node_id, *store_ids, session_id=f"r2-{node_id}")
        assert is_settling(lab)
        lab.handle(LivenessReported(node_id, "a", {}))
        assert is_settling(lab) is not settled
    assert is_settling(lab, "b")
    assert not is_settling(lab, "unknown")


def test_a_node_that_left_a_store_or_went_is_not_waited_for(taken_over: Lab) -> None:
    lab = taken_over
    assert is_settling(lab)
    lab.attach("n", "b", session_id="r2-n")
    lab.attach("m", "a", "b", session_id="r2-m")
    lab.handle(NodeDetached("m", "r2-m"))
    assert not is_settling(lab)


def test_an_agent_that_does_not_come_back_holds_nobody_up_for_longer_than_its_time(taken_over: Lab) -> None:
    lab = taken_over
    lab.advance(RETURN_TIME - 0.1)
    assert is_settling(lab)
    lab.advance(0.2)
    assert not is_settling(lab)


def test_nobody_is_offline_before_the_time_is_over_that_agents_have_to_come_back(taken_over: Lab) -> None:
    lab = taken_over
    lab.attach("n", "a", session_id="r2-n")
    presence, long_ago = lab.core.liveness.presence, lab.now - 500
    while lab.now < 1000 + RETURN_TIME - 1:
        lab.handle(LivenessReported("n", "a", {"p": long_ago}))
        assert presence.state("a", "p") is not PeerState.OFFLINE
        lab.advance(2)
    lab.advance(2)
    assert presence.state("a", "p") is PeerState.OFFLINE


def test_those_that_are_back_first_do_not_report_as_if_they_were_alone() -> None:
    """A fleet's reports took the time in which its other agents could have attached."""
    lab = Lab()
    rate = lab.core.parameters.liveness.report_rate
    stores = [f"s{number}" for number in range(int(rate / 100))]
    for number in range(500):
        lab.attach(f"n{number}", *stores, session_id=f"s{number}")
    lab.handle(OwnerChanged("r2", 2))
    assert lab.core.liveness.next_report(lab.now) == 5.0
    lab.attach("n0", *stores, session_id="r2-s0")
    lab.handle(LivenessReported("n0", "s0", {}))
    assert lab.core.liveness.next_report(lab.now) == 5.0
    for _ in range(20):
        lab.advance(2.0)
        lab.handle(LivenessReported("n0", "s0", {}))
    assert lab.core.liveness.next_report(lab.now) == 2.0, "the others did not come back"

"""Reports that waited for longer than an interval are left out, but one of each interval is always taken."""

from __future__ import annotations

import math
from typing import TypeAlias

from gossipcontrol.server.rpc.report_shedder import REMEMBERED, SHARE, ReportShedder
from gossipcontrol.v1 import gossip_control_pb2_grpc
from gossipcontrol.v1.liveness_pb2 import LivenessReport, PeerObservation
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.service_lab import BareAgent, Service, rejoin

Stub: TypeAlias = "gossip_control_pb2_grpc.GossipControlAsyncStub"
INTERVAL = 2.0
QUARTERS = st.integers(min_value=0, max_value=40).map(lambda quarters: quarters / 4)


def test_of_a_backlog_one_report_is_taken() -> None:
    shedder = ReportShedder()
    assert [shedder.sheds("a", 600.0 - one, INTERVAL, 1000.0 + one / 1000) for one in range(300)].count(False) == 1
    assert not shedder.sheds("a", 0.1, INTERVAL, 1000.4), "a fresh one is taken whenever it comes"
    assert not shedder.sheds("b", 600.0, INTERVAL, 1000.4), "every store counts for itself"


@given(st.lists(st.tuples(QUARTERS, st.sampled_from([0.0, 1.0, 5.0, math.inf])), min_size=1))
def test_nobody_falls_silent_by_it(arrivals: list[tuple[float, float]]) -> None:
    """However old the reports are, what is left out came less than an interval after one that was taken."""
    shedder, now, taken = ReportShedder(), 0.0, list[float]()
    for gap, delay in arrivals:
        now += gap
        if not shedder.sheds("a", delay, INTERVAL, now):
            taken.append(now)
        assert now - taken[-1] < SHARE * INTERVAL or taken[-1] == now


def test_it_remembers_a_bounded_number_of_stores() -> None:
    shedder = ReportShedder()
    for number in range(REMEMBERED + 1):
        shedder.sheds(f"s{number}", 0.0, INTERVAL, 0.0)
    assert not shedder.sheds("s0", 600.0, INTERVAL, 0.0)
    assert shedder.sheds(f"s{REMEMBERED}", 600.0, INTERVAL, 0.0)


async def test_a_report_that_is_left_out_is_answered_and_counted(service: Service, stub: Stub) -> None:
    agent = BareAgent(stub)
    await agent.register("n", "a")
    await stub.Rejoin(rejoin("n"))
    await agent.command()
    for version, peer_id in ((0, "p"), (7, "q")):
        report = LivenessReport(
            store_id="a", known_version=version, peers=[PeerObservation(peer_id=peer_id, heard_age_ms=1)]
        )
        await agent.send(liveness=report, commands_received=0)  # nobody can tell how old it is
    first, second = [(await agent.receive("ack")).ack for _ in range(2)]
    assert {peer.peer_id for peer in first.view.peers} == {"n", "p"}
    assert (second.view.store_id, second.view.version, second.view.delta) == ("a", 7, True)
    assert not second.view.peers
    assert second.next_report_ms == first.next_report_ms
    assert service.app.metrics.registry.get_sample_value("gossipcontrol_reports_shed_total") == 1.0


async def test_an_announced_sleep_is_always_taken(stub: Stub) -> None:
    agent = BareAgent(stub)
    await agent.register("n", "a")
    await stub.Rejoin(rejoin("n"))
    await agent.command()
    for asleep in (False, True):
        await agent.send(liveness=LivenessReport(store_id="a", going_to_sleep=asleep), commands_received=0)
    await agent.receive("ack")
    assert not (await agent.receive("ack")).ack.view.delta

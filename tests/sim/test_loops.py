"""Loops with feedback end by themselves: within three intervals after a disturbance the work is what it was before.

See docs/algorithm/loops.md, which names them all.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from gossipcontrol.client.retry import call_with_retry
from gossipcontrol.client.servers import Search, Servers
from gossipcontrol.server.core.presence.record import PeerState
from gossipcontrol.server.core.repair.pair_sync import FIRST_BACKOFF

from tests.kit.sim.closed_loop import REACH, ClosedLoop
from tests.kit.virtual_time import VirtualTime

NODES = 120
LOAD = 0.6
"""Share of the service's time that the reports take when all is well."""
INTERVAL = 2.0
LONG_INTERVAL = 10.0
"""Seconds between two reports of a node where the service wants fewer."""
WARM = 60.0
NORMAL = 1.15
"""How much above what it was before the work may be and count as normal."""


def loop(*, can_sync: bool = False) -> ClosedLoop:
    """A fleet that has reported for a minute."""
    random.seed(1)  # the waits before connecting again are tenacity's
    made = ClosedLoop(NODES, LOAD * INTERVAL / NODES, can_sync=can_sync)
    made.run(WARM)
    return made


def settles(fleet: ClosedLoop) -> None:
    """What arrives from three intervals after now on is what arrived before; nothing waits; nobody is accused."""
    before, since = fleet.between(fleet.offered, 20, WARM), fleet.now + 3 * INTERVAL
    fleet.run(3 * INTERVAL + 60)
    assert fleet.between(fleet.offered, since, since + 10) <= NORMAL * before
    assert fleet.between(fleet.offered, since, since + 60) == pytest.approx(before, rel=NORMAL - 1)
    assert fleet.backlog <= 0.1 * NODES
    assert fleet.starts == []


@pytest.mark.parametrize("length", [12.0, 120.0, 600.0])
def test_reports_are_as_before_three_intervals_after_the_service_stood_still(length: float) -> None:
    fleet = loop()
    fleet.stall(length)
    assert fleet.backlog <= NODES + 1, "each agent has one report under way at most"
    settles(fleet)
    assert fleet.away == Counter({PeerState.SUSPECT: 0, PeerState.OFFLINE: 0})


@pytest.mark.parametrize("length", [12.0, 120.0, 600.0])
def test_a_fleet_that_attaches_again_at_once_is_served_within_three_intervals(length: float) -> None:
    fleet = loop()
    began = fleet.now
    fleet.cut(length)
    tried = fleet.between(fleet.offered, began + 10, fleet.now) if length > 12 else 0.0
    assert tried <= NODES / 2.0, "with full jitter up to 5 s an agent tries once in 2.5 s"
    settles(fleet)
    assert fleet.away[PeerState.OFFLINE] == 0, "that the service heard nobody is nobody's silence"
    assert fleet.core.liveness.counts().peers[PeerState.ONLINE] == NODES


@pytest.mark.parametrize("length", [12.0, 20.0, 120.0, 600.0])
@pytest.mark.parametrize("how", [ClosedLoop.cut, ClosedLoop.stall])
def test_nodes_that_report_rarely_are_not_asked_more_often_after_nobody_reported(
    how: Callable[[ClosedLoop, float], None], length: float
) -> None:
    """Asked every two seconds, a large store that had reported every ten would have five times the load."""
    random.seed(1)
    fleet = ClosedLoop(NODES, LOAD * LONG_INTERVAL / NODES, report_rate=NODES / LONG_INTERVAL)
    fleet.run(200.0)
    before = fleet.between(fleet.offered, 100, 200)
    assert before == pytest.approx(NODES / LONG_INTERVAL, rel=0.1)
    how(fleet, length)
    assert fleet.core.liveness.next_report(fleet.now) == pytest.approx(LONG_INTERVAL, rel=0.1)
    since = fleet.now + 3 * LONG_INTERVAL
    fleet.run(3 * LONG_INTERVAL + 100)
    assert fleet.between(fleet.offered, since - 2 * LONG_INTERVAL, since) <= NORMAL * before + NODES / LONG_INTERVAL
    assert fleet.between(fleet.offered, since, since + 100) == pytest.approx(before, rel=NORMAL - 1)
    assert fleet.backlog <= 0.1 * NODES
    assert fleet.away[PeerState.OFFLINE] == 0


@pytest.mark.parametrize("length", [120.0, 600.0])
def test_syncs_in_vain_are_asked_for_less_often_and_not_more_often_afterwards(length: float) -> None:
    fleet = ClosedLoop(12, LOAD * INTERVAL / NODES, can_sync=True)
    fleet.run(900.0)  # every pair has met, and is due again in turn
    before = fleet.between(fleet.asked, 300, 900)
    fleet.syncs_work = False
    fleet.run(length)
    during = fleet.between(fleet.asked, fleet.now - length, fleet.now)
    fleet.syncs_work = True
    since = fleet.now + 300.0
    fleet.run(900.0)
    assert before > 0
    pairs = 12 * (11 - 2 * REACH) // 2
    assert during * length <= pairs * (2 + math.log2(length / FIRST_BACKOFF)), "each pair backs off"
    assert fleet.between(fleet.asked, since, since + 600) <= 1.3 * before
    most = max(fleet.asked.values())
    assert most <= 12, "no node is asked more than once per second"


def unavailable() -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "away")


def overloaded() -> grpc.aio.AioRpcError:
    """A refusal as the service sends it: its delay differs from client to client."""
    status = Status()
    delay = int(1e9 * random.uniform(1.0, 1.2))
    status.details.add().Pack(RetryInfo(retry_delay=Duration(seconds=delay // 10**9, nanos=delay % 10**9)))
    trailing = grpc.aio.Metadata(("grpc-status-details-bin", status.SerializeToString()))
    return grpc.aio.AioRpcError(grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.aio.Metadata(), trailing, "full")


class Callers:
    """Clients that call every ten seconds, each call with five seconds of retries."""

    EVERY = 10.0
    TIMEOUT = 5.0

    def __init__(self, count: int, refuse: Callable[[], grpc.aio.AioRpcError], length: float) -> None:
        self.time, self.attempts = VirtualTime(), Counter[int]()
        self.answered = 0
        self._refuse, self._ends_at = refuse, 100.0 + length
        chance = random.Random(3)
        for _ in range(count):
            self.time.start(self._call_for_ever(), chance.uniform(0.0, self.EVERY))

    async def _call_for_ever(self) -> None:
        while True:
            began = self.time.now
            try:
                search = Search(Servers("h:1"))
                await call_with_retry(self._once, self.TIMEOUT, search, self.time.sleep, self.time.clock)
                self.answered += 1
            except grpc.aio.AioRpcError:
                pass
            await self.time.sleep(began + self.EVERY - self.time.now)

    async def _once(self, left: float) -> None:
        del left
        self.attempts[int(self.time.now)] += 1
        if 100.0 <= self.time.now < self._ends_at:
            raise self._refuse()

    def rate(self, first: float, last: float) -> float:
        return sum(self.attempts[second] for second in range(int(first), int(last))) / (last - first)


@pytest.mark.parametrize("refuse", [unavailable, overloaded], ids=["UNAVAILABLE", "RESOURCE_EXHAUSTED"])
@pytest.mark.parametrize("length", [12.0, 120.0, 600.0])
def test_a_storm_of_retries_is_bounded_and_ends_with_its_cause(
    refuse: Callable[[], grpc.aio.AioRpcError], length: float
) -> None:
    random.seed(2)
    callers = Callers(100, refuse, length)
    end = 100.0 + length
    callers.time.run(end + 90.0)
    before = callers.rate(20, 100)
    assert before == pytest.approx(10.0, rel=0.05)
    assert callers.rate(100, end) <= 10 * before, "a call has five seconds for all its attempts"
    assert max(callers.rate(at, at + 1) for at in range(100, int(end))) <= 15 * before, "and jitter spreads them"
    assert callers.rate(end + 5, end + 15) <= 1.05 * before, "what failed is not tried after its time"
    assert callers.rate(end + 30, end + 90) == pytest.approx(before, rel=0.05)

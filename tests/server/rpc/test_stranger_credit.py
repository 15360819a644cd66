"""What a stranger names costs in proportion to what he sent, connection by connection."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from gossipcontrol.server.errors import Overloaded
from gossipcontrol.server.rpc.stranger_credit import FACTOR, FREE, MAX_CONNECTIONS, NO_CREDIT, REGAINED, StrangerCredit
from gossipcontrol.v1.gossip_control_pb2 import PeerLivenessRequest
from gossipcontrol.v1.liveness_pb2 import LivenessReport

from tests.kit.service_lab import BareAgent, config, connected, serving

ONE, OTHER = "ipv4:127.0.0.1:1000", "ipv4:127.0.0.1:1001"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_connection_takes_ten_times_what_it_sent_beyond_what_is_free() -> None:
    clock = Clock()
    credit = StrangerCredit(clock)
    sent, taken = 0, 0
    for _ in range(1000):
        credit.earn(ONE, 40)
        sent += 40
        try:
            credit.spend(ONE, 8100)
            taken += 8100
        except Overloaded:
            continue
    assert FREE < taken <= FREE + FACTOR * sent
    credit.spend(OTHER, FREE)  # another connection has its own


def test_what_is_free_is_regained_in_a_minute_and_is_no_more_than_it_was() -> None:
    clock = Clock()
    credit = StrangerCredit(clock)
    credit.spend(ONE, FREE)
    with pytest.raises(Overloaded):
        credit.spend(ONE, 1)
    clock.now += 10 * REGAINED
    credit.spend(ONE, FREE)
    with pytest.raises(Overloaded):
        credit.spend(ONE, 1)


def test_connections_are_forgotten_and_the_local_socket_is_free() -> None:
    credit = StrangerCredit(Clock())
    for number in range(MAX_CONNECTIONS + 10):
        credit.spend(f"ipv4:{number}", 1)
    assert len(credit) == MAX_CONNECTIONS
    for _ in range(10):
        credit.spend("unix:", FREE)
    assert len(credit) == MAX_CONNECTIONS


async def test_small_names_are_refused_and_honest_callers_are_served(tmp_path: Path) -> None:
    """The smallest names cost some hundred times their bytes: 4,990 bytes for 14 sent, with nothing to stop it."""
    async with serving(config(tmp_path)) as service, connected(service.tcp) as stub:

        async def report(node_id: str, store_id: str) -> str:
            one = LivenessReport(node_id=node_id, store_id=store_id)
            try:
                await stub.PeerLiveness(PeerLivenessRequest(reports=[one]))
            except grpc.aio.AioRpcError as error:
                return error.details() or ""
            return ""

        answers = [await report(f"n{number}", f"s{number}") for number in range(60)]
        refused = [answer for answer in answers if answer]
        assert 45 <= len(refused) < 60
        assert all(answer.startswith(NO_CREDIT) for answer in refused)
        assert not await report("n0", "s0"), "it names nothing new"
        agent = BareAgent(stub)
        await agent.register("honest", "mine")
        assert not await report("honest", "mine"), "a node with an agent is no stranger, on the same connection either"

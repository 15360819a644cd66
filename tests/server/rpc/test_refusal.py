"""A refused call leaves nothing behind, and a full budget is refused with the time at which there is room."""

from __future__ import annotations

import gc
from pathlib import Path

import grpc
from google.rpc import error_details_pb2
from gossipcontrol.server.config import Limits
from gossipcontrol.server.core.event import LivenessReported
from gossipcontrol.server.core.room import NO_ROOM_FOR_STRANGERS, QUIET
from gossipcontrol.v1.gossip_control_pb2 import PeerLivenessRequest
from gossipcontrol.v1.liveness_pb2 import LivenessReport

from tests.kit.service_lab import BareAgent, config, connected, refusal, serving, status_details


async def test_a_refused_call_keeps_nothing_of_its_request(tmp_path: Path) -> None:
    """Reports of unknown peers took 2 GB in 5 s: every refused request stayed in a cycle with its error."""
    settings = config(tmp_path, limits=Limits(memory=100_000))
    async with serving(settings) as service, connected(service.address) as stub:
        reports = [LivenessReport(node_id=f"stranger{number}", store_id=f"s{number}") for number in range(50)]
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                error = await refusal(stub.PeerLiveness(PeerLivenessRequest(reports=reports)))
                assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            kept = sum(isinstance(one, LivenessReported) for one in gc.get_objects())
        finally:
            gc.enable()
    assert kept == 0


async def test_a_full_budget_names_the_setting_and_says_when_there_is_room(tmp_path: Path) -> None:
    settings = config(tmp_path, limits=Limits(memory=200_000))
    async with serving(settings) as service, connected(service.address) as stub:
        reports = [LivenessReport(node_id=f"stranger{number}", store_id="s") for number in range(50)]
        error = await refusal(stub.PeerLiveness(PeerLivenessRequest(reports=reports)))
        assert (error.details() or "").startswith(NO_ROOM_FOR_STRANGERS)
        retry = error_details_pb2.RetryInfo()
        assert status_details(error).details[0].Unpack(retry)
        assert 0.9 * QUIET < retry.retry_delay.ToMilliseconds() / 1000 <= 1.2 * QUIET
        agent = BareAgent(stub)
        await agent.register("known", "a")

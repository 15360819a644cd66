"""Two agents with one node id: the log, the metrics and the lists say so."""

from __future__ import annotations

from typing import TypeAlias

from gossipcontrol.client import Client
from gossipcontrol.v1 import gossip_control_pb2_grpc

from tests.kit.service_lab import BareAgent, Service

Stub: TypeAlias = "gossip_control_pb2_grpc.GossipControlAsyncStub"


async def test_a_cloned_agent_is_said_in_log_metrics_and_status(service: Service, stub: Stub) -> None:
    for host_id in ("laptop", "clone", "laptop"):
        await BareAgent(stub).register("twin", "a", host_id=host_id)
    (line,) = service.lines("node id used twice")
    assert (line["node"], line["level"]) == ("twin", "warning")
    async with Client(service.address) as client:
        assert await client.warnings() == ("node id twin is used by two agents: give each node a key of its own",)

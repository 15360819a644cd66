"""A service whose calls fail as a test says, and that notes what it was asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from gossipcontrol.v1 import decision_pb2, gossip_control_pb2
from grpc_status import rpc_status

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
NAME = "gossipcontrol.v1.GossipControl"
RETRY_AFTER = 1.2
"""Seconds that a refusal asks its client to wait: longer than its own first waits."""
SILENT = "silent"
"""In a script: never answer."""


@dataclass
class UnsteadyService:
    """Answers each report as the next entry of the script says, and after them with a decision."""

    script: Sequence[grpc.StatusCode | str]
    address: str = ""
    requests: list[gossip_control_pb2.ReportNetworkChangeRequest] = field(
        default_factory=list[gossip_control_pb2.ReportNetworkChangeRequest]
    )
    times: list[float] = field(default_factory=list[float])
    left: list[float] = field(default_factory=list[float])
    """Seconds that each call had left when it arrived."""

    async def report(
        self, request: gossip_control_pb2.ReportNetworkChangeRequest, context: Context
    ) -> gossip_control_pb2.ReportNetworkChangeResponse:
        """Serve one ReportNetworkChange."""
        number = len(self.requests)
        self.requests.append(request)
        self.times.append(time.monotonic())
        self.left.append(float(context.time_remaining() or 0))
        if number < len(self.script):
            await self._fail(self.script[number], context)
        decision = decision_pb2.Decision(
            node_id=request.node_ids[0], store_id="a", kind=decision_pb2.DECISION_KIND_STARTED
        )
        return gossip_control_pb2.ReportNetworkChangeResponse(decisions=[decision])

    async def _fail(self, how: grpc.StatusCode | str, context: Context) -> None:
        if not isinstance(how, grpc.StatusCode):
            await asyncio.Event().wait()
            return
        status = Status(code=how.value[0], message="as the script says")
        if how is grpc.StatusCode.RESOURCE_EXHAUSTED:
            delay = Duration()
            delay.FromMilliseconds(int(RETRY_AFTER * 1000))
            status.details.add().Pack(RetryInfo(retry_delay=delay))
        packed = rpc_status.to_status(status)  # pyright: ignore[reportUnknownMemberType]
        await context.abort(how, status.message, packed.trailing_metadata or ())


@asynccontextmanager
async def unsteady(*script: grpc.StatusCode | str) -> AsyncGenerator[UnsteadyService]:
    """Run one on a free port."""
    server, service = grpc.aio.server(), UnsteadyService(script)
    handler = grpc.unary_unary_rpc_method_handler(
        service.report,
        request_deserializer=gossip_control_pb2.ReportNetworkChangeRequest.FromString,
        response_serializer=gossip_control_pb2.ReportNetworkChangeResponse.SerializeToString,
    )
    handlers = grpc.method_handlers_generic_handler(NAME, {"ReportNetworkChange": handler})
    server.add_generic_rpc_handlers((handlers,))
    service.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield service
    await server.stop(None)

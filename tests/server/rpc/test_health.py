"""Health.Watch calls are bounded by connection."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import grpc
from gossipcontrol.server.rpc.health import WATCHES_PER_CONNECTION
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.kit.service_lab import Service, channel_to
from tests.kit.until import until


async def test_a_connection_has_a_bounded_number_of_watches(service: Service) -> None:
    """10,000 watches of a service that does not exist took 250 MB over one connection."""
    async with channel_to(service.tcp) as crowd, channel_to(service.tcp) as other:
        stub: Any = health_pb2_grpc.HealthStub(crowd)
        request = health_pb2.HealthCheckRequest()
        watches = [stub.Watch(request) for _ in range(WATCHES_PER_CONNECTION)]
        for watch in watches:
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        refused = stub.Watch(health_pb2.HealthCheckRequest(service="none"))
        with suppress(grpc.aio.AioRpcError):
            await refused.read()
        assert await refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        elsewhere: Any = health_pb2_grpc.HealthStub(other)
        assert (await elsewhere.Watch(request).read()).status == health_pb2.HealthCheckResponse.SERVING
        watches[0].cancel()

        async def room() -> bool:
            with suppress(grpc.aio.AioRpcError):
                return isinstance(await stub.Watch(request).read(), health_pb2.HealthCheckResponse)
            return False

        await until(room, "the place of one that went is free")

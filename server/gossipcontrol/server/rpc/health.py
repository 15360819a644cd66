"""The health service, with bounds on its Watch calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias, cast

import grpc
from gossipcontrol.server.access.caller import Authenticate
from gossipcontrol.server.access.gate import Caller
from gossipcontrol.server.access.oversight import Oversight
from gossipcontrol.server.access.quota import Quotas
from gossipcontrol.server.errors import GossipControlError, Unauthenticated
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

WATCHES, WATCHES_PER_CONNECTION = 1024, 8
"""Most Watch calls in all, and of one TCP connection; each takes 25 kB. A client needs one per service it watches."""
LOCAL_PEER = "unix:"
"""What gRPC calls every client on the Unix socket: they share the whole."""
_WATCH = "/grpc.health.v1.Health/Watch"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class BoundedHealth(health.aio.HealthServicer):
    """Refuses a Watch beyond the bounds with RESOURCE_EXHAUSTED, and ends those that know of a stop.

    Otherwise one client that watches would hold up every stop for the whole drain time.
    """

    def __init__(self) -> None:
        super().__init__()
        self._watches: Counter[str] = Counter()
        """Watch calls by connection."""
        self.is_stopping = False

    @property
    def count(self) -> int:
        """Number of Watch calls."""
        return self._watches.total()

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Context) -> None:
        """Send the health of a service and every change of it."""
        peer = context.peer()
        most = WATCHES if peer.startswith(LOCAL_PEER) else WATCHES_PER_CONNECTION
        if self._watches[peer] >= most or self._watches.total() >= WATCHES:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"the limit of {most} Watch calls is reached")
        self._watches[peer] += 1
        try:
            with suppress(_LastWord):
                await super().Watch(request, cast("Context", _WatchContext(context, self)))
        finally:
            self._watches[peer] -= 1
            if not self._watches[peer]:
                del self._watches[peer]

    async def enter_graceful_shutdown(self) -> None:
        """Tell every Watch NOT_SERVING, its last word."""
        self.is_stopping = True
        await super().enter_graceful_shutdown()


class _LastWord(Exception):
    """NOT_SERVING was sent. The call ends with OK: of one that ends with an error gRPC may drop what was not read."""


class _WatchContext:
    """What a Watch gets for gRPC's context, of which it only writes."""

    def __init__(self, context: Context, health: BoundedHealth) -> None:
        self._context = context
        self._health = health

    async def write(self, message: health_pb2.HealthCheckResponse) -> None:
        """Send one message; raises _LastWord if the service is stopping."""
        await self._context.write(message)
        if self._health.is_stopping:
            raise _LastWord


OnDenied = Callable[[str, str, str, Unauthenticated], None]
"""Gets the method, the connection, the identity (empty: not known) and the error of a denied call."""


class HubHealth(health_pb2_grpc.HealthServicer):
    """The same for callers with identities: whoever connects may check, as probes do, and an identity may watch."""

    def __init__(self, health: BoundedHealth, authenticate: Authenticate, quotas: Quotas, denied: OnDenied) -> None:
        self._health = health
        self._denied = denied
        self._oversight = Oversight(authenticate)
        self._authenticate = authenticate
        self._quotas = quotas

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Context) -> health_pb2.HealthCheckResponse:
        """The health of a service."""
        return await self._health.Check(request, context)

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Context) -> None:
        """Send the health of a service and every change of it."""
        try:
            caller = Caller(self._authenticate, context, self._quotas)
            async with self._oversight.over(caller):
                if caller.quota is None:
                    await self._health.Watch(request, context)
                else:
                    caller.quota.charge(request.ByteSize())
                    with caller.quota.hold("health_watches"):
                        await self._health.Watch(request, context)
        except GossipControlError as error:
            if isinstance(error, Unauthenticated):
                self._denied(_WATCH, context.peer(), "", error)
            await context.abort(error.code, str(error), error.trailers())

"""The health service, with bounds on its Watch calls."""

from __future__ import annotations

from collections import Counter
from typing import Any, TypeAlias

import grpc
from grpc_health.v1 import health, health_pb2

WATCHES, WATCHES_PER_CONNECTION = 1024, 8
"""Most Watch calls in all, and of one TCP connection; each takes 25 kB. A client needs one per service it watches."""
LOCAL_PEER = "unix:"
"""What gRPC calls every client on the Unix socket: they share the whole."""
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class BoundedHealth(health.aio.HealthServicer):
    """Refuses a Watch beyond the bounds with RESOURCE_EXHAUSTED."""

    def __init__(self) -> None:
        super().__init__()
        self._watches: Counter[str] = Counter()
        """Watch calls by connection."""

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
            await super().Watch(request, context)
        finally:
            self._watches[peer] -= 1
            if not self._watches[peer]:
                del self._watches[peer]

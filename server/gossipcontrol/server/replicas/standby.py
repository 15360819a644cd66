"""What a replica listens with while another one owns the state: it refuses, and says who serves."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, cast

import grpc
from gossipcontrol.server.access.entrance import Entrance
from gossipcontrol.server.config import LOOPBACK
from gossipcontrol.server.errors import NotOwner
from gossipcontrol.server.observe.metrics_replicas import Following, show_owner, show_standby, show_wall_clock
from gossipcontrol.server.replicas.refusal_pace import RefusalPace
from gossipcontrol.server.rpc.health import BoundedHealth
from gossipcontrol.server.rpc.interceptor import trailers
from gossipcontrol.server.runtime.turns import Turns
from gossipcontrol.server.runtime.wall_clock import WallClock
from gossipcontrol.server.status_page.bridge import Bridge
from gossipcontrol.server.status_page.health import Health
from gossipcontrol.server.status_page.server import Application, PageServer, open_pages
from gossipcontrol.server.status_page.site import Guard, Site
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import (
    CollectorRegistry,
    make_wsgi_app,  # pyright: ignore[reportUnknownVariableType]
)


class Standby:
    """The listeners of a standby: the same addresses as those of an owner, so it must end before that begins.

    ``refusal`` makes the error that every call gets. Readiness is false, liveness is true.
    """

    def __init__(
        self,
        entrances: Iterable[Entrance],
        options: list[tuple[str, int]],
        services: Iterable[str],
        refusal: Callable[[], NotOwner],
        failed: Callable[[str, Exception], None],
        wall_clock: WallClock | None = None,
        following: Following | None = None,
    ) -> None:
        self._entrances = entrances
        self._services = services
        self._refusal = refusal
        self._failed = failed
        self._wall_clock = wall_clock
        self._following = following
        self._server = grpc.aio.server(options=options)
        self._pages: PageServer | None = None

    async def start(self, pages: str, guard: Guard | None = None, context: ssl.SSLContext | None = None) -> None:
        """Listen, and serve the probes at the address ``pages`` as an owner would; raises StartError."""
        status = BoundedHealth()
        health_pb2_grpc.add_HealthServicer_to_server(status, self._server)
        self._server.add_generic_rpc_handlers((Refusing(self._refusal),))
        for name in ("", *self._services):
            await status.set(name, health_pb2.HealthCheckResponse.NOT_SERVING)
        for entrance in self._entrances:
            entrance.listen(self._server)
        if pages:
            self._start_pages(pages, guard, context)
        await self._server.start()

    async def stop(self) -> None:
        """Let go of the addresses at once."""
        if self._pages is not None:
            await asyncio.to_thread(self._pages.close)
        await self._server.stop(None)

    def _start_pages(self, address: str, guard: Guard | None, context: ssl.SSLContext | None) -> None:
        host = address.rpartition(":")[0]
        health = Health(Bridge(asyncio.get_running_loop(), Turns()), lambda: str(self._refusal()))
        routes = {"/healthz": health.live, "/readyz": health.ready}
        registry = CollectorRegistry()
        show_owner(registry, 0)
        show_standby(registry, self._following)
        if self._wall_clock is not None:
            show_wall_clock(registry, self._wall_clock)
        metrics = cast("Application", make_wsgi_app(registry))  # pyright: ignore[reportUnknownArgumentType]
        site = Site(routes, {"/metrics": metrics}, self._failed, is_local=host in LOOPBACK, guard=guard)
        self._pages = open_pages(address, site, context)


class Refusing(grpc.GenericRpcHandler):
    """Refuses every call; as a stream, which also answers a client that expects one message.

    Agents have turns of their own: the calls of others must not wait behind those of a fleet.
    """

    def __init__(self, refusal: Callable[[], NotOwner], clock: Callable[[], float] = time.monotonic) -> None:
        agents, others = (partial(self._refuse, refusal, RefusalPace(clock)) for _ in range(2))
        self._agents = cast("Any", grpc.stream_stream_rpc_method_handler(agents))
        self._others = cast("Any", grpc.stream_stream_rpc_method_handler(others))

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The same for every method, but for the turns."""
        return self._agents if str(handler_call_details.method).endswith("/Attach") else self._others

    @staticmethod
    async def _refuse(refusal: Callable[[], NotOwner], pace: RefusalPace, requests: Any, context: Any) -> None:
        del requests
        error = refusal()
        error.retry_in = pace.delay(error.retry_in)
        await context.abort(error.code, str(error), trailers(error))

"""Every page that the service has, by path."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from gossipcontrol.server.config import Config
from gossipcontrol.server.core.diagnosis.neighbor_graph import NeighborGraph
from gossipcontrol.server.core.memory import MemoryBudget
from gossipcontrol.server.rpc.gossip_control import GossipControlService
from gossipcontrol.server.runtime.turns import Turns
from gossipcontrol.server.status_page.assets import asset_routes
from gossipcontrol.server.status_page.bridge import Bridge
from gossipcontrol.server.status_page.debug import Debug
from gossipcontrol.server.status_page.event_stream import EventStream, RejoinNews
from gossipcontrol.server.status_page.health import Health
from gossipcontrol.server.status_page.page_guard import PageGuard
from gossipcontrol.server.status_page.reads import Reads
from gossipcontrol.server.status_page.server import Application
from gossipcontrol.server.status_page.site import Handler, Site
from prometheus_client import (
    CollectorRegistry,
    make_wsgi_app,  # pyright: ignore[reportUnknownVariableType]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """What the pages are made of."""

    config: Config
    turns: Turns
    registry: CollectorRegistry
    budget: MemoryBudget
    obstacle: Callable[[], str]
    """What keeps the service from taking triggers; empty: nothing."""
    connections: Callable[[], dict[str, Any]]
    service: GossipControlService
    overview: Callable[[], dict[str, Any]]
    graph: Callable[[str], NeighborGraph | None]
    troubled: Callable[[str], int]
    """Number of a store's nodes with a condition that stands."""
    name: Callable[[str], str]
    """The name of a node; empty where it has none."""
    news: RejoinNews
    failed: Callable[[str, Exception], None]
    """Gets the path and error of a page that failed."""


def make_site(pages: Pages, loop: asyncio.AbstractEventLoop, *, is_local: bool, guard: PageGuard | None = None) -> Site:
    """The application that serves them all."""
    bridge = Bridge(loop, pages.turns)
    health = Health(bridge, pages.obstacle)
    routes: dict[str, Handler] = {"/healthz": health.live, "/readyz": health.ready}
    routes |= asset_routes()
    routes |= Reads(bridge, pages.service, pages.overview, pages.graph, pages.troubled, pages.name).routes()
    routes["/api/events"] = EventStream(bridge, pages.service, pages.news).answer
    routes |= Debug(bridge, pages.config, pages.budget, pages.connections).routes()
    metrics = cast("Application", make_wsgi_app(pages.registry))  # pyright: ignore[reportUnknownArgumentType]
    return Site(routes, {"/metrics": metrics}, pages.failed, is_local=is_local, guard=guard)

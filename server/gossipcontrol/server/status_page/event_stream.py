"""Server-sent events: the presence of a store and the newest rejoins, as they change."""

from __future__ import annotations

import asyncio
import json
import queue
from collections.abc import Iterator
from contextlib import suppress
from http import HTTPStatus
from typing import Any, cast

from gossipcontrol.server.errors import GossipControlError
from gossipcontrol.server.rpc.gossip_control import GossipControlService
from gossipcontrol.server.status_page.bridge import Bridge
from gossipcontrol.server.status_page.reads import PageContext, as_dict
from gossipcontrol.server.status_page.site import Answer, Request, text
from gossipcontrol.v1.gossip_control_pb2 import (
    ListRejoinsRequest,
    ListRejoinsResponse,
    WatchPeersRequest,
    WatchPeersResponse,
)
from gossipcontrol.v1.liveness_pb2 import PeerState

HEARTBEAT = 3.0
"""Seconds of silence after which the stream says that it is alive, and notices that nobody reads it."""
UNREAD = 4
"""Messages that may wait for a client."""
REJOINS = 30
"""Newest rejoins in an event."""
REJOINS_INTERVAL = 0.25
"""Least seconds between two events about rejoins."""

Item = WatchPeersResponse | ListRejoinsResponse | str | None


class RejoinNews:
    """Wakes those who follow the rejoins. Runs in one event loop."""

    def __init__(self) -> None:
        self._followers: set[asyncio.Event] = set()

    def notify(self) -> None:
        """Tell that some rejoin has changed."""
        for follower in self._followers:
            follower.set()

    def follow(self) -> asyncio.Event:
        """An event that is set now, and at each change."""
        event = asyncio.Event()
        event.set()
        self._followers.add(event)
        return event

    def leave(self, event: asyncio.Event) -> None:
        """Stop following."""
        self._followers.discard(event)


class _Pipe:
    """Messages from the event loop to the thread of a request; the loop waits while the client is slow."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._room = asyncio.Semaphore(UNREAD)
        self._items: queue.SimpleQueue[Item] = queue.SimpleQueue()

    async def put(self, item: Item) -> None:
        """Send an item, once there is room."""
        await self._room.acquire()
        self._items.put(item)

    def end(self, why: str) -> None:
        """Send the last item, whatever waits."""
        self._items.put(why)
        self._items.put(None)

    def get(self) -> Item:
        """The next item; raises queue.Empty after a time of silence."""
        item = self._items.get(timeout=HEARTBEAT)
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._room.release)
        return item


class _StreamContext(PageContext):
    """Stands for gRPC's context of a call whose answers go to a page."""

    def __init__(self, client: str, pipe: _Pipe) -> None:
        super().__init__(client)
        self._pipe = pipe

    async def write(self, message: WatchPeersResponse) -> None:
        """Send an answer."""
        await self._pipe.put(message)


class EventStream:
    """``/api/events``: what changes, until either side ends it."""

    def __init__(self, bridge: Bridge, service: GossipControlService, news: RejoinNews) -> None:
        self._bridge = bridge
        self._service = service
        self._news = news

    def answer(self, request: Request) -> Answer:
        """Begin a stream; 503 when there are too many."""
        if not request.become_stream():
            return text("too many pages are open", HTTPStatus.SERVICE_UNAVAILABLE)
        return Answer(self._events(request.client, request.query.get("store", "")), "text/event-stream; charset=utf-8")

    def _events(self, client: str, store_id: str) -> Iterator[bytes]:
        pipe = _Pipe(self._bridge.loop)
        work = asyncio.run_coroutine_threadsafe(self._follow(client, store_id, pipe), self._bridge.loop)
        yield b"retry: 2000\n\n"
        try:
            while True:
                try:
                    item = pipe.get()
                except queue.Empty:
                    yield b"event: alive\ndata: {}\n\n"
                    continue
                if item is None:
                    return
                yield _encode(item)
        finally:
            work.cancel()

    async def _follow(self, client: str, store_id: str, pipe: _Pipe) -> None:
        """Send what changes until the service stops or the client goes."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._bridge.charged(client, lambda: self._send_rejoins(client, pipe)))
                if store_id:
                    request, context = WatchPeersRequest(store_id=store_id), cast("Any", _StreamContext(client, pipe))
                    group.create_task(self._bridge.charged(client, lambda: self._service.WatchPeers(request, context)))
        except ExceptionGroup as errors:
            first = errors.exceptions[0]
            pipe.end(str(first) if isinstance(first, GossipControlError) else "the service failed")
            if not isinstance(first, GossipControlError | TimeoutError):
                raise

    async def _send_rejoins(self, client: str, pipe: _Pipe) -> None:
        changed = self._news.follow()
        context = cast("Any", PageContext(client))
        try:
            while True:
                await changed.wait()
                changed.clear()
                await pipe.put(await self._service.ListRejoins(ListRejoinsRequest(page_size=REJOINS), context))
                await asyncio.sleep(REJOINS_INTERVAL)
        finally:
            self._news.leave(changed)


def _encode(item: WatchPeersResponse | ListRejoinsResponse | str) -> bytes:
    if isinstance(item, str):
        name, value = "ended", cast("dict[str, Any]", {"why": item})
    elif isinstance(item, ListRejoinsResponse):
        name, value = "rejoins", as_dict(item)
    else:
        name, view = "peers", item.view
        peers = [(one.peer_id, PeerState.Name(one.state)) for one in view.peers]
        value = {"peers": peers, "removed": list(view.removed_peer_ids), "delta": view.delta}
    return f"event: {name}\ndata: {json.dumps(value)}\n\n".encode()

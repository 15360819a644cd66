"""Calls over an asynchronous channel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import grpc
from gossipcontrol.client.address import check_address, default_address
from gossipcontrol.client.call import Call, ListCall
from gossipcontrol.client.channel import open_channel
from gossipcontrol.client.credentials import Credentials
from gossipcontrol.client.failure import client_error
from gossipcontrol.client.page import PageWalk
from gossipcontrol.client.presence import PresenceUpdate
from gossipcontrol.client.presence_stream import PresenceStream
from gossipcontrol.client.retry import call_with_retry
from gossipcontrol.client.tracing import trace_context
from gossipcontrol.v1 import gossip_control_pb2, gossip_control_pb2_grpc

MessageT = TypeVar("MessageT")
T = TypeVar("T")


class Transport:
    """Makes calls with retries; the channel is opened by the first call, in the loop that it runs in."""

    def __init__(self, address: str | None, timeout: float, credentials: Credentials | None = None) -> None:
        self._credentials = credentials
        self.address = check_address(address) if address is not None else default_address()
        self.timeout = timeout
        self._channel: grpc.aio.Channel | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    @property
    def channel(self) -> grpc.aio.Channel:
        """The channel in the running loop; raises RuntimeError after ``close``."""
        if self._closed:
            raise RuntimeError("the client is closed")
        loop = asyncio.get_running_loop()
        # A channel belongs to one loop; after the end of that loop it is of no use.
        if self._channel is None or self._loop is None or self._loop.is_closed():
            self._channel, self._loop = open_channel(self.address, credentials=self._credentials), loop
        elif self._loop is not loop:
            raise RuntimeError("the client is used in another event loop that still runs")
        return self._channel

    async def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        self._closed = True
        if self._channel is not None:
            await self._channel.close()

    async def retry(self, call: Callable[[float], Awaitable[T]]) -> T:
        """The result of a call that is given the seconds left; raises ClientError."""
        try:
            return await call_with_retry(call, self.timeout)
        except grpc.RpcError as error:
            raise client_error(error) from error

    async def message(self, call: Call[MessageT, Any]) -> MessageT:
        """The answer as a message."""
        method = call.method(self.channel)
        trace = trace_context()
        answer: MessageT = await self.retry(lambda left: method(call.request, timeout=left, metadata=trace))
        return answer

    async def call(self, call: Call[Any, T]) -> T:
        """The answer as a value."""
        return call.decode(await self.message(call))

    async def call_once(self, call: Call[Any, T]) -> T:
        """The answer as a value of a call that must not be made twice; raises ClientError."""
        method = call.method(self.channel)
        try:
            return call.decode(await method(call.request, timeout=self.timeout, metadata=trace_context()))
        except grpc.RpcError as error:
            raise client_error(error) from error

    async def each(self, call: ListCall[Any, T]) -> AsyncIterator[T]:
        """Every item of every page."""
        walk = PageWalk(call)
        while walk.request is not None:
            for item in walk.accept(await self.message(Call(call.stub, call.name, walk.request, _undecoded))):
                yield item

    async def watch(self, stream: PresenceStream) -> AsyncGenerator[PresenceUpdate, None]:
        """The updates of one stream after the other; raises ClientError."""
        stub: gossip_control_pb2_grpc.GossipControlAsyncStub
        stub = gossip_control_pb2_grpc.GossipControlStub(self.channel)
        while True:
            wait = 0.0
            call = stub.WatchPeers(stream.request)
            try:
                while True:
                    async with asyncio.timeout(stream.left()):
                        response = await call.read()
                    if not isinstance(response, gossip_control_pb2.WatchPeersResponse):
                        wait = stream.wait_after(None)
                        break
                    yield stream.accept(response)
            except TimeoutError as error:
                raise stream.no_answer() from error
            except grpc.RpcError as error:
                wait = stream.wait_after(error)
            finally:
                call.cancel()
            await asyncio.sleep(wait)


def _undecoded(message: T) -> T:
    return message

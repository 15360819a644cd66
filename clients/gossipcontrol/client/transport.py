"""Calls over an asynchronous channel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import grpc
from gossipcontrol.client.address import default_address
from gossipcontrol.client.call import Call, ListCall, serving
from gossipcontrol.client.channels import Channels
from gossipcontrol.client.credentials import Credentials
from gossipcontrol.client.failure import client_error
from gossipcontrol.client.page import PageWalk
from gossipcontrol.client.presence import PresenceUpdate
from gossipcontrol.client.presence_stream import PresenceStream
from gossipcontrol.client.retry import call_with_retry
from gossipcontrol.client.servers import OnMove, Search, Servers
from gossipcontrol.client.tracing import trace_context
from gossipcontrol.v1 import gossip_control_pb2, gossip_control_pb2_grpc

MessageT = TypeVar("MessageT")
T = TypeVar("T")


class Transport:
    """Makes calls with retries; the channel is opened by the first call, in the loop that it runs in."""

    def __init__(
        self,
        address: str | None,
        timeout: float,
        credentials: Credentials | None = None,
        on_move: OnMove = lambda old, new: None,
    ) -> None:
        self.address = default_address() if address is None else address
        self.servers = Servers(self.address, credentials, on_move=on_move)
        self.timeout = timeout
        self._channels = Channels(self.servers, credentials)

    @property
    def channel(self) -> grpc.aio.Channel:
        """The channel to the server to ask now; raises RuntimeError after ``close``."""
        return self._channels.current()

    async def close(self) -> None:
        """Close the channels; calls under way are cancelled."""
        await self._channels.close()

    async def retry(self, call: Callable[[grpc.aio.Channel, float], Awaitable[T]], *, is_long: bool = False) -> T:
        """The result of a call that is given a channel and the seconds left; raises ClientError.

        ``is_long``: it may take as long as there is time, so that no other server is asked before.
        """
        search = Search(self.servers)

        async def attempt(left: float) -> T:
            async with self._channels.to(search) as channel:
                return await call(channel, left if is_long else search.attempt_time(left))

        try:
            return await call_with_retry(attempt, self.timeout, search)
        except grpc.RpcError as error:
            raise client_error(error) from error

    async def message(self, call: Call[MessageT, Any]) -> MessageT:
        """The answer as a message."""
        trace = trace_context()
        answer: MessageT = await self.retry(
            lambda channel, left: call.method(channel)(call.request, timeout=left, metadata=trace)
        )
        return answer

    async def call(self, call: Call[Any, T]) -> T:
        """The answer as a value."""
        return call.decode(await self.message(call))

    async def serving(self) -> bool:
        """Whether a server says that it serves."""
        for _ in range(self.servers.count):
            if await self.call(serving()):
                return True
            self.servers.refuse(self.servers.current, "")
        return False

    async def call_once(self, call: Call[Any, T]) -> T:
        """The answer as a value of a call that must not be made twice; raises ClientError."""
        search = Search(self.servers)
        while True:
            try:
                async with self._channels.to(search) as channel:
                    method = call.method(channel)
                    return call.decode(await method(call.request, timeout=self.timeout, metadata=trace_context()))
            except grpc.RpcError as error:
                # What a standby refuses was not done.
                if not search.is_refused(error) or search.wait(error):
                    raise client_error(error) from error

    async def each(self, call: ListCall[Any, T]) -> AsyncIterator[T]:
        """Every item of every page."""
        walk = PageWalk(call)
        while walk.request is not None:
            for item in walk.accept(await self.message(Call(call.stub, call.name, walk.request, _undecoded))):
                yield item

    async def watch(self, stream: PresenceStream) -> AsyncGenerator[PresenceUpdate, None]:
        """The updates of one stream after the other; raises ClientError."""
        search = Search(self.servers)
        while True:
            wait = 0.0
            async with self._channels.to(search) as channel:
                stub: gossip_control_pb2_grpc.GossipControlAsyncStub
                stub = gossip_control_pb2_grpc.GossipControlStub(channel)
                call = stub.WatchPeers(stream.request)
                try:
                    while True:
                        async with asyncio.timeout(stream.left(search)):
                            response = await call.read()
                        if not isinstance(response, gossip_control_pb2.WatchPeersResponse):
                            wait = stream.wait_after(None, search)
                            break
                        yield stream.accept(response, search)
                except TimeoutError:
                    wait = stream.wait_unanswered(search)
                except grpc.RpcError as error:
                    wait = stream.wait_after(error, search)
                finally:
                    call.cancel()
            await asyncio.sleep(wait)


def _undecoded(message: T) -> T:
    return message

"""Calls over a channel that blocks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from gossipcontrol.client.address import default_address
from gossipcontrol.client.call import Call, ListCall, serving
from gossipcontrol.client.channel import open_blocking_channel_to
from gossipcontrol.client.credentials import Credentials
from gossipcontrol.client.failure import client_error
from gossipcontrol.client.lookup import look_up_blocking
from gossipcontrol.client.page import PageWalk
from gossipcontrol.client.presence import PresenceUpdate
from gossipcontrol.client.presence_stream import PresenceStream
from gossipcontrol.client.retry import call_with_retry_blocking
from gossipcontrol.client.servers import Search, Server, Servers
from gossipcontrol.client.tracing import trace_context
from gossipcontrol.v1 import gossip_control_pb2_grpc

T = TypeVar("T")


class BlockingTransport:
    """Makes calls with retries; ``sleep`` waits between two of them."""

    def __init__(
        self,
        address: str | None,
        timeout: float,
        sleep: Callable[[float], None] = time.sleep,
        credentials: Credentials | None = None,
    ) -> None:
        self.address = default_address() if address is None else address
        self.servers = Servers(self.address, credentials)
        self.timeout = timeout
        self._sleep = sleep
        self._credentials = credentials
        self._lock = threading.Lock()
        self._open: dict[Server, _Open] = {}
        self._closed = False
        with self._channel(Search(self.servers)):  # raises CredentialsError
            pass

    def close(self) -> None:
        """Close the channels; calls under way are cancelled."""
        with self._lock:
            self._closed = True
            opened, self._open = list(self._open.values()), {}
        for one in opened:
            one.channel.close()

    @contextmanager
    def _channel(self, search: Search) -> Generator[grpc.Channel]:
        """The channel to the server to ask now; those that nobody uses are closed once another server is asked."""
        if self.servers.unknown is not None:
            look_up_blocking(self.servers)
        with self._lock:
            if self._closed:
                raise RuntimeError("the client is closed")
            server = search.server()
            if server not in self._open:
                self._open[server] = _Open(open_blocking_channel_to(server, self._credentials))
            opened = self._open[server]
            opened.users += 1
            idle = [one for one, other in self._open.items() if not other.users and one != server]
            left = [self._open.pop(one).channel for one in idle]
        try:
            for channel in left:
                channel.close()
            yield opened.channel
        finally:
            with self._lock:
                opened.users -= 1

    def call(self, call: Call[Any, T]) -> T:
        """The answer as a value; raises ClientError."""
        search, trace = Search(self.servers), trace_context()

        def once(left: float) -> Any:
            with self._channel(search) as channel:
                return call.method(channel)(call.request, timeout=search.attempt_time(left), metadata=trace)

        try:
            return call.decode(call_with_retry_blocking(once, self.timeout, search, self._sleep))
        except grpc.RpcError as error:
            raise client_error(error) from error

    def serving(self) -> bool:
        """Whether a server says that it serves."""
        for _ in range(self.servers.count):
            if self.call(serving()):
                return True
            self.servers.refuse(self.servers.current, "")
        return False

    def each(self, call: ListCall[Any, T]) -> Iterator[T]:
        """Every item of every page."""
        walk = PageWalk(call)
        while walk.request is not None:
            yield from walk.accept(self.call(Call(call.stub, call.name, walk.request, _undecoded)))

    def watch(self, stream: PresenceStream) -> Generator[PresenceUpdate, None, None]:
        """The updates of one stream after the other; raises ClientError."""
        search = Search(self.servers)
        while True:
            with self._channel(search) as channel:
                call = gossip_control_pb2_grpc.GossipControlStub(channel).WatchPeers(stream.request)
                deadline = _Deadline(stream.left(search), call.cancel)
                try:
                    for response in call:
                        deadline.cancel()
                        yield stream.accept(response, search)
                    wait = stream.wait_after(None, search)
                except grpc.RpcError as error:
                    if deadline.passed and stream.left(search) is not None:
                        wait = stream.wait_unanswered(search)
                    else:
                        # A deadline that passes just as the first answer arrives cancels a stream that works.
                        wait = stream.wait_after(None if deadline.passed else error, search)
                finally:
                    deadline.cancel()
                    call.cancel()
            self._sleep(wait)


@dataclass(slots=True)
class _Open:
    channel: grpc.Channel
    users: int = 0


class _Deadline:
    """Cancels a call after so many seconds: gRPC's own timeout would bound the whole stream."""

    def __init__(self, seconds: float | None, cancel: Callable[[], object]) -> None:
        self.passed = False
        self._cancel_call = cancel
        self._timer = None if seconds is None else threading.Timer(seconds, self._pass)
        if self._timer is not None:
            self._timer.daemon = True
            self._timer.start()

    def cancel(self) -> None:
        """The answer is there."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pass(self) -> None:
        self.passed = True
        self._cancel_call()


def _undecoded(message: T) -> T:
    return message

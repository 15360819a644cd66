"""Calls over a channel that blocks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeVar

import grpc
from gossipcontrol.client.address import check_address, default_address
from gossipcontrol.client.call import Call, ListCall
from gossipcontrol.client.channel import open_blocking_channel
from gossipcontrol.client.credentials import Credentials
from gossipcontrol.client.failure import client_error
from gossipcontrol.client.page import PageWalk
from gossipcontrol.client.presence import PresenceUpdate
from gossipcontrol.client.presence_stream import PresenceStream
from gossipcontrol.client.retry import call_with_retry_blocking
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
        self.address = check_address(address) if address is not None else default_address()
        self.timeout = timeout
        self._sleep = sleep
        self._open_channel = open_blocking_channel(self.address, credentials=credentials)
        self._closed = False

    def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        self._closed = True
        self._open_channel.close()

    @property
    def _channel(self) -> grpc.Channel:
        if self._closed:
            raise RuntimeError("the client is closed")
        return self._open_channel

    def call(self, call: Call[Any, T]) -> T:
        """The answer as a value; raises ClientError."""
        method, trace = call.method(self._channel), trace_context()

        def once(left: float) -> Any:
            return method(call.request, timeout=left, metadata=trace)

        try:
            return call.decode(call_with_retry_blocking(once, self.timeout, self._sleep))
        except grpc.RpcError as error:
            raise client_error(error) from error

    def each(self, call: ListCall[Any, T]) -> Iterator[T]:
        """Every item of every page."""
        walk = PageWalk(call)
        while walk.request is not None:
            yield from walk.accept(self.call(Call(call.stub, call.name, walk.request, _undecoded)))

    def watch(self, stream: PresenceStream) -> Generator[PresenceUpdate, None, None]:
        """The updates of one stream after the other; raises ClientError."""
        stub = gossip_control_pb2_grpc.GossipControlStub(self._channel)
        while True:
            call = stub.WatchPeers(stream.request)
            deadline = _Deadline(stream.left(), call.cancel)
            try:
                for response in call:
                    deadline.cancel()
                    yield stream.accept(response)
                wait = stream.wait_after(None)
            except grpc.RpcError as error:
                if deadline.passed and stream.left() is not None:
                    raise stream.no_answer() from error
                # A deadline that passes just as the first answer arrives cancels a stream that works: open another.
                wait = stream.wait_after(None if deadline.passed else error)
            finally:
                deadline.cancel()
                call.cancel()
            self._sleep(wait)


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

"""All wake-ups of gRPC are taken in one pass of the event loop, so that its thread never waits to write the next."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from functools import partial

import grpc
import pytest
from gossipcontrol.client.channel import open_channel
from gossipcontrol.server.runtime import event_loop
from gossipcontrol.server.runtime.event_loop import new_event_loop, take_wake_ups

CALLS = 300


class Queue:
    """Takes one wake-up of those that wait, as the completion queue of gRPC does."""

    __module__ = "grpc._cython.cygrpc"

    def __init__(self, wake_ups: socket.socket) -> None:
        self.wake_ups = wake_ups
        self.handled = list[int]()
        """Bytes that were left each time, the one that it takes included."""

    def handle(self, loop: object) -> None:
        del loop
        self.handled.append(len(self.wake_ups.recv(10_000, socket.MSG_PEEK)))
        assert self.wake_ups.recv(1) == b"1"


class OtherQueue(Queue):
    """The same, of another library."""

    __module__ = "somebody.else"


@pytest.fixture(params=[new_event_loop, lambda: take_wake_ups(asyncio.SelectorEventLoop())], ids=["uvloop", "asyncio"])
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    made: asyncio.AbstractEventLoop = request.param()
    yield made
    made.close()


@pytest.fixture
def wake_ups() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Where wake-ups are read, and written."""
    reading, writing = socket.socketpair()
    reading.setblocking(False)
    writing.setblocking(False)
    with reading, writing:
        yield reading, writing


def fill(writing: socket.socket) -> int:
    """Write wake-ups until the next one would have to wait; returns how many there was room for."""
    count = 0
    while True:
        try:
            count += writing.send(b"1")
        except BlockingIOError:
            return count


@pytest.mark.parametrize(("kind", "times"), [(Queue, 1), (OtherQueue, 3)])
def test_all_waiting_wake_ups_of_grpc_are_taken_at_once(
    loop: asyncio.AbstractEventLoop, wake_ups: tuple[socket.socket, socket.socket], kind: type[Queue], times: int
) -> None:
    reading, writing = wake_ups
    queue = kind(reading)
    writing.send(b"1" * 3)
    loop.add_reader(reading, partial(queue.handle, loop))

    async def several_passes() -> None:
        for _ in range(6):
            await asyncio.sleep(0)

    loop.run_until_complete(several_passes())
    loop.remove_reader(reading)
    assert queue.handled == ([1] if times == 1 else [3, 2, 1])


def test_a_full_socket_has_room_after_one_pass(
    loop: asyncio.AbstractEventLoop, wake_ups: tuple[socket.socket, socket.socket]
) -> None:
    reading, writing = wake_ups
    queue, room = Queue(reading), fill(writing)
    assert room > 100
    loop.add_reader(reading, queue.handle, loop)

    async def until_handled() -> None:
        while not queue.handled:
            await asyncio.sleep(0)

    loop.run_until_complete(until_handled())
    loop.remove_reader(reading)
    assert fill(writing) == room


async def echo(request: bytes, context: object) -> bytes:
    del context
    return request


async def serve_and_call() -> None:
    """Have a server answer many calls at once."""
    server = grpc.aio.server()
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("lab", {"Echo": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with open_channel(f"127.0.0.1:{port}") as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/lab/Echo")
        assert await asyncio.gather(*(call(b"1") for _ in range(CALLS))) == [b"1"] * CALLS
    await server.stop(None)


def test_the_wake_ups_of_a_real_server_are_recognised(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many events come in one pass here: a version of gRPC that wakes the loop otherwise fails this test."""
    left: list[int] = []
    inner = event_loop._take_and_call  # pyright: ignore[reportPrivateUsage]

    def noting(wake_ups: socket.socket, callback: Callable[..., object], *args: object) -> None:
        waiting = len(wake_ups.recv(10_000, socket.MSG_PEEK))
        inner(wake_ups, callback, *args)
        left.append(waiting)

    monkeypatch.setattr(event_loop, "_take_and_call", noting)
    loop.run_until_complete(serve_and_call())
    assert max(left) > 1

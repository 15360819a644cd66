"""Calls that come over HTTP, carried out by the handlers that gRPC calls: same checks, limits and metrics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, NoReturn, TypeAlias

import grpc

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Trailers: TypeAlias = "tuple[tuple[str, str | bytes], ...]"


class CallEnded(Exception):
    """A call that its handler ended with a status."""

    def __init__(self, code: grpc.StatusCode, message: str, trailers: Trailers) -> None:
        super().__init__(message)
        self.code = code
        self.trailers = trailers


class WebContext:
    """What a handler needs of gRPC's context."""

    def __init__(self, peer: str) -> None:
        self._peer = peer
        self._written: asyncio.Queue[tuple[Any, asyncio.Future[None]]] = asyncio.Queue()

    def peer(self) -> str:
        """The connection, named as gRPC names one."""
        return self._peer

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Trailers = ()) -> NoReturn:
        """End the call with a status."""
        raise CallEnded(code, details, trailing_metadata)

    async def write(self, message: Any) -> None:
        """Send one message of a stream; returns once the connection has taken it."""
        taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._written.put_nowait((message, taken))
        await taken

    async def messages(self, ended: asyncio.Task[Any]) -> AsyncIterator[Any]:
        """What is written until the call has ended; raises what it ended with."""
        while True:
            waiting = asyncio.ensure_future(self._written.get())
            try:
                await asyncio.wait({waiting, ended}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not waiting.done():
                    waiting.cancel()
            if not waiting.done() or waiting.cancelled():
                break
            message, taken = waiting.result()
            yield message
            if not taken.done():
                taken.set_result(None)
        ended.result()


async def answer(handler: Handler, request: Any, peer: str) -> Any:
    """The answer of a call with one; raises CallEnded."""
    behaviour: Any = handler.stream_unary if handler.request_streaming else handler.unary_unary
    return await behaviour(request, WebContext(peer))


async def answers(handler: Handler, request: Any, peer: str) -> AsyncIterator[Any]:
    """The answers of a call with many; raises CallEnded."""
    behaviour: Any = handler.unary_stream
    context = WebContext(peer)
    call = asyncio.ensure_future(behaviour(request, context))
    try:
        async for message in context.messages(call):
            yield message
    finally:
        call.cancel()
        with suppress(asyncio.CancelledError, CallEnded):
            await call

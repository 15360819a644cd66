"""Wraps every call: errors become statuses with details, calls are counted, and their work is charged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import status_pb2
from gossipcontrol.server.core.slices import Slices
from gossipcontrol.server.errors import GossipControlError, InvalidRequest
from gossipcontrol.server.observe.log import Logger
from gossipcontrol.server.observe.metrics import Metrics, RequestMetrics
from gossipcontrol.server.runtime.slices import in_slices
from gossipcontrol.server.runtime.turns import Turns
from gossipcontrol.server.wire.pieces import PIECE, TooManyFields, parse_slices
from grpc_status import rpc_status

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Behaviour: TypeAlias = "Callable[[Any, Context], Awaitable[Any]]"

_WRAP = {
    (False, False): (grpc.unary_unary_rpc_method_handler, "unary_unary"),
    (False, True): (grpc.unary_stream_rpc_method_handler, "unary_stream"),
    (True, False): (grpc.stream_unary_rpc_method_handler, "stream_unary"),
    (True, True): (grpc.stream_stream_rpc_method_handler, "stream_stream"),
}


class Unread:
    """A request that is read when it is the call's turn."""

    def read(self) -> Slices[Any]:
        """The message; raises InvalidRequest."""
        raise NotImplementedError


class UnreadBytes(Unread):
    """A request as protobuf."""

    def __init__(self, data: bytes, kind: type[Message]) -> None:
        self._data = data
        self._kind = kind

    def read(self) -> Slices[Any]:
        """The message; raises InvalidRequest."""
        message = self._kind()
        try:
            yield from parse_slices(message, self._data)
        except TooManyFields as error:
            raise InvalidRequest([("request", str(error))]) from None
        except DecodeError:
            raise InvalidRequest([("request", "cannot be parsed as the request of this call")]) from None
        return message


class WrappingServer:
    """Takes the place of the server while a service is added to it, and wraps each handler once.

    A ``grpc.aio.ServerInterceptor`` would do the same, but runs again at every call.
    """

    def __init__(self, server: grpc.aio.Server, metrics: Metrics, log: Logger, turns: Turns | None = None) -> None:
        self._server = server
        self._turns = turns or Turns()
        self._metrics = metrics
        self._log = log
        self.handlers: dict[str, Handler] = {}
        """The wrapped handlers by path, for calls that do not come over gRPC."""

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Do nothing, because the same handlers are also added by name."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Add the handlers of a service, wrapped."""
        wrapped = {name: self._wrap(f"/{service}/{name}", handler) for name, handler in handlers.items()}
        self.handlers |= {f"/{service}/{name}": handler for name, handler in wrapped.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, wrapped),))

    def _wrap(self, method: str, inner: Handler) -> Handler:
        make, kind = _WRAP[inner.request_streaming, inner.response_streaming]
        counted = self._metrics.requests(method.rpartition("/")[2])
        behaviour = getattr(inner, kind)
        call = self._call(method, _reading(behaviour, inner.request_streaming), counted, timed=kind == "unary_unary")
        return make(call, _putting_off(inner.request_deserializer), inner.response_serializer)

    def _call(self, method: str, behaviour: Behaviour, counted: RequestMetrics, *, timed: bool) -> Behaviour:
        async def call(request: Any, context: Context) -> Any:
            started_at = time.perf_counter()
            try:
                with self._turns.call(context.peer()) as own:
                    response = await own.run(lambda: behaviour(request, context))
                    if timed and own.is_over():
                        await own.wait_turn()  # writing a long answer takes some milliseconds
            except asyncio.CancelledError:
                counted.ended(grpc.StatusCode.CANCELLED, time.perf_counter() - started_at if timed else None)
                raise
            except Exception as error:  # noqa: BLE001 - whatever a call raises, the service goes on
                counted.ended(_code(error), time.perf_counter() - started_at if timed else None)
                request = None
                await self._fail(method, error, context)
            if timed:
                counted.ok(time.perf_counter() - started_at)
            else:
                counted.ended(grpc.StatusCode.OK)
            return response

        return call

    async def _fail(self, method: str, error: Exception, context: Context) -> NoReturn:
        if isinstance(error, GossipControlError):
            # gRPC keeps the error of the abort in a cycle with its frames: a refused request of a megabyte would stay
            # in memory, with all that was made of it, until the collector looks at everything.
            error.__traceback__ = None
            await context.abort(error.code, str(error), _trailers(error))
        self._log.error("call failed", rpc=method, exc_info=error)
        await context.abort(grpc.StatusCode.INTERNAL, "the service failed; see its log")


def _code(error: Exception) -> grpc.StatusCode:
    return error.code if isinstance(error, GossipControlError) else grpc.StatusCode.INTERNAL


def _putting_off(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """A deserializer that leaves what is long, or cannot be parsed, to the call: gRPC would answer UNKNOWN."""
    kind: Any = getattr(deserialize, "__self__", None)
    if deserialize is None or kind is None:
        return deserialize

    def put_off(data: bytes) -> Any:
        if len(data) > PIECE:
            return UnreadBytes(data, kind)
        try:
            return deserialize(data)
        except DecodeError:
            return UnreadBytes(data, kind)

    return put_off


def _reading(behaviour: Behaviour, is_stream: bool) -> Behaviour:
    """The behaviour, with requests that are read when it is its turn."""
    if is_stream:
        return lambda requests, context: behaviour(_read_all(requests), context)

    async def read_first(request: Any, context: Context) -> Any:
        if isinstance(request, Unread):
            request = await in_slices(request.read())
        return await behaviour(request, context)

    return read_first


async def _read_all(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield (await in_slices(request.read())) if isinstance(request, Unread) else request


def _trailers(error: GossipControlError) -> tuple[tuple[str, str | bytes], ...]:
    status = status_pb2.Status(code=error.code.value[0], message=str(error))
    for detail in error.details():
        status.details.add().Pack(detail)
    packed = rpc_status.to_status(status)  # pyright: ignore[reportUnknownMemberType]
    return (*(packed.trailing_metadata or ()), *error.trailers())

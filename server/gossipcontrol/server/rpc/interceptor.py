"""Wraps every call: errors become statuses with details, calls are counted, and their work is charged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import grpc
from google.protobuf.message import DecodeError
from google.rpc import status_pb2
from gossipcontrol.server.errors import GossipControlError, InvalidRequest
from gossipcontrol.server.observe.calls import CallLog
from gossipcontrol.server.observe.log import Logger
from gossipcontrol.server.observe.metrics import Metrics, RequestMetrics
from gossipcontrol.server.runtime.turns import Turns
from grpc_status import rpc_status

if TYPE_CHECKING:
    from gossipcontrol.server.observe.traces import CallTraces

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
    """A request that is read when it is the call's turn; this one cannot be parsed as the request of the call."""

    def read(self) -> Any:
        """The message; raises InvalidRequest."""
        raise InvalidRequest([("request", "cannot be parsed as the request of this call")])


UNREADABLE = Unread()


class WrappingServer:
    """Takes the place of the server while a service is added to it, and wraps each handler once.

    A ``grpc.aio.ServerInterceptor`` would do the same, but runs again at every call.
    """

    def __init__(
        self,
        server: grpc.aio.Server,
        metrics: Metrics,
        log: Logger,
        turns: Turns | None = None,
        traces: CallTraces | None = None,
    ) -> None:
        self._server = server
        self._turns = turns or Turns()
        self._traces = traces
        self._metrics = metrics
        self._log = log
        self._calls = CallLog(log)
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
        read = _read_all if inner.request_streaming else _read_one
        call = self._call(method, behaviour, read, counted, timed=kind == "unary_unary")
        if self._traces:
            call = self._traces.wrap(method, call)
        return make(call, _forgiving(inner.request_deserializer), inner.response_serializer)

    def _call(
        self, method: str, behaviour: Behaviour, read: Callable[[Any], Any], counted: RequestMetrics, *, timed: bool
    ) -> Behaviour:
        async def call(request: Any, context: Context) -> Any:
            started_at = time.perf_counter()
            shown = request if self._calls.shows_calls else None
            try:
                with self._turns.call(context.peer()) as own:
                    response = await own.run(lambda: behaviour(read(request), context))
            except asyncio.CancelledError:
                counted.ended(grpc.StatusCode.CANCELLED, time.perf_counter() - started_at if timed else None)
                self._show(method, context, shown, grpc.StatusCode.CANCELLED, started_at)
                raise
            except Exception as error:  # noqa: BLE001 - whatever a call raises, the service goes on
                counted.ended(_code(error), time.perf_counter() - started_at if timed else None)
                self._show(method, context, shown, _code(error), started_at)
                request = shown = None
                await self._fail(method, error, context)
            if timed:
                counted.ok(time.perf_counter() - started_at)
            else:
                counted.ended(grpc.StatusCode.OK)
            self._show(method, context, shown, grpc.StatusCode.OK, started_at)
            return response

        return call

    def _show(self, method: str, context: Context, request: Any, code: grpc.StatusCode, started_at: float) -> None:
        """Log a call that ended, at the level debug; ``request`` is None at other levels."""
        if request is not None:
            self._calls.ended(method, context.peer(), request, code, time.perf_counter() - started_at)

    async def _fail(self, method: str, error: Exception, context: Context) -> NoReturn:
        if isinstance(error, GossipControlError):
            # gRPC keeps the error of the abort in a cycle with its frames: a refused request of a megabyte would stay
            # in memory, with all that was made of it, until the collector looks at everything.
            error.__traceback__ = None
            self._calls.refused(method, context.peer(), error)
            await context.abort(error.code, str(error), _trailers(error))
        self._log.error("call failed", rpc=method, exc_info=error)
        await context.abort(grpc.StatusCode.INTERNAL, "the service failed; see its log")


def _code(error: Exception) -> grpc.StatusCode:
    return error.code if isinstance(error, GossipControlError) else grpc.StatusCode.INTERNAL


def _forgiving(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """A deserializer whose failure the call answers itself; gRPC would log a traceback and answer UNKNOWN."""
    if deserialize is None:
        return None

    def forgive(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError:
            return UNREADABLE

    return forgive


def _read_one(request: Any) -> Any:
    return request.read() if isinstance(request, Unread) else request


async def _read_all(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _read_one(request)


def _trailers(error: GossipControlError) -> tuple[tuple[str, str | bytes], ...]:
    status = status_pb2.Status(code=error.code.value[0], message=str(error))
    for detail in error.details():
        status.details.add().Pack(detail)
    packed = rpc_status.to_status(status)  # pyright: ignore[reportUnknownMemberType]
    return (*(packed.trailing_metadata or ()), *error.trailers())

"""Wraps every call: errors become statuses with details, calls are counted, and their work is charged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import status_pb2
from gossipcontrol.server.access.caller import EVERYBODY, Authenticate
from gossipcontrol.server.access.gate import Caller, Gate
from gossipcontrol.server.access.identity import Identity
from gossipcontrol.server.access.identity_limits import IdentityLimits
from gossipcontrol.server.access.oversight import Oversight
from gossipcontrol.server.access.quota import Quota, Quotas
from gossipcontrol.server.access.visibility import reader
from gossipcontrol.server.core.slices import Slices
from gossipcontrol.server.errors import GossipControlError, InvalidRequest, PermissionDenied, Unauthenticated
from gossipcontrol.server.observe.calls import CallLog
from gossipcontrol.server.observe.log import Logger
from gossipcontrol.server.observe.metrics import Metrics, RequestMetrics
from gossipcontrol.server.runtime.arrivals import Arrivals
from gossipcontrol.server.runtime.slices import in_slices
from gossipcontrol.server.runtime.turns import Turns
from gossipcontrol.server.wire.pieces import PIECE, TooManyFields, parse_slices
from grpc_status import rpc_status

if TYPE_CHECKING:
    from gossipcontrol.server.observe.traces import CallTraces

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Behaviour: TypeAlias = "Callable[[Any, Context], Awaitable[Any]]"
Trailers: TypeAlias = "tuple[tuple[str, str | bytes], ...]"
Reading: TypeAlias = "Callable[[Any, Context, Caller], Awaitable[Any]]"
"""A behaviour that reads and checks its requests; raises InvalidRequest, Unauthenticated or PermissionDenied."""

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

    def ByteSize(self) -> int:
        """Its size, by protobuf's name for it."""
        return len(self._data)

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

    def __init__(
        self,
        server: grpc.aio.Server,
        metrics: Metrics,
        log: Logger,
        turns: Turns | None = None,
        authenticate: Authenticate = EVERYBODY,
        traces: CallTraces | None = None,
        quotas: Quotas | None = None,
        calls: CallLog | None = None,
        admit: Callable[[], None] | None = None,
    ) -> None:
        self.server = server
        self._turns = turns or Turns()
        self._traces = traces
        self._admit = admit
        """Raises NotOwner while another replica may own the state; None: there is no other."""
        self._metrics = metrics
        self._log = log
        self._calls = CallLog(log) if calls is None else calls
        self._authenticate = authenticate
        self._oversight = Oversight(authenticate)
        self._quotas = Quotas(IdentityLimits(), metrics.count_limited) if quotas is None else quotas
        self.handlers: dict[str, Handler] = {}
        """The wrapped handlers by path, for calls that do not come over gRPC."""

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Do nothing, because the same handlers are also added by name."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Add the handlers of a service, wrapped."""
        wrapped = {name: self._wrap(f"/{service}/{name}", handler) for name, handler in handlers.items()}
        self.handlers |= {f"/{service}/{name}": handler for name, handler in wrapped.items()}
        inner = grpc.method_handlers_generic_handler(service, wrapped)
        self.server.add_generic_rpc_handlers((_Counting(inner, self._turns.arrivals),))

    def _wrap(self, method: str, inner: Handler) -> Handler:
        make, kind = _WRAP[inner.request_streaming, inner.response_streaming]
        counted = self._metrics.requests(method.rpartition("/")[2])
        behaviour = getattr(inner, kind)
        gate = Gate(method, self._authenticate, self._quotas)
        reading = _within_limits(_reading(behaviour, gate, inner.request_streaming), kind)
        if kind != "unary_unary":
            reading = self._overseen(reading)
        call = self._call(method, reading, gate, counted, timed=kind == "unary_unary")
        if self._traces:
            call = self._traces.wrap(method, call)
        return make(call, _putting_off(inner.request_deserializer), inner.response_serializer)

    def _overseen(self, reading: Reading) -> Reading:
        """A stream, which ends when its caller may call no more."""

        async def overseen(request: Any, context: Context, caller: Caller) -> Any:
            async with self._oversight.over(caller):
                return await reading(request, context, caller)

        return overseen

    def _call(self, method: str, behaviour: Reading, gate: Gate, counted: RequestMetrics, *, timed: bool) -> Behaviour:
        async def call(request: Any, context: Any) -> Any:
            started_at = time.perf_counter()
            shown = request if self._calls.shows_calls else None
            identity = ""
            caller: Any = None
            own: Any = None
            self._turns.arrivals.began()
            try:
                caller = gate.caller(context)
                if self._admit is not None:
                    self._admit()
                whose = caller.identity
                identity = whose.name
                if whose is not reader.get():
                    reader.set(whose)
                with self._turns.call(context.peer(), whose.account) as own:
                    response = await own.run(lambda: behaviour(request, context, caller))
                    response = gate.show(caller.identity, response)
                    if timed and own.is_over():
                        await own.wait_turn()  # writing a long answer takes some milliseconds
            except asyncio.CancelledError:
                counted.ended(grpc.StatusCode.CANCELLED, time.perf_counter() - started_at if timed else None)
                self._show(method, context, shown, grpc.StatusCode.CANCELLED, started_at)
                raise
            except Exception as error:  # whatever a call raises, the service goes on
                counted.ended(_code(error), time.perf_counter() - started_at if timed else None)
                self._show(method, context, shown, _code(error), started_at)
                abort = context.abort(*self._failure(method, error, context, identity))
                # gRPC's state of the call keeps what this raises, and so each frame that it passes. A frame that leads
                # to that state makes a cycle: the request, and 50 kB of gRPC's per stream, would stay until the
                # collector looks at everything.
                request = shown = context = caller = own = None
                await abort
                raise  # not reached: to abort a call raises
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

    def _failure(
        self, method: str, error: Exception, context: Context, identity: str
    ) -> tuple[grpc.StatusCode, str, Trailers]:
        """What ends a call that failed, which is counted and logged."""
        if not isinstance(error, GossipControlError):
            self._log.error("call failed", rpc=method, exc_info=error)
            return grpc.StatusCode.INTERNAL, "the service failed; see its log", ()
        error.__traceback__ = None
        if isinstance(error, PermissionDenied | Unauthenticated):
            self._metrics.count_denied(error)
            self._calls.denied(method, context.peer(), identity, error)
        else:
            self._calls.refused(method, context.peer(), error)
        return error.code, str(error), trailers(error)


class _Counting(grpc.GenericRpcHandler):
    """Finds the handler of a call, which gRPC wants before it reads the request, and counts the call."""

    def __init__(self, inner: grpc.GenericRpcHandler, arrivals: Arrivals) -> None:
        self._inner = inner
        self._arrivals = arrivals

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        """The handler; None: it is a call of another service."""
        found = self._inner.service(handler_call_details)
        if found is not None:
            self._arrivals.arrived()
        return found


class CallerContext:
    """What services get for gRPC's context; a stream writes only while its caller may still call."""

    def __init__(self, context: Context, caller: Caller) -> None:
        self._context = context
        self._caller = caller
        self.peer = context.peer

    @property
    def identity(self) -> Identity:
        """Whose call it is, as of now; raises Unauthenticated."""
        return self._caller.identity

    async def write(self, message: Any) -> None:
        """Send one message; raises Unauthenticated."""
        _ = self._caller.identity
        await self._context.write(message)


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


def _reading(behaviour: Behaviour, gate: Gate, is_stream: bool) -> Reading:
    """The behaviour, with requests that are read and checked when it is its turn."""
    if is_stream:
        return lambda requests, context, caller: behaviour(
            _read_all(requests, gate, caller), cast("Context", CallerContext(context, caller))
        )

    async def read_first(request: Any, context: Context, caller: Caller) -> Any:
        message = await _read(request, gate, caller)
        return await behaviour(message, cast("Context", CallerContext(context, caller)))

    return read_first


_HELD = {"unary_stream": "watchers", "stream_unary": "streams", "stream_stream": "streams"}
"""The limit that counts the open calls of a kind."""


def _within_limits(reading: Reading, kind: str) -> Reading:
    """The same, for identities that have room within their limits; raises Overloaded."""
    held = _HELD.get(kind)

    def limited(request: Any, context: Context, caller: Caller) -> Awaitable[Any]:
        quota = caller.quota
        return reading(request, context, caller) if quota is None else charged(quota, request, context, caller)

    async def charged(quota: Quota, request: Any, context: Context, caller: Caller) -> Any:
        quota.charge(request.ByteSize() if hasattr(request, "ByteSize") else 0)
        if held is None:
            return await reading(request, context, caller)
        with quota.hold(held):
            return await reading(request, context, caller)

    return limited


async def _read(request: Any, gate: Gate, caller: Caller) -> Any:
    message = (await in_slices(request.read())) if isinstance(request, Unread) else request
    gate.check(caller, message)
    return message


async def _read_all(requests: AsyncIterable[Any], gate: Gate, caller: Caller) -> AsyncIterator[Any]:
    # gRPC's iterator and what it reads from refer to each other until it is closed.
    async with aclosing(cast("AsyncGenerator[Any]", aiter(requests))) as frames:
        async for request in frames:
            if caller.quota is not None:
                await caller.quota.pace(request.ByteSize())
            yield await _read(request, gate, caller)


def trailers(error: GossipControlError) -> Trailers:
    """The trailing metadata of a call that ends with this error."""
    status = status_pb2.Status(code=error.code.value[0], message=str(error))
    for detail in error.details():
        status.details.add().Pack(detail)
    packed = rpc_status.to_status(status)  # pyright: ignore[reportUnknownMemberType]
    return (*(packed.trailing_metadata or ()), *error.trailers())

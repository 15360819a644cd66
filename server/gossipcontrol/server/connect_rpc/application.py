"""The calls as an ASGI application: Connect (unary and streams) and gRPC-Web, in JSON and as protobuf."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from typing import Any, TypeAlias, cast

import grpc
from connectrpc.code import Code
from connectrpc.errors import ConnectError, ErrorDetail
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.request import RequestContext
from connectrpc.server import ConnectASGIApplication, Endpoint
from google.protobuf import any_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.json_format import MessageToJson
from google.protobuf.message_factory import GetMessageClass
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status
from gossipcontrol.server.connect_rpc.call import CallEnded, Handler, answer, answers
from gossipcontrol.server.connect_rpc.codec import BinaryCodec, JsonCodec, to_json
from protobuf.wkt import Any as PackedDetail
from protobuf.wkt import Struct

Scope: TypeAlias = "MutableMapping[str, Any]"
Receive: TypeAlias = "Callable[[], Awaitable[MutableMapping[str, Any]]]"
Send: TypeAlias = "Callable[[MutableMapping[str, Any]], Awaitable[None]]"
Application: TypeAlias = "Callable[[Scope, Receive, Send], Awaitable[None]]"
Context: TypeAlias = "RequestContext[Any, Any]"

STREAM_TYPES = {
    (False, False): StreamType.UNARY,
    (False, True): StreamType.SERVER_STREAM,
    (True, False): StreamType.CLIENT_STREAM,
    (True, True): StreamType.BIDI_STREAM,
}
BOTH_WAYS = "needs gRPC: HTTP/1.1 cannot carry a stream in both directions at once"
DETAILS = "grpc-status-details-bin"
"""Trailing metadata in which gRPC carries the details of a status."""


class _Services(ConnectASGIApplication[None]):
    """All services at their paths."""

    @property
    def path(self) -> str:
        """Where the application is mounted."""
        return "/"


def application(
    services: tuple[ServiceDescriptor, ...], handlers: Mapping[str, Handler], message_bytes: int
) -> Application:
    """The calls of these services, carried out by gRPC's own handlers; a request has at most so many bytes."""
    endpoints = {
        path: _endpoint(method, handlers[path])
        for service in services
        for method in service.methods
        for path in (f"/{service.full_name}/{method.name}",)
    }
    # No compression: a short request can become a large message by it.
    made = _Services(
        service=None,
        endpoints=lambda _: endpoints,
        read_max_bytes=message_bytes,
        compressions=(),
        codecs=(JsonCodec(), BinaryCodec()),
    )
    return cast("Application", made)


def _endpoint(method: MethodDescriptor, handler: Handler) -> Any:
    kind = STREAM_TYPES[handler.request_streaming, handler.response_streaming]
    info = MethodInfo(
        name=method.name,
        service_name=method.containing_service.full_name,
        input=GetMessageClass(method.input_type),
        output=GetMessageClass(method.output_type),
        idempotency_level=IdempotencyLevel.UNKNOWN,
        stream_type=kind,
    )

    async def one(request: Any, context: Context) -> Any:
        try:
            message = await answer(handler, request, _peer(context))
        except CallEnded as ended:
            raise _error(ended, context) from None
        content_type = context.request_headers.get("content-type", "").partition(";")[0]
        return await to_json(message) if content_type.endswith("json") else message

    async def many(request: Any, context: Context) -> AsyncIterator[Any]:
        try:
            async for message in answers(handler, request, _peer(context)):
                yield message
        except CallEnded as ended:
            raise _error(ended, context) from None

    def both_ways(requests: Any, context: Context) -> AsyncIterator[Any]:
        del requests, context
        raise ConnectError(Code.UNIMPLEMENTED, f"{method.name} {BOTH_WAYS}")

    match kind:
        case StreamType.UNARY:
            return Endpoint.unary(info, one)
        case StreamType.CLIENT_STREAM:
            return Endpoint.client_stream(info, one)
        case StreamType.SERVER_STREAM:
            return Endpoint.server_stream(info, many)
        case StreamType.BIDI_STREAM:
            return Endpoint.bidi_stream(info, both_ways)


def _peer(context: Context) -> str:
    """A connection, named as gRPC names one: each has its own share of what all want."""
    return f"ipv4:{context.client_address}"


def _error(ended: CallEnded, context: Context) -> ConnectError:
    """The same status with the same details; how long to wait is also said as HTTP says it."""
    packed = next((value for key, value in ended.trailers if key == DETAILS and isinstance(value, bytes)), b"")
    details = Status.FromString(packed).details
    for detail in details:
        retry = RetryInfo()
        if detail.Unpack(retry):
            delay = retry.retry_delay
            context.response_headers["retry-after"] = str(max(1, delay.seconds + (delay.nanos > 0)))
    return ConnectError(_code(ended.code), str(ended), [ShownDetail(detail) for detail in details])


class ShownDetail(ErrorDetail):
    """A detail that JSON shows readable too, under ``debug``."""

    def __init__(self, packed: any_pb2.Any) -> None:
        super().__init__(PackedDetail(type_url=packed.type_url, value=packed.value))
        self._shown: Struct | None = None
        for kind in (BadRequest, RetryInfo):
            message = kind()
            if packed.Unpack(message):
                self._shown = Struct.from_json(MessageToJson(message))

    def value(self, *_: Any) -> Any:
        """What is shown."""
        return self._shown


def _code(code: grpc.StatusCode) -> Code:
    return Code.CANCELED if code is grpc.StatusCode.CANCELLED else Code(code.name.lower())

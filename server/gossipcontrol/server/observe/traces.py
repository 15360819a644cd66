"""A span for each call, exported to an OpenTelemetry collector; needs ``gossipcontrol[otel]``."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any, TypeAlias

import grpc
from gossipcontrol.server.config import Traces
from gossipcontrol.server.connect_rpc.call import CallEnded
from gossipcontrol.server.observe.calls import readable_peer
from gossipcontrol.v1.decision_pb2 import DecisionKind, Rule
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

Behaviour: TypeAlias = "Callable[[Any, Any], Awaitable[Any]]"

EXPORT_TIMEOUT = 2.0
"""Seconds that the collector has to take a batch of spans."""
CLOSE_TIME = 2.0
"""Seconds that a stop waits for the collector; what it has not taken by then is lost."""
LONGEST_VALUE = 256
"""Characters of an id that are kept: requests have spans before they are checked."""
CONTEXT = frozenset({"traceparent", "tracestate"})
"""Metadata that names the caller's span (https://www.w3.org/TR/trace-context/)."""
FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""Codes that are an error of the service, as OpenTelemetry counts them; the others are the caller's."""
_PROPAGATOR = TraceContextTextMapPropagator()


class CallTraces:
    """Makes a span of each call, and exports them in a thread of its own."""

    def __init__(self, config: Traces) -> None:
        no_proxy: Any = (("grpc.enable_http_proxy", 0),)
        self._exporter: Any = OTLPSpanExporter(config.endpoint, timeout=EXPORT_TIMEOUT, channel_options=no_proxy)
        self._provider = TracerProvider(
            ParentBased(TraceIdRatioBased(config.ratio)),
            Resource.create({SERVICE_NAME: "gossipcontrol", SERVICE_VERSION: version("gossipcontrol")}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("gossipcontrol.server", version("gossipcontrol"))

    def close(self) -> None:
        """Export what is left within ``CLOSE_TIME``; blocks."""
        impatience = threading.Timer(CLOSE_TIME, self._exporter.shutdown)
        impatience.start()
        try:
            self._provider.shutdown()
        finally:
            impatience.cancel()

    def wrap(self, method: str, behaviour: Behaviour) -> Behaviour:
        """The behaviour of a method with a span around each call; that of a stream ends with the stream."""
        name = method.removeprefix("/")

        async def traced(request: Any, context: Any) -> Any:
            span = self._tracer.start_span(
                name,
                _parent(context),
                SpanKind.SERVER,
                {"rpc.system.name": "grpc", "rpc.method": name, "network.peer.address": readable_peer(context.peer())},
            )
            try:
                response = await behaviour(request, context)
            except asyncio.CancelledError:
                _end(span, "CANCELLED", request)
                raise
            except Exception as error:
                _end(span, _code(error, context), request)
                raise
            _show_decisions(span, response)
            _end(span, "OK", request)
            return response

        return traced


def _parent(context: Any) -> Context:
    """The span of the caller, where the call's metadata names one."""
    return _PROPAGATOR.extract({key: value for key, value in context.invocation_metadata() or () if key in CONTEXT})


def _code(error: Exception, context: Any) -> str:
    """The status that a call was ended with: gRPC's context knows it, and over HTTP the error."""
    code = error.code if isinstance(error, CallEnded) else context.code()
    return code.name if isinstance(code, grpc.StatusCode) else "UNKNOWN"


def _show_decisions(span: Span, response: Any) -> None:
    """What was decided about the triggers of the call: each kind and each rule once."""
    if decisions := getattr(response, "decisions", ()):
        kinds, rules = {one.kind for one in decisions}, {one.rule for one in decisions}
        span.set_attribute("gossipcontrol.decisions", _names(DecisionKind, "DECISION_KIND_", kinds))
        span.set_attribute("gossipcontrol.rules", _names(Rule, "RULE_", rules))


def _names(enumeration: Any, prefix: str, numbers: set[Any]) -> list[str]:
    return [enumeration.Name(number).removeprefix(prefix) for number in sorted(numbers)]


def _end(span: Span, code: str, request: Any) -> None:
    span.set_attribute("rpc.response.status_code", code)
    for field in ("request_id", "node_id"):
        if value := getattr(request, field, ""):
            span.set_attribute(f"gossipcontrol.{field}", value[:LONGEST_VALUE])
    if code in FAULTS:
        span.set_attribute("error.type", code)
        span.set_status(Status(StatusCode.ERROR))
    span.end()

"""Spans of calls over real gRPC, with OpenTelemetry's own exporters."""

from __future__ import annotations

import asyncio
import builtins
import io
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from gossipcontrol.client import Client, ClientError, SyncClient
from gossipcontrol.client.channel import open_channel
from gossipcontrol.server.app import App
from gossipcontrol.server.config import Config, ConfigError, Log, Traces, read_config
from gossipcontrol.server.errors import StartError
from gossipcontrol.server.observe import traces
from gossipcontrol.server.observe.log import Logger
from gossipcontrol.v1 import gossip_control_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from tests.kit.ports import free_ports
from tests.kit.service_lab import BareAgent, config, connected, serving
from tests.kit.until import until
from tests.kit.web_client import call

REJOIN = "gossipcontrol.v1.GossipControl/Rejoin"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NOT_SAMPLED = PARENT[:-1] + "0"


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What the service exports at its stop at the latest."""
    exporter = InMemorySpanExporter()

    def keep_in_memory(*_: Any, **__: Any) -> InMemorySpanExporter:
        return exporter

    monkeypatch.setattr(traces, "OTLPSpanExporter", keep_in_memory)
    return exporter


@pytest.fixture
def settings(tmp_path: Path) -> Config:
    return config(tmp_path, traces=Traces(endpoint="http://127.0.0.1:4317"))


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


async def test_a_call_has_a_span_with_its_decision(memory: InMemorySpanExporter, settings: Config) -> None:
    async with serving(settings) as service, Client(service.address) as client:
        await client.rejoin("n", ["a"], request_id="0af76519-16cd-43dd-8448-eb211c80319c", park=True)
    [span] = memory.get_finished_spans()
    assert span.name == REJOIN
    assert span.kind is SpanKind.SERVER
    assert span.parent is None
    assert span.status.is_unset
    found = attributes(span)
    assert found.pop("network.peer.address")
    assert found == {
        "rpc.system.name": "grpc",
        "rpc.method": REJOIN,
        "rpc.response.status_code": "OK",
        "gossipcontrol.request_id": "0af76519-16cd-43dd-8448-eb211c80319c",
        "gossipcontrol.node_id": "n",
        "gossipcontrol.decisions": ("PARKED",),
        "gossipcontrol.rules": ("NOT_ATTACHED",),
    }
    assert span.resource.attributes["service.name"] == "gossipcontrol"


async def test_a_refused_call_has_its_code(memory: InMemorySpanExporter, settings: Config) -> None:
    async with serving(settings) as service, Client(service.address) as client:
        with pytest.raises(ClientError):
            await client.rejoin("n" * 5000)
    [span] = memory.get_finished_spans()
    assert attributes(span)["rpc.response.status_code"] == "INVALID_ARGUMENT"
    assert attributes(span)["gossipcontrol.node_id"] == "n" * traces.LONGEST_VALUE
    assert span.status.is_unset, "the caller's mistake is no error of the service"


async def test_a_failed_call_is_an_error(
    memory: InMemorySpanExporter, settings: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr("gossipcontrol.server.rpc.gossip_control.GossipControlService.Rejoin", fail)
    async with serving(settings) as service, Client(service.address) as client:
        with pytest.raises(ClientError):
            await client.rejoin("n")
    [span] = memory.get_finished_spans()
    assert attributes(span)["rpc.response.status_code"] == "INTERNAL"
    assert not span.status.is_ok
    assert not span.status.is_unset


async def test_an_unreadable_request_has_a_span(memory: InMemorySpanExporter, settings: Config) -> None:
    async with serving(settings) as service, open_channel(service.address) as channel:
        unary: Any = channel
        with pytest.raises(grpc.aio.AioRpcError):
            await unary.unary_unary(f"/{REJOIN}")(b"\xff\xff")
    [span] = memory.get_finished_spans()
    assert attributes(span)["rpc.response.status_code"] == "INVALID_ARGUMENT"


async def test_a_stream_has_one_span(memory: InMemorySpanExporter, settings: Config) -> None:
    async with serving(settings) as service, connected(service.address) as stub:
        agent = BareAgent(stub)
        await agent.register("n", "a")
        agent.call.cancel()
        # The service must notice before it stops, or it ends the stream itself.
        await until(lambda: bool(memory.get_finished_spans()), "the stream has ended")
    [span] = memory.get_finished_spans()
    assert span.name == "gossipcontrol.v1.GossipControl/Attach"
    # gRPC may tell the service of the end of what it reads before it tells it that the call was cancelled.
    assert attributes(span)["rpc.response.status_code"] in ("CANCELLED", "OK")


@pytest.mark.parametrize(
    "metadata", [(("traceparent", PARENT), ("tracestate", "vendor=1")), (("traceparent", PARENT), ("other-bin", b"1"))]
)
async def test_the_callers_span_is_the_parent(
    memory: InMemorySpanExporter, settings: Config, metadata: tuple[tuple[str, str | bytes], ...]
) -> None:
    async with serving(settings) as service, connected(service.address) as stub:
        await stub.ListStores(gossip_control_pb2.ListStoresRequest(), metadata=metadata)
    [span] = memory.get_finished_spans()
    assert span.parent
    assert f"{span.parent.trace_id:032x}-{span.parent.span_id:016x}" == PARENT[3:-3]


@pytest.mark.parametrize("wrong", ["", "00-zz", "ff-" + PARENT[3:], "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
async def test_a_malformed_parent_is_none(memory: InMemorySpanExporter, settings: Config, wrong: str) -> None:
    async with serving(settings) as service, connected(service.address) as stub:
        await stub.ListStores(gossip_control_pb2.ListStoresRequest(), metadata=(("traceparent", wrong),))
    [span] = memory.get_finished_spans()
    assert span.parent is None


async def test_the_caller_decides_whether_a_call_has_a_span(memory: InMemorySpanExporter, settings: Config) -> None:
    none = replace(settings, traces=replace(settings.traces, ratio=0.0))
    async with serving(none) as service, connected(service.address) as stub:
        request = gossip_control_pb2.ListStoresRequest()
        await stub.ListStores(request)
        await stub.ListStores(request, metadata=(("traceparent", NOT_SAMPLED),))
        assert not memory.get_finished_spans()
        await stub.ListStores(request, metadata=(("traceparent", PARENT),))
    assert len(memory.get_finished_spans()) == 1


async def test_a_call_over_http_has_a_span_with_the_callers_as_parent(
    memory: InMemorySpanExporter, settings: Config
) -> None:
    async with serving(replace(settings, listen=replace(settings.listen, http="127.0.0.1:0"))) as service:
        await call(service.app.http_port, "ListStores", {}, traceparent=PARENT)
        await call(service.app.http_port, "Rejoin", {"nodeId": "n" * 200})
    parented, refused = memory.get_finished_spans()
    assert parented.parent
    assert f"{parented.parent.trace_id:032x}" in PARENT
    assert attributes(refused)["rpc.response.status_code"] == "INVALID_ARGUMENT"


@pytest.fixture
def users() -> Iterator[tuple[TracerProvider, InMemorySpanExporter]]:
    """The tracing of a program that uses the client."""
    provider, exporter = TracerProvider(shutdown_on_exit=False), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider, exporter
    provider.shutdown()


async def test_the_client_names_its_span(
    memory: InMemorySpanExporter, settings: Config, users: tuple[TracerProvider, InMemorySpanExporter]
) -> None:
    tracer = users[0].get_tracer("app")
    async with serving(settings) as service, Client(service.address) as client:
        with tracer.start_as_current_span("outage") as outer:
            await client.rejoin("n", ["a"], park=True)
        await client.rejoin("n", ["a"], park=True)
    inside, outside = memory.get_finished_spans()
    assert inside.parent
    assert inside.parent.span_id == outer.get_span_context().span_id
    assert inside.parent.trace_id == outer.get_span_context().trace_id
    assert outside.parent is None


async def test_the_blocking_client_names_its_span(
    memory: InMemorySpanExporter, settings: Config, users: tuple[TracerProvider, InMemorySpanExporter]
) -> None:
    def rejoin(address: str) -> int:
        with SyncClient(address) as client, users[0].get_tracer("app").start_as_current_span("outage") as outer:
            client.rejoin("n", ["a"], park=True)
            return outer.get_span_context().span_id

    async with serving(settings) as service:
        span_id = await asyncio.to_thread(rejoin, service.address)
    [span] = memory.get_finished_spans()
    assert span.parent
    assert span.parent.span_id == span_id


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """A collector that keeps the names of what it takes."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def Export(self, request: Any, context: Any) -> Any:
        self.names += [s.name for r in request.resource_spans for scope in r.scope_spans for s in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()


async def test_a_collector_takes_the_spans_before_the_service_stops(settings: Config) -> None:
    collector, [port] = Collector(), free_ports(1)
    server: Any = grpc.server(ThreadPoolExecutor(1))
    generated: Any = trace_service_pb2_grpc
    generated.add_TraceServiceServicer_to_server(collector, server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        exported = replace(settings, traces=Traces(endpoint=f"http://127.0.0.1:{port}"))
        async with serving(exported) as service, Client(service.address) as client:
            await client.rejoin("n", ["a"], park=True)
        assert collector.names == [REJOIN]
    finally:
        server.stop(None).wait()


async def test_a_collector_that_never_answers_does_not_hold_up_the_stop(
    settings: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "CLOSE_TIME", 0.1)
    monkeypatch.setattr(traces, "EXPORT_TIMEOUT", 60.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mute = replace(settings, traces=Traces(endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}"))
        async with serving(mute) as service:
            async with Client(service.address) as client:
                await client.rejoin("n", ["a"], park=True)
            began = time.monotonic()
        assert time.monotonic() - began < 20


async def test_without_a_collector_nothing_is_imported_or_wrapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "gossipcontrol.server.observe.traces")
    async with serving(config(tmp_path)) as service, Client(service.address) as client:
        await client.rejoin("n", ["a"], park=True)
        assert "gossipcontrol.server.observe.traces" not in sys.modules
        assert not service.app.is_traced


async def test_without_the_extra_the_start_says_what_is_missing(
    settings: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name.startswith("opentelemetry"):
            raise ModuleNotFoundError(name=name)
        return real(name, *rest)

    monkeypatch.delitem(sys.modules, "gossipcontrol.server.observe.traces")
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(StartError, match=r"traces.endpoint needs .* opentelemetry: .*gossipcontrol\[otel\]"):
        await App(settings, Logger(Log(), io.StringIO())).start()


@pytest.mark.parametrize(
    ("key", "value", "mistake"),
    [
        ("ENDPOINT", "127.0.0.1:4317", "is not http://HOST:PORT"),
        ("ENDPOINT", "http://127.0.0.1:4318/v1/traces", "is not http://HOST:PORT"),
        ("RATIO", "1.1", "at most 1"),
        ("RATIO", "-0.1", "at least 0"),
        ("RATIO", "nan", "at least 0"),
    ],
)
def test_a_wrong_setting_is_explained(key: str, value: str, mistake: str) -> None:
    with pytest.raises(ConfigError, match=mistake):
        read_config(None, {f"GOSSIPCONTROL_TRACES_{key}": value, "HOME": "/root"})


@pytest.mark.parametrize("endpoint", ["", "http://127.0.0.1:4317", "https://otel.example.org:443", "http://[::1]:4317"])
def test_a_right_endpoint_is_taken(endpoint: str) -> None:
    assert read_config(None, {"GOSSIPCONTROL_TRACES_ENDPOINT": endpoint, "HOME": "/root"}).traces.endpoint == endpoint

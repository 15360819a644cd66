"""The present clients against a service of every release, which answers with everything that the release has."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from click.testing import CliRunner
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from gossipcontrol.agent import Agent
from gossipcontrol.cli.main import main
from gossipcontrol.client import (
    ChangeKind,
    Client,
    Intention,
    IntentionBatch,
    LivenessReport,
    Member,
    NetworkChange,
    RejoinTrigger,
    SyncClient,
)
from gossipcontrol.watch.change import Change
from gossipcontrol.watch.reporter import Delivery, Reporter
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from tests.agent.fake import FakeNode
from tests.kit.until import DEADLINE
from tests.versions.release import ADDED, OLDER, SERVICES, Release, filled, release

TEXTS = {"rejoins": ("--limit", "1"), "stores": (), "peers": ("s",), "rejoin": ("n",), "explain": ("n",),
         "knowledge": ("s",), "status": (), "top": ("--count", "1"), "report": ("resume", "--node", "n")}  # fmt: skip
SHOWN = {"rejoins", "peers", "rejoin", "explain", "status", "top"}
"""Commands that show the number of some enumeration."""


class Service:
    """Answers every call with a filled message; ``results`` are what the agent said of its commands."""

    def __init__(self, release: Release) -> None:
        self.release = release
        self.results: asyncio.Queue[Any] = asyncio.Queue()
        self.address = ""

    def handlers(self, service: str) -> grpc.GenericRpcHandler:
        methods = self.release.pool.FindServiceByName(service).methods
        made: Any = {one.name: self._handler(one) for one in methods}
        return grpc.method_handlers_generic_handler(service, made)

    def _handler(self, method: MethodDescriptor) -> Any:
        read: Any = GetMessageClass(method.input_type).FromString
        write: Any = GetMessageClass(method.output_type).SerializeToString
        answer = filled(method.output_type)

        async def unary(request: Any, context: Any) -> Any:
            if method.client_streaming:
                async for _ in request:
                    pass
            return answer

        async def watch(request: Any, context: Any) -> None:
            await context.write(answer)
            await asyncio.Event().wait()

        if method.name == "Attach":
            return grpc.stream_stream_rpc_method_handler(self._attach, read, write)
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(watch, read, write)
        make = grpc.stream_unary_rpc_method_handler if method.client_streaming else grpc.unary_unary_rpc_method_handler
        return make(unary, read, write)

    async def _attach(self, frames: AsyncIterator[Any], context: Any) -> None:
        kind = self.release.pool.FindMessageTypeByName("gossipcontrol.v1.AttachResponse")
        async for frame in frames:
            given = frame.WhichOneof("frame")
            if given == "register":
                names = [one.name for one in kind.oneofs_by_name["frame"].fields]
                # Registered first; the frame that only a newer release has before the commands.
                for field in sorted(names, key=lambda name: (name != "registered", not name.startswith("newer_"))):
                    await context.write(self._frame(kind, field))
            elif given in ("rejoin_result", "sync_result"):
                self.results.put_nowait(frame)

    def _frame(self, kind: Any, name: str) -> Any:
        frame: Any = GetMessageClass(kind)()
        field = kind.fields_by_name[name]
        if field.message_type is None:
            setattr(frame, name, "of a newer release")
            return frame
        getattr(frame, name).CopyFrom(filled(field.message_type))
        if name == "rejoin":
            frame.rejoin.deadline_ms = 10_000
        return frame


@pytest.fixture(params=[*OLDER, "newer"])
async def service(request: pytest.FixtureRequest) -> AsyncIterator[Service]:
    async with serving(Service(release(request.param))) as running:
        yield running


@asynccontextmanager
async def serving(service: Service) -> AsyncGenerator[Service]:
    server = grpc.aio.server()
    for name in SERVICES:
        server.add_generic_rpc_handlers((service.handlers(name),))
    servicer = health.aio.HealthServicer()
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    service.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield service
    await server.stop(None)


async def test_every_method_of_the_client_survives(service: Service) -> None:
    """opensearch-project/query-insights#673, microsoft/agent-host-protocol#366: one added value broke peers."""
    change = NetworkChange(host_id="h", kind=ChangeKind.CHANGED)
    async with Client(service.address) as client:
        assert await client.serving()
        [decision] = (await client.rejoin("n")).decisions
        await client.report_network_change(change)
        await client.peer_liveness([LivenessReport(node_id="n", store_id="s")])
        await client.explain(RejoinTrigger(node_id="n"))
        [peer] = [one async for one in client.list_peers("s")]
        [store] = [one async for one in client.list_stores()]
        [rejoin] = [one async for one in client.list_rejoins()]
        update = await anext(client.watch_peers("s"))
        await client.knowledge.record([IntentionBatch("s", (Intention(author_id="a", hash=b"h"),))])
        await client.knowledge.change_members("s", added=[Member("p")])
    states = (peer.state, update.view.peers[0].state)
    numbers = (decision.kind, decision.rule, rejoin.outcome, rejoin.triggers[0].cause, *states)
    if service.release.name == "newer":
        assert set(numbers) == {ADDED}
        assert str(peer.state) == f"unrecognized-{ADDED}"
        assert store.peer_counts == {ADDED: 1}
    else:
        assert all(number.recognized for number in numbers)


async def test_the_synchronous_client_survives(service: Service) -> None:
    def work() -> None:
        with SyncClient(service.address) as client:
            client.rejoin("n")
            client.report_network_change(NetworkChange(host_id="h", kind=ChangeKind.CHANGED))
            client.peer_liveness([LivenessReport(node_id="n", store_id="s")])
            client.explain(RejoinTrigger(node_id="n"))
            lists: list[Callable[[], Any]] = [lambda: client.list_peers("s"), client.list_stores, client.list_rejoins]
            assert all(len(list(each())) == 1 for each in lists)
            assert next(client.watch_peers("s")).view.store_id == "x"

    await asyncio.to_thread(work)


async def test_an_agent_answers_every_command_and_stays(service: Service) -> None:
    node, is_newer = FakeNode("n", "x"), service.release.name == "newer"
    async with Agent(node, service.address) as agent, asyncio.timeout(DEADLINE):
        await agent.attached.wait()
        kinds = {(await service.results.get()).WhichOneof("frame") for _ in range(2)}
        assert kinds == {"rejoin_result", "sync_result"}
        assert [int(rung) for _, rung, _ in node.rejoins] == [ADDED if is_newer else 4]
        assert agent.attached.is_set()
        assert agent.stats.unknown_frames == int(is_newer)
        assert agent.stats.unrecognized_numbers >= 2 * is_newer
        assert (agent.stats.attached, agent.stats.unexpected_errors) == (1, 0)


async def test_a_watcher_delivers(service: Service) -> None:
    delivered: asyncio.Queue[Delivery] = asyncio.Queue()
    async with Client(service.address) as client, asyncio.timeout(DEADLINE):
        reporter = Reporter(client, host_id="h", boot_id="b", on_delivery=delivered.put_nowait)
        running = asyncio.create_task(reporter.run())
        reporter.report(Change(ChangeKind.CHANGED, 1, "d", 0.0))
        assert len((await delivered.get()).result.decisions) == 1
        running.cancel()


@pytest.mark.parametrize("command", TEXTS)
async def test_every_command_shows_what_it_does_not_know_as_its_number(service: Service, command: str) -> None:
    words = (command, *TEXTS[command], "--address", service.address)
    if command == "top":  # which handles signals, so it needs a main thread
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gossipcontrol.cli", *words,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, errors = (text.decode() for text in await process.communicate())
        code = process.returncode
    else:
        result = await asyncio.to_thread(CliRunner().invoke, main, words)
        output, errors, code = result.stdout, result.output, result.exit_code
        assert result.exception is None, result.output
    assert (code, "Traceback" in errors) == (0, False), errors
    if command in SHOWN and service.release.name == "newer":
        assert str(ADDED) in output

"""The real service on real sockets in the test's process, and an agent whose frames the test writes itself."""

from __future__ import annotations

import asyncio
import io
import json
import uuid
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from gossipcontrol.client.channel import open_channel
from gossipcontrol.server.app import App
from gossipcontrol.server.config import Config, Limits, Log, Metrics, State
from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.observe.log import Logger
from gossipcontrol.v1 import attach_pb2, gossip_control_pb2, gossip_control_pb2_grpc

from tests.kit.address import address_of, listen_on
from tests.kit.http import fetch
from tests.kit.until import DEADLINE

Call: TypeAlias = "grpc.aio.StreamStreamCall[attach_pb2.AttachRequest, attach_pb2.AttachResponse]"


def config(directory: Path, **sections: Any) -> Config:
    """Settings: a Unix socket in this directory if there are any, a free loopback port, state in memory, no metrics."""
    listen = listen_on(directory / "run" / "gc.sock", "127.0.0.1:0")
    plain = Config(listen=listen, metrics=Metrics(address=""), limits=Limits(drain=0.2), state=State(backend="memory"))
    return replace(plain, **sections)


SHORT = 0.3
"""Seconds of a window whose end a test waits for; none to act in, because a busy machine stops for longer."""
LONG = 60.0
"""Seconds of a window that does not end while a test acts."""


ends_soon = pytest.mark.parametrize("windows", [SHORT])
"""The windows of the fixture ``service`` end while this test waits for it."""


def deciding(windows: float = LONG, **values: Any) -> Parameters:
    """Deciding parameters whose windows, that of debouncing and that of verifying, last so many seconds."""
    return Parameters(window=windows, verify_timeout=windows, **values)


@dataclass
class Service:
    """A running App."""

    app: App
    config: Config
    log: Logger
    output: io.StringIO

    @property
    def address(self) -> str:
        """The address of its Unix socket, or of its port where there are none."""
        return address_of(self.config)

    @property
    def tcp(self) -> str:
        """The address of its TCP port."""
        return f"127.0.0.1:{self.app.tcp_port}"

    def lines(self, event: str = "") -> list[dict[str, Any]]:
        """The log lines, or only those with this event."""
        self.log.close()
        lines = [json.loads(line) for line in self.output.getvalue().splitlines()]
        return [line for line in lines if not event or line["event"] == event]

    async def scrape(self) -> str:
        """Its metrics page."""
        return await asyncio.to_thread(self._scrape)

    def _scrape(self) -> str:
        return fetch(f"http://127.0.0.1:{self.app.metrics_port}/metrics", DEADLINE)


@asynccontextmanager
async def serving(settings: Config) -> AsyncGenerator[Service]:
    """Run the service."""
    output = io.StringIO()
    log = Logger(Log(format="json"), output)
    app = App(settings, log)
    await app.start()
    try:
        yield Service(app, settings, log, output)
    finally:
        await app.stop()


@asynccontextmanager
async def channel_to(address: str, *further: tuple[str, int | str]) -> AsyncGenerator[grpc.aio.Channel]:
    """A channel that is connected: whatever a call on it fails for, it is not that connecting took long."""
    async with open_channel(address, *further) as channel:
        await asyncio.wait_for(channel.channel_ready(), DEADLINE)
        yield channel


@asynccontextmanager
async def connected(address: str) -> AsyncGenerator[gossip_control_pb2_grpc.GossipControlAsyncStub]:
    """A stub on a channel of its own."""
    async with channel_to(address) as channel:
        stub: gossip_control_pb2_grpc.GossipControlAsyncStub = gossip_control_pb2_grpc.GossipControlStub(channel)
        yield stub


class BareAgent:
    """An agent's stream, frame by frame. Keep a reference to it, or gRPC cancels the call."""

    def __init__(self, stub: gossip_control_pb2_grpc.GossipControlAsyncStub) -> None:
        self.call: Call = stub.Attach()

    async def send(self, **frame: Any) -> None:
        """Send one frame, given by the name of its field."""
        await self.call.write(attach_pb2.AttachRequest(**frame))

    async def receive(self, kind: str = "") -> attach_pb2.AttachResponse:
        """The next frame, or the next of this kind."""
        async with asyncio.timeout(DEADLINE):
            while True:
                frame = await self.call.read()
                assert isinstance(frame, attach_pb2.AttachResponse), f"the stream ended: {await self.call.details()}"
                if not kind or frame.WhichOneof("frame") == kind:
                    return frame

    async def register(self, node_id: str = "n", *store_ids: str, **fields: Any) -> attach_pb2.Registered:
        """Register a node and return the answer."""
        await self.send(register=attach_pb2.Register(node_id=node_id, store_ids=store_ids or ("a",), **fields))
        return (await self.receive("registered")).registered

    async def command(self) -> attach_pb2.RejoinCommand:
        """The next command."""
        return (await self.receive("rejoin")).rejoin

    async def failed(self) -> grpc.aio.AioRpcError:
        """The error that the stream ended with."""
        code, details = await self.ended()
        initial, trailing = await self.call.initial_metadata(), await self.call.trailing_metadata()
        return grpc.aio.AioRpcError(code, initial, trailing, details)

    async def ended(self) -> tuple[grpc.StatusCode, str]:
        """How the stream ended."""
        async with asyncio.timeout(DEADLINE):
            with suppress(grpc.aio.AioRpcError):
                while isinstance(await self.call.read(), attach_pb2.AttachResponse):
                    pass
            return await self.call.code(), await self.call.details() or ""


async def refusal(call: Awaitable[Any]) -> grpc.aio.AioRpcError:
    """The error with which a call ends; fails when it succeeds."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError(f"the call was not refused: {answer}")


def status_details(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    """The rich status of an error."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            assert isinstance(value, bytes)
            return status_pb2.Status.FromString(value)
    raise AssertionError(f"the error carries no rich status: {error.details()}")


def bad_fields(error: grpc.aio.AioRpcError) -> dict[str, str]:
    """The fields that an INVALID_ARGUMENT names, and what is wrong with each."""
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, error.details()
    bad = error_details_pb2.BadRequest()
    assert status_details(error).details[0].Unpack(bad)
    return {violation.field: violation.description for violation in bad.field_violations}


def rejoin(node_id: str = "n", *store_ids: str, **fields: Any) -> gossip_control_pb2.RejoinRequest:
    """A request to rejoin, which waits for a node that is not known."""
    fields.setdefault("park_unknown", True)
    return gossip_control_pb2.RejoinRequest(node_id=node_id, store_ids=store_ids, **fields)


def new_id() -> str:
    """A request id."""
    return str(uuid.uuid4())

"""Every call of the contract over a real hub, and the ways in that must stay shut."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from gossipcontrol.client import Client, Credentials, UnreachableError
from gossipcontrol.client.channel import open_channel
from gossipcontrol.server.access.authority import AUTHORITY
from gossipcontrol.server.access.ownership import CALLS
from gossipcontrol.server.access.table import digest_of
from gossipcontrol.server.app import DESCRIPTORS
from gossipcontrol.server.config import Log

from tests.kit.hub import TABLE, TOKEN, Hub, hub
from tests.kit.tls import greet, trusting
from tests.kit.until import DEADLINE

METHODS = [method for service in DESCRIPTORS for method in service.methods]
NOBODY = "a-token-of-a-nobody"
ROWS = f"""{TABLE}
[[identity]]
name = "nobody"
tokens = [{{ sha256 = "{digest_of(NOBODY)}" }}]
roles = ["watcher"]
hosts = ["nowhere"]
"""
DENIED, UNKNOWN = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Hub]:
    async with hub(tmp_path, ROWS) as one:
        yield one


async def code(channel: grpc.aio.Channel, method: MethodDescriptor) -> grpc.StatusCode:
    """How a call with an empty request ends; OK where a stream begins."""
    kind = GetMessageClass(method.input_type)
    made = [channel.unary_unary, channel.unary_stream, channel.stream_unary, channel.stream_stream]
    make: Any = made[2 * method.client_streaming + method.server_streaming]
    path = f"/{method.containing_service.full_name}/{method.name}"
    call = make(path, kind.SerializeToString, GetMessageClass(method.output_type).FromString)
    running = call([kind()] if method.client_streaming else kind())
    try:
        async with asyncio.timeout(DEADLINE):
            answer = await (running.read() if method.server_streaming else running)
            return grpc.StatusCode.OK if answer is not grpc.aio.EOF else await running.code()
    except grpc.aio.AioRpcError as error:
        return error.code()


async def test_every_call_asks_whose_it_is(running: Hub) -> None:
    """A stranger, one who may do nothing with it, and one who may do everything, at each call of the contract."""
    async with AsyncExitStack() as stack:

        async def opened(address: str, shown: Credentials) -> grpc.aio.Channel:
            return await stack.enter_async_context(open_channel(address, credentials=shown))

        stranger = await opened(running.token_address, running.credentials("laptop-1"))
        nobody = await opened(running.token_address, running.bearer_credentials(NOBODY))
        admin = await opened(running.address, running.credentials("operator"))
        for method in METHODS:
            call = CALLS[f"/{method.containing_service.full_name}/{method.name}"]
            assert await code(stranger, method) is UNKNOWN, method.name
            is_theirs = any(role.value == "watcher" for role in call.roles)
            assert (await code(nobody, method) is DENIED) is not is_theirs, method.name
            assert await code(admin, method) not in (UNKNOWN, DENIED), method.name


async def refused_at_the_door(running: Hub, name: str) -> None:
    """A client with this certificate gets no connection, and others do."""
    await asyncio.to_thread(greet, running, trusting(running, "laptop-1"))
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        await asyncio.to_thread(greet, running, trusting(running, name))


async def test_an_expired_certificate_does_not_come_in(running: Hub) -> None:
    running.authority.issue("operator", -0.01)
    await refused_at_the_door(running, "operator")


async def test_the_certificate_of_a_service_is_none_of_a_client(running: Hub) -> None:
    running.authority.issue("operator", 1, ["operator"])
    await refused_at_the_door(running, "operator")


async def test_the_certificate_of_a_client_is_none_of_a_hub(running: Hub) -> None:
    """A device that is named as the hub is could otherwise stand in its place."""
    running.authority.issue("localhost", 1)
    shown = running.credentials("localhost")
    pair = (Path(shown.key).read_bytes(), Path(shown.certificate).read_bytes())
    server = grpc.aio.server()
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    await server.start()
    try:
        trusting = Credentials(authority=str(running.authority.path(AUTHORITY, "crt")))
        async with Client(f"tls:localhost:{port}", timeout=0.5, credentials=trusting) as client:
            with pytest.raises(UnreachableError):
                _ = [store async for store in client.list_stores()]
    finally:
        await server.stop(None)


async def test_an_expired_certificate_of_the_hub_is_not_believed(running: Hub) -> None:
    running.authority.issue("older", -0.01, ["localhost"])
    for kind in ("key", "crt"):
        running.authority.path("older", kind).replace(running.authority.path("hub", kind))

    async def is_refused() -> bool:
        async with Client(running.address, timeout=0.5, credentials=running.credentials("laptop-1")) as client:
            with suppress(UnreachableError):
                _ = [store async for store in client.list_stores()]
                return False
        return True

    async with asyncio.timeout(DEADLINE):
        while not await is_refused():
            pass


async def test_no_token_is_in_a_log_whatever_its_level(running: Hub, caplog: pytest.LogCaptureFixture) -> None:
    service = running.service
    service.app.apply(replace(service.config, log=Log(format="json", level="debug")))
    with caplog.at_level(logging.DEBUG):
        for token in (TOKEN, NOBODY, "an-unknown-token"):
            async with running.bearer(token) as client:
                with suppress(Exception):
                    _ = [store async for store in client.list_stores()]
    assert service.lines("call")
    written = service.output.getvalue() + caplog.text
    assert all(token not in written for token in (TOKEN, NOBODY, "an-unknown-token"))

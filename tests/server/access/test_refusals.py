"""Why a service is not reached over TLS, said truly: real handshakes with a hub, and with what is none."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from gossipcontrol.client import Credentials
from gossipcontrol.client.refusal import why_unserved
from gossipcontrol.client.servers import Server
from gossipcontrol.server.access.authority import AUTHORITY, Authority
from gossipcontrol.server.access.hub import found_hub

from tests.kit.hub import Hub, hub


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Hub]:
    async with hub(tmp_path, http_tokens="127.0.0.1:0") as one:
        yield one


async def why(address: str, shown: Credentials, name: str = "") -> str:
    return await asyncio.to_thread(why_unserved, Server(address, name), shown)


@asynccontextmanager
async def tls_server(running: Hub, name: str, *, is_mutual: bool = False) -> AsyncGenerator[str]:
    """A server of Python's own TLS with a certificate of the hub's authority; its address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(running.authority.path(name, "crt"), running.authority.path(name, "key"))
    context.set_alpn_protocols(["h2"])
    if is_mutual:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(running.authority.path(AUTHORITY, "crt"))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"tls:127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_who_comes_in_hears_of_nothing(running: Hub) -> None:
    assert await why(running.address, running.credentials("laptop-1")) == ""
    assert await why(running.token_address, running.bearer_credentials()) == ""
    by_ip = running.address.replace("localhost", "127.0.0.1")
    assert await why(by_ip, running.credentials("laptop-1"), "localhost") == ""


async def test_a_certificate_that_the_hub_refuses_is_named_with_the_reason(
    running: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.authority.issue("laptop-8", -0.01)
    other = Authority(tmp_path / "other")
    found_hub(other, ["localhost"], 1, 1)
    other.issue("laptop-7", 1)
    foreign = replace(
        running.credentials("laptop-1"),
        certificate=str(other.path("laptop-7", "crt")), key=str(other.path("laptop-7", "key")),
    )  # fmt: skip
    monkeypatch.setattr("gossipcontrol.server.access.authority.EARLY", timedelta(hours=-1))
    running.authority.issue("laptop-9", 1)
    refuses = "it refuses the certificate in"
    for shown, words in (
        (expired := running.credentials("laptop-8"), f"{refuses} {expired.certificate}, which has expired; issue"),
        (early := running.credentials("laptop-9"), f"{refuses} {early.certificate}, which is not valid yet; compare"),
        (foreign, f"{refuses} {foreign.certificate}; have one issued by the authority that it believes"),
        (running.bearer_credentials(), "it wants a certificate, and none is shown; set GOSSIPCONTROL_TLS_CERTIFICATE"),
    ):
        assert (await why(running.address, shown)).startswith(words)


async def test_a_refusal_of_another_implementation_is_one_too(running: Hub) -> None:
    """It sends an alert; which one differs."""
    running.authority.issue("laptop-8", -0.01)
    running.authority.issue("python", 1, ["127.0.0.1"])
    async with tls_server(running, "python", is_mutual=True) as address:
        assert "which has expired" in await why(address, running.credentials("laptop-8"))
        assert "none is shown" in await why(address, running.bearer_credentials())


async def test_why_the_client_does_not_believe_the_service(running: Hub, tmp_path: Path) -> None:
    shown = running.bearer_credentials()
    found_hub(other := Authority(tmp_path / "other"), ["localhost"], 1, 1)
    foreign = str(other.path(AUTHORITY, "crt"))
    for believed, words in (
        (
            replace(shown, authority=foreign),
            f"the authority in {foreign} did not sign its certificate; take the one that did",
        ),
        (replace(shown, authority=""), "this system knows no authority that signed its certificate; set"),
    ):
        assert (await why(running.token_address, believed)).startswith(words)
    said = await why(running.token_address, shown, "hub.example.org")
    assert said.startswith("its certificate is not for hub.example.org; name")


async def test_the_age_of_the_services_certificate_is_said(running: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    running.authority.issue("old", -0.01, ["127.0.0.1"])
    monkeypatch.setattr("gossipcontrol.server.access.authority.EARLY", timedelta(hours=-1))
    running.authority.issue("new", 1, ["127.0.0.1"])
    for name, words in (
        ("old", "has expired; issue a new one"),
        ("new", "is not valid yet; compare the clocks"),
    ):
        async with tls_server(running, name) as address:
            assert await why(address, running.bearer_credentials()) == f"its certificate {words}"


async def test_an_address_with_and_without_tls_is_told_apart(running: Hub) -> None:
    shown = running.credentials("laptop-1")
    bare = running.address.removeprefix("tls:")
    assert await why(bare, shown) == f"what listens there speaks TLS; write tls:{bare}"
    assert await why(running.service.tcp, shown) == ""
    said = await why(f"tls:{running.service.tcp}", shown)
    assert said == "what listens there does not speak TLS; leave out tls:"
    http = f"tls:localhost:{running.service.app.ports['listen.http_tokens']}"
    assert "speaks TLS, but not gRPC" in await why(http, running.bearer_credentials())

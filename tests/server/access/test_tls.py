"""The handshake itself, as other programs see it."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from gossipcontrol.client import Credentials
from gossipcontrol.client.refusal import why_unserved
from gossipcontrol.client.servers import Server
from gossipcontrol.server.access.authority import AUTHORITY, Authority
from gossipcontrol.server.access.hub import found_hub
from gossipcontrol.server.access.tls import TlsError, TlsFiles, server_credentials

from tests.kit.http2_client import header_block
from tests.kit.hub import Hub, hub
from tests.kit.ports import free_ports
from tests.kit.process import service
from tests.kit.tls import greet, trusting
from tests.kit.until import DEADLINE


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Hub]:
    async with hub(tmp_path) as one:
        yield one


async def test_a_client_of_another_library_shakes_hands(running: Hub) -> None:
    assert await asyncio.to_thread(greet, running, trusting(running, "laptop-1")) == "TLSv1.3"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
async def test_old_versions_of_tls_are_refused(running: Hub) -> None:
    context = trusting(running, "laptop-1")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        await asyncio.to_thread(greet, running, context)


async def test_without_a_certificate_nothing_is_served(running: Hub) -> None:
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        await asyncio.to_thread(greet, running, trusting(running))


async def test_a_hub_of_another_name_is_not_believed(running: Hub) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncio.to_thread(greet, running, trusting(running, "laptop-1"), "hub.example.org")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl: install the Debian package openssl")
async def test_openssl_verifies_the_hub(running: Hub) -> None:
    shown, port = running.credentials("laptop-1"), running.service.app.ports["listen.tls"]
    process = await asyncio.create_subprocess_exec(
        "openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "localhost", "-alpn", "h2", "-brief",
        "-verify_return_error", "-CAfile", shown.authority, "-cert", shown.certificate, "-key", shown.key,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output = (await process.communicate())[0].decode(errors="replace")  # the hub's first bytes of HTTP/2 follow
    assert process.returncode == 0, output
    assert "Verification: OK" in output


async def test_strangers_write_nothing_into_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The core of gRPC wrote a line for each handshake that failed, and for each record that was none."""
    monkeypatch.delenv("GRPC_VERBOSITY", raising=False)
    authority = Authority(tmp_path / "hub")
    found_hub(authority, ["localhost"], 1, 1)
    certified, tokens = free_ports(2)
    stranger = Credentials(authority=str(authority.path(AUTHORITY, "crt")))
    async with service(
        None, tmp_path, listen_tls=f"127.0.0.1:{certified}", listen_tls_tokens=f"127.0.0.1:{tokens}",
        access_certificate=str(authority.path("hub", "crt")), access_key=str(authority.path("hub", "key")),
        access_authority=stranger.authority, access_identities=str(tmp_path / "hub" / "identities.toml"),
    ) as process:  # fmt: skip
        await process.wait_for("serving", DEADLINE)
        for _ in range(3):
            said = await asyncio.to_thread(why_unserved, Server(f"tls:localhost:{certified}"), stranger)
            assert "none is shown" in said
            await asyncio.to_thread(garble, tokens, stranger.authority)
    assert process.all("line") == []


def garble(port: int, authority: str) -> None:
    """Shake hands, send what is no record of TLS, and wait for the end of the connection."""
    context = ssl.create_default_context(cafile=authority)
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", port), DEADLINE) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as wrapped,
        socket.socket(fileno=os.dup(wrapped.fileno())) as raw,
    ):
        assert wrapped.recv(1)
        raw.settimeout(DEADLINE)
        raw.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
        while raw.recv(4096):
            pass


def files(running: Hub, **others: Path) -> TlsFiles:
    """The hub's files, or others in their places."""
    authority = running.authority
    plain = TlsFiles(authority.path("hub", "crt"), authority.path("hub", "key"), authority.path(AUTHORITY, "crt"))
    return plain._replace(**others)


async def test_files_that_do_not_belong_together_are_named(running: Hub, tmp_path: Path) -> None:
    running.authority.issue("other", 1, ["localhost"])
    with pytest.raises(TlsError, match="cannot be used together"):
        server_credentials(files(running, key=running.authority.path("other", "key")), print)
    with pytest.raises(TlsError, match=r"none\.crt: cannot be read"):
        server_credentials(files(running, certificate=tmp_path / "none.crt"), print)
    with pytest.raises(TlsError, match="has no CERTIFICATE in PEM"):
        server_credentials(files(running, certificate=running.authority.path("hub", "key")), print)


async def test_a_new_certificate_of_the_hub_counts_from_the_next_handshake_on(running: Hub) -> None:
    before = await asyncio.to_thread(ssl.get_server_certificate, address(running))
    running.authority.issue("newer", 1, ["localhost"])
    for kind in ("key", "crt"):
        running.authority.path("newer", kind).replace(running.authority.path("hub", kind))

    async def is_new() -> bool:
        return await asyncio.to_thread(ssl.get_server_certificate, address(running)) != before

    async with asyncio.timeout(DEADLINE):
        while not await is_new():
            pass


def address(running: Hub) -> tuple[str, int]:
    """Where the hub takes tokens, so that no certificate of a client is needed."""
    return "127.0.0.1", running.service.app.ports["listen.tls_tokens"]


def list_stores(running: Hub, context: ssl.SSLContext, session: ssl.SSLSession | None) -> tuple[bytes, ssl.SSLSession]:
    """(what the hub answers to ListStores, the session of TLS), on a connection that asks to go on with a session."""
    port = running.service.app.ports["listen.tls"]
    request = b"\0\0\0\0\0"
    with (
        socket.create_connection(("127.0.0.1", port), DEADLINE) as plain,
        context.wrap_socket(plain, server_hostname="localhost", session=session) as wrapped,
    ):
        wrapped.settimeout(DEADLINE)
        wrapped.sendall(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + frame(4, 0, 0)
            + frame(1, 4, 1, header_block("/gossipcontrol.v1.GossipControl/ListStores"))
            + frame(0, 1, 1, request)
        )
        received = b""
        while b"grpc-status" not in received:
            received += wrapped.recv(65_536)
        assert wrapped.session_reused is (session is not None)
        assert wrapped.session is not None
        return received, wrapped.session


def frame(kind: int, flags: int, stream: int, body: bytes = b"") -> bytes:
    """A frame of HTTP/2."""
    return len(body).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + body


async def test_a_resumed_session_has_its_certificate_and_ends_with_it(running: Hub) -> None:
    """It is not verified again, so that what counts is the revocation list at each call."""
    context = trusting(running, "laptop-1")
    first, session = await asyncio.to_thread(list_stores, running, context, None)
    again, _ = await asyncio.to_thread(list_stores, running, context, session)
    assert b"revoked" not in first + again
    running.authority.revoke("laptop-1")
    running.look()
    refused, _ = await asyncio.to_thread(list_stores, running, context, session)
    assert b"the client certificate is revoked" in refused

"""The handshake itself, as other programs see it."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from gossipcontrol.server.access.authority import AUTHORITY
from gossipcontrol.server.access.tls import TlsError, TlsFiles, server_credentials

from tests.kit.hub import Hub, hub
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

"""The proxy of docs/hub.md before a real hub: calls and streams pass it, with a certificate and with a token."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from gossipcontrol.agent import Agent
from gossipcontrol.client import Client, Credentials, DeniedError

from tests.agent.fake import FakeNode
from tests.kit.hub import Hub, hub
from tests.kit.markdown import TOP
from tests.kit.ports import free_ports
from tests.kit.until import DEADLINE, until

pytestmark = pytest.mark.skipif(
    shutil.which("nginx") is None, reason="needs nginx: install the Debian packages nginx-light and libnginx-mod-stream"
)


_OWN_FILES = "access_log off;\n" + "".join(
    f"{key}_temp_path {{0}}/{key};\n" for key in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
)
"""Where nginx may write when it does not run as root."""


def documented(running: Hub, tokens: int, certificates: int) -> str:
    """The configuration of the document, with the ports and paths of a test."""
    page = (TOP / "docs" / "hub.md").read_text(encoding="utf-8")
    found = re.search(r"```nginx\n(.*?)```", page, re.DOTALL)
    assert found is not None
    ports = running.service.app.ports
    text = found[1]
    for before, after in (
        ("127.0.0.1:17444", f"127.0.0.1:{ports['listen.tls_tokens']}"),
        ("127.0.0.1:17443", f"127.0.0.1:{ports['listen.tls']}"),
        ("listen 7444", f"listen 127.0.0.1:{tokens}"),
        ("listen 7443", f"listen 127.0.0.1:{certificates}"),
        ("/etc/gossipcontrol/hub", str(running.directory)),
        ("hub.example.org", "localhost"),
        ("http {", f"http {{\n{_OWN_FILES.format(running.directory)}"),
    ):
        assert before in text
        text = text.replace(before, after)
    return f"daemon off;\npid {running.directory}/nginx.pid;\nuser root;\n{text}"


@asynccontextmanager
async def proxy(running: Hub, tokens: int, certificates: int) -> AsyncGenerator[None]:
    """Run nginx."""
    path = running.directory / "nginx.conf"
    path.write_text(documented(running, tokens, certificates), encoding="utf-8")
    log = running.directory / "nginx.log"
    process = await asyncio.create_subprocess_exec(
        "nginx", "-c", str(path), "-e", str(log),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await until(lambda: process.returncode is not None or (running.directory / "nginx.pid").exists(), "it runs")
        assert process.returncode is None, log.read_text()
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def test_calls_and_streams_pass_the_documented_proxy(tmp_path: Path) -> None:
    tokens, certificates = free_ports(2)
    async with hub(tmp_path) as running, proxy(running, tokens, certificates):
        node, shown = FakeNode("laptop-1", "notes"), running.credentials("laptop-1")
        through = f"tls:localhost:{certificates}"
        async with Agent(node, through, host_id="laptop-1", credentials=shown) as agent:
            await until(agent.attached.is_set, "it attaches through the proxy")
            async with Client(through, timeout=DEADLINE, credentials=shown) as own:
                await own.rejoin("laptop-1", ["notes"])
            await until(lambda: bool(node.rejoins), "the rejoin is carried out")
            async with Client(
                f"tls:localhost:{tokens}", timeout=DEADLINE, credentials=running.bearer_credentials()
            ) as reader:
                assert [store.store_id async for store in reader.list_stores()] == ["notes"]
                assert await anext(reader.watch_peers("notes"))
            wrong: Credentials = running.bearer_credentials("wrong")
            async with Client(f"tls:localhost:{tokens}", timeout=DEADLINE, credentials=wrong) as stranger:
                with pytest.raises(DeniedError, match="UNAUTHENTICATED"):
                    _ = [store async for store in stranger.list_stores()]

"""How the HTTP listener starts and stops."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from gossipcontrol.server.config import ConfigError, read_config

from tests.kit.service_lab import config, serving
from tests.kit.service_process import service_process
from tests.kit.web_client import call

WITHOUT = """
import sys
sys.modules[{package!r}] = None
from gossipcontrol.server.__main__ import main
main()
"""


@pytest.mark.parametrize("address", ["0.0.0.0:8080", "192.0.2.1:8080", "[::]:8080", "example.org:80"])
def test_only_loopback_is_allowed(address: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(None, {"GOSSIPCONTROL_LISTEN_HTTP": address, "HOME": "/"})
    [mistake] = caught.value.mistakes
    assert mistake.startswith("GOSSIPCONTROL_LISTEN_HTTP: ")
    assert "is not loopback" in mistake


@pytest.mark.parametrize("origin", ["*", "localhost:5173", "http://localhost:5173/", "http://*.example"])
def test_an_origin_is_a_scheme_and_a_host(origin: str) -> None:
    with pytest.raises(ConfigError, match=r"HTTP_ORIGINS: .* is not SCHEME"):
        read_config(None, {"GOSSIPCONTROL_LISTEN_HTTP_ORIGINS": f"http://a.example, {origin}", "HOME": "/"})


@pytest.mark.parametrize("package", ["connectrpc", "uvicorn"])
def test_without_the_extra_the_start_names_it(tmp_path: Path, package: str) -> None:
    settings = {
        "GOSSIPCONTROL_LISTEN_HTTP": "127.0.0.1:0",
        "GOSSIPCONTROL_LISTEN_SOCKET": str(tmp_path / "gc.sock"),
        "GOSSIPCONTROL_LISTEN_TCP": "",
        "GOSSIPCONTROL_METRICS_ADDRESS": "",
        "GOSSIPCONTROL_STATE_BACKEND": "memory",
    }
    done = subprocess.run([sys.executable, "-c", WITHOUT.format(package=package)], env=os.environ | settings,
                          capture_output=True, text=True, check=False, timeout=30)  # fmt: skip
    assert done.returncode == 1
    assert f"listen.http needs the package {package}: pip install 'gossipcontrol[http]'" in done.stderr


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        async with service_process(tmp_path / "gc.sock", GOSSIPCONTROL_LISTEN_HTTP=taken) as service:
            await service.drain()
            assert await service.process.wait() == 1
    assert f"listen.http {taken}: Address already in use" in service.lines[-1]


async def test_a_process_serves_and_stops_in_time_with_connections_open(tmp_path: Path) -> None:
    async with service_process(tmp_path / "gc.sock", GOSSIPCONTROL_LISTEN_HTTP="127.0.0.1:0") as service:
        await service.until_serving()
        [line] = [line for line in service.lines if "event=serving" in line]
        port = int(line.partition(" http=127.0.0.1:")[2].split()[0])
        assert (await call(port, "ListStores")).status == 200
        _, idle = await asyncio.open_connection("127.0.0.1", port)
        _, half = await asyncio.open_connection("127.0.0.1", port)
        half.write(b"POST / HTTP/1.1\r\n")
        assert await service.stop() == 0
        await service.drain()
        for writer in (idle, half):
            writer.close()
    assert not [line for line in service.lines if "Traceback" in line or "level=error" in line], service.lines


async def test_it_is_off_by_default(tmp_path: Path) -> None:
    async with serving(config(tmp_path)) as service:
        assert service.app.http_port == 0


async def test_ipv6_loopback_is_served(tmp_path: Path) -> None:
    settings = config(tmp_path)
    async with serving(replace(settings, listen=replace(settings.listen, http="[::1]:0"))) as service:
        _, writer = await asyncio.open_connection("::1", service.app.http_port)
        writer.close()

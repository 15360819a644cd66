"""Errors in words of the product, within the timeout."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner, Result
from gossipcontrol.cli.complaint import why_unreachable
from gossipcontrol.cli.main import main
from gossipcontrol.client.failure import client_error

from tests.kit.nobody import needs_nobody, run_as_nobody
from tests.kit.ports import free_ports
from tests.kit.service_lab import Service

SOON = 30.0
"""Seconds within which a command with a short timeout ends, on a busy machine too."""
GRPC = re.compile(r"failed to connect|last error|UNKNOWN|UNAVAILABLE|Deadline|ipv4:|DNS resolution")


async def run(address: str, *words: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, main, [*(words or ("stores",)), "--address", address])


@pytest.mark.not_on_windows("gRPC has no Unix sockets there")
async def test_a_missing_service_is_said_in_words_of_the_product(tmp_path: Path) -> None:
    left = tmp_path / "left.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(left))
    for address, words in (
        (f"unix:{tmp_path}/none.sock", "there is no such socket; start gossipcontrol-server"),
        (f"unix:{left}", "the socket is there, but nobody listens"),
        (f"127.0.0.1:{free_ports(1)[0]}", "nothing listens there; start gossipcontrol-server"),
    ):
        told = await run(address)
        assert told.exit_code == 3
        assert told.stderr.startswith(f"gossipcontrol: no service at {address}: {words}")
        assert not GRPC.search(told.stderr)


async def test_a_service_that_does_not_answer_is_said_within_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        began = time.monotonic()
        told = await run(f"127.0.0.1:{listener.getsockname()[1]}", "status", "--timeout", "0.5")
        assert time.monotonic() - began < SOON
    assert told.exit_code == 3
    assert "something listens there, but gives no answer in time" in told.stderr


async def test_each_of_several_that_do_not_answer_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        mute, (gone,) = f"127.0.0.1:{listener.getsockname()[1]}", free_ports(1)
        told = await run(f"127.0.0.1:{gone},{mute}", "status", "--timeout", "0.5")
    assert told.exit_code == 3
    assert f"no replica serves: 127.0.0.1:{gone}: nothing listens there" in told.stderr
    assert told.stderr.rstrip().endswith(f"; {mute}: something listens there, but gives no answer in time")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1", "gives no answer in time"),
        ("Stream removed (Deadline Exceeded)", "gives no answer in time"),
        ("Socket closed", "the connection broke before an answer came"),
        ("recvmsg:Connection reset by peer", "the connection broke before an answer came"),
        ("the state cannot be written", "the state cannot be written"),
    ],
)
def test_only_what_the_service_said_is_passed_on(text: str, words: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert why_unreachable(f"127.0.0.1:{listener.getsockname()[1]}", text).endswith(words)


def test_where_a_service_of_this_host_would_listen_both_places_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """By default it listens on its socket alone: that nothing listens on the port says too little."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    monkeypatch.setattr("gossipcontrol.cli.complaint.DEFAULT_TCP", address)
    monkeypatch.setattr("gossipcontrol.cli.complaint.SYSTEM_SOCKET", "/nowhere/x.sock")
    assert why_unreachable(address, "").startswith("nothing listens there, and there is no /nowhere/x.sock; start")


def test_the_library_says_it_in_plain_words() -> None:
    said = (
        "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Failed to connect to remote host: "
    )
    refused = grpc.aio.AioRpcError(
        grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), f"{said}Connection refused"
    )
    assert str(client_error(refused)) == "no service answers (Connection refused)"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        assert why_unreachable(address, str(client_error(refused))).endswith("gives no answer in time")


async def test_the_proxy_that_gives_no_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOSSIPCONTROL_PROXY", "http://127.0.0.1:1")
    told = await run("hub.invalid:7443", "status", "--timeout", "0.5")
    assert told.exit_code == 3
    assert "through the proxy http://127.0.0.1:1: " in told.stderr
    assert "is not known" not in told.stderr, "the proxy looks up names"


@needs_nobody
async def test_refused_permission_is_no_missing_service(service: Service) -> None:
    path = service.address.removeprefix("unix:")
    done = await asyncio.to_thread(run_as_nobody, "-m", "gossipcontrol.cli", "stores", "--address", service.address)
    assert done.returncode == 1
    assert done.stderr == f"gossipcontrol: permission denied: only root may open {path}\n"


@pytest.mark.parametrize("words", [("stores",), ("status",)], ids=" ".join)
async def test_what_is_no_service_of_ours_is_said_so(words: tuple[str, ...]) -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        told = await run(f"127.0.0.1:{port}", *words)
    finally:
        await server.stop(None)
    assert told.exit_code == 1
    assert "does not offer this call" in told.stderr

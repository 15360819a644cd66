"""The page of the metrics has bounds, and neither its crowd nor its end concerns gRPC."""

from __future__ import annotations

import asyncio
import http.client
import os
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from gossipcontrol.server.observe.http import CONNECTIONS, MetricsPage
from gossipcontrol.v1.gossip_control_pb2 import ListStoresRequest
from prometheus_client import CollectorRegistry, Gauge

from tests.kit.http import fetch
from tests.kit.ports import free_ports
from tests.kit.service_lab import connected
from tests.kit.service_process import service_process
from tests.kit.until import DEADLINE, until


@pytest.fixture
def page() -> Iterator[MetricsPage]:
    registry = CollectorRegistry()
    Gauge("gauge", "One.", registry=registry).set(1)
    page = MetricsPage("127.0.0.1", 0, registry)
    yield page
    page.close()


def ask(page: MetricsPage, method: str, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=DEADLINE)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), body


def test_metrics_are_at_their_path_only(page: MetricsPage) -> None:
    status, headers, body = ask(page, "GET", "/metrics")
    assert (status, b"gauge 1.0" in body) == (200, True)
    assert headers["Content-Type"].startswith("text/plain; version=")
    assert ask(page, "GET", "/metrics?name[]=nothing")[2] == b""
    for path in ("/", "/favicon.ico", "/metrics/x", "/etc/passwd"):
        status, _, body = ask(page, "GET", path)
        assert (status, b"/metrics" in body) == (404, True)
    assert ask(page, "POST", "/metrics")[0] == 405


def test_head_is_get_without_the_body(page: MetricsPage) -> None:
    for path in ("/metrics", "/other"):
        (status, headers, body), whole = ask(page, "HEAD", path), ask(page, "GET", path)
        assert (status, body, int(headers["Content-Length"])) == (whole[0], b"", len(whole[2]))


def test_a_crowd_of_idle_connections_neither_grows_nor_keeps_a_scrape_out(page: MetricsPage) -> None:
    """prometheus/client_java#2284, prometheus/client_python#377: a thread for every idle connection, for ever."""
    before = threading.active_count()
    with ExitStack() as crowd:
        for _ in range(10 * CONNECTIONS):
            crowd.enter_context(socket.create_connection(("127.0.0.1", page.port), DEADLINE))
        assert b"gauge 1.0" in ask(page, "GET", "/metrics")[2]
        assert threading.active_count() <= before + CONNECTIONS


def test_an_idle_connection_is_ended(page: MetricsPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gossipcontrol.server.observe.http._Handler.timeout", 0.05)
    for sent in (b"", b"GET /metrics HTTP/1.1\r\nHost:"):
        with socket.create_connection(("127.0.0.1", page.port), DEADLINE) as idle:
            idle.sendall(sent)
            assert idle.recv(1024) == b""


def test_nonsense_is_answered_and_the_page_goes_on(page: MetricsPage) -> None:
    for sent in (b"\x00" * 100 + b"\r\n\r\n", b"GET\r\n\r\n", b"GET " + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", page.port), DEADLINE) as stranger:
            stranger.sendall(sent)
            stranger.settimeout(DEADLINE)
            stranger.recv(1024)
    assert ask(page, "GET", "/metrics")[0] == 200


def test_an_end_waits_for_nobody() -> None:
    page = MetricsPage("127.0.0.1", 0, CollectorRegistry())
    with socket.create_connection(("127.0.0.1", page.port), DEADLINE):
        page.close()


@pytest.mark.waits(10)
async def test_a_crowd_takes_no_descriptor_of_grpc(tmp_path: Path) -> None:
    """1,200 idle connections took all of 1,024 descriptors, and gRPC answered nobody."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, max(soft, 4096))
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    [port] = free_ports(1)
    try:
        async with service_process(tmp_path / "s.sock", GOSSIPCONTROL_METRICS_ADDRESS=f"127.0.0.1:{port}") as running:
            await running.until_serving()
            pid = running.process.pid

            def descriptors() -> int:
                return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - fewer objects than Path makes

            with ExitStack() as crowd:
                for _ in range(1200):
                    crowd.enter_context(
                        await asyncio.to_thread(socket.create_connection, ("127.0.0.1", port), DEADLINE)
                    )
                async with connected(running.address) as stub:
                    await stub.ListStores(ListStoresRequest(), timeout=DEADLINE)
                assert "gossipcontrol_build_info" in await asyncio.to_thread(fetch, f"http://127.0.0.1:{port}/metrics")
                await until(lambda: descriptors() < 100, "the crowd holds few descriptors")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

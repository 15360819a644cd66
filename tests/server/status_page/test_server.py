"""The web server has bounds, and neither its crowd nor its end concerns gRPC."""

from __future__ import annotations

import asyncio
import http.client
import os
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from http import HTTPStatus
from pathlib import Path
from typing import cast

import pytest
from gossipcontrol.server.status_page.server import CONNECTIONS, REQUEST_BYTES, STREAMS, Application, PageServer
from gossipcontrol.server.status_page.site import Answer, Handler, Request, Site, text
from gossipcontrol.v1.gossip_control_pb2 import ListStoresRequest
from prometheus_client import (
    CollectorRegistry,
    Gauge,
    make_wsgi_app,  # pyright: ignore[reportUnknownVariableType]
)

from tests.kit.http import fetch
from tests.kit.service_lab import connected
from tests.kit.service_process import service_process
from tests.kit.until import DEADLINE, until


def fail(request: Request) -> Answer:
    raise RuntimeError(f"{request.client} found a fault")


@pytest.fixture
def failures() -> list[str]:
    return []


@pytest.fixture
def routes() -> dict[str, Handler]:
    return {"/one": lambda request: text("1"), "/hold": fail, "/fail": fail}


@pytest.fixture
def page(failures: list[str], routes: dict[str, Handler]) -> Iterator[PageServer]:
    registry = CollectorRegistry()
    Gauge("gauge", "One.", registry=registry).set(1)
    metrics = cast("Application", make_wsgi_app(registry))  # pyright: ignore[reportUnknownArgumentType]
    site = Site(routes, {"/metrics": metrics}, lambda path, error: failures.append(f"{path} {error}"), is_local=True)
    page = PageServer("127.0.0.1", 0, site)
    yield page
    page.close()


def ask(page: PageServer, method: str, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=DEADLINE)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), body


def test_metrics_are_at_their_path_only(page: PageServer) -> None:
    status, headers, body = ask(page, "GET", "/metrics")
    assert (status, b"gauge 1.0" in body) == (200, True)
    assert headers["Content-Type"].startswith("text/plain; version=")
    assert ask(page, "GET", "/metrics?name[]=nothing")[2] == b""
    for path in ("/", "/favicon.ico", "/metrics/x", "/etc/passwd"):
        status, _, body = ask(page, "GET", path)
        assert (status, b"/metrics" in body) == (404, True)
    for path in ("/metrics/", "/METRICS", "/debug", "/one/../metrics"):
        assert ask(page, "GET", path)[0] == 404


def test_other_methods_are_refused_and_told_which_are_not(page: PageServer) -> None:
    for path in ("/metrics", "/one"):
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PROPFIND"):
            status, headers, _ = ask(page, method, path)
            assert (status, headers["Allow"]) == (405, "GET, HEAD"), (method, path)


def test_head_is_get_without_the_body(page: PageServer) -> None:
    for path in ("/metrics", "/one", "/other"):
        (status, headers, body), whole = ask(page, "HEAD", path), ask(page, "GET", path)
        assert (status, body, int(headers["Content-Length"])) == (whole[0], b"", len(whole[2]))


def test_a_foreign_name_is_refused(page: PageServer) -> None:
    """A page of the web whose name was turned to 127.0.0.1 would read everything."""
    for name in ("evil.example", "evil.example:9742", "localhost.evil.example", "127.0.0.1.evil.example:80"):
        assert ask(page, "GET", "/one", Host=name)[0] == 421
    for name in ("localhost", "LOCALHOST:1", "127.0.0.1:9742", "[::1]:9742", "10.1.2.3"):
        assert ask(page, "GET", "/one", Host=name)[0] == 200
    assert ask(page, "GET", "/metrics", Host="gossipcontrol.example:9742")[0] == 200


def test_a_page_that_fails_says_so_to_the_operator_only(page: PageServer, failures: list[str]) -> None:
    status, _, body = ask(page, "GET", "/fail")
    assert (status, b"fault" in body) == (500, False)
    assert failures == ["/fail 127.0.0.1 found a fault"]


def test_a_request_has_a_largest_size(page: PageServer) -> None:
    sent = b"GET /one HTTP/1.1\r\n" + b"".join(b"X-%d: %s\r\n" % (one, b"x" * 1000) for one in range(90)) + b"\r\n"
    assert len(sent) > REQUEST_BYTES
    with socket.create_connection(("127.0.0.1", page.port), DEADLINE) as stranger, suppress(OSError):
        stranger.sendall(sent)
        assert stranger.recv(1024) == b""
    assert ask(page, "GET", "/one")[0] == 200


def test_streams_are_few_and_take_no_place_of_requests(page: PageServer, routes: dict[str, Handler]) -> None:
    over = threading.Event()

    def events() -> Iterator[bytes]:
        yield b"begun"
        over.wait(DEADLINE)

    def begin(request: Request) -> Answer:
        if not request.become_stream():
            return text("too many", HTTPStatus.SERVICE_UNAVAILABLE)
        return Answer(events(), headers=())

    routes["/hold"] = begin
    with ExitStack() as crowd:
        for _ in range(STREAMS):
            stream = crowd.enter_context(socket.create_connection(("127.0.0.1", page.port), DEADLINE))
            stream.sendall(b"GET /hold HTTP/1.1\r\n\r\n")
            received = b""
            while not received.endswith(b"begun"):
                part = stream.recv(1024)
                assert part, received
                received += part
        assert page.connections() == (0, STREAMS)
        assert ask(page, "GET", "/hold")[0] == 503
        assert [ask(page, "GET", "/one")[0] for _ in range(2 * CONNECTIONS)] == [200] * 2 * CONNECTIONS
        over.set()


def test_a_crowd_of_idle_connections_neither_grows_nor_keeps_a_scrape_out(page: PageServer) -> None:
    """prometheus/client_java#2284, prometheus/client_python#377: a thread for every idle connection, for ever."""
    before = threading.active_count()
    with ExitStack() as crowd:
        for _ in range(10 * CONNECTIONS):
            crowd.enter_context(socket.create_connection(("127.0.0.1", page.port), DEADLINE))
        assert b"gauge 1.0" in ask(page, "GET", "/metrics")[2]
        assert threading.active_count() <= before + CONNECTIONS


def test_an_idle_connection_is_ended(page: PageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gossipcontrol.server.status_page.server._Handler.timeout", 0.05)
    for sent in (b"", b"GET /metrics HTTP/1.1\r\nHost:"):
        with socket.create_connection(("127.0.0.1", page.port), DEADLINE) as idle:
            idle.sendall(sent)
            assert idle.recv(1024) == b""


def test_nonsense_is_answered_and_the_page_goes_on(page: PageServer) -> None:
    for sent in (b"\x00" * 100 + b"\r\n\r\n", b"GET\r\n\r\n", b"GET " + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", page.port), DEADLINE) as stranger:
            stranger.sendall(sent)
            stranger.settimeout(DEADLINE)
            stranger.recv(1024)
    assert ask(page, "GET", "/metrics")[0] == 200


def test_an_end_waits_for_nobody() -> None:
    page = PageServer("127.0.0.1", 0, Site({}, {}, lambda path, error: None))
    with socket.create_connection(("127.0.0.1", page.port), DEADLINE):
        page.close()


@pytest.mark.waits(10)
async def test_a_crowd_takes_no_descriptor_of_grpc(tmp_path: Path) -> None:
    """1,200 idle connections took all of 1,024 descriptors, and gRPC answered nobody."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, max(soft, 4096))
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    free = socket.socket()
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
    free.close()
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

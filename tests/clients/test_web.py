"""The HTTP listener and the libraries for browsers: connect-web in Node, with Connect and gRPC-Web."""

from __future__ import annotations

import asyncio

import pytest

from tests.clients.built import Built
from tests.kit.ports import free_ports
from tests.kit.service_lab import BareAgent, Service, connected
from tests.kit.until import DEADLINE
from tests.kit.web_client import call

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]
SCHEMES = pytest.mark.parametrize("scheme", ["http://", "web+http://"])


@SCHEMES
async def test_a_report_over_http(typescript: Built, service: Service, scheme: str) -> None:
    async with connected(service.address) as stub:
        agent = BareAgent(stub)
        await agent.register("page", "a")
        done = await typescript.report(f"{scheme}127.0.0.1:{service.app.http_port}", "page")
        assert (done.code, done.output, done.errors) == (0, "page a DECISION_KIND_STARTED\n", "")


@SCHEMES
async def test_over_http_the_next_address_is_asked_where_nobody_listens(
    typescript: Built, service: Service, scheme: str
) -> None:
    """Of replicas only the one that serves listens for HTTP; a page that was just offline reaches nobody either."""
    gone, port = free_ports(1)[0], service.app.http_port
    done = await typescript.report(f"{scheme}127.0.0.1:{gone},{scheme}127.0.0.1:{port}", "page")
    assert (done.code, done.output.split()[-1]) == (0, "DECISION_KIND_PARKED"), done.errors
    alone = await typescript.report(f"{scheme}127.0.0.1:{gone}", "page", seconds=3)
    assert (alone.code, "[unavailable]" in alone.errors) == (1, True)


@SCHEMES
async def test_an_error_keeps_its_code(typescript: Built, service: Service, scheme: str) -> None:
    done = await typescript.report(f"{scheme}127.0.0.1:{service.app.http_port}", "x" * 200)
    assert done.code == 1
    assert "[invalid_argument] node_ids[0]: " in done.errors


@SCHEMES
async def test_a_page_follows_who_is_online(typescript: Built, service: Service, scheme: str) -> None:
    port = service.app.http_port
    process = await typescript.start("node", "dist/peers.js", f"{scheme}127.0.0.1:{port}", "a")
    assert process.stdout is not None
    async with asyncio.timeout(2 * DEADLINE):
        assert await process.stdout.readline() == b"seen\n", "the snapshot is empty"
        report = {"reports": [{"nodeId": "n", "storeId": "a", "peers": [{"peerId": "p", "heardAgeMs": "5"}]}]}
        assert (await call(port, "PeerLiveness", report)).status == 200
        while (line := (await process.stdout.readline()).decode()) != "p PEER_STATE_ONLINE\n":
            assert line, "the stream ended"
        process.terminate()
        assert await process.wait() == 0

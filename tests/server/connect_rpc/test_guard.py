"""What is refused before it becomes a call, and what browsers need."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from gossipcontrol.server.connect_rpc import guard
from gossipcontrol.server.connect_rpc.codec import JSON_BYTES

from tests.kit.service_lab import Service
from tests.kit.until import DEADLINE, until
from tests.kit.web_client import SERVICE, call, envelope
from tests.server.connect_rpc.conftest import ORIGIN


async def test_a_browser_may_call_from_an_origin_of_the_list(port: int) -> None:
    asked = await call(port, "ListStores", b"", method="OPTIONS", origin=ORIGIN,
                       access_control_request_method="POST", access_control_request_headers="content-type")  # fmt: skip
    assert asked.status == 204
    assert asked.headers["access-control-allow-origin"] == ORIGIN
    assert asked.headers["access-control-allow-methods"] == "POST"
    assert "content-type" in asked.headers["access-control-allow-headers"]
    answer = await call(port, "ListStores", origin=ORIGIN)
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, ORIGIN)
    assert "retry-after" in answer.headers["access-control-expose-headers"]
    refused = await call(port, "Rejoin", origin=ORIGIN)
    assert (refused.status, refused.headers["access-control-allow-origin"]) == (400, ORIGIN)


@pytest.mark.parametrize("method", ["POST", "OPTIONS"])
@pytest.mark.parametrize("origin", ["http://evil.example", "null", f"{ORIGIN}0", "http://localhost"])
async def test_another_origin_is_refused_before_its_call_is_carried_out(port: int, origin: str, method: str) -> None:
    answer = await call(port, "ListStores", origin=origin, method=method, access_control_request_method="POST")
    assert (answer.status, answer.json["code"]) == (403, "permission_denied")
    assert "listen.http_origins" in answer.json["message"]
    assert "access-control-allow-origin" not in answer.headers


async def test_a_name_that_was_made_to_lead_here_is_refused(port: int) -> None:
    """DNS rebinding: to the browser the page and the service have one origin, so it sends none."""
    answer = await call(port, "ListStores", host="evil.example")
    assert (answer.status, answer.json["code"]) == (403, "permission_denied")
    for host in ("localhost", f"localhost:{port}", f"[::1]:{port}", "127.0.0.1"):
        assert (await call(port, "ListStores", host=host)).status == 200


@pytest.mark.parametrize(
    "kind",
    ["", "text/plain", "application/x-www-form-urlencoded", "application/grpc", "application/grpc+proto", "json", "ä"],
)
async def test_other_types_are_refused(port: int, kind: str) -> None:
    answer = await call(port, "ListStores", content_type=kind)
    assert answer.status in (400, 415)
    assert answer.json["message"]


async def test_other_methods_and_paths_are_refused(port: int) -> None:
    assert (await call(port, "ListStores", b"", method="GET")).status == 405
    assert (await call(port, "ListStores", b"", method="DELETE")).status == 405
    assert (await call(port, "/", b"", method="GET")).status == 404
    assert (await call(port, "/gossipcontrol.v1.GossipControl/Nothing")).status == 404


async def test_compressed_requests_are_refused(port: int) -> None:
    """A short one could become a large message."""
    answer = await call(port, "ListStores", content_encoding="gzip")
    assert (answer.status, answer.json["code"]) == (501, "unimplemented")


async def test_a_long_request_is_refused(port: int) -> None:
    answer = await call(port, "ListStores", b'{"newer": "%s"}' % (b"x" * JSON_BYTES))
    assert (answer.status, answer.json["code"]) == (429, "resource_exhausted")
    assert "application/proto" in answer.json["message"]
    answer = await call(port, "ListStores", b"\0" * (5 << 20), content_type="application/proto")
    assert answer.status == 429


async def test_requests_on_their_way_have_bounded_room(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "HELD_BYTES", 1000)
    head = f"POST {SERVICE}ListStores HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = b'{"newer": "%s"}' % (b"x" * 900)
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:-1])

    async def is_refused() -> bool:
        answer = await call(port, "ListStores", body)
        assert answer.status == 200 or (answer.status, answer.headers["retry-after"]) == (429, "1")
        return answer.status == 429

    await until(is_refused, "the first has taken the room")
    writer.write(body[-1:])
    async with asyncio.timeout(DEADLINE):
        assert b" 200 " in await reader.readline()
    writer.close()

    async def is_served() -> bool:
        return (await call(port, "ListStores", body)).status == 200

    await until(is_served, "the room is free again")


async def test_a_body_that_does_not_come_ends_the_call(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "REQUEST_TIME", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST {SERVICE}ListStores HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: 100\r\n\r\n{{".encode())
    async with asyncio.timeout(DEADLINE):
        assert b" 504 " in await reader.readline()
    writer.close()


@pytest.mark.parametrize("call_name", ["ListPeers", "WatchPeers"])
async def test_a_client_that_does_not_read_loses_its_connection(
    service: Service, port: int, monkeypatch: pytest.MonkeyPatch, call_name: str
) -> None:
    monkeypatch.setattr(guard, "WRITE_TIME", 0.2)
    peers = [{"peerId": f"{number:0100}", "heardAgeMs": number} for number in range(900)]
    reports = {"reports": [{"nodeId": "n", "storeId": "a", "peers": peers}]}
    assert (await call(port, "PeerLiveness", reports)).status == 200
    body, kind = b'{"storeId": "a"}', "application/json"
    if call_name == "WatchPeers":
        body, kind = envelope(body), "application/connect+json"
    head = f"POST {SERVICE}{call_name} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.sendall((f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body) * 100)
        listener = service.app._connects[0]  # pyright: ignore[reportPrivateUsage]
        assert listener is not None
        await until(lambda: listener.count == 1, "the connection is there")
        connections: set[Any] = listener._state.connections  # pyright: ignore[reportPrivateUsage]
        (stalled,) = connections
        changes = 0

        async def is_gone() -> bool:
            nonlocal changes
            changes += 1
            if call_name == "WatchPeers":
                for report in reports["reports"]:
                    report["peers"] = [{**peer, "peerId": f"{changes}-{peer['peerId']}"} for peer in peers]
                await call(port, "PeerLiveness", reports)
            return stalled not in connections

        await until(is_gone, "the connection is ended", within=2 * DEADLINE)

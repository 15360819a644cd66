"""Bearer tokens over HTTP: the pages beyond loopback, and calls as JSON, by the same table as gRPC."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from gossipcontrol.server.access.authority import AUTHORITY
from gossipcontrol.server.access.table import digest_of
from gossipcontrol.server.config import ConfigError, Metrics, read_config
from gossipcontrol.server.status_page import event_stream

from tests.kit.hub import TABLE, TOKEN, Hub, hub
from tests.kit.service_lab import config, serving
from tests.kit.until import DEADLINE, until

SCRAPER, ADMIN = "a-token-of-a-scraper", "a-token-of-an-admin"
ROWS = f"""{TABLE}
[[identity]]
name = "prometheus"
tokens = [{{ sha256 = "{digest_of(SCRAPER)}" }}, {{ sha256 = "{digest_of("old")}", until = 2020-01-01T00:00:00Z }}]
roles = ["reader"]
stores = ["*"]

[[identity]]
name = "admin"
tokens = [{{ sha256 = "{digest_of(ADMIN)}" }}]
roles = ["admin"]
"""
CALL = "/gossipcontrol.v1.GossipControl/"


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Hub]:
    async with hub(tmp_path, ROWS, metrics=Metrics(address="0.0.0.0:0"), http_tokens="127.0.0.1:0") as one:
        yield one


class Got(NamedTuple):
    """An answer."""

    status: int
    body: str
    headers: http.client.HTTPMessage

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(running: Hub, port: int, path: str, authorization: str = "", body: object = None) -> Got:
    """Get a page, or post JSON, over TLS."""
    context = ssl.create_default_context(cafile=str(running.authority.path(AUTHORITY, "crt")))
    connection = http.client.HTTPSConnection("localhost", port, timeout=DEADLINE, context=context)
    headers = {"Authorization": authorization} if authorization else {}
    try:
        if body is None:
            connection.request("GET", path, headers=headers)
        else:
            connection.request("POST", path, json.dumps(body), {**headers, "Content-Type": "application/json"})
        answer = connection.getresponse()
        return Got(answer.status, answer.read().decode(), answer.headers)
    finally:
        connection.close()


async def page(running: Hub, path: str, authorization: str = "") -> Got:
    """A page of the hub."""
    return await asyncio.to_thread(ask, running, running.service.app.metrics_port, path, authorization)


async def call(running: Hub, name: str, token: str, body: object) -> Got:
    """A call as JSON."""
    port = running.service.app.ports["listen.http_tokens"]
    shown = f"Bearer {token}" if token else ""
    return await asyncio.to_thread(ask, running, port, f"{CALL}{name}", shown, body)


async def test_without_a_token_there_is_nothing(running: Hub) -> None:
    paths = ("/", "/api/stores", "/debug/config", "/static/page.css", "/none")
    wrong = ("Bearer wrong", "Bearer old", f"Bearer {TOKEN}x", "Bearer", "Basic !", "Digest a")
    for path, shown in [*((path, "") for path in paths), *(("/metrics", one) for one in ("", *wrong))]:
        got = await page(running, path, shown)
        assert got.status == 401, (path, shown)
        challenges = got.headers.get_all("WWW-Authenticate") or []
        assert [one.partition(" ")[0] for one in challenges] == ["Bearer", "Basic"]
        assert "gossipcontrol_" not in got.body


async def test_probes_need_none(running: Hub) -> None:
    assert [(await page(running, path)).status for path in ("/healthz", "/readyz")] == [200, 200]


async def test_a_scraper_and_a_browser_read_the_pages_and_an_admin_more(running: Hub) -> None:
    as_password = "Basic " + b64encode(f"me:{SCRAPER}".encode()).decode()
    for shown in (f"Bearer {SCRAPER}", f"bearer  {SCRAPER}", as_password):
        assert "gossipcontrol_agents_attached" in (await page(running, "/metrics", shown)).body
        assert (await page(running, "/api/stores", shown)).status == 200
        assert (await page(running, "/debug/config", shown)).status == 403
    assert (await page(running, "/debug/config", f"Bearer {ADMIN}")).status == 200
    # The dashboard may read one store only, and pages show all.
    assert (await page(running, "/metrics", f"Bearer {TOKEN}")).status == 403
    await until(lambda: len(running.service.lines("call denied")) == 2, "both are in the log")
    lines = running.service.lines("call denied")
    assert [line["identity"] for line in lines] == ["prometheus", "dashboard"]
    assert all(token not in str(line) for line in running.service.lines() for token in (SCRAPER, ADMIN, TOKEN))


async def test_a_stream_of_events_ends_with_its_token(running: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT", 0.05)
    context = ssl.create_default_context(cafile=str(running.authority.path(AUTHORITY, "crt")))
    port = running.service.app.metrics_port
    reader, writer = await asyncio.open_connection("localhost", port, ssl=context)
    writer.write(f"GET /api/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {SCRAPER}\r\n\r\n".encode())
    await asyncio.wait_for(reader.readuntil(b"retry:"), DEADLINE)
    running.write_table(TABLE)
    await asyncio.wait_for(reader.read(), DEADLINE)
    writer.close()
    await writer.wait_closed()


async def test_one_who_says_nothing_holds_up_nobody(running: Hub) -> None:
    with socket.create_connection(("127.0.0.1", running.service.app.metrics_port), DEADLINE):
        assert (await page(running, "/healthz")).status == 200


async def test_plain_text_is_not_answered(running: Hub) -> None:
    for port in (running.service.app.metrics_port, running.service.app.ports["listen.http_tokens"]):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {SCRAPER}\r\n\r\n".encode())
        assert b"gossipcontrol" not in await asyncio.wait_for(reader.read(), DEADLINE)
        writer.close()
        await writer.wait_closed()


async def test_without_a_table_the_pages_are_as_they_were(tmp_path: Path) -> None:
    async with serving(replace(config(tmp_path), metrics=Metrics(address="0.0.0.0:0"))) as service:
        assert "gossipcontrol_agents_attached" in await service.scrape()


async def test_calls_as_json_go_through_the_same_table(running: Hub) -> None:
    name = "ListStores"
    async with running.client("operator") as operator:
        await operator.rejoin("laptop-1", ["notes"], park=True)
        await operator.rejoin("laptop-1", ["letters"], park=True)
    assert [one["storeId"] for one in (await call(running, name, TOKEN, {})).json["stores"]] == ["notes"]
    assert len((await call(running, name, SCRAPER, {})).json["stores"]) == 2
    for token in ("", "wrong", "old"):
        got = await call(running, name, token, {})
        assert (got.status, got.json["code"]) == (401, "unauthenticated")
    denied = await call(running, "ListPeers", TOKEN, {"storeId": "letters"})
    assert (denied.status, denied.json["code"]) == (403, "permission_denied")
    assert denied.json["details"][0]["debug"]["fieldViolations"][0]["field"] == "store_id"
    assert (await call(running, "Rejoin", SCRAPER, {"nodeId": "laptop-1"})).status == 403


async def test_what_json_with_tokens_needs_is_named(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('[listen]\nhttp_tokens = "[::]:7444"\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"access\.identities: must be given for listen\.http_tokens"):
        read_config(path, {"HOME": "/"})

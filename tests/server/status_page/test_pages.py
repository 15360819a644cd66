"""Each page of the service says what its name says."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from gossipcontrol.server.config import Metrics
from gossipcontrol.server.status_page.debug import HIDDEN, without_secrets

from tests.kit.service_lab import BareAgent, Service, config, connected, serving
from tests.kit.until import DEADLINE


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    async with serving(replace(config(tmp_path), metrics=Metrics(address="127.0.0.1:0"))) as running:
        yield running


@dataclass
class Page:
    status: int
    headers: dict[str, str]
    body: str

    @property
    def value(self) -> Any:
        return json.loads(self.body)


async def get(service: Service, path: str, method: str = "GET") -> Page:
    def ask() -> Page:
        connection = http.client.HTTPConnection("127.0.0.1", service.app.metrics_port, timeout=DEADLINE)
        connection.request(method, path)
        answer = connection.getresponse()
        page = Page(answer.status, dict(answer.getheaders()), answer.read().decode())
        connection.close()
        return page

    return await asyncio.to_thread(ask)


async def test_probes_say_alive_and_ready(service: Service) -> None:
    for path, word in (("/healthz", "ok\n"), ("/readyz", "ready\n")):
        assert ((page := await get(service, path)).status, page.body) == (200, word)
        assert (await get(service, path, "HEAD")).status == 200
        assert (await get(service, path, "POST")).headers["Allow"] == "GET, HEAD"


async def test_a_service_that_refuses_triggers_lives_and_is_not_ready(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gossipcontrol.server.runtime.outbox.Outbox.accepts", False)
    assert (await get(service, "/healthz")).status == 200
    page = await get(service, "/readyz")
    assert (page.status, "cannot be written" in page.body) == (503, True)


async def test_debug_pages_tell_what_the_service_does(service: Service) -> None:
    async with connected(service.address) as stub:
        agent = BareAgent(stub)
        await agent.register("n", "a")
        found = (await get(service, "/debug/connections")).value
        assert (found["agents_attached"], found["http_requests"]) == (1, 1)
        tasks = (await get(service, "/debug/tasks")).value
        assert any("call at " in row["place"] for row in tasks["tasks"]), tasks
        assert tasks["count"] == sum(row["count"] for row in tasks["tasks"]) > 3
        memory = (await get(service, "/debug/memory")).value
        assert memory["used_bytes"] == sum(memory["books"].values()) > 0
        shown = (await get(service, "/debug/config")).value
        assert shown["listen"]["socket"] == service.config.listen.socket
        agent.call.cancel()


def test_secrets_are_not_shown() -> None:
    given = {
        "tokens": ["t"], "api_token": "t", "key": "k", "private_key_file": "/k", "key_path": "/k", "password": "p",
        "keepalive": 3, "nested": {"signing_keys": {"a": "k"}}, "token": "",
    }  # fmt: skip
    assert without_secrets(given) == {
        "tokens": HIDDEN, "api_token": HIDDEN, "key": HIDDEN, "private_key_file": HIDDEN, "key_path": HIDDEN,
        "password": HIDDEN, "keepalive": 3, "nested": {"signing_keys": HIDDEN}, "token": "",
    }  # fmt: skip


async def test_no_series_says_when_a_counter_was_made(service: Service) -> None:
    assert "_created" not in await service.scrape()

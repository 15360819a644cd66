"""What the page reads: the answers of the calls, within bounds, and events until either side ends them."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import pytest
from gossipcontrol.server.config import Metrics
from gossipcontrol.v1.attach_pb2 import NeighborEvent

from tests.kit.fake_fleet import fake_fleet
from tests.kit.service_lab import BareAgent, Service, config, connected, deciding, rejoin, serving
from tests.kit.until import DEADLINE, until
from tests.server.status_page.test_pages import get


async def ask(service: Service, path: str, **query: str) -> tuple[int, str]:
    page = await get(service, f"/api/{path}?{urlencode(query)}")
    return page.status, page.body


async def test_lists_are_those_of_the_calls(watched: Service) -> None:
    async with connected(watched.address) as stub, fake_fleet(stub, "notes", "anna", "bert") as fleet:
        await fleet.rename("anna", "kitchen")
        await stub.Rejoin(rejoin("away", "notes"))
        status, body = await ask(watched, "stores")
        assert (status, [one["store_id"] for one in json.loads(body)["stores"]]) == (200, ["notes"])

        async def both() -> bool:
            peers = json.loads((await ask(watched, "peers", store="notes"))[1]).get("peers", [])
            return [one["peer_id"] for one in peers] == ["anna", "bert"]

        await until(both, "both are listed")
        second = json.loads((await ask(watched, "peers", store="notes", after="anna", size="1"))[1])
        assert [one["peer_id"] for one in second["peers"]] == ["bert"]
        parked = json.loads((await ask(watched, "rejoins", outcome="REJOIN_OUTCOME_PARKED"))[1])["rejoins"]
        assert [one["node_id"] for one in parked] == ["away"]
        told = json.loads((await ask(watched, "explain", rejoin=parked[0]["rejoin_id"]))[1])
        assert "no agent" in told["explanations"][0]["message"]
        told = json.loads((await ask(watched, "explain", node="anna", store="notes", cause="CAUSE_MANUAL"))[1])
        assert told["explanations"][0]["decision"]["node_id"] == "anna"
        graph = json.loads((await ask(watched, "graph", store="notes"))[1])
        assert {one["node_id"]: one["name"] for one in graph["nodes"]} == {"anna": "kitchen", "bert": ""}
        assert (graph["links"], graph["missing"], graph["partitioned"]) == ([["anna", "bert"]], [], False)
        overview = json.loads((await ask(watched, "overview"))[1])
        assert (overview["counts"]["attached"], overview["counts"]["parked"], overview["obstacle"]) == (2, 1, "")


async def test_wrong_questions_are_refused_with_a_sentence(watched: Service) -> None:
    for path, query, status, word in (
        ("peers", {}, 400, "store_id"),
        ("peers", {"store": "x" * 129}, 400, "128"),
        ("peers", {"store": "a", "size": "1000"}, 400, "from 1 to 100"),
        ("peers", {"store": "a", "size": "-1"}, 400, "from 1 to 100"),
        ("peers", {"store": "a", "state": "<b>"}, 400, "none of"),
        ("rejoins", {"outcome": "nothing"}, 400, "none of"),
        ("rejoins", {"after": "no such"}, 400, "page_token"),
        ("explain", {"rejoin": "none"}, 404, "is kept"),
        ("graph", {"store": "none"}, 404, "no node has reported"),
    ):
        answer = await ask(watched, path, **query)
        assert (answer[0], word in answer[1]) == (status, True), (path, query, answer)


@pytest.fixture
async def patient(tmp_path: Path) -> AsyncIterator[Service]:
    """A service that waits for the proof of a rejoin for as long as the test does."""
    settings = config(tmp_path, deciding=deciding(window=DEADLINE, verify_timeout=DEADLINE))
    async with serving(replace(settings, metrics=Metrics(address="127.0.0.1:0"))) as running:
        yield running


async def test_events_tell_rejoins_and_peers_as_they_change(patient: Service) -> None:
    def listen() -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = http.client.HTTPConnection("127.0.0.1", patient.app.metrics_port, timeout=DEADLINE)
        connection.request("GET", "/api/events?store=notes")
        return connection, connection.getresponse()

    connection, answer = await asyncio.to_thread(listen)
    assert answer.getheader("Content-Type") == "text/event-stream; charset=utf-8"

    async def until_event(name: str, word: str) -> None:
        async with asyncio.timeout(DEADLINE):
            line = data = ""
            while not (line == f"event: {name}" and word in data):
                given = (await asyncio.to_thread(answer.readline)).decode().strip()
                line, data = (given, "") if given.startswith("event: ") else (line, given)

    async with connected(patient.address) as stub:
        agent = BareAgent(stub)
        await agent.register("anna", "notes")
        await until_event("peers", "anna")
        await stub.Rejoin(rejoin("anna", "notes"))
        await until_event("rejoins", "anna")
        await agent.command()
        await agent.send(neighbor=NeighborEvent(store_id="notes", peer_id="bert", up=True), commands_received=1)
        await until_event("rejoins", "VERIFIED")
        connection.close()
        answer.close()
        agent.call.cancel()

    async def left() -> bool:
        found = json.loads((await get(patient, "/debug/connections")).body)
        return (found["presence_subscriptions"], found["http_streams"]) == (0, 0)

    await until(left, "nobody follows any more")

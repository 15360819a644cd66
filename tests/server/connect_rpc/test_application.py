"""Calls over HTTP with JSON, Connect streams and gRPC-Web, against the real service."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from gossipcontrol.server.app import DESCRIPTORS
from gossipcontrol.server.config import Limits, Metrics
from gossipcontrol.server.errors import Stopping
from gossipcontrol.server.rpc.subscriptions import SubscriptionHub
from gossipcontrol.v1 import gossip_control_pb2 as pb
from gossipcontrol.v1 import peer_knowledge_pb2

from tests.kit.service_lab import BareAgent, Service, config, connected, deciding, new_id, serving
from tests.kit.until import DEADLINE, until
from tests.kit.web_client import END, SERVICE, TRAILERS, call, envelope, envelopes, read_envelope

KNOWLEDGE = "/gossipcontrol.v1.PeerKnowledge/"


async def test_a_report_gets_its_decisions(service: Service, port: int) -> None:
    """What a phone does: one POST, without generated code."""
    async with connected(service.address) as stub:
        agent = BareAgent(stub)
        await agent.register("n", "a", host_id="h")
        report = {"requestId": new_id(), "nodeIds": ["n"], "kind": "NETWORK_CHANGE_KIND_FOREGROUND", "platform": 4}
        first = await call(port, "ReportNetworkChange", report)
        assert (first.status, first.headers["content-type"]) == (200, "application/json")
        [decision] = first.json["decisions"]
        assert (decision["nodeId"], decision["storeId"], decision["kind"]) == ("n", "a", "DECISION_KIND_STARTED")
        assert (await agent.command()).rejoin_id == decision["rejoinId"]
        again = await call(port, "ReportNetworkChange", report)
        assert again.json == {**first.json, "replayed": True}


async def test_every_call_but_attach_is_served(port: int) -> None:
    for service in DESCRIPTORS:
        for method in service.methods:
            streaming = method.client_streaming or method.server_streaming
            kind = "application/connect+json" if streaming else "application/json"
            path = f"/{service.full_name}/{method.name}"
            if method.server_streaming and not method.client_streaming:
                continue  # it has no end; see below
            answer = await call(port, path, b"" if streaming else b"{}", content_type=kind)
            if method.name == "Attach":
                [(flags, end)] = envelopes(answer.body)
                assert (flags, json.loads(end)["error"]["code"]) == (END, "unimplemented")
            else:
                assert answer.status in (200, 400, 404), (path, answer)
                assert answer.body, path


async def test_a_wrong_field_is_named_in_the_details(port: int) -> None:
    answer = await call(port, "ReportNetworkChange", {"nodeIds": ["n"]})
    assert (answer.status, answer.json["code"]) == (400, "invalid_argument")
    assert answer.json["message"].startswith("kind: ")
    [detail] = answer.json["details"]
    assert detail["type"] == "google.rpc.BadRequest"
    bad = BadRequest.FromString(base64.b64decode(detail["value"] + "==="))
    assert [violation.field for violation in bad.field_violations] == ["kind"]
    [shown] = detail["debug"]["fieldViolations"]
    assert shown == {"field": "kind", "description": bad.field_violations[0].description}


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"\xff{}", b'{"nodeIds": "n"}', b'{"nodeIds": ["\\ud800"]}', b'{"a":' * 9000, b"9" * 5000],
    ids=["empty", "cut", "a list", "no utf-8", "wrong type", "lone surrogate", "deep", "a number"],
)
async def test_what_is_no_json_of_the_request_is_refused(port: int, body: bytes) -> None:
    answer = await call(port, "ReportNetworkChange", body)
    assert (answer.status, answer.json["code"]) == (400, "invalid_argument")
    assert answer.json["message"]


async def test_fields_of_newer_clients_are_ignored(port: int) -> None:
    answer = await call(port, "ListStores", {"newer": {"field": 1}})
    assert (answer.status, answer.json) == (200, {})


async def test_protobuf_is_taken_too(port: int) -> None:
    body = pb.ListStoresRequest(page_size=3).SerializeToString()
    answer = await call(port, "ListStores", body, content_type="application/proto")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/proto")
    pb.ListStoresResponse.FromString(answer.body)
    garbage = await call(port, "ListStores", b"\xff\xff", content_type="application/proto")
    assert (garbage.status, garbage.json["code"]) == (400, "invalid_argument")


async def test_a_full_queue_says_when_to_come_again(tmp_path: Path) -> None:
    """RESOURCE_EXHAUSTED with RetryInfo is 429 with Retry-After."""
    settings = config(tmp_path, deciding=deciding(queue_limit=1))
    listen = replace(settings.listen, http="127.0.0.1:0")
    async with serving(replace(settings, listen=listen)) as service:
        port = service.app.http_port
        request = {"storeIds": ["a"], "parkUnknown": True}
        assert (await call(port, "Rejoin", {**request, "nodeId": "n"})).status == 200
        answer = await call(port, "Rejoin", {**request, "nodeId": "m"})
        assert (answer.status, answer.json["code"]) == (429, "resource_exhausted")
        [detail] = answer.json["details"]
        assert detail["type"] == "google.rpc.RetryInfo"
        retry = RetryInfo.FromString(base64.b64decode(detail["value"] + "==="))
        seconds = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
        assert float(detail["debug"]["retryDelay"].removesuffix("s")) == pytest.approx(seconds)
        assert 0 < seconds <= int(answer.headers["retry-after"]) < seconds + 1


async def test_calls_are_counted_with_those_over_grpc(tmp_path: Path) -> None:
    settings = config(tmp_path, metrics=Metrics(address="127.0.0.1:0"))
    listen = replace(settings.listen, http="127.0.0.1:0")
    async with serving(replace(settings, listen=listen)) as service:
        await call(service.app.http_port, "ListStores")
        await call(service.app.http_port, "Rejoin", {})
        page = await service.scrape()
    counted = [line for line in page.splitlines() if line.startswith("gossipcontrol_requests_total")]
    assert any('"ListStores"' in line and '"OK"' in line for line in counted), counted
    assert any('"Rejoin"' in line and '"INVALID_ARGUMENT"' in line for line in counted), counted


def hub(service: Service) -> SubscriptionHub:
    return service.app._hub  # pyright: ignore[reportPrivateUsage]


async def open_watch(port: int, kind: str, body: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Begin WatchPeers and read to the end of the headers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST {SERVICE}WatchPeers HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: {kind}\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    async with asyncio.timeout(DEADLINE):
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
    assert lines[0].startswith("HTTP/1.1 200"), lines
    return reader, writer


async def test_a_stream_shows_each_change_and_ends_with_the_service(service: Service, port: int) -> None:
    reader, writer = await open_watch(port, "application/connect+json", envelope(b'{"storeId": "a"}'))
    flags, snapshot = await read_envelope(reader)
    assert (flags, json.loads(snapshot)["view"]["storeId"]) == (0, "a")
    report = {"reports": [{"nodeId": "n", "storeId": "a", "peers": [{"peerId": "p", "heardAgeMs": "5"}]}]}
    assert (await call(port, "PeerLiveness", report)).status == 200
    seen: set[str] = set()
    while "p" not in seen:
        _, change = await read_envelope(reader)
        seen |= {peer["peerId"] for peer in json.loads(change)["view"].get("peers", [])}
    hub(service).close(Stopping("the service is stopping"))
    flags, end = await read_envelope(reader)
    assert (flags, json.loads(end)["error"]["code"]) == (END, "unavailable")
    writer.close()


async def test_a_stream_ends_with_its_connection(service: Service, port: int) -> None:
    reader, writer = await open_watch(port, "application/connect+json", envelope(b'{"storeId": "a"}'))
    await read_envelope(reader)
    assert hub(service).count == 1
    writer.close()
    await until(lambda: hub(service).count == 0, "the subscription has ended")


async def test_watches_of_one_connection_are_bounded_by_the_limit_of_the_service(tmp_path: Path) -> None:
    settings = config(tmp_path, limits=Limits(watchers=1, drain=0.2))
    listen = replace(settings.listen, http="127.0.0.1:0")
    async with serving(replace(settings, listen=listen)) as service:
        port, body = service.app.http_port, envelope(b'{"storeId": "a"}')
        reader, writer = await open_watch(port, "application/connect+json", body)
        await read_envelope(reader)
        answer = await call(port, "WatchPeers", body, content_type="application/connect+json")
        [(flags, end)] = envelopes(answer.body)
        assert (flags, json.loads(end)["error"]["code"]) == (END, "resource_exhausted")
        assert answer.headers["retry-after"]
        writer.close()


async def test_intentions_are_recorded_from_a_stream(port: int) -> None:
    batches = b"".join(
        envelope(json.dumps({"batch": {"storeId": "a", "intentions": [{"authorId": "p", "hash": hash}]}}).encode())
        for hash in ("AA==", "AQ==")
    )
    answer = await call(port, f"{KNOWLEDGE}RecordIntentions", batches, content_type="application/connect+json")
    (_, message), (flags, end) = envelopes(answer.body)
    assert (json.loads(message)["recorded"], flags, json.loads(end)) == ("2", END, {})


async def test_grpc_web_is_served(port: int) -> None:
    body = envelope(peer_knowledge_pb2.GetLagRequest(store_id="a").SerializeToString())
    answer = await call(port, f"{KNOWLEDGE}GetLag", body, content_type="application/grpc-web+proto")
    [(last, trailers)] = envelopes(answer.body)
    assert (answer.status, last) == (200, TRAILERS)
    assert f"grpc-status: {grpc.StatusCode.NOT_FOUND.value[0]}\r\n".encode() in trailers
    body = envelope(pb.ListStoresRequest().SerializeToString())
    answer = await call(port, "ListStores", body, content_type="application/grpc-web+proto")
    (flags, _), (last, trailers) = envelopes(answer.body)
    assert (flags, last) == (0, TRAILERS)
    assert b"grpc-status: 0" in trailers


async def test_a_large_answer_is_whole(port: int) -> None:
    """It is written in slices."""
    peers = [{"peerId": f"{number:064x}", "heardAgeMs": number} for number in range(900)]
    reports = {"reports": [{"nodeId": "n", "storeId": "a", "peers": peers}]}
    assert len((await call(port, "PeerLiveness", reports)).json["views"][0]["peers"]) == 901
    page = (await call(port, "ListPeers", {"storeId": "a", "pageSize": 500})).json
    assert len(page["peers"]) == 500
    assert page["nextPageToken"]


async def test_a_deadline_of_the_client_holds(service: Service, port: int) -> None:
    answer = await call(port, "WatchPeers", envelope(b'{"storeId": "a"}'),
                        content_type="application/connect+json", connect_timeout_ms="50")  # fmt: skip
    *_, (flags, end) = envelopes(answer.body)
    assert (flags, json.loads(end)["error"]["code"]) == (END, "deadline_exceeded")
    await until(lambda: hub(service).count == 0, "the subscription has ended")

"""The clients of Go, Rust, TypeScript and Kotlin: generated from the protos, compiled, and run."""

from __future__ import annotations

import asyncio
import uuid
from itertools import pairwise
from pathlib import Path

import grpc
import pytest
from gossipcontrol.v1 import gossip_control_pb2 as pb

from tests.clients.built import Built
from tests.clients.unsteady_service import RETRY_AFTER, SILENT, unsteady
from tests.kit.service_lab import BareAgent, Service, connected
from tests.kit.standbys import replicas
from tests.kit.until import DEADLINE

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]


async def test_a_report_reaches_the_service_and_its_decisions_come_back(client: Built, service: Service) -> None:
    async with connected(service.address) as stub:
        agent = BareAgent(stub)
        await agent.register("phone", "a", "b")
        done = await client.report(service.tcp, "phone", "foreground")
        assert (done.code, done.errors) == (0, "")
        assert done.output.splitlines() == ["phone a DECISION_KIND_STARTED", "phone b DECISION_KIND_STARTED"]
        assert {(await agent.command()).store_id for _ in "ab"} == {"a", "b"}
    [line, *_] = service.lines("decided")
    assert line["cause"] == "app_foreground"


async def test_a_node_that_is_not_attached_yet_is_waited_for(client: Built, service: Service) -> None:
    done = await client.report(service.tcp, "stranger", "resumed")
    assert (done.code, done.output.split()[-1]) == (0, "DECISION_KIND_PARKED")


async def test_a_report_is_tried_again_as_the_same_with_its_true_age(client: Built) -> None:
    """Backoff of its own, then the delay that the service asks for (RetryInfo)."""
    async with unsteady(grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED) as service:
        done = await client.report(service.address, "phone", "changed")
        assert (done.code, done.output) == (0, "phone a DECISION_KIND_STARTED\n"), done.errors
    assert len(service.requests) == 3
    [request_id] = {request.request_id for request in service.requests}
    assert str(uuid.UUID(request_id)) == request_id
    assert {request.kind for request in service.requests} == {pb.NETWORK_CHANGE_KIND_CHANGED}
    waits = [later - earlier for earlier, later in pairwise(service.times)]
    assert waits[0] < 0.2 + 1.0
    assert waits[1] >= RETRY_AFTER
    ages = [request.age_ms for request in service.requests]
    assert ages[2] >= ages[1] + RETRY_AFTER * 1000 - 10
    assert all(0 < left <= 5.1 for left in service.left), "each attempt has a deadline"


async def test_what_another_attempt_cannot_mend_is_not_tried_again(client: Built) -> None:
    async with unsteady(*[grpc.StatusCode.INVALID_ARGUMENT] * 9) as service:
        done = await client.report(service.address, "phone")
    assert (done.code, done.output, len(service.requests)) == (1, "", 1)
    assert "as the script says" in done.errors


async def test_the_deadline_ends_all_attempts(client: Built) -> None:
    async with unsteady(*[SILENT] * 9) as service:
        done = await client.report(service.address, "phone", seconds=1)
    assert (done.code, done.output, len(service.requests)) == (1, "", 1)
    assert done.errors


async def test_at_the_deadline_the_error_is_one_that_the_deadline_did_not_cause(client: Built) -> None:
    async with unsteady(grpc.StatusCode.UNAVAILABLE, *[SILENT] * 9) as service:
        done = await client.report(service.address, "phone", seconds=3)
    assert (done.code, done.output, len(service.requests)) == (1, "", 2)
    assert "as the script says" in done.errors


async def test_a_service_that_is_not_there_is_an_error_at_the_deadline(client: Built, service: Service) -> None:
    gone = service.tcp
    await service.app.stop()
    done = await client.report(gone, "phone", seconds=1)
    assert (done.code, done.output) == (1, "")
    assert done.errors


async def test_the_replica_that_serves_is_found(finding: Built, tmp_path: Path) -> None:
    async with replicas(tmp_path) as three:
        await three.serve(2)
        done = await finding.report(three.listed, "phone")
        assert (done.code, done.output.split()[-1]) == (0, "DECISION_KIND_PARKED"), done.errors
        assert three.refused == [1, 0, 0], "the first named the owner"
        await three.end(0)
        three.owner = ""
        done = await finding.report(three.listed, "phone")
        assert (done.code, three.refused) == (0, [1, 1, 0]), done.errors
        three.owner = "192.0.2.1:1"
        assert (await finding.report(three.listed, "phone")).code == 0, "it goes nowhere that it was not sent"


async def test_a_watcher_finds_the_replica_that_serves(typescript: Built, tmp_path: Path) -> None:
    async with replicas(tmp_path) as three:
        await three.serve(2)
        process = await typescript.start("node", "dist/peers.js", three.listed, "a")
        assert process.stdout is not None
        async with asyncio.timeout(2 * DEADLINE):
            assert await process.stdout.readline() == b"seen\n"
        assert three.refused == [1, 0, 0], "the first named the owner"
        process.terminate()
        assert await process.wait() == 0


async def test_that_none_serves_is_an_error_at_the_deadline(finding: Built, tmp_path: Path) -> None:
    async with replicas(tmp_path) as three:
        await three.serve(None)
        done = await finding.report(three.listed, "phone", seconds=3)
        assert (done.code, "this replica stands by" in done.errors) == (1, True)

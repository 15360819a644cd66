"""``gossipcontrol doctor`` and what ``status`` says first: what is wrong, with a cure."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from gossipcontrol.cli import host_checkup
from gossipcontrol.cli.main import main
from gossipcontrol.cli.trouble import Trouble, find_troubles
from gossipcontrol.client.decision import RejoinRecord
from gossipcontrol.client.enumeration import Outcome, PeerState
from gossipcontrol.client.store import Store, StoreNode
from gossipcontrol.server.config import Metrics, State
from gossipcontrol.server.core.core import Core
from gossipcontrol.v1 import liveness_pb2
from gossipcontrol.v1.attach_pb2 import RejoinResult

from tests.cli.test_main import run
from tests.kit.service_lab import BareAgent, Service, config, connected, deciding, serving
from tests.kit.until import until


@pytest.fixture(name="service")
async def service_with_metrics(tmp_path: Path) -> Any:
    """A service with a state file and a page of metrics."""
    state = State(path=str(tmp_path / "state.db"))
    settings = config(tmp_path, deciding=deciding(), state=state, metrics=Metrics(address="127.0.0.1:0"))
    async with serving(settings) as service:
        yield service


SEEN_OF_THE_HOST = set[str]() if sys.platform == "win32" else {"descriptors", "disk"}
"""What the doctor sees of the service's host."""


async def examine(service: Service, *words: str) -> tuple[int, dict[str, Any]]:
    metrics = f"127.0.0.1:{service.app.metrics_port}"
    done = await run(service, "doctor", "--metrics", metrics, "--wait", "0", *words, "--json")
    return done.exit_code, json.loads(done.stdout)


def subjects(rows: list[dict[str, Any]]) -> set[str]:
    return {row["subject"] for row in rows}


async def report(agent: BareAgent, store_id: str = "notes") -> None:
    await agent.send(liveness=liveness_pb2.LivenessReport(store_id=store_id))
    await agent.receive("ack")


async def test_a_healthy_fleet_has_nothing_wrong(service: Service) -> None:
    async with connected(service.address) as stub:
        agent = BareAgent(stub)
        await agent.register("n", "notes", host_id="h")
        await report(agent)
        code, found = await examine(service)
        assert code == 0, found
        assert subjects(found["good"]) == {"service", "agents", "clock", "versions"} | SEEN_OF_THE_HOST
        assert [one["subject"] for one in found["troubles"]] == ["watcher"]
        assert "run gossipcontrol watch on each host" in found["troubles"][0]["cure"]
        assert (await run(service, "report", "network-change", "--host-id", "h")).exit_code == 0
        assert "watcher" in subjects((await examine(service))[1]["good"])


async def test_an_agent_that_never_reports_is_wrong_and_has_a_cure(service: Service) -> None:
    async with connected(service.address) as stub:
        agent = BareAgent(stub)
        await agent.register("n", "notes")
        code, found = await examine(service)
        assert code == 1
        [wrong] = [one for one in found["troubles"] if one["is_wrong"]]
        assert wrong["sentence"] == "1 agent is attached but never reported: n"
        assert "Agent.heard" in wrong["cure"]
        waiting = asyncio.create_task(run(service, "doctor", "--wait", "30"))
        await report(agent)
        assert (await waiting).exit_code == 0, "an agent that has just attached has time to report"


async def test_status_says_first_what_fails(service: Service) -> None:
    async with connected(service.address) as stub:
        agent = BareAgent(stub)
        await agent.register("n", "notes")
        await report(agent)
        await run(service, "rejoin", "n", "notes")
        command = await agent.command()
        answer = RejoinResult(rejoin_id=command.rejoin_id, attempt=1, ok=False, permanent=True, error="no route")
        await agent.send(rejoin_result=answer, commands_received=1)

        async def failed() -> bool:
            return "no route" in (await run(service, "rejoins", "--outcome", "failed")).stdout

        await until(failed, "the rejoin has failed")
        lines = (await run(service, "status")).stdout.splitlines()
        assert lines[1].startswith("wrong            1 rejoin failing: ")
        assert (await examine(service))[0] == 1


@pytest.mark.parametrize(("second", "is_wrong"), [(None, False), (PeerState.LEFT, False), (PeerState.OFFLINE, True)])
def test_nothing_is_wrong_with_the_only_node_of_a_store(second: PeerState | None, is_wrong: bool) -> None:
    """The first day: one node, a network change, and nobody who could prove the rejoin."""
    peers = {PeerState.ONLINE: 1} | ({second: 1} if second else {})
    store = Store("notes", (), 1, 1, len(peers), peers, 3.0, 0.5, 0, False, 0, 0)
    rejoin = RejoinRecord("r-1", "n", "notes", Outcome.UNVERIFIED, 9.0, 8.0, 3.0, None, 2, "", (), 1, None, ())
    [found] = find_troubles([store], [rejoin], [])
    assert found.is_wrong == is_wrong
    assert ("another node" in found.cure) != is_wrong
    [failed] = find_troubles([store], [replace(rejoin, outcome=Outcome.FAILED)], [])
    assert failed.is_wrong


async def test_two_agents_with_one_id_are_named(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def shared(core: Core, now: float) -> dict[str, list[str]]:
        return {"node": ["n"], "host": ["h"]}

    monkeypatch.setattr(Core, "shared_ids", shared)
    code, found = await examine(service)
    assert code == 1
    assert [one["sentence"] for one in found["troubles"] if one["is_wrong"]] == [
        "node id n is used by two agents", "host id h is used by two machines",
    ]  # fmt: skip
    assert found["troubles"][0]["cure"] == "give each node a key of its own"


@pytest.mark.not_on_windows("gRPC has no Unix sockets there")
async def test_a_missing_service_is_found_with_a_cure(tmp_path: Path) -> None:
    words = ["doctor", "--address", f"unix:{tmp_path}/none.sock"]
    done = await asyncio.to_thread(CliRunner().invoke, main, words)
    assert done.exit_code == 1
    assert f"WRONG  service      no service at unix:{tmp_path}/none.sock: there is no such socket" in done.stdout
    assert "-> start gossipcontrol-server" in done.stdout


def store(**fields: Any) -> Store:
    plain: dict[str, Any] = {
        "store_id": "notes", "nodes": (), "node_count": 0, "attached_count": 0, "peer_count": 0, "peer_counts": {},
        "rejoin_age": None, "stalest_age": None, "pairs_unsynced": 0, "partitioned": False, "rejoins_running": 0,
        "rejoins_waiting": 0,
    }  # fmt: skip
    return Store(**(plain | fields))


def test_what_is_wrong_comes_before_what_may_pass() -> None:
    silent = StoreNode("n", "h", attached=True, neighbors=0, report_age=500.0)
    suspected = store(peer_counts={PeerState.SUSPECT: 1}, nodes=(silent,))
    found = find_troubles([suspected, store(store_id="todos", partitioned=True)], [], [])
    assert [(one.sentence, one.is_wrong) for one in found] == [
        ("1 store is partitioned: todos", True),
        ("1 agent is attached but silent for 120 s or more: n", True),
        ("1 store has suspects: notes", False),
    ]


@pytest.mark.not_on_windows("it tells neither the descriptors of a process nor the room of a disk")
def test_few_descriptors_a_full_disk_and_a_wrong_clock_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sentence(found: Iterator[Trouble]) -> str:
        [one] = found
        assert one.is_wrong
        return one.sentence

    monkeypatch.setattr(host_checkup, "FULL", 0.0)
    assert "new clients will be refused" in sentence(host_checkup.check_descriptors(os.getpid(), []))
    monkeypatch.setattr(host_checkup, "FREE_BYTES", 1 << 62)
    with (tmp_path / "state.db").open("w"):
        assert f"free in {tmp_path}" in sentence(host_checkup.check_disk(os.getpid(), []))
    assert sentence(host_checkup.check_clock([], now=0.0)).startswith("the clock of this host says 1970-01-01")

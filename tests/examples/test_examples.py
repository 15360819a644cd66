"""Every example as a program, against the real service."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from gossipcontrol.client import Cause, Client, LivenessReport, Outcome, PeerObservation

from tests.kit.network import Network, what_is_missing
from tests.kit.process import Process
from tests.kit.process import service as service_process
from tests.kit.service_lab import Service
from tests.kit.until import until

EXAMPLES = Path(__file__).parents[2] / "examples"
LIMIT = 90.0


@asynccontextmanager
async def example(name: str, address: str, **settings: Any) -> AsyncGenerator[Process]:
    """An example while it runs; it must end well on Ctrl-C."""
    environment = {"GOSSIPCONTROL_ADDRESS": address}
    process = Process(name, sys.executable, str(EXAMPLES / f"{name}.py"), environment=environment, **settings)
    async with process:
        yield process
        assert await process.stop(signal.SIGINT) == 0
        assert not [line for line in process.all("line") if "Traceback" in line["text"]]


async def test_the_agent_attaches_and_carries_out_a_rejoin(service: Service) -> None:
    async with example("agent", service.address) as agent, Client(service.address) as client:
        await agent.wait_for_text("attached session", LIMIT)
        await client.rejoin("my-node", ["notes"])
        await agent.wait_for_text("rejoin notes through [", LIMIT)

        async def reported() -> bool:
            return {peer.peer_id async for peer in client.list_peers("notes")} == {"my-node", "peer-1"}

        await until(reported, "what the node heard is reported")


@pytest.mark.skipif(bool(what_is_missing()), reason=what_is_missing() or "nothing is missing")
async def test_the_watcher_reports_a_change_of_its_host(tmp_path: Path) -> None:
    async with Network(hosts=1) as network, service_process(None, tmp_path) as serving:
        await serving.wait_for("serving", LIMIT)
        [host] = network.hosts
        address = f"unix:{tmp_path}/gossipcontrol.sock"
        async with Client(address) as client, example("watcher", address, host=host) as watcher:
            await client.rejoin("n", ["a"], park=True)
            await watcher.wait_for_text("eth0 via 10.77.0.1; 10.77.0.2", LIMIT)
            await host.unplug()
            await host.plug()
            await watcher.wait_for_text("network change: eth0 via 10.77.0.1", LIMIT)
            await watcher.wait_for_text("1 decisions", LIMIT)
            found = [rejoin async for rejoin in client.list_rejoins(cause=Cause.NETWORK_CHANGE)]
            assert [rejoin.outcome for rejoin in found] == [Outcome.PARKED]


async def test_the_status_shows_every_store_with_its_peers(service: Service) -> None:
    async with Client(service.address) as client:
        peers = (PeerObservation("p", heard_age=0.0), PeerObservation("q"))
        await client.peer_liveness([LivenessReport(node_id="n", store_id="notes", peers=peers)])
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(EXAMPLES / "status.py"), stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"GOSSIPCONTROL_ADDRESS": service.address},
    )  # fmt: skip
    printed, _ = await process.communicate()
    assert process.returncode == 0
    lines = [line.split() for line in printed.decode().splitlines()]
    assert lines[0] == ["notes:", "2", "of", "3", "peers", "online"]
    assert [line[:3] for line in lines[1:]] == [
        ["n", "online", "heard"],
        ["p", "online", "heard"],
        ["q", "unknown", "heard"],
    ]


async def test_the_status_says_in_one_line_that_there_is_no_service(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(EXAMPLES / "status.py"), stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"GOSSIPCONTROL_ADDRESS": f"unix:{tmp_path}/none.sock"},
    )  # fmt: skip
    _, errors = await process.communicate()
    assert process.returncode == 1
    assert errors.decode().startswith("UNAVAILABLE: ")

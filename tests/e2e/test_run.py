"""``make run``, as a new user types it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.kit.network import Network
from tests.kit.process import CLIENT, Process

SOON = 60.0
"""Seconds within which each step happens."""


@pytest.mark.waits(10)
async def test_the_service_the_watcher_and_a_node_run_until_a_signal(tmp_path: Path) -> None:
    environment = {
        "GOSSIPCONTROL_LISTEN_SOCKET": f"{tmp_path}/gossipcontrol.sock",
        "GOSSIPCONTROL_STATE_PATH": f"{tmp_path}/state.db",
        "GOSSIPCONTROL_LOG_FORMAT": "json",
        "RUNTIME_DIRECTORY": str(tmp_path),
    }
    # In a network namespace of its own, so that its default ports are free.
    async with Network(1) as network:
        host = network.hosts[0]
        async with Process("run", sys.executable, "dev/run.py", host=host, environment=environment) as run:
            await run.wait_for_text("attached: session", SOON)
            await run.wait_for_text("watching host", SOON)
            report = ("report", "network-change", "--address", f"unix:{tmp_path}/gossipcontrol.sock")
            async with Process("report", *CLIENT, *report, environment=environment):
                await run.wait_for_text("rejoin because of network_change", SOON)
            assert await run.stop() == 0
        lines = [str(said["text"]) for said in run.all("line")]
        assert [line for line in lines if "ended with exit code" in line] == [
            "    node | ended with exit code 0",
            " watcher | ended with exit code 0",
            " service | ended with exit code 0",
        ]
        assert any("gRPC" in line and "gossipcontrol.sock" in line for line in lines)

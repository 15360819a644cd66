"""``gossipcontrol agent serf`` beside a Serf that comes and goes, with the real service."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

pytest.importorskip("msgpack", reason="needs the extra: pip install 'gossipcontrol[serf]'")

from gossipcontrol.client import Client, Outcome, PeerState

from tests.kit.fake_serf import FakeSerf
from tests.kit.process import CLIENT, Process
from tests.kit.service_lab import Service
from tests.kit.until import DEADLINE, until


async def test_a_node_is_attached_while_its_serf_is_there_and_leaves_when_serf_does(
    service: Service, tmp_path: Path
) -> None:
    async with FakeSerf.running("n1", n2="alive", n3="failed") as serf, Client(service.address) as client:
        serf.auth_key = "secret"
        (tmp_path / "key").write_text("secret\n", encoding="ascii")
        rpc = f"{serf.rpc.host}:{serf.rpc.port}"
        flags = ("--rpc", rpc, "--auth-key-file", str(tmp_path / "key"), "--store", "fleet", "--no-watch")
        command = (*CLIENT, "agent", "serf", "--json", "--address", service.address, "--host-id", "h", *flags)
        async with Process("agent", *command) as agent:
            await agent.wait_for("attached", DEADLINE)
            await client.rejoin("n1", ["fleet"])
            await agent.wait_for("up", DEADLINE, peer="n3")
            assert serf.joins == [[serf.address_of("n3")]]

            async def is_verified() -> bool:
                return [one.outcome async for one in client.list_rejoins()] == [Outcome.VERIFIED]

            await until(is_verified, "the member that came up proves the rejoin")
            before = time.time()
            await serf.cut()
            await agent.wait_for("gone", DEADLINE, after=before)
            await agent.wait_for("attached", DEADLINE, after=before)
            serf.statuses["n1"] = "left"
            await serf.event("member-leave")
            await agent.wait_for("left", DEADLINE)

            async def has_left() -> bool:
                peers = [one async for one in client.list_peers("fleet")]
                return [one.state for one in peers if one.peer_id == "n1"] == [PeerState.LEFT]

            await until(has_left, "the service knows that it left")
            assert "secret" not in "".join(str(line) for line in agent.lines)

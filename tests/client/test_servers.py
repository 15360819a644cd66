"""Clients that find the one of several replicas that serves, over real sockets."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from gossipcontrol.client import Client, SyncClient, UnreachableError

from tests.kit.standbys import Replicas, replicas
from tests.kit.until import DEADLINE


@pytest.fixture
async def three(tmp_path: Path) -> AsyncIterator[Replicas]:
    async with replicas(tmp_path) as running:
        yield running


async def test_a_refusal_leads_to_the_owner_at_once(three: Replicas) -> None:
    await three.serve(2)
    async with Client(three.listed, timeout=DEADLINE) as client:
        await client.rejoin("n", ["a"], park=True)
        assert client.server == three.addresses[2]
        assert three.refused == [1, 0, 0]
        await client.rejoin("n", ["b"], park=True)
        assert three.refused == [1, 0, 0], "it stays there"


async def test_a_takeover_is_latency_and_no_second_decision(three: Replicas) -> None:
    request_id = str(uuid.uuid4())
    async with Client(three.listed, timeout=DEADLINE) as client:
        first = await client.rejoin("n", ["a"], request_id=request_id, park=True)
        await three.leave()
        asking = asyncio.create_task(client.rejoin("n", ["a"], request_id=request_id, park=True))
        await three.serve(1)
        again = await asking
        assert client.server == three.addresses[1]
    assert again.replayed
    assert [one.rejoin_id for one in again.decisions] == [one.rejoin_id for one in first.decisions]


async def test_a_blocking_client_finds_the_owner_too(three: Replicas) -> None:
    with SyncClient(three.listed, timeout=DEADLINE) as client:
        assert await asyncio.to_thread(client.rejoin, "n", ["a"], park=True)
        await three.serve(2)
        assert await asyncio.to_thread(client.serving)
        assert await asyncio.to_thread(client.rejoin, "n", ["a"], park=True)


async def test_nobody_serves_is_said_in_time(three: Replicas) -> None:
    await three.serve(None)
    async with Client(three.listed, timeout=0.5) as client:
        with pytest.raises(UnreachableError, match="this replica stands by"):
            await client.rejoin("n", ["a"])


async def test_each_address_of_a_name_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pick_first of gRPC is content with the first that accepts a connection, and a standby does."""
    hosts = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
    async with replicas(tmp_path, hosts=hosts) as three:
        await three.serve(2)
        port = three.addresses[0].rpartition(":")[2]
        monkeypatch.setattr(
            "gossipcontrol.client.lookup.socket.getaddrinfo",
            lambda *_, **__: [(0, 0, 0, "", (host, 0)) for host in hosts],
        )
        async with Client(f"localhost:{port}", timeout=DEADLINE) as client:
            await client.rejoin("n", ["a"], park=True)
            assert client.server == three.addresses[2]
        with SyncClient(f"localhost:{port}", timeout=DEADLINE) as blocking:
            await asyncio.to_thread(blocking.rejoin, "n", ["a"], park=True)

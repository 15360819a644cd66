"""Clients that find the one of several replicas that serves, over real sockets."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from gossipcontrol.client import (
    ChangeKind,
    Client,
    ClientError,
    LivenessReport,
    Presence,
    SyncClient,
    UnreachableError,
)
from gossipcontrol.client.clock import boottime
from gossipcontrol.watch.change import Change
from gossipcontrol.watch.reporter import Delivery, Reporter

from tests.agent.fake import FakeNode, running
from tests.kit.standbys import Replicas, replicas
from tests.kit.until import DEADLINE, until


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
        with pytest.raises(UnreachableError):
            await client.rejoin("n", ["a"])


def _has_three_addresses(host: str, port: None, *, type: int) -> list[tuple[int, int, int, str, tuple[str, int]]]:
    """What the system says of a name with three addresses."""
    return [(0, type, 0, "", (f"127.0.0.{number}", 0)) for number in (1, 2, 3)]


async def test_each_address_of_a_name_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pick_first of gRPC is content with the first that accepts a connection, and a standby does."""
    hosts = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
    async with replicas(tmp_path, hosts=hosts) as three:
        await three.serve(2)
        port = three.addresses[0].rpartition(":")[2]
        monkeypatch.setattr("gossipcontrol.client.lookup.socket.getaddrinfo", _has_three_addresses)
        async with Client(f"localhost:{port}", timeout=DEADLINE) as client:
            await client.rejoin("n", ["a"], park=True)
            assert client.server == three.addresses[2]
        with SyncClient(f"localhost:{port}", timeout=DEADLINE) as blocking:
            await asyncio.to_thread(blocking.rejoin, "n", ["a"], park=True)


async def test_an_agent_follows_the_owner(three: Replicas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gossipcontrol.agent.agent.STEADY", 0.0)
    monkeypatch.setattr("gossipcontrol.agent.agent.SPREAD", 0.05)
    async with running(FakeNode("n", "a"), three.listed) as one:
        await until(one.agent.attached.is_set, "it is attached to the first")
        for times, owner in enumerate((1, 2, 0), 2):
            await three.serve(owner)
            await until(lambda times=times: one.agent.stats.attached == times, "it is attached to the next")
        assert one.agent.attached.is_set()
        assert any("; reconnecting to " in event.detail for event in one.told("unattached"))


async def test_a_watcher_of_peers_goes_on_at_the_owner_after_a_takeover(three: Replicas) -> None:
    async with Client(three.listed, timeout=DEADLINE) as client:
        presence, lost = Presence(), list[ClientError]()
        updates = client.watch_peers("a", on_loss=lost.append)
        await client.peer_liveness([LivenessReport(node_id="n", store_id="a")])
        while not presence.peers():
            presence.apply((await anext(updates)).view)
        await three.serve(2)
        update = await anext(updates)
        assert (update.lagged, client.server, bool(lost)) == (True, three.addresses[2], True)
        await updates.aclose()


async def test_a_report_of_a_host_follows_the_owner_under_its_request_id(three: Replicas) -> None:
    delivered: list[Delivery] = []
    async with Client(three.listed, timeout=2.0) as client:
        reporter = Reporter(client, host_id="h", boot_id="b", on_delivery=delivered.append)
        running_it = asyncio.create_task(reporter.run())
        for generation, owner in enumerate((1, 2), 1):
            await three.leave()
            reporter.report(Change(ChangeKind.CHANGED, generation, "test", boottime()))
            await three.serve(owner)
            await until(lambda generation=generation: len(delivered) == generation, "it is delivered")
        assert client.server == three.addresses[2]
        running_it.cancel()
        await asyncio.gather(running_it, return_exceptions=True)

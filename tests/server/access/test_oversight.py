"""A stream ends when what showed its caller is over, or is left out, whether anything is sent or not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from gossipcontrol.client.channel import open_channel
from gossipcontrol.server.access import gate, oversight
from gossipcontrol.server.access.table import digest_of
from gossipcontrol.v1 import gossip_control_pb2, gossip_control_pb2_grpc, liveness_pb2, peer_knowledge_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.kit.hub import TABLE, Hub, hub
from tests.kit.service_lab import BareAgent, refusal
from tests.kit.until import DEADLINE

TOKEN = "a-token-of-a-phone"
LIFE = 0.6
"""Seconds of a token or certificate whose end a test waits for."""
SOON = 30.0
"""Seconds after it within which streams end, on a busy machine too."""


def table(until: str = "") -> str:
    """A table with a phone, which shows a token."""
    return f"""{TABLE}
[[identity]]
name = "phone"
tokens = [{{ sha256 = "{digest_of(TOKEN)}"{until} }}]
roles = ["agent", "watcher"]
nodes = ["phone"]
hosts = ["phone"]
stores = ["notes"]
"""


def until_soon() -> str:
    """The key of a token that is over soon."""
    return f", until = {(datetime.now(UTC) + timedelta(seconds=LIFE)).isoformat()}"


@pytest.fixture
async def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hub]:
    monkeypatch.setattr(oversight, "LOOK_INTERVAL", 0.05)
    async with hub(tmp_path, table=table()) as one:
        yield one


class Streams:
    """One stream of each kind, all open."""

    def __init__(self, channel: grpc.aio.Channel, node_id: str) -> None:
        control: Any = gossip_control_pb2_grpc.GossipControlStub(channel)
        knowledge: Any = peer_knowledge_pb2_grpc.PeerKnowledgeStub(channel)
        health: Any = health_pb2_grpc.HealthStub(channel)
        self._node_id = node_id
        self.agent = BareAgent(control)
        self._presence = control.WatchPeers(gossip_control_pb2.WatchPeersRequest(store_id="notes"))
        self._intentions = knowledge.RecordIntentions()
        self._health = health.Watch(health_pb2.HealthCheckRequest())

    async def begin(self) -> None:
        """Return once all are served."""
        await self.agent.register(self._node_id, "notes", host_id=self._node_id)
        await self._presence.read()
        await self._health.read()

    async def codes(self) -> set[grpc.StatusCode]:
        """How they end."""
        codes = {(await self.agent.ended())[0]}
        for call in (self._presence, self._health):
            with suppress(grpc.aio.AioRpcError):
                while await asyncio.wait_for(call.read(), DEADLINE) is not grpc.aio.EOF:
                    pass
            codes.add(await call.code())
        with suppress(grpc.aio.AioRpcError):
            await asyncio.wait_for(self._intentions, DEADLINE)
        codes.add(await self._intentions.code())
        return codes


ENDED = {grpc.StatusCode.UNAUTHENTICATED}


async def phone(running: Hub, stack: AsyncExitStack) -> Streams:
    """The streams of the phone."""
    shown = running.bearer_credentials(TOKEN)
    return Streams(await stack.enter_async_context(open_channel(running.token_address, credentials=shown)), "phone")


async def test_streams_end_when_their_token_is_over(running: Hub) -> None:
    async with AsyncExitStack() as stack:
        streams = await phone(running, stack)
        running.write_table(table(until_soon()))
        began_at = asyncio.get_running_loop().time()
        await streams.begin()
        assert await streams.codes() == ENDED
        assert asyncio.get_running_loop().time() - began_at < LIFE + SOON
    assert running.service.app.connections()["agents_attached"] == 0


@pytest.mark.parametrize("change", [lambda: TABLE, lambda: table().replace(digest_of(TOKEN), digest_of("another"))])
async def test_streams_end_when_the_table_has_their_token_no_more(running: Hub, change: Callable[[], str]) -> None:
    async with AsyncExitStack() as stack:
        streams = await phone(running, stack)
        await streams.begin()
        running.write_table(table().replace("laptop", "desktop"))
        running.write_table(change())
        assert await streams.codes() == ENDED
    # Of a stream that has not begun by then, nobody knows whose it was.
    assert {line.get("identity", "") for line in running.service.lines("call denied")} - {""} == {"phone"}
    assert all(TOKEN not in str(line) for line in running.service.lines())


def pass_days(monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    """Move the clock by which certificates are over; that of TLS stays."""
    monkeypatch.setattr(gate, "now", lambda: datetime.now(UTC) + timedelta(days=days))


async def test_streams_of_a_certificate_end_when_it_is_over_or_revoked(
    running: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, days in (("laptop-1", 1), ("laptop-2", 9), ("operator", 9)):
        running.authority.issue(name, days)
    async with AsyncExitStack() as stack:
        both: list[Streams] = []
        for name in ("laptop-1", "laptop-2"):
            opened = open_channel(running.address, credentials=running.credentials(name))
            both.append(Streams(await stack.enter_async_context(opened), name))
            await both[-1].begin()
        pass_days(monkeypatch, 2)
        assert await both[0].codes() == ENDED
        opened = open_channel(running.address, credentials=running.credentials("operator"))
        control: Any = gossip_control_pb2_grpc.GossipControlStub(await stack.enter_async_context(opened))
        assert (await control.ListStores(gossip_control_pb2.ListStoresRequest())).stores
        running.authority.revoke("laptop-2")
        running.look()
        assert await both[1].codes() == ENDED


async def test_a_call_on_an_old_connection_is_refused_when_the_certificate_is_over(
    running: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_channel(running.address, credentials=running.credentials("laptop-1")) as channel:
        stub: Any = gossip_control_pb2_grpc.GossipControlStub(channel)
        await stub.ListStores(gossip_control_pb2.ListStoresRequest())
        pass_days(monkeypatch, 2)
        refused = await refusal(stub.ListStores(gossip_control_pb2.ListStoresRequest()))
        assert refused.code() is grpc.StatusCode.UNAUTHENTICATED
        assert "the time of the token or certificate is over" in (refused.details() or "")


async def test_streams_go_on_while_their_caller_may_call(running: Hub) -> None:
    async with AsyncExitStack() as stack:
        streams = await phone(running, stack)
        await streams.begin()
        running.write_table(table(", until = 2100-01-01T00:00:00Z"))
        for _ in range(3):
            await streams.agent.send(liveness=liveness_pb2.LivenessReport(store_id="notes"))
            await streams.agent.receive("ack")

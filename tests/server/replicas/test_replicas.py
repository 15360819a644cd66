"""Replicas on a real etcd, in one process: one serves, the others refuse, and one takes over."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from gossipcontrol.client.channel import open_channel
from gossipcontrol.server.app import App
from gossipcontrol.server.config import Config, Etcd, Listen, Metrics, State
from gossipcontrol.server.config import Log as LogConfig
from gossipcontrol.server.errors import OWNER_TRAILER
from gossipcontrol.server.observe.log import make_logger
from gossipcontrol.server.replicas import lease
from gossipcontrol.v1 import attach_pb2, decision_pb2, gossip_control_pb2, gossip_control_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.kit.etcd import needs_etcd, running_etcd
from tests.kit.ports import free_ports
from tests.kit.service_lab import BareAgent
from tests.kit.until import until

pytestmark = needs_etcd


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No replica takes over because a busy machine stood still."""
    monkeypatch.setattr(lease, "UNSEEN_TIME", 30.0)
    monkeypatch.setattr(lease, "SURE_TIME", 25.0)


class Running:
    """A replica, and a client of it."""

    def __init__(self, directory: Path, endpoints: list[str], name: str) -> None:
        socket, self.pages = directory / f"{name}.sock", free_ports(1)[0]
        self.app = App(
            Config(
                listen=Listen(socket=str(socket), tcp=""),
                metrics=Metrics(address=f"127.0.0.1:{self.pages}"),
                state=State(backend="etcd"),
                etcd=Etcd(endpoints=",".join(endpoints), address=f"{name}.example:7443"),
            ),
            make_logger(LogConfig(level="error")),
        )
        self.starting = asyncio.create_task(self.app.start())
        self.channel = open_channel(f"unix:{socket}")
        self.stub = gossip_control_pb2_grpc.GossipControlStub(self.channel)

    async def health(self) -> int:
        stub: Any = health_pb2_grpc.HealthStub(self.channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True)
        return int(answer.status)

    async def ready(self) -> tuple[int, str]:
        def ask() -> tuple[int, str]:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.pages}/readyz") as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read().decode()

        return await asyncio.to_thread(ask)

    async def metrics(self) -> bytes:
        def ask() -> bytes:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.pages}/metrics") as answer:
                found: bytes = answer.read()
                return found

        return await asyncio.to_thread(ask)

    async def rejoin(self, request_id: str) -> gossip_control_pb2.RejoinResponse:
        request = gossip_control_pb2.RejoinRequest(request_id=request_id, node_id="n", park_unknown=True)
        return await self.stub.Rejoin(request, wait_for_ready=True, timeout=20)

    async def list_rejoins(self) -> Sequence[decision_pb2.Rejoin]:
        return (await self.stub.ListRejoins(gossip_control_pb2.ListRejoinsRequest(), timeout=20)).rejoins

    async def stop(self) -> None:
        await self.channel.close()
        if self.app.is_serving:
            await self.app.stop()
        self.starting.cancel()
        await asyncio.gather(self.starting, return_exceptions=True)


@asynccontextmanager
async def replicas(directory: Path, *names: str) -> AsyncGenerator[list[Running]]:
    async with running_etcd(directory) as etcd:
        running: list[Running] = []
        try:
            for name in names:
                running.append(Running(directory, etcd.endpoints, name))
                if not running[1:]:
                    await running[0].starting
            for one in running[1:]:
                await until(lambda one=one: one.app.is_standing_by, "it stands by")
            yield running
        finally:
            for one in running:
                await one.stop()


async def test_a_standby_refuses_with_where_the_owner_is_and_takes_over_when_it_stops(tmp_path: Path) -> None:
    async with replicas(tmp_path, "one", "two") as (one, two):
        assert await one.health() == health_pb2.HealthCheckResponse.SERVING
        assert (await one.ready())[0] == 200
        answered = await one.rejoin("00000000-0000-4000-8000-000000000001")

        assert await two.health() == health_pb2.HealthCheckResponse.NOT_SERVING
        expected = (503, "this replica stands by; one.example:7443 serves\n")

        async def knows() -> bool:
            return await two.ready() == expected

        await until(knows, "it says who serves")
        assert b"\ngossipcontrol_owner 0.0\n" in await two.metrics()
        assert b"\ngossipcontrol_owner 1.0\n" in await one.metrics()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await two.rejoin("00000000-0000-4000-8000-000000000002")
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert refused.value.details() == "this replica stands by; one.example:7443 serves"
        assert dict(refused.value.trailing_metadata() or ())[OWNER_TRAILER] == "one.example:7443"

        async def follows() -> bool:
            replica = two.app._replica  # pyright: ignore[reportPrivateUsage]
            return replica is not None and replica.is_warm and b"_lag_entries 0.0\n" in await two.metrics()

        await until(follows, "it has replayed the owner's log")
        await one.app.stop()
        await two.starting
        assert b"gossipcontrol_replay_diverged_total 0.0\n" in await two.metrics()
        again = await two.rejoin("00000000-0000-4000-8000-000000000001")
        assert again.replayed
        assert [one.rejoin_id for one in again.decisions] == [one.rejoin_id for one in answered.decisions]


async def test_a_rejoin_that_runs_goes_on_under_the_new_owner_with_the_attempt_that_its_agent_has(
    tmp_path: Path,
) -> None:
    async with replicas(tmp_path, "one", "two") as (one, two):
        before = BareAgent(one.stub)
        registered = await before.register("n", "a")
        asked = await one.rejoin("00000000-0000-4000-8000-000000000001")
        first = await before.receive("rejoin")
        assert (registered.cell, first.owner_epoch) == ("default", 1)
        await one.app.stop()
        await two.starting

        found = await two.list_rejoins()
        assert [(rejoin.rejoin_id, rejoin.outcome) for rejoin in found] == [
            (asked.decisions[0].rejoin_id, decision_pb2.REJOIN_OUTCOME_RUNNING)
        ]
        assert "the owner changed" in found[0].detail
        after = BareAgent(two.stub)
        registered = await after.register("n", "a")
        again = await after.receive("rejoin")
        assert (again.rejoin.rejoin_id, again.rejoin.attempt) == (first.rejoin.rejoin_id, 1)
        assert (registered.cell, registered.unparked, again.owner_epoch) == ("default", 0, 2)
        await after.send(rejoin_result=attach_pb2.RejoinResult(rejoin_id=first.rejoin.rejoin_id, attempt=1, ok=True))
        await after.send(neighbor=attach_pb2.NeighborEvent(store_id="a", peer_id="p", up=True), commands_received=1)

        async def verified() -> bool:
            return [rejoin.outcome for rejoin in await two.list_rejoins()] == [decision_pb2.REJOIN_OUTCOME_VERIFIED]

        await until(verified, "it is verified")
        assert "sent again, because the owner changed" in (await two.list_rejoins())[0].detail
        before.call.cancel()
        after.call.cancel()

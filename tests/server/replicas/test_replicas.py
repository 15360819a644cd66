"""Replicas on a real etcd, in one process: one serves, the others refuse, and one takes over."""

from __future__ import annotations

import asyncio
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner
from gossipcontrol.cli.main import main
from gossipcontrol.client.channel import open_channel
from gossipcontrol.etcd.v3 import etcd_pb2
from gossipcontrol.server.access.authority import AUTHORITY, Authority
from gossipcontrol.server.access.hub import found_hub
from gossipcontrol.server.app import App
from gossipcontrol.server.config import Access, Config, Etcd, Listen, Metrics, State
from gossipcontrol.server.config import Log as LogConfig
from gossipcontrol.server.errors import OWNER_TRAILER
from gossipcontrol.server.observe.log import make_logger
from gossipcontrol.server.replicas import lease, roster
from gossipcontrol.server.replicas.replica import Replica
from gossipcontrol.server.state import etcd_client
from gossipcontrol.server.state.etcd_client import EtcdClient
from gossipcontrol.server.state.ledger import Late
from gossipcontrol.v1 import attach_pb2, decision_pb2, gossip_control_pb2, gossip_control_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.kit.etcd import Etcd as EtcdServers
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

    def __init__(self, directory: Path, etcd: EtcdServers, name: str, access: Access | None = None) -> None:
        self.etcd = etcd
        socket, self.pages = directory / f"{name}.sock", free_ports(1)[0]
        self.app = App(
            Config(
                listen=Listen(socket=str(socket), tcp=""),
                metrics=Metrics(address=f"{'0.0.0.0' if access else '127.0.0.1'}:{self.pages}"),
                access=access or Access(),
                state=State(backend="etcd"),
                etcd=Etcd(endpoints=",".join(etcd.endpoints), address=f"{name}.example:7443"),
            ),
            make_logger(LogConfig(level="warning")),
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

    async def metrics(self, path: str = "/metrics") -> bytes:
        def ask() -> bytes:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.pages}{path}") as answer:
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
async def replicas(directory: Path, *names: str, flags: Sequence[str] = ()) -> AsyncGenerator[list[Running]]:
    async with running_etcd(directory, 1, *flags) as etcd:
        running: list[Running] = []
        try:
            for name in names:
                running.append(Running(directory, etcd, name))
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
        for each in (one, two):
            assert b"\ngossipcontrol_wall_clock_set_total 0.0\n" in await each.metrics()
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


async def test_the_owner_lists_the_replicas_with_their_lag_and_forgets_one_that_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster, "INTERVAL", 0.05)
    async with replicas(tmp_path, "one", "two") as (one, two):
        request = gossip_control_pb2.ListReplicasRequest()

        async def rows() -> list[gossip_control_pb2.Replica]:
            return list((await one.stub.ListReplicas(request)).replicas)

        async def lists_both() -> bool:
            found = await rows()
            return len(found) == 2 and found[1].epoch == 1

        await until(lists_both, "both are listed")
        owner, standby = await rows()
        assert (owner.address, owner.role, owner.epoch, owner.lag_entries) == ("one.example:7443", 1, 1, 0)
        assert (standby.address, standby.role) == ("two.example:7443", 2)
        assert (standby.version, standby.format) == (owner.version, owner.format)
        monkeypatch.setattr(Replica, "position", owner.applied_entry - 1)

        async def lists_the_lag() -> bool:
            return (await rows())[1].lag_entries >= 1

        await until(lists_the_lag, "a standby that follows says how far it is")
        socket = f"unix:{tmp_path / 'two.sock'}"
        printed = await asyncio.to_thread(CliRunner().invoke, main, ["replicas", "--address", socket])
        assert (printed.exit_code, printed.output) == (
            3, f"gossipcontrol: {socket}: this replica stands by; one.example:7443 serves\n"
        )  # fmt: skip
        printed = await asyncio.to_thread(
            CliRunner().invoke, main, ["replicas", "--address", f"unix:{tmp_path / 'one.sock'}"]
        )
        assert printed.output.split()[:8] == [
            "ADDRESS", "ROLE", "EPOCH", "LAG", "SEEN", "VERSION", "REPLICA", "one.example:7443",
        ]  # fmt: skip
        page = await one.metrics()
        for shown in (b"owner 1.0", b"epoch 1.0", b"standbys 1.0"):
            assert b"\ngossipcontrol_%s\n" % shown in page
        assert json.loads(await one.metrics("/api/overview"))["replicas"] == {"epoch": 1, "standbys": 1}
        monkeypatch.setattr(lease, "SURE_TIME", 0.0)
        assert b"\ngossipcontrol_owner 0.0\n" in await one.metrics(), "it cannot renew its lease"
        assert (await one.ready())[0] == 503
        monkeypatch.setattr(lease, "SURE_TIME", 25.0)
        await two.stop()

        async def lists_one() -> bool:
            return len(await rows()) == 1

        await until(lists_one, "one that stopped is not listed any more")


async def test_an_owner_that_is_cut_off_from_etcd_sends_its_streams_away_and_one_that_etcd_still_names_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, agents and watchers stayed with it for as long as it was cut off, while another replica served."""
    async with replicas(tmp_path, "one") as [one]:
        agent = BareAgent(one.stub)
        await agent.register("n", "a")
        watching = one.stub.WatchPeers(gossip_control_pb2.WatchPeersRequest(store_id="a"))
        assert await watching.read()

        monkeypatch.setattr(lease, "SURE_TIME", 0.0)
        looks = count_looks(monkeypatch)
        await until(lambda: len(looks) > 1, "etcd is asked again whose lease it is")
        assert await one.health() == health_pb2.HealthCheckResponse.NOT_SERVING
        assert not agent.call.done()
        assert not watching.done()
        monkeypatch.setattr(lease, "SURE_TIME", 25.0)
        await until_healthy(one)

        monkeypatch.setattr(etcd_client, "PATIENCE", 0.1)
        monkeypatch.setattr(lease, "SURE_TIME", 0.5)
        await one.etcd.kill(0)
        for call in (agent.call, watching):
            assert await call.code() is grpc.StatusCode.UNAVAILABLE
            assert "another may have taken over" in await call.details()
        assert await one.health() == health_pb2.HealthCheckResponse.NOT_SERVING
        monkeypatch.setattr(lease, "SURE_TIME", 25.0)
        await one.etcd.start(0)
        await until_healthy(one)
        again = BareAgent(one.stub)
        await again.register("n", "a")
        again.call.cancel()


def count_looks(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What owners learn from now on that ask etcd whether the lease is still theirs."""
    looks: list[bool] = []
    ask = lease.Lease.is_kept

    async def is_kept(self: lease.Lease) -> bool:
        looks.append(await ask(self))
        return looks[-1]

    monkeypatch.setattr(lease.Lease, "is_kept", is_kept)
    return looks


async def until_healthy(one: Running) -> None:
    """Wait until gRPC's health says so."""

    async def is_healthy() -> bool:
        return await one.health() == health_pb2.HealthCheckResponse.SERVING

    await until(is_healthy, "it serves")


async def test_the_page_of_a_standby_is_reached_and_guarded_like_that_of_an_owner(tmp_path: Path) -> None:
    """Before, a scraper of https found plain HTTP there, and a probe could not ask both in one way."""
    authority = Authority(tmp_path / "hub")
    found_hub(authority, ["localhost"], 7443, 1)
    access = Access(
        identities=str(authority.directory / "identities.toml"), certificate=str(authority.path("hub", "crt")),
        key=str(authority.path("hub", "key")),
    )  # fmt: skip
    async with replicas(tmp_path, "one") as [one]:
        two = Running(tmp_path, one.etcd, "two", access)
        context = ssl.create_default_context(cafile=str(authority.path(AUTHORITY, "crt")))

        def status(path: str) -> int:
            url = f"https://localhost:{two.pages}{path}"
            try:
                with urllib.request.urlopen(url, context=context) as answer:
                    return int(answer.status)
            except urllib.error.HTTPError as error:
                with error:
                    return error.code

        try:
            await until(lambda: two.app.is_standing_by, "it stands by")
            paths = ("/healthz", "/readyz", "/metrics")
            assert [await asyncio.to_thread(status, path) for path in paths] == [200, 503, 401]
        finally:
            await two.stop()


async def test_an_etcd_without_space_refuses_triggers_says_so_and_loses_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with replicas(tmp_path, "one", flags=("--quota-backend-bytes", "2000000")) as [one]:
        kept = await one.rejoin("00000000-0000-4000-8000-000000000001")
        await fill(one.etcd)
        with pytest.raises(grpc.aio.AioRpcError, match=r"etcd has no space left.*raise --quota") as refused:
            await one.rejoin("00000000-0000-4000-8000-000000000002")
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        page = await one.metrics()
        assert b"\ngossipcontrol_state_accepting 0.0\n" in page
        assert b"state_failures_total 0.0\n" not in page
        assert (await one.ready())[0] == 503

        await make_room(one.etcd)

        async def is_well() -> bool:
            return (await one.ready())[0] == 200

        await until(is_well, "it goes on once the alarm is gone", 60)
        assert len((await one.rejoin("00000000-0000-4000-8000-000000000002")).decisions) == 1
        again = await one.rejoin("00000000-0000-4000-8000-000000000001")
        assert again.replayed
        assert [one.rejoin_id for one in again.decisions] == [one.rejoin_id for one in kept.decisions]
    assert "etcd has no space left" in capfd.readouterr().err


async def fill(etcd: EtcdServers) -> None:
    """Use up the quota, as another user of this etcd, until it is refused."""
    client = EtcdClient(etcd.access)
    try:
        for number in range(1000):
            await client.put(b"other/%d" % number, bytes(200_000))
    except Late:
        return
    finally:
        await client.close()


async def make_room(etcd: EtcdServers) -> None:
    """What an operator does: delete, compact, defragment, disarm."""
    client = EtcdClient(etcd.access)
    try:
        await client.delete_range(b"other/", b"other0")
        found = await client.range(etcd_pb2.RangeRequest(key=b"other/"))
        await client.compact(found.header.revision)
    finally:
        await client.close()
    await etcd.operate("maintenance/defragment")
    listed = await etcd.operate("maintenance/alarm", action="GET")
    for one in listed["alarms"]:
        await etcd.operate("maintenance/alarm", action="DEACTIVATE", memberID=one["memberID"], alarm=one["alarm"])

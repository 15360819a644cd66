"""What one identity may have at once, and how fast it may send: each limit is named and counted."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from gossipcontrol.client.channel import open_channel
from gossipcontrol.server.access.identity import ANY, LOCAL, Identity, Role
from gossipcontrol.server.access.identity_limits import IdentityLimits
from gossipcontrol.server.access.quota import BURST, MOST_IDENTITIES, Quota, Quotas
from gossipcontrol.server.config import Metrics
from gossipcontrol.server.errors import Overloaded
from gossipcontrol.v1 import gossip_control_pb2, gossip_control_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.kit.hub import TABLE, Hub, hub
from tests.kit.service_lab import BareAgent, refusal, rejoin, status_details
from tests.kit.until import until


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def quota(clock: Callable[[], float], **limits: int) -> tuple[Quota, Counter[str]]:
    """One identity's, and what its limits held up."""
    limited: Counter[str] = Counter()

    def count(limit: str) -> None:
        limited[limit] += 1

    return Quota("x", replace(IdentityLimits(), **limits), count, clock), limited


def test_a_rate_lets_a_burst_through_and_then_its_rate() -> None:
    clock = Clock()
    one, limited = quota(clock, requests=2)
    for _ in range(int(2 * BURST)):
        one.charge(0)
    with pytest.raises(Overloaded, match="the limit requests of x is reached: 2 per second"):
        one.charge(0)
    assert limited == {"requests": 1}
    clock.now += 0.5
    one.charge(0)
    with pytest.raises(Overloaded) as refused:
        one.charge(0)
    assert 0 < refused.value.retry_in <= 0.5
    clock.now += 1000
    for _ in range(int(2 * BURST)):
        one.charge(0)
    with pytest.raises(Overloaded):
        one.charge(0)


def test_bytes_are_limited_but_one_request_may_be_larger_than_all_that_is_left() -> None:
    clock = Clock()
    one, _ = quota(clock, bytes=10)
    one.charge(100_000)
    with pytest.raises(Overloaded, match="the limit bytes of x is reached: 10 per second") as refused:
        one.charge(1)
    clock.now += refused.value.retry_in
    with pytest.raises(Overloaded):
        one.charge(1)
    clock.now += 0.1
    one.charge(1)


async def test_a_stream_waits_instead_of_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, waits = Clock(), list[float]()
    one, limited = quota(clock, requests=2)

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        clock.now += seconds

    monkeypatch.setattr(asyncio, "sleep", sleep)
    for _ in range(int(2 * BURST) + 4):
        await one.pace(1)
    assert 1 <= sum(waits) <= 2.5
    assert limited == {"requests": 4}


def test_places_are_given_back() -> None:
    one, limited = quota(Clock(), watchers=1)
    with one.hold("watchers"):
        with pytest.raises(Overloaded, match="the limit watchers of x is reached: 1;"), one.hold("watchers"):
            pass
        with one.hold("streams"):
            pass
    with one.hold("watchers"):
        pass
    assert limited == {"watchers": 1}


def test_stores_that_are_no_more_known_do_not_count() -> None:
    one, limited = quota(Clock(), stores=2)
    known = {"a", "b"}
    one.name_stores(["a", "b", "", "a"], known.__contains__)
    with pytest.raises(Overloaded, match="the limit stores of x is reached: 2"):
        one.name_stores(["c"], known.__contains__)
    one.name_stores(["a"], known.__contains__)
    known.discard("a")
    one.name_stores(["c"], known.__contains__)
    assert limited == {"stores": 1}


def test_rejoins_that_are_no_more_parked_do_not_count() -> None:
    one, limited = quota(Clock(), parked=2)
    parked = {"1", "2"}
    one.note_parked(["1", "2"])
    with pytest.raises(Overloaded, match="the limit parked of x is reached: 2"):
        one.check_parked(parked.__contains__)
    parked.discard("2")
    one.check_parked(parked.__contains__)
    assert limited == {"parked": 1}


def test_each_identity_has_its_own_and_the_services_own_has_none() -> None:
    quotas = Quotas(IdentityLimits(watchers=3), lambda limit: None)

    def identity(name: str, **limits: int) -> Identity:
        return Identity(name=name, roles=frozenset({Role.ADMIN}), nodes=ANY, limits=tuple(limits.items()))

    assert quotas.of(LOCAL) is None
    first, other = quotas.of(identity("a")), quotas.of(identity("b", watchers=7))
    assert first is not None
    assert other is not None
    assert (first.limits.watchers, other.limits.watchers) == (3, 7)
    quotas.defaults = IdentityLimits(watchers=4)
    assert quotas.of(identity("a")) is first
    assert first.limits.watchers == 4
    with first.hold("streams"):
        for number in range(MOST_IDENTITIES):
            quotas.of(identity(f"n{number}"))
        assert quotas.of(identity("a")) is first
    assert len(quotas) == MOST_IDENTITIES


SMALL = "{ streams = 2, watchers = 1, health_watches = 1, stores = 3, parked = 2, requests = 4, bytes = 100000 }"


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[Hub]:
    """A hub whose devices have small limits."""
    table = TABLE.replace('stores = ["notes", "photos"]', f'stores = ["*"]\nlimits = {SMALL}', 1)
    async with hub(tmp_path, table=table, metrics=Metrics(address="127.0.0.1:0")) as running:
        yield running


async def channel(running: Hub, name: str, stack: AsyncExitStack) -> grpc.aio.Channel:
    """A channel of a client of this name."""
    opened = open_channel(running.address, credentials=running.credentials(name))
    return await stack.enter_async_context(opened)


async def limited(running: Hub) -> dict[str, int]:
    """What was limited, by the metrics page."""
    found = re.findall(r'gossipcontrol_identity_limited_total\{limit="(\w+)"\} (\d+)', await running.service.scrape())
    return {limit: int(count) for limit, count in found if int(count)}


async def test_open_calls_of_an_identity_are_limited_over_all_its_connections(small: Hub) -> None:
    async with AsyncExitStack() as stack:
        channels = [await channel(small, name, stack) for name in ("laptop-1", "laptop-1", "laptop-1", "laptop-2")]
        stubs: list[Any] = [gossip_control_pb2_grpc.GossipControlStub(one) for one in channels]
        open_streams = [BareAgent(stub) for stub in stubs[:2]]
        await until(lambda: small.service.app.connections()["unregistered_streams"] == 2, "both streams are open")
        third = BareAgent(stubs[2])
        assert "the limit streams of laptop-1 is reached: 2" in ((await third.failed()).details() or "")
        del open_streams
        other = BareAgent(stubs[3])
        await other.register("laptop-2", "notes", host_id="laptop-2")

        asked = gossip_control_pb2.WatchPeersRequest(store_id="notes")
        watch = stubs[0].WatchPeers(asked)
        await watch.read()
        refused = await refusal(stubs[1].WatchPeers(asked).read())
        assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "the limit watchers of laptop-1 is reached: 1" in (refused.details() or "")
        assert status_details(refused).details[0].Unpack(RetryInfo())

        health: list[Any] = [health_pb2_grpc.HealthStub(one) for one in channels]
        request = health_pb2.HealthCheckRequest()
        held = health[0].Watch(request)
        assert (await held.read()).status == health_pb2.HealthCheckResponse.SERVING
        crowded = health[1].Watch(request)
        with suppress(grpc.aio.AioRpcError):
            await crowded.read()
        assert "the limit health_watches of laptop-1 is reached: 1" in (await crowded.details() or "")
        assert (await health[1].Check(request)).status == health_pb2.HealthCheckResponse.SERVING
        assert await limited(small) == {"streams": 1, "watchers": 1, "health_watches": 1}


async def first_refusal(call: Callable[[], Awaitable[Any]], tries: int) -> grpc.aio.AioRpcError:
    """The first error with RESOURCE_EXHAUSTED of many calls."""
    for _ in range(tries):
        try:
            await call()
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                return error
    raise AssertionError("nothing was refused")


async def test_what_an_identity_names_and_sends_is_limited(small: Hub) -> None:
    async with AsyncExitStack() as stack:
        stub: Any = gossip_control_pb2_grpc.GossipControlStub(await channel(small, "laptop-1", stack))
        refused = await refusal(stub.Rejoin(rejoin("laptop-1", "a", "b", "c", "d")))
        assert "the limit stores of laptop-1 is reached: 3" in (refused.details() or "")
        await stub.Rejoin(rejoin("laptop-1", "a", "b", "c"))
        refused = await refusal(stub.Rejoin(rejoin("laptop-1", "a")))
        assert "the limit parked of laptop-1 is reached: 2" in (refused.details() or "")
        refused = await refusal(
            stub.ReportNetworkChange(
                gossip_control_pb2.ReportNetworkChangeRequest(
                    host_id="laptop-1", kind=gossip_control_pb2.NETWORK_CHANGE_KIND_RESUMED, park_unknown=True
                )
            )
        )
        assert "the limit parked" in (refused.details() or "")
        refused = await first_refusal(lambda: stub.ListStores(gossip_control_pb2.ListStoresRequest()), 5 * int(BURST))
        assert "the limit requests of laptop-1 is reached: 4 per second" in (refused.details() or "")
        large: Any = gossip_control_pb2_grpc.GossipControlStub(await channel(small, "laptop-2", stack))
        request = gossip_control_pb2.ListRejoinsRequest(page_token="t" * 100_000)
        refused = await first_refusal(lambda: large.ListRejoins(request), 20)
        assert "the limit bytes of laptop-2 is reached: 100000 per second" in (refused.details() or "")
        async with small.client("operator") as operator:
            _ = [store async for store in operator.list_stores()]
        counted = await limited(small)
        assert counted.keys() == {"stores", "parked", "requests", "bytes"}


async def test_limits_change_while_the_hub_runs(small: Hub) -> None:
    async with AsyncExitStack() as stack:
        stub: Any = gossip_control_pb2_grpc.GossipControlStub(await channel(small, "operator", stack))
        asked = gossip_control_pb2.WatchPeersRequest(store_id="notes")
        watch = stub.WatchPeers(asked)
        await watch.read()
        small.service.app.apply(replace(small.service.config, identity_limits=IdentityLimits(watchers=1)))
        refused = await refusal(stub.WatchPeers(asked).read())
        assert "the limit watchers of operator is reached: 1" in (refused.details() or "")

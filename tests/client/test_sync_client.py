"""The synchronous client against the real service: the same answers, retries and errors."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import pytest
from gossipcontrol.client import (
    AddressError,
    Cause,
    ChangeKind,
    Client,
    ClientError,
    DecisionKind,
    LivenessReport,
    NetworkChange,
    Outcome,
    OverloadedError,
    PastTrigger,
    PeerObservation,
    PeerState,
    Presence,
    RefusedError,
    RejoinTrigger,
    StatusCode,
    SyncClient,
    UnreachableError,
)

from tests.agent.fake import Proxy
from tests.kit.address import local_address
from tests.kit.service_lab import Service, config, deciding, serving
from tests.kit.until import DEADLINE, until

T = TypeVar("T")


async def blocking(function: Callable[[], T]) -> T:
    """Run code that blocks while the service runs in this loop."""
    async with asyncio.timeout(3 * DEADLINE):
        return await asyncio.to_thread(function)


@pytest.fixture
async def client(service: Service) -> AsyncIterator[SyncClient]:
    with SyncClient(service.address) as one:
        yield one


def report(*peer_ids: str) -> LivenessReport:
    peers = tuple(PeerObservation(one, heard_age=0.0) for one in peer_ids)
    return LivenessReport(node_id="n", store_id="a", peers=peers)


async def test_every_call_gives_what_the_asynchronous_client_gives(service: Service, client: SyncClient) -> None:
    assert await blocking(client.serving)
    result = await blocking(lambda: client.rejoin("n", ["a"], park=True, cause=Cause.SUSPICION))
    assert [one.kind for one in result.decisions] == [DecisionKind.PARKED]
    change = NetworkChange(host_id="h", kind=ChangeKind.RESUMED)
    assert (await blocking(lambda: client.report_network_change(change))).decision_count == 1
    answer = await blocking(lambda: client.peer_liveness([report("p")]))
    assert [(peer.peer_id, peer.state) for peer in answer.views[0].peers] == [
        ("n", PeerState.ONLINE), ("p", PeerState.ONLINE),
    ]  # fmt: skip
    assert answer.next_report_in > 0
    past = PastTrigger(rejoin_id=result.decisions[0].rejoin_id)
    explained = await blocking(lambda: client.explain(past))
    assert [one.cause for one in explained.explanations] == [Cause.SUSPICION]
    assert (await blocking(lambda: client.explain(RejoinTrigger(node_id="m")))).decision_count == 1
    async with Client(service.address) as other:
        stores = [one.store_id async for one in other.list_stores()]
        rejoins = [one.rejoin_id async for one in other.list_rejoins()]
    assert [one.store_id for one in await blocking(lambda: list(client.list_stores()))] == stores == ["a"]
    found = await blocking(lambda: list(client.list_rejoins(outcome=Outcome.PARKED)))
    assert [one.rejoin_id for one in found] == rejoins
    online = await blocking(lambda: list(client.list_peers("a", state=PeerState.ONLINE)))
    assert [one.peer_id for one in online] == ["n", "p"]


@pytest.mark.not_on_windows(
    "parking so much of a stranger is for the Unix socket; over TCP a connection may name only so much"
)
async def test_pages_are_joined(client: SyncClient) -> None:
    stores = [f"s{number:03}" for number in range(250)]
    await blocking(lambda: client.rejoin("n", stores, park=True))
    assert [one.store_id for one in await blocking(lambda: list(client.list_stores()))] == stores
    assert len(await blocking(lambda: list(client.list_rejoins(page_size=7, limit=30)))) == 30


async def test_errors_are_typed_and_have_their_code(tmp_path: Path, client: SyncClient) -> None:
    with pytest.raises(RefusedError) as refused:
        await blocking(lambda: client.rejoin(""))
    assert refused.value.violations == [("node_id", "must not be empty")]
    assert refused.value.code is StatusCode.INVALID_ARGUMENT
    with (
        SyncClient(local_address(tmp_path / "none.sock"), timeout=0.2) as lonely,
        pytest.raises(UnreachableError) as lost,
    ):
        await blocking(lonely.serving)
    assert lost.value.code is StatusCode.UNAVAILABLE
    with pytest.raises(AddressError):
        SyncClient("nonsense")


async def test_a_full_service_says_when_to_come_again(tmp_path: Path) -> None:
    async with serving(config(tmp_path, deciding=deciding(queue_limit=1))) as service:
        with SyncClient(service.address) as client:
            await blocking(lambda: client.rejoin("n", ["a"], park=True))
            with pytest.raises(OverloadedError) as caught:
                await blocking(lambda: client.rejoin("m", ["a"], park=True))
    assert caught.value.retry_in is not None
    assert 590 < caught.value.retry_in <= 720, "when the parked one expires, and up to a fifth more"
    assert caught.value.code is StatusCode.RESOURCE_EXHAUSTED


async def test_a_service_that_is_away_is_tried_again_until_the_timeout(tmp_path: Path) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        time.sleep(seconds)

    address = local_address(tmp_path / "none.sock")
    with SyncClient(address, timeout=0.5, sleep=sleep) as client, pytest.raises(UnreachableError):
        await blocking(client.serving)
    assert 0 < sum(slept) < 0.5


async def test_presence_is_followed_over_a_cut(service: Service) -> None:
    lost: list[ClientError] = []
    presence = Presence()
    seen = threading.Event()

    def follow(address: str) -> set[str]:
        with SyncClient(address) as far, closing(far.watch_peers("a", on_loss=lost.append)) as updates:
            for update in updates:
                presence.apply(update.view, more=update.more)
                seen.set()
                if {one.peer_id for one in presence.peers()} == {"n", "p", "q"}:
                    break
        return {one.peer_id for one in presence.peers()}

    async with Proxy.to(service.tcp) as proxy, Client(service.address) as near:
        await near.peer_liveness([report("p")])
        following = asyncio.create_task(blocking(lambda: follow(proxy.address)))
        await until(seen.is_set, "the snapshot is there")
        proxy.cut()
        await near.peer_liveness([report("p", "q")])
        assert await following == {"n", "p", "q"}
        assert lost
        assert all(isinstance(error, UnreachableError) for error in lost)


async def test_a_service_that_answers_nothing_is_given_up_in_time(service: Service) -> None:
    async with Proxy.to(service.tcp) as proxy:
        proxy.dead = True
        with SyncClient(proxy.address, timeout=0.3) as client, pytest.raises(UnreachableError):
            await blocking(lambda: next(client.watch_peers("a")))


async def test_a_closed_client_says_so(service: Service) -> None:
    client = SyncClient(service.address)
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.serving()

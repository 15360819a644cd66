"""WatchPeers and ListPeers over real gRPC: snapshot, changes, tokens, lag, bounds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import grpc
import pytest
from google.rpc import error_details_pb2
from gossipcontrol.server.config import Limits
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.presence.record import PeerState
from gossipcontrol.server.errors import Overloaded, Stopping
from gossipcontrol.server.rpc.subscriptions import SubscriptionHub
from gossipcontrol.server.runtime.turns import SLICE_TIME
from gossipcontrol.v1.gossip_control_pb2 import (
    ListPeersRequest,
    ListRejoinsRequest,
    WatchPeersRequest,
    WatchPeersResponse,
)
from gossipcontrol.v1.liveness_pb2 import PEER_STATE_OFFLINE, PEER_STATE_ONLINE

from tests.kit.scripted_service import Scene, scripted
from tests.kit.service_lab import bad_fields, status_details
from tests.kit.until import DEADLINE, until

Call: TypeAlias = "grpc.aio.UnaryStreamCall[WatchPeersRequest, WatchPeersResponse]"
ONLINE, SUSPECT, OFFLINE = PeerState.ONLINE, PeerState.SUSPECT, PeerState.OFFLINE


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scripted(tmp_path, liveness=LivenessParameters(change_limit=50)) as running:
        yield running


def watch(scene: Scene, store_id: str = "s", token: str = "") -> Call:
    call: Call = scene.stub.WatchPeers(WatchPeersRequest(store_id=store_id, resume_token=token))
    return call


async def told(call: Call) -> WatchPeersResponse:
    async with asyncio.timeout(DEADLINE):
        response = await call.read()
    assert isinstance(response, WatchPeersResponse), f"the stream ended: {await call.details()}"
    return response


def states(response: WatchPeersResponse) -> dict[str, PeerState]:
    return {peer.peer_id: PeerState(peer.state) for peer in response.view.peers}


async def test_a_snapshot_comes_first_and_then_each_change(scene: Scene) -> None:
    scene.liveness.put("s", "p", ONLINE)
    call = watch(scene)
    first = await told(call)
    assert (first.view.store_id, states(first), first.view.delta, first.lagged) == ("s", {"p": ONLINE}, False, False)
    assert first.resume_token
    await scene.change("s", ("p", SUSPECT), ("q", ONLINE))
    second = await told(call)
    assert (states(second), second.view.delta) == ({"p": SUSPECT, "q": ONLINE}, True)
    assert second.view.version > first.view.version
    await scene.change("s", ("p", None))
    third = await told(call)
    assert (list(third.view.removed_peer_ids), states(third)) == (["p"], {})


async def test_an_unknown_store_is_empty_until_it_comes_to_life(scene: Scene) -> None:
    call = watch(scene, "later")
    first = await told(call)
    assert (states(first), first.view.delta) == ({}, False)
    await scene.change("other", ("x", ONLINE))
    await scene.change("later", ("p", ONLINE))
    second = await told(call)
    assert (states(second), second.lagged) == ({"p": ONLINE}, False)


async def test_a_token_resumes_behind_what_it_names(scene: Scene) -> None:
    scene.liveness.put("s", "p", ONLINE)
    call = watch(scene)
    token = (await told(call)).resume_token
    call.cancel()
    for number in range(3):
        await scene.change("s", (f"q{number}", ONLINE))
    again = await told(watch(scene, token=token))
    assert (again.view.delta, again.lagged, list(states(again))) == (True, False, ["q0", "q1", "q2"])
    quiet = watch(scene, token=again.resume_token)
    await scene.change("s", ("p", OFFLINE))
    assert states(await told(quiet)) == {"p": OFFLINE}


async def test_a_token_that_reaches_too_far_back_says_so(scene: Scene) -> None:
    scene.liveness.put("s", "p", ONLINE)
    token = (await told(watch(scene))).resume_token
    await scene.change("s", *((f"q{number}", ONLINE) for number in range(60)))
    again = await told(watch(scene, token=token))
    assert (again.lagged, again.view.delta, len(states(again))) == (True, False, 61)


async def test_a_token_of_another_run_begins_anew(scene: Scene, tmp_path: Path) -> None:
    scene.liveness.put("s", "p", ONLINE)
    token = (await told(watch(scene))).resume_token
    async with scripted(tmp_path / "other") as other:
        for name in "abcdef":
            other.liveness.put("s", name, ONLINE)
        again = await told(watch(other, token=token))
        assert (again.lagged, again.view.delta, len(states(again))) == (True, False, 6)


async def test_a_wrong_request_is_refused_with_its_field(scene: Scene) -> None:
    token = (await told(watch(scene, "s"))).resume_token
    for request, fields in (
        (WatchPeersRequest(), {"store_id"}),
        (WatchPeersRequest(store_id="x" * 129), {"store_id"}),
        (WatchPeersRequest(store_id="s", resume_token="nonsense"), {"resume_token"}),
        (WatchPeersRequest(store_id="other", resume_token=token), {"resume_token"}),
        (WatchPeersRequest(resume_token="x" * 5000), {"store_id", "resume_token"}),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await scene.stub.WatchPeers(request).read()
        assert set(bad_fields(caught.value)) == fields


async def test_a_slow_reader_lags_and_never_holds_up_the_service(scene: Scene) -> None:
    """It reads nothing while more comes than any buffer holds; others are served, and it ends with what is true."""
    slow, quick = watch(scene), watch(scene)
    first = await told(slow)
    names = [f"{number:0120}" for number in range(50)]
    seen: dict[str, PeerState] = {}
    # 50 peers change 400 times: 3 MB of changes, which fit into no window of HTTP/2.
    for turn in range(400):
        await scene.change("s", *((name, ONLINE if turn % 2 else SUSPECT) for name in names))
    await scene.change("s", ("last", ONLINE))
    while "last" not in seen:
        seen |= states(await told(quick))
    assert (await scene.stub.ListRejoins(ListRejoinsRequest())) is not None
    held, lagged = states(first), False
    while "last" not in held:
        response = await told(slow)
        lagged = lagged or response.lagged
        held = (held if response.view.delta else {}) | states(response)
    assert held == seen == dict.fromkeys((*names, "last"), ONLINE)
    assert lagged


async def test_watchers_beyond_the_limit_are_told_when_to_come_again(tmp_path: Path) -> None:
    async with scripted(tmp_path, limits=Limits(watchers=2, drain=0.2)) as scene:
        calls = [watch(scene), watch(scene, "other")]
        for call in calls:
            await told(call)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await watch(scene).read()
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        info = error_details_pb2.RetryInfo()
        assert status_details(caught.value).details[0].Unpack(info)
        assert 4.0 <= info.retry_delay.ToMilliseconds() / 1000 <= 6.0
        calls[0].cancel()

        async def room() -> bool:
            try:
                return isinstance(await watch(scene).read(), WatchPeersResponse)
            except grpc.aio.AioRpcError:
                return False

        await until(room, "the place of one that went is free")


async def test_a_service_that_stops_says_so(tmp_path: Path) -> None:
    async with scripted(tmp_path) as scene:
        call = watch(scene)
        await told(call)
        stopping = asyncio.create_task(scene.service.app.stop())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await told(call)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        await stopping


async def test_peers_are_listed_by_page_and_by_state(scene: Scene) -> None:
    for number in range(25):
        scene.liveness.put("s", f"p{number:02}", OFFLINE if number % 5 == 0 else ONLINE)
    found: list[str] = []
    request = ListPeersRequest(store_id="s", state=PEER_STATE_ONLINE, page_size=7)
    while True:
        page = await scene.stub.ListPeers(request)
        found += [peer.peer_id for peer in page.peers]
        assert all(peer.state == PEER_STATE_ONLINE for peer in page.peers)
        assert len(page.peers) <= 7
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert found == [f"p{number:02}" for number in range(25) if number % 5]
    offline = await scene.stub.ListPeers(ListPeersRequest(store_id="s", state=PEER_STATE_OFFLINE, page_size=5))
    assert (len(offline.peers), offline.next_page_token) == (5, "")
    assert not (await scene.stub.ListPeers(ListPeersRequest(store_id="unknown"))).peers


async def test_wakings_are_told_together_and_an_end_is_final() -> None:
    hub = SubscriptionHub(2)
    with hub.subscribe("s") as subscription:
        for _ in range(3):
            hub.notify("s")
        hub.notify("nobody watches this")
        async with asyncio.timeout(DEADLINE):
            await subscription.wait()
        assert not subscription.notified.is_set()
        with hub.subscribe("s"), pytest.raises(Overloaded), hub.subscribe("s"):
            pass
        hub.close(Stopping("the end"))
        for _ in range(2):
            with pytest.raises(Stopping):
                await subscription.wait()
    assert hub.count == 0


async def test_the_watchers_of_a_store_are_notified_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """300 watchers of a full store were served in one turn of the loop, in 2 s."""
    work, turns, served = 0.004, [0], dict[int, int]()
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    hub = SubscriptionHub(1000)

    async def serve(ready: asyncio.Event) -> None:
        with hub.subscribe("s") as subscription:
            await subscription.wait()
            ready.set()
            await subscription.wait()
            with subscription.work():
                clock[0] += work
            served[turns[0]] = served.get(turns[0], 0) + 1

    def count() -> None:
        turns[0] += 1
        asyncio.get_running_loop().call_soon(count)

    ready = [asyncio.Event() for _ in range(100)]
    async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as group:
        for event in ready:
            group.create_task(serve(event))
        for event in ready:
            await event.wait()
        asyncio.get_running_loop().call_soon(count)
        hub.notify("s")
    assert sum(served.values()) == 100
    assert max(served.values()) * work <= 2 * SLICE_TIME


async def test_nobody_has_many_turns_while_another_waits_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever found the slice used up went behind who came later: with parts of 5 ms some waited for all parts of all.

    Of a hundred watchers of a full store the last had its first part when the others had theirs.
    """
    clock, served = [0.0], list[int]()
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    hub = SubscriptionHub(100)

    async def serve(number: int) -> None:
        with hub.subscribe("s", "unix:") as subscription:
            for _ in range(5):
                await subscription.wait()
                with subscription.work():
                    clock[0] += 1.2 * SLICE_TIME
                served.append(number)
                subscription.again()

    async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(serve(number))
    assert max(served.index(number) for number in range(20)) < 40, "two rounds"


async def test_one_connection_holds_a_part_of_the_places_only() -> None:
    hub = SubscriptionHub(200)
    with ExitStack() as held:
        for _ in range(25):
            held.enter_context(hub.subscribe("nothing", "ipv4:192.0.2.1:5000"))
        with pytest.raises(Overloaded, match="this connection has 25"), hub.subscribe("s", "ipv4:192.0.2.1:5000"):
            pass
        held.enter_context(hub.subscribe("s", "ipv4:192.0.2.1:5001"))
        for _ in range(100):
            held.enter_context(hub.subscribe("s", "unix:"))
    with hub.subscribe("s", "ipv4:192.0.2.1:5000"):
        assert hub.count == 1

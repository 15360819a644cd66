"""Presence as clients see it, from real reports over real gRPC: states, differences, sleep, gauges, rejoins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from gossipcontrol.cli.status import read_status
from gossipcontrol.client import Client
from gossipcontrol.server import app
from gossipcontrol.server.config import Config, Metrics, State
from gossipcontrol.server.core.event import OwnerChanged
from gossipcontrol.server.core.presence.overload import MIN_REPORTERS
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.v1 import decision_pb2, gossip_control_pb2_grpc, liveness_pb2
from gossipcontrol.v1.attach_pb2 import Goodbye, NeighborEvent
from gossipcontrol.v1.gossip_control_pb2 import (
    NETWORK_CHANGE_KIND_RESUMED,
    NETWORK_CHANGE_KIND_SLEEPING,
    ListPeersRequest,
    ListRejoinsRequest,
    ListStoresRequest,
    PeerLivenessRequest,
    ReportNetworkChangeRequest,
    Store,
    WatchPeersRequest,
    WatchPeersResponse,
)
from gossipcontrol.v1.liveness_pb2 import LivenessReport, PeerObservation, PeerState, StoreView
from prometheus_client.parser import text_string_to_metric_families

from tests.kit.service_lab import BareAgent, Service, config, connected, deciding, serving
from tests.kit.until import DEADLINE, until

Stub: TypeAlias = "gossip_control_pb2_grpc.GossipControlAsyncStub"
QUICK = LivenessParameters(
    report_interval=0.1, report_ceiling=0.25, suspect_floor=0.2, suspect_ceiling=0.5, offline_after=2.0,
    isolated_after=0.3, suspicion_interval=0.5,
)  # fmt: skip
"""A test on a busy machine that stops for a second still sees SUSPECT before OFFLINE."""
STEADY = replace(QUICK, report_interval=1.0, report_ceiling=1.5, suspect_floor=2.0, suspect_ceiling=3.0)
"""Those who fall silent within 1.5 s of each other fall silent at once, and the service is deaf after 3 s."""


def settings(directory: Path, **sections: object) -> Config:
    plain = config(directory, **{"deciding": deciding(), **sections})
    return replace(plain, metrics=Metrics(address="127.0.0.1:0", stores=2))


@pytest.fixture
async def calm(tmp_path: Path) -> AsyncIterator[Service]:
    """With the parameters as they are: nobody turns silent while a test looks."""
    async with serving(settings(tmp_path)) as running:
        yield running


@pytest.fixture
async def stub(calm: Service) -> AsyncIterator[Stub]:
    async with connected(calm.address) as one:
        yield one


@pytest.fixture
async def quick(tmp_path: Path) -> AsyncIterator[Service]:
    """With intervals so short that a test can wait for what silence brings."""
    async with serving(settings(tmp_path, liveness=QUICK)) as running:
        yield running


@pytest.fixture
async def quick_stub(quick: Service) -> AsyncIterator[Stub]:
    async with connected(quick.address) as one:
        yield one


def heard(*peer_ids: str) -> list[PeerObservation]:
    return [PeerObservation(peer_id=one, heard_age_ms=0, heard_count=1) for one in peer_ids]


async def report(
    stub: Stub, node_id: str, *peer_ids: str, store_id: str = "a", known: int = 0, sleeps: bool = False
) -> StoreView:
    one = LivenessReport(
        node_id=node_id, store_id=store_id, peers=heard(*peer_ids), known_version=known, going_to_sleep=sleeps
    )
    return (await stub.PeerLiveness(PeerLivenessRequest(reports=[one]))).views[0]


def states(view: StoreView) -> dict[str, str]:
    return {peer.peer_id: name(peer.state) for peer in view.peers}


def name(state: PeerState.ValueType) -> str:
    return PeerState.Name(state).removeprefix("PEER_STATE_")


async def state(stub: Stub, peer_id: str, store_id: str = "a") -> str:
    peers = (await stub.ListPeers(ListPeersRequest(store_id=store_id))).peers
    return next((name(peer.state) for peer in peers if peer.peer_id == peer_id), "")


async def until_state(stub: Stub, peer_id: str, wanted: str) -> None:
    async def come() -> bool:
        return await state(stub, peer_id) == wanted

    await until(come, f"{peer_id} is {wanted}")


async def store(stub: Stub, store_id: str = "a") -> Store:
    stores = (await stub.ListStores(ListStoresRequest())).stores
    return next(one for one in stores if one.store_id == store_id)


async def test_who_names_a_version_is_told_the_difference(stub: Stub) -> None:
    first = await report(stub, "n", "p", "q")
    assert (states(first), first.delta) == ({"n": "ONLINE", "p": "ONLINE", "q": "ONLINE"}, False)
    same = await report(stub, "n", "p", "q", known=first.version)
    assert (states(same), same.delta, same.version) == ({}, True, first.version)
    more = await report(stub, "n", "p", "q", "r", known=first.version)
    assert (states(more), more.delta) == ({"r": "ONLINE"}, True)
    assert more.version > first.version
    for unknown in (0, 1, first.version + 1000, 2**63):
        whole = await report(stub, "n", "p", known=unknown)
        assert (len(whole.peers), whole.delta) == (4, False)


async def test_stores_are_answered_each_by_what_all_its_reports_name(stub: Stub) -> None:
    version = (await report(stub, "n", "p")).version

    def one(node_id: str, store_id: str, known: int) -> LivenessReport:
        return LivenessReport(node_id=node_id, store_id=store_id, peers=heard("p"), known_version=known)

    reports = [one("n", "a", version), one("n", "b", 0), one("m", "a", version)]
    a, b = (await stub.PeerLiveness(PeerLivenessRequest(reports=reports))).views
    assert (states(a), a.delta) == ({"m": "ONLINE"}, True)
    assert (set(states(b)), b.delta) == ({"n", "p"}, False)
    [mixed] = (await stub.PeerLiveness(PeerLivenessRequest(reports=[one("n", "a", a.version), one("m", "a", 0)]))).views
    assert (set(states(mixed)), mixed.delta) == ({"n", "m", "p"}, False)


async def test_an_agent_is_told_the_difference_too(stub: Stub) -> None:
    agent = BareAgent(stub)
    await agent.register("n", "a")
    await agent.send(liveness=LivenessReport(store_id="a", peers=heard("p")))
    first = (await agent.receive("ack")).ack
    assert set(states(first.view)) == {"n", "p"}
    assert first.next_report_ms == 2000
    await agent.send(liveness=LivenessReport(store_id="a", peers=heard("p", "q"), known_version=first.view.version))
    second = (await agent.receive("ack")).ack.view
    assert (states(second), second.delta) == ({"q": "ONLINE"}, True)


async def test_a_version_of_an_earlier_run_means_nothing(tmp_path: Path) -> None:
    async with serving(settings(tmp_path)) as first, connected(first.address) as stub:
        known = await report(stub, "n", "p")
    async with serving(settings(tmp_path)) as second, connected(second.address) as stub:
        view = await report(stub, "n", "q", known=known.version)
        assert (set(states(view)), view.delta) == ({"n", "q"}, False)


async def test_a_new_owner_says_that_presence_settles_until_all_nodes_have_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = settings(tmp_path, state=State(path=str(tmp_path / "state")))
    async with serving(chosen) as first, connected(first.address) as stub:
        await report(stub, "n", "p")
        held = await report(stub, "m")
        token = (await next_update(stub.WatchPeers(WatchPeersRequest(store_id="a")))).resume_token
    monkeypatch.setattr(app, "ServiceStarted", partial(OwnerChanged, epoch=2))
    async with serving(chosen) as second, connected(second.address) as stub, Client(second.address) as client:
        watching = stub.WatchPeers(WatchPeersRequest(store_id="a", resume_token=token))
        update = await next_update(watching)
        assert (update.view.settling, update.view.delta, update.resume_token) == (True, True, token)
        view = await report(stub, "n", "p", known=held.version)
        assert view == StoreView(store_id="a", version=held.version, delta=True, settling=True)
        assert (await stub.ListPeers(ListPeersRequest(store_id="a"))).settling
        assert [one.settling for one in (await stub.ListStores(ListStoresRequest())).stores] == [True]
        assert (await client.warnings())[0].startswith("another replica has taken over: for up to 2")
        await report(stub, "m")
        update = await next_update(watching)
        assert (states(update.view), update.lagged, update.view.settling) == (
            dict.fromkeys("mnp", "ONLINE"),
            True,
            False,
        )
        view = await report(stub, "n", "p", known=held.version)
        assert (set(states(view)), view.delta, view.settling) == (set("mnp"), False, False)
        assert not (await stub.ListPeers(ListPeersRequest(store_id="a"))).settling


async def next_update(call: Any) -> WatchPeersResponse:
    response = await asyncio.wait_for(call.read(), DEADLINE)
    assert isinstance(response, WatchPeersResponse)
    return response


async def test_silence_is_seen_by_itself_and_told_to_watchers(quick_stub: Stub) -> None:
    stub = quick_stub
    call = stub.WatchPeers(WatchPeersRequest(store_id="a"))
    await report(stub, "n", "p")
    seen: list[str] = []
    while "OFFLINE" not in seen:
        response = await call.read()
        assert isinstance(response, WatchPeersResponse)
        seen += [name(peer.state) for peer in response.view.peers if peer.peer_id == "p"]
        # The reporter lives on, and hears nothing of the peer any more.
        await report(stub, "n")
    assert seen == ["ONLINE", "SUSPECT", "OFFLINE"]
    await report(stub, "n")
    assert (await state(stub, "n"), await state(stub, "p")) == ("ONLINE", "OFFLINE")


async def test_a_service_that_hears_nobody_says_so_and_calls_nobody_offline(tmp_path: Path) -> None:
    async with (
        serving(settings(tmp_path, liveness=STEADY)) as service,
        connected(service.address) as stub,
        Client(service.address) as client,
    ):

        async def is_deaf() -> bool:
            return bool(await client.warnings())

        async def is_suspect() -> bool:
            return (await state(stub, "n"), await state(stub, "m")) == ("SUSPECT", "SUSPECT")

        for _ in range(3):
            await report(stub, "n", "m")
            await report(stub, "m", "n")
        assert "gossipcontrol_deaf_seconds 0.0" in await service.scrape()
        await until(is_deaf, "the service says that it hears nobody")
        assert (await client.warnings())[0].startswith("no node has been heard for ")
        assert "gossipcontrol_deaf_seconds 0.0" not in await service.scrape()
        (line,) = service.lines("no node is heard")
        assert line["level"] == "warning"
        await until(is_suspect, "who is not heard is suspected")
        await report(stub, "n")
        assert await client.warnings() == ()
        assert len(service.lines("nodes are heard again")) == 1


async def test_a_service_that_hears_few_says_so_and_calls_nobody_offline(tmp_path: Path) -> None:
    """A service that took a part of the reports of 20,000 healthy nodes called all of them offline."""
    one_each = [LivenessReport(node_id=f"n{number}", store_id="a") for number in range(MIN_REPORTERS)]
    everybody = PeerLivenessRequest(reports=one_each)
    async with (
        serving(settings(tmp_path, liveness=replace(STEADY, offline_after=4.0))) as service,
        connected(service.address) as stub,
        Client(service.address) as client,
    ):
        await stub.PeerLiveness(everybody)
        assert "gossipcontrol_overloaded_seconds 0.0\n" in await service.scrape()

        async def is_overloaded() -> bool:
            await report(stub, "n0")  # one is heard all the time, so the service is not deaf
            return any("fewer than half of the nodes" in one for one in await client.warnings())

        await until(is_overloaded, "the service says that it hears few")
        assert "gossipcontrol_overloaded_seconds 0.0\n" not in await service.scrape()
        assert "gossipcontrol_deaf_seconds 0.0" in await service.scrape()
        (line,) = service.lines("few nodes are heard")
        assert line["level"] == "warning"
        (trouble,) = [one for one in (await read_status(client)).troubles if one.subject == "fleet"]
        assert trouble.cure.startswith("give its host more processor time"), "as doctor prints it"
        assert await state(stub, "n1") != "OFFLINE"
        await stub.PeerLiveness(everybody)
        assert await client.warnings() == ()
        assert "gossipcontrol_overloaded_seconds 0.0\n" in await service.scrape()
        assert len(service.lines("enough nodes are heard")) == 1


async def test_a_host_that_sleeps_makes_its_nodes_asleep_until_it_wakes(stub: Stub) -> None:
    agent = BareAgent(stub)
    await agent.register("n", "a", host_id="h")
    await report(stub, "m", "n")
    sleep = ReportNetworkChangeRequest(host_id="h", kind=NETWORK_CHANGE_KIND_SLEEPING)
    assert not (await stub.ReportNetworkChange(sleep)).decisions
    await until_state(stub, "n", "ASLEEP")
    await stub.ReportNetworkChange(ReportNetworkChangeRequest(host_id="h", kind=NETWORK_CHANGE_KIND_RESUMED))
    await agent.send(liveness=LivenessReport(store_id="a"))
    await until_state(stub, "n", "ONLINE")


async def test_a_node_may_announce_its_own_sleep_or_leave(stub: Stub) -> None:
    await report(stub, "n", sleeps=True)
    assert await state(stub, "n") == "ASLEEP"
    agent = BareAgent(stub)
    await agent.register("m", "a")
    await agent.send(liveness=LivenessReport(store_id="a"))
    await agent.receive("ack")
    await agent.send(goodbye=Goodbye())
    await until_state(stub, "m", "LEFT")


async def test_a_store_shows_how_it_stands(stub: Stub) -> None:
    agent = BareAgent(stub)
    await agent.register("n", "a")
    await report(stub, "m", "n", "p")
    seen = await store(stub)
    assert (seen.node_count, seen.attached_count, seen.partitioned) == (2, 1, False)
    assert {name(count.state): count.count for count in seen.peer_counts}["ONLINE"] >= 2

    async def looked_at() -> bool:
        await report(stub, "m", "n", "p")
        return (await store(stub)).HasField("stalest_age_ms")

    await until(looked_at, "the stalest peer was looked for")
    assert (await store(stub)).stalest_age_ms < 5000


async def test_a_node_without_neighbours_rejoins_because_it_is_isolated(quick: Service, quick_stub: Stub) -> None:
    stub = quick_stub
    agent = BareAgent(stub)
    await agent.register("n", "a")

    async def found() -> bool:
        # Two others live and hear each other; nobody hears the node, and it has no neighbour.
        await report(stub, "p", "q")
        await report(stub, "q", "p")
        await agent.send(liveness=LivenessReport(store_id="a"))
        rejoins = (await stub.ListRejoins(ListRejoinsRequest(node_id="n"))).rejoins
        return any(one.triggers[0].cause == decision_pb2.CAUSE_ISOLATED for one in rejoins)

    await until(found, "the isolated node was told to rejoin")
    rejoins = (await stub.ListRejoins(ListRejoinsRequest(node_id="n"))).rejoins
    evidence = next(one.triggers[0].evidence for one in rejoins if one.triggers[0].cause == decision_pb2.CAUSE_ISOLATED)
    assert evidence
    assert (await agent.command()).store_id == "a"
    line = next(one for one in quick.lines("rot suspected") if one["cause"] == "isolated")
    assert line["evidence"] == evidence
    await agent.send(neighbor=NeighborEvent(store_id="a", peer_id="p", up=True))


async def test_the_gauges_show_presence_with_bounded_labels(calm: Service, stub: Stub) -> None:
    for number in range(5):
        await report(stub, "n", "p", store_id=f"s{number}")

    async def sampled() -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(await calm.scrape())
            for sample in family.samples
        }

    page = await sampled()

    def value(metric: str, **labels: str) -> float | None:
        return page.get((f"gossipcontrol_{metric}", frozenset(labels.items())))

    assert value("peers", state="online") == 10
    assert value("peers", state="offline") == 0
    assert value("store_peers", store="s0", state="online") == 2
    assert value("store_peers", store="s1", state="online") == 2
    assert value("store_peers", store="other", state="online") == 6
    assert value("store_peers", store="s2", state="online") is None
    assert value("partitions", store="other") == 0
    assert value("pairs_unsynced") is not None
    assert value("rot_detected_total", kind="outbound_rot") == 0

    async def observed() -> bool:
        nonlocal page
        for number in range(5):
            await report(stub, "n", "p", store_id=f"s{number}")
        page = await sampled()
        shown = all(value("store_staleness_seconds", store=one) is not None for one in ("s0", "s1", "other"))
        return shown and (value("peer_staleness_seconds_count") or 0) >= 10

    await until(observed, "every store was sampled, and its peers with it")
    stores = {dict(labels)["store"] for metric, labels in page if metric == "gossipcontrol_store_staleness_seconds"}
    assert stores == {"s0", "s1", "other"}


async def test_a_difference_that_is_too_large_is_a_whole_view(tmp_path: Path) -> None:
    liveness = LivenessParameters(change_limit=5000)
    async with serving(settings(tmp_path, liveness=liveness)) as service, connected(service.address) as stub:
        known = (await report(stub, "n", "p")).version
        for batch in range(2):
            view = await report(stub, "n", *(f"p{batch * 600 + number:04}" for number in range(600)), known=known)
            assert view.delta is (batch == 0)
            assert len(view.peers) <= 1000


async def test_a_view_of_very_many_peers_lists_those_heard_last(stub: Stub) -> None:
    view = StoreView()
    for batch in range(3):
        peers = [
            PeerObservation(peer_id=f"p{batch * 500 + number:04}", heard_age_ms=100 * (3 - batch), heard_count=1)
            for number in range(500)
        ]
        view = (
            await stub.PeerLiveness(
                PeerLivenessRequest(reports=[LivenessReport(node_id="n", store_id="big", peers=peers)])
            )
        ).views[0]
    listed = [peer.peer_id for peer in view.peers]
    assert (len(listed), listed) == (1000, sorted(listed))
    assert {"p1499", "p1000", "n"} <= set(listed)
    assert len((await stub.ListPeers(ListPeersRequest(store_id="big", page_size=1000))).peers) == 1000
    call = stub.WatchPeers(WatchPeersRequest(store_id="big"))
    parts: list[WatchPeersResponse] = []
    while not parts or not parts[-1].resume_token:
        response = await call.read()
        assert isinstance(response, WatchPeersResponse)
        parts.append(response)
    assert [part.view.delta for part in parts[:2]] == [False, True]
    names = [peer.peer_id for part in parts for peer in part.view.peers]
    assert set(names) == {"n", *(f"p{number:04}" for number in range(1500))}
    assert liveness_pb2.PEER_STATE_ONLINE in {peer.state for part in parts for peer in part.view.peers}

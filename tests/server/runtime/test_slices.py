"""A large call takes several turns of the event loop, and gives the same answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TypeAlias

import pytest
from gossipcontrol.server.core.event import Event, LivenessReported, SyncFinished
from gossipcontrol.server.core.turn import Turn
from gossipcontrol.server.rpc import gossip_control
from gossipcontrol.server.runtime import turns as turns_module
from gossipcontrol.server.runtime.dispatcher import Dispatcher
from gossipcontrol.server.wire import encode
from gossipcontrol.v1 import gossip_control_pb2_grpc
from gossipcontrol.v1.attach_pb2 import SyncResult
from gossipcontrol.v1.gossip_control_pb2 import (
    ExplainRequest,
    ListRejoinsRequest,
    ListStoresRequest,
    PeerLivenessRequest,
)
from gossipcontrol.v1.liveness_pb2 import LivenessReport

from tests.kit.service_lab import rejoin

Stub: TypeAlias = "gossip_control_pb2_grpc.GossipControlAsyncStub"
COUNT = 50


class _Turns:
    """Counts turns of the event loop."""

    def __init__(self) -> None:
        self.count = 0
        self._handle = asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self.count += 1
        self._handle = asyncio.get_running_loop().call_soon(self._next)

    def stop(self) -> None:
        self._handle.cancel()


@pytest.fixture
async def turns(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[_Turns]:
    """The turns, while every slice is over at once."""
    monkeypatch.setattr(turns_module, "SLICE_TIME", 0.0)
    monkeypatch.setattr(turns_module, "LEAST_SLICE", 0.0)
    counted = _Turns()
    yield counted
    counted.stop()


@pytest.mark.parametrize(("reports", "results"), [(COUNT, 0), (2, 0), (1, 3)])
async def test_the_reports_of_a_batch_are_taken_in_several_turns(
    stub: Stub, turns: _Turns, monkeypatch: pytest.MonkeyPatch, reports: int, results: int
) -> None:
    """One batch of legal reports used to block the service for 0.8 s; few may ask for large views."""
    at: set[int] = set()
    inner = Dispatcher.submit

    def submit(dispatcher: Dispatcher, event: Event) -> Turn:
        if isinstance(event, LivenessReported | SyncFinished):
            at.add(turns.count)
        return inner(dispatcher, event)

    monkeypatch.setattr(Dispatcher, "submit", submit)
    request = PeerLivenessRequest(
        reports=[LivenessReport(node_id="n", store_id=f"s{number}") for number in range(reports)],
        sync_results=[SyncResult(node_id="n", store_id="s0", peer_id=f"p{number}") for number in range(results)],
    )
    answer = await stub.PeerLiveness(request)
    assert len(answer.views) == reports
    assert len(at) == reports + results


async def test_pages_are_made_in_several_turns(stub: Stub, turns: _Turns, monkeypatch: pytest.MonkeyPatch) -> None:
    at: set[int] = set()
    inner = encode.rejoin_message

    def rejoin_message(record: object, now: float) -> object:
        at.add(turns.count)
        return inner(record, now)  # type: ignore[arg-type]

    monkeypatch.setattr(encode, "rejoin_message", rejoin_message)
    store_ids = [f"s{number}" for number in range(COUNT)]
    await stub.Rejoin(rejoin("n", *store_ids))
    assert len((await stub.ListRejoins(ListRejoinsRequest(page_size=100))).rejoins) == len(at) == COUNT
    found = [store.store_id for store in (await stub.ListStores(ListStoresRequest(page_size=100))).stores]
    assert found == sorted(store_ids)


async def test_what_would_happen_is_told_in_several_turns(stub: Stub, turns: _Turns) -> None:
    """Explain of a full host used to take 37 ms in one go."""
    store_ids = [f"s{number}" for number in range(COUNT)]
    await stub.Rejoin(rejoin("n", *store_ids))
    before = turns.count
    answer = await stub.Explain(ExplainRequest(rejoin=rejoin("n", *store_ids)))
    assert [one.decision.store_id for one in answer.explanations] == store_ids
    assert turns.count - before >= 2 * COUNT, "explained one by one, and encoded one by one"


async def test_a_page_of_stores_ends_early_where_its_nodes_are_many(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gossip_control, "PAGE_WEIGHT", 3)
    for number in range(2):
        await stub.Rejoin(rejoin(f"n{number}", *(f"s{one}" for one in range(5))))
    found, token = list[str](), ""
    while not found or token:
        page = await stub.ListStores(ListStoresRequest(page_size=100, page_token=token))
        assert sum(len(store.nodes) for store in page.stores) <= 4
        found += [store.store_id for store in page.stores]
        token = page.next_page_token
    assert found == [f"s{one}" for one in range(5)]

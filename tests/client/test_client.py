"""The client against the real service: answers, pages, and each error it may raise."""

from __future__ import annotations

from pathlib import Path

import pytest
from gossipcontrol.client.client import Client
from gossipcontrol.client.errors import ClientError, OverloadedError, RefusedError, UnreachableError
from gossipcontrol.v1.gossip_control_pb2 import (
    NETWORK_CHANGE_KIND_RESUMED,
    ListRejoinsRequest,
    ReportNetworkChangeRequest,
)
from gossipcontrol.v1.liveness_pb2 import LivenessReport

from tests.kit.service_lab import Service, config, deciding, serving


async def test_calls_are_answered(service: Service) -> None:
    async with Client(service.address) as client:
        assert await client.serving()
        answer = await client.rejoin("n", ["a"])
        assert answer.decision_count == 1
        change = ReportNetworkChangeRequest(host_id="h", kind=NETWORK_CHANGE_KIND_RESUMED)
        assert (await client.report_network_change(change)).decision_count == 1
        assert change.request_id, "a request without an id was given one"
        views = (await client.peer_liveness([LivenessReport(node_id="n", store_id="a")])).views
        assert [peer.peer_id for peer in views[0].peers] == ["n"]


async def test_pages_are_joined(service: Service) -> None:
    async with Client(service.tcp) as client:
        stores = [f"s{number:03}" for number in range(250)]
        await client.rejoin("n", stores)
        assert [store.store_id async for store in client.list_stores()] == stores
        request = ListRejoinsRequest(page_size=7)
        found = [rejoin.store_id async for rejoin in client.list_rejoins(request)]
        assert found == stores[::-1]
        assert len([one async for one in client.list_rejoins(request, most=30)]) == 30
        assert request.page_token == "", "the caller's request is left alone"


async def test_a_mistake_is_raised_with_its_field(service: Service) -> None:
    async with Client(service.address) as client:
        with pytest.raises(RefusedError) as caught:
            await client.rejoin("")
        assert caught.value.violations == [("node_id", "must not be empty")]


async def test_a_full_service_says_when_to_come_again(tmp_path: Path) -> None:
    settings = config(tmp_path, deciding=deciding(queue_limit=1))
    async with serving(settings) as service, Client(service.address, timeout=0.5) as client:
        await client.rejoin("n", ["a"])
        with pytest.raises(OverloadedError) as caught:
            await client.rejoin("m", ["a"])
        assert caught.value.retry_in == 1.0


async def test_no_service_is_unreachable(tmp_path: Path) -> None:
    async with Client(f"unix:{tmp_path}/none.sock", timeout=0.2) as client:
        with pytest.raises(UnreachableError):
            await client.serving()


async def test_a_message_that_is_too_large_is_a_plain_failure(service: Service) -> None:
    async with Client(service.address) as client:
        with pytest.raises(ClientError, match="larger than max") as caught:
            await client.rejoin("n" * 5_000_000)
        assert type(caught.value) is ClientError

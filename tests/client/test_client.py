"""The client against the real service: answers, pages, and each error it may raise."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from gossipcontrol.client import (
    AddressError,
    ChangeKind,
    Client,
    ClientError,
    LivenessReport,
    NetworkChange,
    OverloadedError,
    RefusedError,
    StatusCode,
    UnreachableError,
)

from tests.kit.address import address_of, local_address
from tests.kit.service_lab import Service, config, deciding, serving


async def test_calls_are_answered(service: Service) -> None:
    async with Client(service.address) as client:
        assert await client.serving()
        answer = await client.rejoin("n", ["a"], park=True)
        assert answer.decision_count == 1
        change = NetworkChange(host_id="h", kind=ChangeKind.RESUMED)
        assert (await client.report_network_change(change)).decision_count == 1
        triggers = [trigger async for rejoin in client.list_rejoins() for trigger in rejoin.triggers]
        assert len({trigger.request_id for trigger in triggers} - {""}) == 2, "a request without an id was given one"
        views = (await client.peer_liveness([LivenessReport(node_id="n", store_id="a")])).views
        assert [peer.peer_id for peer in views[0].peers] == ["n"]


@pytest.mark.not_on_windows(
    "parking so much of a stranger is for the Unix socket; over TCP a connection may name only so much"
)
async def test_pages_are_joined(service: Service) -> None:
    async with Client(service.address) as client:
        stores = [f"s{number:03}" for number in range(250)]
        await client.rejoin("n", stores, park=True)
        assert [store.store_id async for store in client.list_stores()] == stores
        found = [rejoin.store_id async for rejoin in client.list_rejoins(page_size=7)]
        assert found == stores[::-1]
        assert len([one async for one in client.list_rejoins(page_size=7, limit=30)]) == 30


async def test_a_mistake_is_raised_with_its_field(service: Service) -> None:
    async with Client(service.address) as client:
        with pytest.raises(RefusedError) as caught:
            await client.rejoin("")
        assert caught.value.code is StatusCode.INVALID_ARGUMENT
        assert caught.value.violations == [("node_id", "must not be empty")]


async def test_a_full_service_says_when_to_come_again(tmp_path: Path) -> None:
    settings = config(tmp_path, deciding=deciding(queue_limit=1))
    async with serving(settings) as service, Client(service.address) as client:
        await client.rejoin("n", ["a"], park=True)
        with pytest.raises(OverloadedError) as caught:
            await client.rejoin("m", ["a"], park=True)
        assert caught.value.retry_in is not None
        assert 590 < caught.value.retry_in <= 720, "when the parked one expires, and up to a fifth more"


async def test_no_service_is_unreachable(tmp_path: Path) -> None:
    async with Client(local_address(tmp_path / "none.sock"), timeout=0.2) as client:
        with pytest.raises(UnreachableError):
            await client.serving()


@pytest.mark.not_on_windows("Wine 8 ends large overlapped writes early, at which gRPC aborts the process")
async def test_a_message_that_is_too_large_is_a_plain_failure(service: Service) -> None:
    async with Client(service.address) as client:
        with pytest.raises(ClientError, match="larger than max") as caught:
            await client.rejoin("n" * 5_000_000)
        assert type(caught.value) is ClientError
        assert caught.value.code is StatusCode.RESOURCE_EXHAUSTED


def test_a_client_may_be_made_outside_a_loop_and_used_in_one_after_another(tmp_path: Path) -> None:
    settings = config(tmp_path)
    client = Client(address_of(settings))

    async def ask(*, close: bool = False) -> bool:
        async with serving(settings):
            serves = await client.serving()
            if close:
                await client.close()
            return serves

    assert asyncio.run(ask())
    assert asyncio.run(ask(close=True))
    with pytest.raises(RuntimeError, match="the client is closed"):
        asyncio.run(ask())


def test_a_malformed_address_is_refused_at_construction() -> None:
    with pytest.raises(AddressError) as caught:
        Client("nonsense")
    assert isinstance(caught.value, ClientError)
    assert isinstance(caught.value, ValueError)
    assert caught.value.code is StatusCode.INVALID_ARGUMENT

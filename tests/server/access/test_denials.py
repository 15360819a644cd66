"""A denied call is counted, logged once a minute for its identity, and says nothing of what exists."""

from __future__ import annotations

import io
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from gossipcontrol.client.channel import open_channel
from gossipcontrol.server.config import Log, Metrics
from gossipcontrol.server.errors import PermissionDenied, Unauthenticated
from gossipcontrol.server.observe.calls import CALLERS, DENIAL_INTERVAL, CallLog
from gossipcontrol.server.observe.log import Logger
from gossipcontrol.v1 import gossip_control_pb2, gossip_control_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.kit.hub import Hub, hub
from tests.kit.service_lab import refusal, rejoin


def test_each_identity_has_one_line_a_minute() -> None:
    output, now = io.StringIO(), [0.0]
    log = Logger(Log(format="json"), output)
    calls = CallLog(log, lambda: now[0])
    field, unknown = PermissionDenied("node_id", "is not yours"), Unauthenticated("the token is unknown")
    for port in range(100):
        calls.denied("/s/Rejoin", f"ipv4:10.0.0.1:{port}", "laptop-1", field)
        calls.denied("/s/Rejoin", f"ipv4:10.0.0.2:{port}", "", unknown)
    calls.denied("/s/Rejoin", "ipv4:10.0.0.1:1", "laptop-2", field)
    now[0] = DENIAL_INTERVAL
    calls.denied("/s/Forget", "ipv4:10.0.0.1:5", "laptop-1", field)
    for number in range(2 * CALLERS):
        calls.denied("/s/Rejoin", f"ipv6:[::{number:x}]:1", "", unknown)
    log.close()
    lines = [json.loads(line) for line in output.getvalue().splitlines()]
    first, stranger, other, last = lines[:4]
    assert (first["event"], first["level"], first["identity"]) == ("call denied", "warning", "laptop-1")
    assert (first["caller"], first["reason"]) == ("ipv4:10.0.0.1:0", "node_id: is not yours")
    assert "left_out" not in first
    assert ("identity" in stranger, stranger["caller"]) == (False, "ipv4:10.0.0.2:0")
    assert other["identity"] == "laptop-2"
    assert (last["rpc"], last["left_out"]) == ("/s/Forget", 99)
    assert len(calls.denials) == CALLERS


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Hub]:
    async with hub(tmp_path, metrics=Metrics(address="127.0.0.1:0")) as one:
        yield one


async def stub(running: Hub, name: str, stack: AsyncExitStack) -> Any:
    """A stub of a client of this name."""
    opened = open_channel(running.address, credentials=running.credentials(name))
    return gossip_control_pb2_grpc.GossipControlStub(await stack.enter_async_context(opened))


async def test_what_exists_and_what_does_not_are_denied_alike(running: Hub) -> None:
    async with AsyncExitStack() as stack:
        operator, other = [await stub(running, name, stack) for name in ("operator", "laptop-2")]
        await operator.Rejoin(rejoin("laptop-1", "letters"))
        [kept] = (await operator.ListRejoins(gossip_control_pb2.ListRejoinsRequest())).rejoins
        for there, missing in (
            (other.Rejoin(rejoin("laptop-1", "notes")), other.Rejoin(rejoin("laptop-9", "notes"))),
            (other.Rejoin(rejoin("laptop-2", "letters")), other.Rejoin(rejoin("laptop-2", "nothing"))),
            (
                other.ListPeers(gossip_control_pb2.ListPeersRequest(store_id="letters")),
                other.ListPeers(gossip_control_pb2.ListPeersRequest(store_id="nothing")),
            ),
            (
                other.Forget(gossip_control_pb2.ForgetRequest(node_id="laptop-1")),
                other.Forget(gossip_control_pb2.ForgetRequest(node_id="laptop-9")),
            ),
            (
                other.CancelRejoin(gossip_control_pb2.CancelRejoinRequest(rejoin_id=kept.rejoin_id)),
                other.CancelRejoin(gossip_control_pb2.CancelRejoinRequest(rejoin_id="none-1")),
            ),
        ):
            first, second = await refusal(there), await refusal(missing)
            assert first.code() is grpc.StatusCode.PERMISSION_DENIED
            assert (first.code(), first.details()) == (second.code(), second.details())
            assert first.trailing_metadata() == second.trailing_metadata()
        health: Any = health_pb2_grpc.HealthStub(
            await stack.enter_async_context(
                open_channel(running.token_address, credentials=running.credentials("laptop-2"))
            )
        )
        refused = await refusal(health.Watch(health_pb2.HealthCheckRequest()).read())
        assert refused.code() is grpc.StatusCode.UNAUTHENTICATED
    lines = running.service.lines("call denied")
    assert [line.get("identity", "") for line in lines] == ["laptop-2", ""]
    counted = dict(
        re.findall(r'gossipcontrol_denied_calls_total\{reason="(\w+)"\} (\d+)', await running.service.scrape())
    )
    assert counted == {"identity": "1", "call": "4", "field": "6"}


async def test_a_page_token_names_nothing_that_is_hidden(running: Hub) -> None:
    """The token of a page names its last row, which was another fleet's."""
    async with AsyncExitStack() as stack:
        operator, other = [await stub(running, name, stack) for name in ("operator", "laptop-2")]
        for number in range(3):
            await operator.Rejoin(rejoin("laptop-1", f"letters-{number}"))
        await operator.Rejoin(rejoin("laptop-1", "notes", "photos"))
        stores = await other.ListStores(gossip_control_pb2.ListStoresRequest(page_size=1))
        assert ([one.store_id for one in stores.stores], stores.next_page_token) == (["notes"], "notes")
        rejoins = await other.ListRejoins(gossip_control_pb2.ListRejoinsRequest(page_size=2))
        assert sorted(one.store_id for one in rejoins.rejoins) == ["notes", "photos"]
        assert not rejoins.next_page_token

"""Explain over a real socket and on the command line."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from gossipcontrol.cli.message_client import MessageClient
from gossipcontrol.client import (
    Cause,
    ChangeKind,
    DecisionKind,
    NetworkChange,
    NotFoundError,
    Outcome,
    PastTrigger,
    RefusedError,
    RejoinTrigger,
    Rule,
    StatusCode,
    decode,
)
from gossipcontrol.client.call import Call
from gossipcontrol.v1 import gossip_control_pb2
from gossipcontrol.v1.gossip_control_pb2_grpc import GossipControlStub

from tests.kit.service_lab import config, serving


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[MessageClient]:
    """A client of a service of its own."""
    async with serving(config(tmp_path)) as service, MessageClient(service.address) as made:
        yield made


def asking(node_id: str, *store_ids: str) -> RejoinTrigger:
    return RejoinTrigger(node_id=node_id, store_ids=store_ids)


async def test_a_forecast_changes_nothing_and_past_triggers_are_explained(client: MessageClient) -> None:
    forecast = await client.explain(asking("n", "a"))
    assert [one.kind for one in forecast.decisions] == [DecisionKind.PARKED]
    assert forecast.explanations[0].decision.rule == Rule.NOT_ATTACHED
    assert [one async for one in client.list_rejoins()] == []
    (decision,) = (await client.rejoin("n", ["a"], park=True)).decisions
    again = await client.explain(asking("n", "a"))
    assert again.decisions[0].rejoin_id == decision.rejoin_id
    explained = await client.explain(PastTrigger(rejoin_id=decision.rejoin_id))
    assert [one.decision.kind for one in explained.explanations] == [DecisionKind.PARKED]
    assert explained.rejoins[0].outcome == Outcome.PARKED
    assert 0 < explained.explanations[0].decision.start_in <= 600
    assert "no agent" in explained.explanations[0].message


async def test_the_triggers_of_a_call_are_found_by_its_request_id(client: MessageClient) -> None:
    request_id = str(uuid.uuid4())
    change = NetworkChange(request_id=request_id, node_ids=("n1", "n2"), kind=ChangeKind.RESUMED)
    await client.report_network_change(change)
    explained = await client.explain(PastTrigger(request_id=request_id))
    assert {one.decision.node_id for one in explained.explanations} == {"n1", "n2"}
    assert {one.cause for one in explained.explanations} == {Cause.RESUME}
    replay = await client.explain(change)
    assert replay.replayed


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (gossip_control_pb2.ExplainRequest(), "trigger"),
        (gossip_control_pb2.ExplainRequest(rejoin=gossip_control_pb2.RejoinRequest()), "rejoin.node_id"),
        (
            gossip_control_pb2.ExplainRequest(network_change=gossip_control_pb2.ReportNetworkChangeRequest()),
            "network_change.host_id",
        ),
        (gossip_control_pb2.ExplainRequest(past=gossip_control_pb2.PastTrigger()), "past.request_id"),
    ],
)
async def test_a_wrong_question_names_its_field(
    client: MessageClient, request_: gossip_control_pb2.ExplainRequest, field: str
) -> None:
    with pytest.raises(RefusedError) as raised:
        await client.message(Call(GossipControlStub, "Explain", request_, decode.explain_result))
    assert field in {name for name, _ in raised.value.violations}


async def test_an_unknown_rejoin_is_not_found(client: MessageClient) -> None:
    with pytest.raises(NotFoundError, match="no trigger of x-1") as raised:
        await client.explain(PastTrigger(rejoin_id="x-1"))
    assert raised.value.code is StatusCode.NOT_FOUND


async def command(client: MessageClient, *arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gossipcontrol.cli", *arguments, "--address", client.address,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


async def test_the_command_says_it_in_words_and_in_json(client: MessageClient) -> None:
    code, words = await command(client, "explain", "n", "a", "--cause", "suspicion")
    assert code == 0, words
    assert "parked by the rule 'not attached'" in words
    code, document = await command(client, "explain", "n", "--cause", "resume", "--json")
    assert code == 0, document
    assert json.loads(document)["decisions"][0]["rule"] == "unknown-node"
    await client.rejoin("n", ["a"], park=True)
    code, listed = await command(client, "rejoins", "--json", "--outcome", "parked")
    rejoin_id = json.loads(listed)["rejoins"][0]["rejoin_id"]
    code, words = await command(client, "explain", "--rejoin", rejoin_id)
    assert f"rejoin {rejoin_id} is parked" in words
    assert (await command(client, "explain"))[0] == 2

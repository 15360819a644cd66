"""Clients of every release of the protocol against the present service, over real gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableSequence
from typing import Any, cast

import grpc
import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.message_factory import GetMessageClass

from tests.kit.service_lab import Service, bad_fields, channel_to, refusal
from tests.kit.until import DEADLINE
from tests.server.conftest import service, windows
from tests.versions.release import ADDED, FRAME, OLDER, Release, enum_fields, release, to_bytes

__all__ = ["service", "windows"]

IGNORED = {"platform": "ReportNetworkChange", "reports.peers.path": "PeerLiveness"}
"""Enumerations of requests that are informative: an unknown number is counted and ignored."""
REFUSED = {
    ("Rejoin", "cause"), ("ReportNetworkChange", "kind"), ("ListPeers", "state"), ("ListRejoins", "cause"),
    ("ListRejoins", "outcome"), ("Explain", "rejoin.cause"), ("Explain", "network_change.kind"),
}  # fmt: skip
"""Enumerations that decide what is done: an unknown number is refused, by name."""
ALSO_IGNORED = {("Explain", "network_change.platform"), ("Attach", "register.capabilities"),
                ("Attach", "liveness.peers.path")}  # fmt: skip


@pytest.fixture(params=[*OLDER, "newer"])
def client(request: pytest.FixtureRequest) -> Release:
    return release(request.param)


@pytest.fixture
async def channel(service: Service) -> AsyncIterator[Any]:
    async with channel_to(service.address) as channel:
        yield channel


def requests(client: Release) -> dict[str, Any]:
    """One request of each unary call that an older or newer client may send, by method."""
    report = client.message("LivenessReport", node_id="n", store_id="a")
    report.peers.add(peer_id="p", heard_age_ms=1, path=1)
    made = {
        "PeerLiveness": client.message("PeerLivenessRequest", reports=[report]),  # first: it makes the node known
        "Rejoin": client.message("RejoinRequest", node_id="n", store_ids=["a"], cause=1),
        "ReportNetworkChange": client.message("ReportNetworkChangeRequest", host_id="h", kind=1, platform=1),
        "ListPeers": client.message("ListPeersRequest", store_id="a"),
        "ListStores": client.message("ListStoresRequest"),
        "ListRejoins": client.message("ListRejoinsRequest", node_id="n"),
        "Explain": client.message("ExplainRequest", rejoin=client.message("RejoinRequest", node_id="n")),
        "ChangeMembers": client.message(
            "ChangeMembersRequest", store_id="a", added=[client.message("Member", peer_id="p")]
        ),
        "GetKnowledge": client.message("GetKnowledgeRequest", store_id="a"),
        "GetStabilityFrontier": client.message("GetStabilityFrontierRequest", store_id="a"),
        "GetLag": client.message("GetLagRequest", store_id="a"),
    }
    if "Forget" in {method.name for method in client.methods()}:
        made["CancelRejoin"] = client.message("CancelRejoinRequest")
        made["Forget"] = client.message("ForgetRequest", store_id="a")
    if "ListReplicas" in {method.name for method in client.methods()}:
        made["ListReplicas"] = client.message("ListReplicasRequest")
    for message in made.values():
        add_everywhere(message)
    return made


def add_everywhere(message: Any) -> None:
    """Give the field that only a newer release has, in the message and in all below it."""
    kind: Descriptor = message.DESCRIPTOR
    for field in kind.fields:
        value = getattr(message, field.name)
        if field.message_type is not None:
            is_list = isinstance(value, MutableSequence)
            below: list[Any] = list(cast("Any", value)) if is_list else [value] * message.HasField(field.name)
            for one in below:
                add_everywhere(one)
    if "newer_field" in message.DESCRIPTOR.fields_by_name:
        message.newer_field = "of a newer release"


async def call(channel: Any, client: Release, name: str, request: Any) -> Any:
    """A unary call with the messages of the client's release."""
    method = client.method(name)
    path = f"/{method.containing_service.full_name}/{name}"
    answer = GetMessageClass(method.output_type).FromString
    return await channel.unary_unary(path, to_bytes, answer)(request, timeout=DEADLINE)


async def test_every_unary_call_is_answered(client: Release, channel: Any) -> None:
    made = requests(client)
    streaming = {one.name for one in client.methods() if one.client_streaming or one.server_streaming}
    assert made.keys() | streaming == {one.name for one in client.methods()}
    for name, request in made.items():
        if name == "CancelRejoin":
            [rejoin, *_] = (await call(channel, client, "ListRejoins", made["ListRejoins"])).rejoins
            request.rejoin_id = rejoin.rejoin_id
        await call(channel, client, name, request)


async def test_streams_are_served(client: Release, channel: Any) -> None:
    """RecordIntentions and WatchPeers, with the messages of the client's release."""
    link = client.message("Intention", author_id="a", hash=b"h")
    batch = client.message("IntentionBatch", store_id="a", intentions=[link])
    request = client.message("RecordIntentionsRequest", batch=batch)
    add_everywhere(request)
    record = channel.stream_unary(
        "/gossipcontrol.v1.PeerKnowledge/RecordIntentions", to_bytes,
        client.reader("RecordIntentionsResponse"),
    )  # fmt: skip
    assert (await record(iter([request]), timeout=DEADLINE)).recorded == 1
    wanted = client.message("WatchPeersRequest", store_id="a")
    watch = channel.unary_stream(
        "/gossipcontrol.v1.GossipControl/WatchPeers", to_bytes,
        client.reader("WatchPeersResponse"),
    )(wanted)  # fmt: skip
    async with asyncio.timeout(DEADLINE):
        assert (await watch.read()).view.store_id == "a"
    watch.cancel()


async def test_an_agent_attaches_whatever_it_can_do(client: Release, channel: Any, service: Service) -> None:
    """opensearch-project/query-insights#673, microsoft/agent-host-protocol#366: one added value broke peers."""
    newer = client.name == "newer"
    first = client.message("Register", node_id="n", store_ids=["a"], capabilities=[1, ADDED] if newer else [1])
    attach = channel.stream_stream(
        "/gossipcontrol.v1.GossipControl/Attach", to_bytes,
        client.reader("AttachResponse"),
    )()  # fmt: skip

    async def send(**frame: Any) -> None:
        message = client.message("AttachRequest", **frame)
        if not any(name.startswith("newer_") for name in frame):
            add_everywhere(message)
        await attach.write(message)

    async with asyncio.timeout(DEADLINE):
        if newer:
            await send(newer_frame="before the registration")
        await send(register=first)
        assert (await attach.read()).WhichOneof("frame") == "registered"
        if newer:
            await send(newer_frame="in between")
        report = client.message("LivenessReport", store_id="a")
        report.peers.add(peer_id="p", heard_age_ms=1, path=ADDED if newer else 2)
        await send(liveness=report)
        ack = await attach.read()
        assert {peer.peer_id for peer in ack.ack.view.peers} == {"n", "p"}
    attach.cancel()
    counted = service.app.metrics.registry.get_sample_value
    wanted = {"frame": 2, "capability": 1, "path": 1} if newer else {"frame": 0, "capability": 0, "path": 0}
    assert {field: counted("gossipcontrol_unrecognized_values_total", {"field": field}) for field in wanted} == wanted
    if newer:
        logged = {(line["field"], line["number"]) for line in service.lines("unrecognized value")}
        assert logged == {("frame", FRAME), ("capability", ADDED), ("path", ADDED)}


async def test_an_unknown_platform_is_counted_shown_and_no_reason_to_refuse(channel: Any, service: Service) -> None:
    client = release("newer")
    request = client.message("ReportNetworkChangeRequest", host_id="h", kind=1, platform=ADDED)
    for _ in range(2):
        await call(channel, client, "ReportNetworkChange", request)
    [line] = service.lines("unrecognized value")
    assert (line["field"], line["number"]) == ("platform", ADDED)
    labels = {"platform": "unspecified", "kind": "changed"}
    assert service.app.metrics.registry.get_sample_value("gossipcontrol_network_changes_total", labels) == 2


async def test_what_decides_and_is_not_known_is_refused_by_name(channel: Any) -> None:
    client = release("newer")
    for name, path in sorted(REFUSED):
        request = requests(client)[name]
        *above, last = path.split(".")
        inner = request
        for step in above:
            inner = getattr(inner, step)
        if above == ["network_change"]:
            inner.host_id = "h"
        if above == ["rejoin"]:
            inner.node_id = "n"
        setattr(inner, last, ADDED)
        error = await refusal(call(channel, client, name, request))
        assert bad_fields(error) == {path: f"{ADDED} is not a known value"}
    trigger = client.message("ExplainRequest", newer_trigger="of a newer release")
    error = await refusal(call(channel, client, "Explain", trigger))
    assert bad_fields(error) == {"trigger": f"field {FRAME} is no trigger that this version knows"}


async def test_an_empty_frame_is_still_a_mistake(channel: Any) -> None:
    stream = channel.stream_stream("/gossipcontrol.v1.GossipControl/Attach", None, None)

    async def empty() -> AsyncIterator[bytes]:
        yield b""

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await anext(aiter(stream(empty(), timeout=DEADLINE)))
    assert caught.value.details() == "frame: the first frame must be register"


def test_every_enumeration_of_a_request_is_one_or_the_other() -> None:
    present = release("present")
    found: set[tuple[str, str]] = set()
    for method in present.methods():
        kind: Descriptor = method.input_type
        found |= {(method.name, path) for path in enum_fields(kind)}
    known = REFUSED | ALSO_IGNORED | {(method, path) for path, method in IGNORED.items()}
    assert found == known

"""PeerKnowledge over a real socket: recorded, broken off, resumed, asked for, refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest
from gossipcontrol.client.errors import RefusedError
from gossipcontrol.client.failure import client_error
from gossipcontrol.server.app import App
from gossipcontrol.server.config import Config, Listen, Log, Metrics, State
from gossipcontrol.server.core.knowledge.answer import (
    holders_slices,
    knowledge_slices,
    lag_slices,
    stability_slices,
    unshared_slices,
)
from gossipcontrol.server.core.knowledge.parameter import KnowledgeParameters
from gossipcontrol.server.core.knowledge.view import View
from gossipcontrol.server.core.slices import finish
from gossipcontrol.server.observe.log import make_logger
from gossipcontrol.server.runtime.knowledge_dispatcher import KnowledgeDispatcher
from gossipcontrol.server.wire.decode_knowledge import intentions_recorded
from gossipcontrol.v1 import attach_pb2, gossip_control_pb2_grpc, peer_knowledge_pb2_grpc
from gossipcontrol.v1 import peer_knowledge_pb2 as pb
from prometheus_client import generate_latest

from tests.kit.service_lab import channel_to
from tests.kit.until import until


class Service(NamedTuple):
    """A running service and its two stubs."""

    app: App
    knowledge: peer_knowledge_pb2_grpc.PeerKnowledgeAsyncStub
    control: gossip_control_pb2_grpc.GossipControlAsyncStub

    @property
    def dispatcher(self) -> KnowledgeDispatcher:
        """What it does between two parts of its work, and whether something is pending, show nowhere else."""
        return self.app._knowledge  # pyright: ignore[reportPrivateUsage]

    async def record(self, *intentions: pb.Intention, store_id: str = "s") -> pb.RecordIntentionsResponse:
        batch = pb.IntentionBatch(store_id=store_id, intentions=intentions)
        return await self.knowledge.RecordIntentions(iter([pb.RecordIntentionsRequest(batch=batch)]))

    async def rows(self, **query: object) -> dict[str, pb.PeerKnowledgeRow]:
        request = pb.GetKnowledgeRequest(store_id="s", **query)  # type: ignore[arg-type]
        response = await self.knowledge.GetKnowledge(request)
        return {row.peer_id: row for row in response.rows}


KNOWLEDGE = KnowledgeParameters(store_limit=3, chain_limit=4)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    socket = tmp_path / "s.sock"
    config = Config(
        listen=Listen(socket=str(socket), tcp=""),
        metrics=Metrics(address="", stores=1),
        state=State(backend="memory"),
        knowledge=KNOWLEDGE,
    )
    app = App(config, make_logger(Log(level="error")))
    await app.start()
    async with channel_to(f"unix:{socket}") as channel:
        knowledge: peer_knowledge_pb2_grpc.PeerKnowledgeAsyncStub = peer_knowledge_pb2_grpc.PeerKnowledgeStub(channel)
        control: gossip_control_pb2_grpc.GossipControlAsyncStub = gossip_control_pb2_grpc.GossipControlStub(channel)
        yield Service(app, knowledge, control)
    await app.stop()


def one(name: str, prev: str = "", *seen: str, ack: bool = False, life: str = "") -> pb.Intention:
    """Intention ``alice2`` is by alice."""
    return pb.Intention(
        author_id=name.rstrip("0123456789"),
        hash=name.encode(),
        store_prev=prev.encode(),
        dependencies=[each.encode() for each in seen],
        acknowledgement=ack,
        incarnation=life,
    )


def chain(author: str, number: int) -> list[pb.Intention]:
    return [one(f"{author}{count}", f"{author}{count - 1}" if count > 1 else "") for count in range(1, number + 1)]


def batches(intentions: Sequence[pb.Intention], size: int, sender_id: str) -> list[pb.RecordIntentionsRequest]:
    return [
        pb.RecordIntentionsRequest(
            batch=pb.IntentionBatch(store_id="s", intentions=intentions[start : start + size]),
            sequence=start // size + 1,
            sender_id=sender_id,
        )
        for start in range(0, len(intentions), size)
    ]


def places(positions: Sequence[pb.ChainPosition]) -> list[tuple[str, int, bytes]]:
    return [(place.author_id, place.position, place.hash) for place in positions]


async def test_what_is_recorded_can_be_asked_for(service: Service) -> None:
    answer = await service.record(*chain("alice", 5), one("bob1", "", "alice3"), one("carol1", "", "bob1", ack=True))
    assert (answer.recorded, answer.known, answer.floating, answer.last_sequence) == (7, 0, 0, 0)
    rows = await service.rows()
    assert list(rows) == ["alice", "bob", "carol"]
    assert places(rows["carol"].positions) == [("alice", 3, b"alice3"), ("bob", 1, b"bob1"), ("carol", 1, b"carol1")]
    assert (rows["carol"].held, rows["carol"].lives, rows["carol"].active) == (5, 1, True)
    assert rows["carol"].HasField("proof_age_ms")
    assert rows["carol"].proof_age_ms < 60_000
    frontier = await service.knowledge.GetStabilityFrontier(pb.GetStabilityFrontierRequest(store_id="s"))
    assert places(frontier.frontier) == [("alice", 3, b"alice3")]
    assert (frontier.unstable, frontier.at_risk) == (3, 2)
    lags = (await service.knowledge.GetLag(pb.GetLagRequest(store_id="s", peer_id="bob"))).peers
    assert [(lag.behind, [(each.author_id, each.behind) for each in lag.authors]) for lag in lags] == [
        (2, [("alice", 2)])
    ]
    assert list(await service.rows(holds_hash=b"alice3")) == ["alice", "bob", "carol"]
    assert list(await service.rows(holds_hash=b"bob1")) == ["bob", "carol"]


async def test_a_stream_killed_in_the_middle_is_resumed_without_loss_or_double_counting(service: Service) -> None:
    wanted = chain("alice", 1000)
    requests = batches(wanted, 10, "log-1")
    call = service.knowledge.RecordIntentions()
    for request in requests[:37]:
        await call.write(request)
    async with asyncio.timeout(30):
        while True:
            if (last := await last_sequence(service, "log-1")) >= 30:
                break
    call.cancel()
    async with asyncio.timeout(30):
        while True:
            last, then = await last_sequence(service, "log-1"), last
            if last == then:
                break
    assert 30 <= last <= 37
    answer = await service.knowledge.RecordIntentions(iter(requests[last:]))
    assert answer.last_sequence == 100
    assert answer.recorded + answer.known == 1000 - last * 10
    row = (await service.rows())["alice"]
    assert (row.held, places(row.positions)) == (1000, [("alice", 1000, b"alice1000")])
    again = await service.knowledge.RecordIntentions(iter(requests))
    assert (again.recorded, again.known, again.last_sequence) == (0, 1000, 100)
    assert (await service.rows())["alice"].held == 1000


async def last_sequence(service: Service, sender_id: str) -> int:
    answer = await service.knowledge.RecordIntentions(iter([pb.RecordIntentionsRequest(sender_id=sender_id)]))
    return answer.last_sequence


async def test_what_floats_is_counted_and_resolved(service: Service) -> None:
    links = chain("alice", 3)
    answer = await service.record(*links[1:])
    assert (answer.recorded, answer.floating) == (2, 2)
    answer = await service.record(links[0], links[1])
    assert (answer.recorded, answer.known, answer.floating) == (1, 1, 0)
    assert (await service.rows())["alice"].held == 3


async def test_intentions_come_through_an_agents_stream(service: Service) -> None:
    call = service.control.Attach()
    await call.write(attach_pb2.AttachRequest(register=attach_pb2.Register(node_id="n", store_ids=["s"])))
    registered = await call.read()
    assert isinstance(registered, attach_pb2.AttachResponse)
    assert registered.WhichOneof("frame") == "registered"
    batch = pb.IntentionBatch(store_id="s", intentions=chain("alice", 4))
    await call.write(attach_pb2.AttachRequest(intentions=batch))
    await call.write(attach_pb2.AttachRequest(goodbye=attach_pb2.Goodbye()))
    assert await call.read() == grpc.aio.EOF
    assert (await service.rows())["alice"].held == 4


async def test_a_wrong_frame_of_an_agent_ends_its_stream(service: Service) -> None:
    call = service.control.Attach()
    await call.write(attach_pb2.AttachRequest(register=attach_pb2.Register(node_id="n", store_ids=["s"])))
    await call.read()
    await call.write(attach_pb2.AttachRequest(intentions=pb.IntentionBatch(intentions=[one("alice1")])))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert violations(caught.value) == ["intentions.store_id"]


async def test_membership(service: Service) -> None:
    await service.record(one("alice1"), one("bob1", "", "alice1"), one("dead1"))
    change = pb.ChangeMembersRequest(store_id="s", removed_peer_ids=["dead"], hold_ms=0)
    assert (await service.knowledge.ChangeMembers(change)).active == 2
    frontier = await service.knowledge.GetStabilityFrontier(pb.GetStabilityFrontierRequest(store_id="s"))
    assert places(frontier.frontier) == [("alice", 1, b"alice1")]
    assert (frontier.unstable, frontier.at_risk) == (2, 2)
    change = pb.ChangeMembersRequest(store_id="s", added=[pb.Member(peer_id="bob", incarnation="2")])
    await service.knowledge.ChangeMembers(change)
    row = (await service.rows(peer_id="bob"))["bob"]
    assert (row.held, row.lives, row.incarnation) == (0, 2, "2")
    assert not row.HasField("proof_age_ms")


async def test_pages(service: Service) -> None:
    await service.record(one("alice1"), one("bob1"), one("carol1"))
    first = await service.knowledge.GetLag(pb.GetLagRequest(store_id="s", page_size=2))
    assert [lag.peer_id for lag in first.peers] == ["alice", "bob"]
    second = await service.knowledge.GetLag(
        pb.GetLagRequest(store_id="s", page_size=2, page_token=first.next_page_token)
    )
    assert ([lag.peer_id for lag in second.peers], second.next_page_token) == (["carol"], "")
    page = await service.knowledge.GetKnowledge(pb.GetKnowledgeRequest(store_id="s", page_size=1, page_token="bob"))
    assert ([row.peer_id for row in page.rows], page.next_page_token) == (["carol"], "")


def violations(error: grpc.aio.AioRpcError) -> list[str]:
    refused = client_error(error)
    assert isinstance(refused, RefusedError)
    return [field for field, _ in refused.violations]


WRONG = {
    "batch.store_id": pb.RecordIntentionsRequest(batch=pb.IntentionBatch(intentions=[one("a1")])),
    "batch.intentions": pb.RecordIntentionsRequest(
        batch=pb.IntentionBatch(store_id="s", intentions=[one("a1")] * 1001)
    ),
    "batch.intentions[1].hash": pb.RecordIntentionsRequest(
        batch=pb.IntentionBatch(store_id="s", intentions=[one("a1"), pb.Intention(author_id="a")])
    ),
    "batch.intentions[0].author_id": pb.RecordIntentionsRequest(
        batch=pb.IntentionBatch(store_id="s", intentions=[pb.Intention(author_id="é" * 65, hash=b"h")])
    ),
    "batch.intentions[0].dependencies[1]": pb.RecordIntentionsRequest(
        batch=pb.IntentionBatch(
            store_id="s", intentions=[pb.Intention(author_id="a", hash=b"h", dependencies=[b"x", b"h"])]
        )
    ),
    "batch.intentions[0].store_prev": pb.RecordIntentionsRequest(
        batch=pb.IntentionBatch(store_id="s", intentions=[pb.Intention(author_id="a", hash=b"h", store_prev=b"h")])
    ),
    "batch.intentions[0].incarnation": pb.RecordIntentionsRequest(
        batch=pb.IntentionBatch(store_id="s", intentions=[one("a1", life="x" * 65)])
    ),
    "sender_id": pb.RecordIntentionsRequest(batch=pb.IntentionBatch(store_id="s"), sequence=3),
}


@pytest.mark.parametrize("field", WRONG)
async def test_a_wrong_batch_is_refused_by_field_and_what_came_before_stays(service: Service, field: str) -> None:
    good = pb.RecordIntentionsRequest(batch=pb.IntentionBatch(store_id="s", intentions=[one("zoe1")]))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.knowledge.RecordIntentions(iter([good, WRONG[field]]))
    assert violations(caught.value) == [field]
    assert list(await service.rows()) == ["zoe"]


async def test_sequences_must_grow_and_senders_stay(service: Service) -> None:
    first, second = batches(chain("alice", 2), 1, "log")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.knowledge.RecordIntentions(iter([second, first]))
    assert violations(caught.value) == ["sequence"]
    second.sender_id = "other"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.knowledge.RecordIntentions(iter([first, second]))
    assert violations(caught.value) == ["sender_id"]


async def test_what_finds_no_room_is_resource_exhausted(service: Service) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.record(*(one(f"{name}1") for name in "abcde"))
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    for number in range(2):
        await service.record(one("a1"), store_id=f"t{number}")
    with pytest.raises(grpc.aio.AioRpcError, match="3 stores are tracked already"):
        await service.record(one("a1"), store_id="t9")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"store_id": "t"}, "no intention of store t"),
        ({"store_id": "s", "peer_id": "x"}, "has no peer x"),
        ({"store_id": "s", "holds_hash": b"\xab"}, "intention ab of store s is not known"),
    ],
)
async def test_what_is_not_known_is_not_found(service: Service, query: dict[str, str], message: str) -> None:
    await service.record(one("alice1"))
    with pytest.raises(grpc.aio.AioRpcError, match=message) as caught:
        await service.knowledge.GetKnowledge(pb.GetKnowledgeRequest(**query))  # type: ignore[arg-type]
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


async def test_metrics_have_bounded_labels(service: Service) -> None:
    fork = pb.Intention(author_id="alice", hash=b"fork", store_prev=b"alice1")
    await service.record(one("alice1"), one("alice2", "alice1"), fork, one("bob1", "", "alice1"))
    await service.record(one("alice1"), one("bob9", "bob8"), store_id="t")
    await service.record(one("alice1"), store_id="u")
    wanted = (
        "gossipcontrol_knowledge_intentions_total 7.0",
        'gossipcontrol_stability_lag_intentions{store="s"} 3.0',
        'gossipcontrol_stability_lag_intentions{store="other"} 0.0',
        'gossipcontrol_knowledge_at_risk_intentions{store="s"} 3.0',
        'gossipcontrol_knowledge_at_risk_intentions{store="other"} 2.0',
        'gossipcontrol_knowledge_forks{store="s"} 1.0',
        'gossipcontrol_knowledge_floating{store="other"} 1.0',
    )

    def page() -> str:
        return generate_latest(service.app.metrics.registry).decode()

    await until(lambda: all(line in page() for line in wanted), "the metrics have these values", within=30)
    assert 'store="t"' not in page()


async def test_a_large_batch_lets_others_go_first_and_is_acknowledged_as_a_whole(service: Service) -> None:
    """The public report: one full batch, or one that released thousands, blocked every other call."""
    dispatcher = service.dispatcher
    wanted = chain("alice", 2000)
    event = intentions_recorded(pb.IntentionBatch(store_id="s", intentions=wanted[:1000]), "batch.", 1e9, "log-1", 7)
    seen: list[int] = []

    async def watch() -> None:
        while len(seen) < 50:
            tracker = dispatcher.store.tracker("s")
            seen.append(tracker.graph.order if tracker else 0)
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    recorded = await dispatcher.submit(event)
    await watching
    assert recorded.new == 1000
    assert {500, 1000} <= set(seen), "another task ran between the parts"
    assert await last_sequence(service, "log-1") == 7


async def test_what_an_event_leaves_pending_is_done_without_a_further_event(service: Service) -> None:
    tracker_of = service.dispatcher.store.tracker
    wanted = chain("alice", 3000)
    for start in range(1, 3000, 999):
        await service.record(*wanted[start : start + 999])
    answer = await service.record(wanted[0])
    assert answer.recorded == 1
    assert answer.floating > 0, "one event places so many only"
    async with asyncio.timeout(30):
        while (tracker := tracker_of("s")) is None or tracker.is_pending:
            await asyncio.sleep(0.01)
    assert len(tracker.floating) == 0
    assert places((await service.rows())["alice"].positions) == [("alice", 3000, b"alice3000")]


async def test_an_answer_is_of_one_instant_though_the_store_changes_while_it_is_computed(service: Service) -> None:
    await service.record(*chain("alice", 5), one("bob1", "", "alice3"))
    tracker = service.dispatcher.store.tracker("s")
    assert tracker is not None
    work = stability_slices(tracker)
    next(work)
    await service.record(one("bob2", "bob1", "alice5"), one("alice6", "alice5"))
    stability = finish(work)
    assert [(each.author_id, each.position) for each in stability.frontier] == [("alice", 3)]
    assert (stability.unstable, stability.at_risk) == (3, 3)
    rows, later = knowledge_slices(tracker, ["alice", "bob"], 100), one("bob3", "bob2", "alice6")
    next(rows)
    await service.record(later)
    assert [row.held for row in finish(rows)] == [6, 7]
    assert [row.held for row in finish(knowledge_slices(tracker, ["alice", "bob"], 100))] == [6, 9]


async def test_every_answer_pauses_between_peers(service: Service) -> None:
    """The public report: GetStabilityFrontier of 12,000 peers blocked every other call for 334 ms."""
    members = [pb.Member(peer_id=f"m{number:04d}") for number in range(900)]
    changed = await service.knowledge.ChangeMembers(pb.ChangeMembersRequest(store_id="s", added=members))
    assert changed.active == 900
    await service.record(*chain("alice", 5), one("bob1", "", "alice3"))
    tracker = service.dispatcher.store.tracker("s")
    assert tracker is not None
    page = tracker.peers()
    for work in (
        stability_slices(tracker),
        holders_slices(tracker, b"alice3"),
        knowledge_slices(tracker, page, 10_000),
        lag_slices(View(tracker, page), page),
        unshared_slices(tracker, "s", 0.0),
    ):
        assert sum(1 for _ in work) >= 900


async def test_a_batch_of_which_a_later_part_finds_no_room_has_not_been_recorded(service: Service) -> None:
    wanted = [*chain("alice", 600), *(one(f"{author}1") for author in "bcdef")]
    with pytest.raises(grpc.aio.AioRpcError, match="no room"):
        await service.knowledge.RecordIntentions(iter(batches(wanted, 1000, "log-1")))
    assert await last_sequence(service, "log-1") == 0
    again = await service.knowledge.RecordIntentions(iter(batches(wanted[:603], 1000, "log-1")))
    assert (again.known, again.last_sequence) == (603, 1)

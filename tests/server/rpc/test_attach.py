"""An agent's stream: registration, commands and results, proof, and every way in which it ends."""

from __future__ import annotations

import asyncio
import gc
import time
from collections import deque
from pathlib import Path
from typing import TypeAlias

import grpc
import pytest
from gossipcontrol.server.config import Retry
from gossipcontrol.server.core.event import Event, LivenessReported
from gossipcontrol.server.core.identity import Claims
from gossipcontrol.server.core.turn import Turn
from gossipcontrol.server.rpc import attach
from gossipcontrol.server.rpc.command_log import CommandLog
from gossipcontrol.server.rpc.session import BACKLOG_BYTES, BACKLOG_FRAMES, Session
from gossipcontrol.server.runtime.dispatcher import Dispatcher
from gossipcontrol.v1 import attach_pb2, decision_pb2, gossip_control_pb2_grpc
from gossipcontrol.v1.attach_pb2 import Goodbye, NeighborEvent, RejoinResult
from gossipcontrol.v1.gossip_control_pb2 import ListRejoinsRequest, ListStoresRequest, PeerLivenessRequest
from gossipcontrol.v1.liveness_pb2 import LivenessReport, Neighbor, PeerObservation, SyncWithPeer

from tests.kit.service_lab import (
    BareAgent,
    Service,
    bad_fields,
    config,
    connected,
    deciding,
    ends_soon,
    rejoin,
    serving,
)
from tests.kit.until import until

Stub: TypeAlias = "gossip_control_pb2_grpc.GossipControlAsyncStub"
AGAIN_SOON = deciding(3.0)
"""A rejoin starts a second time soon, and is not given up before a test on a busy machine has answered."""


async def outcomes(stub: Stub, node_id: str = "n") -> list[str]:
    rejoins = (await stub.ListRejoins(ListRejoinsRequest(node_id=node_id))).rejoins
    return [decision_pb2.RejoinOutcome.Name(one.outcome).removeprefix("REJOIN_OUTCOME_") for one in rejoins]


async def until_outcome(stub: Stub, wanted: str) -> decision_pb2.Rejoin:
    async def come() -> bool:
        return wanted in await outcomes(stub)

    await until(come, f"a rejoin is {wanted}")
    rejoins = (await stub.ListRejoins(ListRejoinsRequest(node_id="n"))).rejoins
    return next(one for one in rejoins if one.outcome == decision_pb2.RejoinOutcome.Value(f"REJOIN_OUTCOME_{wanted}"))


async def attached(stub: Stub) -> bool:
    stores = (await stub.ListStores(ListStoresRequest())).stores
    return any(node.attached for store in stores for node in store.nodes)


async def test_a_registration_is_answered_first(stub: Stub) -> None:
    agent = BareAgent(stub)
    await agent.send(register=attach_pb2.Register(node_id="n", store_ids=["a", "b"], host_id="h"))
    first = await agent.receive()
    assert first.WhichOneof("frame") == "registered"
    assert first.registered.session_id
    assert first.registered.next_report_ms == 2_000
    assert first.registered.unparked == 0
    assert await attached(stub)


async def test_a_connection_has_a_bounded_number_of_streams_that_register(
    service: Service, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes 40 kB for 10 s, and there was no limit."""
    monkeypatch.setattr(attach, "UNREGISTERED", 3)
    async with connected(service.tcp) as other:
        idle = [BareAgent(other) for _ in range(4)]
        ends = [asyncio.create_task(agent.ended()) for agent in idle]
        await until(lambda: any(end.done() for end in ends), "one has ended")
        [(code, details)] = [end.result() for end in ends if end.done()]
        for end in ends:
            end.cancel()
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "3 streams of this connection have not registered yet" in details
        await BareAgent(stub).register("n", "a")


async def test_a_registration_waits_until_its_pass_has_room(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many nodes as came back at once were registered in one pass: 1,500 took 0.25 s."""
    room, waiting = asyncio.Event(), list[bool]()

    async def wait() -> None:
        waiting.append(await attached(stub))
        await room.wait()

    monkeypatch.setattr(attach, "wait_for_room", wait)
    agent = BareAgent(stub)
    registering = asyncio.create_task(agent.register("n", "a"))
    await until(lambda: waiting == [False], "it waits")
    assert not await attached(stub)
    room.set()
    await registering
    assert await attached(stub)


async def test_a_later_registration_replaces_the_stores(stub: Stub) -> None:
    agent = BareAgent(stub)
    first = await agent.register("n", "a", "b")
    second = await agent.register("n", "b", "c")
    assert first.session_id == second.session_id
    stores = (await stub.ListStores(ListStoresRequest(node_id="n"))).stores
    assert [store.store_id for store in stores] == ["b", "c"]


async def test_a_stream_speaks_for_one_node_only(stub: Stub) -> None:
    agent = BareAgent(stub)
    await agent.register("n", "a")
    await agent.send(register=attach_pb2.Register(node_id="m"))
    code, details = await agent.ended()
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "register.node_id: must stay n" in details
    assert not await attached(stub)


async def test_a_newer_stream_of_the_node_takes_over(stub: Stub) -> None:
    old, new = BareAgent(stub), BareAgent(stub)
    await old.register("n", "a")
    await new.register("n", "a")
    code, details = await old.ended()
    assert code is grpc.StatusCode.ABORTED
    assert "newer stream" in details
    await stub.Rejoin(rejoin("n"))
    assert (await new.command()).store_id == "a"


async def test_a_refused_newcomer_leaves_the_older_stream_in_place(tmp_path: Path) -> None:
    settings = config(tmp_path, deciding=deciding(stores_per_node=1))
    async with serving(settings) as service, connected(service.address) as stub:
        old, new = BareAgent(stub), BareAgent(stub)
        await old.register("n", "a")
        await new.send(register=attach_pb2.Register(node_id="n", store_ids=["a", "b"]))
        assert (await new.ended())[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
        await stub.Rejoin(rejoin("n"))
        assert (await old.command()).store_id == "a"


async def test_a_parked_rejoin_starts_when_the_node_attaches(stub: Stub) -> None:
    [parked] = (await stub.Rejoin(rejoin("n", "a"))).decisions
    assert parked.kind == decision_pb2.DECISION_KIND_PARKED
    agent = BareAgent(stub)
    registered = await agent.register("n", "a")
    assert registered.unparked == 1
    assert (await agent.command()).rejoin_id == parked.rejoin_id


async def test_a_change_of_an_unknown_host_reaches_its_node_when_it_attaches(stub: Stub) -> None:
    from gossipcontrol.v1.gossip_control_pb2 import NETWORK_CHANGE_KIND_RESUMED, ReportNetworkChangeRequest

    await stub.ReportNetworkChange(ReportNetworkChangeRequest(host_id="h", kind=NETWORK_CHANGE_KIND_RESUMED))
    agent = BareAgent(stub)
    await agent.register("n", "a", host_id="h")
    assert list((await agent.command()).causes) == [decision_pb2.CAUSE_RESUME]


@pytest.mark.parametrize("proof", ["neighbour event", "neighbour in a report", "message"])
async def test_a_sign_of_life_newer_than_the_start_verifies(stub: Stub, proof: str) -> None:
    agent = BareAgent(stub)
    await agent.register("n", "a")
    await stub.Rejoin(rejoin("n"))
    command = await agent.command()
    await agent.send(rejoin_result=RejoinResult(rejoin_id=command.rejoin_id, attempt=1, ok=True))
    if proof == "neighbour event":
        await agent.send(neighbor=NeighborEvent(store_id="a", peer_id="p", up=True))
    elif proof == "message":
        await agent.send(liveness=LivenessReport(store_id="a", peers=[PeerObservation(peer_id="p", heard_age_ms=0)]))
    else:
        await agent.send(liveness=LivenessReport(store_id="a", neighbors=[Neighbor(peer_id="p", up_age_ms=0)]))
    verified = await until_outcome(stub, "VERIFIED")
    assert verified.HasField("verified_after_ms")
    assert "p" in verified.detail


@ends_soon
async def test_an_older_sign_of_life_proves_nothing(stub: Stub) -> None:
    agent = BareAgent(stub)
    await agent.register("n", "a")
    await stub.Rejoin(rejoin("n"))
    command = await agent.command()
    await agent.send(rejoin_result=RejoinResult(rejoin_id=command.rejoin_id, attempt=1, ok=True))
    await agent.send(neighbor=NeighborEvent(store_id="a", peer_id="p", up=True, age_ms=60_000))
    ended = await until_outcome(stub, "UNVERIFIED")
    assert ended.detail == "carried out, but no neighbour and no message within 0.3 s"


@ends_soon
async def test_a_report_written_before_the_command_arrived_proves_nothing(stub: Stub) -> None:
    """The network held it: it arrives after the start, and its ages are small."""
    agent = BareAgent(stub)
    await agent.register("n", "a")
    await stub.Rejoin(rejoin("n"))
    command = await agent.command()
    await agent.send(rejoin_result=RejoinResult(rejoin_id=command.rejoin_id, attempt=1, ok=True))
    heard = LivenessReport(store_id="a", peers=[PeerObservation(peer_id="p", heard_age_ms=0)])
    await agent.send(liveness=heard, commands_received=0)
    await agent.send(neighbor=NeighborEvent(store_id="a", peer_id="p", up=True), commands_received=0)
    # It had received the command, but heard the message a second before.
    earlier = LivenessReport(store_id="a", peers=[PeerObservation(peer_id="p", heard_age_ms=1000)])
    await agent.send(liveness=earlier, commands_received=1, command_age_ms=0)
    await until_outcome(stub, "UNVERIFIED")


@ends_soon
async def test_an_older_agents_report_before_its_result_proves_nothing(stub: Stub) -> None:
    """It does not say which commands it had received; the network held its report, and another on a call of its own."""
    agent = BareAgent(stub)
    await agent.register("n", "a")
    await stub.Rejoin(rejoin("n"))
    command = await agent.command()
    heard = LivenessReport(store_id="a", peers=[PeerObservation(peer_id="p", heard_age_ms=0)])
    await agent.send(liveness=heard)
    unary = LivenessReport(node_id="n", store_id="a", peers=heard.peers)
    await stub.PeerLiveness(PeerLivenessRequest(reports=[unary]))
    await agent.send(rejoin_result=RejoinResult(rejoin_id=command.rejoin_id, attempt=1, ok=True))
    await until_outcome(stub, "UNVERIFIED")


async def test_a_report_written_after_the_command_arrived_proves_it(stub: Stub) -> None:
    agent = BareAgent(stub)
    await agent.register("n", "a")
    await stub.Rejoin(rejoin("n"))
    await agent.command()
    heard = LivenessReport(store_id="a", peers=[PeerObservation(peer_id="p", heard_age_ms=0)])
    await agent.send(liveness=heard, commands_received=1, command_age_ms=1)
    await until_outcome(stub, "VERIFIED")


@pytest.mark.parametrize("kind", ["neighbor", "liveness"])
async def test_a_pause_of_the_service_while_it_reads_a_frame_costs_no_proof(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The agent answers within the millisecond, and then the process has no processor for longer than that."""
    measure = CommandLog.delay

    def preempted(self: CommandLog, store_id: str, received: int, age: float) -> float:
        until_then = time.perf_counter() + 0.02
        while time.perf_counter() < until_then:
            pass
        return measure(self, store_id, received, age)

    monkeypatch.setattr(CommandLog, "delay", preempted)
    agent = BareAgent(stub)
    await agent.register("n", "a")
    await stub.Rejoin(rejoin("n"))
    await agent.command()
    if kind == "neighbor":
        await agent.send(neighbor=NeighborEvent(store_id="a", peer_id="p", up=True), commands_received=1)
    else:
        heard = LivenessReport(store_id="a", peers=[PeerObservation(peer_id="p", heard_age_ms=0)])
        await agent.send(liveness=heard, commands_received=1)
    await until_outcome(stub, "VERIFIED")


async def test_a_failed_attempt_is_tried_again_and_then_given_up(tmp_path: Path) -> None:
    settings = config(tmp_path, deciding=AGAIN_SOON, retry=Retry(attempts=2, base=0.01, cap=0.01))
    async with serving(settings) as service, connected(service.address) as stub:
        agent = BareAgent(stub)
        await agent.register("n", "a")
        await stub.Rejoin(rejoin("n"))
        for attempt in (1, 2):
            command = await agent.command()
            assert command.attempt == attempt
            result = RejoinResult(rejoin_id=command.rejoin_id, attempt=attempt, error="no route")
            await agent.send(rejoin_result=result)
        failed = await until_outcome(stub, "FAILED")
        assert (failed.attempts, failed.detail) == (2, "no route")


async def test_a_permanent_failure_is_not_tried_again(stub: Stub) -> None:
    agent = BareAgent(stub)
    await agent.register("n", "a")
    await stub.Rejoin(rejoin("n"))
    command = await agent.command()
    await agent.send(
        rejoin_result=RejoinResult(rejoin_id=command.rejoin_id, attempt=1, error="no such store", permanent=True)
    )
    assert (await until_outcome(stub, "FAILED")).attempts == 1


async def test_a_node_cannot_answer_for_another(stub: Stub) -> None:
    agent, stranger = BareAgent(stub), BareAgent(stub)
    await agent.register("n", "a")
    await stranger.register("m", "a")
    await stub.Rejoin(rejoin("n"))
    command = await agent.command()
    forged = RejoinResult(rejoin_id=command.rejoin_id, attempt=1, error="forged", permanent=True)
    await stranger.send(rejoin_result=forged)
    await stranger.send(liveness=LivenessReport(store_id="a"))
    await stranger.receive("ack")
    await agent.send(neighbor=NeighborEvent(store_id="a", peer_id="p", up=True), commands_received=1)
    assert (await until_outcome(stub, "VERIFIED")).attempts == 1


async def test_a_report_is_acknowledged_with_the_view(stub: Stub) -> None:
    agent = BareAgent(stub)
    await agent.register("n", "a")
    await agent.send(liveness=LivenessReport(store_id="a", peers=[PeerObservation(peer_id="p", heard_age_ms=5000)]))
    ack = (await agent.receive("ack")).ack
    assert ack.next_report_ms == 2_000
    assert {peer.peer_id for peer in ack.view.peers} == {"n", "p"}


async def test_a_goodbye_ends_the_stream_well(stub: Stub) -> None:
    agent = BareAgent(stub)
    await agent.register("n", "a")
    await agent.send(goodbye=Goodbye(reason="stopping"))
    assert (await agent.ended())[0] is grpc.StatusCode.OK
    assert not await attached(stub)


async def test_half_a_close_ends_the_stream_well(stub: Stub) -> None:
    agent = BareAgent(stub)
    await agent.register("n", "a")
    await agent.call.done_writing()
    assert (await agent.ended())[0] is grpc.StatusCode.OK


async def test_a_lost_stream_parks_what_it_was_to_carry_out(tmp_path: Path) -> None:
    async with serving(config(tmp_path, deciding=AGAIN_SOON)) as service, connected(service.address) as stub:
        agent = BareAgent(stub)
        await agent.register("n", "a")
        [started] = (await stub.Rejoin(rejoin("n"))).decisions
        await agent.command()
        agent.call.cancel()
        await until_outcome(stub, "PARKED")
        again = BareAgent(stub)
        assert (await again.register("n", "a")).unparked == 1
        command = await again.command()
        assert (command.rejoin_id, command.attempt) == (started.rejoin_id, 2)


WRONG_FIRST = {
    "liveness": attach_pb2.AttachRequest(liveness=LivenessReport(store_id="a")),
    "goodbye": attach_pb2.AttachRequest(goodbye=Goodbye()),
    "nothing": attach_pb2.AttachRequest(),
}


@pytest.mark.parametrize("frame", WRONG_FIRST)
async def test_the_first_frame_must_register(stub: Stub, frame: str) -> None:
    agent = BareAgent(stub)
    await agent.call.write(WRONG_FIRST[frame])
    code, details = await agent.ended()
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details == "frame: the first frame must be register"


async def test_a_stream_without_any_frame_is_refused(stub: Stub) -> None:
    agent = BareAgent(stub)
    await agent.call.done_writing()
    assert (await agent.ended())[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_fault_of_the_service_ends_the_stream_with_it_and_is_logged(
    service: Service, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def submit(self: Dispatcher, event: Event) -> Turn:
        if isinstance(event, LivenessReported):
            raise KeyError("broken")
        return taken(self, event)

    agent, taken = BareAgent(stub), Dispatcher.submit
    await agent.register("n", "a")
    monkeypatch.setattr(Dispatcher, "submit", submit)
    await agent.send(liveness=LivenessReport(store_id="a"))
    assert (await agent.ended())[0] is grpc.StatusCode.INTERNAL
    assert [line["rpc"].rpartition("/")[2] for line in service.lines("call failed")] == ["Attach"]


async def test_an_agent_that_goes_without_a_word_is_no_fault(service: Service, stub: Stub) -> None:
    async def gone() -> bool:
        return not await attached(stub)

    agent = BareAgent(stub)
    await agent.register("n", "a")
    agent.call.cancel()
    await until(gone, "its stream has ended")
    assert service.lines("call failed") == []


async def test_an_agent_that_reads_nothing_loses_its_stream(service: Service, stub: Stub) -> None:
    peers = [PeerObservation(peer_id=f"{number:0128}", heard_age_ms=1) for number in range(1000)]
    agent = BareAgent(stub)
    await agent.register("n", "a")
    await agent.send(liveness=LivenessReport(store_id="a", peers=peers))

    async def lost() -> bool:
        # Acknowledged with 140 kB each, and none of them read.
        for _ in range(20):
            if not agent.call.done():
                await agent.send(liveness=LivenessReport(store_id="a"))
        return not await attached(stub)

    await until(lost, "the stream of the slow reader ended")
    code, details = await agent.ended()
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "unread" in details
    assert service.app.metrics.registry.get_sample_value("gossipcontrol_agents_attached") == 0.0


async def test_a_full_backlog_of_small_frames_loses_the_stream_too() -> None:
    from gossipcontrol.server.errors import Overloaded

    session = Session("n", "s")
    for _ in range(BACKLOG_FRAMES + 1):
        session.send(attach_pb2.AttachResponse())

    async def never(frame: attach_pb2.AttachResponse) -> None:
        await asyncio.Event().wait()

    with pytest.raises(Overloaded, match="1024 frames unread"):
        await session.deliver(never)


async def test_an_idle_session_keeps_small_containers() -> None:
    """Each deque takes 0.7 kB, empty or not: a stream had seven of them."""
    session = Session("n", "s")
    parts = [*gc.get_referents(session), *gc.get_referents(session.commands), *gc.get_referents(session.reports)]
    assert not any(isinstance(one, deque | asyncio.Queue) for one in parts)
    assert not any(isinstance(one, deque) for one in gc.get_referents(Claims()))


async def test_nothing_is_offered_before_the_registration_is_answered() -> None:
    session = Session("n", "s")
    assert not session.offer(attach_pb2.AttachResponse(sync=SyncWithPeer()))
    session.send(attach_pb2.AttachResponse(registered=attach_pb2.Registered()))
    assert session.offer(attach_pb2.AttachResponse(sync=SyncWithPeer()))


async def test_a_few_large_frames_fill_the_backlog() -> None:
    from gossipcontrol.server.errors import Overloaded

    session = Session("n", "s")
    command = attach_pb2.RejoinCommand(store_id="x" * (BACKLOG_BYTES // 3))
    for _ in range(3):
        session.send(attach_pb2.AttachResponse(rejoin=command))

    async def never(frame: attach_pb2.AttachResponse) -> None:
        await asyncio.Event().wait()

    with pytest.raises(Overloaded, match="2 frames unread"):
        await session.deliver(never)


async def test_what_is_wrong_in_a_frame_is_named(stub: Stub) -> None:
    agent = BareAgent(stub)
    await agent.register("n", "a")
    await agent.send(neighbor=NeighborEvent(store_id="a", peer_id="x" * 129))
    assert list(bad_fields(await agent.failed())) == ["neighbor.peer_id"]

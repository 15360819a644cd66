"""An agent survives a newer service, what the app raises, and a service that is away; what is wrong raises at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from gossipcontrol.agent import AddressError, Agent, AgentEvent, Capability, PeerChange, Rung, attachment
from gossipcontrol.agent import agent as agent_module
from gossipcontrol.agent.attachment import Attachment
from gossipcontrol.v1 import attach_pb2, liveness_pb2

from tests.agent.fake import FakeNode
from tests.agent.script import Script, scripted
from tests.kit.address import local_address
from tests.kit.local_server import LocalServer
from tests.kit.ports import free_ports
from tests.kit.until import DEADLINE, until

NEWER_FRAME = attach_pb2.AttachResponse.FromString(b"\x7a\x00")
"""A frame of field 15, which this version does not have."""


@asynccontextmanager
async def attached(
    directory: Path,
    node: FakeNode,
    on_event: Callable[[AgentEvent], None] = lambda event: None,
    on_peer: Callable[[str, PeerChange], None] = lambda store_id, change: None,
) -> AsyncGenerator[tuple[Agent, Script]]:
    """An agent that is attached to a scripted service, and still is in the end."""
    async with (
        scripted(directory) as (script, address),
        Agent(node, address, on_event=on_event, on_peer=on_peer) as agent,
    ):
        await is_attached(agent)
        yield agent, script
        assert agent.attached.is_set()
        assert len(script.registered) == 1, "the stream lived on"


async def is_attached(agent: Agent) -> None:
    async with asyncio.timeout(DEADLINE):
        await agent.attached.wait()


def rejoin_command(rung: int = 1, cause: int = 1) -> attach_pb2.AttachResponse:
    response = attach_pb2.AttachResponse()
    response.rejoin.rejoin_id, response.rejoin.attempt, response.rejoin.store_id = "r", 1, "a"
    numbers: Any = response.rejoin  # stubs know the enums of today only
    numbers.rung, numbers.deadline_ms = rung, 5000
    numbers.causes.append(cause)
    return response


def fails(*args: object) -> None:
    raise LookupError("the app is wrong")


async def test_leaving_the_block_says_goodbye(tmp_path: Path) -> None:
    async with scripted(tmp_path) as (script, address):
        async with Agent(FakeNode(), address) as agent:
            await is_attached(agent)
            with pytest.raises(RuntimeError, match="started already"):
                agent.start()
        assert [one.reason for one in script.goodbyes] == ["stopping"]
        assert not agent.attached.is_set()
        assert agent.stats.attached == 1


async def test_leaving_the_block_does_not_wait_for_a_service_that_is_away(tmp_path: Path) -> None:
    async with asyncio.timeout(DEADLINE), Agent(FakeNode(), local_address(tmp_path / "none.sock")) as agent:
        await until(lambda: agent.stats.failed_attempts > 0, "it tried")


@pytest.mark.parametrize(("rung", "cause", "unknown"), [(99, 1, 1), (1, 99, 1), (99, 99, 2)])
async def test_a_command_with_unknown_numbers_is_carried_out(
    tmp_path: Path, rung: int, cause: int, unknown: int
) -> None:
    node = FakeNode()
    async with attached(tmp_path, node) as (agent, script):
        script.send(rejoin_command(rung, cause))
        await until(lambda: bool(script.rejoined), "the node answered")
        assert script.rejoined[0].ok
        assert [number for _, number, _ in node.rejoins] == [rung]
        assert node.rejoins[0][1].recognized == (rung == Rung.REJOIN)
        assert agent.stats.unrecognized_numbers == unknown


async def test_an_unknown_state_of_a_peer_is_shown_as_it_is(tmp_path: Path) -> None:
    changes: list[PeerChange] = []
    async with attached(tmp_path, FakeNode(), on_peer=lambda _, change: changes.append(change)) as (agent, script):
        unknown: Any = 98
        peers = [liveness_pb2.PeerView(peer_id="p", state=unknown)]
        view = liveness_pb2.StoreView(store_id="a", peers=peers)
        script.send(attach_pb2.AttachResponse(ack=attach_pb2.LivenessAck(view=view, next_report_ms=60_000)))
        await until(lambda: bool(changes), "the app sees it")
        assert [one.state for one in agent.peers("a")] == [98]
        assert agent.stats.unrecognized_numbers == 1


async def test_an_unknown_frame_is_left_out_and_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    node = FakeNode()
    async with attached(tmp_path, node) as (agent, script):
        for frame in (NEWER_FRAME, NEWER_FRAME, rejoin_command()):
            script.send(frame)
        await until(lambda: bool(script.rejoined), "the frame after them is handled")
        assert agent.stats.unknown_frames == 2
        assert [one.message for one in caplog.records if "a frame that this version" in one.message] == [
            "the service sent a frame that this version does not know; such frames are ignored"
        ]


async def test_a_service_that_does_not_confirm_is_asked_again(tmp_path: Path) -> None:
    async with scripted(tmp_path) as (script, address):
        script.first = NEWER_FRAME
        async with Agent(FakeNode(), address) as agent:
            await until(lambda: agent.stats.failed_attempts > 0, "it was not confirmed")
            script.first = None
            await is_attached(agent)


async def test_a_service_that_does_not_answer_is_given_more_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Agents that all give up after five seconds and come again fill a hub with streams that nobody wants any more."""
    monkeypatch.setattr(agent_module, "CONNECT_TIMEOUT", 0.2)
    events: list[AgentEvent] = []

    def unanswered() -> list[str]:
        return [event.detail for event in events if event.what == "unattached"]

    async with scripted(tmp_path) as (script, address):
        script.confirms.clear()
        async with Agent(FakeNode(), address, on_event=events.append) as agent:
            await until(lambda: len(unanswered()) >= 3, "it waits longer each time")
            script.confirms.set()
            await is_attached(agent)
            assert unanswered()[:3] == [f"no answer within {seconds} s" for seconds in (0.2, 0.4, 0.8)]
            script.confirms.clear()
            before = len(unanswered())
            script.hang_up()
            await until(lambda: len(unanswered()) > before, "the stream ended, and the next one has no answer")
            assert unanswered()[before] == "no answer within 0.2 s", "it has answered since"
            script.confirms.set()


async def test_a_callback_that_raises_is_logged_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with attached(tmp_path, FakeNode(), fails, fails) as (agent, script):
        view = liveness_pb2.StoreView(store_id="a", peers=[liveness_pb2.PeerView(peer_id="p")])
        script.send(attach_pb2.AttachResponse(ack=attach_pb2.LivenessAck(view=view, next_report_ms=60_000)))
        script.send(rejoin_command())
        await until(lambda: bool(script.rejoined), "the command is carried out all the same")
        await until(lambda: agent.stats.callback_errors == 4, "attached, the peer, the command and its result")
        logged = [one for one in caplog.records if one.name == "gossipcontrol.agent" and one.exc_info]
        assert len(logged) == 4


async def test_a_node_whose_rejoin_raises_is_logged_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    node = FakeNode()
    node.failure = LookupError("odd")
    async with attached(tmp_path, node) as (agent, script):
        script.send(rejoin_command())
        script.sync("a", "p")
        await until(lambda: bool(script.rejoined and script.synced), "both failures are reported")
        assert (script.rejoined[0].error, script.synced[0].error) == ("LookupError: odd",) * 2
        assert agent.stats.node_errors == 2
    assert {"the node's rejoin raised", "the node's sync_with_peer raised"} <= {one.message for one in caplog.records}


class MoodyNode(FakeNode):
    """A node whose ``stores`` raises for some time."""

    def __init__(self, *, moody: bool) -> None:
        super().__init__("n", "a")
        self.moody = moody

    def stores(self) -> Sequence[str]:
        """Its stores, or LookupError."""
        if self.moody:
            raise LookupError("no stores now")
        return super().stores()


async def test_a_node_that_cannot_name_its_stores_is_registered_later(tmp_path: Path) -> None:
    node = MoodyNode(moody=True)
    async with scripted(tmp_path) as (script, address), Agent(node, address) as agent:
        await until(lambda: agent.stats.node_errors >= 2, "it was tried again")
        node.moody = False
        await is_attached(agent)
        assert list(script.registered[-1].store_ids) == ["a"]
        assert agent.stats.failed_attempts >= 2


async def test_the_stores_that_a_node_named_last_are_reported_while_it_cannot_name_them(tmp_path: Path) -> None:
    node = MoodyNode(moody=False)
    async with attached(tmp_path, node) as (agent, script):
        await until(lambda: len(script.reports) == 1, "it reports")
        node.moody = True
        agent.pause()
        await until(lambda: len(script.reports) == 2, "it says that it pauses")
        assert script.reports[-1].going_to_sleep
        assert agent.stats.node_errors >= 1


async def test_a_store_has_one_report_under_way_until_it_is_answered(tmp_path: Path) -> None:
    """Reports by the clock alone piled up before a service that stood still, and were all worked off afterwards."""
    async with attached(tmp_path, FakeNode()) as (agent, script):
        script.answers = False
        await until(lambda: len(script.reports) == 1, "it reports")
        agent.pause()
        for count, peer_id in enumerate(("p", "q"), 1):
            # A report that was wanted before would have left by the time that the second one is there.
            agent.neighbor_up("a", peer_id)
            await until(lambda many=count: len(script.neighbors) == many, "the neighbour is reported")
        assert len(script.reports) == 1
        script.answer("a")
        await until(lambda: len(script.reports) == 2, "what came due meanwhile is reported")
        assert script.reports[-1].going_to_sleep


async def test_a_report_that_is_never_answered_does_not_hold_up_the_next_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attachment, "UNANSWERED", 0.0)
    async with attached(tmp_path, FakeNode()) as (agent, script):
        script.answers = False
        await until(lambda: len(script.reports) == 1, "it reports")
        agent.pause()
        await until(lambda: len(script.reports) == 2, "it reports again")


async def test_capabilities_that_are_none_are_survived(tmp_path: Path) -> None:
    node = FakeNode()
    node.capabilities = ("REBIND",)  # type: ignore[assignment] # pyright: ignore[reportAttributeAccessIssue]
    async with scripted(tmp_path) as (script, address), Agent(node, address) as agent:
        await until(lambda: agent.stats.node_errors > 0, "they cannot be sent")
        node.capabilities = (Capability.REBIND,)
        await is_attached(agent)
        assert [Capability(one) for one in script.registered[-1].capabilities] == [Capability.REBIND]


async def test_whatever_ends_a_stream_is_logged_and_followed_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write = Attachment.write
    errors: list[BaseException] = [RuntimeError("a bug"), asyncio.CancelledError()]

    async def fail_at_first(self: Attachment) -> None:
        if errors:
            raise errors.pop(0)
        await write(self)

    monkeypatch.setattr(Attachment, "write", fail_at_first)
    async with scripted(tmp_path) as (script, address), Agent(FakeNode(), address) as agent:
        await until(lambda: bool(script.reports), "a third stream reports")
        assert agent.stats.attached == 3
        assert agent.stats.unexpected_errors == 1
    assert any(one.exc_info and "failed unexpectedly" in one.message for one in caplog.records)


async def test_what_is_no_gossipcontrol_is_tried_again_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    with caplog.at_level(logging.WARNING, "gossipcontrol.agent"):
        async with LocalServer(answer) as server, Agent(FakeNode(), server.address) as agent:

            def tried() -> bool:
                agent.network_changed()
                return agent.stats.failed_attempts >= 3

            await until(tried, "it is tried again", within=3 * DEADLINE)
    reasons = [one.message for one in caplog.records if "cannot attach" in one.message]
    assert reasons
    assert len(reasons) == len([one for one, before in zip(reasons, ["", *reasons], strict=False) if one != before])


async def test_an_address_where_nobody_listens_is_said_in_plain_words(caplog: pytest.LogCaptureFixture) -> None:
    (port,) = free_ports(1)
    with caplog.at_level(logging.WARNING, "gossipcontrol.agent"):
        async with Agent(FakeNode(), f"127.0.0.1:{port}") as agent:
            await until(lambda: agent.stats.failed_attempts > 0, "it is tried", within=3 * DEADLINE)
    [said] = [one.message for one in caplog.records if "cannot attach" in one.message]
    assert "no service answers" in said
    assert "addresses" not in said, "the words of gRPC's core"


async def test_cancelling_run_ends_it(tmp_path: Path) -> None:
    async with scripted(tmp_path) as (_, address):
        agent = Agent(FakeNode(), address)
        running = asyncio.create_task(agent.run())
        await is_attached(agent)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


@pytest.mark.parametrize("address", ["nonsense", "unix:relative", "host:0", ""])
def test_a_malformed_address_is_refused_at_construction(address: str) -> None:
    with pytest.raises(AddressError):
        Agent(FakeNode(), address)


def test_wrong_ids_are_refused_at_construction() -> None:
    with pytest.raises(ValueError, match="node_id must have 1 to 128 bytes"):
        Agent(FakeNode("x" * 129), "h:1")
    with pytest.raises(ValueError, match="host_id must have 1 to 128 bytes"):
        Agent(FakeNode(), "h:1", host_id="ü" * 65)
    with pytest.raises(ValueError, match="name must have 1 to 64 bytes"):
        Agent(FakeNode(), "h:1", name="ü" * 33)

"""Two real iroh nodes in one process: they sync directly, and nothing that comes in harms them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

pytest.importorskip("iroh", reason="needs the extra: pip install 'gossipcontrol[iroh]'")
import iroh
from gossipcontrol.agent import BootstrapPeer, Rung
from gossipcontrol.agent.node import RejoinFailedError, SyncFailedError
from gossipcontrol.iroh import deafness as deafness_module
from gossipcontrol.iroh import moving as moving_module
from gossipcontrol.iroh import reaching as reaching_module
from gossipcontrol.iroh import sync as sync_module
from gossipcontrol.iroh.deafness import Deafness
from gossipcontrol.iroh.endpoint import reaches_any
from gossipcontrol.iroh.moving import REACH_TIME, Moving
from gossipcontrol.iroh.node import IrohNode
from gossipcontrol.iroh.reaching import KNOCK_TIME, SECOND_KNOCK_TIME, UP_TIME
from gossipcontrol.iroh.sync import ALPN, SIZE
from gossipcontrol.iroh.topic import GossipEvent
from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.core.deciding.scheduler import RESULT_SHARE

from tests.kit.until import until

NOWHERE = "192.0.2.1:4"
"""An address of a network that exists in documentation only."""


def yes(*_arguments: object) -> bool:
    return True


@asynccontextmanager
async def two_nodes() -> AsyncGenerator[tuple[IrohNode, IrohNode, list[GossipEvent]]]:
    """Two nodes with the store a that do not know each other, and what both of them told."""
    told: list[GossipEvent] = []
    one, two = await asyncio.gather(IrohNode.start(told.append), IrohNode.start(told.append))
    try:
        for node in (one, two):
            await node.join("a")
        yield one, two, told
    finally:
        await asyncio.gather(one.close(), two.close())


async def send(node: IrohNode, to: IrohNode, message: bytes) -> bytes:
    """Dial a node with the protocol of syncs, say this, and return the answer."""
    address = iroh.NodeAddr(iroh.PublicKey.from_string(to.node_id), None, list(to.addresses()))
    connection = await node.endpoint().connect(address, ALPN)
    stream = await connection.open_bi()
    await stream.send().write_all(message)
    await stream.send().finish()
    try:
        return await stream.recv().read_to_end(SIZE)
    finally:
        connection.close(0, b"")


async def test_two_strangers_sync_and_no_overlay_link_comes_of_it() -> None:
    async with two_nodes() as (one, two, told):
        for _ in range(3):
            await one.broadcast("a")
        await two.broadcast("a")
        await one.sync_with_peer("a", two.node_id, two.addresses())
        known = one.newest("a")
        assert known == two.newest("a")
        assert [known[node.node_id][1] for node in (one, two)] == [3, 1]
        await until(lambda: len(told) == 2, "both sides told it")
        assert {(event.what, event.peer_id) for event in told} == {("synced", one.node_id), ("synced", two.node_id)}
        await one.sync_with_peer("a", two.node_id, ())
        assert told[-1].detail == "0 newer heartbeats"


async def test_a_write_is_unsynced_until_a_peer_holds_it_and_none_is_while_nobody_is_known() -> None:
    async with two_nodes() as (one, two, _):
        await one.broadcast("a")
        assert one.unsynced_writes("a") == 0, "there is nobody who could hold it"
        await one.know(two.node_id, two.addresses())
        await one.broadcast("a")
        assert one.unsynced_writes("a") == 2
        await one.sync_with_peer("a", two.node_id, ())
        assert one.unsynced_writes("a") == 0
        await one.broadcast("a")
        assert one.unsynced_writes("a") == 1
        hint = BootstrapPeer(peer_id=two.node_id, addresses=tuple(two.addresses()))
        await one.rejoin("a", [hint], Rung.REJOIN)
        await until(lambda: bool(one.neighbors("a")), "a neighbour")
        await one.broadcast("a")
        assert one.unsynced_writes("a") == 0, "it holds what came before it"


async def test_bad_input_is_answered_and_changes_nothing() -> None:
    async with two_nodes() as (one, two, told):
        for message, answer in (
            (b"", "the request is broken"),
            (b"[" * 100_000, "the request is broken"),
            (b"[]", "the request is broken: not an object"),
            (
                json.dumps({"store": "a", "beats": {one.node_id: [1, -1]}}).encode(),
                "the request is broken: an author's",
            ),
            (json.dumps({"store": "a", "beats": {"x": [1, 1]}}).encode(), "the request is broken: the author"),
            (json.dumps({"store": ["a"], "beats": {}}).encode(), "the peer has no such store"),
            (json.dumps({"store": "b", "beats": {one.node_id: [1, 1]}}).encode(), "the peer has no such store"),
        ):
            assert json.loads(await send(one, two, message))["error"].startswith(answer)
        # The connection ends with or without its stream's end, and the wheel does not always say so.
        with contextlib.suppress(iroh.IrohError, TimeoutError):
            async with asyncio.timeout(10):
                assert await send(one, two, b" " * (SIZE + 1)) == b""
        assert two.newest("a") == {}
        assert told == []
        await one.sync_with_peer("a", two.node_id, two.addresses())


async def test_what_cannot_be_synced_says_why() -> None:
    async with two_nodes() as (one, two, _):
        with pytest.raises(SyncFailedError, match="the node has no store b"):
            await one.sync_with_peer("b", two.node_id, two.addresses())
        with pytest.raises(SyncFailedError) as no_key:
            await one.sync_with_peer("a", "no key", two.addresses())
        assert "\n" not in str(no_key.value)  # as the wheel's message where RUST_BACKTRACE is set
        with pytest.raises(SyncFailedError):
            await one.sync_with_peer("a", two.node_id, ["no address"])
        await one.join("b")
        with pytest.raises(SyncFailedError, match="the peer has no such store"):
            await one.sync_with_peer("b", two.node_id, two.addresses())


async def test_a_peer_that_cannot_be_reached_can_be_given_up_and_synced_later() -> None:
    async with two_nodes() as (one, two, _):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await one.sync_with_peer("a", two.node_id, [NOWHERE])
        await one.sync_with_peer("a", two.node_id, two.addresses())


class Subscriptions:
    """Counts the subscriptions of all nodes that have not ended, between the nodes and the wheel."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.living: set[iroh.Sender] = set()
        self.made = 0
        self.meanwhile: Callable[[], Awaitable[None]] | None = None
        """Happens once, when the next subscription has come about and its node does not know yet."""
        subscribe, cancel = iroh.Gossip.subscribe, iroh.Sender.cancel

        async def subscribing(
            gossip: iroh.Gossip, topic: bytes, bootstrap: list[str], cb: iroh.GossipMessageCallback
        ) -> iroh.Sender:
            self.living.add(sender := await subscribe(gossip, topic, bootstrap, cb))
            self.made += 1
            happens, self.meanwhile = self.meanwhile, None
            if happens is not None:
                await happens()
            return sender

        async def cancelling(sender: iroh.Sender) -> None:
            await cancel(sender)
            self.living.remove(sender)

        monkeypatch.setattr(iroh.Gossip, "subscribe", subscribing)
        monkeypatch.setattr(iroh.Sender, "cancel", cancelling)


async def test_a_neighbour_that_comes_up_while_a_rejoin_subscribes_costs_no_living_subscription(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    subscriptions = Subscriptions(monkeypatch)
    async with two_nodes() as (one, two, told):

        async def comes_up() -> None:
            await two.rejoin("a", [BootstrapPeer(peer_id=one.node_id, addresses=tuple(one.addresses()))], Rung.REJOIN)
            await until(lambda: one.neighbors("a") == {two.node_id}, "the neighbour is up")

        await one.rejoin("a", [], Rung.REJOIN)  # the old subscription stays until there is a neighbour
        subscriptions.meanwhile = comes_up
        await one.rejoin("a", [], Rung.REJOIN)
        for node in (one, two):
            await node.suspend()
        assert subscriptions.living == set()
        await two.resume()
        await one.resume([two.node_id])
        await until(lambda: one.neighbors("a") == {two.node_id}, "the neighbour is up again")
        await two.broadcast("a")
        await until(lambda: GossipEvent("heard", "a", two.node_id, direct=True) in told, "one hears two")
    assert subscriptions.living == set()


async def test_a_node_without_neighbours_dials_its_peers_until_one_is_reached_after_its_way_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After balena-os/meta-balena#1199: another uplink, and an overlay that waits for its turn to be joined again."""
    dial, dialled = sync_module.sync, asyncio.Queue[None]()

    async def dialling(*arguments: Any, **options: Any) -> int:
        dialled.put_nowait(None)
        return await dial(*arguments, **options)

    monkeypatch.setattr("gossipcontrol.iroh.reaching.sync", dialling)
    async with two_nodes() as (one, two, _):
        await one.reconnect()  # it knows nobody
        await one.know(two.node_id, [NOWHERE])
        reconnecting = asyncio.ensure_future(one.reconnect())
        await dialled.get()  # in vain
        await one.know(two.node_id, two.addresses())
        await until(lambda: one.neighbors("a") == {two.node_id}, "one has two as its neighbour")
        await until(lambda: two.neighbors("a") == {one.node_id}, "and two one")
        await reconnecting
        assert not dialled.empty(), "the first dial was in vain, and another followed"
        while not dialled.empty():
            dialled.get_nowait()
        await one.reconnect()
        assert dialled.empty(), "a node with a neighbour dials nobody"


async def test_a_node_that_is_suspended_or_has_just_resumed_does_not_dial_besides() -> None:
    async with two_nodes() as (one, two, told):
        await one.know(two.node_id, two.addresses())
        await one.suspend()
        await one.reconnect()
        assert told == []
        await one.resume()
        await one.reconnect()
        await until(lambda: one.neighbors("a") == {two.node_id}, "it came up by what it subscribed to")
        assert not [event for event in told if event.what in ("synced", "down")]


@pytest.mark.parametrize("rung", [Rung.REJOIN, Rung.RESUBSCRIBE], ids=["rejoin", "resubscribe"])
async def test_a_broken_hint_costs_a_rejoin_neither_the_others_nor_what_is_sound_of_it(rung: Rung) -> None:
    async with two_nodes() as (one, two, _):
        hints = [
            BootstrapPeer(peer_id="no key", addresses=tuple(two.addresses())),
            BootstrapPeer(peer_id="f" * 64, addresses=("no address",)),
            BootstrapPeer(peer_id=two.node_id, addresses=("no address", *two.addresses(), "")),
        ]
        await one.rejoin("a", hints, rung)
        await until(lambda: one.neighbors("a") == {two.node_id}, "the sound hint leads into the overlay")


async def test_a_node_that_is_suspended_while_it_subscribes_is_subscribed_to_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    subscriptions = Subscriptions(monkeypatch)
    async with two_nodes() as (one, two, _):
        suspended: list[asyncio.Future[None]] = []

        async def suspend() -> None:
            suspended.append(asyncio.ensure_future(one.suspend()))
            await asyncio.sleep(0)  # it has begun

        await two.suspend()
        subscriptions.meanwhile = suspend
        await one.rejoin("a", [], Rung.REJOIN)
        await suspended[0]
        assert subscriptions.living == set()


async def test_a_rejoin_whose_node_is_suspended_fails_and_subscribes_to_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    subscriptions = Subscriptions(monkeypatch)
    async with two_nodes() as (one, two, _):
        await two.suspend()
        before = set(subscriptions.living)
        unreachable = [BootstrapPeer(peer_id=two.node_id, addresses=(NOWHERE,))]
        rejoin = asyncio.ensure_future(one.rejoin("a", unreachable, Rung.REJOIN))
        await until(lambda: subscriptions.living > before, "the rejoin tries once")
        await one.suspend()
        with pytest.raises(RejoinFailedError, match="has no network"):
            await rejoin
        assert subscriptions.living == set()


async def test_a_change_whose_caller_goes_is_carried_through(monkeypatch: pytest.MonkeyPatch) -> None:
    subscriptions = Subscriptions(monkeypatch)
    async with two_nodes() as (one, two, _):
        await two.suspend()
        await one.join("b")
        await one.suspend()
        assert subscriptions.living == set()
        resume = asyncio.ensure_future(one.resume())

        async def its_caller_goes() -> None:
            resume.cancel()

        subscriptions.meanwhile = its_caller_goes
        with pytest.raises(asyncio.CancelledError):
            await resume
        await one.resume()  # after the first
        assert len(subscriptions.living) == 2


async def test_what_fails_after_its_caller_has_gone_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    subscriptions = Subscriptions(monkeypatch)
    told: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    async with two_nodes() as (one, _, _told):
        rejoin = asyncio.ensure_future(one.rejoin("a", [], Rung.REJOIN))

        async def fails() -> None:
            rejoin.cancel()
            await asyncio.sleep(0)
            raise RejoinFailedError("too late")

        subscriptions.meanwhile = fails
        with pytest.raises(asyncio.CancelledError):
            await rejoin
        await one.suspend()  # after it
        gc.collect()
        assert told == []


async def test_resubscribing_keeps_an_endpoint_that_reaches_a_peer() -> None:
    async with two_nodes() as (one, two, told):
        hint = BootstrapPeer(peer_id=two.node_id, addresses=tuple(two.addresses()))
        await one.rejoin("a", [hint], Rung.REJOIN)
        await until(lambda: one.neighbors("a") == {two.node_id}, "they are neighbours")
        before = one.addresses()
        await one.rejoin("a", [hint], Rung.RESUBSCRIBE)
        assert one.addresses() == before
        assert one.neighbors("a") == {two.node_id}
        assert GossipEvent("down", "a", two.node_id) in told, "it left the topic first"
        await one.broadcast("a")
        await until(lambda: GossipEvent("heard", "a", one.node_id, direct=True) in told, "two hears one")


async def test_resubscribing_makes_one_subscription_per_topic_where_a_peer_comes_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    subscriptions = Subscriptions(monkeypatch)
    async with two_nodes() as (one, two, _):
        await one.join("b")
        hint = BootstrapPeer(peer_id=two.node_id, addresses=tuple(two.addresses()))
        await one.rejoin("a", [hint], Rung.REJOIN)
        await until(lambda: one.neighbors("a") == {two.node_id}, "they are neighbours")
        subscriptions.made = 0
        await one.rejoin("a", [hint], Rung.RESUBSCRIBE)
        assert subscriptions.made == len(one.stores())


async def test_resubscribing_moves_where_no_message_followed_the_last_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """iroh-gossip 0.35 hands a new subscription the old links, as long as no message comes over them."""
    async with two_nodes() as (one, two, told):
        hint = BootstrapPeer(peer_id=two.node_id, addresses=tuple(two.addresses()))
        before = one.addresses()
        await one.rejoin("a", [hint], Rung.RESUBSCRIBE)
        await two.broadcast("a")
        await until(lambda: GossipEvent("heard", "a", two.node_id, direct=True) in told, "one hears two")
        monkeypatch.setattr(moving_module, "LATELY", 0.0)
        await one.rejoin("a", [hint], Rung.RESUBSCRIBE)
        assert one.addresses() == before
        monkeypatch.setattr(moving_module, "LATELY", 10.0)
        await one.join("b")
        await one.rejoin("b", [hint], Rung.RESUBSCRIBE)
        assert one.addresses() == before, "a request of another store shares the outcome"
        await one.rejoin("a", [hint], Rung.RESUBSCRIBE)
        assert set(one.addresses()).isdisjoint(before), "its ports are other ones"


async def test_resubscribing_moves_only_from_an_endpoint_that_has_long_reached_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with two_nodes() as (one, two, _):
        before = one.addresses()
        unreachable = [BootstrapPeer(peer_id=two.node_id, addresses=(NOWHERE,))]
        await one.rejoin("a", unreachable, Rung.RESUBSCRIBE)  # carried out: the service waits for a proof in vain
        assert one.addresses() == before
        monkeypatch.setattr(Deafness, "is_long", yes)
        await one.rejoin("a", unreachable, Rung.RESUBSCRIBE)
        assert set(one.addresses()).isdisjoint(before), "its ports are other ones"


async def test_resubscribing_moves_from_a_doubtful_endpoint_if_a_new_one_reaches_a_peer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A host got another address, and its endpoint reached none of five peers in two minutes, nor they it."""
    asked: list[iroh.Iroh] = []

    async def reaches(node: iroh.Iroh, peers: Sequence[iroh.NodeAddr], within: float) -> bool:
        asked.append(node)
        return node is not asked[0] and await reaches_any(node, peers, within)

    async def reach_nobody(_moving: Moving, _hints: Sequence[str], *, must_reach: bool) -> None:
        assert must_reach
        raise RejoinFailedError("none")

    monkeypatch.setattr(moving_module, "reaches_any", reaches)
    async with two_nodes() as (one, two, _):
        before, hints = one.addresses(), [BootstrapPeer(peer_id=two.node_id, addresses=tuple(two.addresses()))]
        await one.rejoin("a", hints, Rung.RESUBSCRIBE)
        assert one.addresses() == before, "a peer was heard lately"
        monkeypatch.setattr(Deafness, "is_doubtful", yes)
        with monkeypatch.context() as no_peer:
            no_peer.setattr(Moving, "_move_to_new_endpoint", reach_nobody)
            await one.rejoin("a", hints, Rung.RESUBSCRIBE)  # carried out: the service waits for a proof in vain
        await one.rejoin("a", hints, Rung.RESUBSCRIBE)
        assert set(one.addresses()).isdisjoint(before), "its ports are other ones"
        await until(lambda: one.neighbors("a") == {two.node_id}, "they are neighbours")


async def test_resubscribing_moves_at_once_from_an_endpoint_that_is_stuck_with_a_dead_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with two_nodes() as (one, two, _):
        stuck_with = set[str]()

        async def silent_paths(_node: iroh.Iroh) -> set[str]:
            return stuck_with

        monkeypatch.setattr(moving_module, "silent_paths", silent_paths)
        before, hints = one.addresses(), [BootstrapPeer(peer_id=two.node_id, addresses=(NOWHERE,))]
        stuck_with.add(two.node_id)
        await one.rejoin("a", hints, Rung.RESUBSCRIBE)
        assert one.addresses() == before, "a ping may still be under way"
        monkeypatch.setattr(deafness_module, "STUCK_TIME", 0.0)
        await one.rejoin("a", hints, Rung.RESUBSCRIBE)
        assert set(one.addresses()).isdisjoint(before), "its ports are other ones"


async def test_a_node_whose_endpoint_is_at_fault_moves_without_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a dial in vain, also one that is cancelled; and when its network changed after it was deaf for long."""
    moves: list[Sequence[str]] = []

    async def move(_self: Moving, hints: Sequence[str]) -> None:
        moves.append(hints)

    monkeypatch.setattr(Moving, "_move_to_new_endpoint", move)
    monkeypatch.setattr(reaching_module, "KNOCK_TIME", 0.05)
    monkeypatch.setattr("gossipcontrol.iroh.node.KNOCK_TIME", 0.05)
    async with two_nodes() as (one, two, _):

        async def dial_in_vain() -> None:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await one.sync_with_peer("a", two.node_id, [NOWHERE])

        await dial_in_vain()
        monkeypatch.setattr(Deafness, "is_over_patience", yes)
        await dial_in_vain()
        await until(lambda: len(moves) == 1, "it moves")
        monkeypatch.setattr(Deafness, "is_long", yes)
        await one.reconnect()
        await until(lambda: len(moves) == 2, "it moves again")


def test_a_rejoin_in_vain_ends_before_the_service_takes_it_for_lost() -> None:
    longest = KNOCK_TIME + SECOND_KNOCK_TIME + 2 * UP_TIME
    most = 0.95 * RESULT_SHARE * Parameters().verify_timeout
    assert longest < most
    assert most > REACH_TIME + KNOCK_TIME + 2 * UP_TIME

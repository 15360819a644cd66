"""A Serf agent as our agent sees it, and what a rejoin does, with every fault of its RPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

pytest.importorskip("msgpack", reason="needs the extra: pip install 'gossipcontrol[serf]'")

from gossipcontrol.agent import BootstrapPeer, RejoinFailedError, Rung
from gossipcontrol.agent.daemon import DaemonGoneError
from gossipcontrol.serf import connection as connections
from gossipcontrol.serf.connection import Connection, SerfGoneError
from gossipcontrol.serf.node import AGE_PER_POINT, SerfNode, age_of_word

from tests.kit.fake_serf import FakeSerf
from tests.kit.local_server import LocalServer
from tests.kit.noting_agent import NotingAgent, following
from tests.kit.until import until


@asynccontextmanager
async def beside(serf: FakeSerf) -> AsyncGenerator[tuple[SerfNode, NotingAgent, asyncio.Task[None]]]:
    """A node and its agent, while they follow Serf."""
    node = await SerfNode.connect(serf.rpc, store_id="s", can_send=lambda members: serf.can_send)
    async with following(node) as parts:
        yield parts


async def test_members_are_neighbours_as_long_as_they_are_alive() -> None:
    async with FakeSerf.running("n1", n2="alive", n3="failed", n4="left") as serf, beside(serf) as (node, agent, _):
        assert (node.node_id, node.stores(), node.addresses()) == ("n1", ("s",), ("192.0.2.1:7946",))
        assert agent.neighbors == {"n2"}
        serf.statuses |= {"n2": "failed", "n3": "alive"}
        await serf.event("member-failed")
        await until(lambda: agent.neighbors == {"n3"}, "the failed one is down and the other up")
        del serf.statuses["n3"]
        await serf.event("member-reap")
        await until(lambda: not agent.neighbors, "the one that was reaped is down")


async def test_serfs_word_is_as_old_as_serf_is_ill() -> None:
    assert (age_of_word(0), age_of_word(1), age_of_word(99)) == (0, AGE_PER_POINT, 8 * AGE_PER_POINT)
    async with FakeSerf.running("n1", n2="alive") as serf:
        serf.health = 3
        async with beside(serf) as (_, agent, _):
            assert 3 * AGE_PER_POINT <= agent.ages["n2"] < 3 * AGE_PER_POINT + 5
            assert agent.direct == []


async def test_the_word_of_a_serf_that_cannot_send_is_no_sign_of_life() -> None:
    """With its link down Serf takes nobody for failed: a packet that cannot leave is no failure of its receiver."""
    async with FakeSerf.running("n1", n2="alive") as serf:
        serf.can_send = False
        async with beside(serf) as (_, agent, _):
            assert agent.neighbors == {"n2"}
            assert agent.ages == {}


async def test_members_that_serf_has_not_missed_yet_prove_no_rejoin() -> None:
    async with FakeSerf.running("n1", n2="alive", n3="alive") as serf, beside(serf) as (node, agent, _):
        serf.away = {"n2", "n3"}
        agent.ages.clear()
        with pytest.raises(RejoinFailedError):
            await node.rejoin("s", (), Rung.REJOIN)
        looked = serf.looks
        await serf.event("member-update")
        await until(lambda: serf.looks > looked + 1, "it looks at the members again")
        assert agent.ages == {}
        serf.away = set()
        await node.rejoin("s", (), Rung.REJOIN)
        await serf.event("member-update")
        await until(lambda: set(agent.ages) == {"n2", "n3"}, "its word counts again once one has answered")


async def test_a_rejoin_joins_two_of_the_failed_ones_and_waits_until_one_is_alive() -> None:
    failed = {f"n{number}": "failed" for number in range(2, 9)}
    async with FakeSerf.running("n1", **failed) as serf, beside(serf) as (node, agent, _):
        await node.rejoin("s", (), Rung.REJOIN)
        [joined] = serf.joins
        assert len(set(joined)) == 2
        assert sorted(map(serf.address_of, agent.direct)) == sorted(joined)
        await node.rejoin("s", (), Rung.REJOIN)
        assert set(serf.joins[1]).isdisjoint(joined), "the next takes others"


async def test_the_services_hints_come_first_and_names_are_never_resolved() -> None:
    async with FakeSerf.running("n1", n2="failed", n3="failed", n4="failed") as serf, beside(serf) as (node, _, _):
        hints = [BootstrapPeer("n4", (serf.address_of("n4"),)), BootstrapPeer("n9", ("a.name:7946",)),
                 BootstrapPeer("n1", (serf.address_of("n1"),))]  # fmt: skip
        await node.rejoin("s", hints, Rung.REJOIN)
        assert serf.joins[0][0] == serf.address_of("n4")
        assert not {"a.name:7946", serf.address_of("n1")} & set(serf.joins[0])


async def test_where_nobody_is_missing_the_answer_of_one_proves_the_way() -> None:
    async with FakeSerf.running("n1", n2="alive", n3="alive") as serf, beside(serf) as (node, agent, _):
        await node.rejoin("s", (), Rung.REJOIN)
        assert [serf.address_of(name) for name in agent.direct] == serf.joins[0]
        assert len(serf.joins[0]) == 1


async def test_where_one_of_two_answered_nobody_is_claimed_to_have() -> None:
    async with FakeSerf.running("n1", n2="failed", n3="failed") as serf, beside(serf) as (node, agent, _):
        serf.away = {"n2"}
        await node.rejoin("s", (), Rung.REJOIN)
        assert agent.direct == []
        await until(lambda: agent.neighbors == {"n3"}, "the one that answered is up")


async def test_a_join_that_reaches_nobody_fails_and_the_next_answer_is_in_step() -> None:
    async with FakeSerf.running("n1", n2="failed") as serf, beside(serf) as (node, _, _):
        serf.away = {"n2"}
        for _ in range(2):
            with pytest.raises(RejoinFailedError, match="1 error occurred: \\* Failed to join"):
                await node.rejoin("s", (), Rung.REJOIN)
        serf.away = set()
        await node.rejoin("s", (), Rung.REJOIN)
        assert serf.connections == 3, "one for events, one for queries, one for joins"


async def test_a_join_that_nobody_waits_for_goes_on_and_holds_up_neither_queries_nor_stops() -> None:
    async with FakeSerf.running("n1", n2="failed", n3="alive") as serf, beside(serf) as (node, agent, _):
        serf.held = asyncio.Event()
        for _ in range(2):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await node.rejoin("s", (), Rung.REJOIN)
        serf.statuses["n3"] = "failed"
        await serf.event("member-failed")
        await until(lambda: not agent.neighbors, "queries go on")
        assert len(serf.joins) == 1, "the agent serves one join at a time"
        serf.held.set()
        await node.rejoin("s", (), Rung.REJOIN)


@pytest.mark.parametrize(("store", "rung"), [("other", Rung.REJOIN), ("s", Rung.RESUBSCRIBE)])
async def test_what_serf_cannot_do_fails_for_good(store: str, rung: Rung) -> None:
    async with FakeSerf.running("n1", n2="failed") as serf, beside(serf) as (node, _, _):
        with pytest.raises(RejoinFailedError) as failed:
            await node.rejoin(store, (), rung)
        assert failed.value.permanent
        assert serf.joins == []


async def test_a_serf_that_left_ends_the_life_and_joins_no_more() -> None:
    async with FakeSerf.running("n1", n2="failed") as serf, beside(serf) as (node, _, life):
        serf.statuses["n1"] = "leaving"
        await serf.event("member-leave")
        await life
        with pytest.raises(RejoinFailedError, match="restarted") as failed:
            await node.rejoin("s", (), Rung.REJOIN)
        assert failed.value.permanent
    async with FakeSerf.running("n1") as serf:
        serf.statuses["n1"] = "left"
        with pytest.raises(DaemonGoneError, match="left"):
            await SerfNode.connect(serf.rpc, store_id="s")


async def test_a_node_without_other_members_says_so() -> None:
    async with FakeSerf.running("n1") as serf, beside(serf) as (node, _, _):
        with pytest.raises(RejoinFailedError, match="no other member"):
            await node.rejoin("s", (), Rung.REJOIN)


async def test_the_life_ends_with_the_connection_or_with_an_answer_that_is_none() -> None:
    async with FakeSerf.running("n1", n2="alive") as serf:
        async with beside(serf) as (_, _, life):
            await serf.cut()
            with pytest.raises(DaemonGoneError):
                await life
        async with beside(serf) as (_, _, life):
            serf.reply = b"\xc1"
            await serf.event("member-join")
            with pytest.raises(DaemonGoneError, match="msgpack"):
                await life


async def test_a_key_is_needed_and_a_wrong_one_is_named() -> None:
    async with FakeSerf.running("n1") as serf:
        rpc, serf.auth_key = serf.rpc, "secret"
        with pytest.raises(DaemonGoneError, match="Authentication required"):
            await SerfNode.connect(rpc, store_id="s")
        right, serf.auth_key = serf.rpc, "changed"
        with pytest.raises(DaemonGoneError, match="Invalid authentication token"):
            await SerfNode.connect(right, store_id="s")
        await (await SerfNode.connect(serf.rpc, store_id="s")).close()


async def test_the_store_may_be_named_by_a_tag() -> None:
    async with FakeSerf.running("n1") as serf:
        with pytest.raises(DaemonGoneError, match="no tag cluster"):
            await SerfNode.connect(serf.rpc, store_tag="cluster")
        serf.tags = {"cluster": "kitchen"}
        node = await SerfNode.connect(serf.rpc, store_tag="cluster")
        assert node.stores() == ("kitchen",)
        await node.close()


async def test_an_unknown_command_closes_the_connection_and_so_does_silence() -> None:
    async with FakeSerf.running("n1") as serf:
        connection = await serf.rpc.open()
        with pytest.raises(connections.RefusedError, match="Unsupported command"):
            await connection.call("bogus")
        assert not connection.is_open
        with pytest.raises(SerfGoneError, match="closed"):
            await connection.call("members")
        await connection.wait_closed()
        connection = await serf.rpc.open()
        serf.mute = {"members"}
        with pytest.raises(SerfGoneError, match=r"no answer to members within 0\.05 s"):
            await connection.call("members", within=0.05)
        await connection.wait_closed()


async def test_what_is_no_serf_is_refused() -> None:
    async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        await reader.read()

    async with LocalServer(http) as server:
        host, _, port = server.address.rpartition(":")
        with pytest.raises(SerfGoneError):
            await Connection.open(host, int(port))
    with pytest.raises(SerfGoneError):
        await Connection.open(host, int(port))

"""A Lattice daemon as our agent sees it, and what a rejoin does, with the faults of the daemon."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import grpc
import pytest
from gossipcontrol.agent import RejoinFailedError, Rung
from gossipcontrol.agent.daemon import DaemonGoneError
from gossipcontrol.client import Client, NotFoundError, PeerState
from gossipcontrol.client.intention import IntentionBatch
from gossipcontrol.client.presence import Peer
from gossipcontrol.lattice import daemon_pb2, daemon_pb2_grpc
from gossipcontrol.lattice.calls import default_socket
from gossipcontrol.lattice.node import LatticeNode

from tests.kit.fake_lattice import FakeDaemon, daemons, store
from tests.kit.noting_agent import NotingAgent, following
from tests.kit.service_lab import Service
from tests.kit.until import until

NOTES = store(1)


@asynccontextmanager
async def beside(
    daemon: FakeDaemon, client: Client | None = None, *, has_way_out: bool = True
) -> AsyncGenerator[tuple[LatticeNode, NotingAgent, asyncio.Task[None]]]:
    """A node and its agent, while they follow the daemon."""
    node = await LatticeNode.connect(daemon.socket, client, lambda: has_way_out)
    async with following(node) as parts:
        yield parts


async def test_without_the_authority_that_we_set_the_daemon_refuses_every_call(tmp_path: Path) -> None:
    async with daemons(tmp_path, "a") as [a]:
        async with grpc.aio.insecure_channel(f"unix:{a.socket}") as channel:
            plain: daemon_pb2_grpc.NodeServiceAsyncStub = daemon_pb2_grpc.NodeServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError):
                await plain.GetStatus(daemon_pb2.Empty(), timeout=5)
        assert a.refused
        node = await LatticeNode.connect(a.socket)
        assert node.node_id == a.node_id
        await node.close()


async def test_peers_are_neighbours_while_they_are_online_and_the_node_itself_is_none(tmp_path: Path) -> None:
    async with daemons(tmp_path, "a", "b", "c") as [a, b, c], beside(a) as (_, agent, _):
        assert agent.neighbors == {b.node_id, c.node_id}
        assert a.node_id not in agent.ages
        a.stores[NOTES].statuses[c.key] = "revoked"
        a.drop(c.key)
        await until(lambda: agent.neighbors == {b.node_id}, "the one that was lost is down")


async def test_stores_below_are_found_and_new_ones_at_once_but_no_archived_ones(tmp_path: Path) -> None:
    async with daemons(tmp_path, "a", "b") as [a, b]:
        a.add_store(store(2), b, parent=NOTES)
        a.add_store(store(3), b, parent=store(2))
        a.add_store(store(4), b, parent=NOTES, archived=True)
        a.add_store(store(5), b, parent=store(4))
        async with beside(a) as (node, agent, _):
            assert sorted(node.stores()) == [store(1), store(2), store(3)]
            await until(lambda: bool(a.events), "somebody follows the events")
            a.add_store(store(6), b, parent=store(3))
            a.announce(store(6))
            await until(lambda: store(6) in node.stores(), "the store that came up is there")
            assert agent.announced


async def test_a_sync_proves_a_rejoin_in_a_store_where_nobody_writes(tmp_path: Path) -> None:
    """``last_seen_ms`` is not renewed by anything else in an idle store, ReconnectPeers included."""
    async with daemons(tmp_path, "a", "b") as [a, b], beside(a) as (node, agent, _):
        a.seen_at[b.key] -= 16
        await until(lambda: agent.ages[b.node_id] > 16, "the last sign of life is old")
        await node.rejoin(NOTES, (), Rung.REJOIN)
        await until(lambda: agent.ages[b.node_id] < 1, "the sync renewed it")
        assert [one for one in a.calls if one in ("ReconnectPeers", "Sync")] == ["ReconnectPeers", "Sync"]


async def test_a_lost_peer_comes_back_with_a_rejoin(tmp_path: Path) -> None:
    async with daemons(tmp_path, "a", "b") as [a, b], beside(a) as (node, agent, _):
        a.network.cut(b, long=False)
        await until(lambda: not agent.neighbors, "it is lost")
        a.network.heal(b)
        await node.rejoin(NOTES, (), Rung.REJOIN)
        await until(lambda: agent.neighbors == {b.node_id}, "it is back")


async def test_after_a_long_cut_no_rejoin_helps_and_a_restart_or_the_cure_does(tmp_path: Path) -> None:
    async with daemons(tmp_path, "a", "b") as [a, b], beside(a) as (node, agent, _):
        a.network.cut(a, long=True)
        a.network.heal(a)
        for one in (a, b):
            assert one.poisoned
        await node.rejoin(NOTES, (), Rung.REJOIN)
        await until(lambda: "Sync" in a.calls, "it was tried")
        assert not a.seen_at
        await b.stop()
        await b.start()
        await until(lambda: agent.neighbors == {b.node_id}, "the restart of one heals both")
    async with daemons(tmp_path, "a", "b", is_cured=True) as [a, b], beside(a) as (node, agent, _):
        a.network.cut(a, long=True)
        a.network.heal(a)
        await node.rejoin(NOTES, (), Rung.REJOIN)
        await until(lambda: agent.neighbors == {b.node_id}, "a daemon that dials anew is healed by the rejoin")


async def test_another_node_can_reach_a_node_that_is_deaf(tmp_path: Path) -> None:
    async with daemons(tmp_path, "a", "b", "c") as [a, b, _], beside(b) as (node, _, _):
        a.network.cut(a, long=True)
        a.network.heal(a)
        assert a.poisoned
        assert not b.poisoned, "it had a neighbour all the time, so its loop did not dial"
        await node.rejoin(NOTES, (), Rung.REJOIN)
        await until(lambda: a.key in b.seen_at, "its dial cures both")


async def test_without_a_way_out_nothing_is_dialled(tmp_path: Path) -> None:
    async with daemons(tmp_path, "a", "b") as [a, _], beside(a, has_way_out=False) as (node, _, _):
        with pytest.raises(RejoinFailedError, match="no default route") as failed:
            await node.rejoin(NOTES, (), Rung.REJOIN)
        assert not failed.value.permanent
        assert {"ReconnectPeers", "Sync"}.isdisjoint(a.calls)


async def test_a_peer_that_is_away_is_not_dialled(tmp_path: Path) -> None:
    async with daemons(tmp_path, "a", "b", "c") as [a, b, c], beside(a) as (node, agent, _):
        a.network.cut(b, long=False)
        agent.view = [Peer(b.node_id, PeerState.ASLEEP, None, 2), Peer(c.node_id, PeerState.ONLINE, 0.0, 2)]
        await node.rejoin(NOTES, (), Rung.REJOIN)
        await until(lambda: "Sync" in a.calls, "the neighbour that is left is synced with")
        a.network.cut(c, long=False)
        agent.view = [Peer(one.node_id, PeerState.LEFT, None, 2) for one in (b, c)]
        with pytest.raises(RejoinFailedError, match="every peer is away"):
            await node.rejoin(NOTES, (), Rung.REJOIN)
        assert "ReconnectPeers" not in a.calls
        assert not a.poisoned


@pytest.mark.parametrize(
    ("store_id", "rung"), [(store(9), Rung.REJOIN), ("no UUID", Rung.REJOIN), (NOTES, Rung.RESUBSCRIBE)]
)
async def test_what_the_daemon_cannot_do_fails_for_good_though_it_would_say_ok(
    store_id: str, rung: Rung, tmp_path: Path
) -> None:
    async with daemons(tmp_path, "a", "b") as [a, _], beside(a) as (node, _, _):
        with pytest.raises(RejoinFailedError) as failed:
            await node.rejoin(store_id, (), rung)
        assert failed.value.permanent
        assert "ReconnectPeers" not in a.calls


async def test_a_store_that_went_is_no_end_of_the_daemon(tmp_path: Path) -> None:
    """ListPeers of an unknown store is UNIMPLEMENTED."""
    async with daemons(tmp_path, "a", "b") as [a, b]:
        a.add_store(store(2), b)
        async with beside(a) as (node, agent, life):
            del a.stores[store(2)]
            with pytest.raises(RejoinFailedError) as failed:
                await node.rejoin(store(2), (), Rung.REJOIN)
            assert failed.value.permanent
            a.drop(b.key)
            await until(lambda: not agent.neighbors, "the other store is still looked at")
            assert not life.done()


async def test_the_life_ends_with_the_daemon(tmp_path: Path) -> None:
    async with daemons(tmp_path, "a") as [a]:
        async with beside(a) as (_, _, life):
            await a.stop()
            with pytest.raises(DaemonGoneError):
                await life
        with pytest.raises(DaemonGoneError, match="UNAVAILABLE"):
            await LatticeNode.connect(a.socket)


async def held(client: Client) -> dict[str, int]:
    """Member -> how many intentions it provably holds."""
    with suppress(NotFoundError):
        return {row.peer_id: row.held async for row in client.knowledge.rows(NOTES) if row.active}
    return {}


async def test_intentions_and_members_reach_the_service(service: Service, tmp_path: Path) -> None:
    async with daemons(tmp_path, "a", "b") as [a, b], Client(service.address) as client:
        a.stores[NOTES].statuses[b"d" * 32] = "dormant"
        first = a.write(NOTES)
        theirs = a.write(NOTES, b.key, first)
        a.write(NOTES, b"", theirs, is_acknowledgement=True)
        a.stores[NOTES].statuses[b"r" * 32] = "revoked"
        async with beside(a, client):

            async def is_recorded() -> bool:
                return await held(client) == {a.node_id: 3, b.node_id: 2, (b"d" * 32).hex(): 0}

            await until(is_recorded, "the service knows what each holds")
        reads = a.calls.count("GetIntention")
        assert reads == 3
        a.write(NOTES)
        async with beside(a, client):

            async def is_newest_recorded() -> bool:
                return (await held(client))[a.node_id] == 4

            await until(is_newest_recorded, "another agent of the node goes on where the first one ended")
        assert a.calls.count("GetIntention") == reads + 1


@pytest.mark.parametrize("names_floating_tips", [False, True])
async def test_what_floats_after_a_heal_is_brought_once_its_parent_has_arrived(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names_floating_tips: bool
) -> None:
    """Of 1,573 intentions 932 floated 40 s after a heal, with real daemons: they were there, and not applied."""
    monkeypatch.setattr("gossipcontrol.lattice.node.DATA_PERIOD", 0.02)
    async with daemons(tmp_path, "a", "b", "c") as [a, b, c], Client(service.address) as client:
        a.names_floating_tips = names_floating_tips
        a.network.cut(b, long=False)
        missed = [b.intentions[b.write(NOTES)] for _ in range(3)]
        a.network.heal(b)
        waits = a.write(NOTES, c.key, missed[2].hash)
        for one in reversed(missed[1:]):
            a.receive(NOTES, one)
        first = a.write(NOTES)
        assert set(a.stores[NOTES].floating) == {missed[1].hash, missed[2].hash, waits}
        async with beside(a, client):

            async def is_own_recorded() -> bool:
                return (await held(client)).get(a.node_id) == 1

            await until(is_own_recorded, "what does not float is brought")
            looks = a.calls.count("GetAuthorTips") + 2
            await until(lambda: a.calls.count("GetAuthorTips") >= looks, "the others were looked at")
            floats = (await client.knowledge.record([IntentionBatch(NOTES, ())])).floating
            assert (floats, await held(client)) == (0, {a.node_id: 1, b.node_id: 0, c.node_id: 0})
            a.receive(NOTES, missed[0])
            assert a.stores[NOTES].applied == {*(one.hash for one in missed), waits, first}

            async def is_all_recorded() -> bool:
                return await held(client) == {a.node_id: 1, b.node_id: 3, c.node_id: 4}

            await until(is_all_recorded, "all are applied, and brought")


async def test_an_intention_that_is_not_there_holds_up_no_other_author(service: Service, tmp_path: Path) -> None:
    async with daemons(tmp_path, "a", "b") as [a, b], Client(service.address) as client:
        first = a.write(NOTES, b.key)
        a.write(NOTES, b.key)
        del a.intentions[first]
        a.write(NOTES)
        async with beside(a, client):

            async def is_own_recorded() -> bool:
                return (await held(client)).get(a.node_id) == 1

            await until(is_own_recorded, "the other author's is brought")
        assert (await held(client))[b.node_id] == 0


async def test_own_writes_are_unsynced_only_where_somebody_could_hold_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gossipcontrol.lattice.unsynced.ACKNOWLEDGEMENT_TIME", 0.0)
    async with daemons(tmp_path, "a", "b") as [a, b]:
        a.write(NOTES)
        a.write(NOTES)
        a.stores[NOTES].held[b.key] = 1
        async with beside(a) as (_, agent, _):
            await until(lambda: agent.unsynced == [1], "one of two writes is held by nobody else")
        del a.stores[NOTES].statuses[b.key]
        a.stores[NOTES].held.clear()
        async with beside(a) as (_, agent, _):
            await until(lambda: agent.unsynced == [0], "alone, nobody could hold them")


def test_the_socket_is_where_the_daemon_puts_it() -> None:
    home = {"HOME": "/home/u"}
    assert default_socket(home).is_relative_to("/home/u")
    assert default_socket(home).name == "latticed.sock"
    with_data = {**home, "XDG_DATA_HOME": "/data"}
    assert default_socket(with_data) in (Path("/data/lattice/latticed.sock"), default_socket(home))

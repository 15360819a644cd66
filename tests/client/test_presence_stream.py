"""Watching peers through the client: over cuts, restarts and nonsense."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from gossipcontrol.client import (
    Client,
    ClientError,
    LivenessReport,
    OverloadedError,
    PeerObservation,
    PeerState,
    Presence,
    PresenceUpdate,
    RefusedError,
    UnreachableError,
)
from gossipcontrol.server.config import Limits

from tests.agent.fake import Proxy
from tests.kit.address import address_of, local_address
from tests.kit.service_lab import Service, config, deciding, serving
from tests.kit.until import DEADLINE


async def hear(client: Client, *peer_ids: str) -> None:
    peers = tuple(PeerObservation(one, heard_age=0.0) for one in peer_ids)
    await client.peer_liveness([LivenessReport(node_id="n", store_id="a", peers=peers)])


class Watcher:
    """Follows a store, and keeps what it sees."""

    def __init__(self, client: Client, **options: str) -> None:
        self.lost: list[ClientError] = []
        self.responses: list[PresenceUpdate] = []
        self.presence = Presence()
        self._stream = client.watch_peers("a", on_loss=self.lost.append, **options)

    async def until(self, *peer_ids: str) -> None:
        """Read until these are the peers."""
        async with asyncio.timeout(DEADLINE):
            while not self.responses or {one.peer_id for one in self.presence.peers()} != set(peer_ids):
                response = await anext(self._stream)
                self.responses.append(response)
                self.presence.apply(response.view, more=response.more)


@pytest.fixture
async def client(service: Service) -> AsyncIterator[Client]:
    async with Client(service.address) as one:
        yield one


async def test_peers_are_listed(client: Client) -> None:
    await hear(client, "p", "q")
    await client.peer_liveness([LivenessReport(node_id="n", store_id="a", peers=(PeerObservation("r"),))])
    assert [peer.peer_id async for peer in client.list_peers("a")] == ["n", "p", "q", "r"]
    assert [peer.peer_id async for peer in client.list_peers("a", state=PeerState.UNKNOWN)] == ["r"]


@pytest.mark.not_on_windows(
    "parking so much of a stranger is for the Unix socket; over TCP a connection may name only so much"
)
async def test_pages_of_peers_are_joined(client: Client) -> None:
    names = [f"p{number:03}" for number in range(250)]
    await hear(client, *names)
    assert [peer.peer_id async for peer in client.list_peers("a", state=PeerState.ONLINE)] == ["n", *names]


async def test_a_stream_that_is_cut_goes_on_where_it_was(service: Service, client: Client) -> None:
    async with Proxy.to(service.tcp) as proxy, Client(proxy.address) as far:
        watcher = Watcher(far)
        await hear(client, "p")
        await watcher.until("n", "p")
        proxy.cut()
        await hear(client, "p", "q")
        await watcher.until("n", "p", "q")
        assert len(watcher.lost) >= 1
        later = watcher.responses[1:]
        assert [(one.view.delta, one.lagged) for one in later] == [(True, False)] * len(later), "no second snapshot"


async def test_a_service_that_began_anew_sends_a_snapshot_and_says_so(tmp_path: Path) -> None:
    settings = config(tmp_path, deciding=deciding())
    address = address_of(settings)
    async with Client(address) as client:
        async with serving(settings):
            watcher = Watcher(client)
            await hear(client, "p")
            await watcher.until("n", "p")
        waiting = asyncio.create_task(watcher.until("n", "p", "q"))
        async with serving(settings):
            await hear(client, "q")
            await waiting
            assert [one.lagged for one in watcher.responses if not one.view.delta] == [False, True]
            held = watcher.presence.peer("p")
            assert held is not None, "its agent may be coming back"
            assert held.state is PeerState.ONLINE
            assert 0 < (watcher.presence.settles_in or 0) <= 10
        assert all(isinstance(error, UnreachableError) for error in watcher.lost)
        assert watcher.lost


async def test_without_a_service_the_first_answer_fails_in_time(tmp_path: Path) -> None:
    async with Client(local_address(tmp_path / "none.sock"), timeout=0.3) as client:
        with pytest.raises(UnreachableError):
            await Watcher(client).until()


async def test_a_service_that_answers_nothing_is_given_up_in_time(service: Service) -> None:
    async with Proxy.to(service.tcp) as proxy:
        proxy.dead = True
        async with Client(proxy.address, timeout=0.3) as client:
            with pytest.raises(UnreachableError):
                await Watcher(client).until()


async def test_a_mistake_is_raised_at_once(client: Client) -> None:
    with pytest.raises(RefusedError) as caught:
        await Watcher(client, resume_token="nonsense").until()
    assert [name for name, _ in caught.value.violations] == ["resume_token"]


async def test_a_full_service_is_told_from_none(tmp_path: Path) -> None:
    settings = config(tmp_path, limits=Limits(watchers=1, drain=0.2))
    async with serving(settings) as service, Client(service.address) as client:
        first = Watcher(client)
        await first.until()
        # In less time than the service says to wait: else the client would come again.
        async with Client(service.address, timeout=4.0) as late:
            with pytest.raises(OverloadedError):
                await Watcher(late).until()

"""How a node reaches its peers again: it subscribes through them, and those that do not come up have to knock."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence

from gossipcontrol.agent.node import RejoinFailedError, SyncFailedError
from gossipcontrol.iroh.membership import Membership
from gossipcontrol.iroh.sync import sync
from gossipcontrol.iroh.topic import Topic

import iroh

UP_TIME = 0.5
"""Seconds within which a peer that is joined through comes up unless the overlay is deaf to it: 10 ms in a LAN."""
KNOCK_TIME = 1.5
"""Seconds that peers have to knock: QUIC repeats its first packet after 1 s if that was lost."""
SECOND_KNOCK_TIME = 1.2
"""The same for those asked second: an attempt must end within the 4 s after which the service takes it for lost."""
OTHERS_TIME = 0.1
"""Seconds that the other peers have once one has knocked: one neighbour is enough to be in the overlay."""
RECONNECT_TIME = 6.0
"""Seconds for which a node without neighbours dials its peers after its way to them changed: iroh tries an address at
most every 5 s, so a dial from before the change may have used up the next try."""
RECONNECT_PAUSE = 0.2
"""Seconds between two of these tries."""


class Reaching:
    """Joins topics through peers."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership

    async def join_through(self, topic: Topic, hints: Sequence[str]) -> None:
        """Subscribe again; have lost hints knock first, and the others if none comes up."""
        lost = [peer_id for peer_id in hints if peer_id in topic.lost]
        others = [peer_id for peer_id in hints if peer_id not in lost]
        async with topic.reaching:
            if not await self.try_through(topic, hints, lost, KNOCK_TIME) and others:
                await self.try_through(topic, hints, others, SECOND_KNOCK_TIME)

    async def try_through(self, topic: Topic, hints: Sequence[str], deaf: Sequence[str], within: float) -> bool:
        """Have some hints knock, then subscribe through all; returns whether one came up, or there are none."""
        await self._ask_to_knock(topic, deaf, within)
        topic.dialled.update(hints)
        try:
            await self._membership.join_again(topic, hints)
            return await comes_up(topic, hints)
        finally:
            topic.dialled.clear()

    async def reconnect(self, within: float) -> None:
        """Reach a peer for every topic that has no neighbour, as long as that may take."""
        deadline = time.monotonic() + within
        await asyncio.gather(*(self._reconnect(topic, deadline) for topic in list(self._membership.topics.values())))

    def may_knock(self, peer_id: str) -> bool:
        """Not at a neighbour, nor at one that is being joined through; of two that ask each other, one has to join."""
        return not any(
            peer_id in topic.neighbors
            or peer_id in topic.dialled
            or (peer_id in topic.asked and self._membership.node_id < peer_id)
            for topic in self._membership.topics.values()
        )

    async def _reconnect(self, topic: Topic, deadline: float) -> None:
        peers = self._membership.first_peers()
        while peers and not (topic.neighbors or self._membership.suspended) and time.monotonic() < deadline:
            async with topic.reaching:
                # Subscribing starts dials that must not fail: only once a peer was reached.
                if not topic.neighbors and await self._ask_to_knock(topic, peers, KNOCK_TIME):
                    with contextlib.suppress(RejoinFailedError, iroh.IrohError):
                        await self.try_through(topic, peers, (), KNOCK_TIME)
            await asyncio.sleep(RECONNECT_PAUSE)  # a dial fails at once where there is no route

    async def _ask_to_knock(self, topic: Topic, peers: Sequence[str], within: float) -> bool:
        """Sync with these peers and have them knock; returns whether one was reached. Neighbours are left out."""
        topics = self._membership.topics.values()
        strangers = [peer_id for peer_id in peers if not any(peer_id in one.neighbors for one in topics)]
        topic.asked.update(strangers)
        tasks = {asyncio.ensure_future(self._ask_one(topic, peer_id)) for peer_id in strangers}
        waited = set(tasks)
        deadline = time.monotonic() + within
        try:
            while waited and (left := deadline - time.monotonic()) > 0:
                done, waited = await asyncio.wait(waited, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if any(task.result() for task in done):
                    deadline = min(deadline, time.monotonic() + OTHERS_TIME)
        finally:
            for task in tasks:
                task.cancel()
            topic.asked.clear()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        return len(strangers) < len(peers) or any(answer is True for answer in answers)

    async def _ask_one(self, topic: Topic, peer_id: str) -> bool:
        membership = self._membership
        try:
            mine, where = topic.broadcasts, membership.address_of(peer_id)
            newer = await sync(membership.endpoint(), where, topic.store_id, topic.newest, knock=True)
        except (SyncFailedError, iroh.IrohError):
            return False
        topic.held = max(topic.held, mine)
        topic.lost.discard(peer_id)
        membership.synced(topic.store_id, peer_id, newer)
        return True


async def comes_up(topic: Topic, hints: Sequence[str]) -> bool:
    """Whether one of the peers that the topic is being joined through comes up, or there are none."""
    try:
        async with asyncio.timeout(UP_TIME):
            while hints and topic.neighbors.isdisjoint(hints):
                topic.came.clear()
                await topic.came.wait()
    except TimeoutError:
        return False
    return True

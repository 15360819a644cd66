"""The rung RESUBSCRIBE, and moves to a new endpoint with the same key.

Two endpoints with one key are bad for both: peers send to the one that answered last, even while it stops. So a node
moves only where it has reached nobody for long, where the present endpoint is stuck with a dead path or keeps dead
links, or where the new one reaches a peer and the present one none.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Callable, Sequence

from gossipcontrol.agent.node import RejoinFailedError
from gossipcontrol.iroh.endpoint import add_address, dialled_addresses, reaches_any, silent_paths, stop_endpoint
from gossipcontrol.iroh.membership import Membership
from gossipcontrol.iroh.reaching import KNOCK_TIME, Reaching, comes_up
from gossipcontrol.iroh.topic import Topic

import iroh

REACH_TIME = 0.8
"""Seconds that an endpoint has to reach a peer, over paths that are known."""
LOOK_TIME = 0.3
"""Seconds that an endpoint has to say on which paths it sends."""
LATELY = 10.0
"""Seconds for which a further request shares the outcome of a move, which takes about as long as an attempt may."""


class Moving:
    """Subscribes a node again; ``on_moved`` is called once it is on a new endpoint."""

    def __init__(
        self,
        membership: Membership,
        reaching: Reaching,
        make_endpoint: Callable[[], Awaitable[iroh.Iroh]],
        on_moved: Callable[[], Awaitable[object]],
    ) -> None:
        self._membership = membership
        self._reaching = reaching
        self._make_endpoint = make_endpoint
        self._on_moved = on_moved
        self._move: asyncio.Future[None] | None = None
        """Under way, or done."""
        self._moved_at = 0.0
        """When the last move ended."""
        self._sharing: set[str] = set()
        """The stores that asked for the last move."""

    async def resubscribe(self, topic: Topic, hints: Sequence[str]) -> None:
        """Leave every topic and join it again, on a new endpoint if need be, and wait for that."""
        if self._move is None or not (self._is_moving() or self._is_shared(topic)):
            self._sharing.clear()
            self._move = self._membership.complete(self._resubscribe(topic, hints))
        self._sharing.add(topic.store_id)
        await asyncio.shield(self._move)

    def after_vain_dial(self) -> None:
        """A dial was in vain: look, beside what the caller does, whether the endpoint is at fault."""
        self._membership.complete(self.leave_deaf_endpoint())

    async def leave_deaf_endpoint(self) -> None:
        """After a dial in vain: move to a new endpoint if nobody is heard, at once if the present one is stuck.

        The service commands no rejoin before a sync reaches a peer, and none does while the endpoint is at fault. Where
        the peers are away, the next move waits twice as long.
        """
        await self._look_at_paths()
        membership = self._membership
        if self._is_moving() or membership.suspended:
            return
        if membership.deafness.is_over_patience(membership.first_peers()):
            self._move = membership.complete(self._move_to_new_endpoint(()))

    def _is_shared(self, topic: Topic) -> bool:
        """Whether the last move serves this request too; not where it did not help the store that asks again."""
        has_helped = topic.store_id not in self._sharing or not self._membership.deafness.has_stayed_in_vain()
        return has_helped and time.monotonic() - self._moved_at < LATELY

    def _is_moving(self) -> bool:
        return self._move is not None and not self._move.done()

    async def _resubscribe(self, topic: Topic, hints: Sequence[str]) -> None:
        membership, deafness = self._membership, self._membership.deafness
        reaches = await reaches_any(membership.node, membership.dialable(hints), REACH_TIME)
        if reaches and deafness.keeps_dead_links():
            await self._move_to_new_endpoint(hints)
            return
        if reaches and await self._resubscribe_here(topic, hints) and topic.neighbors:
            deafness.stayed()
            self._moved_at = time.monotonic()
            return
        await self._look_at_paths()
        if deafness.is_long() or deafness.is_stuck(membership.first_peers(hints)):
            await self._move_to_new_endpoint(hints)
        elif not reaches and deafness.is_doubtful():
            await self._compare_with_new_endpoint(hints)
        else:
            self._moved_at = -math.inf  # a peer may be reached in the next moment

    async def _compare_with_new_endpoint(self, hints: Sequence[str]) -> None:
        """Move if a new endpoint reaches a peer: then the present one, which reached none, is at fault."""
        try:
            await self._move_to_new_endpoint(hints, must_reach=True)
        except RejoinFailedError:
            self._moved_at = -math.inf

    async def _resubscribe_here(self, topic: Topic, hints: Sequence[str]) -> bool:
        """On the present endpoint; hints that do not come up have to knock. Returns whether one came up."""
        async with topic.reaching:
            topic.dialled.update(hints)
            try:
                await self._membership.move_to(self._membership.node, hints)
                is_joined = await comes_up(topic, hints)
            finally:
                topic.dialled.clear()
            return is_joined or await self._reaching.try_through(topic, hints, hints, KNOCK_TIME)

    async def _look_at_paths(self) -> None:
        """Note to which peers the endpoint sends on a silent path."""
        with contextlib.suppress(iroh.IrohError, TimeoutError):
            async with asyncio.timeout(LOOK_TIME):
                self._membership.deafness.look(await silent_paths(self._membership.node))

    async def _move_to_new_endpoint(self, hints: Sequence[str], *, must_reach: bool = False) -> None:
        """Move every topic; the old endpoint is stopped once the new one is there.

        The old one stays if the new one reaches no peer, but has to or the old one has neighbours: a path that drops
        large packets keeps old connections alive, and prevents new ones.
        """
        membership = self._membership
        for peer_id, heard_from in (await dialled_addresses(membership.node)).items():
            membership.peers.learn(peer_id, heard_from)  # peers that moved and dialled this node since
        old, new = membership.node, await self._make_endpoint()
        try:
            for peer_id, addresses in membership.peers.addressed():
                await add_address(new, peer_id, addresses)
            tried = membership.dialable(hints)
            has_neighbors = any(one.neighbors for one in membership.topics.values())
            has_links = has_neighbors and not membership.deafness.has_stayed_in_vain()
            if (must_reach or has_links) and not await reaches_any(new, tried, KNOCK_TIME):
                message = f"a new endpoint reaches none of {len(tried)} peers, so the old one stays"
                raise RejoinFailedError(message)
            await membership.move_to(new, hints)
            await self._on_moved()
        finally:  # of two endpoints with one key, one goes in any case
            self._moved_at = time.monotonic()
            await stop_endpoint(old if membership.node is new else new)

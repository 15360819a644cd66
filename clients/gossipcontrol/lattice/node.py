"""A Lattice node, over the socket of its daemon."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from gossipcontrol.agent.agent import Agent
from gossipcontrol.agent.daemon import DaemonGoneError
from gossipcontrol.agent.node import BootstrapPeer, RejoinFailedError, SyncFailedError
from gossipcontrol.agent.way_out import has_way_out
from gossipcontrol.client.client import Client
from gossipcontrol.client.enumeration import Capability, Rung
from gossipcontrol.client.errors import ClientError
from gossipcontrol.client.intention import Member
from gossipcontrol.client.race import run_until_first
from gossipcontrol.lattice.calls import ACTIVE, REVOKED, Calls, StoreGoneError, StorePeer
from gossipcontrol.lattice.intentions import IntentionFeed
from gossipcontrol.lattice.rejoining import Step, plan
from gossipcontrol.lattice.unsynced import UnsyncedWrites

PERIOD = 1.0
"""Seconds between two looks at the peers: the daemon has no stream for them."""
SOON = 0.15
"""Seconds between two looks after a rejoin."""
PROOF_TIME = 5.0
"""Seconds after a rejoin in which the peers are looked at often: a sync that works shows within 0.2."""
STORES_PERIOD = 60.0
"""Seconds between two looks at the stores, if no event says that there is a new one."""
DATA_PERIOD = 2.0
"""Seconds between two looks at the intentions."""
WRITES_PERIOD = 10.0
"""Seconds between two looks at who holds the node's writes: the daemon goes through all intentions for it."""
BUSY_SHARE = 4
"""A round of looks is followed by a pause this many times as long, so that many stores do not keep the daemon busy."""
MEMBERS = 1000
"""Most changes of the membership in one call."""
_logger = logging.getLogger("gossipcontrol.agent")


class LatticeNode:
    """One life of the daemon. Make it with ``connect``."""

    capabilities: Sequence[Capability] = ()

    def __init__(self, calls: Calls, node_id: str, client: Client | None, can_dial: Callable[[], bool]) -> None:
        """Use ``connect``."""
        self.node_id = node_id
        self._calls = calls
        self._client = client
        self._can_dial = can_dial
        self._agent: Agent | None = None
        self._peers: dict[str, list[StorePeer]] = {}
        """Store -> its peers as seen last."""
        self._refresh = asyncio.Event()
        """Set when a store came up."""
        self._refreshed_at = 0.0
        self._rejoined_at: dict[str, float] = {}
        self._wake = asyncio.Event()
        self._syncs: dict[str, asyncio.Task[None]] = {}
        self._members: dict[str, dict[str, bool]] = {}
        """Store -> the members the service was told of, and whether each was added or removed."""
        self._feeds: dict[str, IntentionFeed] = {}
        self._writes: dict[str, UnsyncedWrites] = {}
        self._complaints: set[str] = set()

    @classmethod
    async def connect(
        cls, socket: Path, client: Client | None = None, can_dial: Callable[[], bool] = has_way_out
    ) -> LatticeNode:
        """Ask the daemon who it is, and what stores it has; raises DaemonGoneError."""
        calls = Calls(socket)
        try:
            try:
                made = cls(calls, await calls.node_id(), client, can_dial)
            except StoreGoneError as error:
                raise DaemonGoneError(f"what listens there is no Lattice daemon: {error}") from error
            if not made.node_id:
                raise DaemonGoneError("the daemon does not name its key")
            await made._read_stores()
        except BaseException:
            await calls.close()
            raise
        return made

    async def close(self) -> None:
        """Close the channel to the daemon."""
        for task in self._syncs.values():
            task.cancel()
        await asyncio.gather(*self._syncs.values(), return_exceptions=True)
        await self._calls.close()

    def stores(self) -> Sequence[str]:
        """The ids of its stores, roots and those below."""
        return tuple(self._peers)

    def addresses(self) -> Sequence[str]:
        """None: the daemon finds peers by their keys, and takes no addresses."""
        return ()

    def peer_addresses(self) -> list[str]:
        """None are known."""
        return []

    # What the agent is told.

    async def begin(self, agent: Agent) -> None:
        """Report the neighbours that are there."""
        self._agent = agent
        await self._look_at_all(self._peers)

    async def run(self, agent: Agent) -> None:
        """Report what changes; raises DaemonGoneError when the daemon is gone. It never leaves for good."""
        await run_until_first(self._follow_stores(), self._poll_peers(), self._poll_data())

    async def _follow_stores(self) -> None:
        async for _ in self._calls.store_events():
            self._refresh.set()
            self._wake.set()

    async def _read_stores(self) -> None:
        """Read which stores there are, and register them if they are others than before."""
        self._refresh.clear()
        found, before = await self._calls.stores(), self._peers
        self._refreshed_at = time.monotonic()
        self._peers = {store_id: before.get(store_id, []) for store_id in found}
        for kept in (self._members, self._feeds, self._writes, self._rejoined_at):
            for gone in kept.keys() - self._peers.keys():
                del kept[gone]
        if self._agent is not None and self._peers.keys() != before.keys():
            self._agent.announce()

    async def _poll_peers(self) -> None:
        """Look at the peers of every store, and often at those of one that was rejoined."""
        while True:
            began_at = time.monotonic()
            if self._refresh.is_set() or began_at >= self._refreshed_at + STORES_PERIOD:
                await self._read_stores()
            await self._look_at_all(self._peers)
            pause = max(PERIOD, BUSY_SHARE * (time.monotonic() - began_at))
            await self._look_often(time.monotonic() + pause)

    async def _look_often(self, until: float) -> None:
        """Wait until then, or for a store that came up, and look at stores that were rejoined meanwhile."""
        while (left := until - time.monotonic()) > 0 and not self._refresh.is_set():
            self._wake.clear()
            recent = [one for one, at in self._rejoined_at.items() if time.monotonic() < at + PROOF_TIME]
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, SOON) if recent else left):
                    await self._wake.wait()
            await self._look_at_all([one for one in recent if one in self._peers])

    async def _look_at_all(self, store_ids: Sequence[str] | dict[str, list[StorePeer]]) -> None:
        for store_id in list(store_ids):
            with suppress(StoreGoneError):
                await self._look(store_id)

    async def _look(self, store_id: str) -> list[StorePeer]:
        """Read the peers of a store and report them; raises StoreGoneError and DaemonGoneError."""
        asked_at = time.monotonic()
        peers = await self._calls.peers(store_id)
        before, self._peers[store_id] = self._peers.get(store_id, []), peers
        assert self._agent is not None
        neighbors = {one.peer_id: one for one in peers if one.online and one.peer_id != self.node_id}
        for one in before:
            if one.peer_id not in neighbors:
                self._agent.neighbor_down(store_id, one.peer_id)
        for peer_id, one in neighbors.items():
            self._agent.neighbor_up(store_id, peer_id)
            age = one.last_seen + time.monotonic() - asked_at
            self._agent.heard(store_id, peer_id, age=age, direct=True)
        return peers

    # What the service asks for.

    async def rejoin(self, store_id: str, bootstrap: Sequence[BootstrapPeer], rung: Rung) -> None:
        """Have the daemon dial the store's peers, unless that would harm, and sync; raises RejoinFailedError.

        The daemon answers OK before it has tried anything, also for a store that it does not have. What is looked at
        afterwards proves it: a sync that works renews the sign of life of every peer that is reached.
        """
        if rung != Rung.REJOIN:
            raise RejoinFailedError(f"the node cannot carry out the rung {rung}", permanent=True)
        if store_id not in self._peers:
            raise RejoinFailedError(f"the node has no store {store_id}", permanent=True)
        try:
            peers = await self._look(store_id)
            step = self._step(store_id, peers, {one.peer_id for one in bootstrap})
            if step is Step.RECONNECT:
                await self._calls.reconnect(store_id)
            self._start_sync(store_id)
        except StoreGoneError as error:
            raise RejoinFailedError(f"the daemon has no peers of store {store_id}", permanent=True) from error
        except DaemonGoneError as error:
            raise RejoinFailedError(f"Lattice: {error}") from error
        self._rejoined_at[store_id] = time.monotonic()
        self._wake.set()

    def _step(self, store_id: str, peers: Sequence[StorePeer], hints: set[str]) -> Step:
        """What to do; raises RejoinFailedError where it is better to do nothing."""
        if not self._can_dial():
            raise RejoinFailedError("the host has no default route: a dial that fails makes the node deaf to that peer")
        assert self._agent is not None
        step = plan(self.node_id, peers, self._agent.peers(store_id), hints)
        if step is Step.WAIT:
            raise RejoinFailedError("every peer is away: a dial that fails makes the node deaf to that peer")
        return step

    def _start_sync(self, store_id: str) -> None:
        """Sync in the background: a peer that is wrongly thought online holds the call up for 30 s."""
        if store_id not in self._syncs:
            task = self._syncs[store_id] = asyncio.create_task(self._sync(store_id))
            task.add_done_callback(lambda _: self._syncs.pop(store_id, None))

    async def _sync(self, store_id: str) -> None:
        with suppress(StoreGoneError, DaemonGoneError):  # what is looked at afterwards tells whether it worked
            await self._calls.sync(store_id)
            self._wake.set()

    async def sync_with_peer(self, store_id: str, peer_id: str, addresses: Sequence[str]) -> None:
        """Never asked for: the daemon syncs with all peers that are online, and never with another."""
        raise SyncFailedError("Lattice cannot sync with one peer")

    # Writes, intentions and members.

    async def _poll_data(self) -> None:
        """Bring intentions and members to the service, and count writes that nobody else holds."""
        writes_at = float("-inf")
        while True:
            began_at = time.monotonic()
            counts_writes = began_at >= writes_at + WRITES_PERIOD
            writes_at = began_at if counts_writes else writes_at
            for store_id in list(self._peers):
                with suppress(StoreGoneError):
                    await self._bring(store_id)
                    if counts_writes:
                        await self._count_writes(store_id)
            await asyncio.sleep(max(DATA_PERIOD, BUSY_SHARE * (time.monotonic() - began_at)))

    async def _bring(self, store_id: str) -> None:
        if self._client is None:
            return
        feed = self._feeds.get(store_id)
        if feed is None:
            feed = self._feeds[store_id] = IntentionFeed(store_id, self.node_id, self._calls, self._client.knowledge)
        try:
            await self._change_members(self._client, store_id)
            await feed.bring()
        except ClientError as error:
            self._complain(f"intentions and members are not brought to the service: {error}")
        for author in sorted(feed.left_out):
            self._complain(f"{store_id}: the history of {author[:10]} is too long to be brought to the service")

    async def _change_members(self, client: Client, store_id: str) -> None:
        """Tell the service who is a member, and who no more; raises ClientError."""
        told = self._members.setdefault(store_id, {})
        wanted = {one.peer_id: one.status in ACTIVE for one in self._peers.get(store_id, ())
                  if one.status in ACTIVE or one.status == REVOKED}  # fmt: skip
        changed = [peer_id for peer_id, is_member in wanted.items() if told.get(peer_id) is not is_member][:MEMBERS]
        if changed:
            added = [Member(peer_id) for peer_id in changed if wanted[peer_id]]
            removed = [peer_id for peer_id in changed if not wanted[peer_id]]
            await client.knowledge.change_members(store_id, added=added, removed=removed)
            told.update((peer_id, wanted[peer_id]) for peer_id in changed)

    async def _count_writes(self, store_id: str) -> None:
        assert self._agent is not None
        writes = self._writes.setdefault(store_id, UnsyncedWrites())
        made, held = await self._calls.own_writes(store_id, self.node_id)
        others = any(one.peer_id != self.node_id and one.status in ACTIVE for one in self._peers.get(store_id, ()))
        # Where nobody else is a member, nobody else could hold them.
        self._agent.unsynced_writes(store_id, writes.update(made, held if others else made, time.monotonic()))

    def _complain(self, text: str) -> None:
        """Log it once."""
        if text not in self._complaints and len(self._complaints) < 100:
            self._complaints.add(text)
            _logger.error("%s", text)

"""A member of a Serf cluster, over the RPC of its agent.

Serf serves the calls of one connection strictly in order, and a ``join`` answers after 10 s for each address behind
which nothing answers. So there are three connections: one for events, one for queries, one for joins.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from gossipcontrol.agent.agent import Agent
from gossipcontrol.agent.daemon import DaemonGoneError
from gossipcontrol.agent.node import BootstrapPeer, RejoinFailedError, SyncFailedError
from gossipcontrol.agent.way_out import has_way_out
from gossipcontrol.client.enumeration import Capability, Rung
from gossipcontrol.client.race import run_until_first
from gossipcontrol.serf.connection import Connection, RefusedError, SerfGoneError
from gossipcontrol.serf.joining import Joining
from gossipcontrol.serf.member import ALIVE, FAILED, LEAVING, LEFT, Member, is_joinable, members
from gossipcontrol.serf.wire import Map, number, part, text

EVENTS = "member-join,member-leave,member-failed,member-update,member-reap"
PERIOD = 1.0
"""Seconds between two looks at the members: events come a second late, and are lost when nobody reads them."""
SOON = 0.05
"""Seconds between two looks after a join: members become alive one by one, and events come a second later."""
CONFIRM_TIME = 2.0
"""Seconds within which a member that was joined must be alive; 0.2 were measured."""
HEALTH_PERIOD = 5.0
"""Seconds between two looks at Serf's own health score."""
DETECTION = 12.0
"""Seconds within which Serf notices that a member is dead; 6.6 to 11.6 were measured with three."""
AGE_PER_POINT = 2.0
"""Seconds by which Serf's word counts as older for each point of its health score: an interval of its probes, twice."""
MOST_ADDRESSES = 2
"""Most addresses in one join: Serf dials them one after the other, and serves no other join meanwhile."""


CanSend = Callable[[Iterable[str]], bool]
"""Whether the host can send to anybody, given addresses of members."""


@dataclass(frozen=True, slots=True)
class Rpc:
    """Where the RPC of a Serf agent is."""

    host: str
    port: int
    auth_key: str = ""

    async def open(self) -> Connection:
        """A new connection; raises DaemonGoneError."""
        try:
            return await Connection.open(self.host, self.port, self.auth_key)
        except (SerfGoneError, RefusedError) as error:
            raise DaemonGoneError(str(error)) from error


def age_of_word(health_score: int) -> float:
    """How old a sign of life Serf's word "alive" is taken for, in seconds.

    A score above 0, at most 8, says that the Serf agent itself is ill and probes less often (Lifeguard). Its word is
    worth as much less: from about 2 on it does not suffice where nobody else vouches for a member.
    """
    return AGE_PER_POINT * max(0, min(health_score, 8))


class SerfNode:
    """One connection to a Serf agent. Make it with ``connect``."""

    capabilities: Sequence[Capability] = ()

    def __init__(self, rpc: Rpc, queries: Connection, name: str, store_id: str, can_send: CanSend) -> None:
        """Use ``connect``."""
        self._can_send = can_send
        self.node_id = name
        self._store = store_id
        self._queries = queries
        self._rpc = rpc
        self._joining = Joining(rpc.open)
        self._members: dict[str, Member] = {}
        self._health = 0
        self._health_at = float("-inf")
        self._wake = asyncio.Event()
        self._agent: Agent | None = None
        self._joined_at = float("-inf")
        self._doubted_until = float("-inf")
        """Until then Serf's word proves nothing: a rejoin may not be proved by members that Serf has not missed yet."""
        self._tried = 0
        """Joins so far: those without hints take turns over the members."""

    @classmethod
    async def connect(
        cls, rpc: Rpc, *, store_id: str = "", store_tag: str = "", can_send: CanSend = has_way_out
    ) -> SerfNode:
        """Ask Serf who it is; raises DaemonGoneError.

        A cluster is one store. Its id is ``store_id``, or the value of the tag ``store_tag`` of the Serf agent.
        """
        queries = await rpc.open()
        try:
            name = text(part((await _ask(queries, "stats")).get(b"agent")).get(b"name"))
            made = cls(rpc, queries, name, store_id, can_send)
            await made._read_members()
            own = made._members.get(name)
            if own is None:
                raise DaemonGoneError(f"Serf does not list itself ({name!r}) among its members")
            if made.has_left:
                raise DaemonGoneError("Serf left the cluster: it cannot join before it is restarted")
            if store_tag:
                made._store = own.tags.get(store_tag, "")
                if not made._store:
                    raise DaemonGoneError(f"the Serf agent {name} has no tag {store_tag}")
        except BaseException:
            await queries.wait_closed()
            raise
        return made

    async def close(self) -> None:
        """Close its connections."""
        await self._joining.close()
        await self._queries.wait_closed()

    def stores(self) -> Sequence[str]:
        """The cluster."""
        return (self._store,)

    def addresses(self) -> Sequence[str]:
        """Where Serf says that it can be joined."""
        own = self._members.get(self.node_id)
        return (own.address,) if own is not None and own.address else ()

    def peer_addresses(self) -> list[str]:
        """Where the other members are, for the watcher."""
        return [one.address for one in self._others() if one.address]

    @property
    def has_left(self) -> bool:
        """Whether Serf left the cluster: it cannot join again before it is restarted."""
        own = self._members.get(self.node_id)
        return own is not None and own.status in (LEAVING, LEFT)

    # What the agent is told.

    async def begin(self, agent: Agent) -> None:
        """Report the members that are there."""
        self._agent = agent
        await self._look()

    async def run(self, agent: Agent) -> None:
        """Report what changes, until Serf leaves the cluster; raises DaemonGoneError."""
        await run_until_first(self._follow(), self._poll())

    async def _follow(self) -> None:
        """Look at the members whenever Serf says that something happened to them."""
        connection = await self._rpc.open()
        try:
            async for _ in connection.events(EVENTS):
                self._wake.set()
        except (SerfGoneError, RefusedError) as error:
            raise DaemonGoneError(str(error)) from error
        finally:
            await connection.wait_closed()

    async def _poll(self) -> None:
        while not self.has_left:
            with suppress(TimeoutError):
                async with asyncio.timeout(SOON if time.monotonic() < self._joined_at + CONFIRM_TIME else PERIOD):
                    await self._wake.wait()
            self._wake.clear()
            await self._look()

    async def _look(self) -> None:
        """Read the members and report them; raises DaemonGoneError."""
        if time.monotonic() - self._health_at >= HEALTH_PERIOD:
            self._health = number(part((await _ask(self._queries, "stats")).get(b"serf")).get(b"health_score"))
            self._health_at = time.monotonic()
        before = self._members
        asked_at = time.monotonic()
        await self._read_members()
        assert self._agent is not None
        for name in sorted(before.keys() - self._members.keys()):
            self._agent.neighbor_down(self._store, name)
        # A Serf that cannot send takes nobody for failed. One that was just told to join may not know better yet.
        is_word_good = asked_at >= self._doubted_until and self._can_send(self.peer_addresses())
        for member in self._others():
            if member.status != ALIVE:
                self._agent.neighbor_down(self._store, member.name)
                continue
            self._agent.neighbor_up(self._store, member.name)
            if is_word_good:
                age = age_of_word(self._health) + time.monotonic() - asked_at
                self._agent.heard(self._store, member.name, age=age, direct=False)

    async def _read_members(self) -> None:
        self._members = members(await _ask(self._queries, "members"))

    def _others(self) -> list[Member]:
        return [one for name, one in self._members.items() if name != self.node_id]

    # What the service asks for.

    async def rejoin(self, store_id: str, bootstrap: Sequence[BootstrapPeer], rung: Rung) -> None:
        """Have Serf join two members at most; raises RejoinFailedError unless one of them is alive then."""
        if store_id != self._store:
            raise RejoinFailedError(f"the node has no store {store_id}", permanent=True)
        if rung != Rung.REJOIN:
            raise RejoinFailedError(f"the node cannot carry out the rung {rung}", permanent=True)
        if self.has_left:
            raise RejoinFailedError("Serf left the cluster: it cannot join before it is restarted", permanent=True)
        targets = self._targets(bootstrap)
        if not targets:
            raise RejoinFailedError("Serf knows no other member, and the service named none with an address")
        begun_at = time.monotonic()
        self._doubted_until = begun_at + DETECTION
        try:
            joined, error = await self._joining.join([address for _, address in targets])
        except DaemonGoneError as error:
            raise RejoinFailedError(f"Serf: {error}") from error
        if not joined:
            raise RejoinFailedError(f"Serf: {error or 'joined nobody'}")
        try:
            await self._confirm([name for name, _ in targets], joined == len(targets), begun_at)
        except DaemonGoneError as error:
            raise RejoinFailedError(f"Serf: {error}") from error

    async def sync_with_peer(self, store_id: str, peer_id: str, addresses: Sequence[str]) -> None:
        """Never asked for: Serf has no such call."""
        raise SyncFailedError("Serf cannot sync with one member")

    def _targets(self, bootstrap: Sequence[BootstrapPeer]) -> list[tuple[str, str]]:
        """Name and address of those to join: the service's hints first, then members that failed.

        Where none is missing, one that is alive: that it answers proves that the way to the cluster is there.
        """
        self._tried += 1
        hints = [(one.peer_id, address) for one in bootstrap for address in one.addresses[:1] if is_joinable(address)]
        others = [one for one in self._others() if one.address]
        turned = others[self._tried % len(others) :] + others[: self._tried % len(others)] if others else []
        failed = [(one.name, one.address) for one in turned if one.status == FAILED]
        alive = {one.name: one.address for one in turned if one.status == ALIVE}
        missing = [one for one in (*hints, *failed) if one[0] not in alive and one[0] != self.node_id]
        if missing:
            return list(dict(missing).items())[:MOST_ADDRESSES]
        known = [one for one in hints if one[0] in alive]
        return (known or list(alive.items()))[:1]

    async def _confirm(self, names: Sequence[str], all_answered: bool, begun_at: float) -> None:
        """Wait until one of those joined is alive; raises RejoinFailedError.

        Serf counts how many answered, and not who: only where all did, each is known to have.
        """
        self._joined_at = time.monotonic()
        self._wake.set()
        while True:
            await self._look()
            alive = [name for name in names if (one := self._members.get(name)) is not None and one.status == ALIVE]
            if alive:
                break
            if time.monotonic() >= self._joined_at + CONFIRM_TIME:
                raise RejoinFailedError(f"Serf joined {', '.join(names)}, but lists none of them as alive")
            await asyncio.sleep(SOON)
        self._doubted_until = float("-inf")
        assert self._agent is not None
        for name in alive if all_answered else ():
            self._agent.heard(self._store, name, age=time.monotonic() - begun_at, direct=True)


async def _ask(connection: Connection, command: str) -> Map:
    try:
        return await connection.call(command)
    except (SerfGoneError, RefusedError) as error:
        raise DaemonGoneError(str(error)) from error

"""The agent: keeps a node attached to the service, reports what it hears, and carries out rejoins."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import grpc
from gossipcontrol.agent.attachment import GOODBYE_TIMEOUT, Attachment
from gossipcontrol.agent.event import AgentEvent, NeighborEvent
from gossipcontrol.agent.node import Node
from gossipcontrol.agent.report_builder import check_id, check_name
from gossipcontrol.agent.state import AgentState
from gossipcontrol.agent.stats import AgentStats
from gossipcontrol.client.address import default_address
from gossipcontrol.client.channel import is_serving, open_channel_to
from gossipcontrol.client.clock import boottime
from gossipcontrol.client.credentials import Credentials
from gossipcontrol.client.errors import CredentialsError
from gossipcontrol.client.failure import failure, is_gone, plain_words
from gossipcontrol.client.lookup import look_up
from gossipcontrol.client.presence import Peer, PeerChange
from gossipcontrol.client.race import run_until_first
from gossipcontrol.client.refusal import why_unserved
from gossipcontrol.client.retry import LONGEST_WAIT
from gossipcontrol.client.servers import Search, Server, Servers

CONNECT_TIMEOUT, LONGEST_CONNECT = 5.0, 80.0
"""Seconds within which a new stream must be answered; after one that was not though its server was connected, twice as
many, up to the second."""
PROBE_TIMEOUT = 1.0
"""Seconds within which the service must answer after the network changed."""
STEADY = 10.0
"""Seconds after which a stream counts as having worked: one that ends sooner makes the next wait longer."""
LOOK_INTERVAL = 60.0
"""Seconds between two looks at why a server refuses, for each costs it a handshake."""
SPREAD = 2.0
"""Seconds over which the agents of a server that is gone come to the others: 2,000 would else come at once."""
_logger = logging.getLogger("gossipcontrol.agent")


class Agent:
    """Speaks for one node: ``async with Agent(node)``, or ``start`` and ``stop``, or ``run`` in a task of its own.

    The app calls ``sent``, ``received``, ``neighbor_up``, ``neighbor_down``, and either ``record_write`` and
    ``mark_synced`` or ``unsynced_writes``; the agent counts, computes ages and reports. A wrong id (empty, longer than
    128 bytes, not UTF-8) or count raises ValueError and changes nothing. All methods must be called in the event loop
    of ``run``.

    ``name`` is what people call the node, such as kitchen-laptop: at most 64 bytes, shown beside its id, and no key.

    ``restart_command`` is the operator's, a program and its arguments: run when the service advises to restart the
    node, because nothing else helped; at most once in 10 minutes, for 60 s at most. Its outcome is reported.

    Wrong arguments raise at construction: AddressError for a malformed address, ValueError for a wrong id or name.
    After that the agent survives whatever happens: a service that is away or newer, a callback or a method of the node
    that raises. Each is logged (``gossipcontrol.agent``), counted (``stats``) and followed by another attempt.
    """

    def __init__(
        self,
        node: Node,
        address: str | None = None,
        *,
        host_id: str = "",
        name: str = "",
        credentials: Credentials | None = None,
        on_event: Callable[[AgentEvent], None] = lambda event: None,
        on_peer: Callable[[str, PeerChange], None] = lambda store_id, change: None,
        restart_command: Sequence[str] = (),
    ) -> None:
        check_id(node.node_id, "node_id")
        if host_id:
            check_id(host_id, "host_id")
        if name:
            check_name(name)
        self._servers = Servers(default_address() if address is None else address, credentials)
        self._search = Search(self._servers, longest=LONGEST_WAIT, spread=SPREAD)
        self._credentials = credentials
        self._state = AgentState(node, host_id, on_event, on_peer, name, restart_command)
        self._network_changed = asyncio.Event()
        self._attached_at = 0.0
        self._failure: grpc.RpcError | None = None
        """What the last stream ended with, as far as its server said."""
        self._last_reason = ""
        """Why it is not attached, as last logged."""
        self._looks: dict[str, tuple[float, str]] = {}
        """By address: when a server that refuses was last looked at, and what was seen."""
        self._task: asyncio.Task[None] | None = None
        self.attached = asyncio.Event()
        """Set while the service has the node registered."""

    # What the app reports.

    def sent(self, store_id: str) -> None:
        """The node broadcast a message."""
        self._state.reports.sent(store_id)

    def received(self, store_id: str, author_id: str, *, direct: bool) -> None:
        """The node received a message of this author; ``direct`` when the author itself delivered it."""
        self._state.reports.received(store_id, author_id, direct=direct)
        self._report_proof(store_id, boottime())

    def heard(self, store_id: str, peer_id: str, *, age: float, direct: bool) -> None:
        """The node had a sign of life of this peer so many seconds ago: where it tells ages, and counts no messages.

        An older one than is known changes nothing. ``direct`` when the peer itself gave it.
        """
        at = boottime() - age
        if self._state.reports.heard(store_id, peer_id, at, direct=direct):
            self._report_proof(store_id, at)

    def neighbor_up(self, store_id: str, peer_id: str) -> None:
        """A neighbour came up."""
        if self._state.reports.neighbor_up(store_id, peer_id):
            self._state.queue.add_neighbor_event(NeighborEvent(store_id, peer_id, True, boottime()))

    def neighbor_down(self, store_id: str, peer_id: str) -> None:
        """A neighbour went down."""
        if self._state.reports.neighbor_down(store_id, peer_id):
            self._state.queue.add_neighbor_event(NeighborEvent(store_id, peer_id, False, boottime()))

    def unsynced_writes(self, store_id: str, count: int) -> None:
        """So many local writes are not yet known to be held elsewhere."""
        self._state.reports.unsynced_writes(store_id, count)

    def record_write(self, store_id: str) -> None:
        """One more local write that no other node is known to hold: an app that does not count them itself."""
        self._state.reports.record_write(store_id)

    def mark_synced(self, store_id: str) -> None:
        """Another node holds every local write: a peer said so, or a sync ended well."""
        self._state.reports.mark_synced(store_id)

    def pause(self) -> None:
        """The node's silence is no failure from now on: no network, or the host is about to sleep.

        The service learns it, and nothing else is reported until ``resume`` or a rejoin.
        """
        if not self._state.paused:
            self._state.paused = True
            self._state.report_all()

    def resume(self) -> None:
        """The node speaks again."""
        self._state.resume()

    def network_changed(self) -> None:
        """The network changed: connect at once if there is no stream, else check whether the stream still works.

        The node's addresses are read again until they have settled, and announced.
        """
        self._network_changed.set()
        self._state.addresses.network_changed()

    def announce(self) -> None:
        """The node's stores, addresses or capabilities changed: register it again."""
        self._state.queue.add_registration()

    def _report_proof(self, store_id: str, heard_at: float) -> None:
        """Report a store now if a rejoin of it awaits a sign of life, and this one is newer than its start."""
        if heard_at >= self._state.awaiting_proof.get(store_id, math.inf):
            del self._state.awaiting_proof[store_id]
            self._state.queue.add_reports([store_id])

    # What the app reads.

    def peers(self, store_id: str) -> list[Peer]:
        """The peers of a store, as the service last saw them; ``on_peer`` is called when one changes."""
        return self._state.presence.peers(store_id)

    @property
    def stats(self) -> AgentStats:
        """What the agent has counted so far."""
        return self._state.faults.stats

    # Its life.

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    def start(self) -> None:
        """Run in the background until ``stop``; an agent can be started once."""
        if self._task is not None:
            raise RuntimeError("the agent was started already")
        self._task = asyncio.get_running_loop().create_task(self.run())

    async def stop(self) -> None:
        """Say goodbye to the service, for two seconds at most, and stop what ``start`` began."""
        await self.leave()
        if self._task is None:
            return
        await asyncio.wait([self._task], timeout=2 * GOODBYE_TIMEOUT)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def leave(self) -> None:
        """Say goodbye on the stream, if there is one; ``run`` then returns."""
        self._state.leaving = True
        self._state.queue.wanted.set()
        self._network_changed.set()
        await self._state.rejoins.close()
        await self._state.syncs.close()

    async def run(self) -> None:
        """Stay attached until cancelled, or until ``leave`` is called."""
        while not self._state.leaving:
            self._network_changed.clear()
            self._failure = None
            await look_up(self._servers)
            reason = await self._attach_once(server := self._search.server())
            # Two agents of one node end each other's streams: without growing waits they would do so without end.
            steady = self.attached.is_set() and time.monotonic() - self._attached_at >= STEADY
            is_here = steady or self._network_changed.is_set()
            wait = self._search.lose() if is_here else self._search.wait(self._failure)
            reason = await self._look(server) or reason
            if self._servers.current != server:
                reason = f"{reason}; reconnecting to {self._servers.current.address}"
            self._detached(server.address, reason)
            if not self._state.leaving:
                await self._wait(wait)

    async def _attach_once(self, server: Server) -> str:
        """One stream from its start to its end; returns what ended it."""
        try:
            await self._attach(server)
        except (grpc.RpcError, TimeoutError, ConnectionError, asyncio.InvalidStateError, CredentialsError) as error:
            return _reason(error)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return "the stream was cancelled"
        except Exception as error:  # noqa: BLE001 - a newer service or the app's code; the agent must go on
            self._state.faults.unexpected()
            return f"{type(error).__name__}: {error}"
        return "left"

    async def _attach(self, server: Server) -> None:
        channel = open_channel_to(server, self._credentials)
        attachment = Attachment(self._state, channel)
        answer_time = self._search.answer_time(CONNECT_TIMEOUT, LONGEST_CONNECT)
        try:
            async with asyncio.timeout(answer_time):
                # After a change of the network, an attempt over the old one is not worth waiting for.
                await run_until_first(self._register(attachment, server.address), self._network_changed.wait())
            if not self.attached.is_set():
                raise ConnectionError("the network changed while connecting")
            await run_until_first(
                attachment.read(), attachment.write(), self._state.addresses.run(), self._probe(channel)
            )
        except TimeoutError:
            if self.attached.is_set():
                raise
            if channel.get_state() is grpc.ChannelConnectivity.READY:
                self._search.note_ignored()
            raise TimeoutError(f"no answer within {answer_time:g} s") from None
        finally:
            self._failure = await attachment.failure()
            await channel.close()

    async def _register(self, attachment: Attachment, address: str) -> None:
        answer = await attachment.register()
        self._attached_at, self._last_reason = time.monotonic(), ""
        self._looks.clear()
        self._search.note_answered()
        self.stats.attached += 1
        self.attached.set()
        _logger.info("attached to %s: %s", address, answer)
        self._state.emit(AgentEvent("attached", answer))

    async def _probe(self, channel: grpc.aio.Channel) -> None:
        """After a change of the network, raise unless the service answers on this connection."""
        while True:
            await self._network_changed.wait()
            self._network_changed.clear()
            if not self._state.leaving:
                await is_serving(channel, PROBE_TIMEOUT)

    async def _look(self, server: Server) -> str:
        """Why a server ends this client's connections, as a handshake shows; "" if it does not, or says why itself.

        Of one reason gRPC tells now this and now that, and each would be logged.
        """
        is_told = self._failure is not None and not is_gone(self._failure)
        if self.attached.is_set() or self._network_changed.is_set() or is_told:
            return ""

        async def look() -> None:
            seen = await asyncio.to_thread(why_unserved, server, self._credentials)
            self._looks[server.address] = (time.monotonic(), seen)

        if time.monotonic() - self._looks.get(server.address, (-math.inf, ""))[0] >= LOOK_INTERVAL:
            await run_until_first(look(), self._network_changed.wait())
        return self._looks.get(server.address, (0.0, ""))[1]

    def _detached(self, address: str, reason: str) -> None:
        if self.attached.is_set():
            self.attached.clear()
            if not self._state.leaving:
                _logger.warning("detached from %s: %s; will reconnect", address, reason)
            self._state.emit(AgentEvent("detached", reason))
        elif not self._state.leaving:
            self.stats.failed_attempts += 1
            if reason != self._last_reason:
                self._last_reason = reason
                _logger.warning("cannot attach to %s: %s; will retry", address, reason)
                self._state.emit(AgentEvent("unattached", reason))

    async def _wait(self, seconds: float) -> None:
        """Wait, but no longer than until the network changes."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._network_changed.wait()


def _reason(error: BaseException) -> str:
    if isinstance(error, grpc.RpcError):
        details = failure(error).details() or ""
        plain = plain_words(details)
        return plain if plain != details else f"{failure(error).code().name}: {details}"
    return str(error) or f"no answer within {PROBE_TIMEOUT:g} s after the network changed"

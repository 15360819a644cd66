"""The asynchronous client of GossipControl."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from types import TracebackType
from typing import Self

from gossipcontrol.client import call
from gossipcontrol.client.call import RejoinFilter
from gossipcontrol.client.credentials import Credentials
from gossipcontrol.client.decision import (
    ExplainResult,
    ForgetResult,
    NetworkChange,
    PastTrigger,
    RejoinRecord,
    RejoinTrigger,
    TriggerResult,
)
from gossipcontrol.client.enumeration import Cause, Outcome, PeerState
from gossipcontrol.client.knowledge import Knowledge
from gossipcontrol.client.liveness import LivenessReport, LivenessResult, SyncResult
from gossipcontrol.client.presence import Peer, PresenceUpdate
from gossipcontrol.client.presence_stream import OnLoss, PresenceStream
from gossipcontrol.client.replica import ReplicaList
from gossipcontrol.client.servers import OnMove
from gossipcontrol.client.store import Store
from gossipcontrol.client.transport import Transport


class Client:
    """Calls the service at ``address``; ``timeout`` seconds bound every call with its retries.

    ``address`` may list replicas with commas, or be a name with several IP addresses: the one that serves is found.
    ``on_move`` is called with the address that is left and the one that is asked next.

    It may be made anywhere; the channel is opened by the first call. Use it as ``async with Client() as client``, or
    ``close`` it. Raises AddressError for a malformed address; every method raises a ``ClientError``.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        timeout: float = 5.0,
        credentials: Credentials | None = None,
        on_move: OnMove = lambda old, new: None,
    ) -> None:
        self._transport = Transport(address, timeout, credentials, on_move)
        self.knowledge = Knowledge(self._transport)

    @property
    def address(self) -> str:
        """Of the service, as it was given."""
        return self._transport.address

    @property
    def server(self) -> str:
        """The address that is asked now."""
        return self._transport.servers.current.address

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        await self._transport.close()

    async def serving(self) -> bool:
        """Whether the service says that it serves; with several addresses: whether one of them does."""
        return await self._transport.serving()

    async def warnings(self) -> tuple[str, ...]:
        """What is wrong with the fleet as a whole, as sentences: two agents with one node id, for example."""
        return await self._transport.call(call.warnings())

    async def rejoin(
        self,
        node_id: str,
        store_ids: Sequence[str] = (),
        *,
        cause: Cause = Cause.MANUAL,
        request_id: str = "",
        park: bool = False,
    ) -> TriggerResult:
        """Have a node rejoin these stores, or all it has; ``park``: wait for it if the service does not know it."""
        trigger = RejoinTrigger(
            node_id=node_id, store_ids=tuple(store_ids), cause=cause, request_id=request_id, park=park
        )
        return await self._transport.call(call.rejoin(trigger))

    async def report_network_change(self, change: NetworkChange) -> TriggerResult:
        """Report a change of a host or of nodes."""
        return await self._transport.call(call.report_network_change(change))

    async def peer_liveness(
        self, reports: Sequence[LivenessReport], *, sync_results: Sequence[SyncResult] = ()
    ) -> LivenessResult:
        """Report what nodes heard of their peers."""
        return await self._transport.call(call.peer_liveness(reports, sync_results))

    async def explain(self, trigger: RejoinTrigger | NetworkChange | PastTrigger) -> ExplainResult:
        """What would happen to a trigger now, or why a past one was decided as it was; changes nothing."""
        return await self._transport.call(call.explain(trigger))

    async def forget(self, *, node_id: str = "", store_id: str = "") -> ForgetResult:
        """Forget a node without an agent, a store, or a store of one node; raises ClientError where one is attached."""
        return await self._transport.call(call.forget(node_id, store_id))

    async def cancel_rejoin(self, rejoin_id: str) -> RejoinRecord:
        """End a rejoin that has not ended; raises NotFoundError, or ClientError (FAILED_PRECONDITION) if it has."""
        return await self._transport.call(call.cancel_rejoin(rejoin_id))

    def list_peers(self, store_id: str, *, state: PeerState | None = None) -> AsyncIterator[Peer]:
        """The peers of a store by id, or only those in this state."""
        return self._transport.each(call.list_peers(store_id, state))

    def list_stores(self, node_id: str = "") -> AsyncIterator[Store]:
        """Stores by id, of one node or of all."""
        return self._transport.each(call.list_stores(node_id))

    async def list_replicas(self) -> ReplicaList:
        """The replicas of the service, the owner first; none where one service has its state for itself."""
        return await self._transport.call(call.list_replicas())

    def list_rejoins(
        self,
        *,
        node_id: str = "",
        store_id: str = "",
        cause: Cause | None = None,
        outcome: Outcome | None = None,
        max_age: float | None = None,
        limit: int | None = None,
        page_size: int = 0,
    ) -> AsyncIterator[RejoinRecord]:
        """Rejoins, newest first: at most ``limit``, requested within ``max_age`` seconds."""
        chosen = RejoinFilter(
            node_id=node_id, store_id=store_id, cause=cause, outcome=outcome, max_age=max_age, limit=limit,
            page_size=page_size,
        )  # fmt: skip
        return self._transport.each(call.list_rejoins(chosen))

    def watch_peers(
        self, store_id: str, *, resume_token: str = "", on_loss: OnLoss = lambda error: None
    ) -> AsyncGenerator[PresenceUpdate, None]:
        """A store's presence: a snapshot, then every change in order, until it is closed.

        A stream that breaks is opened again behind the last update, and ``on_loss`` is called with the reason. Only the
        first answer must come within the client's timeout.
        """
        return self._transport.watch(PresenceStream(store_id, resume_token, self._transport.timeout, on_loss))

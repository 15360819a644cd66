"""The synchronous client of GossipControl."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from types import TracebackType
from typing import Self

from gossipcontrol.client import call
from gossipcontrol.client.blocking_transport import BlockingTransport
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
from gossipcontrol.client.liveness import LivenessReport, LivenessResult, SyncResult
from gossipcontrol.client.presence import Peer, PresenceUpdate
from gossipcontrol.client.presence_stream import OnLoss, PresenceStream
from gossipcontrol.client.replica import ReplicaList
from gossipcontrol.client.store import Store


class SyncClient:
    """The same as ``Client``, for code without an event loop; threads may share it.

    ``sleep`` waits between two attempts. Use it as ``with SyncClient() as client``, or ``close`` it. Raises
    AddressError for a malformed address; every method raises a ``ClientError``.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        timeout: float = 5.0,
        sleep: Callable[[float], None] = time.sleep,
        credentials: Credentials | None = None,
    ) -> None:
        self._transport = BlockingTransport(address, timeout, sleep, credentials)

    @property
    def address(self) -> str:
        """Of the service, as it was given."""
        return self._transport.address

    @property
    def server(self) -> str:
        """The address that is asked now."""
        return self._transport.servers.current.address

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the channel; calls under way in other threads are cancelled."""
        self._transport.close()

    def serving(self) -> bool:
        """Whether the service says that it serves; with several addresses: whether one of them does."""
        return self._transport.serving()

    def warnings(self) -> tuple[str, ...]:
        """What is wrong with the fleet as a whole, as sentences: two agents with one node id, for example."""
        return self._transport.call(call.warnings())

    def rejoin(
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
        return self._transport.call(call.rejoin(trigger))

    def report_network_change(self, change: NetworkChange) -> TriggerResult:
        """Report a change of a host or of nodes."""
        return self._transport.call(call.report_network_change(change))

    def peer_liveness(
        self, reports: Sequence[LivenessReport], *, sync_results: Sequence[SyncResult] = ()
    ) -> LivenessResult:
        """Report what nodes heard of their peers."""
        return self._transport.call(call.peer_liveness(reports, sync_results))

    def explain(self, trigger: RejoinTrigger | NetworkChange | PastTrigger) -> ExplainResult:
        """What would happen to a trigger now, or why a past one was decided as it was; changes nothing."""
        return self._transport.call(call.explain(trigger))

    def forget(self, *, node_id: str = "", store_id: str = "") -> ForgetResult:
        """Forget a node without an agent, a store, or a store of one node; raises ClientError where one is attached."""
        return self._transport.call(call.forget(node_id, store_id))

    def cancel_rejoin(self, rejoin_id: str) -> RejoinRecord:
        """End a rejoin that has not ended; raises NotFoundError, or ClientError (FAILED_PRECONDITION) if it has."""
        return self._transport.call(call.cancel_rejoin(rejoin_id))

    def list_peers(self, store_id: str, *, state: PeerState | None = None) -> Iterator[Peer]:
        """The peers of a store by id, or only those in this state."""
        return self._transport.each(call.list_peers(store_id, state))

    def list_stores(self, node_id: str = "") -> Iterator[Store]:
        """Stores by id, of one node or of all."""
        return self._transport.each(call.list_stores(node_id))

    def list_replicas(self) -> ReplicaList:
        """The replicas of the service, the owner first; none where one service has its state for itself."""
        return self._transport.call(call.list_replicas())

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
    ) -> Iterator[RejoinRecord]:
        """Rejoins, newest first: at most ``limit``, requested within ``max_age`` seconds."""
        chosen = RejoinFilter(
            node_id=node_id, store_id=store_id, cause=cause, outcome=outcome, max_age=max_age, limit=limit,
            page_size=page_size,
        )  # fmt: skip
        return self._transport.each(call.list_rejoins(chosen))

    def watch_peers(
        self, store_id: str, *, resume_token: str = "", on_loss: OnLoss = lambda error: None
    ) -> Generator[PresenceUpdate, None, None]:
        """A store's presence: a snapshot, then every change in order, until it is closed.

        A stream that breaks is opened again behind the last update, and ``on_loss`` is called with the reason. Only the
        first answer must come within the client's timeout.
        """
        return self._transport.watch(PresenceStream(store_id, resume_token, self._transport.timeout, on_loss))

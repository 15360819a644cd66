"""The asynchronous client of GossipControl."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from types import TracebackType
from typing import Self, TypeVar

import grpc
from gossipcontrol.client.address import default_address
from gossipcontrol.client.channel import is_serving, open_channel
from gossipcontrol.client.errors import ClientError, client_error
from gossipcontrol.client.knowledge import Knowledge
from gossipcontrol.client.page import each
from gossipcontrol.client.presence import watch
from gossipcontrol.client.retry import call_with_retry
from gossipcontrol.v1 import decision_pb2, gossip_control_pb2, gossip_control_pb2_grpc, liveness_pb2

T = TypeVar("T")


class Client:
    """Calls the service at ``address``; ``timeout`` seconds bound every call with its retries.

    Every method raises a ``ClientError``: UnreachableError, RefusedError, OverloadedError or a plain one.
    """

    def __init__(self, address: str | None = None, *, timeout: float = 5.0) -> None:
        self.address = address or default_address()
        self._timeout = timeout
        self._channel = open_channel(self.address)
        self._stub: gossip_control_pb2_grpc.GossipControlAsyncStub
        self._stub = gossip_control_pb2_grpc.GossipControlStub(self._channel)
        self.knowledge = Knowledge(self._channel, self._call)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        await self._channel.close()

    async def rejoin(
        self,
        node_id: str,
        store_ids: Sequence[str] = (),
        *,
        cause: decision_pb2.Cause.ValueType = decision_pb2.CAUSE_MANUAL,
    ) -> gossip_control_pb2.RejoinResponse:
        """Have a node rejoin these stores, or all it has."""
        request = gossip_control_pb2.RejoinRequest(
            request_id=str(uuid.uuid4()), node_id=node_id, store_ids=store_ids, cause=cause
        )
        return await self._call(lambda left: self._stub.Rejoin(request, timeout=left))

    async def report_network_change(
        self, request: gossip_control_pb2.ReportNetworkChangeRequest
    ) -> gossip_control_pb2.ReportNetworkChangeResponse:
        """Report a change; a request without an id is given one."""
        if not request.request_id:
            request.request_id = str(uuid.uuid4())
        return await self._call(lambda left: self._stub.ReportNetworkChange(request, timeout=left))

    async def peer_liveness(
        self, reports: Sequence[liveness_pb2.LivenessReport]
    ) -> gossip_control_pb2.PeerLivenessResponse:
        """Report what nodes heard of their peers."""
        request = gossip_control_pb2.PeerLivenessRequest(reports=reports)
        return await self._call(lambda left: self._stub.PeerLiveness(request, timeout=left))

    def list_peers(
        self, store_id: str, *, state: liveness_pb2.PeerState.ValueType = liveness_pb2.PEER_STATE_UNSPECIFIED
    ) -> AsyncIterator[liveness_pb2.PeerView]:
        """The peers of a store by id, or only those in this state."""
        asked = gossip_control_pb2.ListPeersRequest(store_id=store_id, state=state)
        return each(
            asked,
            lambda one: self._call(lambda left: self._stub.ListPeers(one, timeout=left)),
            lambda page: page.peers,
        )

    def watch_peers(
        self, store_id: str, *, resume_token: str = "", on_loss: Callable[[ClientError], None] = lambda error: None
    ) -> AsyncIterator[gossip_control_pb2.WatchPeersResponse]:
        """A store's presence: a snapshot, then every change in order, until it is closed.

        A stream that breaks is opened again behind what it brought last; ``on_loss`` is told why it broke. Only the
        first answer must come within the client's timeout.
        """
        request = gossip_control_pb2.WatchPeersRequest(store_id=store_id, resume_token=resume_token)
        return watch(self._stub.WatchPeers, request, self._timeout, on_loss)

    async def list_rejoins(
        self, request: gossip_control_pb2.ListRejoinsRequest | None = None, *, most: int | None = None
    ) -> AsyncIterator[decision_pb2.Rejoin]:
        """Rejoins, newest first, at most ``most`` of them."""
        asked = gossip_control_pb2.ListRejoinsRequest()
        if request is not None:
            asked.CopyFrom(request)
        found = each(
            asked,
            lambda one: self._call(lambda left: self._stub.ListRejoins(one, timeout=left)),
            lambda page: page.rejoins,
        )
        count = 0
        async for rejoin in found:
            if most is not None and count >= most:
                return
            count += 1
            yield rejoin

    def list_stores(self, node_id: str = "") -> AsyncIterator[gossip_control_pb2.Store]:
        """Stores by id, of one node or of all."""
        asked = gossip_control_pb2.ListStoresRequest(node_id=node_id)
        return each(
            asked,
            lambda one: self._call(lambda left: self._stub.ListStores(one, timeout=left)),
            lambda page: page.stores,
        )

    async def explain(self, request: gossip_control_pb2.ExplainRequest) -> gossip_control_pb2.ExplainResponse:
        """What would happen to a trigger now, or why a past one was decided as it was."""
        return await self._call(lambda left: self._stub.Explain(request, timeout=left))

    async def serving(self) -> bool:
        """Whether the service says that it serves."""
        return await self._call(lambda left: is_serving(self._channel, left))

    async def _call(self, call: Callable[[float], Awaitable[T]]) -> T:
        try:
            return await call_with_retry(call, self._timeout)
        except grpc.aio.AioRpcError as error:
            raise client_error(error) from error

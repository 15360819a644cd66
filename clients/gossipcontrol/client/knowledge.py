"""The calls of PeerKnowledge."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

import grpc
from gossipcontrol.client.page import each
from gossipcontrol.v1 import peer_knowledge_pb2 as pb
from gossipcontrol.v1 import peer_knowledge_pb2_grpc

T = TypeVar("T")


class Caller(Protocol):
    """Makes a call with retries, giving it the seconds that are left; raises a ClientError."""

    async def __call__(self, call: Callable[[float], Awaitable[T]], /) -> T:
        """The call's result."""
        ...


class Knowledge:
    """What peers provably hold; reached as ``Client.knowledge``. Every method raises a ``ClientError``."""

    def __init__(self, channel: grpc.aio.Channel, call: Caller) -> None:
        self._call = call
        self._stub: peer_knowledge_pb2_grpc.PeerKnowledgeAsyncStub
        self._stub = peer_knowledge_pb2_grpc.PeerKnowledgeStub(channel)

    async def record(self, batches: Sequence[pb.IntentionBatch]) -> pb.RecordIntentionsResponse:
        """Record batches of at most 1000 intentions each. A stream that breaks goes on behind its last recorded batch.

        The counts in the answer are those of the last stream.
        """
        sender_id = str(uuid.uuid4())
        requests = [
            pb.RecordIntentionsRequest(batch=batch, sequence=number, sender_id=sender_id)
            for number, batch in enumerate(batches, 1)
        ]
        broken = False

        async def attempt(left: float) -> pb.RecordIntentionsResponse:
            nonlocal broken
            start = 0
            if broken:
                known = await self._ask(sender_id, left)
                start = known.last_sequence
                if start == len(requests):
                    return known
            broken = True
            return await self._stub.RecordIntentions(iter(requests[start:]), timeout=left)

        return await self._call(attempt)

    async def _ask(self, sender_id: str, left: float) -> pb.RecordIntentionsResponse:
        """Where a sequence goes on."""
        question = pb.RecordIntentionsRequest(sender_id=sender_id)
        return await self._stub.RecordIntentions(iter([question]), timeout=left)

    def rows(self, store_id: str, *, peer_id: str = "", holds: bytes = b"") -> AsyncIterator[pb.PeerKnowledgeRow]:
        """What each peer of a store provably holds, by id; with ``holds`` only those that hold this intention."""
        return each(
            pb.GetKnowledgeRequest(store_id=store_id, peer_id=peer_id, holds_hash=holds),
            lambda asked: self._call(lambda left: self._stub.GetKnowledge(asked, timeout=left)),
            lambda page: page.rows,
        )

    def lags(self, store_id: str, *, peer_id: str = "") -> AsyncIterator[pb.PeerLag]:
        """How far behind each peer of a store provably may be, by id."""
        return each(
            pb.GetLagRequest(store_id=store_id, peer_id=peer_id),
            lambda asked: self._call(lambda left: self._stub.GetLag(asked, timeout=left)),
            lambda page: page.peers,
        )

    async def frontier(self, store_id: str) -> pb.GetStabilityFrontierResponse:
        """What all active peers of a store provably hold."""
        request = pb.GetStabilityFrontierRequest(store_id=store_id)
        return await self._call(lambda left: self._stub.GetStabilityFrontier(request, timeout=left))

    async def change_members(
        self, store_id: str, *, added: Sequence[pb.Member] = (), removed: Sequence[str] = ()
    ) -> pb.ChangeMembersResponse:
        """Add peers to a store, or remove them for good."""
        request = pb.ChangeMembersRequest(store_id=store_id, added=added, removed_peer_ids=removed)
        return await self._call(lambda left: self._stub.ChangeMembers(request, timeout=left))

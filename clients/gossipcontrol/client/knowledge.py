"""The calls of PeerKnowledge."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence

import grpc
from gossipcontrol.client import call, decode_knowledge, encode
from gossipcontrol.client.intention import (
    Frontier,
    IntentionBatch,
    Member,
    PeerKnowledge,
    PeerLag,
    RecordResult,
    UndoneChange,
)
from gossipcontrol.client.transport import Transport
from gossipcontrol.v1 import peer_knowledge_pb2 as pb
from gossipcontrol.v1 import peer_knowledge_pb2_grpc


class Knowledge:
    """What peers provably hold; reached as ``Client.knowledge``. Every method raises a ``ClientError``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def record(self, batches: Sequence[IntentionBatch]) -> RecordResult:
        """Record batches of at most 1000 intentions each. A stream that breaks goes on behind its last recorded batch.

        The counts in the answer are those of the last stream.
        """
        sender_id = str(uuid.uuid4())
        requests = [
            pb.RecordIntentionsRequest(batch=encode.intention_batch(batch), sequence=number, sender_id=sender_id)
            for number, batch in enumerate(batches, 1)
        ]
        broken = False

        async def attempt(channel: grpc.aio.Channel, left: float) -> pb.RecordIntentionsResponse:
            nonlocal broken
            start = 0
            if broken:
                known = await _send(channel, [pb.RecordIntentionsRequest(sender_id=sender_id)], left)
                start = known.last_sequence
                if start == len(requests):
                    return known
            broken = True
            return await _send(channel, requests[start:], left)

        return decode_knowledge.record_result(await self._transport.retry(attempt, is_long=True))

    def rows(self, store_id: str, *, peer_id: str = "", holds: bytes = b"") -> AsyncIterator[PeerKnowledge]:
        """What each peer of a store provably holds, by id; with ``holds`` only those that hold this intention."""
        return self._transport.each(call.list_knowledge(store_id, peer_id, holds))

    def lags(self, store_id: str, *, peer_id: str = "") -> AsyncIterator[PeerLag]:
        """How far behind each peer of a store provably may be, by id."""
        return self._transport.each(call.list_lags(store_id, peer_id))

    async def frontier(self, store_id: str) -> Frontier:
        """What all active peers of a store provably hold."""
        return await self._transport.call(call.frontier(store_id))

    async def change_members(
        self,
        store_id: str,
        *,
        added: Sequence[Member] = (),
        removed: Sequence[str] = (),
        hold: float | None = None,
    ) -> int:
        """Add peers to a store, or remove them for good; returns the number of active peers.

        The removed hold the stability frontier back for ``hold`` seconds yet; None: as the service is configured.
        """
        return await self._transport.call(call.change_members(store_id, added, removed, hold))

    async def undo_members(self, store_id: str) -> UndoneChange:
        """Undo the newest change of a store's members; not tried again by itself, for that would undo another one.

        Raises ClientError (FAILED_PRECONDITION) if there is none.
        """
        return await self._transport.call_once(call.undo_members(store_id))


async def _send(
    channel: grpc.aio.Channel, requests: Sequence[pb.RecordIntentionsRequest], left: float
) -> pb.RecordIntentionsResponse:
    """One stream; without a batch it asks where a sequence goes on."""
    stub: peer_knowledge_pb2_grpc.PeerKnowledgeAsyncStub = peer_knowledge_pb2_grpc.PeerKnowledgeStub(channel)
    return await stub.RecordIntentions(iter(requests), timeout=left)

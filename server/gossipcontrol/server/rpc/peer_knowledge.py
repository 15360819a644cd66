"""The servicer of PeerKnowledge: reads requests, submits events, encodes answers; it decides nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import grpc
from gossipcontrol.server.core.knowledge import answer
from gossipcontrol.server.core.knowledge.tracker import Recorded, Tracker
from gossipcontrol.server.errors import InvalidRequest, NotFound
from gossipcontrol.server.runtime.knowledge_dispatcher import KnowledgeDispatcher
from gossipcontrol.server.wire import decode_knowledge, encode_knowledge
from gossipcontrol.server.wire.decode_knowledge import PeerQuery
from gossipcontrol.v1 import peer_knowledge_pb2 as pb
from gossipcontrol.v1 import peer_knowledge_pb2_grpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
LISTED_POSITIONS = 20_000
"""Positions or authors, about 2 MB, after which a page of peers ends early."""


class PeerKnowledgeService(peer_knowledge_pb2_grpc.PeerKnowledgeServicer):
    """Every call of PeerKnowledge."""

    def __init__(self, dispatcher: KnowledgeDispatcher) -> None:
        self._dispatcher = dispatcher
        self._store = dispatcher.store
        self._clock = dispatcher.clock

    async def RecordIntentions(
        self, request_iterator: AsyncIterator[pb.RecordIntentionsRequest], context: Context
    ) -> pb.RecordIntentionsResponse:
        """Record each batch as it arrives, and acknowledge all of them once they are durable."""
        del context
        total, sender_id, sequence, store_id = Recorded(), "", 0, ""
        async for request in request_iterator:
            _check_order(request, sender_id, sequence)
            sender_id, sequence = request.sender_id, max(sequence, request.sequence)
            if request.HasField("batch"):
                event = decode_knowledge.intentions_recorded(request.batch, "batch.", sender_id, request.sequence)
                recorded = await self._dispatcher.submit(event)
                total = Recorded(*(sum(pair) for pair in zip(total, recorded, strict=True)))
                store_id = event.store_id
        last_sequence = self._store.last_sequence(sender_id)
        await self._dispatcher.kept()
        tracker = self._store.tracker(store_id)
        return pb.RecordIntentionsResponse(
            last_sequence=last_sequence,
            recorded=total.new,
            known=total.known,
            floating=len(tracker.floating) if tracker else 0,
            invalid=total.invalid,
        )

    async def GetKnowledge(self, request: pb.GetKnowledgeRequest, context: Context) -> pb.GetKnowledgeResponse:
        """What peers provably hold."""
        del context
        query = decode_knowledge.knowledge_query(request)
        tracker = self._tracker(query.store_id)
        response, now, listed = pb.GetKnowledgeResponse(), self._clock.now(), 0
        for peer_id in _peers(tracker, query):
            if listed >= LISTED_POSITIONS or len(response.rows) >= query.page_size:
                response.next_page_token = response.rows[-1].peer_id
                break
            row = answer.knowledge(tracker, peer_id)
            listed += len(row.positions)
            response.rows.append(encode_knowledge.row_message(row, now))
        await self._dispatcher.kept(query.store_id)
        return response

    async def GetStabilityFrontier(
        self, request: pb.GetStabilityFrontierRequest, context: Context
    ) -> pb.GetStabilityFrontierResponse:
        """What all active peers provably hold."""
        del context
        decode_knowledge.check_frontier(request)
        tracker = self._tracker(request.store_id)
        stable = tracker.frontier()
        response = pb.GetStabilityFrontierResponse(
            frontier=encode_knowledge.position_messages(answer.positions(tracker, stable)),
            unstable=sum(answer.behind_by_author(tracker, stable).values()),
            at_risk=answer.at_risk(tracker),
        )
        await self._dispatcher.kept(request.store_id)
        return response

    async def GetLag(self, request: pb.GetLagRequest, context: Context) -> pb.GetLagResponse:
        """How far behind peers provably may be."""
        del context
        query = decode_knowledge.lag_query(request)
        tracker = self._tracker(query.store_id)
        response, now, listed = pb.GetLagResponse(), self._clock.now(), 0
        for lag in answer.lags(tracker, _peers(tracker, query)):
            if listed >= LISTED_POSITIONS or len(response.peers) >= query.page_size:
                response.next_page_token = response.peers[-1].peer_id
                break
            listed += len(lag.authors)
            response.peers.append(encode_knowledge.lag_message(lag, now))
        await self._dispatcher.kept(query.store_id)
        return response

    async def ChangeMembers(self, request: pb.ChangeMembersRequest, context: Context) -> pb.ChangeMembersResponse:
        """Add and remove peers."""
        del context
        event = decode_knowledge.members_changed(request)
        await self._dispatcher.submit(event)
        await self._dispatcher.kept()
        tracker = self._tracker(event.store_id)
        return pb.ChangeMembersResponse(active=sum(tracker.active(peer_id) for peer_id in tracker.peers()))

    def _tracker(self, store_id: str) -> Tracker:
        tracker = self._store.tracker(store_id)
        if tracker is None:
            raise NotFound(f"no intention of store {store_id} was recorded")
        return tracker


def _check_order(request: pb.RecordIntentionsRequest, sender_id: str, sequence: int) -> None:
    if sender_id and request.sender_id != sender_id:
        raise InvalidRequest([("sender_id", f"must stay {sender_id} on one stream")])
    if request.sequence and request.sequence <= sequence:
        raise InvalidRequest([("sequence", f"must be greater than the previous {sequence}, is {request.sequence}")])


def _peers(tracker: Tracker, query: PeerQuery) -> list[str]:
    """The peers that a query selects, by id; raises NotFound."""
    found = tracker.peers()
    if query.holds:
        holding = answer.holders(tracker, query.holds)
        if holding is None:
            raise NotFound(f"intention {query.holds.hex()} of store {query.store_id} is not known, or was forgotten")
        found = holding
    if query.peer_id:
        if query.peer_id not in tracker.peers():
            raise NotFound(f"store {query.store_id} has no peer {query.peer_id}")
        found = [peer_id for peer_id in found if peer_id == query.peer_id]
    return [peer_id for peer_id in found if peer_id > query.after]

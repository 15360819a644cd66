"""The servicer of PeerKnowledge: reads requests, submits events, presents answers; it decides nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import grpc
from gossipcontrol.server.core.knowledge import answer
from gossipcontrol.server.core.knowledge.tracker import Recorded, Tracker
from gossipcontrol.server.errors import InvalidRequest, NotFound
from gossipcontrol.server.runtime.knowledge_dispatcher import KnowledgeDispatcher
from gossipcontrol.server.wire import decode_knowledge as convert
from gossipcontrol.server.wire import encode_knowledge as present
from gossipcontrol.server.wire.decode_knowledge import PeerQuery
from gossipcontrol.v1 import peer_knowledge_pb2 as pb
from gossipcontrol.v1 import peer_knowledge_pb2_grpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
LISTED = 20_000
"""A page of peers ends early once it lists so many positions or authors: about 2 MB."""


class PeerKnowledgeService(peer_knowledge_pb2_grpc.PeerKnowledgeServicer):
    """Every call of the contract."""

    def __init__(self, recorder: KnowledgeDispatcher) -> None:
        self._recorder = recorder
        self._store = recorder.store
        self._clock = recorder.clock

    async def RecordIntentions(
        self, request_iterator: AsyncIterator[pb.RecordIntentionsRequest], context: Context
    ) -> pb.RecordIntentionsResponse:
        """Record each batch when it is read, and acknowledge them once all are kept."""
        del context
        total, sender_id, sequence, store_id = Recorded(), "", 0, ""
        async for request in request_iterator:
            _check_order(request, sender_id, sequence)
            sender_id, sequence = request.sender_id, max(sequence, request.sequence)
            if request.HasField("batch"):
                event = convert.intentions_recorded(request.batch, "batch.", sender_id, request.sequence)
                recorded = await self._recorder.submit(event)
                total = Recorded(*(sum(pair) for pair in zip(total, recorded, strict=True)))
                store_id = event.store_id
        last_sequence = self._store.last_sequence(sender_id)
        await self._recorder.kept()
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
        query = convert.knowledge_query(request)
        tracker = self._tracker(query.store_id)
        response, now, listed = pb.GetKnowledgeResponse(), self._clock.now(), 0
        for peer_id in _peers(tracker, query):
            if listed >= LISTED or len(response.rows) >= query.page_size:
                response.next_page_token = response.rows[-1].peer_id
                break
            row = answer.knowledge(tracker, peer_id)
            listed += len(row.positions)
            response.rows.append(present.row_message(row, now))
        await self._recorder.kept(query.store_id)
        return response

    async def GetStabilityFrontier(
        self, request: pb.GetStabilityFrontierRequest, context: Context
    ) -> pb.GetStabilityFrontierResponse:
        """What all active peers provably hold."""
        del context
        convert.check_frontier(request)
        tracker = self._tracker(request.store_id)
        stable = tracker.frontier()
        response = pb.GetStabilityFrontierResponse(
            frontier=present.position_messages(answer.positions(tracker, stable)),
            unstable=sum(answer.behind_by_author(tracker, stable).values()),
            at_risk=answer.at_risk(tracker),
        )
        await self._recorder.kept(request.store_id)
        return response

    async def GetLag(self, request: pb.GetLagRequest, context: Context) -> pb.GetLagResponse:
        """How far behind peers provably may be."""
        del context
        query = convert.lag_query(request)
        tracker = self._tracker(query.store_id)
        response, now, listed = pb.GetLagResponse(), self._clock.now(), 0
        for lag in answer.lags(tracker, _peers(tracker, query)):
            if listed >= LISTED or len(response.peers) >= query.page_size:
                response.next_page_token = response.peers[-1].peer_id
                break
            listed += len(lag.authors)
            response.peers.append(present.lag_message(lag, now))
        await self._recorder.kept(query.store_id)
        return response

    async def ChangeMembers(self, request: pb.ChangeMembersRequest, context: Context) -> pb.ChangeMembersResponse:
        """Add and remove peers."""
        del context
        event = convert.members_changed(request)
        await self._recorder.submit(event)
        await self._recorder.kept()
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
        raise InvalidRequest([("sequence", f"must be greater than {sequence}, the one before, is {request.sequence}")])


def _peers(tracker: Tracker, query: PeerQuery) -> list[str]:
    """The peers that are asked for, by id; raises NotFound."""
    found = tracker.peers()
    if query.holds:
        holding = answer.holders(tracker, query.holds)
        if holding is None:
            raise NotFound(f"no intention {query.holds.hex()} is known in store {query.store_id}, or it was forgotten")
        found = holding
    if query.peer_id:
        if query.peer_id not in tracker.peers():
            raise NotFound(f"store {query.store_id} has no peer {query.peer_id}")
        found = [peer_id for peer_id in found if peer_id == query.peer_id]
    return [peer_id for peer_id in found if peer_id > query.after]

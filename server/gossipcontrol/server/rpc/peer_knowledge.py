"""The servicer of PeerKnowledge: reads requests, submits events, encodes answers; it decides nothing."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, TypeAlias, cast

import grpc
from gossipcontrol.server.access.word import name_of
from gossipcontrol.server.core.knowledge import answer
from gossipcontrol.server.core.knowledge.record import PeerLag
from gossipcontrol.server.core.knowledge.tracker import Recorded, Tracker
from gossipcontrol.server.core.knowledge.view import View
from gossipcontrol.server.core.slices import Slices
from gossipcontrol.server.errors import InvalidRequest, NotFound, Precondition
from gossipcontrol.server.rpc.intention_source import IntentionSource
from gossipcontrol.server.rpc.interceptor import CallerContext
from gossipcontrol.server.runtime.knowledge_dispatcher import KnowledgeDispatcher
from gossipcontrol.server.runtime.slices import in_slices
from gossipcontrol.server.wire import decode_knowledge, encode_knowledge
from gossipcontrol.server.wire.decode_knowledge import PeerQuery
from gossipcontrol.v1 import peer_knowledge_pb2 as pb
from gossipcontrol.v1 import peer_knowledge_pb2_grpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
LISTED_POSITIONS = 20_000
"""Positions or authors, about 2 MB, after which a page of peers ends early."""


class PeerKnowledgeService(peer_knowledge_pb2_grpc.PeerKnowledgeServicer):
    """Every call of PeerKnowledge."""

    def __init__(self, dispatcher: KnowledgeDispatcher, source: IntentionSource) -> None:
        self._dispatcher = dispatcher
        self._source = source
        self._store = dispatcher.store
        self._clock = dispatcher.clock
        self._stabilities: dict[str, tuple[int, answer.Stability]] = {}
        """Store -> the last answer about its frontier, and the version of the store that it is about."""

    async def RecordIntentions(
        self, request_iterator: AsyncIterator[pb.RecordIntentionsRequest], context: Context
    ) -> pb.RecordIntentionsResponse:
        """Record each batch as it arrives, and acknowledge all of them once they are durable."""
        caller = cast("CallerContext", context)
        total, sender_id, sequence, store_id = Recorded(), "", 0, ""
        async for request in request_iterator:
            _check_order(request, sender_id, sequence)
            sender_id, sequence = request.sender_id, max(sequence, request.sequence)
            if request.HasField("batch"):
                event = await self._source.read(request.batch, "batch.", caller.identity, sender_id, request.sequence)
                recorded = await self._dispatcher.submit(event)
                total = Recorded(*(sum(pair) for pair in zip(total, recorded, strict=True)))
                store_id = event.store_id
        last_sequence = self._store.last_sequence(sender_id, name_of(caller.identity))
        await self._dispatcher.kept()
        tracker = self._store.tracker(store_id)
        return pb.RecordIntentionsResponse(
            last_sequence=last_sequence,
            recorded=total.new,
            known=total.known,
            floating=len(tracker.floating) if tracker else 0,
            invalid=total.invalid,
            unproven=total.unproven,
        )

    async def GetKnowledge(self, request: pb.GetKnowledgeRequest, context: Context) -> pb.GetKnowledgeResponse:
        """What peers provably hold."""
        del context
        query = decode_knowledge.knowledge_query(request)
        tracker, now = self._tracker(query.store_id), self._clock.now()
        asked = await _peers(tracker, query)
        page = asked[: query.page_size]
        rows = await in_slices(answer.knowledge_slices(tracker, page, LISTED_POSITIONS))
        response = pb.GetKnowledgeResponse()
        await in_slices(_add_all(response.rows, (encode_knowledge.row_message(row, now) for row in rows)))
        if len(rows) < len(asked):
            response.next_page_token = rows[-1].peer_id
        await self._dispatcher.kept(query.store_id)
        return response

    async def GetStabilityFrontier(
        self, request: pb.GetStabilityFrontierRequest, context: Context
    ) -> pb.GetStabilityFrontierResponse:
        """What all active peers provably hold."""
        del context
        decode_knowledge.check_frontier(request)
        tracker = self._tracker(request.store_id)
        version = tracker.version
        known_version, stability = self._stabilities.get(request.store_id, (-1, None))
        if stability is None or known_version != version:
            stability = await in_slices(answer.stability_slices(tracker))
            self._stabilities[request.store_id] = version, stability
        response = pb.GetStabilityFrontierResponse(
            frontier=encode_knowledge.position_messages(stability.frontier),
            unstable=stability.unstable,
            at_risk=stability.at_risk,
        )
        await self._dispatcher.kept(request.store_id)
        return response

    async def GetLag(self, request: pb.GetLagRequest, context: Context) -> pb.GetLagResponse:
        """How far behind peers provably may be."""
        del context
        query = decode_knowledge.lag_query(request)
        tracker, now = self._tracker(query.store_id), self._clock.now()
        asked = await _peers(tracker, query)
        page, response = asked[: query.page_size], pb.GetLagResponse()
        view, listed = View(tracker, page), 0
        group = answer.lag_group(view)
        while listed < LISTED_POSITIONS and len(response.peers) < len(page):
            start = len(response.peers)
            found = await in_slices(answer.lag_slices(view, page[start : start + group]))
            listed = await in_slices(_add_lags(response, found, listed, now))
        if len(response.peers) < len(asked):
            response.next_page_token = response.peers[-1].peer_id
        await self._dispatcher.kept(query.store_id)
        return response

    async def ChangeMembers(self, request: pb.ChangeMembersRequest, context: Context) -> pb.ChangeMembersResponse:
        """Add and remove peers, or undo the newest change."""
        del context
        tracker = self._store.tracker(request.store_id)
        label_of = tracker.incarnation_label if tracker else _unknown_label
        hold = self._store.parameters.removal_hold
        event = decode_knowledge.members_changed(request, self._clock.now(), hold, label_of)
        if event.undo and not (tracker and tracker.membership.changes):
            raise Precondition(f"store {event.store_id} has no change of members that can be undone")
        undone = await self._dispatcher.change_members(event)
        await self._dispatcher.kept()
        tracker = self._tracker(event.store_id)
        leaving = len(tracker.membership.leaving)
        return pb.ChangeMembersResponse(
            active=tracker.active_count - sum(map(tracker.active, tracker.membership.leaving)),
            leaving=leaving,
            restored_peer_ids=undone.peer_ids,
            frontier_may_have_risen=undone.has_risen,
        )

    def _tracker(self, store_id: str) -> Tracker:
        tracker = self._store.tracker(store_id)
        if tracker is None:
            raise NotFound(f"no intention of store {store_id} was recorded")
        return tracker


def _unknown_label(peer_id: str) -> str:
    """The incarnation of a peer of a store that is not known."""
    del peer_id
    return ""


def _check_order(request: pb.RecordIntentionsRequest, sender_id: str, sequence: int) -> None:
    if sender_id and request.sender_id != sender_id:
        raise InvalidRequest([("sender_id", f"must stay {sender_id} on one stream")])
    if request.sequence and request.sequence <= sequence:
        raise InvalidRequest([("sequence", f"must be greater than the previous {sequence}, is {request.sequence}")])


def _add_lags(response: pb.GetLagResponse, found: Sequence[PeerLag], listed: int, now: float) -> Slices[int]:
    """Add these to a page while there is room; returns how many authors the page lists."""
    for lag in found:
        if listed >= LISTED_POSITIONS:
            break
        yield
        listed += len(lag.authors)
        response.peers.append(encode_knowledge.lag_message(lag, now))
    return listed


def _add_all(messages: Any, made: Iterator[Any]) -> Slices[None]:
    for message in made:
        yield
        messages.append(message)


async def _peers(tracker: Tracker, query: PeerQuery) -> list[str]:
    """The peers that a query selects, by id; raises NotFound."""
    found = tracker.peers()
    if query.holds:
        holding = await in_slices(answer.holders_slices(tracker, query.holds))
        if holding is None:
            raise NotFound(f"intention {query.holds.hex()} of store {query.store_id} is not known, or was forgotten")
        found = holding
    if query.peer_id:
        if not tracker.is_peer(query.peer_id):
            raise NotFound(f"store {query.store_id} has no peer {query.peer_id}")
        found = [query.peer_id] if query.peer_id in found else []
    return found[bisect_right(found, query.after) :]

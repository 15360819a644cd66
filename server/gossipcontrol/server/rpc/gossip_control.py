"""The servicer of GossipControl: reads requests, submits events, presents answers; it decides nothing."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, TypeAlias, TypeVar

import grpc
from gossipcontrol.server.core.deciding.record import StoreRecord
from gossipcontrol.server.core.effect import AcceptNode, AnswerTrigger, Effect, RefuseNode, RefuseTrigger
from gossipcontrol.server.core.event import NodeDetached
from gossipcontrol.server.drivers.agent import AgentDriver
from gossipcontrol.server.drivers.driver import Result
from gossipcontrol.server.errors import InvalidRequest, NotFound, Overloaded, Replaced
from gossipcontrol.server.observe.metrics import Metrics
from gossipcontrol.server.rpc.cursor import PresenceCursor
from gossipcontrol.server.rpc.resume_token import ResumeTokens
from gossipcontrol.server.rpc.session import Session
from gossipcontrol.server.runtime.dispatcher import Dispatcher
from gossipcontrol.server.runtime.knowledge_dispatcher import KnowledgeDispatcher
from gossipcontrol.server.runtime.liveness_dispatcher import LivenessDispatcher
from gossipcontrol.server.wire import decode, decode_presence, decode_report, encode, encode_presence
from gossipcontrol.server.wire.decode_knowledge import intentions_recorded
from gossipcontrol.server.wire.encode_presence import LISTED_PEERS
from gossipcontrol.v1 import (
    attach_pb2,
    gossip_control_pb2,
    gossip_control_pb2_grpc,
    liveness_pb2,
)

T = TypeVar("T")
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
REGISTER_TIME = 10.0
"""Seconds within which a stream must say for whom it speaks."""
FULL_BOOK_RETRY = 60.0
"""Seconds after which a node that found no place may ask again."""


class GossipControlService(gossip_control_pb2_grpc.GossipControlServicer):
    """Every call of the contract."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        agents: AgentDriver,
        metrics: Metrics,
        run_id: str,
        recorder: KnowledgeDispatcher,
        watchtower: LivenessDispatcher,
        edition: ResumeTokens,
    ) -> None:
        self._dispatcher = dispatcher
        self._engine = dispatcher.engine
        self._clock = dispatcher.clock
        self._agents = agents
        self._metrics = metrics
        self._recorder = recorder
        self._watchtower = watchtower
        self._liveness = watchtower.liveness
        self._edition = edition
        self._session_ids = (f"{run_id}-s{number}" for number in itertools.count(1))

    async def Rejoin(
        self, request: gossip_control_pb2.RejoinRequest, context: Context
    ) -> gossip_control_pb2.RejoinResponse:
        """Decide about a rejoin of stores of a node."""
        del context
        effects = await self._dispatcher.settle(decode.rejoin_requested(request))
        return encode.rejoin_response(_answer(effects), self._clock.now())

    async def ReportNetworkChange(
        self, request: gossip_control_pb2.ReportNetworkChangeRequest, context: Context
    ) -> gossip_control_pb2.ReportNetworkChangeResponse:
        """Decide about a change of a host or of nodes."""
        del context
        event = decode.network_changed(request)
        effects = await self._dispatcher.settle(event)
        answer = _answer(effects)
        if not answer.replayed:
            self._metrics.count_change(request.platform, event.kind)
        return encode.change_response(answer, self._clock.now())

    async def PeerLiveness(
        self, request: gossip_control_pb2.PeerLivenessRequest, context: Context
    ) -> gossip_control_pb2.PeerLivenessResponse:
        """Take reports, and answer with what became of their stores and whom to sync with."""
        del context
        synced = decode_presence.syncs_finished(request.sync_results)
        reports = decode_report.liveness_reported(request, self._clock.now())
        for report in reports:
            _check_place(self._dispatcher.submit(report))
        for result in synced:
            self._watchtower.synced(result)
        now = self._clock.now()
        known = decode_presence.known_versions(request.reports)
        nodes = dict.fromkeys(report.node_id for report in reports)
        return gossip_control_pb2.PeerLivenessResponse(
            views=[self._view(store_id, version, now) for store_id, version in known.items()],
            syncs=[sync for node_id in nodes for sync in self._watchtower.syncs(node_id)],
            next_report_ms=self._next_report_ms(now),
        )

    async def WatchPeers(  # type: ignore[override] # the stubs know no reader-writer style
        self, request: gossip_control_pb2.WatchPeersRequest, context: Context
    ) -> None:
        """Tell a store's presence and every change of it until either side ends it."""
        query = decode_presence.watch_query(request, self._edition)
        lagged = query.resumed and query.version is None
        reader = PresenceCursor(self._liveness, query.store_id, query.version, lagged=lagged)
        with self._watchtower.audience.place(query.store_id) as place:
            while True:
                while (step := reader.next()) is not None:
                    message = encode_presence.step_message(query.store_id, step, self._edition, self._clock.now())
                    # A reader that does not read is waited for here, and holds back nobody else.
                    await context.write(message)
                await place.wait()

    async def ListPeers(
        self, request: gossip_control_pb2.ListPeersRequest, context: Context
    ) -> gossip_control_pb2.ListPeersResponse:
        """Peers of a store by id."""
        del context
        query, now = decode_presence.peer_query(request), self._clock.now()
        peers = self._liveness.peers(query.store_id, query.after)
        found = (peer for peer in peers if query.state is None or peer.state is query.state)
        page, more = _page(found, query.page_size)
        return gossip_control_pb2.ListPeersResponse(
            peers=[encode_presence.peer_message(peer, now) for peer in page],
            next_page_token=page[-1].peer_id if more else "",
        )

    async def Attach(  # type: ignore[override] # the stubs know no reader-writer style
        self, request_iterator: AsyncIterator[attach_pb2.AttachRequest], context: Context
    ) -> None:
        """Serve an agent's stream until either side ends it."""
        try:
            async with asyncio.timeout(REGISTER_TIME):
                first = await anext(aiter(request_iterator), None)
        except TimeoutError:
            raise InvalidRequest([("frame", f"register must come within {REGISTER_TIME:g} s")]) from None
        if first is None or first.WhichOneof("frame") != "register":
            raise InvalidRequest([("frame", "the first frame must be register")])
        session = Session(first.register.node_id, next(self._session_ids))
        await self._register(session, first.register)
        reader = asyncio.create_task(self._read(request_iterator, session))
        try:
            await session.deliver(context.write)
        finally:
            session.close()
            reader.cancel()
            self._agents.detach(session)
            self._dispatcher.submit(NodeDetached(session.node_id, session.session_id, session.left))

    async def ListRejoins(
        self, request: gossip_control_pb2.ListRejoinsRequest, context: Context
    ) -> gossip_control_pb2.ListRejoinsResponse:
        """Recent rejoins, newest first."""
        del context
        now = self._clock.now()
        query = decode.rejoin_query(request, now)
        found = self._engine.rejoins(
            node_id=query.node_id,
            store_id=query.store_id,
            cause=query.cause,
            outcome=query.outcome,
            since=query.since,
            before=query.before,
        )
        page, more = _page(found, query.page_size)
        return gossip_control_pb2.ListRejoinsResponse(
            rejoins=[encode.rejoin_message(rejoin, now) for rejoin in page],
            next_page_token=page[-1].rejoin_id if more else "",
        )

    async def Explain(
        self, request: gossip_control_pb2.ExplainRequest, context: Context
    ) -> gossip_control_pb2.ExplainResponse:
        """What would happen to a trigger, or why a past one was decided as it was."""
        del context
        query, now = decode.explain_query(request), self._clock.now()
        if not isinstance(query, decode.PastQuery):
            return encode.forecast_response(self._engine.foretell(query, now), now)
        if query.rejoin_id:
            rejoin = self._engine.rejoin(query.rejoin_id)
            found = [rejoin] if rejoin else []
        else:
            found = list(itertools.islice(self._engine.rejoins(request_id=query.request_id), encode.LISTED_DECISIONS))
        if not found:
            raise NotFound(f"no trigger of {query.rejoin_id or query.request_id} is kept")
        return encode.past_response(found, query.request_id, now)

    async def ListStores(
        self, request: gossip_control_pb2.ListStoresRequest, context: Context
    ) -> gossip_control_pb2.ListStoresResponse:
        """Stores by id."""
        del context
        query = decode.store_query(request)
        found = self._engine.stores(node_id=query.node_id, after=query.after)
        page, more = _page(found, query.page_size)
        now = self._clock.now()
        return gossip_control_pb2.ListStoresResponse(
            stores=[self._store(store, now) for store in page],
            next_page_token=page[-1].store_id if more else "",
        )

    # An agent's stream.

    async def _register(self, session: Session, register: attach_pb2.Register) -> None:
        event = decode.node_attached(register, session.session_id)
        if register.node_id != session.node_id:
            raise InvalidRequest([("register.node_id", f"must stay {session.node_id} on one stream")])
        self._dispatcher.outbox.check()
        session.capabilities = event.capabilities
        # The session must be there before the core starts what was parked, and is taken back if it is refused.
        replaced = self._agents.attach(session)
        try:
            effects = await self._dispatcher.settle(event)
        except BaseException:
            self._agents.detach(session)
            self._dispatcher.submit(NodeDetached(session.node_id, session.session_id))
            if replaced is not None:
                replaced.close(Replaced("a newer stream of this node has come, and gone"))
            raise
        for effect in effects:
            if isinstance(effect, RefuseNode):
                self._agents.detach(session)
                if replaced is not None:
                    self._agents.attach(replaced)
                raise Overloaded(effect.reason, FULL_BOOK_RETRY)
            if isinstance(effect, AcceptNode):
                session.send(encode.registered(effect, self._next_report_ms(self._clock.now())))
        if replaced is not None:
            replaced.close(Replaced("a newer stream of this node has attached"))

    async def _read(self, frames: AsyncIterator[attach_pb2.AttachRequest], session: Session) -> None:
        try:
            async for frame in frames:
                await self._take(session, frame)
        except Exception as error:  # noqa: BLE001 - whatever it is, the call ends with it, which tells and counts it
            session.close(error)
        finally:
            session.close()

    async def _take(self, session: Session, frame: attach_pb2.AttachRequest) -> None:
        """Handle one frame; raises InvalidRequest."""
        now = self._clock.now()
        match frame.WhichOneof("frame"):
            case "liveness":
                event = decode_report.agent_liveness(frame.liveness, session.node_id, now)
                _check_place(self._dispatcher.submit(event))
                ack = attach_pb2.LivenessAck(
                    view=self._view(frame.liveness.store_id, frame.liveness.known_version, now),
                    next_report_ms=self._next_report_ms(now),
                )
                session.send(attach_pb2.AttachResponse(ack=ack))
            case "neighbor":
                _check_place(self._dispatcher.submit(decode.neighbor_changed(frame.neighbor, session.node_id, now)))
            case "rejoin_result":
                result = frame.rejoin_result
                decode.check_rejoin_result(result)
                outcome = Result(result.ok, result.error, result.permanent)
                self._agents.finish(session.node_id, result.rejoin_id, result.attempt, outcome)
            case "register":
                await self._register(session, frame.register)
            case "goodbye":
                decode.check_goodbye(frame.goodbye)
                session.left = True
                session.close()
            case "sync_result":
                self._watchtower.synced(decode_presence.sync_finished(frame.sync_result, session.node_id))
            case "intentions":
                await self._recorder.submit(intentions_recorded(frame.intentions, "intentions."))
            case None:
                raise InvalidRequest([("frame", "must be given")])

    def _view(self, store_id: str, known: int, now: float) -> liveness_pb2.StoreView:
        view = self._liveness.view(store_id, self._edition.version(known), LISTED_PEERS)
        return encode_presence.view_message(view, self._edition, now)

    def _next_report_ms(self, now: float) -> int:
        return int(self._liveness.next_report(now) * 1000)

    def _store(self, store: StoreRecord, now: float) -> gossip_control_pb2.Store:
        counts = self._liveness.store_counts(store.store_id)
        stalest_at = self._watchtower.surveyor.stalest_at(store.store_id)
        return encode_presence.store_message(store, counts, stalest_at, now)


def _page(found: Iterator[T], size: int) -> tuple[list[T], bool]:
    """So many of what was found, and whether there is more."""
    page = list(itertools.islice(found, size))
    return page, next(found, None) is not None


def _answer(effects: Sequence[Effect]) -> AnswerTrigger:
    """The answer among the effects of a trigger; raises Overloaded when it was refused."""
    for effect in reversed(effects):
        if type(effect) is AnswerTrigger:
            return effect
        if isinstance(effect, RefuseTrigger):
            raise Overloaded("the queue of rejoins is full", effect.retry_in)
    raise AssertionError("the core answers every trigger")


def _check_place(effects: Sequence[Effect]) -> None:
    for effect in effects:
        if isinstance(effect, RefuseNode):
            raise Overloaded(effect.reason, FULL_BOOK_RETRY)

"""The servicer of GossipControl: reads requests, submits events, encodes answers; it decides nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar, cast

import grpc
from gossipcontrol.server.access.quota import Quotas
from gossipcontrol.server.access.visibility import current_reads
from gossipcontrol.server.core.deciding.record import RejoinRecord, StoreRecord
from gossipcontrol.server.core.decision import DecisionKind, Outcome, Rule
from gossipcontrol.server.core.effect import AnswerTrigger, ForgetSlots
from gossipcontrol.server.core.event import NetworkChanged, RejoinRequested
from gossipcontrol.server.core.slices import LongSlices, finish
from gossipcontrol.server.drivers.driver import Driver
from gossipcontrol.server.errors import NotFound
from gossipcontrol.server.observe.calls import readable_peer
from gossipcontrol.server.observe.metrics import Metrics
from gossipcontrol.server.rpc.attach import AgentStreams
from gossipcontrol.server.rpc.cursor import PresenceCursor
from gossipcontrol.server.rpc.intention_source import IntentionSource
from gossipcontrol.server.rpc.interceptor import CallerContext
from gossipcontrol.server.rpc.naming import Naming
from gossipcontrol.server.rpc.progress import WRITE_TIME, write_within
from gossipcontrol.server.rpc.refusal import check_admitted, check_cleared, reused, trigger_answer
from gossipcontrol.server.rpc.report_answer import ReportAnswers
from gossipcontrol.server.rpc.resume_token import ResumeTokens
from gossipcontrol.server.rpc.session import Run
from gossipcontrol.server.rpc.stranger_credit import StrangerCredit
from gossipcontrol.server.rpc.subscriptions import Subscription, SubscriptionHub
from gossipcontrol.server.runtime.dispatcher import Dispatcher
from gossipcontrol.server.runtime.knowledge_dispatcher import KnowledgeDispatcher
from gossipcontrol.server.runtime.slices import Slice, in_slices
from gossipcontrol.server.runtime.staleness_sampler import StalenessSampler
from gossipcontrol.server.runtime.turns import LOCAL_PEER, current_caller, current_identity
from gossipcontrol.server.wire import decode, decode_presence, decode_report, encode, encode_presence
from gossipcontrol.server.wire.reasons import explain_deafness, explain_overload, explain_settling, explain_shared_ids
from gossipcontrol.server.wire.unrecognized import Note
from gossipcontrol.v1 import attach_pb2, decision_pb2, gossip_control_pb2, gossip_control_pb2_grpc

PAGE_WEIGHT = 10_000
"""Nodes, about 1 MB, after which a page of stores ends early."""
PEER_TIME = 0.000005
"""Seconds that a peer in a report takes, if it is new."""
FEW_PEERS = 200
"""Most peers and neighbours in a report that is taken at once, about a millisecond."""
SETTLING_LOOK = 0.5
"""Seconds between two looks whether presence is known after the owner changed."""
_UNKNOWN = frozenset({Rule.UNKNOWN_NODE, Rule.UNKNOWN_HOST})
_WITHOUT_AGENT = _UNKNOWN | {Rule.NOT_ATTACHED}
T = TypeVar("T")
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class GossipControlService(gossip_control_pb2_grpc.GossipControlServicer):
    """Every call of GossipControl."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        driver: Driver,
        metrics: Metrics,
        run: Run,
        knowledge_dispatcher: KnowledgeDispatcher,
        subscriptions: SubscriptionHub,
        staleness: StalenessSampler,
        resume_tokens: ResumeTokens,
        note: Note,
        source: IntentionSource,
        quotas: Quotas,
        list_replicas: Callable[[], gossip_control_pb2.ListReplicasResponse],
    ) -> None:
        self._list_replicas = list_replicas
        self._note = note
        self._quotas = quotas
        quotas.is_parked = self._is_parked
        quotas.is_store = lambda store_id: (
            dispatcher.core.catalog.has_store(store_id) or knowledge_dispatcher.store.tracker(store_id) is not None
        )
        self._dispatcher = dispatcher
        self._driver = driver
        self._core = dispatcher.core
        self._catalog = dispatcher.core.catalog
        self._clock = dispatcher.clock
        self._metrics = metrics
        self._subscriptions = subscriptions
        self._staleness = staleness
        self._liveness = dispatcher.core.liveness
        self._settling = dispatcher.core.settling
        self._resume_tokens = resume_tokens
        self._credit = StrangerCredit(time.monotonic)
        self._naming = Naming(dispatcher.core.name)
        self._answers = ReportAnswers(self._liveness, self._settling, resume_tokens, self._naming)
        self._streams = AgentStreams(
            dispatcher, driver, knowledge_dispatcher, self._answers, run, note, metrics.count_shed_report, source
        )

    def hand_over(self) -> None:
        """Another replica goes on: the streams that end now do not mean that their agents are gone."""
        self._streams.hands_over = True

    def unregistered(self) -> int:
        """Number of streams that have not registered their node."""
        return self._streams.unregistered

    def queued_bytes(self) -> int:
        """Bytes of frames that wait for agents."""
        return self._streams.queued.total

    # Triggers and reports.

    async def Rejoin(
        self, request: gossip_control_pb2.RejoinRequest, context: Context
    ) -> gossip_control_pb2.RejoinResponse:
        """Decide about a rejoin of stores of a node."""
        event = decode.rejoin_requested(request)
        event.asked_by = _asked_by()
        self._charge(context, request, event)
        if self._driver.session(request.node_id) is None:
            self._check_parked()
        answer = trigger_answer(await self._dispatcher.settle(event))
        self._note_parked(answer, _WITHOUT_AGENT)
        response = await in_slices(encode.rejoin_response(answer, self._clock.now()))
        self._naming.nodes(response.decisions)
        return response

    async def ReportNetworkChange(
        self, request: gossip_control_pb2.ReportNetworkChangeRequest, context: Context
    ) -> gossip_control_pb2.ReportNetworkChangeResponse:
        """Decide about a change of a host or of nodes."""
        event = decode.network_changed(request, self._note)
        event.asked_by, event.speaker = _asked_by(), current_identity()
        self._charge(context, request, event)
        if request.park_unknown:
            self._check_parked()
        answer = trigger_answer(await self._dispatcher.settle(event))
        self._note_parked(answer, _UNKNOWN)
        if not answer.replayed:
            self._metrics.count_change(request.platform, event.kind)
        response = await in_slices(encode.change_response(answer, self._clock.now()))
        self._naming.nodes(response.decisions)
        return response

    async def PeerLiveness(
        self, request: gossip_control_pb2.PeerLivenessRequest, context: Context
    ) -> gossip_control_pb2.PeerLivenessResponse:
        """Accept reports; answer with the views of their stores and the syncs that wait for their nodes."""
        work = self._report(request, context.peer())
        if _is_short(request):
            return await self._dispatcher.together(lambda: finish(work))
        return await in_slices(work)

    def _report(
        self, request: gossip_control_pb2.PeerLivenessRequest, peer: str
    ) -> LongSlices[gossip_control_pb2.PeerLivenessResponse]:
        """Take the reports of a call, one in each bit."""
        speaker = current_identity()
        synced = decode_presence.syncs_finished(request.sync_results)
        reports = yield from decode_report.liveness_reported(request, self._clock.now(), self._note)
        response = gossip_control_pb2.PeerLivenessResponse()
        is_strange = False
        for report in reports:
            yield PEER_TIME * (len(report.heard) + len(report.neighbors))
            report.speaker = speaker
            session = self._driver.session(report.node_id)
            if session is not None:
                report = replace(report, delay=session.commands.assumed_delay(report.store_id, unary=True))
            if cost := self._core.strange_cost(report):
                if not is_strange:
                    self._credit.earn(peer, request.ByteSize())
                    is_strange = True
                self._credit.spend(peer, cost)
            turn = self._dispatcher.submit(report)
            check_admitted(turn.effects)
            for offer in turn.offers:
                response.syncs.append(encode_presence.sync_message(offer, self._core.addresses(offer.peer_id)))
        for result in synced:
            yield None
            self._dispatcher.submit(replace(result, speaker=speaker))
        now = self._clock.now()
        for store_id, version in decode_presence.known_versions(request.reports).items():
            yield None
            response.views.append(self._answers.view(store_id, version, now))
        response.next_report_ms = self._answers.next_report_ms(now)
        return response

    def _charge(
        self,
        context: Context,
        request: gossip_control_pb2.RejoinRequest | gossip_control_pb2.ReportNetworkChangeRequest,
        event: RejoinRequested | NetworkChanged,
    ) -> None:
        """Charge a trigger to its connection, if it names nodes that never registered.

        Raises Overloaded when the connection has not sent enough for it.
        """
        if cost := self._core.strange_cost(event):
            self._credit.earn(context.peer(), request.ByteSize())
            self._credit.spend(context.peer(), cost)

    def _check_parked(self) -> None:
        """Raise Overloaded if whose call this is has as many parked rejoins as it may."""
        quota = self._quotas.of_current_call()
        if quota is not None:
            quota.check_parked(self._is_parked)

    def _note_parked(self, answer: AnswerTrigger, rules: frozenset[Rule]) -> None:
        quota = self._quotas.of_current_call()
        if quota is not None:
            parked = (one for one in answer.decisions if one.kind is DecisionKind.PARKED and one.rule in rules)
            quota.note_parked(one.rejoin_id for one in parked)

    def _is_parked(self, rejoin_id: str) -> bool:
        rejoin = self._catalog.rejoin(rejoin_id)
        return rejoin is not None and rejoin.outcome is Outcome.PARKED

    # Clearing up.

    async def Forget(
        self, request: gossip_control_pb2.ForgetRequest, context: Context
    ) -> gossip_control_pb2.ForgetResponse:
        """Forget a node without an agent, a store, or a store of one node."""
        del context
        effects = await self._dispatcher.settle(decode.forget_requested(request))
        check_cleared(effects)
        cleared = next(effect for effect in effects if isinstance(effect, ForgetSlots))
        return gossip_control_pb2.ForgetResponse(nodes=cleared.node_count, stores=cleared.slot_count)

    async def CancelRejoin(
        self, request: gossip_control_pb2.CancelRejoinRequest, context: Context
    ) -> gossip_control_pb2.CancelRejoinResponse:
        """End a rejoin that has not ended."""
        del context
        check_cleared(await self._dispatcher.settle(decode.cancel_requested(request)))
        rejoin = self._catalog.rejoin(request.rejoin_id)
        assert rejoin is not None, "a rejoin that has just ended is kept"
        message = encode.rejoin_message(rejoin, self._clock.now())
        self._naming.nodes([message])
        return gossip_control_pb2.CancelRejoinResponse(rejoin=message)

    # Streams.

    async def Attach(  # type: ignore[override] # the stubs know no reader-writer style
        self, request_iterator: AsyncIterator[attach_pb2.AttachRequest], context: Context
    ) -> None:
        """Serve an agent's stream until either side ends it."""
        await self._streams.serve(request_iterator, cast("CallerContext", context))

    async def WatchPeers(  # type: ignore[override] # the stubs know no reader-writer style
        self, request: gossip_control_pb2.WatchPeersRequest, context: Context
    ) -> None:
        """Send a store's presence and every change of it until either side ends the call."""
        query = decode_presence.watch_query(request, self._resume_tokens)
        lagged = query.resumed and query.version is None
        cursor = PresenceCursor(self._liveness, query.store_id, query.version, lagged=lagged)
        with self._subscriptions.subscribe(query.store_id, context.peer()) as subscription:
            if self._settling.is_settling(query.store_id, self._clock.now()):
                view = encode_presence.settling_message(query.store_id)
                held = gossip_control_pb2.WatchPeersResponse(view=view, resume_token=request.resume_token)
                await write_within(context.write, held, WRITE_TIME)
                await self._settled(query.store_id, subscription)
            while True:
                await subscription.wait()
                with subscription.work():
                    update = cursor.next_update()
                    if update is None:
                        continue
                    now = self._clock.now()
                    message = encode_presence.update_message(query.store_id, update, self._resume_tokens, now)
                    self._naming.peers(message.view.peers)
                # A slow reader holds up this call only.
                await write_within(context.write, message, WRITE_TIME)
                subscription.again()

    async def _settled(self, store_id: str, subscription: Subscription) -> None:
        """Return once the presence of a store is known after the owner changed; raises what ends the subscription."""
        while self._settling.is_settling(store_id, now := self._clock.now()):
            with suppress(TimeoutError):
                async with asyncio.timeout(min(SETTLING_LOOK, self._settling.left(now))):
                    await subscription.wait()
        subscription.again()

    # Queries.

    async def ListPeers(
        self, request: gossip_control_pb2.ListPeersRequest, context: Context
    ) -> gossip_control_pb2.ListPeersResponse:
        """Peers of a store by id."""
        del context
        query, now = decode_presence.peer_query(request), self._clock.now()
        peers = self._liveness.peers(query.store_id, query.after)
        found = (peer if query.state is None or peer.state is query.state else None for peer in peers)
        page, more = await _page(found, query.page_size)
        messages = [encode_presence.peer_message(peer, now) for peer in page]
        self._naming.peers(messages)
        return gossip_control_pb2.ListPeersResponse(
            peers=messages,
            next_page_token=page[-1].peer_id if more else "",
            settling=self._settling.is_settling(query.store_id, now),
        )

    async def ListRejoins(
        self, request: gossip_control_pb2.ListRejoinsRequest, context: Context
    ) -> gossip_control_pb2.ListRejoinsResponse:
        """Recent rejoins, newest first."""
        del context
        now = self._clock.now()
        query = decode.rejoin_query(request, now)
        found = self._catalog.scan_rejoins(
            node_id=query.node_id,
            store_id=query.store_id,
            cause=query.cause,
            outcome=query.outcome,
            since=query.since,
            before=query.before,
        )
        readable = (one if one is not None and current_reads(one.store_id) else None for one in found)
        page, more = await _page(readable, query.page_size)
        work = Slice()
        rejoins: list[decision_pb2.Rejoin] = []
        for rejoin in page:
            await work.rest()
            rejoins.append(encode.rejoin_message(rejoin, now))
        self._naming.nodes(rejoins)
        return gossip_control_pb2.ListRejoinsResponse(
            rejoins=rejoins,
            next_page_token=page[-1].rejoin_id if more else "",
        )

    async def ListStores(
        self, request: gossip_control_pb2.ListStoresRequest, context: Context
    ) -> gossip_control_pb2.ListStoresResponse:
        """Stores by id."""
        del context
        query = decode.store_query(request)
        found = self._catalog.scan_stores(node_id=query.node_id, after=query.after)
        readable = (one if one is not None and current_reads(one.store_id) else None for one in found)
        page, more = await _page(readable, query.page_size, lambda store: len(store.nodes))
        now, work = self._clock.now(), Slice()
        stores: list[gossip_control_pb2.Store] = []
        for store in page:
            await work.rest()
            stores.append(self._store(store, now))
        return gossip_control_pb2.ListStoresResponse(
            stores=stores,
            next_page_token=page[-1].store_id if more else "",
            warnings=() if query.after else self._warnings(now),
        )

    async def ListReplicas(
        self, request: gossip_control_pb2.ListReplicasRequest, context: Context
    ) -> gossip_control_pb2.ListReplicasResponse:
        """The replicas of the service."""
        del request, context
        return self._list_replicas()

    def _warnings(self, now: float) -> list[str]:
        """What an operator should know of the service as a whole."""
        deaf = explain_deafness(self._core.liveness.deaf_since(), now)
        overloaded = explain_overload(self._core.liveness.overloaded_since(), now)
        changed = explain_settling(self._settling.left(now), self._core.returning)
        return [*changed, *deaf, *overloaded, *explain_shared_ids(self._core.shared_ids(now))]

    async def Explain(
        self, request: gossip_control_pb2.ExplainRequest, context: Context
    ) -> gossip_control_pb2.ExplainResponse:
        """What would happen to a trigger now, or why a past trigger was decided as it was."""
        del context
        query, now = decode.explain_query(request), self._clock.now()
        if not isinstance(query, decode.PastQuery):
            forecast = await in_slices(self._core.foretell_slices(query, now))
            if forecast.is_reused:
                raise reused()
            response = await in_slices(encode.forecast_response(forecast, now))
        else:
            response = await in_slices(encode.past_response(await self._past(query), query.request_id, now))
        self._naming.explanations(response)
        return response

    async def _past(self, query: decode.PastQuery) -> list[RejoinRecord]:
        """The rejoins that are asked about; raises NotFound."""
        if query.rejoin_id:
            rejoin = self._catalog.rejoin(query.rejoin_id)
            found = [rejoin] if rejoin else []
        else:
            found, _ = await _page(self._catalog.scan_rejoins(request_id=query.request_id), encode.LISTED_DECISIONS)
        if not found:
            raise NotFound(f"no trigger of {query.rejoin_id or query.request_id} is kept")
        return found

    def _store(self, store: StoreRecord, now: float) -> gossip_control_pb2.Store:
        counts = self._liveness.store_counts(store.store_id)
        stalest_at = self._staleness.stalest_at(store.store_id)
        settling = self._settling.is_settling(store.store_id, now)
        return encode_presence.store_message(store, counts, stalest_at, now, settling=settling)


def _is_short(request: gossip_control_pb2.PeerLivenessRequest) -> bool:
    """Whether a request is no more work than one bit of a longer one, and may be taken at once."""
    if len(request.reports) != 1 or request.sync_results:
        return False
    report = request.reports[0]
    return len(report.heard.peer_ids) + len(report.peers) + len(report.neighbors) <= FEW_PEERS


def _asked_by() -> str:
    """Who makes the call that runs now, for people."""
    return readable_peer(current_caller()).replace(LOCAL_PEER, "the Unix socket")


async def _page(found: Iterator[T | None], size: int, weigh: Callable[[T], int] = lambda _: 0) -> tuple[list[T], bool]:
    """The first ``size`` entries, or those that weigh ``PAGE_WEIGHT``, and whether there are more."""
    page, work, weight = list[T](), Slice(), 0
    for one in found:
        await work.rest()
        if one is None:
            continue
        if len(page) == size or weight >= PAGE_WEIGHT:
            return page, True
        page.append(one)
        weight += weigh(one)
    return page, False

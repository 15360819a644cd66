"""The one place where events enter liveness and its findings are carried out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gossipcontrol.server.core.decision import PROVED_BY_RECOVERY
from gossipcontrol.server.core.effect import AnswerTrigger, Effect, RefuseNode
from gossipcontrol.server.core.event import (
    ChangeKind,
    Event,
    LivenessEvent,
    NetworkChanged,
    NodeAttached,
    NodesSlept,
    NodesWoke,
    RejoinRequested,
    SuspicionEnded,
    SyncFinished,
    TimePassed,
)
from gossipcontrol.server.core.finding import NodeSuspected, PresenceChanged, SyncWanted
from gossipcontrol.server.drivers.driver import Driver
from gossipcontrol.server.observe.log import Logger
from gossipcontrol.server.observe.metrics_presence import LivenessMetrics
from gossipcontrol.server.rpc.subscriptions import SubscriptionHub
from gossipcontrol.server.runtime.dispatcher import Dispatcher
from gossipcontrol.server.runtime.staleness_sampler import StalenessSampler
from gossipcontrol.server.runtime.sync_queue import SyncQueue
from gossipcontrol.server.runtime.ticker import Ticker
from gossipcontrol.server.wire.encode_presence import sync_message
from gossipcontrol.v1 import liveness_pb2


class LivenessDispatcher:
    """reports -> liveness -> findings. Runs in one event loop, behind the dispatcher, whose events it follows."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        driver: Driver,
        metrics: LivenessMetrics,
        subscriptions: SubscriptionHub,
        log: Logger,
    ) -> None:
        self.liveness = liveness = dispatcher.engine.liveness
        self.subscriptions = subscriptions
        self._dispatcher = dispatcher
        self._engine = dispatcher.engine
        self._clock = dispatcher.clock
        self._driver = driver
        self._metrics = metrics
        self._log = log
        self._syncs = SyncQueue()
        self._ticker = Ticker(self._clock, lambda: self.take(TimePassed()))
        self.staleness = StalenessSampler(liveness, self._clock, metrics.observe_age)
        metrics.show_stalest(self.staleness.stalest, self._clock.now)
        self._performers: dict[type[Any], Callable[[Any], None]] = {
            PresenceChanged: self._changed,
            NodeSuspected: self._suspected,
            SuspicionEnded: self._ended,
            SyncWanted: self._sync,
        }
        dispatcher.follow(self._followed)

    def take(self, event: LivenessEvent, now: float | None = None) -> None:
        """Let an event happen now, and carry out what it shows."""
        findings = self.liveness.handle(event, self._clock.now() if now is None else now)
        self._ticker.arm(self.liveness.next_deadline())
        for finding in findings:
            self._performers[type(finding)](finding)

    def synced(self, event: SyncFinished) -> None:
        """Take the result of a sync, of a node and store that have a place: strangers must not fill the books."""
        if self._engine.has(event.node_id, event.store_id):
            self.take(event)

    def syncs(self, node_id: str) -> list[liveness_pb2.SyncWithPeer]:
        """The syncs that wait for a node without an agent, which wait no more."""
        return [self._sync_message(wanted) for wanted in self._syncs.pop(node_id)]

    def close(self) -> None:
        """Stop the timers."""
        self._ticker.close()
        self.staleness.close()

    def _followed(self, event: Event, effects: Sequence[Effect], now: float) -> None:
        """An event that the engine has handled; what it refused has not happened."""
        if isinstance(event, NetworkChanged):
            if not any(isinstance(effect, AnswerTrigger) and effect.replayed for effect in effects):
                self._host_changed(event, now)
        elif not any(isinstance(effect, RefuseNode) for effect in effects):
            if isinstance(event, NodeAttached):
                self._syncs.pop(event.node_id)  # what is still wanted will be asked for on its stream
            self.take(event, now)  # type: ignore[arg-type] # the dispatcher tells of those only

    def _host_changed(self, event: NetworkChanged, now: float) -> None:
        nodes = event.node_ids or self._engine.nodes_on(event.host_id)
        if nodes and event.kind is ChangeKind.SLEEPING:
            self.take(NodesSlept(nodes), now)
        elif nodes and event.kind is ChangeKind.RESUMED:
            self.take(NodesWoke(nodes), now)

    def _changed(self, found: PresenceChanged) -> None:
        self._metrics.label_store(found.store_id)
        self.staleness.track(found.store_id)
        self.subscriptions.notify(found.store_id)

    def _suspected(self, found: NodeSuspected) -> None:
        """Have the node rejoin, if an agent can do it; whatever comes of it, the finding is told."""
        self._metrics.count_rot(found.cause)
        dispatcher = self._dispatcher
        acts = dispatcher.can_ask(found.node_id, found.store_id)
        self._log.warning(
            "rot suspected",
            node=found.node_id,
            store=found.store_id,
            cause=found.cause.name.lower(),
            evidence=found.evidence,
            attached=acts,
        )
        if acts:
            node_id, store_ids = found.node_id, (found.store_id,)
            dispatcher.submit(RejoinRequested(node_id, store_ids, found.cause, "", found.evidence, found.bridge))

    def _ended(self, found: SuspicionEnded) -> None:
        self._log.info("suspicion cleared", node=found.node_id, store=found.store_id, cause=found.cause.name.lower())
        if PROVED_BY_RECOVERY[found.cause]:
            self._dispatcher.submit(found)

    def _sync(self, wanted: SyncWanted) -> None:
        """Ask the node: on its stream, or with the answer to its next report."""
        if self._driver.capabilities(wanted.node_id) is None:
            self._syncs.put(wanted)
        else:
            self._driver.sync(wanted, self._engine.addresses(wanted.peer_id))

    def _sync_message(self, wanted: SyncWanted) -> liveness_pb2.SyncWithPeer:
        return sync_message(wanted, self._engine.addresses(wanted.peer_id))

"""The core: one object, ``handle(event, now) -> effects``, ``next_deadline()``. No IO, no clock, no randomness.

Triggers go to the ``intake``, the ``judge`` decides, rejoins live in the ``scheduler``. ALGORITHM states the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gossipcontrol.server.core.codec import Plain, resolve
from gossipcontrol.server.core.deciding.explain import Explainer
from gossipcontrol.server.core.deciding.history import History
from gossipcontrol.server.core.deciding.intake import Intake
from gossipcontrol.server.core.deciding.policy import Policy
from gossipcontrol.server.core.deciding.record import Counts, Forecast, RejoinRecord, StoreNode, StoreRecord
from gossipcontrol.server.core.deciding.recorded_reads import RecordedRead, RecordedReads
from gossipcontrol.server.core.deciding.registry import Node, Registry, Slot
from gossipcontrol.server.core.deciding.rejoin import Trigger
from gossipcontrol.server.core.deciding.scheduler import Scheduler
from gossipcontrol.server.core.decision import Capability, Cause, Outcome
from gossipcontrol.server.core.effect import (
    AcceptNode,
    AnswerTrigger,
    Effect,
    RefuseNode,
    RefuseTrigger,
    StartRejoin,
)
from gossipcontrol.server.core.event import (
    NEVER,
    AdviceOutdated,
    Event,
    LivenessReported,
    NeighborChanged,
    NetworkChanged,
    NodeAttached,
    NodeDetached,
    RejoinFinished,
    RejoinProved,
    RejoinRequested,
    ServiceStarted,
    StartDelayed,
    StoreSeen,
    SuspicionEnded,
    TimePassed,
)
from gossipcontrol.server.core.liveness import Liveness
from gossipcontrol.server.core.parameter import Parameters

LISTED_NODES = 100
"""Most nodes listed in one StoreRecord."""


class Engine:
    """Decides. ``id_prefix`` makes the ids of rejoins unique over restarts.

    ``facts`` and ``said`` are what a log must keep of the event that was just handled: handling the same facts at the
    same instants, with what was said, gives the same deciding state. Liveness is not among them: a report leaves a fact
    only where it proved a rejoin, outdated an advice or named a new store; what rules asked of liveness is in ``said``.
    """

    def __init__(
        self, parameters: Parameters | None = None, *, liveness: Liveness | None = None, id_prefix: str = "r"
    ) -> None:
        self._parameters = parameters = parameters or Parameters()
        self.liveness = liveness if liveness is not None else Liveness()
        """Who was heard, and when; it is fed beside the engine, which only asks it and never logs it."""
        self._registry = Registry(parameters.node_limit, self.liveness)
        self._history = History(id_prefix, parameters.history_limit, parameters.history_age)
        self._witness = RecordedReads()
        self._scheduler = Scheduler(parameters, self._registry, self._history, self._witness)
        self._judge = Policy(parameters, self._history, self._witness, self._scheduler)
        self.facts: list[Event] = []
        self.handled_at = 0.0
        self._intake = Intake(parameters, self._registry, self._history, self._judge)
        self._explainer = Explainer(parameters, self._registry, self._judge, self._intake)
        self._handlers: dict[type[Any], Callable[[Any, float, list[Effect]], None]] = {
            NetworkChanged: self._intake.take_change,
            RejoinRequested: self._intake.take_request,
            LivenessReported: self._on_liveness_reported,
            NeighborChanged: self._on_neighbor_changed,
            RejoinFinished: self._scheduler.finish,
            NodeAttached: self._on_node_attached,
            NodeDetached: self._on_node_detached,
            TimePassed: self._on_time_passed,
            StartDelayed: self._scheduler.delayed,
            StoreSeen: self._on_store_seen,
            RejoinProved: self._scheduler.proved,
            AdviceOutdated: self._on_advice_outdated,
            SuspicionEnded: self._on_suspicion_ended,
            ServiceStarted: self._on_service_started,
        }

    def handle(self, event: Event, now: float, recalled: Sequence[RecordedRead] = ()) -> list[Effect]:
        """Take one event at service time ``now`` (seconds, never going backwards) and say what is to be done.

        A replay gives what was ``said`` when the event was first handled.
        """
        effects: list[Effect] = []
        self.handled_at = now
        self._witness.open(recalled)
        facts: list[Event] = []
        self.facts = facts
        kind = type(event)
        # A new run parks first: what fell due while it was away would start on streams that are gone, or count as
        # tried in vain though its command may never have left. So it is with a command that leaves late.
        if advanced := now >= self._scheduler.wake_at and kind is not ServiceStarted and kind is not StartDelayed:
            self._scheduler.advance(now, effects)
        if kind is LivenessReported or kind is NeighborChanged or kind is TimePassed:
            if advanced:
                facts.append(TimePassed())
            self._handlers[kind](event, now, effects)
            return effects
        self._handlers[kind](event, now, effects)
        if not effects or not _changed_nothing(effects[-1]):
            facts.append(event)
        elif advanced:
            facts.append(TimePassed())
        return effects

    @property
    def said(self) -> Sequence[RecordedRead]:
        """What liveness said while the last event was handled; it belongs to the first of its facts."""
        return self._witness.said

    def runs(self, start: StartRejoin) -> bool:
        """Whether this attempt still runs."""
        return self._scheduler.runs(start)

    def save(self) -> Plain:
        """The deciding state as plain JSON; liveness stays out."""
        return resolve(self.capture())

    def capture(self) -> Plain:
        """The same, most of which is yet to be encoded: at any time, and in any thread."""
        return {
            "registry": self._registry.save(),
            "history": self._history.save(),
            "scheduler": self._scheduler.save(),
            "intake": self._intake.save(),
        }

    def load(self, plain: Plain) -> None:
        """Take over a saved state; the engine must be new."""
        self._history.load(plain["history"])
        self._registry.load(plain["registry"], self._history.get)
        self._scheduler.load(plain["scheduler"])
        self._intake.load(plain["intake"])

    def next_deadline(self) -> float | None:
        """The service time at which TimePassed is due; None when nothing waits."""
        return self._scheduler.next_deadline()

    # Agents.

    def _on_node_attached(self, event: NodeAttached, now: float, effects: list[Effect]) -> None:
        if len(event.store_ids) > self._parameters.stores_per_node:
            effects.append(RefuseNode(f"more than {self._parameters.stores_per_node} stores"))
            return
        node = self._registry.node(event.node_id, now)
        if node is None:
            effects.append(RefuseNode(f"{self._parameters.node_limit} nodes are known already"))
            return
        if node.attached and node.session_id != event.session_id:
            self._scheduler.detach(node, now, effects)
        new_to_host = bool(event.host_id) and node.host_id != event.host_id
        self._registry.attach(node, event, now)
        self._replace_stores(node, event.store_ids, now, effects)
        started: list[Effect] = []
        unparked = self._scheduler.attach(node, now, started)
        unparked += self._take_over(node, new_to_host, now, started)
        effects.append(AcceptNode(node.node_id, node.session_id, unparked))
        effects += started

    def _replace_stores(self, node: Node, store_ids: Sequence[str], now: float, effects: list[Effect]) -> None:
        wanted = set(store_ids)
        for slot in [slot for store_id, slot in node.slots.items() if store_id not in wanted]:
            self._scheduler.drop(slot, "the node does not have this store", now, effects)
            self._registry.drop_slot(slot)
        for store_id in store_ids:
            self._registry.slot(node, store_id)

    def _take_over(self, node: Node, new_to_host: bool, now: float, effects: list[Effect]) -> int:
        """Give a node the triggers that came before it was known; returns how many rejoins that makes."""
        triggers: list[Trigger] = []
        if node.parked is not None:
            triggers.append(Trigger(node.parked.cause, now))
            self._scheduler.split(node.parked, f"node {node.node_id} attached", now, effects)
            node.parked = None
        host = self._registry.hosts.get(node.host_id)
        if (
            new_to_host
            and host is not None
            and (host.parked is not None or host.changed_at + self._parameters.park_time > now)
        ):
            triggers.append(Trigger(host.cause, now))
            if host.parked is not None:
                self._scheduler.split(host.parked, f"node {node.node_id} attached", now, effects)
                host.parked = None
        for trigger in triggers:
            for slot in node.slots.values():
                self._judge.decide(slot, trigger, effects)
        return len(node.slots) if triggers else 0

    def _on_node_detached(self, event: NodeDetached, now: float, effects: list[Effect]) -> None:
        node = self._registry.nodes.get(event.node_id)
        if node is not None and node.attached and node.session_id == event.session_id:
            self._scheduler.detach(node, now, effects)
            self._registry.detach(node, now)

    # Liveness.

    def _on_liveness_reported(self, event: LivenessReported, now: float, effects: list[Effect]) -> None:
        slot = self._reporting_slot(event.node_id, event.store_id, now)
        if slot is None:
            effects.append(RefuseNode("no further node or store can be remembered"))
            return
        slot.reported_at = now
        heard = event.heard
        slot.neighbors = {peer_id: max(up_at, heard.get(peer_id, NEVER)) for peer_id, up_at in event.neighbors.items()}
        slot.alive_at = max(slot.neighbors.values(), default=NEVER)
        if self._scheduler.unproved(slot) is None and not slot.restart_advised:
            return
        prove, facts = self._scheduler.prove, self.facts
        for peer_id, up_at in event.neighbors.items():
            prove(slot, up_at, f"neighbour {peer_id}", now, effects, facts)
        for peer_id, heard_at in heard.items():
            prove(slot, heard_at, f"a message of {peer_id}", now, effects, facts)

    def _on_neighbor_changed(self, event: NeighborChanged, now: float, effects: list[Effect]) -> None:
        slot = self._reporting_slot(event.node_id, event.store_id, now)
        if slot is None:
            effects.append(RefuseNode("no further node or store can be remembered"))
            return
        if event.up:
            slot.see_neighbor(event.peer_id, event.changed_at)
            self._scheduler.prove(slot, event.changed_at, f"neighbour {event.peer_id}", now, effects, self.facts)
        else:
            slot.lose_neighbor(event.peer_id)

    def _reporting_slot(self, node_id: str, store_id: str, now: float) -> Slot | None:
        """The slot that a report concerns, made known; None when the books are full."""
        node = self._registry.node(node_id, now)
        if node is None or (store_id not in node.slots and len(node.slots) >= self._parameters.stores_per_node):
            return None
        if store_id not in node.slots:
            self.facts.append(StoreSeen(node_id, store_id))
        return self._registry.slot(node, store_id)

    def _on_store_seen(self, event: StoreSeen, now: float, effects: list[Effect]) -> None:
        del effects
        node = self._registry.node(event.node_id, now)
        if node is not None:
            self._registry.slot(node, event.store_id)

    def _on_advice_outdated(self, event: AdviceOutdated, now: float, effects: list[Effect]) -> None:
        del now, effects
        node = self._registry.nodes.get(event.node_id)
        if node is not None and event.store_id in node.slots:
            node.slots[event.store_id].restart_advised = False

    def _on_suspicion_ended(self, event: SuspicionEnded, now: float, effects: list[Effect]) -> None:
        node = self._registry.nodes.get(event.node_id)
        if node is not None and event.store_id in node.slots:
            self._scheduler.clear(node.slots[event.store_id], event, now, effects)

    def _on_service_started(self, event: ServiceStarted, now: float, effects: list[Effect]) -> None:
        self._history.rename(event.run_id)
        for node in list(self._registry.nodes.values()):
            if node.attached:
                self._scheduler.detach(node, now, effects)
                self._registry.detach(node, now)
            self._scheduler.forget_rot(node, now, effects)

    def _on_time_passed(self, event: TimePassed, now: float, effects: list[Effect]) -> None:
        """Nothing more: what is due was done before the event."""

    # What is known.

    def counts(self) -> Counts:
        """The gauges."""
        registry, scheduler = self._registry, self._scheduler
        return Counts(
            attached=registry.attached,
            nodes=len(registry.nodes),
            stores=len(registry.stores),
            peers=self.liveness.peer_total,
            queued=scheduler.waiting,
            parked=scheduler.parked,
            running=scheduler.running,
        )

    def foretell(self, event: RejoinRequested | NetworkChanged, now: float) -> Forecast:
        """What would happen to a trigger that came now; nothing changes."""
        return self._explainer.foretell(event, now)

    def rejoin(self, rejoin_id: str) -> RejoinRecord | None:
        """One rejoin, unless it is unknown or forgotten."""
        rejoin = self._history.get(rejoin_id)
        return rejoin.record() if rejoin else None

    def rejoins(
        self,
        *,
        node_id: str = "",
        store_id: str = "",
        cause: Cause | None = None,
        outcome: Outcome | None = None,
        request_id: str = "",
        since: float | None = None,
        before: str = "",
    ) -> Iterator[RejoinRecord]:
        """Rejoins that match every filter given, newest first; with ``before``, only those older than that id."""
        for rejoin in self._history.newest(before):
            if since is not None and rejoin.requested_at < since:
                return
            if (
                (not node_id or rejoin.node_id == node_id)
                and (not store_id or rejoin.store_id == store_id)
                and (outcome is None or rejoin.outcome is outcome)
                and (not request_id or rejoin.has_request(request_id))
                and (cause is None or cause is rejoin.cause or cause in (rejoin.causes or ()))
            ):
                yield rejoin.record()

    def stores(self, *, node_id: str = "", after: str = "") -> Iterator[StoreRecord]:
        """Stores by id; with ``after``, only those behind it."""
        for store_id in sorted(self._registry.stores):
            store = self._registry.stores[store_id]
            if store_id > after and (not node_id or node_id in store.slots):
                yield StoreRecord(
                    store_id=store_id,
                    nodes=tuple(_store_node(store.slots[one]) for one in sorted(store.slots)[:LISTED_NODES]),
                    node_count=len(store.slots),
                    peer_count=self.liveness.peer_count(store_id),
                    rejoin_at=store.rejoin_at,
                    attached=sum(slot.node.attached for slot in store.slots.values()),
                    running=sum(slot.running is not None for slot in store.slots.values()),
                    waiting=sum(slot.waiting is not None for slot in store.slots.values()),
                )

    def serves(self, node_id: str, store_id: str) -> bool:
        """Whether an agent of this node is attached, and the node has this store."""
        node = self._registry.nodes.get(node_id)
        return node is not None and node.attached and store_id in node.slots

    def has(self, node_id: str, store_id: str) -> bool:
        """Whether the node is known, and has this store."""
        node = self._registry.nodes.get(node_id)
        return node is not None and store_id in node.slots

    def nodes_on(self, host_id: str) -> tuple[str, ...]:
        """The nodes of a host."""
        host = self._registry.hosts.get(host_id)
        return tuple(host.nodes) if host else ()

    def capabilities(self, node_id: str) -> frozenset[Capability] | None:
        """What the attached agent of a node can do; None when none is attached."""
        node = self._registry.nodes.get(node_id)
        return node.capabilities if node is not None and node.attached else None

    def addresses(self, node_id: str) -> tuple[str, ...]:
        """Where peers may dial a node, as its agent registered it last."""
        node = self._registry.nodes.get(node_id)
        return node.addresses if node else ()


def _changed_nothing(answer: Effect) -> bool:
    """Whether the event that got this last answer was refused, or had been answered before."""
    if isinstance(answer, AnswerTrigger):
        return answer.replayed
    return isinstance(answer, (RefuseTrigger, RefuseNode))


def _store_node(slot: Slot) -> StoreNode:
    node = slot.node
    return StoreNode(node.node_id, node.host_id, node.attached, len(slot.neighbors), slot.reported_at)

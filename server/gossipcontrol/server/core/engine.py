"""The core: one object, ``handle(event, now) -> effects``, ``next_deadline()``. No IO, no clock, no randomness.

Events are taken apart here; the life of a rejoin is in ``scheduler``. ALGORITHM states the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gossipcontrol.server.core.decision import Cause, Decision, DecisionKind, Outcome, Rule
from gossipcontrol.server.core.effect import AcceptNode, AnswerTrigger, Effect, RefuseNode, RefuseTrigger
from gossipcontrol.server.core.event import (
    Event,
    LivenessReported,
    NeighborChanged,
    NetworkChanged,
    NodeAttached,
    NodeDetached,
    RejoinFinished,
    RejoinRequested,
    TimePassed,
)
from gossipcontrol.server.core.history import History
from gossipcontrol.server.core.memory import Recent
from gossipcontrol.server.core.parameter import Parameters
from gossipcontrol.server.core.record import Counts, PeerRecord, RejoinRecord, StoreNode, StoreRecord
from gossipcontrol.server.core.registry import Host, Node, Registry, Slot
from gossipcontrol.server.core.scheduler import Scheduler

LISTED_NODES = 100
"""Most nodes listed in one StoreRecord."""
REMEMBERED_DECISIONS = 1000
"""Most decisions remembered with a request id or a generation."""

_CAUSES = (None, Cause.NETWORK_CHANGE, Cause.RESUME, None, Cause.APP_FOREGROUND)
"""By the number of the kind of change; an announced sleep is no cause."""


class Engine:
    """Decides. ``id_prefix`` makes the ids of rejoins unique over restarts."""

    def __init__(self, parameters: Parameters | None = None, *, id_prefix: str = "r") -> None:
        self._parameters = parameters = parameters or Parameters()
        self._registry = Registry(parameters.node_limit)
        self._history = History(id_prefix, parameters.history_limit, parameters.history_age)
        self._scheduler = Scheduler(parameters, self._registry, self._history)
        self._requests: Recent[str, tuple[Cause | None, tuple[Decision, ...]]]
        self._requests = Recent(parameters.request_limit, parameters.request_memory)
        self._generations: Recent[tuple[bool, str, str, int], tuple[Decision, ...]]
        self._generations = Recent(parameters.generation_limit)
        self._handlers: dict[type[Any], Callable[[Any, float, list[Effect]], None]] = {
            NetworkChanged: self._on_network_changed,
            RejoinRequested: self._on_rejoin_requested,
            LivenessReported: self._on_liveness_reported,
            NeighborChanged: self._on_neighbor_changed,
            RejoinFinished: self._on_rejoin_finished,
            NodeAttached: self._on_node_attached,
            NodeDetached: self._on_node_detached,
            TimePassed: self._on_time_passed,
        }

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one event at service time ``now`` (seconds, never going backwards) and say what is to be done."""
        effects: list[Effect] = []
        if now >= self._scheduler.wake_at:
            self._scheduler.advance(now, effects)
        self._handlers[type(event)](event, now, effects)
        return effects

    def next_deadline(self) -> float | None:
        """The service time at which TimePassed is due; None when nothing waits."""
        return self._scheduler.next_deadline()

    # Triggers.

    def _on_rejoin_requested(self, event: RejoinRequested, now: float, effects: list[Effect]) -> None:
        if event.request_id and self._replay(event.request_id, now, effects):
            return
        known = self._registry.nodes.get(event.node_id)
        if self._has_room([known] if known else [], known is None, event.store_ids, now):
            node = known or self._new_node(event.node_id, now)
            decisions = self._decide_node(node, event.store_ids, event.cause, event.request_id, now, effects)
            self._answer(event.request_id, event.cause, decisions, now, effects)
        else:
            effects.append(RefuseTrigger(self._scheduler.retry_in()))

    def _on_network_changed(self, event: NetworkChanged, now: float, effects: list[Effect]) -> None:
        if event.request_id and self._replay(event.request_id, now, effects):
            return
        cause = _CAUSES[event.kind]
        if cause is None:
            self._answer(event.request_id, None, (), now, effects)
            return
        decide = self._decide_named if event.node_ids else self._decide_host
        decisions = decide(event, cause, now, effects)
        if decisions is None:
            effects.append(RefuseTrigger(self._scheduler.retry_in()))
        else:
            self._answer(event.request_id, cause, decisions, now, effects)

    def _decide_host(
        self, event: NetworkChanged, cause: Cause, now: float, effects: list[Effect]
    ) -> Sequence[Decision] | None:
        """Decide for every node of a host; None when there is no room."""
        host_id, request_id = event.host_id, event.request_id
        if event.generation:
            earlier = self._generations.get((True, host_id, event.boot_id, event.generation), now)
            if earlier is not None:
                return self._duplicates(earlier, cause, request_id, now)
        host = self._registry.hosts.get(host_id)
        nodes = tuple(host.nodes.values()) if host else ()
        if not self._has_room(nodes, not nodes, (), now):
            return None
        host = host or self._registry.host(host_id)
        host.changed_at, host.cause = now, cause
        if nodes:
            decisions: list[Decision] = []
            for node in nodes:
                decisions += self._decide_node(node, (), cause, request_id, now, effects)
        else:
            decisions = [self._park_host(host, cause, request_id, now)]
        if event.generation:
            key = (True, host_id, event.boot_id, event.generation)
            self._generations.put(key, tuple(decisions[:REMEMBERED_DECISIONS]), now)
        return decisions

    def _decide_named(
        self, event: NetworkChanged, cause: Cause, now: float, effects: list[Effect]
    ) -> Sequence[Decision] | None:
        """Decide for the nodes that the watcher named; None when there is no room."""
        decisions: list[Decision] = []
        fresh: list[str] = []
        for node_id in event.node_ids:
            earlier = self._generations.get((False, node_id, event.boot_id, event.generation), now)
            if event.generation and earlier is not None:
                decisions += self._duplicates(earlier, cause, event.request_id, now)
            else:
                fresh.append(node_id)
        known = [node for node_id in fresh if (node := self._registry.nodes.get(node_id))]
        if not self._has_room(known, len(fresh) - len(known), (), now):
            return None
        for node_id in fresh:
            node = self._registry.nodes.get(node_id) or self._new_node(node_id, now)
            decided = self._decide_node(node, (), cause, event.request_id, now, effects)
            if event.generation:
                key = (False, node_id, event.boot_id, event.generation)
                self._generations.put(key, tuple(decided[:REMEMBERED_DECISIONS]), now)
            decisions += decided
        return decisions

    def _decide_node(
        self, node: Node, store_ids: Sequence[str], cause: Cause, request_id: str, now: float, effects: list[Effect]
    ) -> list[Decision]:
        """Decide for these stores of a node; none named: for all it has."""
        decide = self._scheduler.decide
        if not store_ids:
            if node.slots or node.registered:
                return [decide(slot, cause, request_id, now, effects) for slot in node.slots.values()]
            return [self._park_node(node, cause, request_id, now)]
        decisions: list[Decision] = []
        for store_id in store_ids:
            slot = node.slots.get(store_id)
            if slot is None and not node.registered and len(node.slots) < self._parameters.stores_per_node:
                slot = self._registry.slot(node, store_id)
            if slot is not None:
                decisions.append(decide(slot, cause, request_id, now, effects))
            else:
                rejoin = self._history.new(node.node_id, store_id, cause, now)
                decisions.append(self._scheduler.skip(rejoin, cause, Rule.UNKNOWN_STORE, request_id, now))
        return decisions

    def _park_node(self, node: Node, cause: Cause, request_id: str, now: float) -> Decision:
        if node.parked is None:
            node.parked = self._history.new(node.node_id, "", cause, now)
        return self._scheduler.park_unknown(node.parked, cause, Rule.UNKNOWN_NODE, request_id, now)

    def _park_host(self, host: Host, cause: Cause, request_id: str, now: float) -> Decision:
        if host.parked is None:
            host.parked = self._history.new("", "", cause, now)
            host.parked.host_id = host.host_id
            host.parked.detail = f"no node of host {host.host_id} is known"
        return self._scheduler.park_unknown(host.parked, cause, Rule.UNKNOWN_HOST, request_id, now)

    def _duplicates(self, earlier: Sequence[Decision], cause: Cause, request_id: str, now: float) -> Sequence[Decision]:
        """The decisions about a network event that was reported before: its rejoins stand."""
        decisions: list[Decision] = []
        for decision in earlier:
            rejoin = self._history.get(decision.rejoin_id)
            start_at = now
            if rejoin is not None:
                rejoin.add_trigger(cause, DecisionKind.DUPLICATE, Rule.KNOWN_GENERATION, now, request_id)
                if rejoin.outcome in (Outcome.WAITING, Outcome.PARKED) and rejoin.deadline is not None:
                    start_at = rejoin.deadline
            node_id, store_id, rejoin_id = decision.node_id, decision.store_id, decision.rejoin_id
            kind, rule = DecisionKind.DUPLICATE, Rule.KNOWN_GENERATION
            decisions.append(Decision(node_id, store_id, kind, rule, rejoin_id, start_at))
        return decisions

    def _replay(self, request_id: str, now: float, effects: list[Effect]) -> bool:
        """Give the recorded answer to a request id that is known."""
        recorded = self._requests.get(request_id, now)
        if recorded is None:
            return False
        effects.append(AnswerTrigger(*recorded, replayed=True))
        return True

    def _answer(
        self, request_id: str, cause: Cause | None, decisions: Sequence[Decision], now: float, effects: list[Effect]
    ) -> None:
        answer = tuple(decisions)
        if request_id:
            self._requests.put(request_id, (cause, answer[:REMEMBERED_DECISIONS]), now)
        effects.append(AnswerTrigger(cause, answer))

    def _has_room(self, nodes: Sequence[Node], new: int, store_ids: Sequence[str], now: float) -> bool:
        """Whether a trigger of these nodes, and of so many new ones, finds a place for all that it leads to."""
        free = self._scheduler.free()
        if not new and free >= self._registry.places:
            return True
        if new and not self._registry.has_room(new):
            return False
        wanted = new * max(1, len(store_ids)) + sum(len(store_ids) or len(node.slots) or 1 for node in nodes)
        if wanted <= free:
            return True
        slots = [node.slots.get(store_id) for node in nodes for store_id in store_ids or node.slots]
        return wanted - sum(slot is not None and self._scheduler.needs_no_place(slot, now) for slot in slots) <= free

    def _new_node(self, node_id: str, now: float) -> Node:
        node = self._registry.node(node_id, now)
        assert node is not None, "room was made sure of"
        return node

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
        causes: list[Cause] = []
        if node.parked is not None:
            causes.append(node.parked.cause)
            self._scheduler.split(node.parked, f"node {node.node_id} attached", now, effects)
            node.parked = None
        host = self._registry.hosts.get(node.host_id)
        if new_to_host and host is not None and host.changed_at + self._parameters.park_time > now:
            causes.append(host.cause)
            if host.parked is not None:
                self._scheduler.split(host.parked, f"node {node.node_id} attached", now, effects)
                host.parked = None
        for cause in causes:
            for slot in node.slots.values():
                self._scheduler.decide(slot, cause, "", now, effects)
        return len(node.slots) if causes else 0

    def _on_node_detached(self, event: NodeDetached, now: float, effects: list[Effect]) -> None:
        node = self._registry.nodes.get(event.node_id)
        if node is not None and node.attached and node.session_id == event.session_id:
            self._scheduler.detach(node, now, effects)
            self._registry.detach(node, now)

    def _on_rejoin_finished(self, event: RejoinFinished, now: float, effects: list[Effect]) -> None:
        self._scheduler.finish(event, now, effects)

    # Liveness.

    def _on_liveness_reported(self, event: LivenessReported, now: float, effects: list[Effect]) -> None:
        slot = self._reporting_slot(event.node_id, event.store_id, now)
        if slot is None:
            return
        slot.reported_at = now
        slot.neighbors = {neighbor.peer_id: neighbor.up_at for neighbor in event.neighbors}
        for neighbor in event.neighbors:
            self._hear(slot, neighbor.peer_id, neighbor.up_at)
        for peer in event.peers:
            self._hear(slot, peer.peer_id, peer.heard_at)
        self._hear(slot, event.node_id, now)
        if slot.running is None:
            return
        for neighbor in event.neighbors:
            self._scheduler.prove(slot, neighbor.up_at, f"neighbour {neighbor.peer_id}", now, effects)
        for peer in event.peers:
            if peer.heard_at is not None:
                self._scheduler.prove(slot, peer.heard_at, f"a message of {peer.peer_id}", now, effects)

    def _on_neighbor_changed(self, event: NeighborChanged, now: float, effects: list[Effect]) -> None:
        slot = self._reporting_slot(event.node_id, event.store_id, now)
        if slot is None:
            return
        if event.up:
            slot.neighbors[event.peer_id] = event.changed_at
            self._hear(slot, event.peer_id, event.changed_at)
            self._scheduler.prove(slot, event.changed_at, f"neighbour {event.peer_id}", now, effects)
        else:
            slot.neighbors.pop(event.peer_id, None)

    def _reporting_slot(self, node_id: str, store_id: str, now: float) -> Slot | None:
        """The slot that a report concerns, made known; None when the books are full."""
        node = self._registry.node(node_id, now)
        if node is None or (store_id not in node.slots and len(node.slots) >= self._parameters.stores_per_node):
            return None
        return self._registry.slot(node, store_id)

    def _hear(self, slot: Slot, peer_id: str, heard_at: float | None) -> None:
        sightings = slot.store.sightings
        before = len(sightings)
        sightings.hear(peer_id, slot.node.node_id, heard_at)
        if len(sightings) > self._parameters.peers_per_store:
            sightings.forget(self._parameters.peers_per_store, float("-inf"))
        self._registry.peers += len(sightings) - before
        if heard_at is not None and peer_id in slot.neighbors:
            slot.neighbors[peer_id] = max(slot.neighbors[peer_id], heard_at)

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
            peers=registry.peers,
            queued=scheduler.waiting,
            parked=scheduler.parked,
            running=scheduler.running,
        )

    def rejoins(
        self,
        *,
        node_id: str = "",
        store_id: str = "",
        cause: Cause | None = None,
        outcome: Outcome | None = None,
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
                    peer_count=len(store.sightings),
                    rejoin_at=store.rejoin_at,
                )

    def peers(self, store_id: str) -> Iterator[PeerRecord]:
        """Peers of a store by id; none when the store is not known."""
        store = self._registry.stores.get(store_id)
        return store.sightings.records() if store else iter(())


def _store_node(slot: Slot) -> StoreNode:
    node = slot.node
    return StoreNode(node.node_id, node.host_id, node.attached, len(slot.neighbors), slot.reported_at)

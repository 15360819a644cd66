"""Whether what an event names fits the memory budget: asked once, before anything changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

from gossipcontrol.server.core.deciding.registry import Node, Registry, Slot
from gossipcontrol.server.core.event import (
    ForgetRequested,
    LivenessReported,
    NeighborChanged,
    NetworkChanged,
    NodeAttached,
    RejoinRequested,
)
from gossipcontrol.server.core.memory import (
    ANSWER,
    DECISION,
    HOST,
    MONITOR,
    NAME,
    NODE,
    REJOIN,
    SLOT,
    STORE,
    STREAM,
    TRIGGER,
    MemoryBudget,
)

STRANGER_SHARE = 0.05
"""Of the budget: what nodes that never registered may name."""
REPORT_SHARE = 0.9
"""Of the budget: beyond it reports add no names, so that registrations and triggers have room."""
KNOWLEDGE_SHARE = 0.5
"""Of the budget: what intentions may take."""
QUIET = 60.0
"""Seconds without a sign of life after which a stranger makes room for another."""
QUIET_NODE = 3600.0
"""Seconds without an agent and a report after which a known node makes room for another."""
PLACE = REJOIN + TRIGGER + DECISION
"""Bytes of a decision with a rejoin of its own."""
CHARGED = 1000
"""Most decisions of a trigger that the budget is asked for at once; with the slices that follow it is counted again."""
EVICTED = 1000
"""Most nodes forgotten for one event."""
FEW_NEIGHBORS = 16
"""Neighbours of a report that are taken over in any case: an active view of iroh-gossip holds 5."""
NO_ROOM = "the memory budget (limits.memory) is used up"
NO_ROOM_FOR_STRANGERS = "what nodes that never registered may take of the memory budget (limits.memory) is used up"
EVICTION = "the memory budget is needed for others"
LEAST_RETRY = 1.0
UNKNOWN_RETRY = 60.0
"""Seconds until a retry where no end of what takes the room is known."""

Asking = RejoinRequested | NetworkChanged | NodeAttached | LivenessReported | NeighborChanged


class NoRoom(NamedTuple):
    """What an event names does not fit."""

    reason: str
    retry_in: float
    """Seconds until something that takes the room may go."""


class Room:
    """Asks the budget; strangers are forgotten first, then nodes that are long without an agent."""

    def __init__(self, budget: MemoryBudget, registry: Registry) -> None:
        self._budget = budget
        self._registry = registry

    def ask(self, event: Asking, now: float) -> tuple[list[ForgetRequested], NoRoom | None]:
        """Who is to be forgotten for the event, and why it is refused, if it is."""
        if not self._budget.limit:
            return [], None
        is_strange = self._is_strange(event)
        wanted = self._wanted(event, is_strange)
        if not wanted:
            return [], None
        if is_strange:
            return self._ask_for_stranger(event, wanted, now)
        over = self._budget.take(wanted)
        if wanted > CHARGED * PLACE:
            self._budget.recount()  # other slices follow
        evicted: list[ForgetRequested] = []
        if over > 0:
            evicted, over = self._evict(over, self._evictable(event, now))
        # Reports of known nodes are never refused: ``trim`` leaves out what does not fit.
        if over <= 0 or isinstance(event, (LivenessReported, NeighborChanged)):
            return evicted, None
        return [], NoRoom(NO_ROOM, self._retry_in(QUIET_NODE, now))  # nobody goes in vain

    def strange_cost(self, event: Asking) -> int:
        """The bytes that an event costs at most, if nodes that never registered are what it names; else 0."""
        return self._wanted(event, True) if self._budget.limit and self._is_strange(event) else 0

    def trim(self, event: LivenessReported) -> LivenessReported:
        """A report of a known node without the neighbours that have no room."""
        if len(event.neighbors) <= FEW_NEIGHBORS or not self.is_short:
            return event
        slot = self._registry.find_slot(event.node_id, event.store_id)
        most = max(FEW_NEIGHBORS, len(slot.neighbors) if slot is not None else 0)
        return replace(event, neighbors=dict(islice(event.neighbors.items(), most)))

    @property
    def is_short(self) -> bool:
        """Whether reports may add no further names."""
        return bool(self._budget.limit) and self._budget.is_above(REPORT_SHARE * self._budget.limit)

    def strange_bytes(self) -> int:
        """What nodes that never registered named."""
        one = self._registry
        return (
            len(one.strangers) * NODE
            + one.strange_slots * SLOT
            + one.strange_stores * (STORE + MONITOR)
            + one.strange_names * NAME
            + one.stranger_places * (REJOIN + TRIGGER)
        )

    # What an event may cost, at most.

    def _is_strange(self, event: Asking) -> bool:
        if isinstance(event, NetworkChanged):
            if event.node_ids:
                return any(self._unknown(node_id) for node_id in event.node_ids)
            return not self._registry.nodes_of(event.host_id)
        return not isinstance(event, NodeAttached) and self._unknown(event.node_id)

    def _unknown(self, node_id: str) -> bool:
        node = self._registry.nodes.get(node_id)
        return node is None or not node.registered

    def _wanted(self, event: Asking, is_strange: bool) -> int:
        """The bytes that an event may fill, given whether nodes that never registered are what it names."""
        if isinstance(event, RejoinRequested):
            places = len(event.store_ids) or len(self._registry.store_ids(event.node_id)) or 1
            slots = self._slots(event.node_id, event.store_ids) if is_strange else 0
            return slots + ANSWER + places * PLACE
        if isinstance(event, NetworkChanged):
            return self._wanted_by_change(event)
        if isinstance(event, NodeAttached):
            return STREAM + HOST + self._slots(event.node_id, event.store_ids)
        if isinstance(event, NeighborChanged):
            return self._slots(event.node_id, (event.store_id,)) + NAME
        slot = self._registry.find_slot(event.node_id, event.store_id)
        slots = self._slots(event.node_id, (event.store_id,)) if slot is None else 0
        return slots + self._new_names(event, slot, is_strange) * NAME

    def _wanted_by_change(self, event: NetworkChanged) -> int:
        registry = self._registry
        nodes = map(registry.nodes.get, event.node_ids) if event.node_ids else registry.nodes_of(event.host_id)
        new = places = 0
        for node in nodes or (None,):  # of a host without nodes as much as of one unknown node
            new += node is None
            places += (len(node.slots) if node is not None else 0) or 1
        return new * NODE + HOST + ANSWER + min(places, CHARGED) * PLACE

    def _slots(self, node_id: str, store_ids: tuple[str, ...]) -> int:
        """The bytes of a node's stores that are new."""
        registry = self._registry
        node = registry.nodes.get(node_id)
        known = node.slots if node is not None else ()
        slots = stores = 0
        for store_id in store_ids:
            if store_id not in known:
                slots += 1
                stores += store_id not in registry.stores
        return NODE * (node is None) + SLOT * slots + (STORE + MONITOR) * stores

    def _new_names(self, event: LivenessReported, slot: Slot | None, is_strange: bool) -> int:
        """Names that neither the store nor the node has yet; of a known node the least that it may be."""
        neighbors = max(0, len(event.neighbors) - (len(slot.neighbors) if slot is not None else 0))
        liveness = self._registry.liveness
        if is_strange:
            return neighbors + liveness.count_unknown(event.store_id, event.heard.keys() | event.neighbors.keys())
        known = liveness.peer_count(event.store_id)
        if len(event.heard) + len(event.neighbors) <= known:
            return neighbors
        return neighbors + max(0, len(event.heard.keys() | event.neighbors.keys()) - known)

    # Who goes.

    def _ask_for_stranger(self, event: Asking, wanted: int, now: float) -> tuple[list[ForgetRequested], NoRoom | None]:
        limit = self._budget.limit
        self._budget.recount()
        over = self.strange_bytes() + wanted - int(STRANGER_SHARE * limit)
        over = max(over, self._budget.used() + wanted - int(REPORT_SHARE * limit))
        if over <= 0:
            return [], None
        kept = _named_by(event)
        quiet = (node for node in self._quiet_strangers(now) if node.node_id not in kept)
        evicted, over = self._evict(over, quiet)
        if over > 0:
            return [], NoRoom(NO_ROOM_FOR_STRANGERS, self._retry_in(QUIET, now))
        return evicted, None

    def _quiet_strangers(self, now: float) -> Iterator[Node]:
        for node in islice(self._registry.strangers.values(), EVICTED):
            seen_at = self._registry.idle_since(node.node_id)
            if seen_at is not None and seen_at + QUIET <= now:
                yield node

    def _evictable(self, event: Asking, now: float) -> Iterator[Node]:
        """Strangers first, whatever waits for them; then known nodes that have long been without an agent."""
        kept = _named_by(event)
        registry = self._registry
        for node in islice(registry.strangers.values(), EVICTED):
            if node.node_id not in kept:
                yield node
        for node_id in islice(registry.idle_ids(), EVICTED):
            seen_at = registry.idle_since(node_id)
            is_quiet = seen_at is not None and seen_at + QUIET_NODE <= now
            if is_quiet and node_id not in kept and node_id not in registry.strangers:
                yield registry.nodes[node_id]

    def _evict(self, over: int, nodes: Iterator[Node]) -> tuple[list[ForgetRequested], int]:
        evicted: list[ForgetRequested] = []
        for node in nodes:
            if over <= 0 or len(evicted) == EVICTED:
                break
            evicted.append(ForgetRequested(node.node_id, why=EVICTION))
            stores = sum(slot.store.is_strange and len(slot.store.slots) == 1 for slot in node.slots.values())
            over -= NODE + SLOT * len(node.slots) + (STORE + MONITOR) * stores + NAME * node.names
            over -= node.parked_count * (REJOIN + TRIGGER)
        return evicted, over

    def _retry_in(self, quiet: float, now: float) -> float:
        """Seconds until the next node is quiet enough to go, or a rejoin that is parked for it expires."""
        registry = self._registry
        node_ids = registry.strangers if quiet == QUIET else registry.idle_ids()
        for node_id in islice(node_ids, EVICTED):
            seen_at = registry.idle_since(node_id)
            until = registry.parked_until(registry.nodes[node_id]) if seen_at is None else seen_at + quiet
            if until is not None and until > now:
                return max(LEAST_RETRY, until - now)
        return UNKNOWN_RETRY


def _named_by(event: Asking) -> frozenset[str]:
    return frozenset(event.node_ids) if isinstance(event, NetworkChanged) else frozenset((event.node_id,))

"""What goes before its time: nodes that age out, what operators have forgotten, rejoins that they cancel."""

from __future__ import annotations

from collections import deque

from gossipcontrol.server.core.deciding.history import History
from gossipcontrol.server.core.deciding.lifecycle import TRANSITIONS, Move
from gossipcontrol.server.core.deciding.output import Output
from gossipcontrol.server.core.deciding.registry import Node, Registry, Slot
from gossipcontrol.server.core.deciding.scheduler import Scheduler
from gossipcontrol.server.core.effect import ForgetSlots, RefuseState, RefuseUnknown
from gossipcontrol.server.core.event import NEVER, CancelRequested, ForgetRequested

GRACE = 3600.0
"""Seconds after a start within which nothing ages out: reports of nodes without agents do not survive a restart."""
LOOK_EVERY = 60.0
"""Most seconds between two looks for nodes that have aged out; a tenth of their age, if that is less."""
LOOK = 1000
"""Most nodes and stores of nodes in one look; the rest has its turn in the next."""
CANCELLED = "an operator cancelled it"


class Clearance:
    """Forgets and cancels. Age is read from what is not logged, so what aged out is forgotten by an event that is."""

    def __init__(
        self, idle_age: float, registry: Registry, history: History, scheduler: Scheduler, output: Output
    ) -> None:
        self._registry = registry
        self._history = history
        self._scheduler = scheduler
        self._output = output
        self._idle_age = idle_age
        self._look_every = min(LOOK_EVERY, idle_age / 10)
        self._look_at = self._look_every
        self._started_at = NEVER
        self._left: deque[str] = deque()
        """Nodes of this round that are yet to be looked at."""

    def on_started(self, now: float) -> None:
        """A new run: nodes without agents have time to report first."""
        self._started_at = now
        self._look_at = now + self._look_every

    def next_deadline(self) -> float | None:
        """When nodes are looked at next; None while none is idle."""
        return self._look_at if self._left or self._registry.has_idle else None

    def aged_out(self, now: float) -> list[ForgetRequested]:
        """What has aged out among the nodes that are due to be looked at: to be handled as events."""
        if now < self._look_at:
            return []
        if not self._left:
            self._left.extend(self._registry.idle_ids())
        self._look_at = now + self._look_every
        found: list[ForgetRequested] = []
        looked = 0
        while self._left and looked < LOOK:
            node_id = self._left.popleft()
            seen_at = self._registry.idle_since(node_id)
            if seen_at is None:
                continue
            looked += 1 + len(self._registry.store_ids(node_id))
            has_had_time = seen_at >= self._started_at or self._started_at + GRACE <= now
            if has_had_time and seen_at + self._idle_age <= now:
                found.append(ForgetRequested(node_id, why=f"nobody heard of it for {self._idle_age:g} s"))
        if self._left:
            self._look_at = now + min(1.0, self._look_every)
        return found

    def on_forget(self, event: ForgetRequested, now: float) -> None:
        """Forget a node, a store, or a store of a node; refused where an agent is attached with it."""
        registry = self._registry
        node = registry.nodes.get(event.node_id)
        if event.node_id and node is None:
            self._output.refuse(RefuseUnknown(f"node {event.node_id}"))
        elif event.store_id:
            self._forget_store(event, now)
        elif node is not None and node.attached:
            self._output.refuse(RefuseState(f"the agent of node {node.node_id} is attached: stop it first"))
        elif node is not None:
            slots = len(node.slots)
            self._forget_node(node, event.why, now)
            self._output.emit(ForgetSlots(1, slots, event.why))

    def _forget_store(self, event: ForgetRequested, now: float) -> None:
        store = self._registry.stores.get(event.store_id)
        slots = list(store.slots.values()) if store else []
        if event.node_id:
            slots = [slot for slot in slots if slot.node.node_id == event.node_id]
        attached = [slot.node.node_id for slot in slots if slot.node.attached]
        if not slots:
            of_node = f" of node {event.node_id}" if event.node_id else ""
            self._output.refuse(RefuseUnknown(f"store {event.store_id}{of_node}"))
        elif attached:
            more = f" and {len(attached) - 1} more" if len(attached) > 1 else ""
            self._output.refuse(
                RefuseState(f"node {attached[0]}{more} is attached with it: have it drop the store first")
            )
        else:
            for slot in slots:
                self._forget_slot(slot, event.why, now)
            self._output.emit(ForgetSlots(0, len(slots), event.why))

    def _forget_node(self, node: Node, why: str, now: float) -> None:
        for slot in list(node.slots.values()):
            self._forget_slot(slot, why, now)
        if node.parked is not None:
            self._scheduler.lifecycle.end(node.parked, Move.DROP, why, now)
        self._registry.forget(node)

    def _forget_slot(self, slot: Slot, why: str, now: float) -> None:
        self._scheduler.drop(slot, why, now)
        self._registry.drop_slot(slot)

    def on_cancel(self, event: CancelRequested, now: float) -> None:
        """End a rejoin that has not ended. What its agent has begun it carries out; nothing follows on it."""
        rejoin = self._history.get(event.rejoin_id)
        if rejoin is None:
            self._output.refuse(RefuseUnknown(f"rejoin {event.rejoin_id}"))
        elif rejoin.state not in TRANSITIONS:
            self._output.refuse(RefuseState(f"rejoin {rejoin.rejoin_id} has ended as {rejoin.outcome.name}"))
        else:
            move = Move.DROP if Move.DROP in TRANSITIONS[rejoin.state] else Move.GIVE_UP
            self._scheduler.lifecycle.end(rejoin, move, CANCELLED, now)

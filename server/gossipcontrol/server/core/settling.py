"""Presence after the owner changed: it is soft state and begins empty, so for a while it says too little."""

from __future__ import annotations

from collections import deque

from gossipcontrol.server.core.deciding.registry import Registry, Slot
from gossipcontrol.server.core.event import NEVER


class Settling:
    """A store is settled once every node with an agent has reported it, or after one report interval."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._began_at = self._ends_at = NEVER
        self._missing: dict[str, deque[Slot]] = {}
        """By store that somebody asked about: its nodes, but those seen to have reported since."""

    def begin(self, now: float, duration: float) -> None:
        """Another owner decided until now."""
        self._began_at, self._ends_at = now, now + duration
        self._missing.clear()

    def is_settling(self, store_id: str, now: float) -> bool:
        """Whether nodes have yet to report this store, so that who is not heard of may be online."""
        if now >= self._ends_at:
            self._missing.clear()
            return False
        store = self._registry.stores.get(store_id)
        if store is None:
            return False
        missing = self._missing.get(store_id)
        if missing is None:
            missing = self._missing[store_id] = deque(store.slots.values())
        while missing and self._is_done(missing[0]):
            missing.popleft()
        return bool(missing)

    def left(self, now: float) -> float:
        """Seconds until all stores count as settled."""
        return max(0.0, self._ends_at - now)

    def _is_done(self, slot: Slot) -> bool:
        """Whether this node has said what it hears, or is known to be away; one without an agent may yet report."""
        is_gone = slot.store.slots.get(slot.node.node_id) is not slot
        has_reported = slot.reported_at is not None and slot.reported_at >= self._began_at
        return has_reported or is_gone or (slot.node.registered and not slot.node.attached)

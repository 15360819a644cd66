"""Liveness and diagnosis alone, for their unit tests: a roster stands in for the registry of deciding."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from gossipcontrol.server.core.decision import Capability
from gossipcontrol.server.core.diagnosis.diagnosis import Diagnosis
from gossipcontrol.server.core.diagnosis.store_monitor import PresenceAccess
from gossipcontrol.server.core.event import LivenessEvent, LivenessReported, NodeAttached, NodeDetached
from gossipcontrol.server.core.finding import Finding
from gossipcontrol.server.core.liveness import Liveness
from gossipcontrol.server.core.presence.parameter import LivenessParameters


@dataclass
class Entry:
    """One node."""

    session_id: str = ""
    can_sync: bool = False
    store_ids: dict[str, None] = field(default_factory=dict[str, None])


class FollowingRoster:
    """Follows the events as the registry does."""

    def __init__(self) -> None:
        self._nodes: dict[str, Entry] = {}

    def can_sync(self, node_id: str) -> bool | None:
        entry = self._nodes.get(node_id)
        return entry.can_sync if entry is not None and entry.session_id else None

    def store_ids(self, node_id: str) -> Collection[str]:
        entry = self._nodes.get(node_id)
        return list(entry.store_ids) if entry is not None else ()

    def is_stale(self, event: LivenessEvent) -> bool:
        """Whether a stream ends that is not, or no longer, its node's."""
        if not isinstance(event, NodeDetached):
            return False
        entry = self._nodes.get(event.node_id)
        return entry is None or entry.session_id != event.session_id

    def follow(self, event: LivenessEvent) -> list[str]:
        """Take over what an event says; returns the stores that its node has no longer."""
        if isinstance(event, LivenessReported):
            self._nodes.setdefault(event.node_id, Entry()).store_ids[event.store_id] = None
        elif isinstance(event, NodeDetached):
            self._nodes[event.node_id].session_id = ""
        elif isinstance(event, NodeAttached):
            before = self._nodes.get(event.node_id, Entry())
            can_sync = Capability.SYNC_WITH_PEER in event.capabilities
            self._nodes[event.node_id] = Entry(event.session_id, can_sync, dict.fromkeys(event.store_ids))
            return [store_id for store_id in before.store_ids if store_id not in event.store_ids]
        return []


class LoneLiveness(Liveness):
    """Liveness without the rest of the core."""

    def __init__(self, parameters: LivenessParameters | None = None) -> None:
        self._following = FollowingRoster()
        super().__init__(parameters, self._following)

    def handle(self, event: LivenessEvent, now: float) -> list[Finding]:
        if self._following.is_stale(event):
            return []
        for store_id in self._following.follow(event):
            self.leave_store(store_id, event.node_id)  # type: ignore[union-attr] # only an attachment leaves stores
        return super().handle(event, now)


class LoneDiagnosis(Diagnosis):
    """Diagnosis without the rest of the core."""

    def __init__(self, parameters: LivenessParameters, presence: PresenceAccess) -> None:
        self._following = FollowingRoster()
        super().__init__(parameters, presence, self._following)

    def handle(self, event: LivenessEvent, now: float) -> list[Finding]:
        if self._following.is_stale(event):
            return []
        for store_id in self._following.follow(event):
            self.leave_store(store_id, event.node_id)  # type: ignore[union-attr] # only an attachment leaves stores
        return super().handle(event, now)

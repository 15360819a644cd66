"""Liveness alone, with an injected clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from gossipcontrol.server.core.event import (
    NEVER,
    LivenessEvent,
    LivenessReported,
    NodeAttached,
    NodeDetached,
    TimePassed,
)
from gossipcontrol.server.core.finding import Finding
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.presence.record import PeerState

from tests.kit.roster import LoneLiveness


@dataclass
class Lab:
    """Drives a Liveness through time: deadlines are served exactly when they are due."""

    parameters: LivenessParameters = field(default_factory=LivenessParameters)
    now: float = 1000.0
    findings: list[Finding] = field(default_factory=list[Finding])

    def __post_init__(self) -> None:
        self.liveness = LoneLiveness(self.parameters)

    def handle(self, event: LivenessEvent) -> list[Finding]:
        """Handle an event now."""
        found = self.liveness.handle(event, self.now)
        self.findings += found
        return found

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        while (deadline := self.liveness.next_deadline()) is not None and deadline <= until:
            self.now = max(self.now, deadline)
            self.handle(TimePassed())
        self.now = until

    def report(
        self,
        node_id: str = "n",
        heard: dict[str, float | None] | None = None,
        *,
        neighbors: Iterable[tuple[str, float]] = (),
        asleep: bool = False,
        store_id: str = "a",
    ) -> list[Finding]:
        """A node reports the ages of what it heard of peers, and for how long its neighbours have been up."""
        at = {peer_id: NEVER if age is None else self.now - age for peer_id, age in (heard or {}).items()}
        up = {peer_id: self.now - age for peer_id, age in neighbors}
        return self.handle(LivenessReported(node_id, store_id, at, up, going_to_sleep=asleep))

    def attach(self, node_id: str = "n", *store_ids: str, session_id: str = "s") -> list[Finding]:
        """An agent attaches."""
        return self.handle(NodeAttached(node_id, session_id, store_ids or ("a",)))

    def detach(self, node_id: str = "n", *, left: bool = False, session_id: str = "s") -> list[Finding]:
        """An agent's stream ends."""
        return self.handle(NodeDetached(node_id, session_id, left))

    def converse(self, seconds: float, peer_id: str = "p", every: float = 1.0, observer_id: str = "n") -> None:
        """A peer sends a message every ``every`` seconds, and an observer reports every two seconds."""
        until, heard_at = self.now + seconds, self.now
        while self.now < until:
            self.advance(2.0)
            while heard_at + every <= self.now:
                heard_at += every
            self.report(observer_id, {peer_id: self.now - heard_at})

    def watch(self, seconds: float, peer_id: str = "p", *, reporter: str = "n", age: float = 0.0) -> float | None:
        """An observer reports a silent peer every two seconds; returns after how long it is no longer ONLINE."""
        began_at = self.now
        while self.now < began_at + seconds:
            self.advance(2.0)
            self.report(reporter, {peer_id: self.now - began_at + age})
            if self.state(peer_id) is not PeerState.ONLINE:
                return self.now - began_at + age
        return None

    def state(self, peer_id: str = "p", store_id: str = "a") -> PeerState | None:
        """The presence of a peer."""
        return next((one.state for one in self.liveness.peers(store_id) if one.peer_id == peer_id), None)

"""A fleet of agents and the core with one server's capacity between them, in virtual time: feedback closes here."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from gossipcontrol.client.retry import reconnect_wait
from gossipcontrol.server.core.core import Core, CoreParameters
from gossipcontrol.server.core.decision import Capability
from gossipcontrol.server.core.effect import StartRejoin
from gossipcontrol.server.core.event import (
    Event,
    LivenessReported,
    NodeAttached,
    NodeDetached,
    SyncFinished,
    TimePassed,
)
from gossipcontrol.server.core.finding import StartSync
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.presence.record import PeerState
from gossipcontrol.sim.timeline import Timeline

STORE = "notes"
REACH = 3
"""Neighbours on each side of a node in the ring."""
SYNC_TIME = 0.05
"""Seconds that a direct sync takes."""
AWAY = (PeerState.SUSPECT, PeerState.OFFLINE)


@dataclass(slots=True, eq=False)
class LoopAgent:
    """One node's agent: one report under way at most."""

    node_id: str
    neighbors: tuple[str, ...]
    session_id: str = ""
    streams: int = 0
    failures: int = 0
    reported_at: float = 0.0


@dataclass
class ClosedLoop:
    """``nodes`` agents, and a service whose every event takes ``cost`` seconds; it may stand still, or be cut off."""

    nodes: int
    cost: float
    seed: int = 1
    can_sync: bool = False
    report_rate: float = LivenessParameters().report_rate
    """Reports per second that the service wants at most."""
    offered: Counter[int] = field(default_factory=Counter[int])
    """By second, how many events arrived."""
    asked: Counter[int] = field(default_factory=Counter[int])
    """By second, how many syncs the core asked for."""
    starts: list[float] = field(default_factory=list[float])
    """When rejoins started."""
    away: Counter[PeerState] = field(default_factory=Counter[PeerState])
    """The highest number of peers that were in a state in which nobody should be."""

    def __post_init__(self) -> None:
        liveness = LivenessParameters(report_rate=self.report_rate)
        self.core = Core(CoreParameters(liveness=liveness), id_prefix="loop")
        self.now = 0.0
        self.syncs_work = True
        self._chance = random.Random(self.seed)
        self._timeline = Timeline()
        self._waiting: deque[tuple[Event, Callable[[], None]]] = deque()
        self._busy_until = 0.0
        self._stalled = False
        self._cut = False
        names = [f"n{number:04}" for number in range(self.nodes)]
        steps = [step for step in range(-REACH, REACH + 1) if step]
        self.agents = [
            LoopAgent(name, tuple(names[(index + step) % self.nodes] for step in steps))
            for index, name in enumerate(names)
        ]
        for agent in self.agents:
            self._timeline.plan(self._chance.uniform(0.0, 2.0), self._attach, agent)

    @property
    def backlog(self) -> int:
        """Events that have arrived and were not handled yet."""
        return len(self._waiting)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        while True:
            due, ready = self._timeline.next_at(), self._ready_at()
            deadline = None if self._stalled else self.core.next_deadline()
            at = min(one for one in (due, ready, deadline, until) if one is not None)
            if at >= until:
                break
            self.now = self._timeline.now = max(self.now, at)
            if deadline is not None and deadline <= self.now and self.now >= self._busy_until:
                self._handle(TimePassed())
            elif ready is not None and ready <= self.now:
                event, then = self._waiting.popleft()
                self._busy_until = self.now + self.cost
                self._handle(event)
                then()
            elif due is not None and due <= self.now:
                self._timeline.step()
            else:  # a deadline that fell due while an event was handled
                self.now = self._timeline.now = self._busy_until
        self.now = self._timeline.now = until

    def stall(self, seconds: float) -> None:
        """The service stands still; agents wait for its answers."""
        self._stalled = True
        self.run(seconds)
        self._stalled, self._busy_until = False, self.now

    def cut(self, seconds: float) -> None:
        """Every stream ends, and nobody reaches the service for a while."""
        self._cut = True
        self._waiting.clear()
        for agent in self.agents:
            if agent.session_id:
                self._handle(NodeDetached(agent.node_id, agent.session_id))
                agent.session_id = ""
                self._timeline.plan(0.0, self._attach, agent)
        self.run(seconds)
        self._cut = False

    def between(self, counts: Counter[int], first: float, last: float) -> float:
        """How many there were per second."""
        return sum(counts[second] for second in range(int(first), int(last))) / (int(last) - int(first))

    def _ready_at(self) -> float | None:
        return self._busy_until if self._waiting and not self._stalled else None

    def _handle(self, event: Event) -> None:
        turn = self.core.handle(event, self.now)
        self.starts += [self.now for effect in turn.effects if isinstance(effect, StartRejoin)]
        for finding in turn.findings:
            if isinstance(finding, StartSync):
                self.asked[int(self.now)] += 1
                done = SyncFinished(finding.node_id, STORE, finding.peer_id, self.syncs_work, "")
                self._timeline.plan(SYNC_TIME, self._arrive, done, _nothing)
        counts = self.core.liveness.counts().peers
        for state in AWAY:
            self.away[state] = max(self.away[state], counts.get(state, 0))

    def _arrive(self, event: Event, then: Callable[[], None]) -> None:
        self.offered[int(self.now)] += 1
        self._waiting.append((event, then))

    def _attach(self, agent: LoopAgent) -> None:
        if self._cut:
            self.offered[int(self.now)] += 1
            agent.failures += 1
            self._timeline.plan(reconnect_wait(agent.failures), self._attach, agent)
            return
        agent.streams += 1
        agent.session_id = f"{agent.node_id}-{agent.streams}"
        able = frozenset({Capability.SYNC_WITH_PEER}) if self.can_sync else frozenset[Capability]()
        event = NodeAttached(agent.node_id, agent.session_id, (STORE,), capabilities=able)
        agent.failures = 0
        self._arrive(event, lambda: self._report(agent, agent.session_id))

    def _report(self, agent: LoopAgent, session_id: str) -> None:
        if self._cut or agent.session_id != session_id:
            return
        agent.reported_at = self.now
        heard = dict.fromkeys(agent.neighbors, self.now - 0.3)
        up = dict.fromkeys(agent.neighbors, 0.0)
        event = LivenessReported(agent.node_id, STORE, heard, up, direct=() if self.can_sync else agent.neighbors)
        self._arrive(event, lambda: self._answered(agent, session_id))

    def _answered(self, agent: LoopAgent, session_id: str) -> None:
        """The next report leaves once its interval is over, or at once."""
        due_at = agent.reported_at + self.core.liveness.next_report(self.now)
        self._timeline.plan(max(0.0, due_at - self.now), self._report, agent, session_id)


def _nothing() -> None:
    """What follows the result of a sync: nothing."""

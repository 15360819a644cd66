"""A seeded discrete-event simulation around the real core: time, the service, its callers, nodes and their agents."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from gossipcontrol.server.core.decision import Capability
from gossipcontrol.server.core.effect import StartRejoin
from gossipcontrol.server.core.event import (
    Event,
    LivenessReported,
    NeighborChanged,
    NetworkChanged,
    NodeAttached,
    NodeDetached,
    RejoinFinished,
    RejoinRequested,
    ServiceStarted,
    SyncFinished,
    TimePassed,
)
from gossipcontrol.server.core.finding import CoreFinding, StartSync
from gossipcontrol.server.runtime.clock import ServiceClock
from gossipcontrol.sim.composition import breaches
from gossipcontrol.sim.overlay import Overlay
from gossipcontrol.sim.record import Recorder, Taken
from gossipcontrol.sim.scenario import Scenario, Step
from gossipcontrol.sim.timeline import Timeline

SYNC_TIME = 0.05
"""Seconds that a direct sync takes."""
DIAL_TIMEOUT = 1.5
"""Seconds after which an agent's dial fails."""


@dataclass(slots=True, eq=False)
class SimNode:
    """A node with its agent and its host's watcher."""

    node_id: str
    host_id: str
    store_ids: tuple[str, ...]
    session_id: str = ""
    sessions: int = 0
    cut: bool = False
    away: bool = False
    side: int = 0
    up_at: dict[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])


class Simulation:
    """One run of a scenario with one seed. Everything random comes from one generator."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario = scenario
        self.losses: list[str] = []
        """What a restart did not restore, and what is wrong between the parts of the core."""
        self.failing = 0.1
        """Share of the rejoins that fail."""
        self._chance = random.Random(seed)
        self._timeline = Timeline()
        self._wall = 1e6
        self._serving = True
        self._numbers = itertools.count()
        self._recorder = Recorder(scenario.parameters, liveness=scenario.liveness)
        self._time = self._new_clock(0.0)
        self._answered: set[tuple[str, int]] = set()
        self._overlays = {
            f"s{number}": Overlay(self._chance, self._listener(f"s{number}")) for number in range(scenario.stores)
        }
        self.nodes = {node.node_id: node for node in self._make_nodes()}

    def run(self) -> list[Taken]:
        """Run the scenario; returns every event that the core handled."""
        scenario = self.scenario
        for node in self.nodes.values():
            self._at(self._chance.random(), self._attach, node)
            if node.away:
                self._at(scenario.duration / 2 + self._chance.random() * 5, self._come, node)
            self._at(self._chance.random() * scenario.report_interval, self._report, node)
        for step in scenario.steps:
            for number in range(step.times):
                self._at(step.at + number * step.every, self._happen, step)
        while self._timeline.next_at() is not None and self._now <= scenario.duration:
            self._advance()
        return self.taken

    def _happen(self, step: Step) -> None:
        """Let a step of the scenario happen."""
        raise NotImplementedError

    @property
    def taken(self) -> list[Taken]:
        """Every event that the core has handled."""
        return self._recorder.taken

    def finish(self, rest: float) -> list[Taken]:
        """Serve the deadlines of ``rest`` further seconds; returns every event."""
        self._recorder.serve((self.taken[-1].at if self.taken else 0.0) + rest)
        return self.taken

    # Time.

    @property
    def _now(self) -> float:
        return self._timeline.now

    def _at(self, delay: float, what: Callable[..., None], *details: Any) -> None:
        self._timeline.plan(delay, what, *details)

    def _later(self, what: Callable[..., None], *details: Any) -> None:
        self._at(self._chance.uniform(0.001, self.scenario.delay), what, *details)

    def _advance(self) -> None:
        deadline = self._recorder.core.next_deadline() if self._ticks() else None
        due_in = None if deadline is None else max(0.0, deadline - self._time.now())
        next_at = self._timeline.next_at()
        if due_in is not None and deadline is not None and (next_at is None or self._now + due_in <= next_at):
            self._timeline.now += due_in
            self._handle(TimePassed(), deadline)
        else:
            self._timeline.step()

    def _ticks(self) -> bool:
        """Whether the service serves its deadlines now."""
        return self._serving

    def _new_clock(self, floor: float) -> ServiceClock:
        return ServiceClock(floor, lambda: self._now + self._wall, lambda: self._now)

    # The service.

    def _handle(self, event: Event, not_before: float = 0.0) -> None:
        last_at = self.taken[-1].at if self.taken else 0.0
        now = max(self._time.now(), not_before, last_at)
        taken = self._recorder.take(event, now)
        self.losses += breaches(self._recorder.core, taken)
        for effect in taken.effects:
            if isinstance(effect, StartRejoin):
                self._later(self._carry_out, effect)
                self._at(effect.timeout, self._time_out, effect)
        for finding in taken.findings:
            self._on_finding(finding)

    def _on_finding(self, finding: CoreFinding) -> None:
        if isinstance(finding, StartSync):
            self._later(self._sync, finding)

    def _sync(self, wanted: StartSync) -> None:
        ok = self._reaches(wanted.node_id, wanted.peer_id)
        event = SyncFinished(wanted.node_id, wanted.store_id, wanted.peer_id, ok, "" if ok else "no route")
        self._at(SYNC_TIME if ok else DIAL_TIMEOUT, self._synced, event)

    def _synced(self, event: SyncFinished) -> None:
        if self._serving:
            self._handle(event)

    def _come_back(self) -> None:
        if not self._recorder.restart():
            self.losses.append(f"at {self._now:.3f} the log did not restore what was there")
        self._serving = True
        self._time = self._new_clock(self.taken[-1].at if self.taken else 0.0)
        self._handle(ServiceStarted("sim"))
        for node in self.nodes.values():
            if node.session_id:
                node.session_id = ""
                self._at(self._chance.uniform(0.0, 5.0), self._attach, node)

    def _call(self, event: RejoinRequested | NetworkChanged, tries: int = 6) -> None:
        """A call may be lost, duplicated or late; without an answer it is retried with the same request id."""
        scenario = self.scenario
        if self._chance.random() < scenario.duplicate:
            self._at(self._chance.uniform(0.0, 20.0), self._deliver, event, 0)
        if self._chance.random() < scenario.loss:
            self._at(1.0, self._call_again, event, tries)
        else:
            self._later(self._deliver, event, tries)

    def _deliver(self, event: RejoinRequested | NetworkChanged, tries: int) -> None:
        if self._serving:
            self._handle(event)
        else:
            self._at(1.0, self._call_again, event, tries)

    def _call_again(self, event: RejoinRequested | NetworkChanged, tries: int) -> None:
        if tries:
            self._call(event, tries - 1)

    # Nodes and their agents.

    def _make_nodes(self) -> Iterable[SimNode]:
        scenario = self.scenario
        for number in range(scenario.nodes):
            first = number % scenario.stores
            store_ids = [f"s{(first + one) % scenario.stores}" for one in range(scenario.stores_per_node)]
            node = SimNode(f"n{number}", f"h{number // scenario.nodes_per_host}", tuple(store_ids))
            node.away = number < scenario.away * scenario.nodes
            for store_id in store_ids:
                self._overlays[store_id].add(node.node_id)
            yield node

    def _attach(self, node: SimNode) -> None:
        if node.session_id or node.cut or node.away or not self._has_agent(node):
            return
        if not self._serving:
            self._at(1.0, self._attach, node)
            return
        node.sessions += 1
        node.session_id = f"{node.node_id}-{node.sessions}"
        self._handle(self._registration(node))
        for store_id in node.store_ids:
            if node.sessions == 1:
                self._overlays[store_id].join(node.node_id, (), self._reaches)

    def _registration(self, node: SimNode) -> NodeAttached:
        able, addresses = self._abilities(node), self._addresses(node)
        return NodeAttached(node.node_id, node.session_id, node.store_ids, node.host_id, able, addresses)

    def _addresses(self, node: SimNode) -> tuple[str, ...]:
        """Where a node says that it can be dialled."""
        del node
        return ()

    def _has_agent(self, node: SimNode) -> bool:
        agents = self.scenario.agents
        return agents is None or int(node.node_id.removeprefix("n")) < agents

    def _abilities(self, node: SimNode) -> frozenset[Capability]:
        return (frozenset[Capability](), frozenset({Capability.REBIND}), frozenset(Capability))[node.sessions % 3]

    def _detach(self, node: SimNode) -> None:
        if node.session_id and self._serving:
            self._handle(NodeDetached(node.node_id, node.session_id))
        node.session_id = ""

    def _come(self, node: SimNode) -> None:
        node.away = False
        self._attach(node)

    def _report(self, node: SimNode) -> None:
        self._at(self.scenario.report_interval, self._report, node)
        if not node.session_id or node.cut or not self._serving:
            return
        now = self._time.now()
        for store_id in node.store_ids:
            view = self._overlays[store_id].views[node.node_id]
            heard = [peer for peer in view if self._reaches(node.node_id, peer)]
            at = {peer: now - self._chance.random() for peer in heard}
            neighbors = {peer: min(now, node.up_at.get((store_id, peer), now)) for peer in view}
            self._handle(LivenessReported(node.node_id, store_id, at, neighbors, direct=heard))

    def _listener(self, store_id: str) -> Callable[[str, str, bool], None]:
        def on_change(node_id: str, peer_id: str, up: bool) -> None:
            node = self.nodes[node_id]
            node.up_at[store_id, peer_id] = self._time.now()
            if node.session_id and not node.cut:
                self._later(self._tell, node, node.session_id, store_id, peer_id, up, self._now)

        return on_change

    def _tell(self, node: SimNode, session_id: str, store_id: str, peer_id: str, up: bool, then: float) -> None:
        if self._serving and node.session_id == session_id:
            changed_at = self._time.now() - (self._now - then)
            self._handle(NeighborChanged(node.node_id, store_id, peer_id, up, changed_at))

    def _carry_out(self, start: StartRejoin) -> None:
        node = self.nodes[start.node_id]
        if node.session_id != start.session_id or node.cut:
            return
        error = "no route" if self._chance.random() < self.failing else ""
        if not error:
            peers = [peer.peer_id for peer in start.bootstrap]
            self._overlays[start.store_id].join(node.node_id, peers, self._reaches)
        self._later(self._result, start, error)

    def _result(self, start: StartRejoin, error: str) -> None:
        if self.nodes[start.node_id].session_id == start.session_id:
            self._finish(start, error)

    def _time_out(self, start: StartRejoin) -> None:
        self._finish(start, "no answer")

    def _finish(self, start: StartRejoin, error: str) -> None:
        key = (start.rejoin_id, start.attempt)
        if key in self._answered or not self._serving:
            return
        self._answered.add(key)
        retry_in = self._chance.uniform(0.0, 5.0) if error and start.attempt < 4 else None
        self._handle(RejoinFinished(start.rejoin_id, start.attempt, not error, error, retry_in))

    def _reaches(self, one: str, other: str) -> bool:
        if not {one, other} <= self.nodes.keys():
            return False  # a stranger
        a, b = self.nodes[one], self.nodes[other]
        return not (a.cut or b.cut or a.away or b.away) and a.side == b.side

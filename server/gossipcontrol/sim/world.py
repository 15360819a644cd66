"""What can happen in a simulation: one method for each kind of step in a scenario."""

from __future__ import annotations

from gossipcontrol.server.core.decision import Cause
from gossipcontrol.server.core.event import (
    NEVER,
    ChangeKind,
    LivenessReported,
    NetworkChanged,
    NodeAttached,
    NodeDetached,
    RejoinRequested,
    SyncFinished,
)
from gossipcontrol.sim.scenario import Scenario, Step
from gossipcontrol.sim.simulation import SimNode, Simulation

LINK_LIFE = (48.0, 60.0)
"""Seconds after which a cut link is noticed (measured with iroh-gossip)."""
AGENTLESS_REPORTS = 8
"""Reports of a node without an agent: the first lists neighbours, the others none."""
ASLEEP_AFTER = 2.5
"""Seconds from the announcement of sleep to the loss of the streams."""
KEEPALIVE = 15.0
"""Seconds after which the service notices that an agent's stream is dead."""
SUSPICIONS = (Cause.SUSPICION, Cause.ISOLATED, Cause.OUTBOUND_ROT, Cause.INBOUND_ROT, Cause.PARTITION)


class World(Simulation):
    """A simulation in which the steps of its scenario happen."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        super().__init__(scenario, seed)
        self._generations: dict[str, int] = {}

    def _happen(self, step: Step) -> None:
        getattr(self, f"_{step.what}")(step)

    def _restart(self, step: Step) -> None:
        """The service crashes, loses everything but the log, and starts again."""
        if self._serving:
            self._serving = False
            self._at(step.length, self._come_back)

    def _hosts(self, share: float) -> list[list[SimNode]]:
        hosts: dict[str, list[SimNode]] = {}
        for node in self.nodes.values():
            hosts.setdefault(node.host_id, []).append(node)
        chosen = list(hosts.values())
        return chosen[: max(1, round(share * len(chosen)))]

    def _change(self, host_id: str, kind: ChangeKind) -> None:
        generation = self._generations[host_id] = self._generations.get(host_id, 0) + 1
        for _ in range(2 if self._chance.random() < 0.3 else 1):  # two watchers may see one event
            self._call(NetworkChanged(host_id, (), kind, "boot", generation, self._request_id()))

    def _request_id(self) -> str:
        return f"q{next(self._numbers)}"

    def _outage(self, step: Step) -> None:
        for nodes in self._hosts(step.share):
            for node in nodes:
                node.cut = True
                self._at(KEEPALIVE, self._lose, node)
                self._at(self._chance.uniform(*LINK_LIFE), self._rot, node)
            self._at(step.length + self._chance.random(), self._mend, nodes)

    def _mend(self, nodes: list[SimNode]) -> None:
        for node in nodes:
            node.cut = False
            self._later(self._attach, node)
        self._change(nodes[0].host_id, ChangeKind.CHANGED)

    def _lose(self, node: SimNode) -> None:
        if node.cut:
            self._detach(node)

    def _rot(self, node: SimNode) -> None:
        for store_id in node.store_ids if node.cut else ():
            for peer in list(self._overlays[store_id].views[node.node_id]):
                self._overlays[store_id].unlink(node.node_id, peer)

    def _lid(self, step: Step) -> None:
        for nodes in self._hosts(step.share):
            self._call(NetworkChanged(nodes[0].host_id, kind=ChangeKind.SLEEPING, request_id=self._request_id()))
            for node in nodes:
                self._at(ASLEEP_AFTER, self._detach, node)
                self._at(step.every / 2, self._attach, node)
            self._at(step.every / 2, self._change, nodes[0].host_id, ChangeKind.RESUMED)

    def _flap(self, step: Step) -> None:
        for nodes in self._hosts(step.share):
            self._change(nodes[0].host_id, ChangeKind.CHANGED)

    def _partition(self, step: Step) -> None:
        for number, node in enumerate(self.nodes.values()):
            node.side = number % 2
            self._at(self._chance.uniform(*LINK_LIFE), self._part, node)
        self._at(step.length, self._heal)

    def _part(self, node: SimNode) -> None:
        for store_id in node.store_ids:
            for peer in list(self._overlays[store_id].views[node.node_id]):
                if not self._reaches(node.node_id, peer):
                    self._overlays[store_id].unlink(node.node_id, peer)

    def _heal(self) -> None:
        for node in self.nodes.values():
            node.side = 0

    def _some(self, share: float) -> list[SimNode]:
        nodes = list(self.nodes.values())
        return self._chance.sample(nodes, max(1, round(share * len(nodes)))) if share < 1 else nodes

    def _suspect(self, step: Step) -> None:
        for node in self._some(step.share):
            cause = self._chance.choice(SUSPICIONS)
            self._call(RejoinRequested(node.node_id, node.store_ids[:1], cause, self._request_id()))

    def _ask(self, step: Step) -> None:
        for node in self._some(step.share):
            self._call(RejoinRequested(node.node_id, (), Cause.MANUAL, self._request_id()))

    def _churn(self, step: Step) -> None:
        node = self._chance.choice(list(self.nodes.values()))
        overlay = self._overlays[node.store_ids[0]]
        if overlay.views[node.node_id] and self._chance.random() < 0.5:
            overlay.unlink(node.node_id, self._chance.choice(list(overlay.views[node.node_id])))
        else:
            overlay.join(node.node_id, (), self._reaches)

    def _stranger(self, step: Step) -> None:
        """An unknown node reports a sync that nobody asked for, registers, and detaches."""
        del step
        name = f"x{next(self._numbers)}"
        store_id = self._chance.choice(list(self._overlays))
        if self._serving:
            self._handle(SyncFinished(name, store_id, "n0", True))
            self._handle(NodeAttached(name, f"{name}-1", (store_id,), "h-strange"))
            self._handle(NodeDetached(name, f"{name}-1"))

    def _agentless(self, step: Step) -> None:
        """A node whose agent is gone reports by itself that it has lost its neighbours."""
        node = self._chance.choice(list(self.nodes.values()))
        self._detach(node)
        for number in range(AGENTLESS_REPORTS):
            self._at(number * self.scenario.report_interval, self._report_without_agent, node, number)
        self._at(step.every - 1.0, self._attach, node)

    def _report_without_agent(self, node: SimNode, number: int) -> None:
        if node.session_id or not self._serving:
            return
        now = self._time.now()
        for store_id in node.store_ids:
            peers = [one for one in self._overlays[store_id].views if one != node.node_id]
            neighbors = dict.fromkeys(peers, now) if not number else {}
            self._handle(LivenessReported(node.node_id, store_id, dict.fromkeys(peers, NEVER), neighbors))

    def _clock(self, step: Step) -> None:
        """The wall clock steps; service time reads it at the next start only, and never goes backwards."""
        self._wall += step.length

"""Real networks in which every node runs beside a service of its own, which no other node's agent reports to."""

from __future__ import annotations

from gossipcontrol.server.core.event import (
    Event,
    LivenessReported,
    NeighborChanged,
    NetworkChanged,
    NodeAttached,
    NodeDetached,
    RejoinFinished,
    SyncFinished,
    TimePassed,
)
from gossipcontrol.server.core.finding import StartSync
from gossipcontrol.sim.field import FieldWorld
from gossipcontrol.sim.field_simulation import AWAY
from gossipcontrol.sim.record import Recorder
from gossipcontrol.sim.scenario import Scenario
from gossipcontrol.sim.simulation import SimNode


class SidecarsWorld(FieldWorld):
    """A core per node. The services never stop, so steps that stop one are not for this world."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        super().__init__(scenario, seed)
        self.services = {node_id: Recorder(scenario.parameters, node_id, scenario.liveness) for node_id in self.nodes}
        self._node_on = {node.host_id: node.node_id for node in self.nodes.values()}
        self._use("n0")

    def _use(self, node_id: str) -> None:
        """Let what follows concern the service beside this node."""
        self._recorder = self.services[node_id]

    def _advance(self) -> None:
        deadlines = {node_id: service.core.next_deadline() for node_id, service in self.services.items()}
        self._use(min(deadlines, key=lambda node_id: _or_never(deadlines[node_id])))
        super()._advance()

    def _handle(self, event: Event, not_before: float = 0.0) -> None:
        match event:
            case NetworkChanged():
                self._use(self._node_on[event.host_id])
            case RejoinFinished():
                self._use(event.rejoin_id.partition("-")[0])
            case NodeAttached() | NodeDetached() | LivenessReported() | NeighborChanged() | SyncFinished():
                self._use(event.node_id)
            case _:
                assert isinstance(event, TimePassed), f"no agent sends {event}"
        super()._handle(event, not_before)

    def _sync(self, wanted: StartSync) -> None:
        self._use(wanted.node_id)
        super()._sync(wanted)

    def _is_beside(self, node: SimNode) -> bool:
        return True

    def _look_who_is_away(self) -> None:
        """Whom a service calls away although its own node and that one can reach each other."""
        for own, service in self.services.items():
            for peer_id in self.nodes.keys() - {own}:
                could = self._dialler.can_dial(own, peer_id) or self._dialler.can_dial(peer_id, own)
                wrong = could and service.core.liveness.presence.state("s0", peer_id) in AWAY
                self._count_away(f"{own} {peer_id}", wrong)


def _or_never(deadline: float | None) -> float:
    return float("inf") if deadline is None else deadline

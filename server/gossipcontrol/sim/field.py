"""What happens in real networks: sites that move, VPNs, cables that are unplugged, processes that stop."""

from __future__ import annotations

from collections.abc import Iterable

from gossipcontrol.server.core.event import ChangeKind, NodeDetached
from gossipcontrol.sim.field_simulation import GRACE, FieldSimulation
from gossipcontrol.sim.scenario import Step
from gossipcontrol.sim.simulation import SimNode
from gossipcontrol.sim.world import KEEPALIVE

SEEN_AFTER = (0.3, 2.0)
"""Seconds after which a watcher reports a change: the debounce."""
SETTLED_AFTER = (2.0, 3.0)
"""Seconds after a change from which a node knows its own new address, and announces it."""
REPORTED = 0.8
"""Share of the changes of a default route that a watcher reports."""


class FieldWorld(FieldSimulation):
    """A simulation of real networks in which the steps of its scenario happen."""

    def _begin(self, length: float) -> None:
        self.outcome.began_at = self.outcome.began_at or self._now
        self.outcome.ended_at = max(self.outcome.ended_at, self._now + length)

    def _change(self, host_id: str, kind: ChangeKind) -> None:
        if any(node.host_id == host_id and self._has_agent(node) for node in self.nodes.values()):
            super()._change(host_id, kind)

    def _affected(self, step: Step) -> Iterable[SimNode]:
        return (node for nodes in self._hosts(step.share) for node in nodes)

    def _partition(self, step: Step) -> None:
        """A black hole: no link goes down, no agent is told, and the service, out of band, still hears the agents."""
        self._begin(step.length)
        for node in self._affected(step):
            node.side = 1
        self._at(step.length, self._heal)

    def _stall(self, step: Step) -> None:
        """The connections of hosts are dead though packets pass again, as after a change of both ends' addresses."""
        self._begin(0.0)
        for node in self._affected(step):
            self._dialler.stall(node.node_id)

    def _unplug(self, step: Step) -> None:
        """The host has no carrier: its agent suspends its node, and the service is out of reach unless beside it."""
        self._begin(step.length)
        for node in self._affected(step):
            node.cut = True
            if not self._is_beside(node):
                self._at(KEEPALIVE, self._lose, node)
            if self._has_agent(node):
                self._at(GRACE, self._suspend_again, node)
            self._at(step.length, self._plug_in, node)

    def _plug_in(self, node: SimNode) -> None:
        node.cut = False
        self._later(self._attach, node)
        self._later(self._change, node.host_id, ChangeKind.CHANGED)
        self._resume(node)

    def _move(self, step: Step) -> None:
        """Hosts are in another network, with a router between."""
        self._begin(0.0)
        for node in self._affected(step):
            self._move_to(node, f"away {next(self._numbers)}", True)

    def _renumber(self, step: Step) -> None:
        """The site has another router: host by host gets an address in a subnet without a way to the old one."""
        subnet = f"site {next(self._numbers)}"
        nodes = list(self._affected(step))
        self._begin((len(nodes) - 1) * step.length)
        for number, node in enumerate(nodes):
            self._at(number * step.length, self._move_to, node, subnet, False)

    def _move_to(self, node: SimNode, subnet: str, is_routed: bool) -> None:
        self.paths.move(node.node_id, subnet, is_routed=is_routed)
        self._at(self._chance.uniform(*SEEN_AFTER), self._change, node.host_id, ChangeKind.CHANGED)
        self._at(self._chance.uniform(*SETTLED_AFTER), self._settle, node)

    def _settle(self, node: SimNode) -> None:
        """The node has learned its new address, and its agent registers it on the same stream."""
        self._announced[node.node_id] = self.paths.address(node.node_id)
        if node.session_id and node.node_id not in self._stopped:
            self._handle(self._registration(node))

    def _vpn(self, step: Step) -> None:
        """The default route goes, or leads elsewhere; peers in the LAN are reached as before. Watchers may report."""
        self._begin(step.length)
        for nodes in self._hosts(step.share):
            for delay in (0.0, step.length):
                if self._chance.random() < REPORTED:
                    seen_after = self._chance.uniform(*SEEN_AFTER)
                    self._at(delay + seen_after, self._change, nodes[0].host_id, ChangeKind.CHANGED)

    def _freeze(self, step: Step) -> None:
        """The service's process stands still; agents give up a stream that does not answer."""
        self._begin(step.length)
        now = self._time.now()
        self.frozen.append((now, now + step.length))
        self._offline_before = self._offline()
        self._thaws_at = max(self._thaws_at, self._now + step.length)
        for node in self.nodes.values():
            self._at(KEEPALIVE, self._give_up, node)
        self._at(step.length, self._thaw)

    def _give_up(self, node: SimNode) -> None:
        if self._is_frozen() and node.session_id and node.node_id not in self._stopped:
            self._handle(NodeDetached(node.node_id, node.session_id))
            node.session_id = ""
            self._attach(node)

    def _pause(self, step: Step) -> None:
        """Hosts stand still, with all that runs on them: in the sidecar shape the first one's service, too."""
        self._begin(step.length)
        for node in self._affected(step):
            self._stopped.add(node.node_id)
            if self._is_beside(node):
                self._freeze(step)
            else:
                self._at(KEEPALIVE, self._lose_stopped, node)
            self._at(step.length, self._go_on, node)

    def _lose_stopped(self, node: SimNode) -> None:
        if node.node_id in self._stopped:
            self._detach(node)

    def _go_on(self, node: SimNode) -> None:
        self._stopped.discard(node.node_id)
        self._later(self._attach, node)

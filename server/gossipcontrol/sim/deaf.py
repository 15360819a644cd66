"""Nodes as Lattice daemons of 2026 are: a rejoin dials every peer, and only the peer or a restart undoes a failed dial.

Their agents have no rung above REJOIN and cannot sync with a peer on request, so nothing probes for a path. The times
are those measured with iroh-gossip 0.97.
"""

from __future__ import annotations

from collections.abc import Collection

from gossipcontrol.server.core.decision import Capability
from gossipcontrol.server.core.effect import AdviseRestart, StartRejoin
from gossipcontrol.server.core.event import ChangeKind, Event
from gossipcontrol.sim.dialler import Dialler, Pair
from gossipcontrol.sim.field import SEEN_AFTER, FieldWorld
from gossipcontrol.sim.scenario import Scenario, Step
from gossipcontrol.sim.simulation import SimNode
from gossipcontrol.sim.world import KEEPALIVE

LINK_LIFE = (33.0, 35.0)
"""Seconds without a path after which an end calls its neighbour lost; it has dialled nobody by then."""
DIAL_TIME = 20.0
"""Seconds after which a dial fails."""
LOOP = (1.0, 60.0)
"""The first and the longest wait, seconds, of a node without neighbours until it dials all peers; each is doubled."""
RESTART_TIME = 3.0
"""Seconds from the advice until a node serves again whose agent has a restart command."""
ANSWER_TIME = 0.01
"""Seconds that an agent takes to answer: the daemon says nothing about its dials."""


class DeafWorld(FieldWorld):
    """``advised`` is when a restart of which node was advised; ``restarts``: agents have a restart command.

    ``capabilities``: what agents say they can carry out, though it helps as little as a rejoin.
    """

    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        *,
        restarts: bool = False,
        poisoned: Collection[Pair] = (),
        capabilities: frozenset[Capability] = frozenset(),
    ) -> None:
        super().__init__(scenario, seed)
        self._capabilities = capabilities
        self._poisoned = set(poisoned)
        """Who has dialled whom in vain as a trouble ends, besides those that did by themselves."""
        self.restarts = restarts
        self.advised: list[tuple[float, str]] = []
        self.restarted: list[tuple[float, str]] = []
        self.poisoned_at_end: frozenset[tuple[str, str]] = frozenset()
        """Who was deaf to whom when the trouble was over."""
        self._dialler = Dialler(
            self._overlay, self.paths, self._chance, self._reaches, self._runs,
            redials=False, link_life=LINK_LIFE, dial_time=DIAL_TIME,
        )  # fmt: skip
        self._looped: set[str] = set()

    def starts(self, node_id: str = "") -> list[tuple[float, StartRejoin]]:
        """The attempts of a node, or of all, and when they were sent, service time."""
        found = [(one.at, effect) for one in self.taken for effect in one.effects if isinstance(effect, StartRejoin)]
        return [(at, start) for at, start in found if node_id in ("", start.node_id)]

    def _abilities(self, node: SimNode) -> frozenset[Capability]:
        del node
        return self._capabilities

    def _handle(self, event: Event, not_before: float = 0.0) -> None:
        before = len(self.taken)
        super()._handle(event, not_before)
        for one in self.taken[before:]:
            for effect in one.effects:
                if isinstance(effect, AdviseRestart):
                    self.advised.append((self._now, effect.node_id))
                    if self.restarts and effect.session_id:
                        self._at(RESTART_TIME, self._restart_node, self.nodes[effect.node_id])

    def _restart_node(self, node: SimNode) -> None:
        self.restarted.append((self._now, node.node_id))
        self._dialler.renew(node.node_id)
        self._dial_all(node)

    def _carry_out(self, start: StartRejoin) -> None:
        node = self.nodes[start.node_id]
        if node.session_id == start.session_id and not node.cut:
            self._dial_all(node)
            self._at(ANSWER_TIME, self._result, start, "")

    def _dial_all(self, node: SimNode) -> None:
        for peer_id in self.paths.known(node.node_id):
            self._dialler.dial(node.node_id, peer_id)

    def _sweep(self) -> None:
        super()._sweep()
        for node in self.nodes.values():
            if self._overlay.views[node.node_id] or self._now < 2.0:
                self._looped.discard(node.node_id)
            elif node.node_id not in self._looped:
                self._looped.add(node.node_id)
                self._at(LOOP[0], self._loop, node, LOOP[0])

    def _loop(self, node: SimNode, wait: float) -> None:
        """Lattice's own: a node that has lost its last neighbour dials all peers until it has one."""
        if node.node_id in self._looped:
            self._dial_all(node)
            longer = min(LOOP[1], 2 * wait)
            self._at(longer, self._loop, node, longer)

    def _outage(self, step: Step) -> None:
        """Hosts reach nobody, the service neither; their watchers report when the path is back."""
        self._begin(step.length)
        for node in self._affected(step):
            node.cut = True
            self._at(KEEPALIVE, self._lose, node)
            self._at(step.length, self._mend_node, node)

    def _heal(self) -> None:
        self._note_poisoned()
        super()._heal()

    def _note_poisoned(self) -> None:
        self._dialler.poisoned |= self._poisoned
        self.poisoned_at_end |= self._dialler.poisoned

    def _mend_node(self, node: SimNode) -> None:
        self._note_poisoned()
        node.cut = False
        self._later(self._attach, node)
        self._at(self._chance.uniform(*SEEN_AFTER), self._change, node.host_id, ChangeKind.CHANGED)

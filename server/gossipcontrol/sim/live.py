"""The world with liveness: nodes gossip and count messages, and the core turns what it finds into rejoins."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from itertools import combinations, pairwise

from gossipcontrol.server.core.decision import Capability, Cause
from gossipcontrol.server.core.event import (
    LivenessReported,
    SuspicionEnded,
)
from gossipcontrol.server.core.finding import CoreFinding, NodeSuspected
from gossipcontrol.sim.overlay import VIEW
from gossipcontrol.sim.record import Taken
from gossipcontrol.sim.scenario import Scenario, Step
from gossipcontrol.sim.simulation import SimNode
from gossipcontrol.sim.world import World

BEAT = 2.0
"""Seconds between two small messages of a node."""
LARGE = 3.0
"""Seconds between two large ones."""


class LiveWorld(World):
    """One store. ``found`` are the findings with their instants, ``broken`` the instants of a split overlay."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        super().__init__(scenario, seed)
        self.failing = 0.0
        self.found: list[tuple[float, CoreFinding]] = []
        self.broken: list[float] = []
        self.changes: list[tuple[float, str]] = []
        """When something happened to the overlay, and what."""
        self.mute: set[str] = set()
        self.deaf: set[str] = set()
        self.hole: set[str] = set()
        self._cut_off: set[str] = set()
        self._sent: Counter[str] = Counter()
        self._unsynced: Counter[str] = Counter()
        """Local writes of a node since it last reached any peer."""
        self._heard: defaultdict[str, Counter[str]] = defaultdict(Counter[str])
        self._last: dict[tuple[str, str], tuple[float, bool]] = {}
        self._overlay = self._overlays["s0"]
        self.components: list[tuple[float, int]] = []
        """The number of components of the overlay, whenever a node sends a message."""

    def run(self) -> list[Taken]:
        """Run the scenario; returns every event that the core handled."""
        for node in self.nodes.values():
            self._at(self._chance.uniform(1.0, 1.0 + BEAT), self._beat, node, BEAT, False)
            self._at(self._chance.uniform(1.0, 1.0 + LARGE), self._beat, node, LARGE, True)
        self._at(1.2, self._weave)
        return super().run()

    # The service.

    def _on_finding(self, finding: CoreFinding) -> None:
        self.found.append((self._now, finding))
        super()._on_finding(finding)

    # Nodes.

    def _abilities(self, node: SimNode) -> frozenset[Capability]:
        return frozenset(Capability)

    def _weave(self) -> None:
        """Fill the views as shuffles do, so that no node depends on a single neighbour."""
        pairs = list(combinations(self.nodes, 2))
        self._chance.shuffle(pairs)
        for one, other in pairs:
            if all(len(self._overlay.views[node_id]) < VIEW - 1 for node_id in (one, other)):
                self._overlay.link(one, other)

    def _beat(self, node: SimNode, every: float, large: bool) -> None:
        self._at(every * self._jitter(node), self._beat, node, every, large)
        self.components.append((self._now, len(self._overlay.components(self._carries))))
        if self.components[-1][1] > 1:
            self.broken.append(self._now)
        author = node.node_id
        self._sent[author] += 1
        came_from = self._overlay.flood(author, lambda sender, peer: self._passes(sender, peer, author, large))
        if came_from:
            del self._unsynced[author]
        for peer, sender in came_from.items():
            self._deliver_message(peer, author, sender == author)

    def _passes(self, sender: str, receiver: str, author: str, large: bool) -> bool:
        if not self._carries(sender, receiver) or receiver in self.deaf:
            return False
        return not (sender == author and (author in self.mute or (large and author in self.hole)))

    def _jitter(self, node: SimNode) -> float:
        """By how much the next interval between two messages of a node differs from the mean."""
        del node
        return self._chance.uniform(0.9, 1.1)

    def _carries(self, sender: str, receiver: str) -> bool:
        """Whether a link between two neighbours passes messages."""
        return self._reaches(sender, receiver)

    def _deliver_message(self, node_id: str, author: str, direct: bool) -> None:
        self._later(self._hear, node_id, author, direct)

    def _hear(self, node_id: str, author: str, direct: bool) -> None:
        self._heard[node_id][author] += 1
        self._last[node_id, author] = (self._time.now(), direct)

    def _report(self, node: SimNode) -> None:
        self._at(self.scenario.report_interval, self._report, node)
        if not node.session_id:
            return
        now, me = self._time.now(), node.node_id
        counts = self._heard[me]
        report = LivenessReported(
            node_id=me,
            store_id="s0",
            heard={peer: self._last[me, peer][0] for peer in counts},
            neighbors={peer: node.up_at.get(("s0", peer), now) for peer in self._overlay.views[me]},
            broadcast_count=self._sent[me],
            unsynced_writes=self._unsynced[me],
            heard_counts=tuple(counts.values()),
            direct=[peer for peer in counts if self._last[me, peer][1]],
        )
        self._later(self._handle, report)

    # What happens.

    def _partition(self, step: Step) -> None:
        """Cut a share of the nodes off; each side is one component."""
        nodes = list(self.nodes.values())
        count = round(len(nodes) * step.share) if step.share < 1 else len(nodes) // 2
        for number, node in enumerate(nodes):
            node.side = int(number < count)
            if node.side:
                self._cut_off.add(node.node_id)
            self._at(self._chance.uniform(48.0, 60.0), self._part, node)
        for side in (nodes[:count], nodes[count:]):
            for one, other in pairwise(side):
                self._overlay.link(one.node_id, other.node_id)
        self.changes.append((self._now, "cut"))
        self._at(step.length, self._heal)

    def _heal(self) -> None:
        self.changes.append((self._now, "mended"))
        for node in self.nodes.values():
            node.side = 0

    def _mute(self, step: Step) -> None:
        self._afflict(step, self.mute)

    def _deaf(self, step: Step) -> None:
        self._afflict(step, self.deaf)

    def _hole(self, step: Step) -> None:
        self._afflict(step, self.hole)

    def _write(self, step: Step) -> None:
        del step
        self._unsynced["n0"] += 1
        self.changes.append((self._now, "wrote"))

    def _afflict(self, step: Step, afflicted: set[str]) -> None:
        afflicted.add("n0")
        self.changes.append((self._now, "began"))
        self._at(step.length, self._cure, afflicted)

    def _cure(self, afflicted: set[str]) -> None:
        afflicted.clear()
        self.changes.append((self._now, "mended"))

    # What was found.

    def at(self, what: str) -> float:
        """When something happened first."""
        return next(at for at, one in self.changes if one == what)

    def cut_off(self, node_id: str) -> bool:
        """Whether a node was ever cut off."""
        return node_id in self._cut_off

    def suspected(self, since: float = -math.inf) -> list[tuple[float, str, Cause]]:
        """When which node was suspected, and of what."""
        return [
            (at, one.node_id, one.cause) for at, one in self.found if isinstance(one, NodeSuspected) and at >= since
        ]

    def cleared(self) -> list[tuple[float, str, Cause]]:
        """When which suspicion ended."""
        return [(at, one.node_id, one.cause) for at, one in self.found if isinstance(one, SuspicionEnded)]

    def suspected_at_end(self) -> set[tuple[str, Cause]]:
        """The suspicions that have not ended."""
        left: set[tuple[str, Cause]] = set()
        for _, one in self.found:
            if isinstance(one, NodeSuspected):
                left.add((one.node_id, one.cause))
            elif isinstance(one, SuspicionEnded):
                left.discard((one.node_id, one.cause))
        return left

"""Repairs a partitioned store: probes for a path between the sides, then lets nodes of both sides rejoin."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import replace
from itertools import islice

from gossipcontrol.server.core.decision import Cause, Rung
from gossipcontrol.server.core.diagnosis.conditions import ConditionTracker
from gossipcontrol.server.core.diagnosis.links import Links
from gossipcontrol.server.core.diagnosis.partition import Partition, Side, split_sides
from gossipcontrol.server.core.event import NEVER, SuspicionEnded
from gossipcontrol.server.core.finding import EVIDENCE, Finding, NodeSuspected, SyncWanted
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.repair.probe import PartitionProber

MAX_BRIDGE_PEERS = 8
"""Most peers of the other side named with a trigger."""
Lists = Callable[[str, str], bool]
"""Whether a node reports that a peer is its neighbour."""


class PartitionRepair:
    """The partition of one store, if any, and its repair."""

    __slots__ = (
        "_blind_at",
        "_blind_triggers",
        "_can_probe",
        "_conditions",
        "_parameters",
        "_partition",
        "_prober",
        "_reached_at",
        "_store_id",
        "_targets",
    )

    def __init__(self, store_id: str, parameters: LivenessParameters, conditions: ConditionTracker) -> None:
        self._store_id = store_id
        self._parameters = parameters
        self._conditions = conditions
        self._prober = PartitionProber(parameters.bridge_interval)
        self._partition: Partition | None = None
        self._reached_at: dict[tuple[str, str], float] = {}
        """(first node of one side, first node of the other) -> when nodes of both last got a trigger."""
        self._targets: dict[str, str] = {}
        """Node with a PARTITION trigger -> the peer it should reach."""
        self._can_probe = False
        """Whether any node can probe for a path."""
        self._blind_triggers = 0
        """Triggers sent without a known path, because no node can probe."""
        self._blind_at = NEVER

    @property
    def confirmed(self) -> bool:
        """Whether the store falls apart, and that has lasted."""
        return self._partition is not None and self._partition.confirmed

    @property
    def partitioned(self) -> bool:
        """Whether it falls into parts that were once linked."""
        partition = self._partition
        return partition is not None and partition.confirmed and len(partition.sides) - len(partition.strange) > 1

    @property
    def sides(self) -> list[list[str]]:
        """The sides of the store, the main one first; none without a partition."""
        return [] if self._partition is None else self._partition.sides

    def are_apart(self, one: str, other: str) -> bool:
        """Whether two nodes are on different sides."""
        return self._partition is not None and self._partition.are_apart(one, other)

    def explains(self, node_id: str) -> bool:
        """Whether the partition explains a node's condition, and its repair is under way.

        That holds on every side but the main one. A rejoin without a path fails, and iroh-gossip may never redial a
        peer after a failed dial. A node all alone, when no node can probe, counts as isolated instead.
        """
        partition = self._partition
        side = partition.side(node_id) if partition is not None else []
        if partition is None or not side:
            return False
        return self._can_probe if len(side) == 1 else not partition.is_main(node_id)

    def next_at(self) -> float:
        """When the next attempt is due."""
        return self._prober.next_at if self.confirmed else math.inf

    def update(self, links: Links, capable: Collection[str], now: float) -> list[Finding]:
        """Set how the store's nodes are linked now."""
        sides = split_sides(links, self._parameters)
        if len(sides) < 2:
            return self._end_all()
        if self._partition is None:
            self._partition = Partition(now)
            self._blind_triggers = 0
        self._partition.update(sides, links, self._parameters.isolated_after, now)
        self._can_probe = any(node_id in capable for side in sides for node_id in side)
        if self.confirmed:
            self._prober.set_sides(sides, capable, self._partition.strange)
        found = self._end_arrived(self._partition)
        if not self.confirmed or self._can_probe:
            return found
        return found + self.trigger_blindly(self._partition, now)

    def attempt(self, capable: Collection[str], now: float) -> list[Finding]:
        """Request the sync that probes for a path, if one is due."""
        if self._partition is None or not self._partition.confirmed or now < self._prober.next_at:
            return []
        pair = self._prober.attempt(capable, now)
        return [] if pair is None else [SyncWanted(pair[0], self._store_id, pair[1])]

    def on_reached(
        self, node_id: str, peer_id: str, attached: Collection[str], lists: Lists, now: float
    ) -> list[Finding]:
        """Record that a node reached a peer: if it was across the partition, a path exists, and both nodes rejoin.

        Both, because the one that once failed to dial the other may never redial it (as iroh-gossip does). A node all
        alone that still lists the other as its neighbour resubscribes at once: it would join over the dead link.
        """
        partition = self._partition
        if partition is None or not partition.confirmed or not partition.are_apart(node_id, peer_id):
            return []
        first, second = sorted((partition.side(node_id)[0], partition.side(peer_id)[0]))
        if now - self._reached_at.get((first, second), NEVER) < self._parameters.isolated_after:
            return []
        evidence = partition.evidence(f"{node_id} reached {peer_id}")
        found: list[NodeSuspected] = []
        for one, other in sorted(((node_id, peer_id), (peer_id, node_id)), key=lambda pair: partition.is_main(pair[0])):
            if partition.is_strange(other):
                continue  # whoever was never linked cannot have others rejoin
            found += self._suspect_side(partition.side(one), one, partition.side(other), other, evidence, attached, now)
        found = [_resubscribe_if_dead(one, partition, lists) for one in found]
        if found:
            self._reached_at[first, second] = now
        return [*found]

    def trigger_blindly(self, partition: Partition, now: float) -> list[Finding]:
        """Without a prober, let a node of each smaller side rejoin now and then, in turn with one of the main side.

        In turn, because a dial in vain may make a node deaf to its peer for good: where the smaller side has dialled in
        vain, only the main side's dial heals, and the more nodes are left that have not dialled, the longer a cut may
        last.
        """
        doubled = self._parameters.suspicion_interval * 2.0 ** min(self._blind_triggers, 60) / 2
        wait = min(self._parameters.suspicion_cap, doubled)
        if self._blind_triggers and now - self._blind_at < wait:
            return []
        evidence = partition.evidence("no node can look for a path")
        found: list[Finding] = []
        for number, side in enumerate(partition.sides[1:], 1):
            if len(side) > 1:
                found += self._take_turn(side, partition.sides[0], number in partition.strange, evidence, now)
        self._blind_triggers, self._blind_at = self._blind_triggers + 1, now
        return found

    def _suspect_side(
        self, side: Side, first: str, far: Side, reached: str, evidence: str, attached: Collection[str], now: float
    ) -> list[NodeSuspected]:
        """Let a node rejoin towards the other side; if it had a trigger recently, another node of its side."""
        stand_ins = (one for one in side if one != first and one in attached)
        for node_id in (first, *islice(stand_ins, MAX_BRIDGE_PEERS)):
            if self._conditions.mark_active(node_id, Cause.PARTITION, now):
                return [self._suspect(node_id, evidence, _bridge_peers(far, reached), now)]
        return []

    def _take_turn(self, side: Side, main: Side, strange: bool, evidence: str, now: float) -> list[Finding]:
        """One node of either side rejoins towards the other; whoever was never linked cannot have others rejoin.

        A node of the main side is well and climbs no ladder. Once all had a turn, a restart is what is left.
        """
        turn, is_knock = self._blind_triggers, False
        if not strange:
            turn, is_knock = turn // 2, turn % 2 == 1
        near, far = (main, side) if is_knock else (side, main)
        node_id = near[turn % len(near)]
        if not self._conditions.mark_active(node_id, Cause.PARTITION, now):
            return []
        found = self._suspect(node_id, evidence, _bridge_peers(far, far[turn % len(far)]), now)
        if is_knock:
            return [replace(found, rejoin_only=True)]
        is_round_over = turn > 0 and turn % min(MAX_BRIDGE_PEERS, max(len(side), len(main))) == 0
        return [replace(found, first_rung=Rung.RESTART_ADVISED) if is_round_over else found]

    def _suspect(self, node_id: str, evidence: str, bridge: tuple[str, ...], now: float) -> NodeSuspected:
        self._conditions.record_trigger(node_id, Cause.PARTITION, now)
        self._targets[node_id] = bridge[0]
        return NodeSuspected(node_id, self._store_id, Cause.PARTITION, evidence[:EVIDENCE], bridge)

    def _end_arrived(self, partition: Partition) -> list[Finding]:
        """End the condition of nodes that now share a side with their target; the store may still be cut elsewhere."""
        arrived = [node_id for node_id, peer_id in self._targets.items() if peer_id in partition.side(node_id)]
        for node_id in arrived:
            del self._targets[node_id]
        return [
            SuspicionEnded(node_id, self._store_id, Cause.PARTITION)
            for node_id in arrived
            if self._conditions.clear(node_id, Cause.PARTITION)
        ]

    def _end_all(self) -> list[Finding]:
        if self._partition is not None:
            self._prober.set_sides((), ())
        self._partition = None
        self._reached_at.clear()
        self._targets.clear()
        return [
            SuspicionEnded(node_id, self._store_id, Cause.PARTITION)
            for node_id in self._conditions.nodes_with(Cause.PARTITION)
            if self._conditions.clear(node_id, Cause.PARTITION)
        ]


def _bridge_peers(side: Side, first: str) -> tuple[str, ...]:
    """Peers to dial, the reached one first."""
    return (first, *islice((one for one in side if one != first), MAX_BRIDGE_PEERS - 1))


def _resubscribe_if_dead(found: NodeSuspected, partition: Partition, lists: Lists) -> NodeSuspected:
    """Begin with RESUBSCRIBE where a node without any live link lists the peer that it is to rejoin by."""
    is_alone = len(partition.side(found.node_id)) == 1
    is_dead = is_alone and lists(found.node_id, found.bridge[0])
    return replace(found, first_rung=Rung.RESUBSCRIBE) if is_dead else found

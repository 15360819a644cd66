"""A Diagnosis alone, fed by the nodes of a simulated overlay, whose true state a test knows.

The nodes broadcast, lose messages by direction and size, report honestly, and carry out what the diagnosis finds. It
never gets more than real nodes could report.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gossipcontrol.server.core.decision import Capability, Cause
from gossipcontrol.server.core.event import (
    LivenessEvent,
    LivenessReported,
    NeighborChanged,
    NodeAttached,
    NodeDetached,
    SuspicionEnded,
    SyncFinished,
    TimePassed,
)
from gossipcontrol.server.core.finding import Finding, NodeSuspected, SyncWanted
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.presence.record import PeerState
from gossipcontrol.sim.overlay import VIEW, ShuffledOverlay
from gossipcontrol.sim.timeline import Timeline

from tests.kit.roster import LoneDiagnosis

STORE = "notes"
CAN_SYNC = frozenset({Capability.SYNC_WITH_PEER})
DOWN_AFTER = (48.0, 60.0)
"""Seconds after which a node notices that a neighbour is dead (measured with iroh-gossip)."""


class FakePresence:
    """Presence as the test and the lab set it."""

    def __init__(self) -> None:
        self.states: dict[str, PeerState] = {}
        self.mute: set[str] = set()
        self.outvoted: set[str] = set()

    def state(self, store_id: str, peer_id: str) -> PeerState | None:
        return self.states.get(peer_id)

    def online(self, store_id: str) -> Collection[str]:
        return {one for one, state in self.states.items() if state is PeerState.ONLINE and one not in self.mute}

    def silent_peers(self, store_id: str, most: int) -> list[str]:
        silent = (PeerState.SUSPECT, PeerState.OFFLINE)
        return [one for one, state in self.states.items() if state in silent][:most]

    def set_mute(self, store_id: str, peer_id: str, mute: bool, now: float) -> None:
        (self.mute.add if mute else self.mute.discard)(peer_id)

    def set_outvoted(self, store_id: str, peer_id: str, identity: str, since: float | None, now: float) -> None:
        (self.outvoted.discard if since is None else self.outvoted.add)(peer_id)


@dataclass(eq=False)
class Member:
    """One node."""

    node_id: str
    rhythm: float
    """Seconds between two broadcasts; 0: it broadcasts nothing."""
    interval: float
    reports: bool = True
    capable: bool = True
    alive: bool = True
    view: dict[str, None] = field(default_factory=dict[str, None])
    """Its neighbours, as the overlay has them."""
    up_at: dict[str, float] = field(default_factory=dict[str, float])
    """When each became one."""
    broadcasts: int = 0
    heard: Counter[str] = field(default_factory=Counter[str])
    heard_at: dict[str, float] = field(default_factory=dict[str, float])
    direct: dict[str, bool] = field(default_factory=dict[str, bool])
    unsynced: int = 0
    sessions: int = 0
    in_flight: list[LivenessReported] = field(default_factory=list[LivenessReported])
    """Its reports that have not arrived; what it sends later arrives behind them, for a stream keeps the order."""


class Lab:
    """Nodes named n0, n1, ... in one store, and the diagnosis that gets their reports."""

    def __init__(self, parameters: LivenessParameters, seed: int = 0, view: int = VIEW, latency: float = 0.1) -> None:
        self.presence = FakePresence()
        self.diagnosis = LoneDiagnosis(parameters, self.presence)
        self.latency = latency
        self.members: dict[str, Member] = {}
        self.findings: list[tuple[float, Finding]] = []
        self.blocked: Callable[[str, str, bool], bool] = lambda sender, receiver, large: False
        """Whether a message from a sender to a receiver is lost."""
        self.heals = True
        """Whether the nodes carry out rejoins."""
        self._chance = random.Random(seed)
        self._timeline = Timeline(1000.0)
        self._overlay = ShuffledOverlay(self._chance, self._on_link, view, self._passes_both_ways, self._alive)
        self._held_up: list[tuple[str, set[str]]] = []
        """Messages that a cut stopped: the author, and the nodes that have them."""

    @property
    def now(self) -> float:
        """Service time."""
        return self._timeline.now

    # Building.

    def add(
        self,
        node_id: str,
        rhythm: float = 2.0,
        interval: float = 2.0,
        *,
        reports: bool = True,
        capable: bool = True,
        linked: bool = True,
    ) -> Member:
        """Add a node, ``linked`` with others at random."""
        self._overlay.add(node_id)
        view = self._overlay.views[node_id]
        member = self.members[node_id] = Member(node_id, rhythm, interval, reports, capable, view=view)
        self.presence.states[node_id] = PeerState.ONLINE
        self._attach(member)
        others = [one for one in self._alive() if one != node_id] if linked else []
        for other in self._chance.sample(others, min(len(others), self._chance.randint(1, 3))):
            self.link(node_id, other)
        if rhythm:
            self._timeline.plan(self._chance.uniform(0.0, rhythm), self._beat, member)
        if reports:
            self._timeline.plan(self._chance.uniform(0.0, interval), self._report, member)
        return member

    def grow(self, count: int, **how: Any) -> Iterable[Member]:
        """Add nodes."""
        first = len(self.members)
        return [self.add(f"n{first + number}", **how) for number in range(count)]

    def complete(self) -> None:
        """Link every node with every other."""
        for one, other in itertools.combinations(self.members, 2):
            self.link(one, other)

    def link(self, one: str, other: str) -> None:
        """Link two nodes."""
        self._overlay.link(one, other)

    def unlink(self, one: str, other: str) -> None:
        """Remove a link."""
        self._overlay.unlink(one, other)

    def leave(self, node_id: str, *, announced: bool = True) -> None:
        """A node leaves, or vanishes; its neighbours find others, so the overlay stays connected."""
        member = self.members[node_id]
        member.alive = False
        for peer_id in list(member.view):
            self.unlink(node_id, peer_id)
        self._repair()
        self.presence.states[node_id] = PeerState.LEFT if announced else PeerState.OFFLINE
        if announced:
            self.tell(NodeDetached(node_id, f"{node_id}-{member.sessions}", left=True))

    def _repair(self) -> None:
        """Connect the components of the overlay through nodes at random, as shuffles do."""
        while len(apart := self.components()) > 1:
            self.link(self._chance.choice(apart[0]), self._chance.choice(apart[1]))

    def repair_within(self, side: Collection[str]) -> None:
        """Connect the components within one side of a cut."""
        while len(apart := [one for one in self.components() if one[0] in side]) > 1:
            self.link(apart[0][0], apart[1][0])

    def repair_without(self, node_id: str) -> None:
        """Connect the components of the overlay, without one node."""
        self.repair_within([one for one in self.members if one != node_id])

    # Time.

    def run(self, length: float) -> None:
        """Let time pass."""
        until = self.now + length
        while True:
            deadline, next_at = self.diagnosis.next_deadline(), self._timeline.next_at()
            if deadline is not None and deadline <= min(until, until if next_at is None else next_at):
                self._timeline.now = max(self.now, deadline)
                self.tell(TimePassed())
            elif next_at is not None and next_at <= until:
                self._timeline.step()
            else:
                self._timeline.now = until
                return

    def tell(self, event: LivenessEvent) -> None:
        """Hand over an event, and carry out the findings."""
        for finding in self.diagnosis.handle(event, self.now):
            self.findings.append((self.now, finding))
            match finding:
                case SyncWanted():
                    self._timeline.plan(self.latency, self._sync, finding)
                case NodeSuspected() if self.heals:
                    self._timeline.plan(self.latency, self._rejoin, finding)
                case _:
                    pass

    # What nodes do.

    def _attach(self, member: Member) -> None:
        member.sessions += 1
        session = f"{member.node_id}-{member.sessions}"
        self.tell(
            NodeAttached(member.node_id, session, (STORE,), capabilities=CAN_SYNC if member.capable else frozenset())
        )

    def _beat(self, member: Member) -> None:
        if member.alive:
            self.broadcast(member.node_id)
            self._timeline.plan(member.rhythm * self._chance.uniform(0.8, 1.2), self._beat, member)

    def lose(self, node_id: str, count: int) -> None:
        """Lose ``count`` broadcasts of a node, and all it sends until ``mend``."""
        self.blocked = lambda sender, receiver, large: sender == node_id
        for _ in range(count):
            self.broadcast(node_id)

    def broadcast(self, node_id: str, *, large: bool = False) -> None:
        """A node broadcasts; the flood follows the open links."""
        self.members[node_id].broadcasts += 1
        came_from = self._overlay.flood(
            node_id, lambda sender, peer: self.members[peer].alive and not self.blocked(sender, peer, large)
        )
        has_it = {node_id, *came_from}
        if not large and not has_it.issuperset(self._alive()):
            self._held_up.append((node_id, has_it))
        for peer_id, sender in came_from.items():
            delay = self._chance.uniform(0.01, self.latency)
            self._timeline.plan(delay, self._receive, peer_id, node_id, sender == node_id)

    def _receive(self, node_id: str, author_id: str, direct: bool) -> None:
        member = self.members[node_id]
        member.heard[author_id] += 1
        member.heard_at[author_id] = self.now
        member.direct[author_id] = direct

    def _report(self, member: Member) -> None:
        if not member.alive:
            return
        self._timeline.plan(member.interval, self._report, member)
        report = LivenessReported(
            node_id=member.node_id,
            store_id=STORE,
            heard={peer_id: member.heard_at[peer_id] for peer_id in member.heard},
            neighbors={peer_id: member.up_at[peer_id] for peer_id in member.view},
            broadcast_count=member.broadcasts,
            unsynced_writes=member.unsynced,
            heard_counts=tuple(member.heard.values()),
            direct=[peer_id for peer_id in member.heard if member.direct[peer_id]],
        )
        member.in_flight.append(report)
        self._timeline.plan(self._chance.uniform(0.0, self.latency), self._deliver, member, report)

    def _deliver(self, member: Member, report: LivenessReported) -> None:
        """Hand over a node's reports up to this one, unless they have arrived."""
        while report in member.in_flight:
            arrived = member.in_flight.pop(0)
            if member.alive:
                self.tell(arrived)

    def reaches(self, one: str, other: str) -> bool:
        """Whether a connection between two nodes can be made."""
        alive = self.members[one].alive and self.members[other].alive
        return alive and not self.blocked(one, other, False) and not self.blocked(other, one, False)

    def _sync(self, wanted: SyncWanted) -> None:
        ok = self.reaches(wanted.node_id, wanted.peer_id)
        finished = SyncFinished(wanted.node_id, STORE, wanted.peer_id, ok, "" if ok else "no route")
        self._timeline.plan(0.05 if ok else 5.0, self.tell, finished)

    def _rejoin(self, suspected: NodeSuspected) -> None:
        others = [one for one in self.members if one != suspected.node_id and self.reaches(suspected.node_id, one)]
        named = [one for one in suspected.bridge if one in others]
        for peer_id in named[:1] or self._chance.sample(others, min(1, len(others))):
            self.link(suspected.node_id, peer_id)

    # What happens to them.

    def cut(self, *sides: Collection[str]) -> None:
        """Let no message pass between these groups; links across go down much later."""
        side_of = {node_id: number for number, side in enumerate(sides) for node_id in side}
        self.blocked = lambda sender, receiver, large: side_of.get(sender) != side_of.get(receiver)
        for one in self.members.values():
            for peer_id in list(one.view):
                if side_of.get(one.node_id) != side_of.get(peer_id):
                    self._timeline.plan(self._chance.uniform(*DOWN_AFTER), self._go_down, one.node_id, peer_id)

    def mend(self, *, late: bool = False) -> None:
        """Let everything pass again; ``late`` delivers what the cut held back, as transports do after a short one."""
        self.blocked = lambda sender, receiver, large: False
        for author_id, reached in self._held_up if late else ():
            for peer_id in self.members:
                if peer_id not in reached and self.members[peer_id].alive:
                    self._timeline.plan(self._chance.uniform(0.05, 0.6), self._receive, peer_id, author_id, False)
        self._held_up.clear()

    def components(self) -> list[list[str]]:
        """The live nodes by component of the overlay, over links that pass messages both ways."""
        return self._overlay.components(self._passes_both_ways, self._alive())

    def _alive(self) -> list[str]:
        return [node_id for node_id, member in self.members.items() if member.alive]

    def _passes_both_ways(self, one: str, other: str) -> bool:
        return not self.blocked(one, other, False) and not self.blocked(other, one, False)

    def _go_down(self, one: str, other: str) -> None:
        if self.blocked(one, other, False):
            self._overlay.drop(one, other)

    def _on_link(self, node_id: str, peer_id: str, up: bool) -> None:
        """A node notices that a neighbour is up or down, and reports it."""
        member = self.members[node_id]
        if up:
            member.up_at[peer_id] = self.now
        if member.reports and member.alive:
            for report in member.in_flight[-1:]:
                self._deliver(member, report)
            self.tell(NeighborChanged(node_id, STORE, peer_id, up, self.now))

    # What was found.

    def suspected(self, *causes: Cause) -> list[tuple[float, NodeSuspected]]:
        """The triggers, of these causes or of any."""
        return [
            (at, one)
            for at, one in self.findings
            if isinstance(one, NodeSuspected) and (not causes or one.cause in causes)
        ]

    def cleared(self) -> list[tuple[float, SuspicionEnded]]:
        return [(at, one) for at, one in self.findings if isinstance(one, SuspicionEnded)]

    def wanted(self) -> list[tuple[float, SyncWanted]]:
        return [(at, one) for at, one in self.findings if isinstance(one, SyncWanted)]


def make(seed: int = 0, view: int = VIEW, latency: float = 0.1, **changed: float) -> Lab:
    """A lab without nodes."""
    return Lab(LivenessParameters(**changed), seed, view, latency)  # type: ignore[arg-type]


def settled(seed: int, count: int) -> Lab:
    """A lab whose nodes are all neighbours, and have talked for longer than two windows."""
    lab = make(seed)
    lab.grow(count)
    lab.complete()
    lab.run(70)
    return lab


def accused(found: Sequence[tuple[float, NodeSuspected | SuspicionEnded]]) -> list[tuple[str, Cause]]:
    """Node and cause of each finding."""
    return [(one.node_id, one.cause) for _, one in found]


def names(count: int, first: int = 0) -> list[str]:
    """The ids of ``count`` nodes."""
    return [f"n{number}" for number in range(first, first + count)]

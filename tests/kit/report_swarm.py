"""A swarm with known truth: nodes with active views, floods, losses by direction and size, and honest reports.

It drives a Diagnosis (or anything with ``handle`` and ``next_deadline``) through time, carries out its findings, and
never tells it more than real nodes could.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from gossipcontrol.server.core.decision import Capability, Cause
from gossipcontrol.server.core.diagnosis.diagnosis import Diagnosis
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
from hypothesis import Phase

from tests.kit.roster import LoneDiagnosis

STORE = "notes"
CAN_SYNC = frozenset({Capability.SYNC_WITH_PEER})
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
"""For properties with long runs: shrinking would take minutes, and the seed says enough."""
DOWN_AFTER = (48.0, 60.0)
"""Seconds after which a node notices that a neighbour is dead (measured with iroh-gossip)."""


class Core(Protocol):
    """The object under test."""

    def handle(self, event: LivenessEvent, now: float) -> list[Finding]: ...

    def next_deadline(self) -> float | None: ...


class FakePresence:
    """Presence, set from the known truth."""

    def __init__(self) -> None:
        self.states: dict[str, PeerState] = {}
        self.mute: set[str] = set()

    def state(self, store_id: str, peer_id: str) -> PeerState | None:
        return self.states.get(peer_id)

    def online(self, store_id: str) -> Collection[str]:
        return {one for one, state in self.states.items() if state is PeerState.ONLINE and one not in self.mute}

    def silent_peers(self, store_id: str, most: int) -> list[str]:
        silent = (PeerState.SUSPECT, PeerState.OFFLINE)
        return [one for one, state in self.states.items() if state in silent][:most]

    def set_mute(self, store_id: str, peer_id: str, mute: bool, now: float) -> None:
        (self.mute.add if mute else self.mute.discard)(peer_id)


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
    view: dict[str, float] = field(default_factory=dict[str, float])
    broadcasts: int = 0
    heard: Counter[str] = field(default_factory=Counter[str])
    heard_at: dict[str, float] = field(default_factory=dict[str, float])
    direct: dict[str, bool] = field(default_factory=dict[str, bool])
    unsynced: int = 0
    sessions: int = 0


class Swarm:
    """Nodes named n0, n1, ..."""

    def __init__(self, core: Core, presence: FakePresence, seed: int = 0, view: int = 5, latency: float = 0.1) -> None:
        self.core = core
        self.presence = presence
        self.chance = random.Random(seed)
        self.now = 1000.0
        self.view = view
        self.latency = latency
        self.members: dict[str, Member] = {}
        self.findings: list[tuple[float, Finding]] = []
        self.blocked: Callable[[str, str, bool], bool] = lambda sender, receiver, large: False
        """Whether a message from a sender to a receiver is lost."""
        self.heals = True
        """Whether the swarm carries out rejoins."""
        self._held_up: list[tuple[str, set[str]]] = []
        """Messages that a cut stopped: the author, and the nodes that have them."""
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = itertools.count()

    # Building.

    def add(
        self, node_id: str, rhythm: float = 2.0, interval: float = 2.0, *, reports: bool = True, capable: bool = True
    ) -> Member:
        """Add a node, linked with others at random."""
        member = self.members[node_id] = Member(node_id, rhythm, interval, reports, capable)
        self.presence.states[node_id] = PeerState.ONLINE
        self._attach(member)
        others = [one for one in self.members.values() if one is not member and one.alive]
        for other in self.chance.sample(others, min(len(others), self.chance.randint(1, 3))):
            self.link(member, other)
        if rhythm:
            self.at(self.chance.uniform(0.0, rhythm), self._beat, member)
        if reports:
            self.at(self.chance.uniform(0.0, interval), self._report, member)
        return member

    def grow(self, count: int, **how: Any) -> Iterable[Member]:
        """Add nodes."""
        first = len(self.members)
        return [self.add(f"n{first + number}", **how) for number in range(count)]

    def complete(self) -> None:
        """Link every node with every other."""
        for one, other in itertools.combinations(self.members.values(), 2):
            self.link(one, other)

    def link(self, one: Member, other: Member) -> None:
        """Link two nodes; a full view evicts a neighbour that has others, as after a shuffle."""
        if one is other or other.node_id in one.view:
            return
        self._set(one, other, up=True)
        for full in (one, other):
            if len(full.view) > self.view:
                for victim in sorted(full.view, key=lambda _: self.chance.random()):
                    if victim not in (one.node_id, other.node_id) and self._keeps_whole(full, self.members[victim]):
                        self._set(full, self.members[victim], up=False)
                        break

    def leave(self, node_id: str, *, says_so: bool = True) -> None:
        """A node leaves; its neighbours find others, so the overlay stays connected."""
        member = self.members[node_id]
        member.alive = False
        for peer_id in list(member.view):
            self._set(member, self.members[peer_id], up=False)
        self.repair()
        self.presence.states[node_id] = PeerState.LEFT if says_so else PeerState.OFFLINE
        if says_so:
            self.tell(NodeDetached(node_id, f"{node_id}-{member.sessions}", left=True))

    def repair(self) -> None:
        """Connect the components of the overlay, as shuffles do."""
        while len(pieces := self.pieces()) > 1:
            one, other = pieces[0], pieces[1]
            self.link(self.members[self.chance.choice(one)], self.members[self.chance.choice(other)])

    def repair_within(self, side: Collection[str]) -> None:
        """Connect the components within one side of a cut."""
        while len(pieces := [piece for piece in self.pieces() if piece[0] in side]) > 1:
            self.link(self.members[pieces[0][0]], self.members[pieces[1][0]])

    def repair_without(self, node_id: str) -> None:
        """Connect the components of the overlay, without one node."""
        self.repair_within([one for one in self.members if one != node_id])

    # Time.

    def at(self, delay: float, what: Callable[..., None], *details: Any) -> None:
        heapq.heappush(self._queue, (self.now + delay, next(self._numbers), what, details))

    def run(self, length: float) -> None:
        """Let time pass."""
        until = self.now + length
        while True:
            deadline = self.core.next_deadline()
            next_at = self._queue[0][0] if self._queue else until
            if deadline is not None and deadline <= min(next_at, until):
                self.now = max(self.now, deadline)
                self.tell(TimePassed())
            elif next_at <= until and self._queue:
                self.now, _, what, details = heapq.heappop(self._queue)
                what(*details)
            else:
                self.now = until
                return

    def tell(self, event: LivenessEvent) -> None:
        """Hand over an event, and carry out the findings."""
        for finding in self.core.handle(event, self.now):
            self.findings.append((self.now, finding))
            match finding:
                case SyncWanted():
                    self.at(self.latency, self._sync, finding)
                case NodeSuspected() if self.heals:
                    self.at(self.latency, self._rejoin, finding)
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
            self.at(member.rhythm * self.chance.uniform(0.8, 1.2), self._beat, member)

    def lose(self, node_id: str, count: int) -> None:
        """Lose ``count`` broadcasts of a node, and all it sends until ``mend``."""
        self.blocked = lambda sender, receiver, large: sender == node_id
        for _ in range(count):
            self.broadcast(node_id)

    def broadcast(self, node_id: str, *, large: bool = False) -> None:
        """A node broadcasts; the flood follows the open links."""
        author = self.members[node_id]
        author.broadcasts += 1
        reached, frontier = {node_id: node_id}, [node_id]
        while frontier:
            sender = frontier.pop(0)
            for peer_id in self.members[sender].view:
                other = self.members[peer_id]
                open_ = sender in other.view and other.alive and not self.blocked(sender, peer_id, large)
                if open_ and peer_id not in reached:
                    reached[peer_id] = sender
                    frontier.append(peer_id)
        missing = [one for one, member in self.members.items() if member.alive and one not in reached]
        if missing and not large:
            self._held_up.append((node_id, set(reached)))
        for peer_id, sender in reached.items():
            if peer_id != node_id:
                self.at(self.chance.uniform(0.01, self.latency), self._receive, peer_id, node_id, sender == node_id)

    def _receive(self, node_id: str, author_id: str, direct: bool) -> None:
        member = self.members[node_id]
        member.heard[author_id] += 1
        member.heard_at[author_id] = self.now
        member.direct[author_id] = direct

    def _report(self, member: Member) -> None:
        if not member.alive:
            return
        self.at(member.interval, self._report, member)
        report = LivenessReported(
            node_id=member.node_id,
            store_id=STORE,
            heard={peer_id: member.heard_at[peer_id] for peer_id in member.heard},
            neighbors=dict(member.view),
            broadcast_count=member.broadcasts,
            unsynced_writes=member.unsynced,
            heard_counts=tuple(member.heard.values()),
            direct=[peer_id for peer_id in member.heard if member.direct[peer_id]],
        )
        self.at(self.chance.uniform(0.0, self.latency), self._deliver, report)

    def _deliver(self, report: LivenessReported) -> None:
        if self.members[report.node_id].alive:
            self.tell(report)

    def reaches(self, one: str, other: str) -> bool:
        """Whether a connection between two nodes can be made."""
        alive = self.members[one].alive and self.members[other].alive
        return alive and not self.blocked(one, other, False) and not self.blocked(other, one, False)

    def _sync(self, wanted: SyncWanted) -> None:
        ok = self.reaches(wanted.node_id, wanted.peer_id)
        finished = SyncFinished(STORE and wanted.node_id, STORE, wanted.peer_id, ok, "" if ok else "no route")
        self.at(0.05 if ok else 5.0, self.tell, finished)

    def _rejoin(self, suspected: NodeSuspected) -> None:
        member = self.members[suspected.node_id]
        others = [one for one in self.members if one != suspected.node_id and self.reaches(suspected.node_id, one)]
        named = [one for one in suspected.bridge if one in others]
        for peer_id in named[:1] or self.chance.sample(others, min(1, len(others))):
            self.link(member, self.members[peer_id])

    # What happens to them.

    def cut(self, *sides: Collection[str]) -> None:
        """Let no message pass between these groups; links across go down much later."""
        side_of = {node_id: number for number, side in enumerate(sides) for node_id in side}
        self.blocked = lambda sender, receiver, large: side_of.get(sender) != side_of.get(receiver)
        for one in self.members.values():
            for peer_id in list(one.view):
                if side_of.get(one.node_id) != side_of.get(peer_id):
                    self.at(self.chance.uniform(*DOWN_AFTER), self._go_down, one, self.members[peer_id])

    def mend(self, *, late: bool = False) -> None:
        """Let everything pass again; ``late`` delivers what the cut held back, as transports do after a short one."""
        self.blocked = lambda sender, receiver, large: False
        for author_id, reached in self._held_up if late else ():
            for peer_id in self.members:
                if peer_id not in reached and self.members[peer_id].alive:
                    self.at(self.chance.uniform(0.05, 0.6), self._receive, peer_id, author_id, False)
        self._held_up.clear()

    def components(self) -> int:
        """Number of components of the overlay."""
        return len(self.pieces())

    def pieces(self) -> list[list[str]]:
        """The live nodes by component of the overlay, over links that pass messages both ways."""
        left, found = {one: member for one, member in self.members.items() if member.alive}, list[list[str]]()
        while left:
            first = next(iter(left))
            del left[first]
            piece, frontier = [first], [first]
            while frontier:
                one = frontier.pop()
                for other in self.members[one].view:
                    passes = not self.blocked(one, other, False) and not self.blocked(other, one, False)
                    if other in left and passes:
                        del left[other]
                        piece.append(other)
                        frontier.append(other)
            found.append(piece)
        return found

    def _go_down(self, one: Member, other: Member) -> None:
        if other.node_id in one.view and self.blocked(one.node_id, other.node_id, False):
            del one.view[other.node_id]
            self.tell(NeighborChanged(one.node_id, STORE, other.node_id, False, self.now))

    def _set(self, one: Member, other: Member, *, up: bool) -> None:
        for member, peer in ((one, other), (other, one)):
            if up:
                member.view[peer.node_id] = self.now
            else:
                member.view.pop(peer.node_id, None)
            if member.reports and member.alive:
                self.tell(NeighborChanged(member.node_id, STORE, peer.node_id, up, self.now))

    def _keeps_whole(self, one: Member, other: Member) -> bool:
        """Whether the overlay stays connected without a link."""
        before = self.components()
        up_at, other_up_at = one.view.pop(other.node_id), other.view.pop(one.node_id)
        whole = self.components() == before
        one.view[other.node_id], other.view[one.node_id] = up_at, other_up_at
        return whole

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


def make(seed: int = 0, view: int = 5, latency: float = 0.1, **changed: float) -> Swarm:
    """A swarm without nodes, monitored by a Diagnosis."""
    presence = FakePresence()
    parameters = LivenessParameters(**changed)  # type: ignore[arg-type]
    return Swarm(LoneDiagnosis(parameters, presence), presence, seed, view, latency)


def settled(seed: int, count: int) -> Swarm:
    """A swarm of neighbours that have talked for longer than two windows."""
    swarm = make(seed)
    swarm.grow(count)
    swarm.complete()
    swarm.run(70)
    return swarm


def accused(found: Sequence[tuple[float, NodeSuspected | SuspicionEnded]]) -> list[tuple[str, Cause]]:
    """Node and cause of each finding."""
    return [(one.node_id, one.cause) for _, one in found]


def diagnosis(swarm: Swarm) -> Diagnosis:
    """The diagnosis that monitors the swarm."""
    assert isinstance(swarm.core, Diagnosis)
    return swarm.core


def names(count: int, first: int = 0) -> list[str]:
    """The ids of ``count`` nodes."""
    return [f"n{number}" for number in range(first, first + count)]

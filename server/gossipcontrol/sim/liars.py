"""A fleet with liars in virtual time: honest nodes that gossip well, and a few that say what is not true of others.

The lies are those of nodes with credentials of their own. What is measured is what they do to the honest ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import count

from gossipcontrol.server.core.core import Core
from gossipcontrol.server.core.decision import Capability, Cause, Rung
from gossipcontrol.server.core.effect import StartRejoin
from gossipcontrol.server.core.event import (
    Event,
    LivenessReported,
    NodeAttached,
    RejoinFinished,
    RejoinRequested,
    SyncFinished,
    TimePassed,
)
from gossipcontrol.server.core.finding import StartSync
from gossipcontrol.server.core.presence.record import PeerState

STORE = "s"
VICTIM = "n0"
INVENTED = 300
"""Peers that one report invents."""
HASTE = 20.0
"""How many times more often a liar reports that wants its peers to seem the freshest."""
CLAIMED = 5.0
"""Broadcasts per second that a liar claims."""
AGE = 0.3
"""Seconds since the last message of a peer, as reports say."""
AFTER_REJOIN = 2
"""Reports of a node soon after its rejoin, as agents make them, whatever the interval is: they prove it."""
MANUAL = 30.0
"""Seconds between two rejoins that people ask of one honest node: each names bootstrap peers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Who lies, how, and for how long."""

    lie: str = ""
    """A key of ``LIES``; empty: nobody lies."""
    honest: int = 28
    liars: int = 2
    seconds: float = 300.0
    interval: float = 2.0
    """Seconds between two reports of a node."""


@dataclass(slots=True)
class Harm:
    """What became of the honest nodes."""

    rejoins: Counter[str] = field(default_factory=Counter[str])
    """Honest node -> rejoins that nobody asked for."""
    resubscribed: int = 0
    """Those of them that took a node off its endpoint."""
    places: int = 0
    """Places of bootstrap peers in the commands to honest nodes."""
    false_places: int = 0
    """Those that named liars, or peers that do not exist."""
    dials: int = 0
    """Syncs with liars, or peers that do not exist, that honest nodes were asked for."""
    triggers: int = 0
    """Rejoins of the victim."""
    state: PeerState | None = None
    """The victim's presence at the end."""


class Fleet:
    """Honest nodes in a ring with four neighbours each, a message a second; and liars."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.honest = [f"n{number}" for number in range(trial.honest)]
        self.liars = [f"liar{number}" for number in range(trial.liars)]
        self.now = 1000.0
        self.harm = Harm()
        self.core = Core()
        self._began = self.now
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    def run(self) -> Harm:
        """Run the trial."""
        step = self.trial.interval / (len(self.honest) + len(self.liars))
        for number, node_id in enumerate((*self.honest, *self.liars)):
            self._at(number * step, self._attach, node_id)
        for number, node_id in enumerate(self.honest):
            self._at(MANUAL + MANUAL * number / len(self.honest), self._ask, node_id)
        until = self.now + self.trial.seconds
        while self._due[0][0] <= until:
            at, _, act = heappop(self._due)
            self._advance(at)
            act()
        self.harm.state = self.core.liveness.presence.state(STORE, VICTIM)
        return self.harm

    # What nodes say.

    def _attach(self, node_id: str) -> None:
        for own in self._ids(node_id):
            able = frozenset(Capability)
            self._handle(NodeAttached(own, f"s-{own}", (STORE,), capabilities=able, speaker=node_id))
        self._report(node_id)

    def _report(self, node_id: str) -> None:
        haste = HASTE if node_id in self.liars and self.trial.lie == "invent" else 1.0
        self._at(self.trial.interval / haste, self._report, node_id)
        self._say(node_id)

    def _say(self, node_id: str) -> None:
        told = LIES[self.trial.lie](self, node_id) if node_id in self.liars and self.trial.lie else None
        for event in told if told is not None else (self.truth(node_id),):
            self._handle(event)

    def _ids(self, node_id: str) -> list[str]:
        """The nodes of an identity: a liar that feigns a partition has two."""
        return [node_id, f"{node_id}+"] if node_id in self.liars and self.trial.lie == "partition" else [node_id]

    @property
    def sent(self) -> int:
        """Messages that each node has sent."""
        return int(self.now - self._began)

    def truth(self, node_id: str) -> LivenessReported:
        """An honest report: everybody who broadcasts is heard, but for the victim where it is mute."""
        silent = {VICTIM} if self.trial.lie == "mask" else set[str]()
        if self.trial.lie in ("partition", "claim"):
            silent.update(self.liars)
        heard = [one for one in (*self.honest, *self.liars) if one != node_id and one not in silent]
        return self.report(node_id, dict.fromkeys(heard, self.sent), self._neighbors(node_id))

    def report(
        self, node_id: str, counts: dict[str, int], neighbors: list[str], sent: int | None = None, speaker: str = ""
    ) -> LivenessReported:
        """A report that names these peers as heard just now."""
        return LivenessReported(
            node_id=node_id,
            store_id=STORE,
            heard=dict.fromkeys(counts, self.now - AGE),
            neighbors=dict.fromkeys(neighbors, self._began),
            broadcast_count=self.sent if sent is None else sent,
            heard_counts=tuple(counts.values()),
            speaker=speaker or node_id,
        )

    def _neighbors(self, node_id: str) -> list[str]:
        ring = self.honest
        if node_id not in ring:
            return [ring[len(node_id) % len(ring)]]
        place = ring.index(node_id)
        return [ring[(place + offset) % len(ring)] for offset in (-2, -1, 1, 2)]

    # What the service does.

    def _handle(self, event: Event) -> None:
        turn = self.core.handle(event, self.now)
        for effect in turn.effects:
            if isinstance(effect, StartRejoin):
                self._started(effect)
        for finding in turn.findings:
            if isinstance(finding, StartSync):
                self._sync(finding)

    def _started(self, start: StartRejoin) -> None:
        self._at(0.5, self._handle, RejoinFinished(start.rejoin_id, start.attempt, True))
        for number in range(AFTER_REJOIN):
            self._at(2.0 * (1 + number), self._say, start.node_id.removesuffix("+"))
        harm, honest = self.harm, set(self.honest)
        if start.node_id not in honest:
            return
        harm.places += len(start.bootstrap)
        harm.false_places += sum(peer.peer_id not in honest for peer in start.bootstrap)
        if start.node_id == VICTIM and self.trial.lie == "mask":
            harm.triggers += start.causes != (Cause.MANUAL,)
        elif start.causes != (Cause.MANUAL,):
            harm.rejoins[start.node_id] += 1
            harm.resubscribed += start.rung > Rung.REJOIN

    def _sync(self, wanted: StartSync) -> None:
        """Honest nodes reach whoever is there; liars say that they do."""
        known = {*self.honest, *self.liars}
        reached = wanted.peer_id in known or self.trial.lie == "partition"
        self.harm.dials += wanted.node_id in self.honest and wanted.peer_id not in self.honest
        self._at(0.2, self._handle, SyncFinished(wanted.node_id, STORE, wanted.peer_id, reached))

    def _ask(self, node_id: str) -> None:
        self._at(MANUAL, self._ask, node_id)
        self._handle(RejoinRequested(node_id))

    def _advance(self, until: float) -> None:
        while (deadline := self.core.next_deadline()) is not None and deadline <= until:
            self.now = max(self.now, deadline)
            self._handle(TimePassed())
        self.now = until

    def _at(self, wait: float, act: Callable[..., None], *words: object) -> None:
        heappush(self._due, (self.now + wait, next(self._numbers), lambda: act(*words)))


def _frame(fleet: Fleet, me: str) -> Iterator[Event]:
    """C1: the victim is a neighbour, and nothing of it is heard."""
    report = fleet.truth(me)
    heard = {one: fleet.sent for one in report.heard if one != VICTIM}
    yield fleet.report(me, heard, [VICTIM])


def _claim(fleet: Fleet, me: str) -> Iterator[Event]:
    """C2: broadcasts that never were, which the other liars say they heard."""
    many = int(CLAIMED * fleet.sent)
    others = [one for one in fleet.liars if one != me]
    heard = {**dict.fromkeys(fleet.honest, fleet.sent), **dict.fromkeys(others, many)}
    yield fleet.report(me, heard, [*fleet.honest[:2], *others[:4]], many)


def _feign_partition(fleet: Fleet, me: str) -> Iterator[Event]:
    """C3: two nodes of a liar list only each other, and say that they reached whomever."""
    one, other = me, f"{me}+"
    yield fleet.report(one, {other: fleet.sent}, [other], speaker=me)
    yield fleet.report(other, {one: fleet.sent}, [one], speaker=me)
    peer = fleet.honest[fleet.sent % len(fleet.honest)]
    yield SyncFinished(one, STORE, peer, True, speaker=me)


def _invent(fleet: Fleet, me: str) -> Iterator[Event]:
    """C4: hundreds of peers that do not exist, all heard at this very moment; all liars name the same."""
    names = [f"invented{number}" for number in range(INVENTED)]
    report = fleet.report(me, dict.fromkeys([*names, *fleet.honest], fleet.sent), [fleet.honest[0]])
    yield replace(report, heard={**report.heard, **dict.fromkeys(names, fleet.now)})


def _mask(fleet: Fleet, me: str) -> Iterator[Event]:
    """C5: the victim is mute, and the liars claim to hear it."""
    report = fleet.truth(me)
    yield fleet.report(me, dict.fromkeys([*report.heard, VICTIM], fleet.sent), [VICTIM, fleet.honest[1]])


LIES: dict[str, Callable[[Fleet, str], Iterator[Event]]] = {
    "frame": _frame,
    "claim": _claim,
    "partition": _feign_partition,
    "invent": _invent,
    "mask": _mask,
}
"""The lies C1 to C5 of the threat model."""

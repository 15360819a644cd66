"""The core: deciding, presence, diagnosis, repair and knowledge put together, once.

``handle(event, now) -> Turn`` is the only way in, and a Turn the only way out; no IO, no clock, no randomness. The
service, the simulator and every test of the whole drive this object.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from gossipcontrol.server.core.books import add_books
from gossipcontrol.server.core.codec import Plain, resolve
from gossipcontrol.server.core.deadline import earliest
from gossipcontrol.server.core.deciding.engine import RETURN_TIME, Engine
from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.core.deciding.record import Counts, Forecast
from gossipcontrol.server.core.deciding.registry import Node
from gossipcontrol.server.core.deciding.turn_size import TurnSizes
from gossipcontrol.server.core.decision import Capability, Cause
from gossipcontrol.server.core.diagnosis.rot_budget import StartRate
from gossipcontrol.server.core.effect import AnswerTrigger, Effect, RefuseNode, RefuseTrigger, StartRejoin
from gossipcontrol.server.core.event import (
    AddressesProved,
    CancelRequested,
    ChangeKind,
    DecidingEvent,
    Event,
    ForgetRequested,
    LivenessEvent,
    LivenessReported,
    NeighborChanged,
    NetworkChanged,
    NodeAttached,
    NodeDetached,
    NodesSlept,
    NodesWoke,
    OwnerChanged,
    RejoinFinished,
    RejoinRequested,
    RestartFinished,
    ServiceStarted,
    StartDelayed,
    SuspicionEnded,
    SyncFinished,
    TimePassed,
)
from gossipcontrol.server.core.finding import (
    DeafnessChanged,
    Finding,
    IdShared,
    NodeSuspected,
    OfferSync,
    OverloadChanged,
    PresenceChanged,
    StartSync,
    SyncWanted,
    WritesUnshared,
)
from gossipcontrol.server.core.identity import SharedIds
from gossipcontrol.server.core.knowledge.event import IntentionsRecorded, KnowledgeEvent, MembersChanged
from gossipcontrol.server.core.knowledge.parameter import KnowledgeParameters
from gossipcontrol.server.core.knowledge.store import KnowledgeStore, Outcome
from gossipcontrol.server.core.knowledge.tracker import Recorded
from gossipcontrol.server.core.knowledge.unshared_writes import UnsharedWriteScanner
from gossipcontrol.server.core.liveness import Liveness
from gossipcontrol.server.core.memory import MemoryBudget
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.repair.asked_syncs import AskedSyncs
from gossipcontrol.server.core.repair.sync_offers import SyncOffers
from gossipcontrol.server.core.room import KNOWLEDGE_SHARE, NO_ROOM, Asking, NoRoom, Room
from gossipcontrol.server.core.settling import Settling
from gossipcontrol.server.core.slices import Slices, finish
from gossipcontrol.server.core.turn import Fact, KnowledgeFact, Turn

ASKING = (RejoinRequested, NetworkChanged, NodeAttached, LivenessReported, NeighborChanged)
"""Events that may name what is not known yet."""
DEPARTURES = 16
"""Stores of nodes that slept or woke of which liveness is told in one turn: with 100 nodes in each, some 4 ms."""
LOST_AGENTS = 32
"""Most nodes that are detached in one turn because their agents did not come back after the owner changed."""
TOLD = 8
"""Most neighbours that are asked to sync with a node that moved: an active view of iroh-gossip holds 5."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreParameters:
    """What an operator may tune, by part."""

    deciding: Parameters = field(default_factory=Parameters)
    liveness: LivenessParameters = field(default_factory=LivenessParameters)
    knowledge: KnowledgeParameters = field(default_factory=KnowledgeParameters)
    memory: int = 0
    """Bytes that all books may take; 0: no limit."""
    sizes: TurnSizes = field(default_factory=TurnSizes)
    """How much one turn decides; nothing that an operator need tune."""


class Journaling(Enum):
    """What becomes of facts now. While they are not kept, the effects of deciding do not leave either.

    So deciding's clock stands still, or a rejoin whose command has not left would be found to have done nothing.
    """

    KEEPING = "facts are kept within milliseconds"
    LATE = "facts wait longer than usual"
    FAILING = "facts cannot be kept: what nobody waits for is not even begun"


class Core:
    """All that the service knows and decides. ``id_prefix`` makes the ids of rejoins unique over restarts."""

    def __init__(
        self,
        parameters: CoreParameters | None = None,
        *,
        knowledge: KnowledgeStore | None = None,
        id_prefix: str = "",
    ) -> None:
        self.parameters = parameters = parameters or CoreParameters()
        allowed = parameters.deciding
        starts = StartRate(window=allowed.window, rate=allowed.rate, burst=allowed.burst)
        self.liveness = Liveness(parameters.liveness, starts=starts)
        self.knowledge = knowledge or KnowledgeStore(parameters.knowledge)
        self.deciding = Engine(parameters.deciding, self.liveness, id_prefix, parameters.sizes)
        self.catalog = self.deciding.catalog
        self._registry = self.deciding.registry
        self.liveness.use(self._registry)
        self.settling = Settling(self._registry)
        self._offers = SyncOffers()
        self.asked_syncs = AskedSyncs()
        self.memory = MemoryBudget(parameters.memory)
        self._room = Room(self.memory, self._registry)
        add_books(self.memory, self.deciding, self.liveness, self.knowledge, self._offers, self.asked_syncs)
        self._scanner = UnsharedWriteScanner(self.knowledge)
        self._node_ids = SharedIds()
        self._host_ids = SharedIds()
        self._journaling = Journaling.KEEPING
        self._deadline: float | None = None
        """The next deadline while facts are kept, if it was computed since the last event."""
        self._is_deadline_known = False
        self._departures: deque[tuple[type[NodesSlept] | type[NodesWoke], str, tuple[str, ...] | None]] = deque()
        """Nodes of hosts that slept or woke, and their stores (None: all) of which liveness is yet to be told."""
        self._handlers: dict[type[Any], Callable[[Any, float], Turn]] = {
            RejoinRequested: self._decide,
            RejoinFinished: self._decide,
            RestartFinished: self._decide,
            StartDelayed: self._decide,
            SuspicionEnded: self._decide,
            ForgetRequested: self._decide,
            CancelRequested: self._decide,
            NetworkChanged: self._on_network_changed,
            NodeAttached: self._on_attached,
            NodeDetached: self._on_detached,
            LivenessReported: self._on_report,
            NeighborChanged: self._on_agent,
            SyncFinished: self._on_sync_finished,
            IntentionsRecorded: self._on_knowledge,
            MembersChanged: self._on_knowledge,
            ServiceStarted: self._on_service_started,
            OwnerChanged: self._on_owner_changed,
            TimePassed: self._on_time_passed,
        }

    def handle(self, event: Event, now: float, journaling: Journaling = Journaling.KEEPING) -> Turn:
        """Take one event at service time ``now`` (seconds, never going backwards) and say what it leads to."""
        self._journaling = journaling
        self._is_deadline_known = False
        if not isinstance(event, ASKING):
            self.memory.recount()
            return self._handlers[type(event)](event, now)
        forgotten, refused = self._room.ask(event, now)
        if self.deciding.has_due(now):
            self.memory.recount()  # what is due comes with this event: slices of earlier triggers, peers that are asked
        if not forgotten and refused is None:
            return self._handlers[type(event)](event, now)
        return self._handle_short(event, forgotten, refused, now)

    def _handle_short(
        self, event: Asking, forgotten: Sequence[ForgetRequested], refused: NoRoom | None, now: float
    ) -> Turn:
        """Take an event for which others must be forgotten, or which is refused."""
        before = Turn([], [], [])
        for one in forgotten:
            self._trigger(before, one, now)
        if refused is None:
            turn = self._handlers[type(event)](event, now)
        elif isinstance(event, (RejoinRequested, NetworkChanged)):
            turn = Turn([RefuseTrigger(refused.retry_in, refused.reason)], [], [])
        else:
            turn = Turn([RefuseNode(refused.reason, refused.retry_in)], [], [])
        self.memory.recount()
        turn.effects, turn.facts = [*before.effects, *turn.effects], [*before.facts, *turn.facts]
        return turn

    def next_deadline(self, journaling: Journaling = Journaling.KEEPING) -> float | None:
        """The service time at which TimePassed is due; None when nothing waits."""
        if self._departures:
            return self.deciding.handled_at
        if journaling is not Journaling.KEEPING:
            return earliest(self.liveness.next_deadline(), self._scanner.next_deadline())
        if not self._is_deadline_known:
            deciding = self.deciding
            self._deadline = earliest(
                self.liveness.next_deadline(),
                self._scanner.next_deadline(),
                deciding.next_deadline(),
                deciding.returns_by(),
                deciding.clearance.next_deadline(),
            )
            self._is_deadline_known = True
        return self._deadline

    def replay(self, fact: Fact) -> Sequence[Effect]:
        """Decide again what the log kept; nothing of it may leave, and liveness hears nothing of it."""
        self._is_deadline_known = False
        self.memory.recount()
        return self.deciding.handle(fact.event, fact.at, fact.reads).effects

    # Deciding.

    def _decide(self, event: DecidingEvent, now: float) -> Turn:
        is_kept = self._journaling is Journaling.KEEPING
        return self.deciding.handle(event, now if is_kept else min(now, self.deciding.handled_at))

    def _on_network_changed(self, event: NetworkChanged, now: float) -> Turn:
        """Sleep and wake of a host are those of its nodes; a repeated request has happened before."""
        turn = self._decide(event, now)
        for effect in turn.effects:
            if isinstance(effect, AnswerTrigger) and effect.replayed:
                return turn
        if event.host_id and event.boot_id and self._host_ids.claim(event.host_id, event.boot_id, now):
            turn.findings.append(IdShared("host", event.host_id))
        departed: type[NodesSlept] | type[NodesWoke] | None = None
        # With a cloned host id nobody knows whose nodes sleep: their own reports tell.
        if event.kind is ChangeKind.SLEEPING and not self._host_ids.is_shared(event.host_id, now):
            departed = NodesSlept
        elif event.kind is ChangeKind.RESUMED:
            departed = NodesWoke
        if departed is not None:
            node_ids = event.node_ids or self._registry.nodes_on(event.host_id)
            self._departures.extend((departed, node_id, None) for node_id in node_ids)
        if self._departures:
            self._tell_departures(turn, now)
        return turn

    def _tell_departures(self, turn: Turn, now: float) -> None:
        """Tell liveness who slept or woke, up to a bound; the rest follows in the next turn of the event loop."""
        room = DEPARTURES
        while self._departures and room > 0:
            kind, node_id, left = self._departures.popleft()
            store_ids = tuple(self._registry.store_ids(node_id)) if left is None else left
            if len(store_ids) > room:
                self._departures.appendleft((kind, node_id, store_ids[room:]))
                left = store_ids[:room]
            room -= len(store_ids) + 1
            self._observe(turn, kind((node_id,), left), now)

    def _on_agent(self, event: NodeAttached | NodeDetached | NeighborChanged | LivenessReported, now: float) -> Turn:
        """What deciding refuses has not happened."""
        turn = self._decide(event, now)
        for effect in turn.effects:
            if isinstance(effect, RefuseNode):
                return turn
        self._observe(turn, event, now)
        return turn

    def _on_attached(self, event: NodeAttached, now: float) -> Turn:
        """A registration, the first of a stream or a further one."""
        before = self._registry.nodes.get(event.node_id)
        replaces = before is not None and before.reachable and before.session_id != event.session_id
        known = frozenset[str](before.addresses if before is not None else ())
        is_renamed = event.name != self._registry.name(event.node_id)
        turn = self._on_agent(event, now)
        node = self._registry.session(event.node_id, event.session_id)
        if node is not None:
            if is_renamed:
                turn.findings += self.liveness.touch(event.node_id, event.store_ids)
            self._offers.pop(event.node_id)  # what is still wanted will be asked for on its stream
            if self._node_ids.claim(event.node_id, f"{event.host_id} {event.incarnation}", now, replaces=replaces):
                turn.findings.append(IdShared("node", event.node_id))
            if not known.issuperset(node.addresses):
                self._tell_neighbors(turn, node, now)
        return turn

    def _tell_neighbors(self, turn: Turn, node: Node, now: float) -> None:
        """Have the neighbours of a node that moved sync with it: so they learn where it is, and keep the link."""
        told: set[str] = set()
        for store_id, slot in node.slots.items():
            for peer_id in slot.neighbors:
                if len(told) == TOLD:
                    return
                if peer_id not in told and self._registry.can_sync(peer_id):
                    told.add(peer_id)
                    nonce = self.asked_syncs.ask(peer_id, store_id, node.node_id, now)
                    turn.findings.append(StartSync(peer_id, store_id, node.node_id, nonce))

    def _on_detached(self, event: NodeDetached, now: float) -> Turn:
        """The end of a stream that another has replaced means nothing."""
        is_current = self._registry.session(event.node_id, event.session_id) is not None
        return self._on_agent(event, now) if is_current else Turn([], [], [])

    def _on_report(self, event: LivenessReported, now: float) -> Turn:
        if event.going_to_sleep and self._node_ids.is_shared(event.node_id, now):
            event = replace(event, going_to_sleep=False)  # the other one that has this id is awake
        node = self._registry.nodes.get(event.node_id)
        if node is not None and node.registered:
            event = self._room.trim(event)
            self.liveness.presence.is_short = self._room.is_short
        known = self._registry.neighbors + self.liveness.peer_total
        turn = self._on_agent(event, now)
        node = self._registry.nodes.get(event.node_id)
        if node is not None:
            self._registry.count_names(node, self._registry.neighbors + self.liveness.peer_total - known)
        turn.offers = self._offers.pop(event.node_id)
        for one in turn.offers:
            self.asked_syncs.renew(one.node_id, one.store_id, one.peer_id, one.nonce, now)
        return turn

    def _on_service_started(self, event: ServiceStarted, now: float) -> Turn:
        self._scanner.arm(now)
        return self._decide(event, now)

    def _on_owner_changed(self, event: OwnerChanged, now: float) -> Turn:
        """What the former owner knew of presence is gone; agents report it once they are back."""
        duration = max(RETURN_TIME, self.parameters.liveness.report_ceiling)
        self.settling.begin(now, duration)
        self.liveness.presence.settles_at = now + duration
        self.liveness.expect_return(self.deciding.registry.expected_reports())
        self._scanner.arm(now)
        return self._decide(event, now)

    def _on_time_passed(self, event: TimePassed, now: float) -> Turn:
        turn = self._decide(event, now) if self._journaling is Journaling.KEEPING else Turn([], [], [])
        if self._journaling is Journaling.KEEPING:
            for lost in self.deciding.lost_agents(now, LOST_AGENTS):
                self._trigger(turn, lost, now)
                self._observe(turn, lost, now)
            for aged in self.deciding.clearance.aged_out(now):
                self._trigger(turn, aged, now)
        self._tell_departures(turn, now)
        if _is_due(self.liveness.next_deadline(), now):
            self._observe(turn, event, now)
        for found in self._scanner.scan_due(now):
            if self.can_ask(found.author_id, found.store_id):
                self._scanner.suspect(found, now)
                evidence = found.say(now)
                turn.findings.append(WritesUnshared(found.author_id, found.store_id, evidence))
                self._trigger(
                    turn, RejoinRequested(found.author_id, (found.store_id,), Cause.SUSPICION, "", evidence), now
                )
        return turn

    # Liveness.

    def _on_sync_finished(self, event: SyncFinished, now: float) -> Turn:
        """The result of a sync that was asked for, of a node and store that have a place."""
        turn = Turn([], [], [])
        if self._registry.find_slot(event.node_id, event.store_id) is not None and self.asked_syncs.take(event, now):
            peer = self._registry.nodes.get(event.peer_id)
            if event.ok and peer is not None and peer.doubtful:
                speaker = event.speaker or event.node_id
                if speaker != (peer.speaker or peer.node_id):
                    self._trigger(turn, AddressesProved(peer.node_id), now)
            self._observe(turn, event, now)
        return turn

    def _observe(self, turn: Turn, event: LivenessEvent, now: float) -> None:
        """Let liveness take an event, and act on what it finds."""
        self.memory.recount()
        for finding in self.liveness.handle(event, now):
            self._act(turn, finding, now)

    def strange_cost(self, event: Asking) -> int:
        """The bytes that an event costs at most, if nodes that never registered are what it names; else 0."""
        return self._room.strange_cost(event)

    def _act(self, turn: Turn, finding: Finding, now: float) -> None:
        match finding:
            case PresenceChanged() | DeafnessChanged() | OverloadChanged():
                turn.findings.append(finding)
            case NodeSuspected(node_id, store_id, cause, evidence, bridge, rejoin_only, first_rung):
                triggers = self.can_ask(node_id, store_id)
                turn.findings.append(replace(finding, triggers=triggers))
                if triggers:
                    event = RejoinRequested(node_id, (store_id,), cause, "", evidence, bridge, rejoin_only, first_rung)
                    self._trigger(turn, event, now)
            case SuspicionEnded():
                turn.findings.append(finding)
                if finding.cause.is_proved_by_recovery:
                    self._trigger(turn, finding, now)
            case SyncWanted():
                self._want_sync(turn, finding, now)

    def _trigger(
        self,
        turn: Turn,
        event: RejoinRequested | SuspicionEnded | ForgetRequested | AddressesProved | NodeDetached,
        now: float,
    ) -> None:
        """Decide about what was found, in the same turn."""
        decided = self._decide(event, now)
        turn.effects += decided.effects
        turn.facts += decided.facts

    def _want_sync(self, turn: Turn, wanted: SyncWanted, now: float) -> None:
        """Ask the node now, or with the answer to its next report; one whose agent cannot sync is not asked."""
        node_id, store_id, peer_id = wanted.node_id, wanted.store_id, wanted.peer_id
        capabilities = self.capabilities(node_id)
        if capabilities is None:
            nonce = self.asked_syncs.ask(node_id, store_id, peer_id, now)
            self._offers.add(OfferSync(node_id, store_id, peer_id, nonce))
        elif Capability.SYNC_WITH_PEER in capabilities:
            nonce = self.asked_syncs.ask(node_id, store_id, peer_id, now)
            turn.findings.append(StartSync(node_id, store_id, peer_id, nonce))

    # Knowledge.

    def _on_knowledge(self, event: KnowledgeEvent, now: float) -> Turn:
        limit = KNOWLEDGE_SHARE * self.memory.limit
        is_full = limit and (self.knowledge.used_bytes > limit or self._room.is_short)
        if is_full and isinstance(event, IntentionsRecorded) and event.intentions:
            return Turn([], [], [], outcome=Outcome(Recorded(), NO_ROOM))
        outcome = self.knowledge.handle(event, now)
        self.memory.recount()
        self._scanner.arm(now)
        facts: Sequence[KnowledgeFact]
        facts = [KnowledgeFact(now, outcome.fact, outcome.room)] if outcome.fact is not None else []
        return Turn([], [*facts], [], outcome=outcome)

    # Memory.

    # What is known.

    @property
    def decided_at(self) -> float:
        """The instant of deciding's last event, service time."""
        return self.deciding.handled_at

    def can_ask(self, node_id: str, store_id: str) -> bool:
        """Whether a rejoin that nobody waits for would be kept, and a driver can act for the node in that store."""
        slot = self._registry.find_slot(node_id, store_id)
        return slot is not None and slot.node.reachable and self._journaling is not Journaling.FAILING

    def capabilities(self, node_id: str) -> frozenset[Capability] | None:
        """What the attached agent of a node can do; None when none can be asked."""
        node = self._registry.nodes.get(node_id)
        return node.capabilities if node is not None and node.reachable else None

    def name(self, node_id: str) -> str:
        """What people call a node; empty when it has no name, or is not known."""
        return self._registry.name(node_id)

    def addresses(self, node_id: str) -> tuple[str, ...]:
        """Where peers may dial a node, as far as its agent has confirmed it."""
        node = self._registry.nodes.get(node_id)
        return self._registry.given(node, node.last_addresses(self.decided_at)) if node else ()

    def runs(self, start: StartRejoin) -> bool:
        """Whether this attempt still runs."""
        return self.deciding.runs(start)

    def foretell(self, event: RejoinRequested | NetworkChanged, now: float) -> Forecast:
        """What would happen to a trigger that came now; nothing changes."""
        return finish(self.foretell_slices(event, now))

    def foretell_slices(self, event: RejoinRequested | NetworkChanged, now: float) -> Slices[Forecast]:
        """The same in slices."""
        return self.deciding.foretell(event, now)

    def claims_refused(self) -> dict[str, int]:
        """How much that nodes said of others had no effect, by kind."""
        return {
            "name": self.liveness.presence.dropped_names,
            "sync": self.asked_syncs.refused,
            "rot": self.liveness.diagnosis.rot_budget.refused,
        }

    def shared_ids(self, now: float) -> dict[str, list[str]]:
        """Ids that two seem to use, by kind: ``node``, ``host``."""
        return {"node": self._node_ids.shared(now), "host": self._host_ids.shared(now)}

    @property
    def returning(self) -> int:
        """Number of nodes whose agents have yet to come back after the owner changed."""
        return len(self._registry.returning)

    def counts(self) -> Counts:
        """The gauges of deciding."""
        return self.deciding.counts()

    # Snapshots of deciding; knowledge has snapshots of its own, store by store, and liveness has none.

    def capture(self) -> Plain:
        """The deciding state, most of which is yet to be encoded: at any time, and in any thread."""
        return finish(self.capture_slices())

    def capture_slices(self) -> Slices[Plain]:
        """The same in slices, as it is at the first of them, whatever events come between them."""
        return self.deciding.capture()

    def save(self) -> Plain:
        """The same as plain JSON."""
        return resolve(self.capture())

    def load(self, plain: Plain) -> None:
        """Take over a saved deciding state; the core must be new."""
        self._is_deadline_known = False
        self.memory.recount()
        self.deciding.load(plain)


def _is_due(deadline: float | None, now: float) -> bool:
    return deadline is not None and deadline <= now

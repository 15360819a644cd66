"""Deciding as a whole: triggers, agents and time in; commands, answers and facts out.

Triggers go through the ``intake``, the ``policy`` decides, the ``scheduler`` moves rejoins through their ``lifecycle``.
The rules stand in ``docs/algorithm/deciding.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from gossipcontrol.server.core.codec import Plain
from gossipcontrol.server.core.deciding.admission import ADMISSION_READS
from gossipcontrol.server.core.deciding.answers import Answers
from gossipcontrol.server.core.deciding.capture import Capture
from gossipcontrol.server.core.deciding.catalog import Catalog
from gossipcontrol.server.core.deciding.clearance import Clearance
from gossipcontrol.server.core.deciding.expansion import Expansion
from gossipcontrol.server.core.deciding.explain import Explainer
from gossipcontrol.server.core.deciding.history import HISTORY_READS, History
from gossipcontrol.server.core.deciding.intake import Intake
from gossipcontrol.server.core.deciding.output import Output
from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.core.deciding.peer_asker import PeerAsker
from gossipcontrol.server.core.deciding.policy import Policy
from gossipcontrol.server.core.deciding.record import Counts, Forecast
from gossipcontrol.server.core.deciding.recorded_reads import RecordedRead, RecordedReads
from gossipcontrol.server.core.deciding.registry import REGISTRY_READS, STRANGER_STORES, Host, Node, Registry, Slot
from gossipcontrol.server.core.deciding.scheduler import Scheduler
from gossipcontrol.server.core.deciding.turn_size import TurnSizes
from gossipcontrol.server.core.decision import Cause
from gossipcontrol.server.core.effect import AcceptNode, RefuseNode, StartRejoin
from gossipcontrol.server.core.event import (
    NEVER,
    AddressesProved,
    AdviceOutdated,
    CancelRequested,
    DecidingEvent,
    ForgetRequested,
    LivenessReported,
    NeighborChanged,
    NetworkChanged,
    NodeAttached,
    NodeDetached,
    OwnerChanged,
    RejoinFinished,
    RejoinProved,
    RejoinRequested,
    RestartFinished,
    ServiceStarted,
    StartDelayed,
    StoreSeen,
    SuspicionEnded,
    TimePassed,
)
from gossipcontrol.server.core.liveness import Liveness
from gossipcontrol.server.core.memory import ANSWER, DECISION, REJOIN, TRIGGER
from gossipcontrol.server.core.slices import Slices
from gossipcontrol.server.core.turn import Fact, KnowledgeFact, Turn

NODE_RETRY = 60.0
"""Seconds until a retry where every node that is known has an agent, or a rejoin of a known node is parked for it."""
RETURN_TIME = 25.0
"""Seconds that agents have to attach again after the owner changed. Where its machine is gone without a word they see
that after 15 s, ask it once more for 5 s, and come to the next owner within 2 s; they try at least every 5 s."""
RUNS_ANEW = frozenset({ServiceStarted, OwnerChanged, StartDelayed})
"""Before these nothing that is due is done."""
NOT_LOGGED = frozenset({LivenessReported, NeighborChanged, TimePassed})
"""Of these the log keeps only what they led to."""


class Engine:
    """Decides. ``id_prefix`` makes the ids of rejoins unique over restarts.

    The facts of a turn are what a log must keep: handling the same facts at the same instants, with the same recorded
    reads, gives the same deciding state. A report leaves a fact only where it proved a rejoin, outdated an advice or
    named a new store; liveness itself is not logged.
    """

    def __init__(
        self, parameters: Parameters, liveness: Liveness, id_prefix: str = "", sizes: TurnSizes | None = None
    ) -> None:
        self._parameters = parameters
        sizes = sizes or TurnSizes()
        self.registry = registry = Registry(parameters.node_limit, liveness)
        self._history = history = History(id_prefix, parameters.history_limit, parameters.history_age)
        self._reads = reads = RecordedReads()
        self._output = output = Output()
        self._scheduler = Scheduler(parameters, sizes, registry, history, reads, output)
        self._lifecycle = self._scheduler.lifecycle
        self._policy = policy = Policy(parameters, history, reads, self._scheduler)
        self._scheduler.use(PeerAsker(registry, policy, reads, output))
        self._answers = answers = Answers(parameters)
        expansion = Expansion(parameters.stores_per_node, registry, policy, answers)
        self.intake = intake = Intake(sizes, registry, history, policy, answers, expansion, output)
        self._explainer = Explainer(parameters, registry, history, policy, answers, expansion)
        self.catalog = Catalog(registry, history)
        self.clearance = clearance = Clearance(parameters.idle_age, registry, history, self._scheduler, output)
        self.handled_at = 0.0
        """Instant of the last event: deciding's own time, which stands still while nothing can be kept."""
        self._handlers: dict[type[Any], Callable[[Any, float], None]] = {
            NetworkChanged: intake.on_changed,
            RejoinRequested: intake.on_requested,
            LivenessReported: self._on_reported,
            NeighborChanged: self._on_neighbor_changed,
            RejoinFinished: self._scheduler.on_finished,
            RestartFinished: self._scheduler.on_restarted,
            NodeAttached: self._on_attached,
            NodeDetached: self._on_detached,
            TimePassed: _nothing_more,
            StartDelayed: self._scheduler.on_delayed,
            StoreSeen: self._on_store_seen,
            RejoinProved: self._scheduler.on_proved,
            AddressesProved: self._on_addresses_proved,
            AdviceOutdated: self._on_advice_outdated,
            SuspicionEnded: self._on_suspicion_ended,
            ForgetRequested: clearance.on_forget,
            CancelRequested: clearance.on_cancel,
            ServiceStarted: self._on_service_started,
            OwnerChanged: self._on_owner_changed,
        }

    def handle(self, event: DecidingEvent, now: float, recorded: Sequence[RecordedRead] = ()) -> Turn:
        """Take one event at service time ``now`` (seconds, never going backwards) and say what it leads to.

        A replay gives what was ``recorded`` when the event was first handled.
        """
        self.handled_at = now
        output, kind = self._output, type(event)
        self._reads.begin(recorded)
        output.begin()
        self._scheduler.admission.begin()
        # A new run parks first: what fell due while it was away would start on streams that are gone, or count as
        # tried in vain though its command may never have left. So it is with a command that leaves late.
        is_due = now >= self._lifecycle.wake_at and kind not in RUNS_ANEW
        if is_due:
            self._scheduler.advance(now)
        if kind in NOT_LOGGED:
            if is_due or (kind is TimePassed and self.intake.has_more):
                self._log_time(now)
            self._handlers[kind](event, now)
        else:
            self._handlers[kind](event, now)
            if not output.changed_nothing:
                output.log(event)
            elif is_due:
                self._log_time(now)
        return Turn(output.effects, self._facts(now), [])

    def _log_time(self, now: float) -> None:
        """Log that time passed: wherever that is logged, a replay decides the next slice as well."""
        self._output.log(TimePassed())
        if self.intake.has_more:
            self.intake.decide_slice(now)

    def _facts(self, now: float) -> list[Fact | KnowledgeFact]:
        """The facts of the event; what was read while it was handled belongs to the first of them."""
        facts = self._output.facts
        if not facts:
            return []
        found: list[Fact | KnowledgeFact] = [Fact(now, facts[0], tuple(self._reads.answers))]
        if len(facts) > 1:
            found += [Fact(now, fact) for fact in facts[1:]]
        return found

    def ask_nobody(self) -> None:
        """Ask no node to rejoin towards another one: whoever replays triggers has those that led to."""
        self._scheduler.use(None)

    def next_deadline(self) -> float | None:
        """The service time at which TimePassed is due; None when nothing waits."""
        return self.handled_at if self.intake.has_more else self._lifecycle.next_deadline()

    def has_due(self, now: float) -> bool:
        """Whether the next event has more done than it asks for."""
        return self.intake.has_more or self._lifecycle.wake_at <= now

    def runs(self, start: StartRejoin) -> bool:
        """Whether this attempt still runs."""
        return self._scheduler.runs(start)

    def foretell(self, event: RejoinRequested | NetworkChanged, now: float) -> Slices[Forecast]:
        """What would happen to a trigger that came now; nothing changes."""
        return self._explainer.foretell(event, now)

    # Agents.

    def _on_attached(self, event: NodeAttached, now: float) -> None:
        if len(event.store_ids) > self._parameters.stores_per_node:
            self._output.refuse(RefuseNode(f"more than {self._parameters.stores_per_node} stores"))
            return
        node = self.registry.node(event.node_id, now)
        if node is None:
            self._output.refuse(
                RefuseNode(f"{self._parameters.node_limit} nodes are known already", self._room_in(now))
            )
            return
        is_new = node.session_id != event.session_id
        is_back = node.returns_by is not None
        if node.attached and is_new and not is_back:
            self._scheduler.detach(node, now)
        is_new_to_host = bool(event.host_id) and node.host_id != event.host_id
        self.registry.attach(node, event, now)
        self._replace_stores(node, event.store_ids, now)
        # The answer comes before the commands that the attachment leads to.
        place = len(self._output.effects)
        if is_back:
            self._scheduler.send_again(node, now)
        unparked = self._scheduler.attach(node, now) + self._take_over(node, is_new_to_host, now)
        self._output.effects.insert(place, AcceptNode(node.node_id, node.session_id, unparked, is_new))

    def _on_addresses_proved(self, event: AddressesProved, now: float) -> None:
        del now
        node = self.registry.nodes.get(event.node_id)
        if node is not None:
            node.doubtful = ()

    def _room_in(self, now: float) -> float:
        """Seconds until a place for a node may be free: what is parked for a stranger expires, or an agent goes."""
        until = self.registry.strangers_until()
        return NODE_RETRY if until is None else max(1.0, until - now)

    def _replace_stores(self, node: Node, store_ids: Sequence[str], now: float) -> None:
        wanted = set(store_ids)
        for slot in [slot for store_id, slot in node.slots.items() if store_id not in wanted]:
            self._scheduler.drop(slot, "the node does not have this store", now)
            self.registry.drop_slot(slot)
        for store_id in store_ids:
            self.registry.slot(node, store_id)

    def _take_over(self, node: Node, is_new_to_host: bool, now: float) -> int:
        """Give a node the triggers that came before it was known; returns how many rejoins that makes."""
        host = self.registry.hosts.get(node.host_id) if is_new_to_host else None
        causes: list[Cause] = []
        if node.parked is not None:
            causes.append(node.parked.cause)
            self._scheduler.split(node.parked, node, now)
        if host is not None and (host.parked is not None or self._changed_lately(host, now)):
            causes.append(host.cause)
            if host.parked is not None:
                self._scheduler.split(host.parked, node, now)
        for cause in causes:
            self.intake.take_over(node, cause, now)
        return len(node.slots) if causes else 0

    def _changed_lately(self, host: Host, now: float) -> bool:
        return host.changed_at + self._parameters.park_time > now

    def _on_detached(self, event: NodeDetached, now: float) -> None:
        node = self.registry.session(event.node_id, event.session_id)
        if node is not None:
            self._scheduler.detach(node, now)
            self.registry.detach(node, now)

    # Reports.

    def _on_reported(self, event: LivenessReported, now: float) -> None:
        slot = self._reporting_slot(event.node_id, event.store_id, now)
        if slot is None:
            return
        slot.reported_at = now
        if not slot.node.registered:
            self.registry.strangers.move_to_end(slot.node.node_id)
        heard = event.heard
        self.registry.replace_neighbors(
            slot, {peer_id: max(up_at, heard.get(peer_id, NEVER)) for peer_id, up_at in event.neighbors.items()}
        )
        if self._scheduler.unproved(slot) is None and slot.asking is None and not slot.restart_advised:
            return
        prove = self._scheduler.prove
        for peer_id, up_at in event.neighbors.items():
            prove(slot, up_at - event.delay, f"neighbour {peer_id}", now)
        for peer_id, heard_at in heard.items():
            prove(slot, heard_at - event.delay, f"a message of {peer_id}", now)

    def _on_neighbor_changed(self, event: NeighborChanged, now: float) -> None:
        slot = self._reporting_slot(event.node_id, event.store_id, now)
        if slot is None:
            return
        before = len(slot.neighbors)
        if event.up:
            slot.see_neighbor(event.peer_id, event.changed_at)
            self._scheduler.prove(slot, event.changed_at - event.delay, f"neighbour {event.peer_id}", now)
        else:
            slot.lose_neighbor(event.peer_id)
        self.registry.neighbors += len(slot.neighbors) - before

    def _reporting_slot(self, node_id: str, store_id: str, now: float) -> Slot | None:
        """The slot that a report concerns, made known; None, and refused, when the books are full."""
        node = self.registry.node(node_id, now)
        limit = self._parameters.stores_per_node
        if node is not None and not node.registered:
            limit = min(limit, STRANGER_STORES)
        if node is None or (store_id not in node.slots and len(node.slots) >= limit):
            # The stores of a node go with it.
            retry_in = self._room_in(now) if node is None else self._parameters.idle_age
            self._output.refuse(RefuseNode("no further node or store can be remembered", retry_in))
            return None
        if store_id not in node.slots:
            self._output.log(StoreSeen(node_id, store_id))
        return self.registry.slot(node, store_id)

    def _on_store_seen(self, event: StoreSeen, now: float) -> None:
        node = self.registry.node(event.node_id, now)
        if node is not None:
            self.registry.slot(node, event.store_id)

    def _on_advice_outdated(self, event: AdviceOutdated, now: float) -> None:
        del now
        slot = self.registry.find_slot(event.node_id, event.store_id)
        if slot is not None:
            slot.restart_advised = False

    def _on_suspicion_ended(self, event: SuspicionEnded, now: float) -> None:
        slot = self.registry.find_slot(event.node_id, event.store_id)
        if slot is not None:
            self._scheduler.on_suspicion_ended(slot, event, now)

    def _on_service_started(self, event: ServiceStarted, now: float) -> None:
        self._history.rename(event.run_id)
        self.clearance.on_started(now)
        self._scheduler.admission.clamp(now)
        for node in list(self.registry.nodes.values()):
            if node.attached:
                self._scheduler.detach(node, now)
                self.registry.detach(node, now)
            self._scheduler.forget_rot(node, now)

    def _on_owner_changed(self, event: OwnerChanged, now: float) -> None:
        """The nodes stay attached for a while, though no command can be sent: their agents come back."""
        self._history.rename(event.run_id)
        self.clearance.on_started(now)
        self._scheduler.admission.clamp(now)
        for node in self.registry.nodes.values():
            self._scheduler.await_return(node, now)
            if node.attached:
                self.registry.await_return(node, now + RETURN_TIME)

    def lost_agents(self, now: float, most: int) -> list[NodeDetached]:
        """Agents that have not come back in time after the owner changed, at most so many."""
        returning = self.registry.returning.values()
        lost = (node for node in returning if node.returns_by is not None and node.returns_by <= now)
        return [NodeDetached(node.node_id, node.session_id) for node in islice(lost, most)]

    def returns_by(self) -> float | None:
        """When the agents must be back that have not come back yet after the owner changed; None: all have."""
        returning = self.registry.returning
        return next(iter(returning.values())).returns_by if returning else None

    # What is known.

    def counts(self) -> Counts:
        """The gauges."""
        registry, lifecycle = self.registry, self._lifecycle
        return Counts(
            attached=registry.attached,
            nodes=len(registry.nodes),
            stores=len(registry.stores),
            peers=registry.liveness.peer_total,
            queued=lifecycle.waiting,
            parked=lifecycle.parked,
            running=lifecycle.running,
        )

    def add_books(self, add: Callable[[str, Callable[[], int], int], None]) -> None:
        """Have the books of deciding draw from the memory budget."""
        history, answers = self._history, self._answers
        add("rejoins", lambda: len(history), REJOIN)
        add("rejoins", lambda: history.triggers, TRIGGER)
        add("answers", lambda: answers.count, ANSWER)
        add("answers", lambda: answers.decisions, DECISION)

    # Snapshots.

    def capture(self) -> Slices[Plain]:
        """The deciding state as it is at the first slice, whatever events come between slices; liveness stays out.

        Most of it is yet to be encoded: at any time, and in any thread.
        """
        capture = Capture(REGISTRY_READS | HISTORY_READS | ADMISSION_READS)
        capture.begin()
        try:
            plain = {
                "registry": self.registry.capture(capture),
                "history": self._history.capture(capture),
                "scheduler": self._scheduler.capture(capture),
                "intake": self._answers.save(),
                "rest": self.intake.save(),
            }
            yield
            yield from capture.read()
        finally:
            capture.end()
        return plain

    def load(self, plain: Plain) -> None:
        """Take over a saved state; the engine must be new."""
        self._history.load(plain["history"])
        self.registry.load(plain["registry"], self._history.get)
        self._scheduler.load(plain["scheduler"])
        self._answers.load(plain["intake"])
        self.intake.load(plain.get("rest", ()))


def _nothing_more(event: TimePassed, now: float) -> None:
    """What is due was done before the event."""

"""Triggers come in: known ones are recognised, the others are decided for every store that they concern."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence

from gossipcontrol.server.core.codec import Plain, decode, encode
from gossipcontrol.server.core.deciding.answers import Answer, Answers, digest_of
from gossipcontrol.server.core.deciding.expansion import Expansion, Group, NewSlot, Unknown, UnknownNode, UnknownStore
from gossipcontrol.server.core.deciding.history import History
from gossipcontrol.server.core.deciding.output import Output
from gossipcontrol.server.core.deciding.policy import Policy
from gossipcontrol.server.core.deciding.registry import STRANGER_PLACES, Node, Registry, Slot
from gossipcontrol.server.core.deciding.rejoin import ASKED_BY, BRIDGE, EVIDENCE, Rejoin, Trigger
from gossipcontrol.server.core.decision import MOVES, Cause, Decision, DecisionKind, Outcome, Rule
from gossipcontrol.server.core.effect import AnswerTrigger, RefuseReuse, RefuseTrigger, RefuseUnknown
from gossipcontrol.server.core.event import NetworkChanged, RejoinRequested

SLICE = 1000
"""Decisions after which the rest of a trigger waits for the next turn of the event loop: some 8 ms."""
QUEUE_FULL = "the queue of rejoins is full"
POOL_FULL = f"{STRANGER_PLACES} rejoins are parked for nodes that never registered, all that may be"


class Intake:
    """Answers every trigger, or refuses it before anything has changed."""

    def __init__(
        self,
        registry: Registry,
        history: History,
        policy: Policy,
        answers: Answers,
        expansion: Expansion,
        output: Output,
    ) -> None:
        self._registry = registry
        self._history = history
        self._policy = policy
        self._answers = answers
        self._expansion = expansion
        self._output = output
        self._rest: deque[tuple[NetworkChanged, deque[str]]] = deque()
        """Changes of which nodes are left, and those nodes: they are decided slice by slice."""
        self.has_more = False
        """Whether a slice is left to decide."""

    def on_requested(self, event: RejoinRequested, now: float) -> None:
        """Decide about stores of a node."""
        if event.request_id and self._answer_again(event, now):
            return
        slots = self._expansion.placed_slots(event)
        groups = None if slots else self._groups(event, now)
        if groups is None and not slots:
            return
        bridge = tuple(dict.fromkeys(event.bridge[:BRIDGE])) if event.bridge else ()
        evidence = event.evidence[:EVIDENCE]
        trigger = Trigger(
            event.cause, now, event.request_id, evidence, bridge, event.rejoin_only, event.first_rung,
            event.asked_by[:ASKED_BY],
        )  # fmt: skip
        decide = self._policy.decide
        decisions = self._decide_group(groups[0], trigger) if groups else [decide(slot, trigger) for slot in slots]
        self._answer(event, event.cause, tuple(decisions), now)

    def on_changed(self, event: NetworkChanged, now: float) -> None:
        """Decide about every store of every node that the change concerns."""
        if event.request_id and self._answer_again(event, now):
            return
        cause = event.kind.cause
        if cause is None:
            self._answer(event, None, (), now)
            return
        groups = self._groups(event, now)
        if groups is None:
            return
        first, rest = _split(groups)
        trigger = _of_change(event, cause, now)
        if cause in MOVES:
            # Before anything starts: no command may name where these nodes were.
            for group in groups:
                if group.node is not None and group.earlier is None:
                    group.node.doubted_at = now
        decide = self._decide_named if event.node_ids else self._decide_host
        decisions = tuple(decide(event, first, trigger))
        if rest:
            self._rest.append((event, deque(group.node_id for group in rest)))
            self._reserve()
        self._answer(
            event, cause, decisions, now, total=len(decisions) + sum(group.places for group in rest) if rest else 0
        )

    def decide_slice(self, now: float) -> None:
        """Decide about further nodes of a change that concerns very many: each slice is one turn of the event loop."""
        event, node_ids = self._rest[0]
        cause = event.kind.cause
        assert cause is not None, "an announced sleep decides nothing"
        trigger, decisions = _of_change(event, cause, now), list[Decision]()
        while node_ids and len(decisions) < SLICE:
            node = self._registry.nodes.get(node_ids.popleft())
            if node is not None:
                decided = self._decide_group(Group(node.node_id, node), trigger)
                if event.node_ids:
                    self._answers.remember_change(event, node.node_id, decided, now)
                decisions += decided
        if not node_ids:
            self._rest.popleft()
        self._reserve()
        self._output.emit(AnswerTrigger(cause, tuple(decisions), is_rest=True))

    def _reserve(self) -> None:
        """Keep places in the queue for what is left."""
        self.has_more = bool(self._rest)
        nodes = (self._registry.nodes.get(node_id) for _, node_ids in self._rest for node_id in node_ids)
        self._policy.reserved = sum(len(node.slots) or 1 for node in nodes if node is not None)

    def _decide_host(self, event: NetworkChanged, groups: Sequence[Group], trigger: Trigger) -> list[Decision]:
        """All nodes of a host, or the host itself if none of its nodes is known."""
        if groups[0].earlier is not None:
            return self._duplicates(groups[0].earlier, trigger)
        host = self._registry.host(event.host_id)
        host.changed_at, host.cause = trigger.arrived_at, trigger.cause
        decisions: list[Decision] = []
        for group in groups:
            decisions += self._decide_group(group, trigger, event.host_id)
        self._answers.remember_change(event, "", decisions, trigger.arrived_at)
        return decisions

    def _decide_named(self, event: NetworkChanged, groups: Sequence[Group], trigger: Trigger) -> list[Decision]:
        """The nodes that the watcher named."""
        # None of the nodes named may go for another: what is known of it decides about it.
        kept = [group.node for group in groups if group.node is not None]
        decisions: list[Decision] = []
        for group in groups:
            if group.earlier is not None:
                decisions += self._duplicates(group.earlier, trigger)
                continue
            decided = self._decide_group(group, trigger, kept=kept)
            self._answers.remember_change(event, group.node_id, decided, trigger.arrived_at)
            decisions += decided
        return decisions

    def _decide_group(
        self, group: Group, trigger: Trigger, host_id: str = "", kept: Collection[Node] = ()
    ) -> list[Decision]:
        if group.node_id and group.node is None:
            node = self._registry.node(group.node_id, trigger.arrived_at, kept)
            assert node is not None, "room was made sure of"
            group.node = node
        node = group.node
        if node is not None and node.slots and not group.store_ids:
            decide = self._policy.decide
            return [decide(slot, trigger) for slot in node.slots.values()]
        decisions: list[Decision] = []
        for target in self._expansion.targets(group):
            if isinstance(target, Slot):
                decisions.append(self._policy.decide(target, trigger))
            else:
                decisions.append(self._decide(target, group.node, host_id, trigger))
        return decisions

    def _decide(
        self, target: NewSlot | UnknownStore | Unknown, node: Node | None, host_id: str, trigger: Trigger
    ) -> Decision:
        """Decide where no slot is known yet."""
        if node is None:
            return self._policy.park_unknown(self._parked_for_host(host_id, trigger), trigger, Rule.UNKNOWN_HOST)
        match target:
            case NewSlot(store_id):
                return self._policy.decide(self._registry.slot(node, store_id), trigger)
            case UnknownStore(store_id):
                rejoin = self._history.new(node.node_id, store_id, trigger)
                return self._policy.skip(rejoin, trigger, Rule.UNKNOWN_STORE)
            case Unknown():
                if node.parked is None:
                    node.parked = self._history.new(node.node_id, "", trigger)
                return self._policy.park_unknown(node.parked, trigger, Rule.UNKNOWN_NODE)

    def _parked_for_host(self, host_id: str, trigger: Trigger) -> Rejoin:
        host = self._registry.host(host_id)
        if host.parked is None:
            host.parked = self._history.new("", "", trigger)
            host.parked.host_id = host_id
            host.parked.detail = f"no node of host {host_id} is known"
        return host.parked

    def _duplicates(self, earlier: Sequence[Decision], trigger: Trigger) -> list[Decision]:
        """The decisions about a network event that was reported before: its rejoins stand."""
        for decision in earlier:
            rejoin = self._history.get(decision.rejoin_id)
            if rejoin is not None:
                self._history.add_trigger(rejoin, trigger, DecisionKind.DUPLICATE, Rule.KNOWN_GENERATION)
        return [restate(decision, self._history, trigger.arrived_at) for decision in earlier]

    # Answers.

    def _answer_again(self, event: RejoinRequested | NetworkChanged, now: float) -> bool:
        """Give the recorded answer to a request id that is known; refuse the id for another request."""
        answer = self._answers.of_request(event.request_id, now)
        if answer is None:
            return False
        if answer.fits(digest_of(event)):
            self._output.refuse(AnswerTrigger(answer.cause, answer.decisions, replayed=True))
        else:
            self._output.refuse(RefuseReuse(event.request_id))
        return True

    def _answer(
        self,
        event: RejoinRequested | NetworkChanged,
        cause: Cause | None,
        decisions: tuple[Decision, ...],
        now: float,
        total: int = 0,
    ) -> None:
        if event.request_id:
            self._answers.remember_request(event.request_id, Answer(cause, decisions, digest_of(event)), now)
        self._output.emit(AnswerTrigger(cause, decisions, False, total))

    # Snapshots.

    def save(self) -> Plain:
        """What is left of changes that are decided in slices."""
        return [[encode(event), list(node_ids)] for event, node_ids in self._rest]

    def load(self, plain: Plain) -> None:
        """Take it over; registry and policy are there already."""
        self._rest = deque((decode(event, NetworkChanged), deque(node_ids)) for event, node_ids in plain)
        self._reserve()

    def _groups(self, event: RejoinRequested | NetworkChanged, now: float) -> list[Group] | None:
        """The nodes that a trigger concerns; None, and refused, when there is no room or nobody knows one of them."""
        try:
            groups = self._expansion.groups(event, now)
        except UnknownNode as error:
            self._output.refuse(RefuseUnknown(f"node {error}"))
            return None
        if groups is None:
            is_pool = self._expansion.is_pool_full
            until = self._registry.strangers_until() if is_pool else None
            retry_in = self._policy.retry_in(now) if until is None else max(1.0, until - now)
            self._output.refuse(RefuseTrigger(retry_in, POOL_FULL if is_pool else QUEUE_FULL))
        return groups


def _split(groups: Sequence[Group]) -> tuple[Sequence[Group], Sequence[Group]]:
    """Those to be decided now, and the known nodes that are left for later slices."""
    count = 0
    for index, group in enumerate(groups):
        if count >= SLICE and all(one.node is not None and one.earlier is None for one in groups[index:]):
            return groups[:index], groups[index:]
        count += group.places
    return groups, ()


def _of_change(event: NetworkChanged, cause: Cause, now: float) -> Trigger:
    return Trigger(cause, now, event.request_id, event.evidence, asked_by=event.asked_by[:ASKED_BY])


def restate(decision: Decision, history: History, now: float) -> Decision:
    """An earlier decision as that about a duplicate."""
    rejoin = history.get(decision.rejoin_id)
    start_at = now
    if rejoin is not None and rejoin.outcome in (Outcome.WAITING, Outcome.PARKED) and rejoin.deadline is not None:
        start_at = rejoin.deadline
    return decision._replace(kind=DecisionKind.DUPLICATE, rule=Rule.KNOWN_GENERATION, start_at=start_at)

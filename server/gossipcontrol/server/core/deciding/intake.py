"""Triggers come in: known ones are recognised, the others are decided for every store that they concern."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from gossipcontrol.server.core.codec import Plain, decode, encode
from gossipcontrol.server.core.deciding.answers import Answer, Answers, digest_of
from gossipcontrol.server.core.deciding.expansion import Expansion, Group, NewSlot, Unknown, UnknownNode, UnknownStore
from gossipcontrol.server.core.deciding.history import History
from gossipcontrol.server.core.deciding.output import Output
from gossipcontrol.server.core.deciding.policy import Policy
from gossipcontrol.server.core.deciding.registry import STRANGER_PLACES, Node, Registry, Slot
from gossipcontrol.server.core.deciding.rejoin import ASKED_BY, BRIDGE, EVIDENCE, Rejoin, Trigger
from gossipcontrol.server.core.deciding.turn_size import TurnSizes
from gossipcontrol.server.core.decision import MOVES, Cause, Decision, DecisionKind, Outcome, Rule
from gossipcontrol.server.core.effect import AnswerTrigger, RefuseReuse, RefuseTrigger, RefuseUnknown
from gossipcontrol.server.core.event import NetworkChanged, RejoinRequested

QUEUE_FULL = "the queue of rejoins is full"
POOL_FULL = f"{STRANGER_PLACES} rejoins are parked for nodes that never registered, all that may be"


class Part(NamedTuple):
    """Stores of a node about which nothing is decided yet."""

    node_id: str
    store_ids: tuple[str, ...] = ()
    """Empty: all that it has."""


Sliced = NetworkChanged | RejoinRequested
"""What is decided in slices: a change of very many stores, or what a node with many of them takes over."""


class Intake:
    """Answers every trigger, or refuses it before anything has changed."""

    def __init__(
        self,
        sizes: TurnSizes,
        registry: Registry,
        history: History,
        policy: Policy,
        answers: Answers,
        expansion: Expansion,
        output: Output,
    ) -> None:
        self._sizes = sizes
        self._registry = registry
        self._history = history
        self._policy = policy
        self._answers = answers
        self._expansion = expansion
        self._output = output
        self._rest: deque[tuple[Sliced, deque[Part]]] = deque()
        """Triggers of which something is left, and what: it is decided slice by slice."""
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
        first, rest = self._split(groups)
        trigger = _of_change(event, cause, now)
        if cause in MOVES:
            # Before anything starts: no command may name where these nodes were.
            for group in groups:
                if group.node is not None and group.earlier is None:
                    group.node.doubted_at = now
        decide = self._decide_named if event.node_ids else self._decide_host
        decisions = tuple(decide(event, first, trigger))
        if rest:
            self._rest.append((event, deque(Part(group.node_id, tuple(group.store_ids)) for group in rest)))
            self._reserve()
        self._answer(
            event, cause, decisions, now, total=len(decisions) + sum(group.places for group in rest) if rest else 0
        )

    def decide_slice(self, now: float) -> None:
        """Decide about further nodes of a change that concerns very many: each slice is one turn of the event loop."""
        event, parts = self._rest[0]
        cause = event.kind.cause if isinstance(event, NetworkChanged) else event.cause
        assert cause is not None, "an announced sleep decides nothing"
        trigger = _of_change(event, cause, now) if isinstance(event, NetworkChanged) else Trigger(cause, now)
        decisions = list[Decision]()
        while parts and len(decisions) < self._sizes.decisions:
            part = parts.popleft()
            node = self._registry.nodes.get(part.node_id)
            if node is None:
                continue
            is_first = not part.store_ids
            if self._sizes.splits_nodes:
                part, left = self._cut(part, node, self._sizes.decisions - len(decisions))
                if left is not None:
                    parts.appendleft(left)
            decided = self._decide_part(part, node, trigger)
            if isinstance(event, NetworkChanged) and event.node_ids and is_first:
                self._answers.remember_change(event, node.node_id, decided, now)
            decisions += decided
        if not parts:
            self._rest.popleft()
        self._reserve()
        if isinstance(event, NetworkChanged):
            self._output.emit(AnswerTrigger(cause, tuple(decisions), is_rest=True))

    def take_over(self, node: Node, cause: Cause, now: float) -> None:
        """Decide about all stores of a node that was unknown when a trigger came; the rest of many in later slices."""
        trigger, slots = Trigger(cause, now), list(node.slots.values())
        end = self._sizes.decisions if self._sizes.splits_nodes else len(slots)
        for slot in slots[:end]:
            self._policy.decide(slot, trigger)
        if slots[end:]:
            left = Part(node.node_id, tuple(slot.store.store_id for slot in slots[end:]))
            self._rest.append((RejoinRequested(node.node_id, (), cause), deque([left])))
            self._reserve()

    def _decide_part(self, part: Part, node: Node, trigger: Trigger) -> list[Decision]:
        """Decide about a node, or about those of its stores that it still has."""
        if not part.store_ids:
            return self._decide_group(Group(node.node_id, node), trigger)
        slots, decide = node.slots, self._policy.decide
        return [decide(slots[store_id], trigger) for store_id in part.store_ids if store_id in slots]

    @staticmethod
    def _cut(part: Part, node: Node, room: int) -> tuple[Part, Part | None]:
        """What there is room for, and what is left of a part."""
        if len(part.store_ids or node.slots) <= room:
            return part, None
        store_ids = part.store_ids or tuple(node.slots)
        return Part(node.node_id, store_ids[:room]), Part(node.node_id, store_ids[room:])

    def _split(self, groups: Sequence[Group]) -> tuple[Sequence[Group], Sequence[Group]]:
        """Those to be decided now, and what is left of known nodes for later slices."""
        count = 0
        for index, group in enumerate(groups):
            if count >= self._sizes.decisions and _may_wait(groups[index:]):
                return groups[:index], groups[index:]
            count += group.places
            left = count - self._sizes.decisions
            if left > 0 and self._sizes.splits_nodes and group.node is not None and _may_wait(groups[index:]):
                kept, later = _halves(group, group.node, group.places - left)
                return [*groups[:index], kept], [later, *groups[index + 1 :]]
        return groups, ()

    def _reserve(self) -> None:
        """Keep places in the queue for what is left."""
        self.has_more = bool(self._rest)
        self._policy.reserved = sum(self._places_left())

    def _places_left(self) -> Iterator[int]:
        for _, parts in self._rest:
            for part in parts:
                node = self._registry.nodes.get(part.node_id)
                if node is not None:
                    yield len(part.store_ids or node.slots) or 1

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
        return [_save_rest(event, parts) for event, parts in self._rest]

    def load(self, plain: Plain) -> None:
        """Take it over; registry and policy are there already."""
        self._rest = deque(_load_rest(*one) for one in plain)
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


def _may_wait(groups: Sequence[Group]) -> bool:
    """Whether all of these are known nodes about which nothing is decided yet."""
    return all(group.node is not None and group.earlier is None for group in groups)


def _halves(group: Group, node: Node, count: int) -> tuple[Group, Group]:
    """The first stores of a group, so many, and the others."""
    store_ids = list(group.store_ids or node.slots)
    return Group(group.node_id, node, store_ids[:count]), Group(group.node_id, node, store_ids[count:])


def _save_rest(event: Sliced, parts: Sequence[Part]) -> Plain:
    """Earlier snapshots have whole nodes of changes only, each as its id."""
    left = [[part.node_id, list(part.store_ids)] if part.store_ids else part.node_id for part in parts]
    return [encode(event), left] if isinstance(event, NetworkChanged) else [encode(event), left, "taken over"]


def _load_rest(event: Plain, left: Sequence[Plain], *taken_over: str) -> tuple[Sliced, deque[Part]]:
    parts = deque(Part(one) if isinstance(one, str) else Part(one[0], tuple(one[1])) for one in left)
    kind: type[Sliced] = RejoinRequested if taken_over else NetworkChanged
    return decode(event, kind), parts


def _of_change(event: NetworkChanged, cause: Cause, now: float) -> Trigger:
    return Trigger(cause, now, event.request_id, event.evidence, asked_by=event.asked_by[:ASKED_BY])


def restate(decision: Decision, history: History, now: float) -> Decision:
    """An earlier decision as that about a duplicate."""
    rejoin = history.get(decision.rejoin_id)
    start_at = now
    if rejoin is not None and rejoin.outcome in (Outcome.WAITING, Outcome.PARKED) and rejoin.deadline is not None:
        start_at = rejoin.deadline
    return decision._replace(kind=DecisionKind.DUPLICATE, rule=Rule.KNOWN_GENERATION, start_at=start_at)

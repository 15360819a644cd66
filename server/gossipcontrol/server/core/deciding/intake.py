"""Triggers come in: known ones are recognised, the others are spread over the stores that they concern."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gossipcontrol.server.core.codec import Plain
from gossipcontrol.server.core.deciding.dedupe import DedupeCache
from gossipcontrol.server.core.deciding.history import History
from gossipcontrol.server.core.deciding.policy import Policy
from gossipcontrol.server.core.deciding.registry import Host, Node, Registry
from gossipcontrol.server.core.deciding.rejoin import BRIDGE, EVIDENCE, Trigger
from gossipcontrol.server.core.decision import Cause, Decision, DecisionKind, Outcome, Rule
from gossipcontrol.server.core.effect import AnswerTrigger, Effect, RefuseTrigger
from gossipcontrol.server.core.event import NetworkChanged, RejoinRequested
from gossipcontrol.server.core.parameter import Parameters

REMEMBERED_DECISIONS = 1000
"""Most decisions remembered with a request id or a generation."""

CAUSES = (None, Cause.NETWORK_CHANGE, Cause.RESUME, None, Cause.APP_FOREGROUND)
"""By the number of the kind of change; an announced sleep is no cause."""

Answer = tuple[Cause | None, tuple[Decision, ...]]
GenerationKey = tuple[bool, str, str, int]
"""Whether of a host, the host or node, its boot, its generation."""


class Intake:
    """Answers every trigger, or refuses it before anything has changed."""

    def __init__(self, parameters: Parameters, registry: Registry, history: History, judge: Policy) -> None:
        self._stores_per_node = parameters.stores_per_node
        self._registry = registry
        self._history = history
        self._judge = judge
        room = parameters.decision_limit
        self._requests: DedupeCache[str, Answer]
        self._requests = DedupeCache(
            parameters.request_limit, parameters.request_memory, room, lambda answer: len(answer[1])
        )
        self._generations: DedupeCache[GenerationKey, tuple[Decision, ...]]
        self._generations = DedupeCache(parameters.generation_limit, parameters.generation_memory, room, len)

    def take_request(self, event: RejoinRequested, now: float, effects: list[Effect]) -> None:
        """Decide about stores of a node."""
        if event.request_id and self._replay(event.request_id, now, effects):
            return
        node = self._registry.nodes.get(event.node_id)
        if not self.has_room((node,) if node else (), node is None, event.store_ids, now):
            effects.append(RefuseTrigger(self._judge.retry_in()))
            return
        decisions: list[Decision] = []
        bridge = tuple(dict.fromkeys(event.bridge[:BRIDGE]))
        trigger = Trigger(event.cause, now, event.request_id, event.evidence[:EVIDENCE], bridge)
        self._decide_node(node or self._new_node(event.node_id, now), event.store_ids, trigger, decisions, effects)
        self._answer(event.request_id, event.cause, decisions, now, effects)

    def take_change(self, event: NetworkChanged, now: float, effects: list[Effect]) -> None:
        """Decide about every store of every node that the change concerns."""
        if event.request_id and self._replay(event.request_id, now, effects):
            return
        cause = CAUSES[event.kind]
        if cause is None:
            self._answer(event.request_id, None, (), now, effects)
            return
        decide = self._decide_named if event.node_ids else self._decide_host
        decisions = decide(event, Trigger(cause, now, event.request_id), effects)
        if decisions is None:
            effects.append(RefuseTrigger(self._judge.retry_in()))
        else:
            self._answer(event.request_id, cause, decisions, now, effects)

    def _decide_host(self, event: NetworkChanged, trigger: Trigger, effects: list[Effect]) -> list[Decision] | None:
        """Decide for every node of a host; None when there is no room."""
        now = trigger.arrived_at
        key = (True, event.host_id, event.boot_id, event.generation) if event.generation else None
        if key and (earlier := self._generations.get(key, now)) is not None:
            return self._duplicates(earlier, trigger)
        host = self._registry.hosts.get(event.host_id)
        nodes = tuple(host.nodes.values()) if host else ()
        if not self.has_room(nodes, not nodes, (), now):
            return None
        host = host or self._registry.host(event.host_id)
        host.changed_at, host.cause = now, trigger.cause
        decisions: list[Decision] = []
        for node in nodes:
            self._decide_node(node, (), trigger, decisions, effects)
        if not nodes:
            decisions.append(self._park_host(host, trigger))
        if key:
            self._generations.put(key, tuple(decisions[:REMEMBERED_DECISIONS]), now)
        return decisions

    def _decide_named(self, event: NetworkChanged, trigger: Trigger, effects: list[Effect]) -> list[Decision] | None:
        """Decide for the nodes that the watcher named; None when there is no room."""
        now = trigger.arrived_at
        earlier: dict[str, tuple[Decision, ...] | None] = {
            node_id: self._generations.get((False, node_id, event.boot_id, event.generation), now)
            for node_id in event.node_ids
        }
        known = [self._registry.nodes.get(node_id) for node_id, decided in earlier.items() if decided is None]
        nodes = [node for node in known if node is not None]
        if not self.has_room(nodes, len(known) - len(nodes), (), now):
            return None
        decisions: list[Decision] = []
        for node_id, decided in earlier.items():
            if decided is not None:
                decisions += self._duplicates(decided, trigger)
                continue
            first = len(decisions)
            # None of the nodes named may go for another: what is known of it decides about it.
            node = self._registry.nodes.get(node_id) or self._new_node(node_id, now, nodes)
            self._decide_node(node, (), trigger, decisions, effects)
            if event.generation:
                key = (False, node_id, event.boot_id, event.generation)
                self._generations.put(key, tuple(decisions[first:][:REMEMBERED_DECISIONS]), now)
        return decisions

    def _decide_node(
        self, node: Node, store_ids: Sequence[str], trigger: Trigger, decisions: list[Decision], effects: list[Effect]
    ) -> None:
        """Decide for these stores of a node; none named: for all it has."""
        if store_ids:
            for store_id in store_ids:
                decisions.append(self._decide_store(node, store_id, trigger, effects))
        elif node.slots or node.registered:
            for slot in node.slots.values():
                decisions.append(self._judge.decide(slot, trigger, effects))
        else:
            decisions.append(self._park_node(node, trigger))

    def _decide_store(self, node: Node, store_id: str, trigger: Trigger, effects: list[Effect]) -> Decision:
        slot = node.slots.get(store_id)
        if slot is None and not node.registered and len(node.slots) < self._stores_per_node:
            slot = self._registry.slot(node, store_id)
        if slot is not None:
            return self._judge.decide(slot, trigger, effects)
        rejoin = self._history.new(node.node_id, store_id, trigger)
        return self._judge.skip(rejoin, trigger, Rule.UNKNOWN_STORE)

    def _park_node(self, node: Node, trigger: Trigger) -> Decision:
        if node.parked is None:
            node.parked = self._history.new(node.node_id, "", trigger)
        return self._judge.park_unknown(node.parked, trigger, Rule.UNKNOWN_NODE)

    def _park_host(self, host: Host, trigger: Trigger) -> Decision:
        if host.parked is None:
            host.parked = self._history.new("", "", trigger)
            host.parked.host_id = host.host_id
            host.parked.detail = f"no node of host {host.host_id} is known"
        return self._judge.park_unknown(host.parked, trigger, Rule.UNKNOWN_HOST)

    def _duplicates(self, earlier: Sequence[Decision], trigger: Trigger) -> list[Decision]:
        """The decisions about a network event that was reported before: its rejoins stand."""
        kind, rule = DecisionKind.DUPLICATE, Rule.KNOWN_GENERATION
        decisions: list[Decision] = []
        for decision in earlier:
            rejoin = self._history.get(decision.rejoin_id)
            if rejoin is not None:
                rejoin.add_trigger(trigger, kind, rule)
            decisions.append(self.restate(decision, trigger.arrived_at))
        return decisions

    def restate(self, decision: Decision, now: float) -> Decision:
        """An earlier decision as that about a duplicate."""
        rejoin = self._history.get(decision.rejoin_id)
        start_at = now
        if rejoin is not None and rejoin.outcome in (Outcome.WAITING, Outcome.PARKED) and rejoin.deadline is not None:
            start_at = rejoin.deadline
        return decision._replace(kind=DecisionKind.DUPLICATE, rule=Rule.KNOWN_GENERATION, start_at=start_at)

    def recorded(self, request_id: str, now: float) -> tuple[Cause | None, tuple[Decision, ...]] | None:
        """The recorded answer to a request id, if it is known."""
        return self._requests.get(request_id, now) if request_id else None

    def known(self, event: NetworkChanged, node_id: str, now: float) -> tuple[Decision, ...] | None:
        """What was decided about this network event before: of this node, or of the host when none is named."""
        if not event.generation:
            return None
        return self._generations.get((not node_id, node_id or event.host_id, event.boot_id, event.generation), now)

    def _replay(self, request_id: str, now: float, effects: list[Effect]) -> bool:
        """Give the recorded answer to a request id that is known."""
        recorded = self._requests.get(request_id, now)
        if recorded is None:
            return False
        effects.append(AnswerTrigger(*recorded, replayed=True))
        return True

    def _answer(
        self, request_id: str, cause: Cause | None, decisions: Sequence[Decision], now: float, effects: list[Effect]
    ) -> None:
        answer = tuple(decisions)
        if request_id:
            self._requests.put(request_id, (cause, answer[:REMEMBERED_DECISIONS]), now)
        effects.append(AnswerTrigger(cause, answer))

    def has_room(self, nodes: Sequence[Node], new: int, store_ids: Sequence[str], now: float) -> bool:
        """Whether a trigger of these nodes, and of so many new ones, finds a place for all that it leads to."""
        free = self._judge.free()
        if not new and not store_ids and free >= self._registry.places:
            return True
        if new and not self._registry.has_room(new, nodes):
            return False
        wanted = new * max(1, len(store_ids)) + sum(len(store_ids) or len(node.slots) or 1 for node in nodes)
        if wanted <= free:
            return True
        slots = [node.slots.get(store_id) for node in nodes for store_id in store_ids or node.slots]
        return wanted - sum(slot is not None and self._judge.needs_no_place(slot, now) for slot in slots) <= free

    def _new_node(self, node_id: str, now: float, kept: Collection[Node] = ()) -> Node:
        node = self._registry.node(node_id, now, kept)
        assert node is not None, "room was made sure of"
        return node

    def save(self) -> Plain:
        """What is remembered of requests and generations."""
        return {"requests": self._requests.save(), "generations": self._generations.save()}

    def load(self, plain: Plain) -> None:
        """Take it over."""
        self._requests.load(plain["requests"], str, Answer)
        self._generations.load(plain["generations"], GenerationKey, tuple[Decision, ...])

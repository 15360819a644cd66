"""What would happen to a trigger now, and why past ones were decided as they were; nothing changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from gossipcontrol.server.core.deciding.admission import DryLane
from gossipcontrol.server.core.deciding.intake import CAUSES, Intake
from gossipcontrol.server.core.deciding.policy import Policy
from gossipcontrol.server.core.deciding.record import UNSEEN, Explanation, Forecast
from gossipcontrol.server.core.deciding.registry import Node, Registry, Slot
from gossipcontrol.server.core.deciding.rejoin import Rejoin, Trigger
from gossipcontrol.server.core.decision import Decision, DecisionKind, Rule
from gossipcontrol.server.core.event import NetworkChanged, RejoinRequested
from gossipcontrol.server.core.parameter import Parameters


class Explainer:
    """Foretells with the judgement that decides, on a lane of its own: the two cannot drift apart."""

    def __init__(self, parameters: Parameters, registry: Registry, judge: Policy, intake: Intake) -> None:
        self._parameters = parameters
        self._registry = registry
        self._judge = judge
        self._intake = intake

    def foretell(self, event: RejoinRequested | NetworkChanged, now: float) -> Forecast:
        """What would happen to a trigger that came now. A rejoin that does not exist yet has no id."""
        recorded = self._intake.recorded(event.request_id, now)
        if recorded is not None:
            cause, decisions = recorded
            explained = [Explanation(one, cause, now, UNSEEN) for one in decisions if cause is not None]
            return Forecast(tuple(explained), replayed=True)
        cause = event.cause if isinstance(event, RejoinRequested) else CAUSES[event.kind]
        if cause is None:
            return Forecast()
        trigger = Trigger(cause, now, event.request_id)
        if isinstance(event, RejoinRequested):
            return self._foretell_nodes({event.node_id: None}, event.store_ids, trigger)
        if event.node_ids:
            return self._foretell_nodes(
                {node_id: self._intake.known(event, node_id, now) for node_id in event.node_ids}, (), trigger
            )
        return self._foretell_host(event, trigger)

    def _foretell_host(self, event: NetworkChanged, trigger: Trigger) -> Forecast:
        now = trigger.arrived_at
        earlier = self._intake.known(event, "", now)
        if earlier is not None:
            return Forecast(tuple(self._duplicates(earlier, trigger)))
        host = self._registry.hosts.get(event.host_id)
        if host is not None and host.nodes:
            return self._foretell_nodes(dict.fromkeys(host.nodes), (), trigger)
        if not self._intake.has_room((), 1, (), now):
            return self._refused()
        return Forecast((self._parked("", host.parked if host else None, trigger, Rule.UNKNOWN_HOST),))

    def _foretell_nodes(
        self,
        earlier: Mapping[str, tuple[Decision, ...] | None],
        store_ids: Sequence[str],
        trigger: Trigger,
    ) -> Forecast:
        known = [self._registry.nodes.get(node_id) for node_id, decided in earlier.items() if decided is None]
        nodes = [node for node in known if node is not None]
        if not self._intake.has_room(nodes, len(known) - len(nodes), store_ids, trigger.arrived_at):
            return self._refused()
        lane = self._judge.dry()
        explanations: list[Explanation] = []
        for node_id, decided in earlier.items():
            if decided is None:
                explanations += self._foretell_node(node_id, store_ids, trigger, lane)
            else:
                explanations += self._duplicates(decided, trigger)
        return Forecast(tuple(explanations))

    def _foretell_node(
        self, node_id: str, store_ids: Sequence[str], trigger: Trigger, lane: DryLane
    ) -> Iterator[Explanation]:
        node = self._registry.nodes.get(node_id)
        if store_ids:
            new = self._parameters.stores_per_node - (len(node.slots) if node else 0)
            for store_id in store_ids:
                slot = node.slots.get(store_id) if node else None
                if slot is not None:
                    yield self._foretell_slot(slot, trigger, lane)
                elif (node is None or not node.registered) and new > 0:
                    new -= 1
                    yield self._new_slot(node_id, store_id, trigger)
                else:
                    yield self._unknown_store(node_id, store_id, trigger)
        elif node is not None and (node.slots or node.registered):
            for slot in node.slots.values():
                yield self._foretell_slot(slot, trigger, lane)
        else:
            yield self._parked(node_id, node.parked if isinstance(node, Node) else None, trigger, Rule.UNKNOWN_NODE)

    def _foretell_slot(self, slot: Slot, trigger: Trigger, lane: DryLane) -> Explanation:
        seen = self._judge.see(slot, slot.alive_at)
        kind, rule, at = self._judge.judge(slot, trigger, seen, lane)
        rejoin_id = "" if kind is DecisionKind.SKIPPED else seen.waiting_id
        decision = Decision(slot.node.node_id, slot.store.store_id, kind, rule, rejoin_id, at)
        return Explanation(decision, trigger.cause, trigger.arrived_at, seen)

    def _new_slot(self, node_id: str, store_id: str, trigger: Trigger) -> Explanation:
        expires_at = trigger.arrived_at + self._parameters.park_time
        decision = Decision(node_id, store_id, DecisionKind.PARKED, Rule.NOT_ATTACHED, "", expires_at)
        return Explanation(decision, trigger.cause, trigger.arrived_at, UNSEEN)

    @staticmethod
    def _unknown_store(node_id: str, store_id: str, trigger: Trigger) -> Explanation:
        kind, rule = DecisionKind.SKIPPED, Rule.UNKNOWN_STORE
        decision = Decision(node_id, store_id, kind, rule, "", trigger.arrived_at)
        return Explanation(decision, trigger.cause, trigger.arrived_at, UNSEEN)

    def _parked(self, node_id: str, parked: Rejoin | None, trigger: Trigger, rule: Rule) -> Explanation:
        expires_at = trigger.arrived_at + self._parameters.park_time
        rejoin_id = parked.rejoin_id if parked else ""
        decision = Decision(node_id, "", DecisionKind.PARKED, rule, rejoin_id, expires_at)
        return Explanation(decision, trigger.cause, trigger.arrived_at, UNSEEN)

    def _duplicates(self, earlier: Sequence[Decision], trigger: Trigger) -> Iterator[Explanation]:
        for decision in earlier:
            restated = self._intake.restate(decision, trigger.arrived_at)
            yield Explanation(restated, trigger.cause, trigger.arrived_at, UNSEEN)

    def _refused(self) -> Forecast:
        return Forecast(retry_in=self._judge.retry_in())

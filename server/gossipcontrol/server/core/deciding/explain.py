"""What would happen to a trigger now; nothing changes."""

from __future__ import annotations

from collections.abc import Iterator

from gossipcontrol.server.core.deciding.admission import DryLane
from gossipcontrol.server.core.deciding.answers import Answers, digest_of
from gossipcontrol.server.core.deciding.expansion import Expansion, Group, NewSlot, Target, Unknown, UnknownStore
from gossipcontrol.server.core.deciding.history import History
from gossipcontrol.server.core.deciding.intake import restate
from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.core.deciding.policy import Policy
from gossipcontrol.server.core.deciding.record import UNSEEN, Explanation, Forecast
from gossipcontrol.server.core.deciding.registry import Registry, Slot
from gossipcontrol.server.core.deciding.rejoin import Rejoin, Trigger
from gossipcontrol.server.core.decision import Decision, DecisionKind, Rule
from gossipcontrol.server.core.event import NetworkChanged, RejoinRequested
from gossipcontrol.server.core.slices import Slices

EXPLAINED = 1000
"""Most decisions that one explanation foretells."""


class Explainer:
    """Foretells with the expansion and the rule that decide, on a lane of its own: the two cannot drift apart."""

    def __init__(
        self,
        parameters: Parameters,
        registry: Registry,
        history: History,
        policy: Policy,
        answers: Answers,
        expansion: Expansion,
    ) -> None:
        self._park_time = parameters.park_time
        self._registry = registry
        self._history = history
        self._policy = policy
        self._answers = answers
        self._expansion = expansion

    def foretell(self, event: RejoinRequested | NetworkChanged, now: float) -> Slices[Forecast]:
        """What would happen to a trigger that came now. A rejoin that does not exist yet has no id."""
        answer = self._answers.of_request(event.request_id, now)
        if answer is not None and not answer.fits(digest_of(event)):
            return Forecast(is_reused=True)
        if answer is not None:
            cause = answer.cause
            replayed = [Explanation(one, cause, now, UNSEEN) for one in answer.decisions if cause is not None]
            return Forecast(tuple(replayed), replayed=True)
        cause = event.cause if isinstance(event, RejoinRequested) else event.kind.cause
        if cause is None:
            return Forecast()
        groups = self._expansion.groups(event, now)
        if groups is None:
            return Forecast(retry_in=self._policy.retry_in(now))
        trigger, lane = Trigger(cause, now, event.request_id), self._policy.dry_lane()
        host_id = event.host_id if isinstance(event, NetworkChanged) else ""
        total = sum(map(_count, groups))
        explained: list[Explanation] = []
        for group in groups:
            for one in self._explain(group, host_id, trigger, lane):
                yield
                explained.append(one)
                if len(explained) == EXPLAINED:
                    return Forecast(tuple(explained), total=total)
        return Forecast(tuple(explained), total=total)

    def _explain(self, group: Group, host_id: str, trigger: Trigger, lane: DryLane) -> Iterator[Explanation]:
        now = trigger.arrived_at
        if group.earlier is not None:
            for decision in group.earlier:
                yield Explanation(restate(decision, self._history, now), trigger.cause, now, UNSEEN)
            return
        for target in list(self._expansion.targets(group)):  # slots may go between two slices
            if isinstance(target, Slot):
                yield self._explain_slot(target, trigger, lane)
            else:
                yield Explanation(self._foretell(target, group, host_id, now), trigger.cause, now, UNSEEN)

    def _explain_slot(self, slot: Slot, trigger: Trigger, lane: DryLane) -> Explanation:
        seen = self._policy.see(slot, slot.alive_at)
        kind, rule, at = self._policy.evaluate(slot, trigger, seen, lane)
        rejoin_id = "" if kind is DecisionKind.SKIPPED else seen.waiting_id
        decision = Decision(slot.node.node_id, slot.store.store_id, kind, rule, rejoin_id, at)
        return Explanation(decision, trigger.cause, trigger.arrived_at, seen)

    def _foretell(self, target: Target, group: Group, host_id: str, now: float) -> Decision:
        """The decision where no slot is known yet."""
        node_id, expires_at = group.node_id, now + self._park_time
        match target:
            case NewSlot(store_id):
                return Decision(node_id, store_id, DecisionKind.PARKED, Rule.NOT_ATTACHED, "", expires_at)
            case UnknownStore(store_id):
                return Decision(node_id, store_id, DecisionKind.SKIPPED, Rule.UNKNOWN_STORE, "", now)
            case Unknown.NODE:
                parked = group.node.parked if group.node else None
                return Decision(node_id, "", DecisionKind.PARKED, Rule.UNKNOWN_NODE, _id(parked), expires_at)
            case _:
                host = self._registry.hosts.get(host_id)
                parked = host.parked if host else None
                return Decision("", "", DecisionKind.PARKED, Rule.UNKNOWN_HOST, _id(parked), expires_at)


def _count(group: Group) -> int:
    """How many decisions a group leads to."""
    if group.earlier is not None:
        return len(group.earlier)
    return len(group.store_ids) or (len(group.node.slots) if group.node else 0) or 1


def _id(parked: Rejoin | None) -> str:
    return parked.rejoin_id if parked else ""

"""Which nodes and stores a trigger concerns, for real and dry alike."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import NamedTuple

from gossipcontrol.server.core.deciding.answers import Answers
from gossipcontrol.server.core.deciding.policy import Policy
from gossipcontrol.server.core.deciding.registry import STRANGER_PLACES, Node, Registry, Slot
from gossipcontrol.server.core.decision import Decision
from gossipcontrol.server.core.event import NetworkChanged, RejoinRequested


class UnknownNode(Exception):
    """A trigger names a node that nobody knows; the argument is its id."""


@dataclass(slots=True)
class Group:
    """What a trigger concerns of one node, or of a host of which no node is known."""

    node_id: str = ""
    """Empty for such a host."""
    node: Node | None = None
    """None while the node is not known."""
    store_ids: Sequence[str] = ()
    """The stores that were named; none: all that the node has."""
    earlier: Sequence[Decision] | None = None
    """What was decided about the same network event before: it stands, and nothing new is decided."""

    @property
    def places(self) -> int:
        """How many decisions it leads to, and so how many places in the queue it may need."""
        return len(self.store_ids or (self.node.slots if self.node is not None else ())) or 1


class Unknown(Enum):
    """What a trigger concerns where no store of it is known."""

    HOST = "no node of the host is known"
    NODE = "no store of the node is known"


class NewSlot(NamedTuple):
    """A store that is not known of a node that never registered: it may have it."""

    store_id: str


class UnknownStore(NamedTuple):
    """A store that the node does not have, as it registered."""

    store_id: str


Target = Slot | NewSlot | UnknownStore | Unknown


class Expansion:
    """Spreads a trigger over nodes and stores, and finds out whether there is room for all that it leads to."""

    def __init__(self, stores_per_node: int, registry: Registry, policy: Policy, answers: Answers) -> None:
        self._stores_per_node = stores_per_node
        self._registry = registry
        self._policy = policy
        self._answers = answers
        self.is_pool_full = False
        """Whether the last refusal was for want of places for strangers."""

    def groups(self, event: RejoinRequested | NetworkChanged, now: float) -> list[Group] | None:
        """The nodes that a trigger concerns; None when there is no room in the queue, or for further nodes.

        Raises UnknownNode for a node that nobody knows, unless the trigger is to wait for it.
        """
        if isinstance(event, RejoinRequested):
            node = self._registry.nodes.get(event.node_id)
            groups = [Group(event.node_id, node, event.store_ids)]
        elif event.node_ids:
            groups = [self._named(event, node_id, now) for node_id in dict.fromkeys(event.node_ids)]
        else:
            groups = self._of_host(event, now)
        if not event.park:
            for group in groups:
                if group.node_id and group.node is None:
                    raise UnknownNode(group.node_id)
        return groups if self._has_room(groups, now) else None

    def placed_slots(self, event: RejoinRequested) -> Collection[Slot]:
        """What nearly every trigger concerns: slots of a node that registered, with a place for each; none: another."""
        node = self._registry.nodes.get(event.node_id)
        if node is None or not node.registered:
            return ()
        slots, store_ids = node.slots, event.store_ids
        if store_ids:
            found = [slots[store_id] for store_id in store_ids if store_id in slots]
            return found if len(found) == len(store_ids) <= self._policy.free_places() else ()
        return slots.values() if len(slots) <= self._policy.free_places() else ()

    def targets(self, group: Group) -> Iterable[Target]:
        """The stores that are to be decided about, in order."""
        node = group.node
        if group.store_ids:
            return self._named_stores(group)
        if node is not None and (node.slots or node.registered):
            return node.slots.values()
        return (Unknown.NODE if group.node_id else Unknown.HOST,)

    def _named(self, event: NetworkChanged, node_id: str, now: float) -> Group:
        earlier = self._answers.of_change(event, node_id, now)
        return Group(node_id, self._registry.nodes.get(node_id), (), earlier)

    def _of_host(self, event: NetworkChanged, now: float) -> list[Group]:
        earlier = self._answers.of_change(event, "", now)
        if earlier is not None:
            return [Group(earlier=earlier)]
        return [Group(node.node_id, node) for node in self._registry.nodes_of(event.host_id)] or [Group()]

    def _named_stores(self, group: Group) -> Iterator[Target]:
        node = group.node
        free = self._stores_per_node - (len(node.slots) if node else 0)
        for store_id in group.store_ids:
            slot = node.slots.get(store_id) if node else None
            if slot is not None:
                yield slot
            elif free > 0 and (node is None or not node.registered):
                free -= 1
                yield NewSlot(store_id)
            else:
                yield UnknownStore(store_id)

    def _has_room(self, groups: Sequence[Group], now: float) -> bool:
        """Whether a trigger of these groups finds a place for all that it leads to."""
        self.is_pool_full = False
        wanted = new = strange = 0
        for group in groups:
            if group.earlier is None:
                node, places = group.node, group.places
                wanted += places
                new += node is None
                if node is None or not node.registered:
                    strange += places
        if strange and not self._has_room_for_strangers(strange, groups, now):
            self.is_pool_full = True
            return False
        if new and not self._registry.has_room(new, [group.node for group in groups if group.node is not None]):
            return False
        free = self._policy.free_places()
        return self._are_placed(wanted - free, groups, now)

    def _has_room_for_strangers(self, wanted: int, groups: Sequence[Group], now: float) -> bool:
        """Whether so many more places may be given to nodes that never registered and hosts without nodes."""
        free = STRANGER_PLACES - self._registry.stranger_places
        strange = [one for one in groups if one.node and not one.node.registered]
        return self._are_placed(wanted - free, strange, now)

    def _are_placed(self, count: int, groups: Sequence[Group], now: float) -> bool:
        """Whether so many of the stores, or more, need no place of their own."""
        if count <= 0:
            return True
        slots = (slot for group in groups if group.earlier is None for slot in _known_slots(group))
        return sum(1 for _ in islice(self._policy.needing_no_place(slots, now), count)) == count


def _known_slots(group: Group) -> Iterable[Slot]:
    """The slots of a group that are known, each named as often as its store is."""
    if group.node is None:
        return ()
    slots = group.node.slots
    return (slots[one] for one in group.store_ids if one in slots) if group.store_ids else slots.values()

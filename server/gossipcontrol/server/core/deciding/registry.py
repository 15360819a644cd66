"""Who is known: hosts, nodes, stores, and the slot of each (node, store)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from gossipcontrol.server.core.codec import LaterList, LaterMap, Plain, decode_fields, formerly, layout_of
from gossipcontrol.server.core.deciding.capture import Capture, Read, about_to_change
from gossipcontrol.server.core.deciding.rejoin import Rejoin
from gossipcontrol.server.core.deciding.sorted_ids import SortedIds
from gossipcontrol.server.core.decision import Capability, Cause, Outcome, Rung
from gossipcontrol.server.core.event import NEIGHBORS, NEVER, NodeAttached
from gossipcontrol.server.core.liveness import Liveness

SLOT_LINKS = ("node", "store", "running", "waiting", "awaiting_recovery", "asking")
SLOT_UNSAVED = (*SLOT_LINKS, "neighbors", "alive_at", "reported_at")
"""Presence rebuilds itself within one report interval."""
DROPPED_STARTS = 10_000
"""Dropped slots whose last start is remembered; at the global rate more cannot have started within a window."""
STRANGER_PLACES = 2048
"""Most rejoins parked for nodes that never registered and hosts without nodes: the other places are for known nodes."""
STRANGER_STORES = 128
"""Most stores that reports name of a node that never registered."""
OLDEST = 64
"""Nodes looked at to find whose parked rejoins expire first."""
CONFIRM_TIME = 60.0
"""Seconds that an agent has to register its addresses after a change of its network; earlier versions do not."""
ASKED = 16
"""Most nodes remembered that were asked to rejoin towards another one: they take turns."""
NODE_LINKS = ("slots", "parked", "parked_count", "names")
HOST_LINKS = ("nodes", "parked")
STORE_LINKS = ("store_id", "slots", "is_strange")


@dataclass(slots=True, eq=False)
class Slot:
    """One (node, store): what runs, what waits, and what the node last said of the store."""

    node: Node
    store: Store
    last_start_at: float = NEVER
    previous_start_at: float = NEVER
    """When the attempt before the last one began."""
    running: Rejoin | None = None
    waiting: Rejoin | None = None
    """The one rejoin that shares all triggers until it starts: in its window, queued, backing off or parked."""
    neighbors: dict[str, float] = field(default_factory=dict[str, float])
    """Active view: peer id -> instant of its last sign of life to this node."""
    alive_at: float = NEVER
    """The newest sign of life of a present neighbour."""
    reported_at: float | None = None
    skipped_id: str = ""
    """The record of the suspicions of one window that fresh neighbours refuted: many must not fill the history."""
    restart_advised: bool = False
    """Whether a restart was advised in this episode, which lasts until a sign of life newer than the last start."""
    awaiting_recovery: Rejoin | None = None
    """The rejoin that was carried out because of rot, and nobody knows yet whether it helped."""
    active_rot: frozenset[Cause] = field(default=frozenset(), metadata=formerly("standing"))
    """The rot that the node is suspected of now."""
    highest_rung: Rung | None = field(default=None, metadata=formerly("tried"))
    """The highest rung tried since then."""
    asking: Rejoin | None = None
    """The rejoin that has no rung left and waits for what another node does."""
    asked: tuple[str, ...] = ()
    """The nodes that were asked to rejoin towards this one, the last one last; at most ``ASKED``."""

    def see_neighbor(self, peer_id: str, alive_at: float) -> None:
        """A present neighbour gave a sign of life; beyond ``NEIGHBORS`` a further one is not remembered."""
        if peer_id not in self.neighbors and len(self.neighbors) >= NEIGHBORS:
            return
        self.neighbors[peer_id] = max(alive_at, self.neighbors.get(peer_id, alive_at))
        self.alive_at = max(self.alive_at, alive_at)

    def lose_neighbor(self, peer_id: str) -> None:
        """A neighbour went."""
        if self.neighbors.pop(peer_id, None) == self.alive_at:
            self.alive_at = max(self.neighbors.values(), default=NEVER)


@dataclass(slots=True, eq=False)
class Node:
    """One P2P process."""

    node_id: str
    known_at: float
    name: str = ""
    """What people call it, as its agent said."""
    host_id: str = ""
    session_id: str = ""
    """The attached agent's stream; empty while none is."""
    seen_at: float = 0.0
    registered: bool = False
    """False while it was only named by a trigger."""
    capabilities: frozenset[Capability] = frozenset()
    addresses: tuple[str, ...] = ()
    doubted_at: float = NEVER
    """When a change of its network was reported after its agent registered the addresses; NEVER: none was."""
    slots: dict[str, Slot] = field(default_factory=dict[str, Slot])
    parked: Rejoin | None = None
    """A trigger that came before any store of the node was known."""
    parked_count: int = 0
    """That one, and the rejoins parked in its slots."""
    speaker: str = ""
    """The identity that registered it; empty where callers have none."""
    doubtful: tuple[str, ...] = ()
    """Those of its addresses that may be somebody else's: nobody has reached it since it registered them."""
    matched: bool = False
    """Whether its stream comes from one of its addresses."""
    names: int = 0
    """Peers and neighbours that reports of it added, as long as it has not registered."""
    told_at: float = NEVER
    """When its agent was last told that a restart is advised."""
    returns_by: float | None = None
    """Until when its agent may attach again, for the stream ended with the owner that was replaced; None: it need not.
    """

    @property
    def attached(self) -> bool:
        """Whether an agent of it is attached, or has yet to come back from the owner that was replaced."""
        return bool(self.session_id)

    @property
    def reachable(self) -> bool:
        """Whether commands can be sent to its agent."""
        return bool(self.session_id) and self.returns_by is None

    @property
    def confirmed_addresses(self) -> tuple[str, ...]:
        """Where it may be dialled, as its attached agent says since the last change of its network."""
        return self.addresses if self.attached and self.doubted_at == NEVER else ()

    def take_addresses(self, event: NodeAttached) -> None:
        """Take over what a registration says; what was proved of the same addresses stands."""
        if not self.registered or event.addresses != self.addresses:
            self.doubtful = event.doubtful
        else:
            self.doubtful = tuple(one for one in event.doubtful if one in self.doubtful)
        self.addresses, self.doubted_at, self.matched = event.addresses, NEVER, event.matched

    def last_addresses(self, now: float) -> tuple[str, ...]:
        """Those, or where it was last, unless its network changed and its agent still has time to confirm them."""
        return self.addresses if self.doubted_at + CONFIRM_TIME <= now else ()


@dataclass(slots=True, eq=False)
class Host:
    """One machine, and its last change: nodes of it that become known later need it too."""

    host_id: str
    nodes: dict[str, Node] = field(default_factory=dict[str, Node])
    changed_at: float = NEVER
    cause: Cause = Cause.NETWORK_CHANGE
    parked: Rejoin | None = None
    """A trigger that came before any node of the host was known."""


@dataclass(slots=True, eq=False)
class Store:
    """One replicated data set."""

    store_id: str
    slots: dict[str, Slot] = field(default_factory=dict[str, Slot])
    """By node id."""
    is_strange: bool = False
    """Whether only nodes that never registered named it."""
    rejoin_at: float | None = None
    """When the last rejoin in it started."""


class Registry:
    """Bounded books of hosts, nodes and stores."""

    def __init__(self, node_limit: int, liveness: Liveness) -> None:
        self._limit = node_limit
        self.liveness = liveness
        self.nodes: dict[str, Node] = {}
        self.hosts: dict[str, Host] = {}
        self.stores: dict[str, Store] = {}
        self.attached = 0
        self.store_order = SortedIds()
        """The ids of the stores, for lists."""
        self.places = 0
        """Slots and nodes."""
        self._dropped_starts: OrderedDict[tuple[str, str], float] = OrderedDict()
        """Last start of the slots dropped last: one that is taken up again keeps its window."""
        self.stranger_places = 0
        """Rejoins parked for nodes that never registered, and for hosts without nodes."""
        self.strangers: OrderedDict[str, Node] = OrderedDict()
        """Nodes that never registered; the one that reported least recently comes first."""
        self.strange_slots = self.strange_stores = self.strange_names = 0
        """What they named."""
        self.neighbors = 0
        """Neighbours of all slots."""
        self.matched = 0
        """Nodes whose streams come from one of their addresses. Where there are none, a proxy or a router may stand
        before the service, and nothing can be compared.
        """
        self._named = 0
        """Nodes with a name."""
        self._idle: OrderedDict[str, Node] = OrderedDict()
        """Nodes without an agent for which nothing is parked; the one idle longest first."""
        self.returning: dict[str, Node] = {}
        """Nodes whose agents have yet to come back from the owner that was replaced; all have the same time left."""

    def node(self, node_id: str, now: float, kept: Collection[Node] = ()) -> Node | None:
        """The node, made known if there is room; None when there is none. None of those ``kept`` goes for it."""
        node = self.nodes.get(node_id)
        if node is None and self._make_room(kept):
            self.places += 1
            node = self.nodes[node_id] = self._idle[node_id] = self.strangers[node_id] = Node(node_id, now, seen_at=now)
        return node

    def expected_reports(self) -> int:
        """Number of stores of all nodes with an agent."""
        return sum(len(node.slots) for node in self.nodes.values() if node.attached)

    def has_room(self, count: int, kept: Collection[Node]) -> bool:
        """Whether so many more nodes could be known; beyond the last free place, one idle node may go for one new.

        None of those ``kept`` may.
        """
        free = self._limit - len(self.nodes)
        return count <= free or (count == 1 and self._idle_node(kept) is not None)

    def host(self, host_id: str) -> Host:
        """The host, made known. It is forgotten once it has neither nodes nor a parked trigger, and so is bounded."""
        host = self.hosts.get(host_id)
        if host is None:
            host = self.hosts[host_id] = Host(host_id)
        return host

    def can_sync(self, node_id: str) -> bool | None:
        """Whether the node's agent can sync with a peer on request; None: none can be asked."""
        node = self.nodes.get(node_id)
        return Capability.SYNC_WITH_PEER in node.capabilities if node is not None and node.reachable else None

    def store_ids(self, node_id: str) -> Collection[str]:
        """The stores of a node."""
        node = self.nodes.get(node_id)
        return node.slots.keys() if node is not None else ()

    def name(self, node_id: str) -> str:
        """What people call a node; empty when it has no name, or is not known."""
        node = self.nodes.get(node_id) if self._named else None
        return node.name if node is not None else ""

    def nodes_of(self, host_id: str) -> Collection[Node]:
        """The nodes of a host."""
        host = self.hosts.get(host_id)
        return host.nodes.values() if host is not None else ()

    def nodes_on(self, host_id: str) -> tuple[str, ...]:
        """The ids of the nodes of a host."""
        return tuple(node.node_id for node in self.nodes_of(host_id))

    def given(self, node: Node, addresses: tuple[str, ...]) -> tuple[str, ...]:
        """Those of a node's addresses that others may be sent to."""
        if not node.doubtful or not self.matched:
            return addresses
        return tuple(one for one in addresses if one not in node.doubtful)

    def forget_host(self, host: Host) -> None:
        """Drop a host without nodes and without a parked trigger."""
        if not host.nodes and host.parked is None:
            self.hosts.pop(host.host_id, None)

    def slot(self, node: Node, store_id: str) -> Slot:
        """The slot of a store of a node, made known."""
        slot = node.slots.get(store_id)
        if slot is None:
            store = self.stores.get(store_id)
            if store is None:
                store = self.stores[store_id] = Store(store_id, is_strange=not node.registered)
                self.store_order.note(store_id)
                self.strange_stores += store.is_strange
            self._name(node, store, 1)
            about_to_change(node)
            slot = node.slots[store_id] = store.slots[node.node_id] = Slot(node, store)
            slot.last_start_at = self._dropped_starts.pop((node.node_id, store_id), NEVER)
            self.places += 1
        return slot

    def _name(self, node: Node, store: Store, change: int) -> None:
        """A node has a store, or (-1) has it no more."""
        if not node.registered:
            self.strange_slots += change
        elif store.is_strange:
            store.is_strange = False
            self.strange_stores -= 1

    def count_names(self, node: Node, change: int) -> None:
        """So many peers and neighbours more, or fewer, are known because of a node's reports."""
        if not node.registered:
            change = max(change, -node.names)
            node.names += change
            self.strange_names += change

    def replace_neighbors(self, slot: Slot, neighbors: dict[str, float]) -> None:
        """Take over the active view that a node reports."""
        self.neighbors += len(neighbors) - len(slot.neighbors)
        slot.neighbors = neighbors
        slot.alive_at = max(neighbors.values(), default=NEVER)

    def find_slot(self, node_id: str, store_id: str) -> Slot | None:
        """The slot of a store of a node, if it is known."""
        node = self.nodes.get(node_id)
        return node.slots.get(store_id) if node is not None else None

    def session(self, node_id: str, session_id: str) -> Node | None:
        """The node to which this stream is attached; None when the stream is not, or no longer, the node's."""
        node = self.nodes.get(node_id)
        return node if node is not None and node.attached and node.session_id == session_id else None

    def attach(self, node: Node, event: NodeAttached, now: float) -> None:
        """Take over a registration; slots are left to the caller."""
        self.attached += not node.attached
        if node.host_id != event.host_id:
            self._leave_host(node)
            node.host_id = event.host_id
        if node.host_id:
            about_to_change(host := self.host(node.host_id))
            host.nodes[node.node_id] = node
        node.session_id, node.speaker = event.session_id, event.speaker
        self._end_return(node)
        self._named += bool(event.name) - bool(node.name)
        node.name = event.name
        node.capabilities = event.capabilities
        self.matched -= node.matched
        node.take_addresses(event)
        self.matched += node.matched
        if not node.registered:
            self.stranger_places -= node.parked_count
            self._forget_stranger(node)
            node.registered = True
            for slot in node.slots.values():
                self._name(node, slot.store, 0)
        node.seen_at = now
        self._idle.pop(node.node_id, None)

    def detach(self, node: Node, now: float) -> None:
        """The node's agent is gone."""
        self.attached -= node.attached
        node.session_id = ""
        self._end_return(node)
        node.seen_at = now
        for slot in node.slots.values():
            self.neighbors -= len(slot.neighbors)
            slot.neighbors.clear()  # their last sign of life stays, and refutes as long as it is fresh
        if not node.parked_count:
            self._idle[node.node_id] = node

    def await_return(self, node: Node, by: float) -> None:
        """The stream ended with the owner that was replaced: the agent may attach again until this instant."""
        node.returns_by = by
        self.returning[node.node_id] = node

    def _end_return(self, node: Node) -> None:
        if node.returns_by is not None:
            node.returns_by = None
            del self.returning[node.node_id]

    def count_parked(self, node_id: str, change: int) -> None:
        """So many more rejoins are parked for a node, or fewer; it may become idle, or be so no longer."""
        node = self.nodes.get(node_id)
        if node is None or not node.registered:
            self.stranger_places += change
        if node is None:  # parked for a host
            return
        node.parked_count += change
        if node.parked_count:
            self._idle.pop(node_id, None)
        elif not node.attached:
            self._idle[node_id] = node

    def drop_slot(self, slot: Slot) -> None:
        """Forget a slot, and its store when no node has it."""
        about_to_change(slot.node)
        del slot.node.slots[slot.store.store_id]
        del slot.store.slots[slot.node.node_id]
        self.places -= 1
        self.neighbors -= len(slot.neighbors)
        slot.neighbors = {}
        self.strange_slots -= not slot.node.registered
        if slot.last_start_at > NEVER:
            self._dropped_starts[slot.node.node_id, slot.store.store_id] = slot.last_start_at
            if len(self._dropped_starts) > DROPPED_STARTS:
                self._dropped_starts.popitem(last=False)
        self.liveness.leave_store(slot.store.store_id, slot.node.node_id)
        if not slot.store.slots:
            self.liveness.forget_store(slot.store.store_id)
            del self.stores[slot.store.store_id]
            self.store_order.note(slot.store.store_id)
            self.strange_stores -= slot.store.is_strange

    @property
    def has_idle(self) -> bool:
        """Whether any node is without an agent and has nothing parked."""
        return bool(self._idle)

    def idle_ids(self) -> Collection[str]:
        """The nodes without an agent for which nothing is parked."""
        return self._idle.keys()

    def idle_since(self, node_id: str) -> float | None:
        """When such a node last gave a sign of life; None for any other."""
        node = self._idle.get(node_id)
        if node is None:
            return None
        reports = [slot.reported_at for slot in node.slots.values() if slot.reported_at is not None]
        return max([node.seen_at, *reports])

    def strangers_until(self) -> float | None:
        """When the first rejoin that is parked for a stranger expires, going by those known longest."""
        parked = (self.parked_until(node) for node in islice(self.strangers.values(), OLDEST) if node.parked_count)
        return min((until for until in parked if until is not None), default=None)

    def parked_until(self, node: Node) -> float | None:
        """When the first rejoin that is parked for a node expires; None where none is."""
        waiting = (node.parked, *(slot.waiting for slot in node.slots.values()))
        return min((one.deadline for one in waiting if one is not None and one.deadline is not None), default=None)

    def forget(self, node: Node) -> None:
        """Drop a node without an agent; nothing may wait for it."""
        for slot in list(node.slots.values()):
            self.drop_slot(slot)
        self._leave_host(node)
        del self.nodes[node.node_id], self._idle[node.node_id]
        self.places -= 1
        self._named -= bool(node.name)
        self.matched -= node.matched
        if not node.registered:
            self._forget_stranger(node)

    def _forget_stranger(self, node: Node) -> None:
        """A stranger registered, or is forgotten."""
        self.strangers.pop(node.node_id, None)
        self.strange_slots -= len(node.slots)
        self.strange_names -= node.names
        node.names = 0

    def _make_room(self, kept: Collection[Node]) -> bool:
        if len(self.nodes) < self._limit:
            return True
        node = self._idle_node(kept)
        if node is None:
            return False
        self.forget(node)
        return True

    def _idle_node(self, kept: Collection[Node]) -> Node | None:
        kept = set(kept)
        return next((node for node in self._idle.values() if node not in kept), None)

    def _leave_host(self, node: Node) -> None:
        host = self.hosts.get(node.host_id)
        if host is not None:
            about_to_change(host)
            host.nodes.pop(node.node_id, None)
            self.forget_host(host)

    # Snapshots: every field but links and liveness, in the order of the books, for order decides who is first.

    def capture(self, capture: Capture) -> Plain:
        """Everything but liveness."""
        nodes, hosts, stores = tuple(self.nodes.values()), tuple(self.hosts.values()), tuple(self.stores.values())
        dropped = tuple(self._dropped_starts.items())
        capture.expect(nodes)
        capture.expect(hosts)
        capture.expect(stores)
        capture.expect(slot for node in nodes for slot in capture.of(node)[2])
        return {
            "nodes": LaterList(
                lambda: nodes, lambda node: _encode_node(capture, node), is_heavy=True, release=capture.release
            ),
            "hosts": LaterList(lambda: hosts, lambda host: _encode_host(capture.of(host)), is_heavy=True),
            "stores": LaterMap(lambda: ((store.store_id, _STORE.encode(capture.of(store))) for store in stores)),
            "detached": list(self._idle),
            "dropped": LaterList(lambda: dropped, lambda one: [*one[0], one[1]]),
        }

    def load(self, plain: Plain, get: Callable[[str], Rejoin | None]) -> None:
        """Take over what was saved; links to rejoins are looked up by id."""
        for store_id, fields in plain["stores"].items():
            self.stores[store_id] = Store(store_id, **decode_fields(fields, Store, STORE_LINKS))
            self.store_order.note(store_id)
        for one in plain["nodes"]:
            node = Node(**decode_fields(one["fields"], Node, NODE_LINKS))
            self.nodes[node.node_id] = node
            if not node.registered:
                self.strangers[node.node_id] = node
            node.parked = get(one["parked"])
            for store_id, running, waiting, *held, fields in one["slots"]:
                slot = self.slot(node, store_id)
                slot.running, slot.waiting = get(running), get(waiting)
                slot.awaiting_recovery = get(held[0]) if held else None
                slot.asking = get(held[1]) if len(held) > 1 else None
                for name, value in decode_fields(fields, Slot, SLOT_UNSAVED).items():
                    setattr(slot, name, value)
            waiting = (node.parked, *(slot.waiting for slot in node.slots.values()))
            node.parked_count = sum(one is not None and one.outcome is Outcome.PARKED for one in waiting)
        for one in plain["hosts"]:
            host = Host(**decode_fields(one["fields"], Host, HOST_LINKS))
            self.hosts[host.host_id] = host
            host.parked = get(one["parked"])
            host.nodes = {node_id: self.nodes[node_id] for node_id in one["nodes"]}
        # Earlier snapshots list those for which something is parked as well.
        detached = (self.nodes[node_id] for node_id in plain["detached"])
        self._idle = OrderedDict((node.node_id, node) for node in detached if not node.parked_count)
        self._dropped_starts = OrderedDict(
            ((node_id, store_id), at) for node_id, store_id, at in plain.get("dropped", ())
        )
        self.attached = sum(node.attached for node in self.nodes.values())
        self.returning = {node.node_id: node for node in self.nodes.values() if node.returns_by is not None}
        self.matched = sum(node.matched for node in self.nodes.values())
        self._named = sum(bool(node.name) for node in self.nodes.values())
        self.stranger_places = sum(node.parked_count for node in self.nodes.values() if not node.registered)
        self.stranger_places += sum(host.parked is not None for host in self.hosts.values())
        self.places += len(self.nodes)
        for store in self.stores.values():
            store.is_strange = not any(slot.node.registered for slot in store.slots.values())
            self.strange_stores += store.is_strange


def _id(rejoin: Rejoin | None) -> str:
    return rejoin.rejoin_id if rejoin is not None else ""


_NODE, _SLOT = layout_of(Node, NODE_LINKS), layout_of(Slot, SLOT_UNSAVED)
_HOST, _STORE = layout_of(Host, HOST_LINKS), layout_of(Store, STORE_LINKS)
# A rejoin that is linked does not change its id, nor a slot its store.
REGISTRY_READS: dict[type[Any], Read] = {
    Node: lambda node: (_NODE.read(node), node.parked, tuple(node.slots.values())),
    Slot: lambda slot: (_SLOT.read(slot), slot.running, slot.waiting, slot.awaiting_recovery, slot.asking),
    Host: lambda host: (_HOST.read(host), host.parked, tuple(host.nodes)),
    Store: _STORE.read,
}
"""How a snapshot reads what is known."""


def _encode_node(capture: Capture, node: Node) -> Plain:
    fields, parked, slots = capture.of(node)
    return {"fields": _NODE.encode(fields), "parked": _id(parked), "slots": [_encode_slot(capture, s) for s in slots]}


def _encode_slot(capture: Capture, slot: Slot) -> Plain:
    fields, *rejoins = capture.of(slot)
    return [slot.store.store_id, *map(_id, rejoins), _SLOT.encode(fields)]


def _encode_host(read: tuple[Sequence[Any], Rejoin | None, tuple[str, ...]]) -> Plain:
    fields, parked, node_ids = read
    return {"fields": _HOST.encode(fields), "parked": _id(parked), "nodes": list(node_ids)}

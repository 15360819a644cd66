"""The knock: another node of the store is asked to rejoin towards one whose own rejoin stays unproved.

An overlay such as iroh-gossip never dials a peer again once a dial of it has failed, until that peer connects. So a
node may be deaf for good, whatever it is asked to do itself, while a dial from another node cures it in no time.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from gossipcontrol.server.core.deciding.output import Output
from gossipcontrol.server.core.deciding.policy import Policy
from gossipcontrol.server.core.deciding.recorded_reads import RecordedReads
from gossipcontrol.server.core.deciding.registry import ASKED, Registry, Slot
from gossipcontrol.server.core.deciding.rejoin import BRIDGE, Rejoin, Trigger
from gossipcontrol.server.core.decision import Cause, Rule
from gossipcontrol.server.core.effect import AskPeer

LOOK = 32
"""How many attached nodes are looked at to find the one to ask: this must cost the same in a store of any size."""
REACH = 256
"""How many nodes are looked at to find those."""


class PeerAsker:
    """Chooses the node to ask, and gives it a trigger of its own: window, limiter and explanation hold for it."""

    def __init__(self, registry: Registry, policy: Policy, reads: RecordedReads, output: Output) -> None:
        self._registry = registry
        self._policy = policy
        self._reads = reads
        self._output = output

    def ask(self, slot: Slot, rejoin: Rejoin, now: float) -> tuple[str, float] | None:
        """Ask one node to rejoin towards this one; returns its id and when it starts, None where nobody can be asked.

        One is asked per attempt that stays unproved, and none because of a rejoin that was itself asked for, so nodes
        that are all deaf do not keep each other busy.
        """
        if rejoin.rejoin_only or rejoin.is_asked:
            return None
        node_id, store_id = slot.node.node_id, slot.store.store_id
        asked_id = self._reads.read_named(("", "asks", store_id, node_id), lambda: self._choose(slot))
        asked = slot.store.slots.get(asked_id)
        if asked is None:
            return None
        slot.asked = (*(one for one in slot.asked if one != asked_id), asked_id)[-ASKED:]
        name = slot.node.name or node_id
        evidence = f"asked to rejoin towards {name}, whose rejoin {rejoin.rejoin_id} stays unproved"
        trigger = Trigger(Cause.ASKED, now, evidence=evidence, bridge=(node_id,), rejoin_only=True)
        decision = self._policy.decide(asked, trigger)
        self._output.emit(AskPeer(decision, node_id, rejoin.rejoin_id))
        return asked_id, decision.start_at

    def _choose(self, slot: Slot) -> str:
        """Nodes take turns and share the load; one that lists this one as a neighbour comes last: it would not dial."""
        if self._policy.free_places() <= 0:
            return ""
        own_id, turns = slot.node.node_id, {one: turn for turn, one in enumerate(slot.asked, 1)}
        ranked: list[tuple[bool, int, int, float, str]] = []
        for one in islice(self._candidates(slot), LOOK):
            node_id, load = one.node.node_id, _load(one)
            if load < BRIDGE:
                ranked.append((own_id in one.neighbors, turns.get(node_id, 0), load, one.last_start_at, node_id))
        return min(ranked)[-1] if ranked else ""

    def _candidates(self, slot: Slot) -> Iterator[Slot]:
        """Nodes with an agent that take part; not one that is about to try again itself, for it dials others soon."""
        liveness, store_id = self._registry.liveness, slot.store.store_id
        for one in islice(slot.store.slots.values(), REACH):
            backs_off = one.waiting is not None and one.waiting.rule is Rule.BACKOFF
            can_be_asked = one is not slot and one.node.reachable and not backs_off
            if can_be_asked and liveness.takes_part(store_id, one.node.node_id):
                yield one


def _load(slot: Slot) -> int:
    """How many others it is to rejoin towards already."""
    return len(slot.waiting.bridge) if slot.waiting is not None else 0

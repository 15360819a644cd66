"""Every book of the core draws from the one budget of memory."""

from __future__ import annotations

from gossipcontrol.server.core.deciding.engine import Engine
from gossipcontrol.server.core.knowledge.store import KnowledgeStore
from gossipcontrol.server.core.liveness import Liveness
from gossipcontrol.server.core.memory import CHANGE, HOST, MONITOR, NAME, NODE, OFFER, PAIR, SLOT, STORE, MemoryBudget
from gossipcontrol.server.core.repair.asked_syncs import AskedSyncs
from gossipcontrol.server.core.repair.sync_offers import SyncOffers


def add_books(
    memory: MemoryBudget,
    deciding: Engine,
    liveness: Liveness,
    knowledge: KnowledgeStore,
    offers: SyncOffers,
    asked: AskedSyncs,
) -> None:
    """Have the books of all parts draw from this budget."""
    add, registry = memory.add, deciding.registry
    add("nodes", lambda: len(registry.nodes), NODE)
    add("stores", lambda: len(registry.stores), STORE)
    add("stores", lambda: liveness.diagnosis.monitor_count, MONITOR)
    add("hosts", lambda: len(registry.hosts), HOST)
    add("slots", lambda: registry.places - len(registry.nodes), SLOT)
    add("neighbors", lambda: registry.neighbors, NAME)
    add("peers", lambda: liveness.peer_total, NAME)
    add("changes", lambda: liveness.presence.change_total, CHANGE)
    add("pairs", lambda: liveness.diagnosis.pair_total, PAIR)
    add("syncs", lambda: len(offers) + len(asked), OFFER)
    add("intentions", lambda: knowledge.used_bytes)
    deciding.add_books(add)

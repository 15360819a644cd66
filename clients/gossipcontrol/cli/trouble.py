"""What is wrong with the fleet, from what the service knows: a sentence and a cure each. No IO."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gossipcontrol.client.decision import RejoinRecord
from gossipcontrol.client.enumeration import Outcome, PeerState
from gossipcontrol.client.store import Store, StoreNode
from gossipcontrol.system.printable import printable

NAMED = 3
"""Most ids that a sentence names."""
SILENT = 120.0
"""Seconds without a report after which an attached agent is silent; reports come every few seconds."""
FAILING = (Outcome.UNVERIFIED, Outcome.FAILED)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that an operator should know. ``is_wrong``: it will not pass by itself."""

    subject: str
    sentence: str
    cure: str
    is_wrong: bool = True


def find_troubles(stores: Sequence[Store], rejoins: Iterable[RejoinRecord], warnings: Iterable[str]) -> list[Trouble]:
    """What is wrong first, then what may pass by itself; ``rejoins``: newest first."""
    found = [
        *map(_warned, warnings), *_partitions(stores), *_failing(stores, rejoins), *_never_reported(stores),
        *_silent(stores), *_suspects(stores),
    ]  # fmt: skip
    return sorted(found, key=lambda trouble: not trouble.is_wrong)


def unreported(stores: Iterable[Store]) -> list[str]:
    """The nodes whose agents are attached and never reported, in any store."""
    return _attached(stores, lambda node: node.report_age is None)


def _warned(warning: str) -> Trouble:
    sentence, _, cure = warning.partition(": ")
    return Trouble("fleet", sentence, cure or "see the log of the service")


def _partitions(stores: Iterable[Store]) -> list[Trouble]:
    split = [store.store_id for store in stores if store.partitioned]
    cure = "see what was tried with gossipcontrol rejoins --cause partition; check the network between the sides"
    return [Trouble("partition", f"{_stores(split, 'is', 'are')} partitioned: {_named(split)}", cure)] if split else []


def _failing(stores: Sequence[Store], rejoins: Iterable[RejoinRecord]) -> list[Trouble]:
    alone = {store.store_id for store in stores if _is_alone(store)}
    newest: dict[tuple[str, str], RejoinRecord] = {}
    for one in rejoins:
        newest.setdefault((one.node_id, one.store_id), one)
    failed = [one for one in newest.values() if one.outcome in FAILING]
    lonely = [one for one in failed if one.outcome is Outcome.UNVERIFIED and one.store_id in alone]
    return _unproved(lonely) + _not_carried_out([one for one in failed if one not in lonely])


def _is_alone(store: Store) -> bool:
    """Whether a store has no second peer. One that went offline counts: the fault may be that it is not heard."""
    there = sum(count for state, count in store.peer_counts.items() if state is not PeerState.LEFT)
    return there <= 1 and store.attached_count <= 1


def _unproved(rejoins: Sequence[RejoinRecord]) -> list[Trouble]:
    """The rejoins of the only node of a store: nothing is wrong with it."""
    if not rejoins:
        return []
    where = _named(list(dict.fromkeys(one.store_id for one in rejoins)))
    cure = "start another node of the store; until then there is nobody to hear"
    return [Trouble("rejoins", f"a rejoin of the only node cannot be proved: {where}", cure, is_wrong=False)]


def _not_carried_out(failed: Sequence[RejoinRecord]) -> list[Trouble]:
    if not failed:
        return []
    where = _named([f"{one.rejoin_id} of {_cut(one.node_id, one.node_name)} in {one.store_id}" for one in failed])
    count = f"{len(failed)} {'rejoin' if len(failed) == 1 else 'rejoins'} failing"
    cure = "see why with gossipcontrol explain --rejoin REJOIN; if it goes on, restart the node's process"
    return [Trouble("rejoins", f"{count}: {where}", cure)]


def _never_reported(stores: Sequence[Store]) -> list[Trouble]:
    nodes = unreported(stores)
    cure = "have their agents report what they hear (Agent.heard, Agent.sent), or give the node a reference agent"
    return [Trouble("agents", f"{_agents(nodes)} attached but never reported: {_named(nodes)}", cure)] if nodes else []


def _silent(stores: Iterable[Store]) -> list[Trouble]:
    nodes = _attached(stores, lambda node: (node.report_age or 0.0) > SILENT)
    cure = "look at the log of the node's process: it is attached, but its event loop or its gossip may be stuck"
    sentence = f"{_agents(nodes)} attached but silent for {SILENT:.0f} s or more: {_named(nodes)}"
    return [Trouble("agents", sentence, cure)] if nodes else []


def _suspects(stores: Iterable[Store]) -> list[Trouble]:
    found = [store.store_id for store in stores if store.peer_counts.get(PeerState.SUSPECT)]
    cure = "wait: they are heard again, or go offline; gossipcontrol peers STORE --state suspect names them"
    sentence = f"{_stores(found, 'has', 'have')} suspects: {_named(found)}"
    return [Trouble("suspects", sentence, cure, is_wrong=False)] if found else []


def _attached(stores: Iterable[Store], fits: Callable[[StoreNode], bool]) -> list[str]:
    """Attached nodes that this is true of in every store that they are listed with."""
    rows = [node for store in stores for node in store.nodes if node.attached]
    others = {node.node_id for node in rows if not fits(node)}
    return sorted({_cut(node.node_id, node.name) for node in rows if node.node_id not in others})


def _stores(ids: Sequence[str], one: str, many: str) -> str:
    return f"1 store {one}" if len(ids) == 1 else f"{len(ids)} stores {many}"


def _agents(ids: Sequence[str]) -> str:
    return "1 agent is" if len(ids) == 1 else f"{len(ids)} agents are"


def _named(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
    return ", ".join(map(_cut, ids[:NAMED])) + more


def _cut(identifier: str, name: str = "") -> str:
    shown = printable(identifier)
    cut = shown if " " in shown or len(shown) <= 24 else shown[:12] + "…"
    return f"{printable(name)} ({cut})" if name else cut

"""What of an answer an identity may read: the rows of its stores."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from gossipcontrol.server.access.identity import LOCAL, Identity, Role, Scope
from gossipcontrol.server.access.ownership import READ
from gossipcontrol.server.errors import NotFound
from gossipcontrol.v1.gossip_control_pb2 import (
    ExplainResponse,
    ListRejoinsResponse,
    ListReplicasResponse,
    ListStoresResponse,
)

reader: ContextVar[Identity] = ContextVar("reader", default=LOCAL)
"""Whose call runs now, so that pages are made of the rows that it may read, and their tokens name no other."""
LeaveOut = Callable[[Identity, Any], None]


def leave_out(method: str) -> LeaveOut | None:
    """What removes the rows of others from the answers of a call; None: its answers have none."""
    return _BY_CALL.get(method.rpartition("/")[2])


def _stores(identity: Identity, answer: ListStoresResponse) -> None:
    if identity.owns_all(Scope.STORES) and not identity.roles.isdisjoint(READ.roles):
        return
    _keep(answer.stores, lambda store: _reads(identity, store.store_id))
    # They are about the fleet as a whole.
    del answer.warnings[:]


def _rejoins(identity: Identity, answer: ListRejoinsResponse) -> None:
    _keep(answer.rejoins, lambda rejoin: _reads(identity, rejoin.store_id))


def _explanation(identity: Identity, answer: ExplainResponse) -> None:
    had_any = bool(answer.explanations)
    _keep(answer.decisions, lambda decision: _reads(identity, decision.store_id))
    _keep(answer.explanations, lambda one: _reads(identity, one.decision.store_id))
    _keep(answer.rejoins, lambda rejoin: _reads(identity, rejoin.store_id))
    if had_any and not answer.explanations:
        raise NotFound("no trigger of this is kept, or none of a store that may be read")
    if len(answer.explanations) < answer.decision_count and not identity.owns_all(Scope.STORES):
        answer.decision_count = len(answer.decisions)


def _replicas(identity: Identity, answer: ListReplicasResponse) -> None:
    if Role.ADMIN not in identity.roles:
        answer.path = ""


def current_reads(store_id: str) -> bool:
    """Whether whose call runs now may read a store."""
    identity = reader.get()
    return identity is LOCAL or _reads(identity, store_id)


def _reads(identity: Identity, store_id: str) -> bool:
    return identity.owns(READ.roles, READ.scope, store_id)


def _keep(rows: Any, is_kept: Callable[[Any], bool]) -> None:
    kept = [row for row in rows if is_kept(row)]
    if len(kept) < len(rows):
        del rows[:]
        rows.extend(kept)


_BY_CALL: dict[str, LeaveOut] = {
    "ListStores": _stores,
    "ListRejoins": _rejoins,
    "Explain": _explanation,
    "ListReplicas": _replicas,
}

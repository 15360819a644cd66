"""What the core shows of its state: frozen snapshots for lists and metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from gossipcontrol.server.core.decision import Cause, Decision, DecisionKind, Outcome, Rule, Rung
from gossipcontrol.server.core.event import NEVER


class Seen(NamedTuple):
    """What a decision saw of its (node, store): a named tuple, for one is made per trigger."""

    attached: bool = False
    started_at: float = NEVER
    """The last start before."""
    alive_at: float = NEVER
    """The newest sign of life of a present neighbour."""
    waiting_id: str = ""
    """The rejoin that waited."""
    waiting: int = 0
    """Rejoins that waited in the whole service."""


UNSEEN = Seen()
"""What is seen of a node or store that is not known."""


class Explanation(NamedTuple):
    """One decision, made or foretold, with what it saw."""

    decision: Decision
    cause: Cause
    arrived_at: float
    seen: Seen


@dataclass(frozen=True, slots=True)
class Forecast:
    """What would happen to a trigger now."""

    explanations: tuple[Explanation, ...] = ()
    replayed: bool = False
    """Whether the recorded answer to an earlier request would be given."""
    total: int = 0
    """Number of all decisions; only the first ones are explained."""
    is_reused: bool = False
    """Whether its request id belongs to another request: then it would be refused."""
    retry_in: float | None = None
    """Seconds after which a refused trigger might find room; None unless it would be refused."""


@dataclass(frozen=True, slots=True)
class TriggerRecord:
    """One trigger of a rejoin, as it was decided."""

    cause: Cause
    kind: DecisionKind
    rule: Rule
    arrived_at: float
    request_id: str = ""
    seen: Seen = UNSEEN
    evidence: str = ""
    """What a suspicion rests on, as a sentence."""
    asked_by: str = ""
    """Who asked; empty: the service itself."""


class Restart(NamedTuple):
    """What became of the command that a node's agent ran because a restart was advised."""

    at: float
    exit_code: int | None
    duration: float
    error: str


@dataclass(frozen=True, slots=True)
class RejoinRecord:
    """One rejoin with the triggers that share it; instants are service time."""

    rejoin_id: str
    node_id: str
    store_id: str
    outcome: Outcome
    requested_at: float
    due_at: float
    """When it starts or expires, while it waits or is parked."""
    started_at: float | None
    """Start of the last attempt."""
    ended_at: float | None
    verified_after: float | None
    """Seconds from the first start to the proof."""
    attempts: int
    rung: Rung
    detail: str
    triggers: tuple[TriggerRecord, ...]
    """Oldest first; the first and the newest 15 are kept."""
    trigger_count: int
    bootstrap: tuple[str, ...]
    restart: Restart | None = None


@dataclass(frozen=True, slots=True)
class StoreNode:
    """One node of a store."""

    node_id: str
    host_id: str
    attached: bool
    neighbors: int
    reported_at: float | None
    name: str = ""


@dataclass(frozen=True, slots=True)
class StoreRecord:
    """One store."""

    store_id: str
    nodes: tuple[StoreNode, ...]
    """By id, at most 100."""
    node_count: int
    peer_count: int
    rejoin_at: float | None
    attached: int
    """Nodes with an agent attached."""
    running: int
    """Rejoins that agents carry out."""
    waiting: int
    """Rejoins that wait, parked ones included."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Gauges of the core, each read in constant time."""

    attached: int
    """Agents attached."""
    nodes: int
    stores: int
    peers: int
    """(store, peer) pairs remembered."""
    queued: int
    """Rejoins that wait for their window or their turn."""
    parked: int
    running: int

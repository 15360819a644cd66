"""What happens to the core: past tense, never changed, the only way in.

Triggers and reports are not marked as frozen: one is made per call, and freezing makes that six times as slow.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from gossipcontrol.server.core.codec import formerly
from gossipcontrol.server.core.decision import Capability, Cause, Rung
from gossipcontrol.server.core.knowledge.event import KnowledgeEvent


class ChangeKind(IntEnum):
    """What happened to a host, and the cause that it is; numbers equal those of ``gossipcontrol.v1``."""

    CHANGED = 1, Cause.NETWORK_CHANGE
    RESUMED = 2, Cause.RESUME
    SLEEPING = 3, None
    FOREGROUND = 4, Cause.APP_FOREGROUND

    cause: Cause | None
    """None for an announced sleep, which triggers nothing."""

    def __new__(cls, number: int, cause: Cause | None) -> ChangeKind:
        """A kind by its number."""
        kind = int.__new__(cls, number)
        kind._value_ = number
        kind.cause = cause
        return kind


@dataclass(slots=True)
class RejoinRequested:
    """Somebody asks for a rejoin of these stores (none: all) of a node."""

    node_id: str
    store_ids: tuple[str, ...] = ()
    cause: Cause = Cause.MANUAL
    request_id: str = ""
    evidence: str = ""
    """What a suspicion rests on, as a sentence; beyond ``EVIDENCE`` characters it is cut."""
    bridge: tuple[str, ...] = ()
    """Peers of the other side of a partition, to be dialled first; beyond ``BRIDGE`` they are left out."""
    rejoin_only: bool = field(default=False, metadata=formerly("blind"))
    """Whether no stronger rung may follow: it would take down links that the node has, or has nothing to reach."""
    first_rung: Rung = Rung.REJOIN
    """The rung to begin with, where something shows that those below are in vain."""
    park: bool = True
    """Whether it waits for a node that nobody knows; otherwise such a trigger is refused."""
    asked_by: str = ""
    """Who asked: an identity, and where it called from; beyond ``ASKED_BY`` characters it is cut."""


@dataclass(slots=True)
class NetworkChanged:
    """A watcher reports a change of a host, or of these nodes."""

    host_id: str
    node_ids: tuple[str, ...] = ()
    kind: ChangeKind = ChangeKind.CHANGED
    boot_id: str = ""
    generation: int = 0
    request_id: str = ""
    park: bool = True
    """Whether it waits for named nodes that nobody knows; otherwise such a trigger is refused."""
    slept: float = 0.0
    """Seconds that the host slept before it resumed; 0: not known."""
    asked_by: str = ""
    """Who reported: an identity, and where it called from; beyond ``ASKED_BY`` characters it is cut."""
    speaker: str = ""
    """The identity that reports; empty where callers have none. Its numbers of generations are its own."""

    @property
    def evidence(self) -> str:
        """What is kept of it with its triggers, for people."""
        if self.kind is not ChangeKind.RESUMED or self.slept < 1:
            return ""
        return f"the host had slept for {self.slept:.0f} s"


@dataclass(frozen=True, slots=True)
class NodeAttached:
    """An agent registered a node, or replaced its registration."""

    node_id: str
    session_id: str
    store_ids: tuple[str, ...]
    host_id: str = ""
    capabilities: frozenset[Capability] = frozenset()
    addresses: tuple[str, ...] = ()
    incarnation: str = ""
    agent: str = ""
    name: str = ""
    doubtful: tuple[str, ...] = ()
    """Addresses that its stream does not come from, so that they may be somebody else's."""
    matched: bool = False
    """Whether its stream comes from one of its addresses."""
    speaker: str = ""
    """The identity that says so; empty where callers have none: then each node is its own."""


@dataclass(frozen=True, slots=True)
class NodeDetached:
    """An agent's stream ended. Nothing happens when a newer session of the node has attached meanwhile."""

    node_id: str
    session_id: str
    left: bool = False
    """Whether the node said goodbye."""


@dataclass(frozen=True, slots=True)
class ForgetRequested:
    """A node without an agent, or a store, or a store of one node is to be forgotten; at least one is given."""

    node_id: str = ""
    store_id: str = ""
    why: str = "an operator had it forgotten"


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """An operator wants a rejoin that has not ended to end."""

    rejoin_id: str


NEVER = -math.inf
"""The instant of what has not happened."""
NEIGHBORS = 1000
"""Most neighbours of one node in one store that are remembered."""


@dataclass(slots=True)
class LivenessReported:
    """What one node reported of one store; instants are service time."""

    node_id: str
    store_id: str
    heard: Mapping[str, float] = field(default_factory=dict[str, float])
    """Each peer that it names, and when it last received a message authored by it, or NEVER."""
    neighbors: Mapping[str, float] = field(default_factory=dict[str, float])
    """Each peer in its active view, and since when it is there."""
    broadcast_count: int = 0
    unsynced_writes: int = 0
    going_to_sleep: bool = False
    heard_counts: Sequence[int] = ()
    """How many messages of each it received in all, in the order of ``heard``; empty: it counts none."""
    direct: Collection[str] = ()
    """Those whose last message came from themselves."""
    delay: float = 0.0
    """At most so long before it arrived it was written: what it says proves no rejoin that started since."""
    speaker: str = ""
    """The identity that says so; empty where callers have none: then each node is its own."""


@dataclass(slots=True)
class NeighborChanged:
    """A neighbour of a node came (``up``) or went; alone it never starts a rejoin."""

    node_id: str
    store_id: str
    peer_id: str
    up: bool
    changed_at: float
    delay: float = 0.0
    """As in ``LivenessReported``."""
    speaker: str = ""
    """The identity that says so; empty where callers have none: then each node is its own."""


@dataclass(frozen=True, slots=True)
class SyncFinished:
    """A node synced a store directly with a peer, or could not reach it."""

    node_id: str
    store_id: str
    peer_id: str
    ok: bool
    error: str = ""
    nonce: int = 0
    """The number of the request that it answers; 0: an agent that knows none."""
    speaker: str = ""
    """The identity that says so; empty where callers have none: then each node is its own."""


@dataclass(frozen=True, slots=True)
class NodesSlept:
    """The host of these nodes is about to sleep: their silence is no failure."""

    node_ids: tuple[str, ...]
    store_ids: tuple[str, ...] | None = None
    """In these stores; None: in all that they have."""


@dataclass(frozen=True, slots=True)
class NodesWoke:
    """The host of these nodes resumed."""

    node_ids: tuple[str, ...]
    store_ids: tuple[str, ...] | None = None
    """In these stores; None: in all that they have."""


@dataclass(frozen=True, slots=True)
class RejoinFinished:
    """An attempt was carried out, or failed; ``retry_in`` seconds from now the next is wanted, None: no more."""

    rejoin_id: str
    attempt: int
    ok: bool
    error: str = ""
    retry_in: float | None = None


@dataclass(frozen=True, slots=True)
class RestartFinished:
    """A node's agent ran the operator's command because a restart was advised."""

    node_id: str
    rejoin_id: str
    exit_code: int | None = None
    """None: a signal ended it, or it could not be started."""
    duration: float = 0.0
    """Seconds that it took."""
    error: str = ""


@dataclass(frozen=True, slots=True)
class TimePassed:
    """The deadline of ``next_deadline`` has come."""


@dataclass(frozen=True, slots=True)
class StartDelayed:
    """The command of an attempt leaves only now, for the log could not keep it before: its proof time begins anew."""

    rejoin_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class StoreSeen:
    """A report named a store of a node that was not known: what is logged of such a report."""

    node_id: str
    store_id: str


@dataclass(frozen=True, slots=True)
class RejoinProved:
    """A report proved a running rejoin: what is logged of such a report."""

    rejoin_id: str
    what: str


@dataclass(frozen=True, slots=True)
class AddressesProved:
    """A node of another identity reached this one: its addresses are given to others now."""

    node_id: str


@dataclass(frozen=True, slots=True)
class AdviceOutdated:
    """A report showed life after a restart was advised: what is logged of such a report."""

    node_id: str
    store_id: str


@dataclass(frozen=True, slots=True)
class SuspicionEnded:
    """What a node was suspected of holds no longer: the proof of rejoins that ran because of it, if it ``healed``."""

    node_id: str
    store_id: str
    cause: Cause
    healed: bool = True
    """False where nothing shows its health: it fell silent, or was cut off altogether."""


@dataclass(frozen=True, slots=True)
class ServiceStarted:
    """The service runs anew: every stream is gone, and rejoins get ids with this prefix."""

    run_id: str


@dataclass(frozen=True, slots=True)
class OwnerChanged:
    """Another replica decides from now on. The streams ended with the former owner, but the agents come back."""

    run_id: str
    """Prefix of the ids of rejoins, as for ``ServiceStarted``."""
    epoch: int
    """Of the new owner; larger than that of every owner before."""


DecidingEvent = (
    RejoinRequested
    | NetworkChanged
    | NodeAttached
    | NodeDetached
    | LivenessReported
    | NeighborChanged
    | RejoinFinished
    | RestartFinished
    | TimePassed
    | StartDelayed
    | StoreSeen
    | RejoinProved
    | AddressesProved
    | AdviceOutdated
    | SuspicionEnded
    | ForgetRequested
    | CancelRequested
    | ServiceStarted
    | OwnerChanged
)
"""What deciding takes; all but reports may stand in the log."""

LivenessEvent = (
    LivenessReported
    | NeighborChanged
    | NodeAttached
    | NodeDetached
    | NodesSlept
    | NodesWoke
    | SyncFinished
    | TimePassed
)
"""What the liveness part of the core takes; none of it is logged there."""

Event = DecidingEvent | SyncFinished | KnowledgeEvent
"""What the service tells the core."""

"""The words of deciding: causes, decisions, outcomes, rungs. Numbers equal those of ``gossipcontrol.v1``."""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import NamedTuple


class NamedBy(Enum):
    """Where a trigger with a cause comes from."""

    REQUEST = "Rejoin"
    REPORT = "ReportNetworkChange"
    SERVICE = "the service's own findings"


class CauseTraits(NamedTuple):
    """What deciding needs to know of a cause."""

    urgency: int
    """Place in the queue of one node; lower goes first."""
    is_refutable: bool = False
    """Whether a fresh neighbour refutes it: so it is where one node guesses that it is cut off, but not where the
    reports of several nodes give the trouble away. A partitioned node has fresh neighbours on its own side."""
    is_proved_by_recovery: bool = False
    """Whether only the end of the suspicion proves that a rejoin worked: a node whose large messages vanish, or that is
    on the wrong side of a cut, has neighbours and hears messages as before."""
    named_by: NamedBy = NamedBy.REQUEST
    """Who may name it. Rot and partitions are found by the service alone, which sees all reports: nothing would ever
    end the suspicion of a client."""


class Cause(IntEnum):
    """Why a rejoin is wanted. The traits of a cause stand here, and nowhere else."""

    MANUAL = 1, CauseTraits(urgency=0)
    NETWORK_CHANGE = 2, CauseTraits(urgency=3, named_by=NamedBy.REPORT)
    RESUME = 3, CauseTraits(urgency=1, named_by=NamedBy.REPORT)
    APP_FOREGROUND = 4, CauseTraits(urgency=2, named_by=NamedBy.REPORT)
    SUSPICION = 5, CauseTraits(urgency=4, is_refutable=True)
    ISOLATED = 6, CauseTraits(urgency=4, is_refutable=True)
    OUTBOUND_ROT = 7, CauseTraits(urgency=4, is_proved_by_recovery=True, named_by=NamedBy.SERVICE)
    INBOUND_ROT = 8, CauseTraits(urgency=4, is_proved_by_recovery=True, named_by=NamedBy.SERVICE)
    PARTITION = 9, CauseTraits(urgency=4, is_proved_by_recovery=True, named_by=NamedBy.SERVICE)
    ASKED = 10, CauseTraits(urgency=4, named_by=NamedBy.SERVICE)
    """Another node of the store rejoined in vain, and this one is to rejoin towards it."""

    urgency: int
    is_refutable: bool
    is_proved_by_recovery: bool
    named_by: NamedBy

    def __new__(cls, number: int, traits: CauseTraits) -> Cause:
        """A cause by its number in ``gossipcontrol.v1``, with its traits as attributes."""
        cause = int.__new__(cls, number)
        cause._value_ = number
        cause.urgency, cause.is_refutable, cause.is_proved_by_recovery, cause.named_by = traits
        return cause


MOVES = frozenset({Cause.NETWORK_CHANGE, Cause.RESUME})
"""Causes after which a node may be dialled elsewhere than before, and paths that were gone may be back."""


class DecisionKind(IntEnum):
    """What was decided about one trigger for one (node, store)."""

    STARTED = 1
    COALESCED = 2
    SCHEDULED = 3
    DUPLICATE = 4
    PARKED = 5
    SKIPPED = 6


class Outcome(IntEnum):
    """Where a rejoin stands, or how it ended."""

    WAITING = 1
    PARKED = 2
    RUNNING = 3
    VERIFIED = 4
    UNVERIFIED = 5
    FAILED = 6
    EXPIRED = 7
    SKIPPED = 8
    SPLIT = 9


class Rung(IntEnum):
    """What an agent is asked to do. The order of the numbers is not that of the ladder: see ``ladder``."""

    REJOIN = 1
    REBIND = 2
    RESUBSCRIBE = 3
    RESTART_ADVISED = 4
    ASK_PEER = 5
    """Another node of the store rejoins towards this one."""


class Capability(IntEnum):
    """What an agent can do beyond REJOIN."""

    REBIND = 1
    RESUBSCRIBE = 2
    SYNC_WITH_PEER = 3


class Rule(IntEnum):
    """The rule that decided."""

    LEADING_EDGE = 1
    WINDOW = 2
    BACKOFF = 3
    GLOBAL_LIMIT = 4
    NOT_ATTACHED = 5
    UNKNOWN_NODE = 6
    UNKNOWN_HOST = 7
    UNKNOWN_STORE = 8
    KNOWN_GENERATION = 9
    FRESH_NEIGHBORS = 10


class Decision(NamedTuple):
    """What was decided about one trigger for one (node, store)."""

    node_id: str
    """Empty when a host is parked that has no known node."""
    store_id: str
    """Empty when the node's stores are not known."""
    kind: DecisionKind
    rule: Rule
    rejoin_id: str
    """Empty when skipped."""
    start_at: float
    """Service time at which the rejoin starts (an estimate in the global queue), or at which it expires when parked."""

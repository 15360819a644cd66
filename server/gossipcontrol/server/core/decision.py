"""The words of deciding: causes, decisions, outcomes, rungs. Numbers equal those of ``gossipcontrol.v1``."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Cause(IntEnum):
    """Why a rejoin is wanted."""

    MANUAL = 1
    NETWORK_CHANGE = 2
    RESUME = 3
    APP_FOREGROUND = 4
    SUSPICION = 5
    ISOLATED = 6
    OUTBOUND_ROT = 7
    INBOUND_ROT = 8
    PARTITION = 9


URGENCY = (0, 0, 3, 1, 2, 4, 4, 4, 4, 4)
"""Place of each cause, by its number, in the queue of one node; lower goes first. (Hashing an enum is slow.)"""
IS_REFUTABLE = (False, False, False, False, False, True, True, False, False, False)
"""Whether fresh neighbours refute a cause, by its number: they do where one node guesses that it is cut off (SUSPICION,
ISOLATED), not where the reports of several give it away: a partitioned node has fresh neighbours on its own side."""

PROVED_BY_RECOVERY = (False, False, False, False, False, False, False, True, True, True)
"""Whether only the end of the suspicion proves that a rejoin worked, by the number of its cause: a node whose large
messages vanish, or that is on the wrong side of a cut, has neighbours and hears messages as before."""


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
    """What an agent is asked to do."""

    REJOIN = 1
    REBIND = 2
    RESUBSCRIBE = 3
    RESTART_ADVISED = 4


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

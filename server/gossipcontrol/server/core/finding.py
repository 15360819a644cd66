"""What liveness finds: frozen, the only way out of it."""

from __future__ import annotations

from dataclasses import dataclass

from gossipcontrol.server.core.decision import Cause
from gossipcontrol.server.core.event import SuspicionEnded

EVIDENCE = 250
"""Most characters of evidence."""


@dataclass(frozen=True, slots=True)
class PresenceChanged:
    """The presence of peers of a store changed: who watches it has something to read."""

    store_id: str


@dataclass(frozen=True, slots=True)
class NodeSuspected:
    """A node's gossip in a store has rotted, as far as can be seen: it should rejoin."""

    node_id: str
    store_id: str
    cause: Cause
    """SUSPICION, ISOLATED, OUTBOUND_ROT, INBOUND_ROT or PARTITION."""
    evidence: str
    """What was seen, as a sentence; at most ``EVIDENCE`` characters."""
    bridge: tuple[str, ...] = ()
    """Peers of the other side of a partition, whom the rejoin should dial first."""


@dataclass(frozen=True, slots=True)
class SyncWanted:
    """A node should sync a store directly with a peer: they never meet, or to see whether a partition has ended."""

    node_id: str
    store_id: str
    peer_id: str


Finding = PresenceChanged | NodeSuspected | SuspicionEnded | SyncWanted
"""That a suspicion ended is said once of whatever became a trigger, however it ends; it is an event to the engine."""

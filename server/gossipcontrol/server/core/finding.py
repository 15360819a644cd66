"""What liveness and knowledge find: frozen; soft state, of which the log keeps nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

from gossipcontrol.server.core.decision import Cause, Rung
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
    """Peers of the other side of a partition, which the rejoin should dial first."""
    rejoin_only: bool = False
    """Whether no stronger rung may follow: it would take down links that the node has, or has nothing to reach."""
    first_rung: Rung = Rung.REJOIN
    """The rung to begin with, where something shows that those below are in vain."""
    triggers: bool = False
    """Whether it became a trigger: the core sets it where some driver can act for the node."""


@dataclass(frozen=True, slots=True)
class WritesUnshared:
    """Writes of a node that no other peer provably holds: the node is asked to rejoin."""

    node_id: str
    store_id: str
    evidence: str
    """What was seen, as a sentence."""


@dataclass(frozen=True, slots=True)
class IdShared:
    """Two agents use one node id, or two machines one host id, as cloned ones do."""

    kind: str
    """``node`` or ``host``."""
    shared_id: str


@dataclass(frozen=True, slots=True)
class DeafnessChanged:
    """The service hears nobody, for a reason of its own; or it hears somebody again."""

    since: float | None
    """When it last heard from anybody (service time); None: it hears again."""


@dataclass(frozen=True, slots=True)
class OverloadChanged:
    """The service hears fewer than half of the nodes that report; or it hears enough of them again."""

    since: float | None
    """When that began (service time); None: it hears enough again."""


@dataclass(frozen=True, slots=True)
class SyncWanted:
    """A node should sync a store directly with a peer: they never meet, or to see whether a partition has ended."""

    node_id: str
    store_id: str
    peer_id: str
    nonce: int = field(default=0, compare=False)
    """The number of the request, once it is made: its result is to carry it."""


@dataclass(frozen=True, slots=True)
class StartSync(SyncWanted):
    """The node's driver can do it: it is asked now."""


@dataclass(frozen=True, slots=True)
class OfferSync(SyncWanted):
    """No driver can act for the node: it is asked with the answer to its next report."""


HearingChanged = DeafnessChanged | OverloadChanged
"""What is found of the service itself."""

Finding = PresenceChanged | NodeSuspected | SuspicionEnded | SyncWanted | HearingChanged
"""What liveness finds. That a suspicion ended is said once of whatever became a trigger, however it ends."""

CoreFinding = PresenceChanged | NodeSuspected | SuspicionEnded | StartSync | WritesUnshared | IdShared | HearingChanged
"""What leaves the core, once it has turned findings into triggers and knows whom it can ask."""

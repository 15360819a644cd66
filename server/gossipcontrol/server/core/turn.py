"""What one event led to: all that leaves the core."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gossipcontrol.server.core.deciding.recorded_reads import RecordedRead
from gossipcontrol.server.core.effect import Effect
from gossipcontrol.server.core.event import DecidingEvent
from gossipcontrol.server.core.finding import CoreFinding, OfferSync
from gossipcontrol.server.core.knowledge.event import KnowledgeEvent
from gossipcontrol.server.core.knowledge.store import Outcome


@dataclass(slots=True)
class Fact:
    """What the log keeps of deciding: one event, its instant (service time, seconds), and what was read meanwhile."""

    at: float
    event: DecidingEvent
    reads: Sequence[RecordedRead] = ()


class KnowledgeFact(NamedTuple):
    """What the log keeps of knowledge: one event, its instant, and the room that its store had."""

    at: float
    event: KnowledgeEvent
    room: int


@dataclass(slots=True)
class Turn:
    """The effects may leave once the facts are kept; the findings are soft state, and are carried out at once."""

    effects: list[Effect]
    """Answers and commands, in order."""
    facts: list[Fact | KnowledgeFact]
    findings: list[CoreFinding]
    offers: Sequence[OfferSync] = ()
    """Syncs for the node that reported, which has no agent: the answer to its report names them."""
    outcome: Outcome | None = None
    """What became of an event of knowledge."""
    number: int = 0
    """The log's number of the last fact, once it is appended; 0 while there is none."""

"""The whole core with an injected clock, and a record of its effects."""

from __future__ import annotations

from dataclasses import dataclass, field

from gossipcontrol.server.core.core import Core, CoreParameters
from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.core.deciding.turn_size import TurnSizes
from gossipcontrol.server.core.effect import AnnounceRejoin, AnswerTrigger, Effect, StartRejoin
from gossipcontrol.server.core.event import (
    NEVER,
    Event,
    LivenessReported,
    NeighborChanged,
    NetworkChanged,
    NodeAttached,
    NodeDetached,
    RejoinFinished,
    RejoinRequested,
    TimePassed,
)
from gossipcontrol.server.core.finding import CoreFinding
from gossipcontrol.server.core.turn import Turn


@dataclass
class Lab:
    """Drives a Core through time: deadlines are served exactly when they are due."""

    parameters: Parameters = field(default_factory=Parameters)
    now: float = 1000.0
    starts: list[tuple[float, StartRejoin]] = field(default_factory=list[tuple[float, StartRejoin]])
    repeats: list[tuple[float, StartRejoin]] = field(default_factory=list[tuple[float, StartRejoin]])
    """Starts that were sent again after the owner changed."""
    announcements: list[tuple[float, AnnounceRejoin]] = field(default_factory=list[tuple[float, AnnounceRejoin]])
    findings: list[CoreFinding] = field(default_factory=list[CoreFinding])
    sizes: TurnSizes = field(default_factory=TurnSizes)

    def __post_init__(self) -> None:
        self.core = Core(CoreParameters(deciding=self.parameters, sizes=self.sizes), id_prefix="t")

    def turn(self, event: Event) -> Turn:
        """Let an event happen now."""
        turn = self.core.handle(event, self.now)
        for effect in turn.effects:
            if isinstance(effect, StartRejoin):
                (self.repeats if effect.again else self.starts).append((self.now, effect))
        self.announcements += [(self.now, effect) for effect in turn.effects if isinstance(effect, AnnounceRejoin)]
        self.findings += turn.findings
        return turn

    def handle(self, event: Event) -> list[Effect]:
        """Let an event happen now; returns its effects."""
        return self.turn(event).effects

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        while (deadline := self.core.next_deadline()) is not None and deadline <= until:
            self.now = max(self.now, deadline)
            self.handle(TimePassed())
        self.now = until

    def answer(self, event: NetworkChanged | RejoinRequested) -> AnswerTrigger:
        """The answer to a trigger."""
        return next(effect for effect in self.handle(event) if isinstance(effect, AnswerTrigger))

    def attach(self, node_id: str = "n", *store_ids: str, host_id: str = "", session_id: str = "s") -> list[Effect]:
        """Attach an agent."""
        return self.handle(NodeAttached(node_id, session_id, store_ids or ("a",), host_id=host_id))

    def detach(self, node_id: str = "n", session_id: str = "s") -> None:
        """End an agent's stream."""
        self.handle(NodeDetached(node_id, session_id))

    def finish(self, index: int = -1, *, error: str = "", retry_in: float | None = None) -> None:
        """Report the result of a started rejoin, as its agent does."""
        start = self.starts[index][1]
        self.handle(RejoinFinished(start.rejoin_id, start.attempt, not error, error, retry_in))

    def neighbor_up(self, peer_id: str = "p", node_id: str = "n", store_id: str = "a", ago: float = 0.0) -> None:
        """Report a neighbour up."""
        self.handle(NeighborChanged(node_id, store_id, peer_id, True, self.now - ago))

    def report_unheard(self, *peer_ids: str, node_id: str = "n", store_id: str = "a") -> None:
        """Report peers that the node knows but never heard."""
        self.handle(LivenessReported(node_id, store_id, dict.fromkeys(peer_ids, NEVER)))

    def start_times(self, node_id: str = "n", store_id: str = "a") -> list[float]:
        """When the rejoins of a slot started."""
        return [at for at, start in self.starts if (start.node_id, start.store_id) == (node_id, store_id)]

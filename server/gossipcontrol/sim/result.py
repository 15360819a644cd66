"""What a configuration did in a scenario, or in what was recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from gossipcontrol.server.core.decision import DecisionKind, Outcome, Rule
from gossipcontrol.server.core.effect import AnnounceRejoin, AnswerTrigger, RefuseTrigger, StartRejoin
from gossipcontrol.server.core.event import LivenessReported
from gossipcontrol.sim.record import Taken


@dataclass(slots=True)
class Silence:
    """How long a node was not heard, in seconds."""

    mean: float = 0.0
    """Of each other node, on average over them and over all runs."""
    longest: float = 0.0
    """By any one of them."""


@dataclass(slots=True)
class Result:
    """Counts over all runs. ``runs``: by how many they are divided to be shown."""

    label: str
    runs: int = 0
    commanded: Counter[str] = field(default_factory=Counter[str])
    """Attempts that were sent to agents, by node."""
    ended: Counter[int] = field(default_factory=Counter[int])
    """Rejoins by the number of their outcome."""
    decisions: Counter[tuple[DecisionKind, Rule]] = field(default_factory=Counter[tuple[DecisionKind, Rule]])
    """Triggers by what was decided, and by which rule."""
    refused: int = 0
    """Triggers for which the queue had no room."""
    reports: int = 0
    messages: int | None = None
    """Messages of the overlay that were received; None: the model sends none."""
    silences: dict[str, Silence] = field(default_factory=dict[str, Silence])
    """By node; empty where the model sends no messages."""
    unheard: list[float] = field(default_factory=list[float])
    """Share of the pairs of nodes of which one does not hear the other, by second."""
    started_at: list[float] = field(default_factory=list[float])
    """When attempts were sent, seconds since the beginning."""
    broken: list[str] = field(default_factory=list[str])
    """Invariants of the core that did not hold: a defect of the service."""

    def count(self, taken: Iterable[Taken], began_at: float = 0.0) -> None:
        """Add what one run wanted."""
        self.runs += 1
        for one in taken:
            self.reports += isinstance(one.event, LivenessReported)
            for effect in one.effects:
                match effect:
                    case StartRejoin():
                        self.commanded[effect.node_id] += 1
                        self.started_at.append(one.at - began_at)
                    case AnswerTrigger():
                        self.decisions.update((decision.kind, decision.rule) for decision in effect.decisions)
                    case AnnounceRejoin() if effect.outcome is not Outcome.WAITING:
                        self.ended[effect.outcome] += 1
                    case RefuseTrigger():
                        self.refused += 1
                    case _:
                        pass

    def by_kind(self, kind: DecisionKind) -> int:
        """Number of triggers of which this was decided."""
        return sum(count for (one, _), count in self.decisions.items() if one is kind)

    @property
    def mean_silence(self) -> float | None:
        """Seconds for which a node did not hear another one, on average; None where no messages are sent."""
        found = self.silences.values()
        return sum(one.mean for one in found) / len(found) if found else None

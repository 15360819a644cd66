"""What a trouble cost, as measured in a simulation."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Outcome:
    """What a trouble cost."""

    began_at: float = 0.0
    ended_at: float = 0.0
    broken_at: float = 0.0
    """When the overlay was last seen in pieces."""
    heard: dict[str, int] = field(default_factory=dict[str, int])
    """Messages that each node received since the trouble began."""
    away: float = 0.0
    """The longest time for which a node that could be reached was shown as asleep or offline."""
    contradicted: list[str] = field(default_factory=list[str])
    """Reports that named a peer as heard just now, and did not bring it back."""

    @property
    def healed_in(self) -> float:
        """Seconds from the trouble's end until the overlay was one for good."""
        return max(0.0, self.broken_at - self.ended_at)

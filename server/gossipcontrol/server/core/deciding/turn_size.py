"""How much one turn of the event loop decides; a log is replayed with the sizes under which it was written."""

from __future__ import annotations

from dataclasses import dataclass

UNBOUNDED = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnSizes:
    """Counts, each for some 1 to 3 ms of CPU: a turn may need all of them."""

    decisions: int = 300
    """Decisions after which the rest of a trigger waits for the next turn."""
    splits_nodes: bool = True
    """Whether that may be between two stores of one node."""
    due: int = 30
    """Most rejoins of which the deadline has come. One that timed out has another node asked: 0.1 ms."""
    due_starts: int = 10
    """Most attempts that begin because they are due, or because their turn has come."""
    trigger_starts: int = 20
    """Most attempts that begin with their trigger; further ones queue, and begin in the next turns."""
    passed: int = 2000
    """Most entries of rejoins that wait no more which are dropped before the next one that waits."""


FORMER = TurnSizes(
    decisions=1000, splits_nodes=False, due=1000, due_starts=50, trigger_starts=UNBOUNDED, passed=UNBOUNDED
)
"""Those of logs without a mark: of earlier versions."""
LATER = {"passed": UNBOUNDED}
"""What a mark from before there was such a size leaves out."""

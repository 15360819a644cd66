"""Old reports of one stream, left out while newer ones come: what a stall piled up is not worked off twice."""

from __future__ import annotations

SHARE = 0.5
"""Share of the interval within which one report of a store must have been taken before another one is left out."""
REMEMBERED = 1024
"""Most stores remembered: as many as a node may have."""


class ReportShedder:
    """Of every store at least one report per interval is taken, however old: so nobody falls silent by it."""

    def __init__(self) -> None:
        self._taken_at: dict[str, float] = {}

    def sheds(self, store_id: str, delay: float, interval: float, now: float) -> bool:
        """Whether to leave out a report written up to ``delay`` seconds ago; otherwise it counts as taken."""
        if delay > interval and now - self._taken_at.get(store_id, -interval) < SHARE * interval:
            return True
        self._taken_at.pop(store_id, None)
        self._taken_at[store_id] = now
        if len(self._taken_at) > REMEMBERED:
            del self._taken_at[next(iter(self._taken_at))]
        return False

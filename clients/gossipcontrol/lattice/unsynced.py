"""How many of the node's own writes nobody else is known to hold. Pure."""

from __future__ import annotations

ACKNOWLEDGEMENT_TIME = 10.0
"""Seconds after the last own write from which on it counts as unsynced.

Lattice acknowledges 5 s after the *last* foreign write, so a node that writes once a second is not acknowledged for as
long as it writes.
"""


class UnsyncedWrites:
    """Of one store."""

    def __init__(self) -> None:
        self._made = -1
        self._written_at = float("-inf")
        self.count = 0
        """Own writes that nobody else is known to hold, and that others had time to acknowledge."""

    def update(self, made: int, held: int, now: float) -> int:
        """Take how many own writes there are, and how many another peer holds; returns ``count``."""
        if made != self._made:
            self._made, self._written_at = made, now
        has_had_time = now - self._written_at >= ACKNOWLEDGEMENT_TIME
        self.count = max(0, made - held) if has_had_time else 0
        return self.count

"""Keeps nothing: the state lives as long as the service."""

from __future__ import annotations

from collections.abc import Sequence

from gossipcontrol.server.core.codec import Plain
from gossipcontrol.server.state.entry import Entry
from gossipcontrol.server.state.journal import Figures, Loaded, Watch


class MemoryJournal:
    """No log."""

    durable = False

    def load(self) -> Loaded:
        """Nothing."""
        return Loaded()

    def start(self, watch: Watch) -> None:
        """Nothing is ever told."""

    def append(self, entries: Sequence[Entry]) -> int:
        """Nothing is kept."""
        del entries
        return 0

    def snapshot(self, plain: Plain, at: float) -> int:
        """Nothing is kept."""
        del plain, at
        return 0

    def wants_snapshot(self) -> bool:
        """Never."""
        return False

    def figures(self) -> Figures:
        """Nothing."""
        return Figures()

    def close(self) -> None:
        """Nothing is open."""

"""Keeps nothing: the state lives as long as the service."""

from __future__ import annotations

from collections.abc import Sequence

from gossipcontrol.server.core.codec import Plain
from gossipcontrol.server.core.turn import Fact
from gossipcontrol.server.state.entry import KnowledgeEntry
from gossipcontrol.server.state.journal import JournalListener, JournalStats, KnowledgeSnapshot, Loaded


class MemoryJournal:
    """No log."""

    durable = False

    def load(self) -> Loaded:
        """Nothing."""
        return Loaded()

    def start(self, watch: JournalListener) -> None:
        """Nothing is ever told."""

    def append(self, entries: Sequence[Fact | KnowledgeEntry]) -> int:
        """Nothing is kept."""
        del entries
        return 0

    def snapshot(self, plain: Plain, at: float, knowledge: KnowledgeSnapshot | None = None) -> int:
        """Nothing is kept."""
        del plain, at, knowledge
        return 0

    def compact(self, plain: Plain, at: float) -> int:
        """Nothing is kept."""
        return self.snapshot(plain, at)

    def wants_snapshot(self) -> bool:
        """Never."""
        return False

    def wants_all(self) -> bool:
        """Never."""
        return False

    def snapshot_store(self, knowledge: KnowledgeSnapshot) -> int:
        """Nothing is kept."""
        del knowledge
        return 0

    def due_store(self) -> str | None:
        """Never."""
        return None

    def has_room(self) -> bool:
        """Always."""
        return True

    def figures(self) -> JournalStats:
        """Nothing."""
        return JournalStats()

    def close(self) -> None:
        """Nothing is open."""

"""The memory backend: stores nothing, so the state ends with the process."""

from __future__ import annotations

from collections.abc import Sequence

from gossipcontrol.server.core.codec import Plain
from gossipcontrol.server.core.effect import Effect
from gossipcontrol.server.core.turn import Fact
from gossipcontrol.server.state.entry import KnowledgeEntry
from gossipcontrol.server.state.journal import JournalListener, JournalStats, KnowledgeSnapshot, Loaded


class MemoryJournal:
    """A journal without a log."""

    durable = False
    shared = False

    def load(self) -> Loaded:
        """Nothing."""
        return Loaded()

    def start(self, listener: JournalListener) -> None:
        """Nothing: the listener is never called."""

    def append(self, entries: Sequence[Fact | KnowledgeEntry], effects: Sequence[Effect] = ()) -> int:
        """Nothing is stored."""
        del entries, effects
        return 0

    def snapshot(self, plain: Plain, at: float, knowledge: KnowledgeSnapshot | None = None) -> int:
        """Nothing is stored."""
        del plain, at, knowledge
        return 0

    def mark(self) -> int:
        """Nothing is stored."""
        return 0

    def give_up(self) -> None:
        """Nothing is stored."""

    def compact(self, plain: Plain, at: float, mark: int = 0) -> int:
        """Nothing is stored."""
        del mark
        return self.snapshot(plain, at)

    def wants_snapshot(self) -> bool:
        """Never."""
        return False

    def wants_all(self) -> bool:
        """Never."""
        return False

    def snapshot_store(self, knowledge: KnowledgeSnapshot) -> int:
        """Nothing is stored."""
        del knowledge
        return 0

    def due_store(self) -> str | None:
        """Never."""
        return None

    def has_room(self) -> bool:
        """Always."""
        return True

    def stats(self) -> JournalStats:
        """Nothing."""
        return JournalStats()

    def close(self) -> None:
        """Nothing is open."""

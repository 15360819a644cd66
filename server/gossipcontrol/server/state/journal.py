"""The interface of the backends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gossipcontrol.server.core.codec import Plain
from gossipcontrol.server.core.knowledge.snapshot import Capture
from gossipcontrol.server.core.turn import Fact
from gossipcontrol.server.state.entry import KnowledgeEntry


class StateError(Exception):
    """The state cannot be read; the message says what to do."""


@dataclass(frozen=True, slots=True)
class KnowledgeSnapshot:
    """Stores of the book as they were at one instant, and what the book holds beside them."""

    at: float
    book: Plain
    """Parameters and senders."""
    stores: Mapping[str, Capture]


@dataclass(frozen=True, slots=True)
class LoadedKnowledge:
    """What an earlier run left of the book."""

    book: Plain = None
    heard: int = 0
    """Facts up to this number are in the book's senders."""
    stores: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    """Snapshots by store."""
    entries: Sequence[tuple[int, KnowledgeEntry]] = ()
    """Facts after the snapshot of their store, each with its number."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What an earlier run left."""

    snapshot: Plain = None
    entries: Sequence[Fact] = ()
    """Facts after the snapshot."""
    last_at: float = 0.0
    """The last logged instant."""
    knowledge: LoadedKnowledge = field(default_factory=LoadedKnowledge)


@dataclass(frozen=True, slots=True)
class JournalStats:
    """What operators see of a backend."""

    log_bytes: int = 0
    entries: int = 0
    """Facts since the last snapshots."""


@dataclass(frozen=True, slots=True)
class JournalListener:
    """Whom a backend tells, in the event loop."""

    committed: Callable[[int], None]
    """Everything up to this number is kept."""
    failed: Callable[[str], None]
    """Nothing can be kept for now, and why; it goes on trying."""
    observed: Callable[[float], None]
    """A commit took so many seconds."""


class Journal(Protocol):
    """Keeps facts in order."""

    durable: bool
    """Whether ``append`` must be waited for."""

    def load(self) -> Loaded:
        """What an earlier run left; raises StateError."""
        ...

    def start(self, watch: JournalListener) -> None:
        """Begin to keep; to be called in the event loop."""
        ...

    def append(self, entries: Sequence[Fact | KnowledgeEntry]) -> int:
        """Have facts kept; returns the number of the last."""
        ...

    def snapshot(self, plain: Plain, at: float, knowledge: KnowledgeSnapshot | None = None) -> int:
        """Have a snapshot of everything appended so far kept in place of the log; returns its number.

        Without ``knowledge`` the log and the snapshots of stores stay as they are.
        """
        ...

    def compact(self, plain: Plain, at: float) -> int:
        """Have a snapshot of everything appended so far kept in place of its log, little by little beside other facts.

        Returns its number. That of knowledge stays as it is. The parameters must be those of the last snapshot.
        """
        ...

    def wants_snapshot(self) -> bool:
        """Whether the log, that of knowledge aside, has become long, or everything must be kept anew."""
        ...

    def wants_all(self) -> bool:
        """Whether the next snapshot must hold the knowledge of every store as well, for the file is lost."""
        ...

    def snapshot_store(self, knowledge: KnowledgeSnapshot) -> int:
        """Have the snapshot of one store kept in place of its log, little by little beside other facts."""
        ...

    def due_store(self) -> str | None:
        """The store that should be snapshotted now, for its log has become long."""
        ...

    def has_room(self) -> bool:
        """Whether knowledge takes less than its share of what may be kept."""
        ...

    def figures(self) -> JournalStats:
        """Sizes now."""
        ...

    def close(self) -> None:
        """Keep what was appended, if that is possible, and end."""
        ...

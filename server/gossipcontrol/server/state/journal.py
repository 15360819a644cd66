"""The interface behind which each backend is one file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gossipcontrol.server.core.codec import Plain
from gossipcontrol.server.core.effect import Effect
from gossipcontrol.server.core.knowledge.snapshot import Capture
from gossipcontrol.server.core.turn import Fact
from gossipcontrol.server.state.entry import KnowledgeEntry


class StateError(Exception):
    """The state cannot be read; the message says what to do."""


@dataclass(frozen=True, slots=True)
class KnowledgeSnapshot:
    """Some stores as they were at one instant, and what all stores share."""

    at: float
    shared: Plain
    """Parameters and senders."""
    stores: Mapping[str, Capture]


@dataclass(frozen=True, slots=True)
class LoadedKnowledge:
    """The knowledge that an earlier run left."""

    shared: Plain = None
    """Parameters and senders."""
    shared_number: int = 0
    """Number of the last entry that the senders include."""
    stores: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    """Snapshots by store."""
    entries: Sequence[tuple[int, KnowledgeEntry]] = ()
    """Entries after the snapshot of their store, each with its number."""


@dataclass(frozen=True, slots=True)
class ClockReading:
    """How the clocks stood: service time is the boot's clock plus ``boot_offset``, the wall's plus ``wall_offset``."""

    boot_id: str
    boot_offset: float
    wall_offset: float


@dataclass(frozen=True, slots=True)
class Loaded:
    """What an earlier run left."""

    snapshot: Plain = None
    entries: Sequence[Fact] = ()
    """Entries after the snapshot."""
    last_at: float = 0.0
    """The last logged instant."""
    knowledge: LoadedKnowledge = field(default_factory=LoadedKnowledge)
    clock: ClockReading | None = None
    """How the clocks stood; None in a file of an earlier version."""


@dataclass(frozen=True, slots=True)
class JournalStats:
    """Sizes of a backend, for operators."""

    log_bytes: int = 0
    entries: int = 0
    """Entries since the last snapshots."""


@dataclass(frozen=True, slots=True)
class JournalListener:
    """What a backend calls, in the event loop."""

    committed: Callable[[int], None]
    """Everything up to this number is durable."""
    failed: Callable[[str], None]
    """Nothing can be written for now, and why; the backend keeps trying."""
    observed: Callable[[float], None]
    """A commit took this many seconds."""
    clock: Callable[[], ClockReading] | None = None
    """How the clocks stand now; called in the thread that writes."""
    fenced: Callable[[str], None] = lambda _: None
    """Another owner has taken over, and who: nothing will be written any more, and nothing else is called again."""
    soon: Callable[[Callable[[], None]], object] | None = None
    """Calls something in the event loop once what came together is decided; None: in its next pass."""


class Journal(Protocol):
    """Stores entries in order, and snapshots that replace old entries."""

    durable: bool
    """Whether callers must wait until what they appended is committed."""
    shared: bool
    """Whether another replica may go on with the log at any time, so that a run need not end with a snapshot."""

    def load(self) -> Loaded:
        """What an earlier run left; raises StateError."""
        ...

    def start(self, listener: JournalListener) -> None:
        """Begin to write; call it in the event loop."""
        ...

    def append(self, entries: Sequence[Fact | KnowledgeEntry], effects: Sequence[Effect] = ()) -> int:
        """Queue the entries of a turn; returns the number of the last.

        A log that is shared keeps a checksum of the effects that the turn had, for those that replay it.
        """
        ...

    def snapshot(self, plain: Plain, at: float, knowledge: KnowledgeSnapshot | None = None) -> int:
        """Queue a snapshot of everything appended so far, which replaces the log; returns its number.

        Without ``knowledge``, the log and the snapshots of stores stay as they are.
        """
        ...

    def mark(self) -> int:
        """The place in the log of a snapshot that is captured from now on; until it comes, no other is wanted."""
        ...

    def give_up(self) -> None:
        """The snapshot of the last mark will not come, so another one is wanted."""
        ...

    def compact(self, plain: Plain, at: float, mark: int = 0) -> int:
        """Queue a snapshot of deciding, which replaces its log, in steps between other entries; returns its number.

        It holds everything before this ``mark``, or everything so far, and no later snapshot may have been queued.
        Knowledge stays as it is. The parameters must be those of the last snapshot.
        """
        ...

    def wants_snapshot(self) -> bool:
        """Whether the log of deciding has become long, or everything must be written again."""
        ...

    def wants_all(self) -> bool:
        """Whether the file is lost, so the next snapshot must hold the knowledge of every store."""
        ...

    def snapshot_store(self, knowledge: KnowledgeSnapshot) -> int:
        """Queue the snapshot of one store, which replaces its log, in steps between other entries."""
        ...

    def due_store(self) -> str | None:
        """The store to snapshot now, because its log has become long."""
        ...

    def has_room(self) -> bool:
        """Whether knowledge takes less than its share of the largest file."""
        ...

    def stats(self) -> JournalStats:
        """Sizes now."""
        ...

    def close(self) -> None:
        """Write what was appended, if possible, and end."""
        ...

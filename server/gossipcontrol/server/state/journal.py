"""The interface of the backends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gossipcontrol.server.core.codec import Plain
from gossipcontrol.server.state.entry import Entry


class StateError(Exception):
    """The state cannot be read; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What an earlier run left."""

    snapshot: Plain = None
    entries: Sequence[Entry] = ()
    """Facts after the snapshot."""
    last_at: float = 0.0
    """The last logged instant."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What operators see of a backend."""

    log_bytes: int = 0
    entries: int = 0
    """Facts since the last snapshot."""


@dataclass(frozen=True, slots=True)
class Watch:
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

    def start(self, watch: Watch) -> None:
        """Begin to keep; to be called in the event loop."""
        ...

    def append(self, entries: Sequence[Entry]) -> int:
        """Have facts kept; returns the number of the last."""
        ...

    def snapshot(self, plain: Plain, at: float) -> int:
        """Have a snapshot of everything appended so far kept in place of the log; returns its number."""
        ...

    def wants_snapshot(self) -> bool:
        """Whether the log has become long."""
        ...

    def figures(self) -> Figures:
        """Sizes now."""
        ...

    def close(self) -> None:
        """Keep what was appended, if that is possible, and end."""
        ...

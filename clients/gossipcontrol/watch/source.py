"""What every source of one operating system offers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from gossipcontrol.watch.change import ChangeKind, Snapshot


@dataclass(frozen=True, slots=True)
class Seen:
    """The network as it is now; ``lost``: a link that counts lost its carrier since the last time."""

    snapshot: Snapshot
    lost_links: frozenset[str] = frozenset()


class NetworkSource(Protocol):
    """Tells the state of the network at the start, and whenever it may have changed."""

    name: str
    """For people."""

    def watch(self) -> AsyncGenerator[Seen, None]:
        """The state now, then each further one; raises OSError when this source does not work here."""
        ...


class PowerSource(Protocol):
    """Tells SLEEPING and RESUMED."""

    def watch(self) -> AsyncIterator[ChangeKind]:
        """Each change of power; ends when this source does not work here."""
        ...

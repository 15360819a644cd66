"""What every source of one operating system offers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol

from gossipcontrol.watch.change import ChangeKind, Snapshot


class NetworkSource(Protocol):
    """Yields the state of the network at the start, and whenever it may have changed."""

    name: str
    """For people."""

    def watch(self) -> AsyncGenerator[Snapshot, None]:
        """The state now, then each further one; raises OSError when this source does not work here."""
        ...


class PowerSource(Protocol):
    """Yields SLEEPING and RESUMED."""

    def watch(self) -> AsyncIterator[ChangeKind]:
        """Each change of power; ends when this source does not work here."""
        ...

"""The interface of everything that carries out rejoins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gossipcontrol.server.core.effect import StartRejoin
from gossipcontrol.server.core.finding import SyncWanted


@dataclass(frozen=True, slots=True)
class Result:
    """How an attempt went. That it worked is proved by neighbours and messages, not by this."""

    ok: bool
    error: str = ""
    permanent: bool = False
    """Whether trying again is pointless."""


class Driver(Protocol):
    """Carries out rejoins."""

    async def rejoin(self, start: StartRejoin) -> Result:
        """Carry out one attempt; it is cancelled after ``start.timeout`` seconds."""
        ...

    def sync(self, wanted: SyncWanted, addresses: Sequence[str]) -> bool:
        """Ask a node to sync with a peer, which may be dialled at these addresses; returns whether it was asked."""
        ...

"""The interface of everything that carries out rejoins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from gossipcontrol.server.core.effect import StartRejoin


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

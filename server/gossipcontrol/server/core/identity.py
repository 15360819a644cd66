"""Two agents with one node id, or two machines with one host id: found by how they take turns.

An agent that reconnects says the same of itself as before, and a machine that restarts never comes back to its boot
before. So who claims an id as X, then as Y, then as X again, are two; and so are two agents that keep replacing each
other's stream.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

MAX_IDS = 4096
"""Most ids followed of each kind; the one claimed longest ago goes first."""
MEMORY = 600.0
"""Seconds for which a claim counts, and for which an id is taken for shared after the last sign of it."""
TURNS = 6
"""So many replacements of an attached stream within ``TURN_TIME`` are two agents that take turns."""
CHANGES = 16
"""Changes of who claims an id that are remembered."""
TURN_TIME = 60.0


@dataclass(slots=True)
class Claims:
    """Who claimed one id of late."""

    recent: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    """(instant, who), changes only; the newest last. At most ``CHANGES``: a deque of one takes 760 bytes."""
    replaced: list[float] = field(default_factory=list[float])
    """The newest instants, at most ``TURNS``."""
    shared_until: float = 0.0


class SharedIds:
    """The ids of one kind. Soft state: a new run of the service finds them again."""

    def __init__(self) -> None:
        self._claims: OrderedDict[str, Claims] = OrderedDict()
        self._shared_until = 0.0
        """The latest ``shared_until`` of all."""

    def claim(self, one_id: str, who: str, now: float, *, replaces: bool = False) -> bool:
        """Somebody, described by ``who``, claims an id; returns whether that shows for the first time that two do.

        ``replaces``: another claim of it was still held.
        """
        claims = self._claims.pop(one_id, None) or Claims()
        self._claims[one_id] = claims
        if len(self._claims) > MAX_IDS:
            self._claims.popitem(last=False)
        was_shared = claims.shared_until > now
        if replaces:
            claims.replaced = [*claims.replaced[1 - TURNS :], now]
        if not claims.recent or claims.recent[-1][1] != who:
            came_back = any(earlier == who and at + MEMORY > now for at, earlier in claims.recent)
            claims.recent = [*claims.recent[1 - CHANGES :], (now, who)]
            if came_back:
                claims.shared_until = now + MEMORY
        if len(claims.replaced) == TURNS and claims.replaced[0] + TURN_TIME > now:
            claims.shared_until = now + MEMORY
        self._shared_until = max(self._shared_until, claims.shared_until)
        return claims.shared_until > now and not was_shared

    def is_shared(self, one_id: str, now: float) -> bool:
        """Whether two seem to use this id."""
        claims = self._claims.get(one_id)
        return claims is not None and claims.shared_until > now

    def shared(self, now: float) -> list[str]:
        """The ids that two seem to use."""
        if self._shared_until <= now:
            return []  # as in most fleets; all of them are looked at for each page
        return [one_id for one_id, claims in self._claims.items() if claims.shared_until > now]

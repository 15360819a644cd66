"""The answers of knowledge, frozen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

SHORT = 12
"""Characters shown of an id that looks like a key."""
HASH_SHOWN = 4
"""Bytes shown of a hash, in hexadecimal."""


class Position(NamedTuple):
    """A position in an author's chain. An author that forked or lost its data may have several at once."""

    author_id: str
    position: int
    """Number of its author's intentions up to it, itself included, along its own branch."""
    hash: bytes
    """Empty when it is forgotten."""
    incarnation: str = ""
    """The author's incarnation that authored it."""


@dataclass(frozen=True, slots=True)
class PeerKnowledge:
    """What one peer provably holds in its newest incarnation."""

    peer_id: str
    positions: tuple[Position, ...]
    """The newest intentions that it provably holds; each implies everything it reaches."""
    held: int
    """Number of intentions it provably holds."""
    proved_at: float | None
    """Service time of the newest proof; None when there is none."""
    incarnation: str
    incarnations: int
    """Number of its incarnations seen: one more for each loss of its data."""
    active: bool
    forks: int
    """Number of its intentions with several successors of its own."""


AuthorLag = tuple[str, int]
"""An author, and how many of its content intentions a peer does not provably hold."""


@dataclass(frozen=True, slots=True)
class PeerLag:
    """How far behind one peer may be."""

    peer_id: str
    behind: int
    authors: tuple[AuthorLag, ...]
    """Authors that it is behind, ordered by id."""
    proved_at: float | None
    active: bool


@dataclass(frozen=True, slots=True)
class Unshared:
    """Writes of a peer that no other peer provably holds, all recorded by the time asked for."""

    store_id: str
    author_id: str
    writes: int
    oldest_at: float
    """When the oldest of them was recorded."""
    oldest: bytes
    """Its hash."""

    def say(self, now: float) -> str:
        """The evidence, as a sentence for people."""
        writes = "1 write" if self.writes == 1 else f"{self.writes} writes"
        author = self.author_id if len(self.author_id) <= 2 * SHORT else self.author_id[:SHORT] + "…"
        held = f"{writes} by {author} that no other peer provably holds for {now - self.oldest_at:.0f} s"
        return f"{held}; oldest {self.oldest[:HASH_SHOWN].hex()}"


@dataclass(frozen=True, slots=True)
class StoreCounts:
    """Gauges of one store."""

    store_id: str
    recorded: int
    """Intentions resolved, forgotten ones included."""
    retained: int
    floating: int
    unproven: int
    """Hashes that wait for a proof that their author made them."""
    dropped: int
    """Floating intentions that were dropped."""
    forks: int
    lag: int
    """Content intentions above the stability frontier."""
    at_risk: int
    """Content intentions that at most one active peer provably holds."""

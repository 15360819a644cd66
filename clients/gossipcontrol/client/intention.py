"""Intentions, and what peers provably hold of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Intention:
    """One link of its author's chain."""

    author_id: str
    hash: bytes
    store_prev: bytes = b""
    """Hash of the author's previous intention in the store; empty for the first."""
    dependencies: tuple[bytes, ...] = ()
    acknowledgement: bool = False
    """Whether it is proof of knowledge without content."""
    incarnation: str = ""
    """Identifies the author's life since it last lost its data; of two, the greater string is the newer."""
    signature: bytes = b""
    """Its author's, over ``signed_bytes``: needed where an identity sends it that may not speak for the author."""

    def signed_bytes(self, store_id: str) -> bytes:
        """What its author signs with Ed25519, where ``author_id`` is the public key in hexadecimal digits."""
        parts = (store_id.encode(), self.author_id.encode(), self.hash, self.store_prev, self.incarnation.encode())
        return b"".join(
            (
                b"gossipcontrol.v1.Intention\0",
                *map(_with_length, parts),
                b"\1" if self.acknowledgement else b"\0",
                len(self.dependencies).to_bytes(4, "big"),
                *map(_with_length, self.dependencies),
            )
        )


def _with_length(part: bytes) -> bytes:
    return len(part).to_bytes(4, "big") + part


@dataclass(frozen=True, slots=True)
class IntentionBatch:
    """Intentions of one store; at most 1000."""

    store_id: str
    intentions: tuple[Intention, ...]


@dataclass(frozen=True, slots=True)
class RecordResult:
    """What became of recorded batches; the counts are those of the last stream."""

    last_sequence: int
    """Number of batches recorded."""
    recorded: int
    known: int
    """Intentions that were known before."""
    floating: int
    """Intentions of the store that wait for a predecessor or dependency."""
    invalid: int
    """Intentions that were refused because their predecessor is another author's."""
    unproven: int = 0
    """Of the recorded: intentions that wait for a proof that their author made them."""


@dataclass(frozen=True, slots=True)
class ChainPosition:
    """A place in an author's chain."""

    author_id: str
    position: int
    hash: bytes
    incarnation: str


@dataclass(frozen=True, slots=True)
class PeerKnowledge:
    """What one peer provably holds."""

    peer_id: str
    positions: tuple[ChainPosition, ...]
    proof_age: float | None
    """Seconds since the newest proof; None when there is none."""
    incarnation: str
    held: int
    """Number of intentions."""
    lives: int
    """One more for each loss of its data."""
    active: bool
    forks: int


@dataclass(frozen=True, slots=True)
class AuthorLag:
    """How far behind one author a peer provably may be."""

    author_id: str
    behind: int


@dataclass(frozen=True, slots=True)
class PeerLag:
    """How far behind a peer provably may be."""

    peer_id: str
    behind: int
    authors: tuple[AuthorLag, ...]
    proof_age: float | None
    """Seconds since the newest proof; None when there is none."""
    active: bool


@dataclass(frozen=True, slots=True)
class Frontier:
    """What all active peers provably hold."""

    positions: tuple[ChainPosition, ...]
    unstable: int
    """Content intentions above it."""
    at_risk: int
    """Content intentions that one active peer at most provably holds."""


@dataclass(frozen=True, slots=True)
class Member:
    """A peer of a store."""

    peer_id: str
    incarnation: str = ""
    """The least incarnation that it is in; a time may be at most a day ahead."""
    lower: bool = False
    """Whether it is in this one even if it was in a greater, which counts no longer."""


@dataclass(frozen=True, slots=True)
class UndoneChange:
    """What an undo of a change of members did."""

    peer_ids: tuple[str, ...]
    """The peers that stand as before the change."""
    active: int
    """Number of active members."""
    frontier_may_have_risen: bool
    """Whether others may have pruned what a restored peer lacks: it needs a backup then, or a new life."""

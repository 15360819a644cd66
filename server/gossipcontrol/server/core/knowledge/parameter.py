"""The limits of knowledge, with their defaults."""

from __future__ import annotations

from dataclasses import dataclass

from gossipcontrol.server.core.parameter import check_positive


@dataclass(frozen=True, slots=True, kw_only=True)
class KnowledgeParameters:
    """What an operator may tune. Sizes are counts, per store unless stated otherwise."""

    store_limit: int = 1024
    """Most stores whose intentions are tracked."""
    chain_limit: int = 2000
    """Most chains: one per author, plus one per branch of a fork and per incarnation."""
    branch_limit: int = 64
    """Most chains of one author, so that an author that forks without end takes no room from others."""
    member_limit: int = 10_000
    """Most peers that were added or removed by name."""
    removal_hold: float = 3600.0
    """Seconds for which a removed member still holds the frontier back, so that an undo loses nothing."""
    intention_limit: int = 2_000_000
    """Most intentions retained over all stores, about 220 bytes each; more are refused until frontiers move."""
    recent: int = 8192
    """Most newest vectors cached whole, within 35 MB."""
    floating_limit: int = 100_000
    """Most hashes named by floating intentions; the oldest floating intention is dropped first."""
    unproven_limit: int = 10_000
    """Most hashes named by what one identity vouches for and nobody has proven; the oldest is given up first."""
    vouchers: int = 2
    """Identities that must have sent the same intention for it to be proven without its author's own word."""
    witnesses: int = 1
    """Identities that must have sent the same intention if its author is among them."""
    authors_per_identity: int = 200
    """Most authors of a store that one identity brings in; an author counts for whoever proved its first."""
    keep: int = 10_000
    """Intentions retained whatever the stability frontier is."""
    forget_every: int = 10_000
    """New intentions between two attempts to forget stable ones."""
    name_limit: int = 100_000
    """Forgotten intentions whose hashes are still recognised; the first forgotten is dropped first."""
    sender_limit: int = 1000
    """Most senders over all stores whose last sequence is remembered; the least recent is dropped first."""
    unshared_age: float = 300.0
    """Seconds after which a write that no other peer provably holds is suspicious."""
    look_every: float = 30.0
    """Seconds in which every store is scanned once for such writes."""

    def __post_init__(self) -> None:
        """Raise ValueError naming the first parameter that is out of range."""
        check_positive(self)
        if self.chain_limit > 65_535:
            raise ValueError("chain_limit must be at most 65535")

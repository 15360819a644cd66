"""The bounds of knowledge, with their defaults."""

from __future__ import annotations

from dataclasses import dataclass

from gossipcontrol.server.core.parameter import check_positive


@dataclass(frozen=True, slots=True, kw_only=True)
class KnowledgeParameters:
    """What an operator may tune. Sizes are counts, per store unless they say otherwise."""

    store_limit: int = 1024
    """Most stores whose intentions are tracked."""
    chain_limit: int = 2000
    """Most chains: one per author, one more per branch of a fork and per incarnation."""
    branch_limit: int = 64
    """Most chains of one author, so that one that forks or begins lives without end takes no room from others."""
    member_limit: int = 10_000
    """Most peers that were added or removed by name."""
    intention_limit: int = 2_000_000
    """Most intentions retained over all stores, some 200 bytes each; further ones are refused until frontiers move."""
    recent: int = 8192
    """Newest vectors kept whole, but no more than 35 MB of them."""
    floating_limit: int = 100_000
    """Most hashes named by floating intentions; the intention that floats longest goes first."""
    keep: int = 10_000
    """Intentions retained whatever the stability frontier says."""
    forget_every: int = 10_000
    """New intentions between two looks at what may be forgotten."""
    name_limit: int = 100_000
    """Forgotten intentions whose hashes are still recognised; the one forgotten first goes first."""
    sender_limit: int = 1000
    """Most senders over all stores whose last sequence is remembered; the one longest unheard goes first."""
    unshared_age: float = 300.0
    """Seconds after which a write that no other peer provably holds is suspicious."""
    look_every: float = 30.0
    """Seconds in which every store is looked at once for such writes."""

    def __post_init__(self) -> None:
        """Raise ValueError naming the first parameter that is out of range."""
        check_positive(self)
        if self.chain_limit > 65_535:
            raise ValueError("chain_limit must be at most 65535")

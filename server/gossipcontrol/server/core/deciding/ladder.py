"""The ladder: what to try after a rejoin that could not be verified."""

from __future__ import annotations

from collections.abc import Set

from gossipcontrol.server.core.decision import Capability, Rung

LADDER = (Rung.REJOIN, Rung.REBIND, Rung.RESUBSCRIBE, Rung.ASK_PEER, Rung.RESTART_ADVISED)
"""From the lowest rung to the highest."""
_NEEDS = ((Rung.REBIND, Capability.REBIND), (Rung.RESUBSCRIBE, Capability.RESUBSCRIBE))
"""The rungs above REJOIN that a node carries out itself."""


def can_carry_out(rung: Rung, capabilities: Set[Capability]) -> bool:
    """Whether the agent can carry out a rung; every agent can carry out REJOIN."""
    return rung is Rung.REJOIN or any(one is rung and needed in capabilities for one, needed in _NEEDS)


def higher(one: Rung, other: Rung) -> Rung:
    """The higher one of two rungs."""
    return max(one, other, key=LADDER.index)


def next_rung(rung: Rung, capabilities: Set[Capability]) -> Rung | None:
    """The lowest rung above ``rung`` that the agent can carry out, or None."""
    return next(iter(_rungs_above(rung, capabilities)), None)


def top_rung(rung: Rung, capabilities: Set[Capability]) -> Rung | None:
    """The highest rung above ``rung`` that the agent can carry out, or None."""
    return next(reversed(_rungs_above(rung, capabilities)), None)


def _rungs_above(rung: Rung, capabilities: Set[Capability]) -> list[Rung]:
    height = LADDER.index(rung)
    return [above for above, needed in _NEEDS if LADDER.index(above) > height and needed in capabilities]

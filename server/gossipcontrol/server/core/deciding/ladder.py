"""The ladder: what to try after a rejoin that could not be verified."""

from __future__ import annotations

from collections.abc import Set

from gossipcontrol.server.core.decision import Capability, Rung

_NEEDS = ((Rung.REBIND, Capability.REBIND), (Rung.RESUBSCRIBE, Capability.RESUBSCRIBE))


def can_carry_out(rung: Rung, capabilities: Set[Capability]) -> bool:
    """Whether the agent can carry out a rung; every agent can carry out REJOIN."""
    return rung is Rung.REJOIN or any(one is rung and needed in capabilities for one, needed in _NEEDS)


def next_rung(rung: Rung, capabilities: Set[Capability]) -> Rung | None:
    """The lowest rung above ``rung`` that the agent can carry out, or None."""
    return next((above for above, needed in _NEEDS if above > rung and needed in capabilities), None)

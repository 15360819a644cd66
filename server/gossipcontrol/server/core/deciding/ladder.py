"""The ladder: what to try after a rejoin that could not be verified."""

from __future__ import annotations

from collections.abc import Set

from gossipcontrol.server.core.decision import Capability, Rung

_NEEDS = ((Rung.REBIND, Capability.REBIND), (Rung.RESUBSCRIBE, Capability.RESUBSCRIBE))


def next_rung(rung: Rung, capabilities: Set[Capability]) -> Rung | None:
    """The lowest rung above ``rung`` that the agent can carry out, or None."""
    return next((above for above, needed in _NEEDS if above > rung and needed in capabilities), None)

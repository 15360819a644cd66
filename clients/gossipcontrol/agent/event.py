"""Events of an agent: for people, and for the service."""

from __future__ import annotations

from dataclasses import dataclass

from gossipcontrol.agent.report_builder import age_ms
from gossipcontrol.v1 import attach_pb2

ERROR_BYTES = 1024
"""Most bytes of an error that the service accepts."""


@dataclass(frozen=True, slots=True)
class AgentEvent:
    """Something a person may want to see.

    ``what`` is attached, detached, unattached, addresses, command, result, sync, restart (one is advised) or restarted
    (the operator's command has ended). ``addresses``: what is announced changed. ``unattached`` says why the agent
    cannot attach; once per reason, however often it tries.
    """

    what: str
    detail: str
    store_id: str = ""
    rejoin_id: str = ""
    peer_id: str = ""


@dataclass(frozen=True, slots=True)
class NeighborEvent:
    """A neighbour came or went; its age is computed when it is sent, or an old one could pass for a proof."""

    store_id: str
    peer_id: str
    up: bool
    at: float
    """Seconds, on the clock of ages (``boottime``)."""

    def message(self, now: float) -> attach_pb2.NeighborEvent:
        """The frame for it, sent at this instant of the same clock."""
        age = age_ms(self.at, now)
        return attach_pb2.NeighborEvent(store_id=self.store_id, peer_id=self.peer_id, up=self.up, age_ms=age)


def error_text(error: str) -> str:
    """An error cut to what the service accepts; the text may be another node's, and of any characters."""
    return error.encode(errors="replace")[:ERROR_BYTES].decode(errors="ignore")

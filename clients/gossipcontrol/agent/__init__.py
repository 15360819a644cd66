"""The agent: keeps a node attached to the service, reports what it hears, and carries out rejoins.

A name is imported when it is first used: importing this package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossipcontrol.client.lazy import lazy_names

if TYPE_CHECKING:
    from gossipcontrol.agent.agent import Agent
    from gossipcontrol.agent.event import AgentEvent
    from gossipcontrol.agent.node import BootstrapPeer, Node, RejoinFailedError, SyncFailedError
    from gossipcontrol.agent.outage_guard import OutageGuard, Suspendable
    from gossipcontrol.agent.stats import AgentStats
    from gossipcontrol.client.enumeration import Capability, PeerState, Rung
    from gossipcontrol.client.errors import AddressError
    from gossipcontrol.client.presence import Peer, PeerChange
else:
    __getattr__, __dir__ = lazy_names(__name__, {
        "gossipcontrol.agent.agent": ("Agent",),
        "gossipcontrol.agent.event": ("AgentEvent",),
        "gossipcontrol.agent.node": ("BootstrapPeer", "Node", "RejoinFailedError", "SyncFailedError"),
        "gossipcontrol.agent.outage_guard": ("OutageGuard", "Suspendable"),
        "gossipcontrol.agent.stats": ("AgentStats",),
        "gossipcontrol.client.enumeration": ("Capability", "PeerState", "Rung"),
        "gossipcontrol.client.errors": ("AddressError",),
        "gossipcontrol.client.presence": ("Peer", "PeerChange"),
    })  # fmt: skip

__all__ = [
    "AddressError", "Agent", "AgentEvent", "AgentStats", "BootstrapPeer", "Capability", "Node", "OutageGuard", "Peer",
    "PeerChange", "PeerState", "RejoinFailedError", "Rung", "Suspendable", "SyncFailedError",
]  # fmt: skip

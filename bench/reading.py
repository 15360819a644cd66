"""What a bare server does that reads every column of every report and nothing else; ``echo.py`` finds it beside it.

Of the service's own it needs the messages only.
"""

from __future__ import annotations

from gossipcontrol.v1 import gossip_control_pb2, liveness_pb2


def read(data: bytes) -> list[object]:
    """Parse a PeerLiveness request, and read it."""
    message = gossip_control_pb2.PeerLivenessRequest.FromString(data)
    return [_columns(report.heard) for report in message.reports]


def _columns(heard: liveness_pb2.PeersHeard) -> tuple[object, ...]:
    return heard.peer_ids[:], heard.heard_ages_ms[:], heard.heard_counts[:], heard.direct[:]

"""What a bare server does that reads every field of every observation and nothing else; ``echo.py`` finds it beside it.

Of the service's own it needs the messages only.
"""

from __future__ import annotations

from operator import attrgetter

from gossipcontrol.v1 import gossip_control_pb2

_FIELDS = attrgetter("peer_id", "heard_age_ms", "path", "heard_count")


def read(data: bytes) -> list[object]:
    """Parse a PeerLiveness request, and read it."""
    message = gossip_control_pb2.PeerLivenessRequest.FromString(data)
    return [list(map(_FIELDS, report.peers)) for report in message.reports]

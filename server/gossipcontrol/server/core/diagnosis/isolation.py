"""Conditions of a single node: it has no fresh link, or its local writes do not get out."""

from __future__ import annotations

from gossipcontrol.server.core.diagnosis.links import Links
from gossipcontrol.server.core.diagnosis.reports import Observer
from gossipcontrol.server.core.event import LivenessReported
from gossipcontrol.server.core.presence.parameter import LivenessParameters


def isolation_evidence(links: Links, node_id: str) -> str:
    """Evidence that a reporting node has no fresh link; empty when it has, or may have."""
    observer = links.fresh[node_id]
    if node_id in links.linked or not links.is_closed([node_id]):
        return ""
    listed = len(observer.neighbors)
    return f"none of {listed} neighbours is heard, nor hears it" if listed else "no neighbours"


def stuck_writes_evidence(
    observer: Observer, event: LivenessReported, parameters: LivenessParameters, now: float
) -> str:
    """Evidence that local writes stay unsynced; empty when they do not."""
    since = observer.unsynced_since
    if since is None or now - since < parameters.unsynced_after:
        return ""
    horizon = now - parameters.suspect_ceiling
    heard = sum(heard_at > horizon and peer_id != event.node_id for peer_id, heard_at in event.heard.items())
    if heard >= parameters.few_peers:
        return ""
    return f"{event.unsynced_writes} local writes unsynced for {now - since:.0f} s, and {heard} other peers heard"

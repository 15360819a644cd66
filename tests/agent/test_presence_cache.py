"""The agent asks for differences only, and lays them over what it has."""

from __future__ import annotations

from gossipcontrol.agent.presence_cache import PresenceCache
from gossipcontrol.client.presence import PeerChange
from gossipcontrol.v1.liveness_pb2 import (
    PEER_STATE_ONLINE,
    PEER_STATE_SUSPECT,
    PEER_STATE_UNSPECIFIED,
    LivenessReport,
    PeerView,
    StoreView,
)


def test_each_store_names_the_version_that_is_held_of_it() -> None:
    changes: list[tuple[str, PeerChange]] = []
    views = PresenceCache(lambda store_id, change: changes.append((store_id, change)))
    assert views.name(LivenessReport(store_id="a")).known_version == 0
    views.take(StoreView(store_id="a", version=7, peers=[PeerView(peer_id="p", state=PEER_STATE_ONLINE)]))
    views.take(StoreView(store_id="a", version=9, delta=True, peers=[PeerView(peer_id="p", state=PEER_STATE_SUSPECT)]))
    assert views.name(LivenessReport(store_id="a")).known_version == 9
    assert views.name(LivenessReport(store_id="b")).known_version == 0
    assert [one.state for one in views.peers("a")] == [PEER_STATE_SUSPECT]
    assert views.peers("b") == []
    assert changes == [
        ("a", PeerChange("p", PEER_STATE_UNSPECIFIED, PEER_STATE_ONLINE)),
        ("a", PeerChange("p", PEER_STATE_ONLINE, PEER_STATE_SUSPECT)),
    ]

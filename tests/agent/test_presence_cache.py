"""The agent asks for differences only, and lays them over what it has."""

from __future__ import annotations

from gossipcontrol.agent.presence_cache import PresenceCache
from gossipcontrol.client import Peer, PeerChange, PeerState, StoreView
from gossipcontrol.v1.liveness_pb2 import LivenessReport


def test_each_store_names_the_version_that_is_held_of_it() -> None:
    changes: list[tuple[str, PeerChange]] = []
    cache = PresenceCache(lambda store_id, change: changes.append((store_id, change)))
    assert cache.add_version(LivenessReport(store_id="a")).known_version == 0
    cache.apply(StoreView(store_id="a", version=7, peers=(Peer("p", PeerState.ONLINE, None, 1),)))
    cache.apply(StoreView(store_id="a", version=9, delta=True, peers=(Peer("p", PeerState.SUSPECT, None, 1),)))
    assert cache.add_version(LivenessReport(store_id="a")).known_version == 9
    assert cache.add_version(LivenessReport(store_id="b")).known_version == 0
    assert [one.state for one in cache.peers("a")] == [PeerState.SUSPECT]
    assert cache.peers("b") == []
    assert changes == [
        ("a", PeerChange("p", None, PeerState.ONLINE)),
        ("a", PeerChange("p", PeerState.ONLINE, PeerState.SUSPECT)),
    ]

"""What a client makes of views and differences."""

from __future__ import annotations

from collections.abc import Callable

from gossipcontrol.client.presence import Peer, PeerChange, Presence
from gossipcontrol.v1.liveness_pb2 import (
    PEER_STATE_OFFLINE,
    PEER_STATE_ONLINE,
    PEER_STATE_SUSPECT,
    PEER_STATE_UNKNOWN,
    PEER_STATE_UNSPECIFIED,
    PeerState,
    PeerView,
    StoreView,
)

GONE = PEER_STATE_UNSPECIFIED


def peer(peer_id: str, state: PeerState.ValueType, heard_age_ms: int | None = 500) -> PeerView:
    return PeerView(peer_id=peer_id, state=state, heard_age_ms=heard_age_ms, observers=2)


class Scene:
    def __init__(self) -> None:
        self.now = 100.0
        self.presence = Presence(lambda: self.now)


def test_ages_go_on_growing_between_two_messages() -> None:
    scene = Scene()
    scene.presence.take(StoreView(version=7, peers=[peer("p", PEER_STATE_ONLINE), peer("q", PEER_STATE_UNKNOWN, None)]))
    scene.now += 2.0
    assert scene.presence.peers() == [
        Peer("p", PEER_STATE_ONLINE, 2.5, 2),
        Peer("q", PEER_STATE_UNKNOWN, None, 2),
    ]
    assert scene.presence.version == 7


def test_ages_grow_while_the_host_sleeps(host_sleeps: Callable[[float], None]) -> None:
    presence = Presence()
    presence.take(StoreView(version=1, peers=[peer("p", PEER_STATE_ONLINE)]))
    host_sleeps(3600)
    [held] = presence.peers()
    assert held.heard_age is not None
    assert held.heard_age >= 3600


def test_a_difference_is_laid_over_what_is_held() -> None:
    scene = Scene()
    scene.presence.take(StoreView(version=1, peers=[peer("p", PEER_STATE_ONLINE), peer("q", PEER_STATE_ONLINE)]))
    changes = scene.presence.take(
        StoreView(
            version=4,
            delta=True,
            peers=[peer("q", PEER_STATE_SUSPECT), peer("r", PEER_STATE_ONLINE)],
            removed_peer_ids=["p", "never-there"],
        )
    )
    assert changes == [
        PeerChange("q", PEER_STATE_ONLINE, PEER_STATE_SUSPECT),
        PeerChange("r", GONE, PEER_STATE_ONLINE),
        PeerChange("p", PEER_STATE_ONLINE, GONE),
    ]
    assert [one.peer_id for one in scene.presence.peers()] == ["q", "r"]
    assert scene.presence.peer("p") is None
    assert scene.presence.version == 4


def test_a_whole_view_replaces_what_is_held_and_tells_only_what_differs() -> None:
    scene = Scene()
    scene.presence.take(StoreView(version=9, peers=[peer("p", PEER_STATE_ONLINE), peer("q", PEER_STATE_ONLINE)]))
    changes = scene.presence.take(StoreView(version=2, peers=[peer("q", PEER_STATE_ONLINE)]))
    assert changes == [PeerChange("p", PEER_STATE_ONLINE, GONE)]
    assert scene.presence.take(StoreView(version=3, delta=True, peers=[peer("q", PEER_STATE_OFFLINE)]))
    assert not scene.presence.take(StoreView(version=3, delta=True))


def part(number: int, *peer_ids: str) -> StoreView:
    """One part of a snapshot, from 0."""
    return StoreView(version=5, delta=number > 0, peers=[peer(one, PEER_STATE_ONLINE) for one in peer_ids])


def test_of_a_snapshot_in_parts_only_the_last_tells_who_is_gone() -> None:
    presence = Scene().presence
    presence.take(StoreView(version=1, peers=[peer(one, PEER_STATE_ONLINE) for one in "abcde"]))
    assert presence.take(part(0, "a", "b"), more=True) == []
    assert presence.take(part(1, "c"), more=True) == []
    assert [one.peer_id for one in presence.peers()] == ["a", "b", "c", "d", "e"]
    assert presence.take(part(2, "e", "f")) == [
        PeerChange("f", GONE, PEER_STATE_ONLINE),
        PeerChange("d", PEER_STATE_ONLINE, GONE),
    ]
    assert not presence.take(StoreView(version=6, delta=True)), "it is told once"


def test_a_snapshot_that_broke_off_tells_nobody_gone() -> None:
    presence = Scene().presence
    presence.take(part(0, "a", "b", "c"))
    presence.take(part(0, "a"), more=True)
    assert presence.take(part(0, "a", "b"), more=True) == []
    assert presence.take(part(1, "c")) == []

"""What a client makes of views and differences."""

from __future__ import annotations

from collections.abc import Callable

from gossipcontrol.client import Peer, PeerChange, PeerState, Presence, StoreView

GONE = None


def peer(peer_id: str, state: PeerState, heard_age: float | None = 0.5) -> Peer:
    return Peer(peer_id, state, heard_age, observers=2)


class Scene:
    def __init__(self) -> None:
        self.now = 100.0
        self.presence = Presence(lambda: self.now)

    def settles_in(self) -> float | None:
        return self.presence.settles_in


def test_ages_go_on_growing_between_two_messages() -> None:
    scene = Scene()
    scene.presence.apply(StoreView(version=7, peers=(peer("p", PeerState.ONLINE), peer("q", PeerState.UNKNOWN, None))))
    scene.now += 2.0
    assert scene.presence.peers() == [
        Peer("p", PeerState.ONLINE, 2.5, 2),
        Peer("q", PeerState.UNKNOWN, None, 2),
    ]
    assert scene.presence.version == 7


def test_ages_grow_while_the_host_sleeps(host_sleeps: Callable[[float], None]) -> None:
    presence = Presence()
    presence.apply(StoreView(version=1, peers=(peer("p", PeerState.ONLINE),)))
    host_sleeps(3600)
    [held] = presence.peers()
    assert held.heard_age is not None
    assert held.heard_age >= 3600


def test_a_difference_is_laid_over_what_is_held() -> None:
    scene = Scene()
    scene.presence.apply(StoreView(version=1, peers=(peer("p", PeerState.ONLINE), peer("q", PeerState.ONLINE))))
    changes = scene.presence.apply(
        StoreView(
            version=4,
            delta=True,
            peers=(peer("q", PeerState.SUSPECT), peer("r", PeerState.ONLINE)),
            removed_peer_ids=("p", "never-there"),
        )
    )
    assert changes == [
        PeerChange("q", PeerState.ONLINE, PeerState.SUSPECT),
        PeerChange("r", GONE, PeerState.ONLINE),
        PeerChange("p", PeerState.ONLINE, GONE),
    ]
    assert [one.peer_id for one in scene.presence.peers()] == ["q", "r"]
    assert scene.presence.peer("p") is None
    assert scene.presence.version == 4


def test_a_whole_view_replaces_what_is_held_and_tells_only_what_differs() -> None:
    scene = Scene()
    scene.presence.apply(StoreView(version=9, peers=(peer("p", PeerState.ONLINE), peer("q", PeerState.ONLINE))))
    changes = scene.presence.apply(StoreView(version=2, peers=(peer("q", PeerState.ONLINE),)))
    assert changes == [PeerChange("p", PeerState.ONLINE, GONE)]
    assert scene.presence.apply(StoreView(version=3, delta=True, peers=(peer("q", PeerState.OFFLINE),)))
    assert not scene.presence.apply(StoreView(version=3, delta=True))


def part(number: int, *peer_ids: str) -> StoreView:
    """One part of a snapshot, from 0."""
    return StoreView(version=5, delta=number > 0, peers=tuple(peer(one, PeerState.ONLINE) for one in peer_ids))


def test_of_a_snapshot_in_parts_only_the_last_tells_who_is_gone() -> None:
    presence = Scene().presence
    presence.apply(StoreView(version=1, peers=tuple(peer(one, PeerState.ONLINE) for one in "abcde")))
    assert presence.apply(part(0, "a", "b"), more=True) == []
    assert presence.apply(part(1, "c"), more=True) == []
    assert [one.peer_id for one in presence.peers()] == ["a", "b", "c", "d", "e"]
    assert presence.apply(part(2, "e", "f")) == [
        PeerChange("f", GONE, PeerState.ONLINE),
        PeerChange("d", PeerState.ONLINE, GONE),
    ]
    assert not presence.apply(StoreView(version=6, delta=True)), "it is told once"


def test_a_snapshot_that_broke_off_tells_nobody_gone() -> None:
    presence = Scene().presence
    presence.apply(part(0, "a", "b", "c"))
    presence.apply(part(0, "a"), more=True)
    assert presence.apply(part(0, "a", "b"), more=True) == []
    assert presence.apply(part(1, "c")) == []


def test_after_a_takeover_what_was_held_is_kept_until_the_view_has_settled() -> None:
    scene = Scene()
    before = (peer("p", PeerState.ONLINE), peer("q", PeerState.ONLINE), peer("r", PeerState.ASLEEP))
    scene.presence.apply(StoreView(version=1, peers=before))
    taken_over = StoreView(version=9, peers=(peer("q", PeerState.UNKNOWN, None),), settling=7.0)
    assert scene.presence.apply(taken_over) == []
    assert [one.state for one in scene.presence.peers()] == [PeerState.ONLINE, PeerState.ONLINE, PeerState.ASLEEP]
    back = StoreView(version=10, delta=True, peers=(peer("p", PeerState.SUSPECT),))
    assert scene.presence.apply(back) == [PeerChange("p", PeerState.ONLINE, PeerState.SUSPECT)]
    assert scene.settles_in() == 7.0
    scene.now += 7.0
    assert [one.peer_id for one in scene.presence.peers()] == ["p", "q"], "also where nobody settles it"
    assert scene.presence.settle() == [
        PeerChange("q", PeerState.ONLINE, PeerState.UNKNOWN),
        PeerChange("r", PeerState.ASLEEP, GONE),
    ]
    assert scene.settles_in() is None
    assert scene.presence.settle() == []


def test_who_says_goodbye_to_the_new_owner_is_not_kept() -> None:
    scene = Scene()
    scene.presence.apply(StoreView(version=1, peers=(peer("p", PeerState.ONLINE), peer("q", PeerState.ONLINE))))
    scene.presence.apply(StoreView(version=9, settling=7.0))
    changes = scene.presence.apply(
        StoreView(version=10, delta=True, peers=(peer("q", PeerState.LEFT),), removed_peer_ids=("p",))
    )
    assert [(one.peer_id, one.after) for one in changes] == [("q", PeerState.LEFT), ("p", GONE)]
    assert scene.settles_in() is None

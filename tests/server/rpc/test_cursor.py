"""A cursor on a store's presence: a snapshot, then every change in order, whatever happens between updates."""

from __future__ import annotations

import gossipcontrol.server.rpc.cursor as cursors
import pytest
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.presence.record import PeerState
from gossipcontrol.server.rpc.cursor import PresenceCursor, PresenceUpdate
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.scripted_liveness import ScriptedLiveness

ONLINE, SUSPECT, OFFLINE = PeerState.ONLINE, PeerState.SUSPECT, PeerState.OFFLINE


class Screen:
    """What a user sees who applies the updates by the contract."""

    def __init__(self) -> None:
        self.peers: dict[str, PeerState] = {}
        self.history: list[tuple[str, PeerState | None]] = []

    def show(self, update: PresenceUpdate) -> None:
        if not update.delta:
            self.peers = {}
        names = [peer.peer_id for peer in update.peers] + list(update.removed)
        assert len(set(names)) == len(names), "an update names a peer once"
        for peer in update.peers:
            self.peers[peer.peer_id] = peer.state
        for peer_id in update.removed:
            self.peers.pop(peer_id, None)
        self.history += [(peer.peer_id, peer.state) for peer in update.peers]
        self.history += [(peer_id, None) for peer_id in update.removed]


def test_an_unknown_store_begins_empty_and_comes_to_life() -> None:
    liveness = ScriptedLiveness()
    cursor = PresenceCursor(liveness, "s")
    first = cursor.next_update()
    assert first is not None
    assert (first.peers, first.delta, first.complete, first.lagged) == ((), False, True, False)
    assert cursor.next_update() is None
    liveness.put("s", "p", ONLINE)
    second = cursor.next_update()
    assert second is not None
    assert (second.delta, second.version, [peer.peer_id for peer in second.peers]) == (True, 1, ["p"])
    assert cursor.next_update() is None


def test_an_unknown_store_stays_quiet_while_others_change() -> None:
    liveness = ScriptedLiveness()
    cursor = PresenceCursor(liveness, "s")
    cursor.next_update()
    for _ in range(3):
        liveness.put("other", "p", ONLINE)
        assert cursor.next_update() is None
    liveness.put("other", "p", ONLINE)
    liveness.put("s", "p", ONLINE)
    update = cursor.next_update()
    assert update is not None
    assert (update.lagged, [peer.peer_id for peer in update.peers]) == (False, ["p"])


def test_changes_of_one_peer_are_told_one_by_one() -> None:
    liveness = ScriptedLiveness()
    cursor = PresenceCursor(liveness, "s")
    cursor.next_update()
    for state in (ONLINE, SUSPECT, ONLINE, None, OFFLINE):
        liveness.put("s", "p", state)
        liveness.put("s", f"q{state}", ONLINE)
    screen = Screen()
    versions: list[int] = []
    while (update := cursor.next_update()) is not None:
        screen.show(update)
        versions.append(update.version)
    assert [state for peer, state in screen.history if peer == "p"] == [ONLINE, SUSPECT, ONLINE, None, OFFLINE]
    assert versions == sorted(set(versions))
    assert versions[-1] == 10


def test_a_reader_that_fell_behind_is_told_so_and_begins_anew() -> None:
    liveness = ScriptedLiveness(LivenessParameters(change_limit=3))
    liveness.put("s", "p", ONLINE)
    cursor = PresenceCursor(liveness, "s")
    cursor.next_update()
    for number in range(4):
        liveness.put("s", f"p{number}", ONLINE)
    update = cursor.next_update()
    assert update is not None
    assert (update.lagged, update.delta, len(update.peers), update.version) == (True, False, 5, 5)
    assert cursor.next_update() is None


def test_a_place_is_resumed_without_a_gap_or_says_that_there_is_one() -> None:
    liveness = ScriptedLiveness(LivenessParameters(change_limit=3))
    for number in range(5):
        liveness.put("s", f"p{number}", ONLINE)
    update = PresenceCursor(liveness, "s", 3).next_update()
    assert update is not None
    assert ([peer.peer_id for peer in update.peers], update.delta, update.lagged) == (["p3", "p4"], True, False)
    assert PresenceCursor(liveness, "s", 5).next_update() is None
    for unreachable in (0, 1, 6, 2**31):
        update = PresenceCursor(liveness, "s", unreachable).next_update()
        assert update is not None
        assert (update.lagged, update.delta, update.version) == (True, False, 5)


def test_a_large_snapshot_comes_in_parts_that_stay_true(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cursors, "UPDATE_PEERS", 2)
    liveness = ScriptedLiveness()
    for name in "abcde":
        liveness.put("s", name, ONLINE)
    cursor, screen = PresenceCursor(liveness, "s"), Screen()
    updates: list[tuple[bool, bool, list[str], list[str]]] = []
    liveness.put("s", "z", ONLINE)
    for changes in ([("a", SUSPECT), ("e", OFFLINE)], [("b", None)], [], [], [], []):
        update = cursor.next_update()
        if update is not None:
            screen.show(update)
            updates.append(
                (update.delta, update.complete, [peer.peer_id for peer in update.peers], list(update.removed))
            )
        for name, state in changes:
            liveness.put("s", name, state)
    assert updates == [
        (False, False, ["a", "b"], []),
        (True, False, ["a"], []),
        (True, False, [], ["b"]),
        (True, False, ["c", "d"], []),
        (True, True, ["e", "z"], []),
    ]
    assert screen.peers == {"a": SUSPECT, "c": ONLINE, "d": ONLINE, "e": OFFLINE, "z": ONLINE}


ACTIONS = st.lists(
    st.one_of(
        st.just("read"),
        st.tuples(st.sampled_from("abcdefgh"), st.sampled_from([ONLINE, SUSPECT, OFFLINE, None])),
    ),
    max_size=60,
)


@given(before=ACTIONS, actions=ACTIONS, limit=st.integers(1, 8), part=st.integers(1, 4))
def test_what_a_reader_has_is_always_what_was(
    before: list[str | tuple[str, PeerState | None]],
    actions: list[str | tuple[str, PeerState | None]],
    limit: int,
    part: int,
) -> None:
    """A complete update shows the presence of its version; without lag, each change after the snapshot comes once."""
    liveness, screen = ScriptedLiveness(LivenessParameters(change_limit=limit)), Screen()
    truth: dict[int, dict[str, PeerState]] = {0: {}}
    log: list[tuple[str, PeerState | None]] = []

    def change(name: str, state: PeerState | None) -> None:
        if state is None and name not in liveness.present("s"):
            return
        liveness.put("s", name, state)
        log.append((name, state))
        truth[len(log)] = {peer_id: peer.state for peer_id, peer in liveness.present("s").items()}

    for action in before:
        if not isinstance(action, str):
            change(*action)
    cursor = PresenceCursor(liveness, "s")
    told_from: int | None = None

    def read() -> bool:
        nonlocal told_from
        update = cursor.next_update()
        if update is None:
            return False
        if not update.delta:
            told_from = None
            assert update.lagged is (len(seen) > 0 and not (seen[-1].delta is False and not seen[-1].peers))
        seen.append(update)
        screen.show(update)
        if update.complete:
            assert screen.peers == truth[update.version]
            told = [] if told_from is None else log[told_from : update.version]
            assert told_from is None or sorted(map(str, screen.history)) == sorted(map(str, told))
            told_from = update.version
        screen.history = []
        return True

    seen: list[PresenceUpdate] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cursors, "UPDATE_PEERS", part)
        for action in actions:
            if isinstance(action, str):
                read()
            else:
                change(*action)
        while read():
            pass
    assert seen[-1].complete
    assert screen.peers == truth[len(log)]

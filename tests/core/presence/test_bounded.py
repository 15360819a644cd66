"""However full the books are, one event costs about as much as what it brings."""

from __future__ import annotations

from gossipcontrol.server.core.event import LivenessReported, TimePassed
from gossipcontrol.server.core.liveness import Liveness
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.presence.presence import ADVANCED_ROWS
from gossipcontrol.server.core.presence.record import PeerState
from hypothesis import given
from hypothesis import strategies as st


def reported(node_id: str, heard: dict[str, float], store_id: str = "s") -> LivenessReported:
    return LivenessReported(
        node_id=node_id,
        store_id=store_id,
        heard=heard,
        neighbors={},
        broadcast_count=0,
        unsynced_writes=0,
        going_to_sleep=False,
    )


def states(liveness: Liveness) -> dict[str, PeerState]:
    return {peer.peer_id: peer.state for peer in liveness.peers("s")}


def test_peers_whose_silence_ends_at_once_are_looked_at_in_parts() -> None:
    """12,000 peers of one store took 375 ms in one turn of the event loop."""
    liveness, count = Liveness(), 5 * ADVANCED_ROWS
    for first in range(0, count, 500):
        liveness.handle(reported("o", {f"p{number}": 1000.0 for number in range(first, first + 500)}), 1000.0)
    now, turns = 1000.0, list[int]()
    while (due_at := liveness.next_deadline()) is not None and liveness.counts().peers[PeerState.ONLINE] > 0:
        now = max(now, due_at)
        before = liveness.counts().peers[PeerState.ONLINE]
        liveness.handle(TimePassed(), now)
        turns.append(before - liveness.counts().peers[PeerState.ONLINE])
    assert 0 < max(turns) <= ADVANCED_ROWS
    assert now < 1040.0


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 50)), max_size=80))
def test_a_full_store_evicts_exactly_the_peer_longest_unheard(heard: list[tuple[int, float]]) -> None:
    liveness = Liveness(LivenessParameters(peers_per_store=8))
    known = {"o": 1000.0}
    for number, age in heard:
        peer_id, at = f"p{number}", 1000.0 - age
        liveness.handle(reported("o", {peer_id: at}), 1000.0)
        if peer_id not in known and len(known) == 8:
            oldest = min(known.values())
            if at <= oldest:
                continue
            left = {peer.peer_id for peer in liveness.peers("s")}
            (gone,) = known.keys() - left
            assert known.pop(gone) == oldest
        known[peer_id] = max(at, known.get(peer_id, at))
        assert {peer.peer_id for peer in liveness.peers("s")} == set(known)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 12)), max_size=60))
def test_pages_are_in_order_whatever_came_and_went(changes: list[tuple[bool, int]]) -> None:
    liveness = Liveness(LivenessParameters(peers_per_store=6))
    for number, (is_read, peer) in enumerate(changes):
        now = 1000.0 + number
        liveness.handle(reported("o", {f"p{peer}": now}), now)
        if is_read:
            index = liveness.presence.stores["s"].index
            assert [one.peer_id for one in liveness.peers("s")] == sorted(index)
            assert [one.peer_id for one in liveness.peers("s", "p3")] == [one for one in sorted(index) if one > "p3"]

"""Two agents with one node id, or two machines with one host id, are found, and put nobody else to sleep."""

from __future__ import annotations

import pytest
from gossipcontrol.server.core.event import ChangeKind, LivenessReported, NetworkChanged, NodeAttached
from gossipcontrol.server.core.finding import IdShared
from gossipcontrol.server.core.identity import MAX_IDS, MEMORY, TURN_TIME, TURNS, SharedIds
from gossipcontrol.server.core.presence.record import PeerState

from tests.kit.core_lab import Lab


def test_who_comes_back_after_another_is_a_second_one() -> None:
    ids = SharedIds()
    assert not ids.claim("n", "x", 0.0)
    assert not ids.claim("n", "y", 1.0), "the node moved to another machine"
    assert ids.claim("n", "x", 2.0)
    assert not ids.claim("n", "y", 3.0), "it is said once"
    assert ids.shared(4.0) == ["n"]
    assert not ids.is_shared("n", 2.0 + 2 * MEMORY)


@pytest.mark.parametrize("names", ["x", "xy", "xyz", "xxyy"])
def test_one_that_reconnects_restarts_or_moves_is_one(names: str) -> None:
    ids = SharedIds()
    assert not any(ids.claim("n", who, float(at)) for at, who in enumerate(names))


def test_who_comes_back_after_a_long_time_is_no_second_one() -> None:
    ids = SharedIds()
    for at, who in ((0.0, "x"), (1.0, "y")):
        ids.claim("n", who, at)
    assert not ids.claim("n", "x", MEMORY + 1.0)


def test_two_alike_that_keep_replacing_each_other_are_two() -> None:
    ids = SharedIds()
    found = [ids.claim("n", "x", float(turn), replaces=True) for turn in range(TURNS)]
    assert found == [False] * (TURNS - 1) + [True]
    slow = SharedIds()
    gap = 1.5 * TURN_TIME / TURNS
    assert not any(slow.claim("n", "x", turn * gap, replaces=True) for turn in range(5 * TURNS)), "a flapping link"


def test_ids_are_bounded() -> None:
    ids = SharedIds()
    for number in range(MAX_IDS + 10):
        ids.claim(f"n{number}", "x", float(number))
    ids.claim("n0", "y", 1e5)
    assert not ids.claim("n0", "x", 1e5 + 1), "what was said of it long ago is forgotten"


def state(lab: Lab, peer_id: str) -> PeerState | None:
    return next((peer.state for peer in lab.core.liveness.peers("a") if peer.peer_id == peer_id), None)


def attach(lab: Lab, host_id: str, session_id: str) -> list[object]:
    return list(lab.turn(NodeAttached("n", session_id, ("a",), host_id=host_id)).findings)


def test_an_agent_with_anothers_node_id_cannot_put_it_to_sleep() -> None:
    lab = Lab()
    attach(lab, "laptop", "s1")
    attach(lab, "clone", "s2")
    assert IdShared("node", "n") in attach(lab, "laptop", "s3")
    lab.handle(LivenessReported("n", "a", going_to_sleep=True))
    assert state(lab, "n") is PeerState.ONLINE
    assert lab.core.shared_ids(lab.now)["node"] == ["n"]


def test_a_clone_of_a_host_cannot_put_its_nodes_to_sleep() -> None:
    lab = Lab()
    lab.attach("n", "a", host_id="h")
    turns = [lab.turn(NetworkChanged("h", boot_id=boot, generation=1)) for boot in ("b1", "b2")]
    turns.append(lab.turn(NetworkChanged("h", boot_id="b1", generation=2)))
    assert [IdShared("host", "h") in turn.findings for turn in turns] == [False, False, True]
    lab.handle(NetworkChanged("h", kind=ChangeKind.SLEEPING, boot_id="b2", generation=2))
    assert state(lab, "n") is PeerState.ONLINE


def test_a_host_that_restarts_may_sleep() -> None:
    lab = Lab()
    lab.attach("n", "a", host_id="h")
    for boot in ("b1", "b2", "b3"):
        lab.handle(NetworkChanged("h", boot_id=boot, generation=1))
    lab.handle(NetworkChanged("h", kind=ChangeKind.SLEEPING, boot_id="b3", generation=2))
    assert state(lab, "n") is PeerState.ASLEEP

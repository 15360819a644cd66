"""The result of a sync counts only if the service asked for that sync."""

from __future__ import annotations

from gossipcontrol.server.core.decision import Capability
from gossipcontrol.server.core.event import LivenessReported, NodeAttached, SyncFinished
from gossipcontrol.server.core.finding import StartSync
from gossipcontrol.server.core.presence.record import PeerState
from gossipcontrol.server.core.repair.asked_syncs import ANSWER_TIME, ASKED, AskedSyncs

from tests.kit.core_lab import Lab


def result(nonce: int = 0, node_id: str = "n", *, ok: bool = True) -> SyncFinished:
    return SyncFinished(node_id, "s", "p", ok, nonce=nonce)


def test_a_result_answers_one_request_once() -> None:
    asked = AskedSyncs()
    assert not asked.take(result(), 0.0), "nobody asked"
    first = asked.ask("n", "s", "p", 0.0)
    assert not asked.take(result(first, "m"), 1.0), "another node was asked"
    assert asked.take(result(first), ANSWER_TIME)
    assert not asked.take(result(first), ANSWER_TIME), "it is answered"
    assert asked.refused == 3


def test_a_result_carries_the_number_of_the_newest_request() -> None:
    asked = AskedSyncs()
    first = asked.ask("n", "s", "p", 0.0)
    second = asked.ask("n", "s", "p", 1.0)
    assert first != second
    assert not asked.take(result(first), 2.0)
    assert asked.take(result(second), 2.0)
    asked.ask("n", "s", "p", 3.0)
    assert asked.take(result(0), 4.0), "an agent that knows no numbers"


def test_a_result_that_comes_late_does_not_count() -> None:
    asked = AskedSyncs()
    nonce = asked.ask("n", "s", "p", 0.0)
    assert not asked.take(result(nonce), ANSWER_TIME + 0.1)
    asked.renew("n", "s", "p", nonce, 100.0)
    assert asked.take(result(nonce), 100.0 + ANSWER_TIME), "it waited for a report"


def test_what_is_remembered_is_bounded() -> None:
    asked = AskedSyncs()
    for number in range(ASKED + 10):
        asked.ask(f"n{number}", "s", "p", 0.0)
    assert len(asked) == ASKED
    asked.ask("n", "s", "p", ANSWER_TIME + 1.0)
    assert len(asked) == 1


def test_a_sync_that_nobody_asked_for_says_nothing_of_the_peer() -> None:
    """Two nodes that say that they reached others had these rejoin."""
    lab = Lab()
    able = frozenset({Capability.SYNC_WITH_PEER})
    for node_id in ("n", "m"):
        lab.handle(NodeAttached(node_id, "s", ("a",), capabilities=able))
    lab.handle(SyncFinished("n", "a", "far", True))
    assert lab.core.liveness.presence.state("a", "far") is None
    assert lab.core.claims_refused()["sync"] == 1
    lab.handle(LivenessReported("m", "a", neighbors={"n": lab.now}))
    lab.handle(NodeAttached("m", "s", ("a",), capabilities=able, addresses=("192.0.2.1:1",)))
    (wanted,) = [one for one in lab.findings if isinstance(one, StartSync)]
    lab.handle(SyncFinished("n", "a", "m", True, nonce=wanted.nonce + 1))
    assert lab.core.claims_refused()["sync"] == 2
    lab.handle(SyncFinished("n", "a", "m", True, nonce=wanted.nonce))
    assert lab.core.claims_refused()["sync"] == 2
    assert lab.core.liveness.presence.state("a", "m") is PeerState.ONLINE

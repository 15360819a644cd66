"""Direct syncs of pairs that never meet."""

from __future__ import annotations

import pytest
from gossipcontrol.server.core.decision import Capability
from gossipcontrol.server.core.event import NodeAttached
from gossipcontrol.server.core.finding import SyncWanted
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.repair.budget import Budget
from gossipcontrol.server.core.repair.pair_sync import ANSWER_TIMEOUT, PairSyncScheduler

from tests.kit.liveness_lab import Lab
from tests.kit.parts import finish


def make(**changed: float) -> PairSyncScheduler:
    parameters = LivenessParameters(**changed)  # type: ignore[arg-type]
    return PairSyncScheduler("notes", parameters, Budget(parameters.sync_rate))


def never(one: str, other: str) -> bool:
    return False


def request_due(pair_sync: PairSyncScheduler, now: float, capable: str = "abcd") -> list[SyncWanted]:
    parts = finish(pair_sync.request_due(set(capable), never, now))
    return [one for part in parts for one in part if isinstance(one, SyncWanted)]


def test_the_most_overdue_pair_syncs_first_by_the_node_with_more_budget() -> None:
    pair_sync = make()
    finish(pair_sync.set_members("abc", 1000, 0.0))
    pair_sync.record_meetings("a", "b", 0.0)
    pair_sync.record_meetings("a", "c", 5.0)
    pair_sync.record_meetings("b", "c", 9.0)
    wanted = request_due(pair_sync, 400.0)
    assert wanted[0].node_id in "ab"
    assert {wanted[0].node_id, wanted[0].peer_id} == {"a", "b"}
    assert wanted[1].node_id == "c" or wanted[1].node_id != wanted[0].node_id
    assert pair_sync.unsynced == 3


def test_a_failed_sync_is_retried_with_backoff_until_one_succeeds() -> None:
    pair_sync = make(pair_interval=100.0)
    finish(pair_sync.set_members("ab", 1000, 0.0))
    now, asked = 10.0, list[float]()
    while now < 400.0:
        for wanted in request_due(pair_sync, now):
            asked.append(now)
            pair_sync.record_result(wanted.node_id, wanted.peer_id, False, now)
        now += 1.0
    assert asked == [10.0, 20.0, 40.0, 80.0, 160.0, 260.0, 360.0]
    assert pair_sync.unsynced == 1
    pair_sync.record_result("b", "a", True, 400.0)
    assert request_due(pair_sync, 401.0) == []
    assert pair_sync.unsynced == 0
    assert len(request_due(pair_sync, 500.0)) == 1


def test_an_unanswered_request_is_repeated_after_the_timeout() -> None:
    pair_sync = make()
    finish(pair_sync.set_members("ab", 1000, 0.0))
    assert len(request_due(pair_sync, 10.0)) == 1
    assert request_due(pair_sync, 10.0 + ANSWER_TIMEOUT - 1) == []
    assert len(request_due(pair_sync, 10.0 + ANSWER_TIMEOUT)) == 1


def test_pairs_across_a_partition_wait() -> None:
    pair_sync = make()
    finish(pair_sync.set_members("ab", 1000, 0.0))
    assert finish(pair_sync.request_due({"a", "b"}, lambda one, other: True, 10.0)) == [[]]
    assert len(request_due(pair_sync, 12.0)) == 1


def test_pairs_without_a_capable_node_are_shelved_until_there_is_one() -> None:
    pair_sync = make()
    finish(pair_sync.set_members("abc", 1000, 0.0))
    assert request_due(pair_sync, 300.0, capable="") == []
    assert pair_sync.unsynced == 0
    assert pair_sync.pairs.next_at() is None
    assert pair_sync.pairs.pop_due(1e6) == []
    pair_sync.resume("b", 400.0)
    pair_sync.resume("stranger", 400.0)
    assert pair_sync.check_at == 400.0
    assert {wanted.node_id for wanted in request_due(pair_sync, 400.0, capable="b")} == {"b"}
    assert pair_sync.unsynced == 2
    pair_sync.record_meetings("a", ("c",), 401.0)  # as neighbours do, capable or not
    finish(pair_sync.set_members("ac", 1000, 402.0))
    assert pair_sync.pairs.never_met == 0


def test_a_node_that_attaches_with_sync_capability_is_due_again() -> None:
    lab, capable = Lab(), frozenset({Capability.SYNC_WITH_PEER})
    for capabilities in (frozenset[Capability](), capable):
        for node_id in ("n", "m"):
            lab.handle(NodeAttached(node_id, f"{node_id} {len(capabilities)}", ("a",), capabilities=capabilities))
        for _ in range(20):
            lab.report("n", {"m": 0.5})
            lab.report("m", {"n": 0.5})
            lab.advance(2.0)
        asked = [one for one in lab.findings if isinstance(one, SyncWanted)]
        assert bool(asked) is bool(capabilities)
        assert lab.liveness.counts().pairs_unsynced == len(capabilities)


def test_one_member_too_many_does_not_drop_the_pairs() -> None:
    pair_sync = make(pair_peers=10)
    finish(pair_sync.set_members("abcdefghij", 1000, 0.0))
    pair_sync.record_meetings("a", "bcdefghij", 5.0)
    finish(pair_sync.set_members("abcdefghijk", 1000, 6.0))
    finish(pair_sync.set_members("abcdefghij", 1000, 7.0))
    assert len(pair_sync.pairs) == 45
    assert pair_sync.pairs.never_met == 36
    finish(pair_sync.set_members("abcdefghijkl", 1000, 8.0))
    assert len(pair_sync.pairs) == 0
    finish(pair_sync.set_members("abcdefghijk", 1000, 9.0))
    assert len(pair_sync.pairs) == 0, "only a store that had pairs may be too large"


def test_several_members_are_removed_with_one_rebuild(monkeypatch: pytest.MonkeyPatch) -> None:
    pair_sync, heaps = make(), list[int]()
    finish(pair_sync.set_members("abcdefghij", 1000, 0.0))
    module = "gossipcontrol.server.core.repair.pairs"
    monkeypatch.setattr(f"{module}.heapify", lambda heap: heaps.append(len(heap)))  # pyright: ignore
    finish(pair_sync.set_members("ab", 1000, 1.0))
    assert heaps == [1]


def test_a_store_beyond_the_size_is_not_tracked() -> None:
    pair_sync = make(pair_peers=3)
    finish(pair_sync.set_members("abc", 1000, 0.0))
    assert len(pair_sync.pairs) == 3
    finish(pair_sync.set_members("abcd", 1000, 0.0))
    assert len(pair_sync.pairs) == pair_sync.unsynced == 0
    assert pair_sync.check_at is None


def test_no_more_pairs_are_tracked_than_there_is_room_for() -> None:
    pair_sync = make()
    finish(pair_sync.set_members("abcde", 4, 0.0))
    assert len(pair_sync.pairs) == 3


def test_a_removed_member_takes_its_pairs_along() -> None:
    pair_sync = make()
    finish(pair_sync.set_members("abc", 1000, 0.0))
    request_due(pair_sync, 10.0)
    finish(pair_sync.set_members("bc", 1000, 11.0))
    assert {one for wanted in request_due(pair_sync, 300.0) for one in (wanted.node_id, wanted.peer_id)} <= {"b", "c"}
    pair_sync.record_result("a", "b", True, 300.0)
    assert len(pair_sync.pairs) == 1


def test_if_one_node_has_no_budget_the_other_syncs() -> None:
    pair_sync = make()
    finish(pair_sync.set_members("abc", 1000, 0.0))
    for seconds, pair in ((0.0, "ab"), (5.0, "bc"), (9.0, "ac")):
        pair_sync.record_meetings(pair[0], pair[1], seconds)
    assert sorted(wanted.node_id for wanted in request_due(pair_sync, 400.0)) == ["a", "b", "c"]

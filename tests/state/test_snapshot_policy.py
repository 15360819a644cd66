"""Which store is snapshotted when: what is written stays in proportion, and one snapshot is under way at a time."""

from __future__ import annotations

from gossipcontrol.server.state.snapshot_policy import LEAST, SnapshotPolicy
from hypothesis import given
from hypothesis import strategies as st

HUGE = 1 << 40
MB = 1 << 20


def test_short_logs_are_left_alone() -> None:
    backlog = SnapshotPolicy(HUGE)
    backlog.add("s", LEAST)
    assert backlog.due() is None
    backlog.add("t", 1)
    assert backlog.due() == "s"


def test_one_store_moves_at_a_time_and_what_comes_meanwhile_counts_anew() -> None:
    backlog = SnapshotPolicy(HUGE)
    backlog.add("s", 9 * MB)
    backlog.begin("s", 7)
    backlog.add("s", 1)
    backlog.add("t", 9 * MB)
    assert (backlog.due(), backlog.bytes) == (None, 9 * MB + 1)
    backlog.end(7, 3 * MB)
    assert backlog.due() == "t"


def test_a_snapshot_that_was_given_up_leaves_its_log() -> None:
    backlog = SnapshotPolicy(HUGE)
    backlog.add("s", 9 * MB)
    backlog.begin("s", 7)
    backlog.give_up(7)
    assert (backlog.due(), backlog.bytes) == ("s", 9 * MB)


def test_what_was_superseded_is_not_heard_of_again() -> None:
    backlog = SnapshotPolicy(HUGE)
    backlog.add("s", 9 * MB)
    backlog.begin("s", 7)
    backlog.clear()
    backlog.resize({"s": 5})
    backlog.give_up(7)
    backlog.end(7, 99)
    assert (backlog.due(), backlog.bytes) == (None, 0)


def test_knowledge_takes_half_of_the_file_at_most() -> None:
    backlog = SnapshotPolicy(16 * MB)
    backlog.add("s", 3 * MB)
    backlog.begin("s", 7)
    assert not backlog.is_full()
    backlog.add("s", 2 * MB)
    assert backlog.is_full(), "the log lies there until the snapshot is written"
    backlog.end(7, MB)
    assert not backlog.is_full()


@given(st.lists(st.tuples(st.sampled_from("abcdefg"), st.integers(1, 4 * MB)), min_size=1, max_size=300))
def test_snapshots_write_little_more_than_twice_what_logs_did(appended: list[tuple[str, int]]) -> None:
    """Against stores that forget nothing, so that every snapshot holds all that its log ever did."""
    backlog, stores, written, logged = SnapshotPolicy(HUGE), dict.fromkeys("abcdefg", 0), 0, 0
    for move, (store_id, size) in enumerate(appended, 1):
        backlog.add(store_id, size)
        stores[store_id] += size
        logged += size
        while (due := backlog.due()) is not None:
            backlog.begin(due, move)
            backlog.end(move, stores[due])
            written += stores[due]
        assert backlog.bytes <= max(LEAST, sum(stores.values()) / 2)
    assert written <= 3 * logged + MB

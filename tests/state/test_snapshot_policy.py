"""Which store is snapshotted when: what is written stays in proportion, and one snapshot is under way at a time."""

from __future__ import annotations

from gossipcontrol.server.state.snapshot_policy import MIN_LOG_BYTES, SnapshotPolicy
from hypothesis import given
from hypothesis import strategies as st

HUGE = 1 << 40
MB = 1 << 20


def test_short_logs_are_left_alone() -> None:
    policy = SnapshotPolicy(HUGE)
    policy.add("s", MIN_LOG_BYTES)
    assert policy.due() is None
    policy.add("t", 1)
    assert policy.due() == "s"


def test_one_store_moves_at_a_time_and_what_comes_meanwhile_counts_anew() -> None:
    policy = SnapshotPolicy(HUGE)
    policy.add("s", 9 * MB)
    policy.begin("s", 7)
    policy.add("s", 1)
    policy.add("t", 9 * MB)
    assert (policy.due(), policy.bytes) == (None, 9 * MB + 1)
    policy.end(7, 3 * MB)
    assert policy.due() == "t"


def test_a_snapshot_that_was_given_up_leaves_its_log() -> None:
    policy = SnapshotPolicy(HUGE)
    policy.add("s", 9 * MB)
    policy.begin("s", 7)
    policy.give_up(7)
    assert (policy.due(), policy.bytes) == ("s", 9 * MB)


def test_what_was_superseded_is_not_heard_of_again() -> None:
    policy = SnapshotPolicy(HUGE)
    policy.add("s", 9 * MB)
    policy.begin("s", 7)
    policy.clear()
    policy.resize({"s": 5})
    policy.give_up(7)
    policy.end(7, 99)
    assert (policy.due(), policy.bytes) == (None, 0)


def test_knowledge_takes_half_of_the_file_at_most() -> None:
    policy = SnapshotPolicy(16 * MB)
    policy.add("s", 3 * MB)
    policy.begin("s", 7)
    assert not policy.is_full()
    policy.add("s", 2 * MB)
    assert policy.is_full(), "the log lies there until the snapshot is written"
    policy.end(7, MB)
    assert not policy.is_full()


@given(st.lists(st.tuples(st.sampled_from("abcdefg"), st.integers(1, 4 * MB)), min_size=1, max_size=300))
def test_snapshots_write_little_more_than_twice_what_logs_did(appended: list[tuple[str, int]]) -> None:
    """Against stores that forget nothing, so that every snapshot holds all that its log ever did."""
    policy, stores, written, logged = SnapshotPolicy(HUGE), dict.fromkeys("abcdefg", 0), 0, 0
    for generation, (store_id, size) in enumerate(appended, 1):
        policy.add(store_id, size)
        stores[store_id] += size
        logged += size
        while (due := policy.due()) is not None:
            policy.begin(due, generation)
            policy.end(generation, stores[due])
            written += stores[due]
        assert policy.bytes <= max(MIN_LOG_BYTES, sum(stores.values()) / 2)
    assert written <= 3 * logged + MB

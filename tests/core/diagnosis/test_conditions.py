"""When a condition becomes a trigger, and when again."""

from __future__ import annotations

from gossipcontrol.server.core.decision import Cause
from gossipcontrol.server.core.diagnosis.conditions import ROTS, ConditionTracker
from hypothesis import given
from hypothesis import strategies as st

PARTITION, ISOLATED, OUTBOUND_ROT = Cause.PARTITION, Cause.ISOLATED, Cause.OUTBOUND_ROT


def times(conditions: ConditionTracker, cause: Cause, until: float, step: float = 1.0) -> list[float]:
    """When triggers of a condition that is active from 0 on are due."""
    now, found = 0.0, list[float]()
    while now <= until:
        if conditions.mark_active("n", cause, now):
            conditions.record_trigger("n", cause, now)
            found.append(now)
        now += step
    return found


def test_the_interval_doubles_up_to_the_cap() -> None:
    assert times(ConditionTracker(6, 40, 30), ISOLATED, 160) == [0, 6, 18, 42, 82, 122]


def test_rot_waits_for_a_window_at_first() -> None:
    assert times(ConditionTracker(6, 100, 30), OUTBOUND_ROT, 200) == [0, 30, 90, 190]


def test_a_condition_is_due_only_after_its_hold_time() -> None:
    conditions = ConditionTracker(6, 300, 30)
    assert not conditions.mark_active("n", ISOLATED, 0, hold=3)
    assert not conditions.mark_active("n", ISOLATED, 2, hold=3)
    assert conditions.mark_active("n", ISOLATED, 3, hold=3)
    assert not conditions.clear("n", ISOLATED)  # it had not become a trigger
    assert not conditions.mark_active("n", ISOLATED, 4, hold=3)


def test_a_cleared_condition_restarts_but_never_within_its_first_interval() -> None:
    conditions = ConditionTracker(6, 300, 30)
    assert times(conditions, ISOLATED, 20) == [0, 6, 18]
    assert conditions.clear("n", ISOLATED)
    conditions.prune(21)
    assert not conditions.mark_active("n", ISOLATED, 21)
    assert conditions.mark_active("n", ISOLATED, 24)
    conditions.record_trigger("n", ISOLATED, 24)
    assert conditions.mark_active("n", ISOLATED, 30)
    assert conditions.clear("n", ISOLATED)
    assert not conditions.clear("n", ISOLATED)
    conditions.prune(40)
    assert len(conditions) == 0


def test_conditions_are_kept_per_node_and_cause() -> None:
    conditions = ConditionTracker(6, 300, 30)
    conditions.mark_active("n", ISOLATED, 0)
    conditions.mark_active("n", PARTITION, 0)
    conditions.mark_active("m", ISOLATED, 9)
    assert conditions.causes_of("n") == [ISOLATED, PARTITION]
    assert conditions.nodes_with(ISOLATED) == ["n", "m"]
    assert conditions.stale_nodes(ISOLATED, 5) == ["n"]
    assert conditions.nodes() == {"n", "m"}


@given(
    st.lists(st.tuples(st.floats(0.01, 400), st.booleans(), st.sampled_from(list(Cause))), max_size=60),
    st.floats(1, 30),
    st.floats(1, 600),
    st.floats(1, 60),
)
def test_two_triggers_of_one_condition_are_never_closer_than_the_interval(
    steps: list[tuple[float, bool, Cause]], interval: float, cap: float, window: float
) -> None:
    conditions, now = ConditionTracker(interval, cap, window), 0.0
    last: dict[Cause, tuple[float, int]] = {}
    for wait, clears, cause in steps:
        now += wait
        if clears:
            conditions.clear("n", cause)
            conditions.prune(now)
            if cause in last:
                last[cause] = (last[cause][0], 0)
        elif conditions.mark_active("n", cause, now):
            conditions.record_trigger("n", cause, now)
            at, count = last.get(cause, (-1e9, 0))
            first = max(interval, window) if cause in ROTS else interval
            wanted = min(max(cap, interval, window), first * 2 ** (count - 1)) if count else interval
            assert now - at >= wanted
            last[cause] = (now, count + 1)

"""The timing wheel."""

from __future__ import annotations

import pytest
from gossipcontrol.server.core.presence import wheel as wheel_module
from gossipcontrol.server.core.presence.wheel import STALE_SLACK, SWEPT, TICKS_PER_SECOND, Wheel
from hypothesis import given
from hypothesis import strategies as st


def made(rows: int) -> Wheel:
    wheel = Wheel()
    for _ in range(rows):
        wheel.add_row()
    return wheel


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 500)), max_size=30))
def test_a_row_is_due_once_at_its_last_deadline_or_early_if_it_is_far_away(puts: list[tuple[int, float]]) -> None:
    """A row popped early and scheduled again is never late by more than a tick."""
    wheel, wanted = made(4), dict[int, float]()
    for row, at in puts:
        wheel.schedule(row, at, 0.0)
        wanted[row] = at
    while (now := wheel.next_at()) is not None:
        for row in wheel.pop(now):
            if now < wanted[row]:
                wheel.schedule(row, wanted[row], now)
            else:
                assert now <= wanted.pop(row) + 1 / TICKS_PER_SECOND
    assert wanted == {}


def test_a_deadline_can_be_brought_forward_and_cancelled() -> None:
    wheel = made(2)
    wheel.schedule(0, 50.0, 0.0)
    wheel.schedule(0, 5.0, 0.0)
    wheel.schedule(1, 5.0, 0.0)
    wheel.cancel(1)
    assert wheel.pop(5.0) == [0]
    assert wheel.pop(60.0) == []


def test_stale_entries_stay_bounded() -> None:
    wheel = made(2)
    for number in range(20 * STALE_SLACK):
        wheel.schedule(0, 10.0 + number % 50, 0.0)
        assert len(wheel) <= 2 * 2 + STALE_SLACK
    assert wheel.pop(100.0) == [0]


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 300)), min_size=200, max_size=400),
    st.integers(1, 50),
)
def test_what_is_swept_meanwhile_loses_no_row_and_keeps_none_twice(puts: list[tuple[int, int]], slack: int) -> None:
    """The same as of a plain table of deadlines, whenever the stale entries are dropped and rows are popped."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wheel_module, "STALE_SLACK", slack)
        wheel, wanted, now = made(10), dict[int, float](), 0.0
        for row, ticks in puts:
            at = now + (1 + ticks % 60) / TICKS_PER_SECOND
            if ticks % 7:
                wheel.schedule(row, at, now)
                wanted[row] = at
            elif ticks % 2:
                wheel.cancel(row)
                wanted.pop(row, None)
            else:
                now = wanted.get(row, now)
                due = sorted(one for one, at in wanted.items() if at <= now)
                assert sorted(wheel.pop(now)) == due
                for one in due:
                    del wanted[one]
            assert len(wanted) <= len(wheel) <= 2 * 10 + slack
            first = wheel.next_at()
            assert first is not None or not wanted
            assert first is None or all(first <= at for at in wanted.values())
        assert sorted(wheel.pop(now + 60.0)) == sorted(wanted)
        assert (len(wheel), wheel.next_at()) == (0, None)


def test_no_deadline_that_is_set_looks_at_many_entries() -> None:
    """Dropping all stale entries of 30,000 rows at once took 19 ms in one report."""
    wheel, rows, lost = made(1000), 1000, list[int]()
    for number in range(20 * rows):
        before = len(wheel)
        wheel.schedule(number % rows, 10.0 + number % 50, 0.0)
        lost.append(before + 1 - len(wheel))
    assert max(lost) <= SWEPT
    assert sum(lost) >= 17 * rows


def test_rows_are_popped_in_parts_in_the_same_order() -> None:
    whole, parts = made(100), made(100)
    for row in range(100):
        for wheel in (whole, parts):
            wheel.schedule(row, 5.0 + row % 3, 0.0)
    popped = list[int]()
    while (part := parts.pop(10.0, 7)) or parts.next_at() is not None:
        assert len(part) <= 7
        popped += part
    assert popped == whole.pop(10.0)
    assert len(parts) == 0

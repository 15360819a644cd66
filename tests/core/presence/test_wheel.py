"""The timing wheel."""

from __future__ import annotations

from gossipcontrol.server.core.presence.wheel import STALE_SLACK, TICKS_PER_SECOND, Wheel
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

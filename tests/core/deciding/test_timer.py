"""Deadlines of rejoins: earliest first, in the order in which they were set, whoever looked in between."""

from __future__ import annotations

from typing import Any

import pytest
from gossipcontrol.server.core.deciding.rejoin import Rejoin
from gossipcontrol.server.core.deciding.timer import CLEARED, SLACK, Timers
from gossipcontrol.server.core.decision import Cause


def made(name: str) -> Rejoin:
    return Rejoin(1, name, "n", "a", Cause.MANUAL, requested_at=0.0, uncovered_at=0.0)


@pytest.mark.parametrize("looks", [False, True])
def test_a_look_changes_no_order(looks: bool) -> None:
    timers, first, second = Timers(), made("first"), made("second")
    timers.set(first, 5.0)
    timers.set(first, 9.0)
    if looks:
        assert timers.next_at() == 9.0
    timers.set(second, 5.0)
    timers.set(first, 5.0)
    assert [timers.pop(5.0), timers.pop(5.0), timers.pop(99.0)] == [second, first, None]


def test_deadlines_that_no_longer_stand_take_bounded_room() -> None:
    timers, early, *late = Timers(), *(made(str(number)) for number in range(101))
    timers.set(early, 1.0)
    for number in range(SLACK):
        for rejoin in late:
            timers.set(rejoin, 600.0 - number % 7)
            if number % 2:
                rejoin.deadline = None
    assert len(timers) <= 2 * (2 * (len(late) + 1) + SLACK)


def test_no_deadline_that_is_set_pays_for_clearing_out_all() -> None:
    timers, looked = Timers(), list[int]()

    class Watched(Rejoin):
        """Counts how often its deadline is looked at."""

        looks = 0

        def __getattribute__(self, name: str) -> Any:
            if name == "timer":
                Watched.looks += 1
            return super().__getattribute__(name)

    rejoins = [Watched(1, str(number), "n", "a", Cause.MANUAL, 0.0, 0.0) for number in range(3000)]
    for number in range(20_000):
        before = Watched.looks
        timers.set(rejoins[number * 7 % 3000], 100.0)
        looked.append(Watched.looks - before)
    assert max(looked) <= CLEARED
    assert len(timers) < 20_000


def test_what_is_cleared_out_changes_no_order() -> None:
    timers = Timers()
    rejoins = [made(str(number)) for number in range(50)]
    for number in range(4 * SLACK):
        timers.set(rejoins[number * 7 % 50], 100.0 + number * 31 % 8)
    expected = sorted((rejoin.deadline or 0.0, rejoin.timer) for rejoin in rejoins)
    numbers = {rejoin.timer: rejoin for rejoin in rejoins}
    assert [timers.pop(200.0) for _ in rejoins] == [numbers[number] for _, number in expected]
    assert timers.pop(200.0) is None

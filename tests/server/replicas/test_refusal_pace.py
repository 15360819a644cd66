"""The turns that a standby gives to those that it refuses."""

from __future__ import annotations

from itertools import pairwise

import pytest
from gossipcontrol.server.replicas.refusal_pace import LEAST, LONGEST, RATE, RefusalPace


def test_nobody_waits_while_few_come_and_a_fleet_has_turns() -> None:
    now = 100.0
    pace = RefusalPace(lambda: now)
    few = [pace.delay()]
    for _ in range(10):
        now += 2 / RATE
        few.append(pace.delay())
    assert few == [0.0] * 11
    now += 1.0
    turns = [pace.delay() for _ in range(900)]
    assert all(later - earlier < 1.5 / RATE for earlier, later in pairwise(turns[10:]))
    assert turns[-1] == pytest.approx(899 / RATE, abs=1e-6)


def test_the_turns_begin_when_there_may_be_an_owner() -> None:
    now = 100.0
    pace = RefusalPace(lambda: now)
    turns: list[float] = []
    for _ in range(300):  # in 0.6 s, while the owner is due in 1.2, 1.1, ...
        turns.append(now + pace.delay(101.2 - now))
        now += 0.002
    assert min(turns) >= 101.2 - 1e-9
    assert 101.2 + 290 / RATE < max(turns) < 101.2 + 300 / RATE, "one after another, from then on"


def test_more_than_have_turns_come_over_all_of_the_time() -> None:
    pace = RefusalPace(lambda: 100.0)
    turns = [pace.delay(0.5) for _ in range(round(3 * LONGEST * RATE))]
    late = turns[round(LONGEST * RATE) + 1 :]
    assert all(0.5 + LEAST <= turn <= 0.5 + LONGEST for turn in late)
    assert min(late) < 0.8 < LONGEST < max(late)

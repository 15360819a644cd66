"""Rot moves a small part of a store at a time, and takes a small part of all starts."""

from __future__ import annotations

from collections import deque

import pytest
from gossipcontrol.server.core.decision import Cause
from gossipcontrol.server.core.diagnosis.rot_budget import RotBudget, StartRate
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.diagnosis_lab import make, names

STARTS = StartRate(window=6.0, rate=10.0, burst=20)


@given(st.integers(4, 200), st.lists(st.floats(0.0, 3.0), max_size=80))
def test_at_most_a_tenth_of_a_store_has_triggers_in_one_window(nodes: int, waits: list[float]) -> None:
    budget, taken, now, given_at = RotBudget(STARTS), deque[float](), 1000.0, list[float]()
    for wait in waits:
        now += wait
        if budget.take(taken, nodes, now):
            given_at.append(now)
    for at in given_at:
        assert sum(at <= one < at + STARTS.window for one in given_at) <= max(1, nodes // 10)
    assert bool(waits) is bool(given_at), "one may always rejoin"


@given(st.lists(st.floats(0.0, 2.0), min_size=1, max_size=200))
def test_rot_takes_at_most_a_fifth_of_all_starts(waits: list[float]) -> None:
    budget, now, given_at = RotBudget(STARTS), 1000.0, list[float]()
    for wait in waits:
        now += wait
        if budget.take(deque[float](), 1000, now):
            given_at.append(now)
    for place, at in enumerate(given_at):
        for count, later in enumerate(given_at[place:], 1):
            assert count <= 4 + 2.0 * (later - at) + 1e-6


def test_a_store_of_two_or_three_nodes_has_all_of_its_triggers_at_once() -> None:
    budget, taken = RotBudget(STARTS), deque[float]()
    assert all(budget.take(taken, 3, 1000.0) for _ in range(3))
    assert budget.refused == 0


@pytest.mark.parametrize("count", [3, 12])
def test_nodes_that_rot_at_the_same_time_rejoin_a_few_at_a_time(count: int) -> None:
    lab = make()
    lab.heals = False
    lab.grow(count)
    lab.complete()
    lab.run(60)
    mute = set(names(2))
    lab.blocked = lambda sender, receiver, large: sender in mute
    lab.run(60)
    at = dict[str, float]()
    for when, one in lab.suspected(Cause.OUTBOUND_ROT):
        at.setdefault(one.node_id, when)
    assert at.keys() == mute
    assert abs(at["n0"] - at["n1"]) >= (6.0 if count > 3 else 0.0)
    assert abs(at["n0"] - at["n1"]) <= (15.0 if count > 3 else 4.0)

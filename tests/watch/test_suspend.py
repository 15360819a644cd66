from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from gossipcontrol.watch.change import ChangeKind
from gossipcontrol.watch.suspend import SHORTEST, ClockSource, ClockStep, Suspension
from hypothesis import given
from hypothesis import strategies as st


class Clocks:
    """BOOTTIME and MONOTONIC: both run, only one of them sleeps."""

    def __init__(self) -> None:
        self.boottime = 5000.0
        self.monotonic = 4000.0

    def run(self, seconds: float) -> None:
        self.boottime += seconds
        self.monotonic += seconds

    def sleep(self, seconds: float) -> None:
        self.boottime += seconds

    def suspension(self) -> Suspension:
        return Suspension(lambda: self.boottime, lambda: self.monotonic)


def test_a_sleep_is_seen_once() -> None:
    clocks = Clocks()
    suspension = clocks.suspension()
    clocks.sleep(60)
    assert suspension.grown() == pytest.approx(60)
    assert suspension.grown() == 0


def test_sleeps_before_the_start_are_not_told() -> None:
    assert Clocks().suspension().grown() == 0


def test_short_sleeps_add_up() -> None:
    clocks = Clocks()
    suspension = clocks.suspension()
    clocks.sleep(SHORTEST * 0.6)
    assert suspension.grown() == 0
    clocks.sleep(SHORTEST * 0.6)
    assert suspension.grown() == pytest.approx(SHORTEST * 1.2)


@given(st.lists(st.floats(0, 1e6), max_size=30))
def test_a_frozen_process_is_never_taken_for_a_sleep(pauses: list[float]) -> None:
    clocks = Clocks()
    suspension = clocks.suspension()
    for pause in pauses:
        clocks.run(pause)
        assert suspension.grown() == 0


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1000)), max_size=30))
def test_all_sleep_is_always_told_but_for_the_last_moment(steps: list[tuple[bool, float]]) -> None:
    clocks = Clocks()
    suspension = clocks.suspension()
    told = slept = 0.0
    for asleep, seconds in steps:
        clocks.sleep(seconds) if asleep else clocks.run(seconds)
        slept += seconds * asleep
        told += suspension.grown()
    assert slept - SHORTEST - 1e-6 <= told <= slept + 1e-6


async def test_the_source_tells_each_resume() -> None:
    clocks = Clocks()
    looks = iter((0.0, 30.0, 0.0, 0.0, 7200.0))

    async def wait() -> None:
        clocks.run(5)
        clocks.sleep(next(looks))

    async with aclosing(ClockSource(clocks.suspension(), wait).watch()) as changes:
        assert await anext(changes) is ChangeKind.RESUMED
        assert await anext(changes) is ChangeKind.RESUMED
    assert list(looks) == []


async def test_the_kernels_timer_stays_still_while_no_clock_is_set() -> None:
    with ClockStep() as step:
        assert not await step.wait(0.0)
        assert not await step.wait(0.01)


async def test_the_kernels_timer_can_be_cancelled_by_its_owner() -> None:
    with ClockStep() as step:
        waiting = asyncio.create_task(step.wait(60))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not await step.wait(0.0)

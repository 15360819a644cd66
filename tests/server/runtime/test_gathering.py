"""When calls wait for others: never alone, never for long, and for as many as came together before."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from gossipcontrol.server.runtime.arrivals import STALE, Arrivals
from gossipcontrol.server.runtime.gathering import LONGEST, PROBE, RECENT, STEP, STEPS, VAIN_TIME, Gathering

from tests.kit.virtual_loop import VirtualLoop


class Desk:
    """Calls that come, and how many were together when."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.arrived = False
        self.share = 0.0
        """Of its time that the event loop's thread works."""
        self.together: list[int] = []
        self.waited: list[float] = []
        self._came: list[float] = []
        self.gathering = Gathering(self._run, lambda: self.arrived, self._loop.time, self._cpu)

    def come(self, calls: int = 1) -> None:
        for _ in range(calls):
            self._came.append(self._loop.time())
            self.gathering.came()

    def _cpu(self) -> float:
        return self._loop.time() * self.share

    def _run(self) -> None:
        self.together.append(len(self._came))
        self.waited.append(self._loop.time() - self._came[0] if self._came else 0.0)
        self._came.clear()

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def virtually(scene: Callable[[Desk], Awaitable[None]]) -> None:
    async def play() -> None:
        await scene(Desk())

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(play())


def test_what_comes_alone_waits_for_nobody() -> None:
    async def scene(desk: Desk) -> None:
        for _ in range(20):
            assert not desk.gathering.is_waiting()
            desk.come()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert desk.together == [1] * 20
        assert set(desk.waited) == {0.0}

    virtually(scene)


def test_one_that_came_alone_may_run_at_once_and_any_other_may_not() -> None:
    async def scene(desk: Desk) -> None:
        desk.come()
        desk.gathering.run_alone()
        assert desk.together == [1]
        desk.gathering.run_alone()
        desk.come(2)
        desk.gathering.run_alone()
        assert desk.together == [1], "two came"
        await desk.pause(STEP)
        assert desk.together == [1, 2]
        await desk.pause(RECENT * 1.1)
        desk.arrived = True
        desk.come()
        desk.gathering.run_alone()
        assert desk.together == [1, 2], "another has arrived"
        await desk.pause(STEP)
        desk.gathering.again()
        desk.come()
        desk.arrived = False
        desk.gathering.run_alone()
        assert desk.together == [1, 2, 1], "it would cut short what is left"
        await desk.pause(STEP)
        assert desk.together == [1, 2, 1, 1]

    virtually(scene)


def test_once_another_call_has_arrived_it_is_waited_for_and_not_much_longer() -> None:
    async def scene(desk: Desk) -> None:
        desk.arrived = True
        desk.come()
        await asyncio.sleep(0)
        assert desk.gathering.is_waiting()
        await desk.pause(STEP / 2)
        desk.come()
        await desk.pause(3 * STEP)
        assert desk.together == [2]
        assert desk.waited[0] <= 2.1 * STEP, "nothing came in the second step"

    virtually(scene)


def test_as_many_as_came_together_are_waited_for_and_sometimes_more() -> None:
    async def scene(desk: Desk) -> None:
        desk.come(4)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for _ in range(PROBE):
            assert desk.gathering.is_waiting()
            desk.come()
            desk.come(3)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert desk.together == [4] * (1 + PROBE), "no more are waited for"
        for _ in range(6):
            desk.come()
            await desk.pause(STEP / 4)
        await desk.pause(2 * STEP)
        assert desk.together[-1] == 6, "more have come meanwhile"

    virtually(scene)


def test_however_many_come_none_waits_longer_than_the_steps() -> None:
    async def scene(desk: Desk) -> None:
        desk.arrived = True
        for _ in range(100):
            desk.come()
            await desk.pause(STEP / 2)
        assert max(desk.waited) <= (STEPS + 0.1) * STEP

    virtually(scene)


def test_after_a_quiet_moment_or_in_vain_nothing_waits() -> None:
    async def scene(desk: Desk) -> None:
        desk.come(3)
        await desk.pause(RECENT * 1.1)
        assert not desk.gathering.is_waiting()
        desk.arrived = True  # say, a call of another kind
        desk.come()
        await desk.pause(2 * STEP)
        desk.come()
        await desk.pause(2 * STEP)
        assert desk.together == [3, 1, 1]
        assert 0.0 < desk.waited[1] < 1.1 * STEP
        assert desk.waited[2] == 0.0
        await desk.pause(2 * VAIN_TIME)
        desk.come()
        await desk.pause(RECENT)
        assert desk.waited[3] > 0.0

    virtually(scene)


def test_a_call_that_arrived_and_was_cancelled_counts_no_longer() -> None:
    now = 1000.0
    arrivals = Arrivals(lambda: now)
    assert not arrivals.are_pending()
    arrivals.arrived()
    assert arrivals.are_pending()
    arrivals.began()
    assert not arrivals.are_pending()
    arrivals.arrived()
    now += STALE * 1.1
    assert not arrivals.are_pending()
    arrivals.began()
    arrivals.arrived()
    assert arrivals.are_pending()


def test_one_moment_in_which_few_came_does_not_end_the_waiting_and_one_alone_does() -> None:
    async def scene(desk: Desk) -> None:
        desk.come(20)
        await desk.pause(STEP)
        desk.come(2)
        await desk.pause(2 * STEP)
        for _ in range(15):
            desk.come()
            await desk.pause(STEP / 40)
        assert desk.together == [20, 2, 15]
        for _ in range(3):
            await desk.pause(2 * STEP)
            desk.come()
        await desk.pause(2 * STEP)
        assert desk.together[3:] == [1, 1, 1]
        assert not desk.gathering.is_waiting(), "15, 3 and 0 are expected"

    virtually(scene)


def test_while_the_event_loop_is_busy_and_more_come_a_step_follows_another_but_not_for_long() -> None:
    async def scene(desk: Desk) -> None:
        desk.arrived, desk.share = True, 0.9
        for _ in range(30):
            desk.come()
            await desk.pause(STEP / 2)
        assert LONGEST * 0.9 < max(desk.waited) < LONGEST + 2 * STEP
        assert max(desk.together) > 2 * STEPS * 2, "as many as come in two steps"

    virtually(scene)


def test_while_others_arrive_the_expected_ones_are_not_enough() -> None:
    async def scene(desk: Desk) -> None:
        desk.come(4)
        await desk.pause(STEP)
        desk.arrived = True
        desk.come(5)
        await desk.pause(STEP / 4)
        desk.arrived = False
        desk.come()
        await desk.pause(STEP / 4)
        assert desk.together == [4, 6]

    virtually(scene)


def test_the_rest_of_a_long_run_says_nothing_about_how_many_come() -> None:
    async def scene(desk: Desk) -> None:
        desk.come(8)
        await desk.pause(STEP)
        for _ in range(20):
            desk.gathering.again()
            await desk.pause(STEP / 4)
        desk.come()
        assert desk.gathering.is_waiting()
        desk.come(7)
        await desk.pause(STEP / 4)
        assert desk.together == [8, *[0] * 20, 8]

    virtually(scene)

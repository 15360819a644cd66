"""A ticker wakes at the deadline that it was armed with last, once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gossipcontrol.server.runtime.clock import ServiceClock
from gossipcontrol.server.runtime.ticker import Ticker

from tests.kit.until import DEADLINE, until


class Scene:
    """The loop's own clock as service time, and the instants of the ticks."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.clock = ServiceClock(wall=lambda: 0.0, monotonic=loop.time)
        self.ticked: list[float] = []
        self.came = asyncio.Event()
        self.after: Callable[[], None] = lambda: None
        self.ticker = Ticker(self.clock, self._tick)

    def _tick(self) -> None:
        self.ticked.append(self.clock.now())
        self.came.set()
        self.after()

    async def tick(self) -> float:
        async with asyncio.timeout(DEADLINE):
            await self.came.wait()
        self.came.clear()
        return self.ticked[-1]


async def test_a_deadline_that_is_put_off_again_and_again_comes_once() -> None:
    scene = Scene()
    started_at = scene.clock.now()
    for number in range(1, 21):
        scene.ticker.arm(started_at + number * 0.01)
    assert await scene.tick() >= started_at + 0.19
    assert len(scene.ticked) == 1


async def test_an_earlier_deadline_wakes_earlier() -> None:
    scene = Scene()
    scene.ticker.arm(scene.clock.now() + 3600.0)
    scene.ticker.arm(scene.clock.now() + 0.01)
    await scene.tick()


async def test_a_deadline_in_the_past_comes_at_once_and_a_tick_may_arm_the_next() -> None:
    scene = Scene()

    def arm_again() -> None:
        if len(scene.ticked) < 3:
            scene.ticker.arm(scene.clock.now() - 1.0)

    scene.after = arm_again
    scene.ticker.arm(scene.clock.now() - 5.0)
    while len(scene.ticked) < 3:
        await scene.tick()


async def test_without_a_deadline_it_sleeps_until_it_is_armed() -> None:
    scene = Scene()
    now = scene.clock.now()
    scene.ticker.arm(now + 0.01)
    scene.ticker.arm(None)
    scene.ticker.arm(now + 0.05)
    assert await scene.tick() >= now + 0.04
    scene.ticker.arm(scene.clock.now() + 0.01)
    scene.ticker.close()
    other = Scene()
    other.ticker.arm(other.clock.now() + 0.03)
    await other.tick()
    assert len(scene.ticked) == 1


async def test_after_a_long_tick_others_have_as_long_though_more_is_due() -> None:
    now, ticked = [1000.0], list[float]()
    clock = ServiceClock(wall=lambda: now[0], monotonic=lambda: now[0])
    ticker = Ticker(clock, lambda: None)

    def tick() -> None:
        ticked.append(clock.now())
        now[0] += 0.02
        ticker.arm(clock.now())

    ticker = Ticker(clock, tick)
    ticker.arm(clock.now())
    await until(lambda: len(ticked) == 1, "it ticked")
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(ticked) == 1, "time stands still, and others have their turn"
    now[0] += 0.02
    await until(lambda: len(ticked) == 2, "it ticked again")
    assert ticked[1] - ticked[0] > 0.039
    ticker.close()

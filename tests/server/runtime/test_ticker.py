"""A ticker wakes at the deadline that it was armed with last, once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gossipcontrol.server.runtime.clock import ServiceClock
from gossipcontrol.server.runtime.ticker import Ticker
from gossipcontrol.server.runtime.turns import CALLS_TIME, PASS_TIME, PUT_OFF, Turns

from tests.kit.until import DEADLINE, until


class Scene:
    """The loop's own clock as service time, and the instants of the ticks."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.clock = ServiceClock(wall=lambda: 0.0, monotonic=loop.time)
        self.ticked: list[float] = []
        self.came = asyncio.Event()
        self.after: Callable[[], None] = lambda: None
        self.ticker = Ticker(self.clock, self.tick_now)

    def tick_now(self) -> None:
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


async def test_a_tick_does_not_share_a_pass_with_a_long_step_of_a_call() -> None:
    """Each may take all the time of a turn: together they took 16 to 20 ms."""
    scene, turns = Scene(), Turns()
    scene.ticker = Ticker(scene.clock, scene.tick_now, turns)
    used: list[float] = []
    scene.after = lambda: used.append(turns.used)
    asyncio.get_running_loop().call_later(0.0, turns.count, CALLS_TIME)  # due before the ticker, in the same pass
    scene.ticker.arm(scene.clock.now() - 1.0)
    await scene.tick()
    assert used == [0.0], "the work of the pass before counts no more"


async def test_a_tick_is_put_off_by_a_few_passes_at_most() -> None:
    scene, turns, passes = Scene(), Turns(), list[int]()
    scene.ticker = Ticker(scene.clock, scene.tick_now, turns)
    loop = asyncio.get_running_loop()

    def work() -> None:
        passes.append(0)
        turns.count(CALLS_TIME)
        if not scene.ticked:
            loop.call_later(0.0, work)

    loop.call_later(0.0, work)
    scene.ticker.arm(scene.clock.now() - 1.0)
    await scene.tick()
    assert len(passes) <= PUT_OFF + 2


async def test_a_call_does_not_begin_in_the_pass_of_a_long_tick() -> None:
    scene, turns = Scene(), Turns()
    scene.ticker = Ticker(scene.clock, scene.tick_now, turns)
    used: list[float] = []

    async def work() -> None:
        used.append(turns.used)

    async def call() -> None:
        with turns.call("peer") as one:
            await one.run(work)

    calls: list[asyncio.Task[None]] = []

    def tick_long() -> None:
        turns.count(PASS_TIME)
        calls.append(asyncio.create_task(call()))

    scene.after = tick_long
    scene.ticker.arm(scene.clock.now() - 1.0)
    await scene.tick()
    await asyncio.gather(*calls)
    assert used == [0.0]

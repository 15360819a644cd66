"""A large store is sampled in slices, between which other work goes on."""

from __future__ import annotations

import asyncio
import itertools
import math
import time

import pytest
from gossipcontrol.server.core.event import LivenessReported
from gossipcontrol.server.core.liveness import Liveness
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.runtime import staleness_sampler
from gossipcontrol.server.runtime.clock import ServiceClock
from gossipcontrol.server.runtime.slices import BACKGROUND_TIME
from gossipcontrol.server.runtime.staleness_sampler import StalenessSampler
from gossipcontrol.server.runtime.turns import CALLS_TIME, PUT_OFF, Turns

from tests.kit.until import until

PEERS = 500


def sampled(observed: list[float], turns: Turns | None = None) -> tuple[Liveness, StalenessSampler]:
    """A store of many peers, heard 5 s ago and less."""
    liveness = Liveness(LivenessParameters())
    heard = {f"p{number}": 1000.0 + number / 100 for number in range(PEERS)}
    liveness.handle(LivenessReported("n", "a", heard), 1005.0)
    clock = ServiceClock(wall=lambda: 1005.0, monotonic=lambda: 1005.0)
    return liveness, StalenessSampler(liveness, clock, observed.append, turns)


async def test_others_go_on_while_a_large_store_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store of 12,000 peers used to take 11 ms in one go, four times a second."""
    monkeypatch.setattr(staleness_sampler, "BACKGROUND_TIME", 0.0)
    monkeypatch.setattr(staleness_sampler, "SAMPLE_INTERVAL", 0.0)
    observed, passes = list[float](), 0
    _, sampler = sampled(observed)
    sampler.track("a")
    while not observed:
        passes += 1
        await asyncio.sleep(0)
    sampler.close()
    assert passes >= PEERS
    assert sampler.stalest() == {"a": 1000.0}


async def test_others_go_on_while_many_small_stores_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of 1,500 stores of 20 peers takes less than a slice: together they took 5 ms in one go."""
    monkeypatch.setattr(staleness_sampler, "SAMPLE_INTERVAL", 0.0)
    monkeypatch.setattr(staleness_sampler, "SAMPLING_SHARE", math.inf)
    liveness, sampler = sampled([])
    now = itertools.count(step=BACKGROUND_TIME / 10)
    monkeypatch.setattr(time, "perf_counter", lambda: next(now))
    for number in range(20):
        liveness.handle(LivenessReported("n", f"s{number}", {"p": 1000.0}), 1005.0)
        sampler.track(f"s{number}")
    seen = set[int]()
    while (sampled_now := len(sampler.stalest())) < 20:
        seen.add(sampled_now)
        await asyncio.sleep(0)
    sampler.close()
    assert len(seen) > 2


async def test_what_was_known_stands_until_the_next_sample_is_complete() -> None:
    observed = list[float]()
    liveness, sampler = sampled(observed)
    sampler.sample("a")
    slices = sampler.sample_slices("a")
    next(slices)
    assert sampler.stalest_at("a") == 1000.0
    liveness.forget_store("a")
    assert list(slices) == []
    sampler.sample("a")
    assert sampler.stalest() == {}


async def test_a_tracked_store_is_sampled_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staleness_sampler, "SAMPLE_INTERVAL", 0.01)
    observed = list[float]()
    _, sampler = sampled(observed)
    sampler.track("a")
    await until(lambda: len(observed) > 2 * staleness_sampler.SAMPLE_SIZE, "two samples")
    sampler.close()


@pytest.mark.parametrize("busy", [False, True])
async def test_sampling_waits_for_calls_but_not_for_long(busy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staleness_sampler, "BACKGROUND_TIME", 0.0)
    monkeypatch.setattr(staleness_sampler, "SAMPLE_INTERVAL", 0.0)
    turns, observed, passes, loop = Turns(), list[float](), 0, asyncio.get_running_loop()

    def work() -> None:
        """Comes before the sampler in each pass."""
        nonlocal passes
        passes += 1
        turns.count(CALLS_TIME if busy else 0.0)
        if not observed:
            loop.call_soon(work)

    work()
    _, sampler = sampled(observed, turns)
    sampler.track("a")
    await until(lambda: bool(observed), "the store was sampled")
    sampler.close()
    waited = PUT_OFF if busy else 1
    assert waited * PEERS <= passes <= waited * PEERS + 100

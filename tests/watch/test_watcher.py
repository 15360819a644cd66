from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gossipcontrol.watch.change import DEFAULT_V4, Address, Change, ChangeKind, Link, Route, Snapshot
from gossipcontrol.watch.fingerprint import Fingerprint
from gossipcontrol.watch.generation import GenerationCounter
from gossipcontrol.watch.scope import Filter
from gossipcontrol.watch.watcher import Watcher

ROUTES = (Route(DEFAULT_V4, 2, "10.0.0.1", "10.0.0.2"),)
HOME = Snapshot((Link(2, "eth0", True),), (Address(2, "10.0.0.2", 24, True),), ROUTES)
AWAY = replace(HOME, addresses=(Address(2, "10.0.0.9", 24, True),))
LAN = replace(HOME, routes=())
FLAPPED = replace(HOME, links=(Link(2, "eth0", True, losses=1),))
NONE = Snapshot()


class Network:
    """A network source that sees what the test says; an OSError ends it."""

    def __init__(self, *states: Snapshot | OSError, name: str = "test") -> None:
        self.name = name
        self.wakes = 0
        self._states: asyncio.Queue[Snapshot | OSError] = asyncio.Queue()
        for state in states:
            self.become(state)

    def become(self, state: Snapshot | OSError) -> None:
        self._states.put_nowait(state)

    def wake(self) -> None:
        self.wakes += 1

    async def watch(self) -> AsyncGenerator[Snapshot, None]:
        while True:
            state = await self._states.get()
            if isinstance(state, OSError):
                raise state
            yield state


class Power:
    """A power source that tells what the test says."""

    name = "test"

    def __init__(self, *kinds: ChangeKind | OSError) -> None:
        self._kinds: asyncio.Queue[ChangeKind | OSError] = asyncio.Queue()
        for kind in kinds:
            self.tell(kind)

    def tell(self, kind: ChangeKind | OSError) -> None:
        self._kinds.put_nowait(kind)

    async def watch(self) -> AsyncGenerator[ChangeKind, None]:
        while True:
            kind = await self._kinds.get()
            if isinstance(kind, OSError):
                raise kind
            yield kind


Make = Callable[..., Watcher]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def build(network: Network, *power: Power, quiet: float = 0.0, **settings: object) -> Watcher:
        counter = GenerationCounter(tmp_path / "generation.json", "boot")
        wanted: Any = {"quiet": quiet} | settings
        return Watcher(network, power, counter, Filter.default(), **wanted)

    return build


def ignore_start(source: str, first: Fingerprint) -> None:
    del source, first


async def take(
    watcher: Watcher,
    count: int,
    on_start: Callable[[str, Fingerprint], None] = ignore_start,
    *,
    on_lost: Callable[[], None] = lambda: None,
    on_back: Callable[[], None] = lambda: None,
) -> list[Change]:
    """The next changes that the watcher reports."""
    found = watcher.changes(on_start=on_start, on_lost=on_lost, on_back=on_back)
    async with asyncio.timeout(20), aclosing(found) as changes:
        return [await anext(changes) for _ in range(count)]


async def test_the_first_state_is_not_told_but_shown(make: Make) -> None:
    started: list[tuple[str, Fingerprint]] = []
    changes = await take(make(Network(HOME, AWAY)), 1, lambda name, first: started.append((name, first)))
    assert [(name, first.describe()) for name, first in started] == [("test", "eth0 via 10.0.0.1; 10.0.0.2")]
    assert [(change.kind, change.detail) for change in changes] == [
        (ChangeKind.CHANGED, "eth0 via 10.0.0.1; 10.0.0.9 (addresses changed)")
    ]


async def test_each_change_has_a_generation_above_the_last(make: Make) -> None:
    changes = await take(make(Network(HOME, NONE, HOME, FLAPPED, NONE, FLAPPED)), 3)
    generations = [change.generation for change in changes]
    assert generations == sorted(set(generations))


async def test_a_default_route_after_none_does_not_wait_for_the_quiet_time(make: Make) -> None:
    changes = await take(make(Network(HOME, NONE, HOME), quiet=3600.0), 1)
    assert [change.detail for change in changes] == ["eth0 via 10.0.0.1; 10.0.0.2"]


async def test_a_lost_default_route_is_a_change_and_no_loss(make: Make) -> None:
    """irungentoo/toxcore#1215, TokTok/c-toxcore#239: the router goes, the peers in the LAN stay."""
    said: list[str] = []
    watcher = make(Network(HOME, LAN))
    changes = await take(watcher, 1, on_lost=lambda: said.append("lost"), on_back=lambda: said.append("back"))
    assert [change.detail for change in changes] == ["no default route; 10.0.0.2 (default v4 changed)"]
    assert said == []


@pytest.mark.parametrize("states", [(HOME, NONE, LAN), (NONE, LAN)], ids=["later", "at the start"])
async def test_a_loss_of_everything_and_its_first_sign_of_return_are_told(
    make: Make, states: tuple[Snapshot, ...]
) -> None:
    said: list[str] = []
    watcher = make(Network(*states))
    await take(watcher, 1, on_lost=lambda: said.append("lost"), on_back=lambda: said.append("back"))
    assert said == ["lost", "back"]


async def test_a_resume_makes_the_network_be_looked_at(make: Make) -> None:
    network = Network(HOME)
    await take(make(network, Power(ChangeKind.RESUMED)), 1)
    assert network.wakes == 1


async def test_two_watchers_of_a_host_give_one_event_one_generation(make: Make) -> None:
    one, other = await asyncio.gather(*(take(make(Network(HOME, FLAPPED)), 1) for _ in range(2)))
    assert one[0].generation == other[0].generation


async def test_a_source_that_fails_yields_to_polling(make: Make) -> None:
    started: list[str] = []
    fallback = Network(HOME, AWAY, name="polling")
    watcher = make(Network(OSError("no netlink here")), fallback=fallback)
    assert len(await take(watcher, 1, lambda name, _: started.append(name))) == 1
    assert started == ["polling"]


async def test_a_source_that_fails_later_yields_too(make: Make) -> None:
    watcher = make(Network(HOME, OSError("gone")), fallback=Network(HOME, NONE, HOME))
    assert len(await take(watcher, 1)) == 1


async def test_what_was_lost_before_the_source_failed_is_told_by_the_next(make: Make) -> None:
    watcher = make(Network(HOME, NONE, OSError("gone")), fallback=Network(AWAY))
    assert [change.detail for change in await take(watcher, 1)] == [
        "eth0 via 10.0.0.1; 10.0.0.9 (default v4, addresses changed)"
    ]


async def test_a_power_source_that_fails_is_left_out(make: Make) -> None:
    watcher = make(Network(HOME), Power(OSError("no timers")), Power(ChangeKind.RESUMED))
    assert [change.kind for change in await take(watcher, 1)] == [ChangeKind.RESUMED]


async def test_an_announced_sleep_is_told_without_a_generation(make: Make) -> None:
    changes = await take(make(Network(HOME), Power(ChangeKind.SLEEPING, ChangeKind.RESUMED)), 2)
    assert [(change.kind, change.generation > 0) for change in changes] == [
        (ChangeKind.SLEEPING, False), (ChangeKind.RESUMED, True),
    ]  # fmt: skip


async def test_one_resume_that_two_sources_see_is_told_once(make: Make) -> None:
    both = (Power(ChangeKind.RESUMED), Power(ChangeKind.RESUMED, ChangeKind.SLEEPING))
    changes = await take(make(Network(HOME), *both), 2)
    assert [change.kind for change in changes] == [ChangeKind.RESUMED, ChangeKind.SLEEPING]


async def test_a_resume_after_another_sleep_is_told_however_soon(make: Make) -> None:
    kinds = (ChangeKind.RESUMED, ChangeKind.SLEEPING, ChangeKind.RESUMED)
    changes = await take(make(Network(HOME), Power(*kinds)), 3)
    assert [change.kind for change in changes] == list(kinds)


async def test_a_resume_after_a_long_sleep_is_told_even_if_no_sleep_was_announced(make: Make) -> None:
    times = iter((100.0, 100.5, 8 * 3600.0))
    power = Power(ChangeKind.RESUMED, ChangeKind.RESUMED, ChangeKind.RESUMED)
    changes = await take(make(Network(HOME), power, clock=lambda: next(times)), 2)
    assert [change.kind for change in changes] == [ChangeKind.RESUMED, ChangeKind.RESUMED]


async def test_a_resume_says_how_long_the_host_slept_since_the_last_one(make: Make) -> None:
    asleep = iter((500.0, 4100.0, 4100.2))
    power = Power(ChangeKind.RESUMED, ChangeKind.SLEEPING, ChangeKind.RESUMED)
    changes = await take(make(Network(HOME), power, asleep=lambda: next(asleep)), 3)
    assert [round(change.slept, 1) for change in changes] == [3600.0, 0.0, 0.2]
    assert [change.detail for change in changes] == ["woke after 3600 s of sleep", "about to sleep", "woke from sleep"]


async def test_every_change_is_seen_at_an_instant_of_the_clock_that_counts_sleep(make: Make) -> None:
    power = Power(ChangeKind.SLEEPING, ChangeKind.RESUMED)
    changes = await take(make(Network(HOME, FLAPPED), power, clock=lambda: 7200.0), 3)
    assert {change.kind for change in changes} == {ChangeKind.CHANGED, ChangeKind.SLEEPING, ChangeKind.RESUMED}
    assert {change.seen_at for change in changes} == {7200.0}


async def test_a_detail_is_never_longer_than_the_service_takes(make: Make) -> None:
    link = Link(2, "ü" * 15, True)
    many = tuple(Address(2, f"10.0.0.{number}", 24, True) for number in range(100))
    changes = await take(make(Network(HOME, Snapshot((link,), many, HOME.routes))), 1)
    assert 250 <= len(changes[0].detail.encode()) <= 256


async def test_closing_it_leaves_nothing_running(make: Make) -> None:
    before = asyncio.all_tasks()
    await take(make(Network(HOME, AWAY), Power()), 1)
    assert asyncio.all_tasks() == before


LIGHT = """
import sys
import gossipcontrol.client.client
import gossipcontrol.cli.main
heavy = [name for name in sys.modules if name.split(".")[0] in ("dbus_fast", "iroh")]
heavy += [name for name in sys.modules if name.startswith("gossipcontrol.watch")]
print(*heavy)
"""


def test_the_client_never_pays_for_the_watcher() -> None:
    loaded = subprocess.run((sys.executable, "-c", LIGHT), capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []

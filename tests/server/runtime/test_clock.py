"""Service time: on through sleep and restarts, never back, and the wall clock only across boots."""

from __future__ import annotations

import asyncio
import io
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from gossipcontrol.client import Client, LivenessReport, PeerObservation
from gossipcontrol.server.config import Log, State
from gossipcontrol.server.observe.log import Logger
from gossipcontrol.server.runtime.clock import LONGEST_AWAY, ServiceClock
from gossipcontrol.server.runtime.ticker import Ticker
from gossipcontrol.server.runtime.wall_clock import WallClock
from gossipcontrol.server.state.journal import ClockReading
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.service_lab import config, connected, deciding, rejoin, serving
from tests.kit.until import DEADLINE

DAY = 86_400.0


class Host:
    """A host with its two clocks."""

    def __init__(self) -> None:
        self.wall, self.boot, self.boot_id = 1_000_000.0, 50.0, "one"

    def passes(self, seconds: float) -> None:
        self.wall += seconds
        self.boot += seconds

    def reboots(self, seconds: float = 0.0) -> None:
        self.wall += seconds
        self.boot, self.boot_id = 5.0, self.boot_id + "'"

    def clock(self, floor: float = 0.0, reading: ClockReading | None = None) -> ServiceClock:
        return ServiceClock(floor, lambda: self.wall, lambda: self.boot, self.boot_id, reading)


def test_within_a_boot_the_wall_clock_says_nothing() -> None:
    host = Host()
    first = host.clock()
    before, reading = first.now(), first.reading()
    host.passes(10.0)
    host.wall += 400 * DAY
    again = host.clock(before, reading)
    assert again.now() == pytest.approx(before + 10.0)
    assert again.jumped == 0.0
    host.wall -= 4000 * DAY
    assert host.clock(before, reading).now() == pytest.approx(before + 10.0)


def test_across_boots_it_is_the_wall_clock_that_tells_how_long_the_host_was_off() -> None:
    host = Host()
    first = host.clock()
    before, reading = first.now(), first.reading()
    host.reboots(3600.0)
    again = host.clock(before, reading)
    assert again.now() == pytest.approx(before + 3600.0)
    assert again.jumped == 0.0


def test_a_wall_clock_that_jumped_is_bounded_once() -> None:
    host = Host()
    first = host.clock()
    before, reading = first.now(), first.reading()
    host.reboots(5000 * DAY)
    again = host.clock(before, reading)
    assert again.now() == pytest.approx(before + LONGEST_AWAY)
    assert again.jumped == pytest.approx(5000 * DAY - LONGEST_AWAY)
    before, reading = again.now(), again.reading()
    host.reboots(60.0)
    third = host.clock(before, reading)
    assert third.now() == pytest.approx(before + 60.0)
    assert third.jumped == pytest.approx(0.0)
    before, reading = third.now(), third.reading()
    host.reboots(-900 * DAY)
    fourth = host.clock(before, reading)
    assert fourth.jumped == pytest.approx(-900 * DAY)


def test_a_file_of_an_earlier_version_goes_by_the_wall_clock() -> None:
    host = Host()
    assert host.clock(host.wall - 60.0).now() == host.wall
    assert host.clock(host.wall + 60.0).now() == host.wall + 60.0


@given(st.lists(st.tuples(st.sampled_from(["passes", "reboots", "sets", "restarts"]), st.floats(-1e9, 1e9))))
def test_it_never_goes_back(steps: list[tuple[str, float]]) -> None:
    host = Host()
    clock = host.clock()
    for what, seconds in steps:
        before, reading = clock.now(), clock.reading()
        if what == "passes":
            host.passes(abs(seconds))
        elif what == "sets":
            host.wall += seconds
        else:
            if what == "reboots":
                host.reboots(seconds)
            clock = host.clock(before, reading)
        assert clock.now() >= before
        assert math.isfinite(clock.now())


async def test_a_deadline_that_came_during_sleep_is_noticed_soon(host_sleeps: Callable[[float], None]) -> None:
    clock, due = ServiceClock(), asyncio.Event()
    ticker = Ticker(clock, due.set)
    ticker.arm(clock.now() + 3600.0)
    host_sleeps(7200.0)
    async with asyncio.timeout(DEADLINE):
        await due.wait()
    ticker.close()


async def test_who_was_heard_before_the_service_slept_was_not_just_heard(
    tmp_path: Path, host_sleeps: Callable[[float], None]
) -> None:
    """telegramdesktop/tdesktop#1902, oxen-io/lokinet#604: after sleep peers were shown as just heard."""
    async with serving(config(tmp_path, deciding=deciding())) as service, Client(service.address) as client:
        peers = (PeerObservation("p", heard_age=0.0),)
        await client.peer_liveness([LivenessReport(node_id="n", store_id="a", peers=peers)])
        host_sleeps(7200.0)
        ages = [peer.heard_age async for peer in client.list_peers("a")]
        assert len(ages) == 2
        assert all(age is not None and age >= 7200.0 for age in ages)


async def test_ages_go_on_over_a_restart_in_the_same_boot(
    tmp_path: Path, host_sleeps: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(config(tmp_path, deciding=deciding()), state=State(path=str(tmp_path / "state.db")))
    async with serving(settings) as service, connected(service.address) as stub:
        await stub.Rejoin(rejoin("n", "a"))
    host_sleeps(600.0)
    monkeypatch.setattr("time.time", lambda: 5e9)
    async with serving(settings) as service, Client(service.address) as client:
        [record] = [one async for one in client.list_rejoins()]
        assert 600.0 <= record.requested_age < 700.0
        assert service.lines("wall clock jumped") == []
    monkeypatch.setattr("gossipcontrol.server.app.boot_id", lambda: "another boot")
    monkeypatch.setattr("time.time", lambda: 9e9)
    async with serving(settings) as service:
        [line] = service.lines("wall clock jumped")
        assert line["seconds"] > 1e9


def test_a_wall_clock_that_was_set_back_tells_no_replica_of_time_that_did_not_pass() -> None:
    owner, other = Host(), Host()
    clock = ServiceClock(0.0, lambda: owner.wall, lambda: owner.boot, "one", cautious=True)
    clock.reading()
    for step in (-3600.0, 1800.0):
        owner.wall += step
        owner.passes(60.0)
        other.passes(60.0)
        assert clock.now() == pytest.approx(other.wall), "the owner's goes on as ever"
        fresh = ServiceClock(clock.now(), lambda: other.wall, lambda: 7.0, "two", clock.reading())
        assert fresh.now() == pytest.approx(clock.now())


def test_a_wall_clock_that_is_set_is_seen_and_one_that_goes_wrong_slowly_is_not() -> None:
    host, output = Host(), io.StringIO()
    clock = WallClock(Logger(Log(format="json"), output), lambda: host.wall, lambda: host.boot)
    for moved in (0.0, 0.4, -3600.0, 0.0, 3600.0):
        host.passes(1.0)
        host.wall += moved
        clock.look()
    assert clock.steps == 2
    lines = [json.loads(line) for line in output.getvalue().splitlines()]
    assert [(line["event"], line["seconds"]) for line in lines] == [
        ("wall clock set", -3600.0),
        ("wall clock set", 3600.0),
    ]
    boots = iter([10.0, 15.0, 20.0, 20.0])
    clock = WallClock(Logger(Log(), output), lambda: host.wall, lambda: next(boots, 20.0))
    clock.look()
    assert clock.steps == 0, "the process stood still while it read them"

"""What the watcher costs, and how late it is, on hosts with many routes.

CPU time per kernel message without routes and with 50,000 in another table, where one message is a link that comes or
goes; and the time until a new lease is reported while 20,000 routes change five times a second.
"""

from __future__ import annotations

import asyncio
import itertools
import resource
import statistics
import subprocess
import time
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from gossipcontrol.watch.change import Change
from gossipcontrol.watch.generation import GenerationCounter
from gossipcontrol.watch.linux import PAUSE, RtnetlinkSource
from gossipcontrol.watch.scope import Filter
from gossipcontrol.watch.watcher import Watcher

from bench.report import Figure, at_most, rounds_on_hosts, show
from tests.kit.network import Host, Network
from tests.watch.lab import inside

MANY, STORM = 50_000, 20_000
MESSAGES = 50
"""Messages of which the CPU time is measured; each comes alone, so that each costs a look."""
CHANGES_PER_SECOND = 5
SETTLE = 2.0
"""Seconds of a storm before the lease comes."""
LIMIT = 30.0


def routes(count: int, *, verb: str = "add", flags: str = "") -> str:
    """Lines for ``ip -batch``: so many routes in a table that nothing uses."""
    lines = (
        f"route {verb} 198.{18 + n // 62_500}.{n // 250 % 250}.{n % 250 + 1}/32 dev eth0 table 99 {flags}\n"
        for n in range(count)
    )
    return "".join(lines)


def ip(host: Host, lines: str) -> None:
    """Run a batch of commands."""
    subprocess.run(("ip", "-n", host.namespace, "-batch", "-"), input=lines, text=True, check=True)


@asynccontextmanager
async def watching(host: Host, directory: Path) -> AsyncGenerator[asyncio.Queue[Change]]:
    """The real watcher inside the host's namespace, and the changes that it reports."""
    told: asyncio.Queue[Change] = asyncio.Queue()
    started = asyncio.Event()
    watcher = Watcher(
        RtnetlinkSource(), (), GenerationCounter(directory / "generation.json", "bench"), Filter.default()
    )

    async def follow() -> None:
        async with aclosing(watcher.changes(on_start=lambda source, first: started.set())) as changes:
            async for change in changes:
                told.put_nowait(change)

    with inside(host):
        following = asyncio.create_task(follow())
        await started.wait()
    try:
        yield told
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def cpu_per_message(count: int, directory: Path) -> float:
    """CPU seconds of this process per message, with so many routes in a table."""
    async with Network(hosts=1) as network:
        host = network.hosts[0]
        ip(host, routes(count))
        async with watching(host, directory):
            spent = 0.0
            for number in range(MESSAGES):
                await host.run("ip", "rule", "add" if number % 2 == 0 else "delete", "pref", "9999", "lookup", "99")
                before = time.process_time()
                # The watcher's pause between two looks, and the look itself.
                await asyncio.sleep(2 * PAUSE)
                spent += time.process_time() - before
        return spent / MESSAGES


async def storm(host: Host, passes: list[float]) -> None:
    """Change all routes, five times a second if the kernel takes them that fast, until cancelled.

    ``passes`` gets an instant for each time that all were changed.
    """
    process = await asyncio.create_subprocess_exec(
        "ip", "-n", host.namespace, "-batch", "-", stdin=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    texts = [routes(STORM, verb="replace", flags=f"metric 7 mtu {1400 + n}").encode() for n in range(2)]
    try:
        for text in itertools.cycle(texts):
            started = time.monotonic()
            process.stdin.write(text)
            await process.stdin.drain()
            passes.append(time.monotonic())
            await asyncio.sleep(max(0.0, started + 1 / CHANGES_PER_SECOND - time.monotonic()))
    finally:
        process.kill()
        await process.wait()


class Lease(NamedTuple):
    """How a new lease was reported."""

    seconds: float
    cpu: float
    """Part of a core that the process used meanwhile, the writer of the routes included."""
    passes: float
    """How often a second all routes were changed."""


async def lease_told(directory: Path, *, stormy: bool) -> Lease:
    """Give the host a new address, perhaps in a storm, and wait until it is reported."""
    async with Network(hosts=1) as network, watching(network.hosts[0], directory) as told:
        host = network.hosts[0]
        ip(host, routes(STORM if stormy else 0, flags="metric 7"))
        passes: list[float] = []
        writing = asyncio.create_task(storm(host, passes) if stormy else asyncio.sleep(LIMIT))
        try:
            used, started = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
            await asyncio.sleep(SETTLE)
            while not told.empty():
                told.get_nowait()
            await host.move("10.77.0.77")
            moved = time.monotonic()
            async with asyncio.timeout(LIMIT):
                while "10.77.0.77" not in (await told.get()).detail:
                    continue
            after = resource.getrusage(resource.RUSAGE_SELF)
            cpu = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
            now = time.monotonic()
            return Lease(now - moved, cpu / (now - started), len(passes) / (now - started))
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)


async def median(measured: list[Awaitable[float]]) -> float:
    """Of measurements that are taken one after the other."""
    return statistics.median([await one for one in measured])


async def measure(rounds: int, directory: Path) -> dict[str, Figure]:
    """All figures."""
    none = await median([cpu_per_message(0, directory) for _ in range(rounds)])
    many = await median([cpu_per_message(MANY, directory) for _ in range(rounds)])
    quiet = [await lease_told(directory, stormy=False) for _ in range(rounds)]
    stormy = [await lease_told(directory, stormy=True) for _ in range(rounds)]
    return {
        "CPU per message, no routes": at_most(none * 1000, "ms", 2),
        f"CPU per message, {MANY:,} routes": at_most(many * 1000, "ms", 2),
        "a new lease is reported, the latest": at_most(max(one.seconds for one in quiet), "s", 1),
        "the same while routes change, the latest": at_most(max(one.seconds for one in stormy), "s", 1),
        f"of {STORM:,} routes each changes": Figure(statistics.median(one.passes for one in stormy), "times a second"),
        "CPU then, with the writer of the routes": Figure(
            100 * statistics.median(one.cpu for one in stormy), "% of a core"
        ),
    }


def main() -> None:
    """Measure and show."""
    chosen = rounds_on_hosts(__doc__, default=5)
    with TemporaryDirectory() as directory:
        figures = asyncio.run(measure(1 if chosen.quick else chosen.rounds, Path(directory)))
    show("watch", figures, chosen.as_json)


if __name__ == "__main__":
    main()

"""Which of a watcher's sources work on this host, tried one by one: the first thing to run on a new system."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from gossipcontrol.client.clock import boottime, time_asleep
from gossipcontrol.watch.change import ChangeKind, Snapshot
from gossipcontrol.watch.fingerprint import take_fingerprint
from gossipcontrol.watch.host import boot_id, host_id, runtime_directory
from gossipcontrol.watch.scope import Filter
from gossipcontrol.watch.source import NetworkSource, PowerSource
from gossipcontrol.watch.suspend import ClockSource
from gossipcontrol.watch.watcher import system_sources

FIRST_LOOK = 5.0
"""Seconds within which a network source must have looked once."""
CLOCKS = ClockSource.name
LISTENING = 0.5
"""Seconds after which a power source that has not ended is taken for one that listens."""


@dataclass(frozen=True, slots=True)
class Check:
    """What was tried, and what came of it."""

    name: str
    works: bool
    text: str


@runtime_checkable
class Checkable(Protocol):
    """A power source that can say more than that it waits."""

    async def check(self) -> str:
        """What it listens to, in words; raises OSError when that is not there."""
        ...


async def self_test(chosen: Filter) -> list[Check]:
    """Try the sources of this system, its names and its clocks; changes nothing."""
    network, power = system_sources(chosen)
    checks = [await _check_network(network, chosen)]
    checks += [await _check_power(one) for one in power]
    checks.append(Check("names", True, f"host {host_id()}, boot {boot_id()}, state in {runtime_directory()}"))
    checks.append(
        Check("clocks", True, f"{boottime():.0f} s since the boot, {abs(time_asleep()):.0f} s of them asleep")
    )
    return checks


def conclusion(checks: Sequence[Check]) -> str:
    """What the checks mean for this host, in a sentence."""
    network = "Changes of the network are reported at once" if checks[0].works else "The network is polled"
    working = [one.name for one in checks if one.works and one.name.startswith("power")]
    if not working:
        return f"{network}; sleep is not seen."
    announced = any(CLOCKS not in name for name in working)
    sleep = "sleep is announced" if announced else "sleep is not announced, but a resume is seen by the clocks"
    return f"{network}; {sleep}."


async def _check_network(source: NetworkSource, chosen: Filter) -> Check:
    try:
        async with asyncio.timeout(FIRST_LOOK), contextlib.aclosing(source.watch()) as states:
            snapshot = await anext(states)
    except (OSError, TimeoutError) as error:
        return Check(f"network ({source.name})", False, f"{error or 'it does not look'}; polling takes its place")
    found = take_fingerprint(snapshot, chosen)
    return Check(f"network ({source.name})", True, f"{found.describe()}; {_counted(snapshot)}; {found.scope.summary()}")


def _counted(snapshot: Snapshot) -> str:
    links, addresses, gateways = len(snapshot.links), len(snapshot.addresses), len(snapshot.neighbors)
    return f"links: {links}, addresses: {addresses}, gateways: {gateways}"


async def _check_power(source: PowerSource) -> Check:
    name = f"power ({source.name})"
    try:
        return Check(name, True, await source.check() if isinstance(source, Checkable) else await _listens(source))
    except (OSError, EOFError, TimeoutError) as error:
        return Check(name, False, str(error) or type(error).__name__)


async def _listens(source: PowerSource) -> str:
    waiting = asyncio.ensure_future(_first(source.watch()))
    done, _ = await asyncio.wait([waiting], timeout=LISTENING)
    if not done:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        return "it listens"
    if waiting.result() is None:
        raise OSError("it ends at once")
    return "it has just said something"


async def _first(changes: AsyncIterator[ChangeKind]) -> ChangeKind | None:
    return await anext(changes, None)

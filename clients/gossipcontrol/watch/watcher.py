"""The watcher of this host: its sources merged into one stream of changes."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from gossipcontrol.client.clock import boottime
from gossipcontrol.watch.change import Change, ChangeKind, Snapshot
from gossipcontrol.watch.debounce import Debounce
from gossipcontrol.watch.fingerprint import Filter, Fingerprint, take_fingerprint
from gossipcontrol.watch.generation import GenerationCounter
from gossipcontrol.watch.host import boot_id, runtime_directory
from gossipcontrol.watch.polling import PollingSource
from gossipcontrol.watch.source import NetworkSource, PowerSource

Changes: TypeAlias = AsyncGenerator[Change, None]

SAME_RESUME = 10.0
"""Seconds within which two sources tell of one resume, on a clock that goes on during sleep."""
DETAIL_BYTES = 256
"""Most bytes of the detail that the service takes."""


@dataclass(frozen=True, slots=True)
class Audience:
    """Who is told what is no change to report."""

    on_start: Callable[[str, Fingerprint], None] = lambda _name, _first: None
    """Which source is used, and the first state of the network."""
    on_loss: Callable[[], None] = lambda: None
    """The last way out is gone; its return will be a change."""


class Watcher:
    """Merges a network source and power sources. Sources that do not work here are left out; polling stands in."""

    def __init__(
        self,
        network: NetworkSource,
        power: Sequence[PowerSource],
        counter: GenerationCounter,
        chosen: Filter,
        *,
        quiet: float = 0.25,
        fallback: NetworkSource | None = None,
        clock: Callable[[], float] = boottime,
    ) -> None:
        self._network = network
        self._power = power
        self._counter = counter
        self._filter = chosen
        self._quiet = quiet
        self._fallback = fallback or PollingSource()
        self._clock = clock
        self._owes = False
        self._resumed_at = float("-inf")

    async def changes(self, audience: Audience = Audience()) -> Changes:
        """Each change as it is told."""
        told: asyncio.Queue[Change | None] = asyncio.Queue()
        task = asyncio.create_task(self._run(told.put_nowait, audience))
        task.add_done_callback(lambda _: told.put_nowait(None))
        try:
            while (change := await told.get()) is not None:
                yield change
            await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self, tell: Callable[[Change], None], audience: Audience) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_network(tell, audience))
            for source in self._power:
                group.create_task(self._watch_power(source, tell))

    async def _watch_network(self, tell: Callable[[Change], None], audience: Audience) -> None:
        for source in (self._network, self._fallback):
            # What follows is the fallback, which never fails.
            with suppress(OSError):
                await self._follow(source, tell, audience)

    async def _follow(self, source: NetworkSource, tell: Callable[[Change], None], audience: Audience) -> None:
        """Debounce what a source sees; raises OSError when it does not work here."""
        async with aclosing(source.watch()) as states:
            current = take_fingerprint(await anext(states), self._filter)
            audience.on_start(source.name, current)
            # What the source before this one saw and did not tell is told by this one.
            debounce = Debounce(Fingerprint() if self._owes else current, quiet=self._quiet)
            self._tell_network(debounce.observe(current, time.monotonic()), tell)
            following: asyncio.Future[Snapshot] = asyncio.ensure_future(anext(states))
            try:
                while True:
                    deadline = debounce.next_deadline()
                    timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
                    await asyncio.wait([following], timeout=timeout)
                    told = None
                    if following.done():
                        # Before the deadline is served: what has just moved again must not be told as it was.
                        before, current = current, take_fingerprint(following.result(), self._filter)
                        following = asyncio.ensure_future(anext(states))
                        told = debounce.observe(current, time.monotonic())
                        if before.way_out and not current.way_out:
                            audience.on_loss()
                    self._tell_network(told or debounce.settle(time.monotonic()), tell)
            finally:
                self._owes = debounce.owes
                following.cancel()
                with suppress(asyncio.CancelledError, StopAsyncIteration, OSError):
                    await following

    def _tell_network(self, told: Fingerprint | None, tell: Callable[[Change], None]) -> None:
        if told is not None:
            tell(self._change(ChangeKind.CHANGED, told.describe(), told, self._clock()))

    async def _watch_power(self, source: PowerSource, tell: Callable[[Change], None]) -> None:
        # A source that does not work here is left out.
        with suppress(OSError):
            async for kind in source.watch():
                now = self._clock()
                if kind is ChangeKind.SLEEPING:
                    self._resumed_at = float("-inf")
                    tell(Change(kind, 0, "about to sleep", now))
                elif now - self._resumed_at > SAME_RESUME:
                    self._resumed_at = now
                    tell(self._change(kind, "woke from sleep", None, now))

    def _change(self, kind: ChangeKind, detail: str, fingerprint: Fingerprint | None, now: float) -> Change:
        state = repr((kind.value, fingerprint and [sorted(part) for part in fingerprint.parts]))
        generation = self._counter.advance(hashlib.blake2b(state.encode(), digest_size=8).hexdigest())
        return Change(kind, generation, _cut(detail), now)


def _cut(detail: str) -> str:
    """What the service takes of a detail; the names in it are the user's, and may be of any characters."""
    return detail.encode(errors="replace")[:DETAIL_BYTES].decode(errors="ignore")


def make_watcher(chosen: Filter, *, quiet: float = 0.25, state: Path | None = None) -> Watcher:
    """The watcher for this operating system."""
    network: NetworkSource = PollingSource()
    power: list[PowerSource] = []
    if sys.platform == "linux":
        # Imported here: pyroute2 takes 175 ms and 14 MB, which other systems need not pay.
        from gossipcontrol.watch.linux import RtnetlinkSource
        from gossipcontrol.watch.logind import LogindSource
        from gossipcontrol.watch.suspend import ClockSource

        network, power = RtnetlinkSource(), [LogindSource(), ClockSource()]
    counter = GenerationCounter(state or runtime_directory() / "generation.json", boot_id())
    return Watcher(network, power, counter, chosen, quiet=quiet)
